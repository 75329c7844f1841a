"""simalign and awesome-align, timed by the benchmark as their own documentation runs them.

A program by itself, for an environment of its own: the packages do not work with the transformers
of xner. It imports nothing of xner. ::

    python aligner_tools.py ENCODER PAIRS NUM_THREADS

``ENCODER``: folder of a BERT with vocab.txt; ``PAIRS``: a line a pair, ``source ||| target``, words
separated by spaces. For every line on standard input that names a tool, all pairs are aligned once
and the seconds are printed, loading not included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def simalign(encoder: str, pairs: str, num_layers: int) -> Callable[[], None]:
    """`SentenceAligner(...).get_word_aligns` for one pair after the other, itermax."""
    from simalign import SentenceAligner

    aligner = SentenceAligner(
        model=encoder, token_type="bpe", matching_methods="i", layer=min(8, num_layers)
    )
    lines = Path(pairs).read_text(encoding="utf-8").splitlines()
    words = [[side.split() for side in line.split(" ||| ")] for line in lines]

    def run() -> None:
        for source, target in words:
            aligner.get_word_aligns(source, target)

    return run


def awesome_align(encoder: str, pairs: str, layer: int) -> Callable[[], None]:
    """`awesome-align --extraction softmax --batch_size 32`, reading in its own process.

    Its encoder ends at the layer whose states it compares.
    """
    import torch
    from awesome_align import modeling, run_align
    from awesome_align.configuration_bert import BertConfig
    from awesome_align.modeling import BertForMaskedLM
    from awesome_align.tokenization_bert import BertTokenizer

    tokenizer = BertTokenizer(str(Path(encoder) / "vocab.txt"), do_lower_case=False)
    tokenizer.max_len = 512
    modeling.PAD_ID = tokenizer.pad_token_id
    modeling.CLS_ID = tokenizer.cls_token_id
    modeling.SEP_ID = tokenizer.sep_token_id
    config = BertConfig.from_json_file(str(Path(encoder) / "config.json"))
    model = BertForMaskedLM(config)
    options: dict[str, Any] = {
        "data_file": pairs,
        "align_layer": layer,
        "extraction": "softmax",
        "softmax_threshold": 0.001,
        "output_prob_file": None,
        "output_word_file": None,
        "batch_size": 32,
        "num_workers": 0,
        "device": torch.device("cpu"),
    }

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "links")
            run_align.word_align(
                argparse.Namespace(**options, output_file=output), model, tokenizer
            )

    return run


def main(encoder: str, pairs: str, num_threads: int) -> None:
    """Load the tools, say which are there, then run the one that each line of input names."""
    import torch

    torch.set_num_threads(num_threads)
    num_layers = int(json.loads((Path(encoder) / "config.json").read_text())["num_hidden_layers"])
    wanted: dict[str, Callable[[], Callable[[], None]]] = {
        "simalign": lambda: simalign(encoder, pairs, num_layers),
        "awesome_align": lambda: awesome_align(encoder, pairs, num_layers),
        "awesome_align_layer_8": lambda: awesome_align(encoder, pairs, min(8, num_layers)),
    }
    tools: dict[str, Callable[[], None]] = {}
    problems = {}
    out = sys.stdout
    # What the tools print is not for the reader of our answers.
    with contextlib.redirect_stdout(sys.stderr):
        for name, make in wanted.items():
            try:
                tools[name] = make()
            except ImportError as error:
                problems[name] = str(error)
        print(json.dumps({"tools": list(tools), "problems": problems}), file=out, flush=True)
        for line in sys.stdin:
            started = time.perf_counter()
            tools[line.strip()]()
            print(json.dumps(time.perf_counter() - started), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
