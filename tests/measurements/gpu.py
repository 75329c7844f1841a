"""`make measure-gpu PAIRS=folder`: what a GPU makes of large encoders, and how many actors fill it.

``large``: labelling and aligning with the shape of XLM-R large, in BF16 and in FP32, and training,
as shares of the matrix products that the card was measured to do (see jobs/benchmark.py).
``base``: the shape of XLM-R base against others, on the same card. ``actors``: pairs a second and
share of the peak where so many processes label, align and project on the card at once, each its own
shards, files read and written; a process is what an actor of Ray is, and Ray is not needed.

PAIRS are pairs shards; without them the sentences are made.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from steps import PROJECT

from xner.config import AlignerConfig, BenchmarkConfig, QualityConfig, TeacherConfig
from xner.engine.stages import Align, Label, Project
from xner.evaluation.benchmark import LABELS, Models, make_models, measure, measured, read_pairs
from xner.models.speed import product_peak
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards import schema
from xner.shards.storage import Folder

OUTPUT = PROJECT / "runs" / "measure-gpu"

LARGE_PAIRS, BASE_PAIRS, SHARD_PAIRS, NUM_SHARDS = 4096, 512, 4096, 4
NUM_ACTORS = (1, 2, 4, 8)


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write summary.json. Exits with 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description="What a GPU makes of large encoders.")
    parser.add_argument("pairs", nargs="?", default="", help="folder of pairs shards")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("make measure-gpu: torch finds no GPU here", file=sys.stderr)
        sys.exit(2)
    configure_logging()
    large = BenchmarkConfig.model_validate(
        {
            "pairs": options.pairs or None,
            "encoder": "xlm-roberta-large",
            "num_pairs": LARGE_PAIRS,
            "opponents": [],
            "training_tokens": 32_768,
            "repetitions": 3,
            "ray_seconds": 0,
        }
    )
    base = large.model_copy(
        update={
            "encoder": "xlm-roberta-base",
            "num_pairs": BASE_PAIRS,
            "opponents": ["batched_pipelines", "unbatched"],
            "repetitions": 5,
        }
    )
    home = Folder.at(str(OUTPUT))
    summary: dict[str, Any] = {"device": torch.cuda.get_device_name()}

    def keep(name: str, found: Any) -> None:
        # What is measured stays, whatever comes of the rest.
        summary[name] = found
        write_summary(home, summary)
        print(name, json.dumps(found), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = read_pairs(large.model_copy(update={"num_pairs": SHARD_PAIRS * NUM_SHARDS}))
        models = make_models(large, pairs, folder)
        keep("large", measured(large, pairs.slice(0, LARGE_PAIRS), models, folder, print))
        keep("actors", actors(pairs, models, folder))
    keep("base", measure(base, print))
    print_summary("Actors on a GPU", summary["actors"])


def actors(pairs: pa.Table, models: Models, folder: Path) -> list[dict[str, Any]]:
    """Rates of 1, 2, ... processes on the card, which all have their models there already."""
    home = Folder.at(str(folder / "shards"))
    for number in range(NUM_SHARDS):
        shard = pairs.select(schema.PAIRS.names).slice(number * SHARD_PAIRS, SHARD_PAIRS)
        home.publish_table(f"{number:05d}.parquet", shard)
    peak = product_peak(models.shape, "cuda", "bf16")
    context = multiprocessing.get_context("spawn")
    lines, processes = [], []
    for number in range(max(NUM_ACTORS)):
        mine, theirs = context.Pipe()
        lines.append(mine)
        processes.append(context.Process(target=_actor, args=(number, models, folder, theirs)))
        processes[-1].start()
        theirs.close()
    for line in lines:
        # Says that it is ready.
        line.recv()
    found = []
    for count in NUM_ACTORS:
        for line in lines[:count]:
            line.send("run")
        told = [line.recv() for line in lines[:count]]
        seconds = max(end for _, end, _, _ in told) - min(start for start, _, _, _ in told)
        num_pairs, tokens = (sum(each[place] for each in told) for place in (2, 3))
        found.append(
            {
                "actors": count,
                "pairs/s": num_pairs / seconds,
                "matmul share": tokens * models.shape.operations_per_token / seconds / peak,
            }
        )
        print(json.dumps(found[-1]), flush=True)
    for line, process in zip(lines, processes, strict=True):
        line.close()
        process.join()
    return found


def _actor(number: int, models: Models, folder: Path, line: Any) -> None:
    """Take all shards through the stages whenever told to, once before to warm up.

    Answers with start, end, number of pairs and of sub-words.
    """
    how = {"device": "cuda", "precision": "bf16"}
    label = Label(TeacherConfig.model_validate({"model": str(models.teacher), **how}))
    align = Align(AlignerConfig.model_validate({"model": str(models.packed), **how}))
    project = Project(QualityConfig(), LABELS)
    home, output = Folder.at(str(folder / "shards")), Folder.at(str(folder / f"output-{number}"))
    names = home.names(".parquet")

    def run(name: str) -> int:
        table = home.read_table(name, schema.PAIRS)
        output.publish_table(name, project(align(label(table))))
        return table.num_rows

    run(names[0])
    line.send("ready")
    while True:
        try:
            line.recv()
        except EOFError:
            return
        before = label.usage + align.usage
        start = time.time()
        num_pairs = sum(run(name) for name in names)
        end = time.time()
        line.send((start, end, num_pairs, (label.usage + align.usage - before).tokens))


if __name__ == "__main__":
    main(sys.argv[1:])
