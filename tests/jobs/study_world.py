"""A study so small that it takes minutes: two tiny encoders, one language, a handful of steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from xner.config import PrepareConfig
from xner.corpora import miniature
from xner.engine.recipes import CorpusPreparation
from xner.models.tiny import new_encoder_folder
from xner.shards.schema import ALIGNMENT_EXAMPLES
from xner.shards.storage import Folder

LANG = "de"
GRID = {
    # Beside entity aligners of a few steps, which place nothing by themselves.
    "aligners": [
        {"layout": "single", "links": {"kind": "hmm"}},
        {"layout": "packed", "links": {"kind": "hmm"}},
    ],
    "losses": [{"name": "cross_entropy"}, {"name": "opposite_focal"}],
    "initialisations": ["encoder", "teacher"],
    "sizes": [60, 120],
    "seeds": [0, 1],
}


def make_world(folder: Path) -> None:
    """Pairs, labelled text, alignment examples and two encoders, all of the miniature world."""
    miniature.write_moses(folder / "opus", 150, target_langs=[LANG])
    preparation = CorpusPreparation.plan(
        PrepareConfig.model_validate(
            {
                "target_langs": [LANG],
                "opus": {"root": str(folder / "opus"), "corpora": list(miniature.CORPORA)},
                "shard_pairs": 150,
                "output": str(folder / "pairs"),
                "engine": {"kind": "inline"},
            }
        )
    )
    preparation.run.open()
    preparation.run_pending(lambda count: None)
    miniature.write_tagged(folder / "train.en.conll", "train", "en", 1000, seed=1)
    miniature.write_tagged(folder / "train.de.conll", "train", LANG, 120, seed=2)
    miniature.write_tagged(folder / "test.de.conll", "test", LANG, 60)
    examples = list(miniature.alignment_examples("train", 200, LANG))
    table = pa.Table.from_pylist(examples, schema=ALIGNMENT_EXAMPLES)
    Folder.at(str(folder)).publish_table("examples/de.parquet", table)
    texts = [text for each in miniature.sentences("train", 200) for text in each.texts.values()]
    for seed in (0, 1):
        new_encoder_folder(texts, folder / f"encoder-{seed}", seed)


def recipe(folder: Path, output: Path, **grid: Any) -> dict[str, Any]:
    """A study of this world as settings; ``grid`` is laid over the grid."""
    training: Mapping[str, Any] = {"batch_tokens": 512, "learning_rate": 2e-3, "dev_share": 0.1}
    return {
        "grid": {"encoders": [str(folder / f"encoder-{seed}") for seed in (0, 1)], **GRID, **grid},
        "languages": [
            {
                "lang": LANG,
                "pairs": str(folder / "pairs" / f"en-{LANG}"),
                "gold": [{"name": "mini", "path": str(folder / "test.de.conll"), "lang": LANG}],
                "train": [{"path": str(folder / "train.de.conll"), "lang": LANG}],
            }
        ],
        "teacher": {
            "data": [{"path": str(folder / "train.en.conll")}],
            "optimization": {**training, "epochs": 3},
        },
        "aligner": {
            "examples": [str(folder / "examples")],
            "optimization": {**training, "epochs": 1, "max_steps": 10},
        },
        "student": {**training, "epochs": 2},
        # What models of a few steps find is wrong, and shall be learned from all the same.
        "quality": {"min_teacher_score": 0.0, "min_alignment_score": 0.0, "max_unplaced": 9},
        "max_length": 128,
        "bootstrap": {"samples": 200},
        "output": str(output),
        "engine": {"kind": "inline"},
    }
