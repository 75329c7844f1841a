"""`make measure-training DATA=folder`: our training loop against the transformers Trainer.

One epoch over the same German sentences (of GermEval's dev set), from the same encoder with the
same new head, with AdamW, the encoder's own dropout, the same precision and, on average, as many
sub-words in a step, alternating in one process. ``ratios``: sub-words a second of ours over that of
the Trainer, as it comes (``random`` batches) and with its sampler by length (``group_by_length``):
medians.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from steps import PROJECT, data_and_encoder
from student import GERMEVAL, germeval
from torch import nn
from transformers import (
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
)

from xner.config import OptimizationConfig, TaggedSourceConfig, TrainTaggerConfig
from xner.models.tagger import new_model
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards.storage import Folder
from xner.training.loop import cut_batches
from xner.training.places import train_in_process
from xner.training.tagger import TaggerTask, make_task

OUTPUT = PROJECT / "runs" / "measure-training"

SENTENCES, BATCH_TOKENS, REPETITIONS = 300, 2048, 5

USAGE = """\
make measure-training needs real data: make measure-training DATA=<folder>
  <folder>/ner/de/dev.tsv  GermEval 2014"""


def measure(data: Path, encoder: Path) -> None:
    """Time all, print, and write summary.json."""
    optimization = OptimizationConfig(
        epochs=1, batch_tokens=BATCH_TOKENS, dev_share=0, precision="fp32"
    )
    config = TrainTaggerConfig(
        encoder=str(encoder),
        data=[TaggedSourceConfig(**germeval(data, "dev"), max_sentences=SENTENCES)],
        optimization=optimization,
        output=str(OUTPUT / "model"),
    )
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(config, Folder.at(folder))
    systems: dict[str, Callable[[int], float]] = {
        "ours": lambda seed: ours(task, optimization.model_copy(update={"seed": seed})),
    }
    for sampler in ("random", "group_by_length"):
        systems[sampler] = lambda seed, sampler=sampler: trainers(task, encoder, sampler, seed)
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for repetition in range(REPETITIONS + 1):
        for name, run in systems.items():
            rate = run(repetition)
            # The first one warms up.
            if repetition:
                rates[name].append(rate)
        print(f"repetition {repetition} of {REPETITIONS}", file=sys.stderr)
    summary: dict[str, Any] = {
        "subwords_per_second": {name: statistics.median(found) for name, found in rates.items()},
        "ratios": {
            name: statistics.median(
                mine / other for mine, other in zip(rates["ours"], found, strict=True)
            )
            for name, found in rates.items()
            if name != "ours"
        },
        "threads": torch.get_num_threads(),
        "mean_subwords": float(task.windows.lengths.mean()),
    }
    print_summary(
        "Training, sub-words a second",
        {
            **summary["subwords_per_second"],
            **{f"ours over {name}": ratio for name, ratio in summary["ratios"].items()},
        },
    )
    write_summary(Folder.at(str(OUTPUT)), summary)


def ours(task: TaggerTask, optimization: OptimizationConfig) -> float:
    """Sub-words a second of our loop, checkpoints not counted (the Trainer writes none)."""
    with tempfile.TemporaryDirectory() as folder:
        state = train_in_process(task, optimization, Folder.at(folder), lambda progress: None)
    return state.tokens / state.seconds


def trainers(task: TaggerTask, encoder: Path, sampler: str, seed: int) -> float:
    """Sub-words a second of the Trainer on the same windows."""
    windows = task.windows
    bounds = windows.bounds
    rows = [
        {
            "input_ids": windows.input_ids[start:end],
            "labels": windows.labels[start:end],
            "length": int(end - start),
        }
        for start, end in itertools.pairwise(bounds)
    ]
    model, tokenizer = new_model(encoder, task.labels)
    tokens = 0

    def count(module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        nonlocal tokens
        tokens += int(named["attention_mask"].sum())

    model.register_forward_pre_hook(count, with_kwargs=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=round(tokens_per_step(task) / windows.lengths.mean()),
            train_sampling_strategy=sampler,
            length_column_name="length",
            learning_rate=5e-5,
            weight_decay=0.01,
            warmup_steps=1,
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=DataCollatorForTokenClassification(tokenizer),
        )
        seconds = trainer.train().metrics["train_runtime"]
    return tokens / seconds


def tokens_per_step(task: TaggerTask) -> float:
    """Sub-words, without padding, that our loop puts into a step on average."""
    lengths = task.windows.lengths
    return float(lengths.sum() / len(cut_batches(np.asarray(lengths), BATCH_TOKENS, (0, 0))))


def main(arguments: Sequence[str]) -> None:
    """Measure; without the data, say what is needed and exit with 2."""
    what = "Our training loop against the transformers Trainer."
    data, encoder = data_and_encoder(arguments, what, USAGE, [GERMEVAL.format(part="dev")])
    configure_logging()
    measure(data, encoder)


if __name__ == "__main__":
    main(sys.argv[1:])
