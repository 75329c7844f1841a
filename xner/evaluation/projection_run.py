"""The main job's own stages on parallel gold, and what they found kept for later comparison."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from xner.config import AlignerConfig, BootstrapConfig, QualityConfig, TeacherConfig
from xner.engine.stages import Align, Label, Project
from xner.errors import ConfigError, DataError
from xner.evaluation.bootstrap import Comparison, difference, sentence_counts
from xner.evaluation.projection_gold import GoldPair, gold_labels, labelled_table, mention_rows
from xner.shards.schema import PSEUDO, SOURCE_MENTION
from xner.shards.storage import Folder
from xner.text.mentions import Mention

PREDICTIONS = "predictions.parquet"

_GOLD = pa.field("gold_mentions", pa.list_(SOURCE_MENTION))
_SCHEMA = PSEUDO.append(_GOLD)


def project_gold(
    gold: Sequence[GoldPair],
    aligner: AlignerConfig,
    quality: QualityConfig,
    teacher: TeacherConfig | None = None,
) -> pa.Table:
    """The gold labelled, aligned and projected as the main job does it: a ``pseudo`` table.

    Source mentions are the gold's, or what ``teacher`` finds. Raises ConfigError when the teacher
    finds types that are to be projected but that the gold does not have.
    """
    table = labelled_table(gold)
    if teacher is not None:
        table = Label(teacher)(table.drop_columns("source_mentions"))
    labels = {m["label"] for row in table["source_mentions"].to_pylist() for m in row}
    if teacher is not None:
        strange = labels.intersection(quality.labels or labels) - gold_labels(gold)
        if strange:
            raise ConfigError(
                f"teacher {teacher.model}: finds {', '.join(sorted(strange))}, which the gold does "
                f"not have; name the types to project in quality.labels: "
                f"{', '.join(sorted(gold_labels(gold)))}"
            )
    return Project(quality, sorted(labels))(Align(aligner)(table))


def write_predictions(folder: Folder, gold: Sequence[GoldPair], table: pa.Table) -> None:
    """Keep a projected table with its gold as ``predictions.parquet``."""
    folder.publish_table(PREDICTIONS, table.append_column(_GOLD, _gold_column(gold)))


def read_predictions(folder: Folder, gold: Sequence[GoldPair]) -> pa.Table:
    """The projected table that was kept in ``folder``.

    Raises DataError when there is none, or when it was projected onto other gold than this.
    """
    table = folder.read_table(PREDICTIONS, _SCHEMA)
    mine = {
        "source": [pair.source for pair in gold],
        "target": [pair.target for pair in gold],
        _GOLD.name: _gold_column(gold).to_pylist(),
    }
    for name, values in mine.items():
        if table[name].to_pylist() != values:
            raise DataError(
                f"{folder}/{PREDICTIONS}: {table.num_rows} pairs whose {name} is not that of "
                f"these {len(gold)}; only evaluations on the same gold can be compared"
            )
    return table


def compare(
    gold: Sequence[GoldPair], table: pa.Table, other: pa.Table, bootstrap: BootstrapConfig
) -> Comparison:
    """The paired bootstrap test of one projected table against another."""
    wanted = [pair.target_mentions for pair in gold]
    found, others = (_mentions(each) for each in (table, other))
    typed, untyped = (
        difference(
            sentence_counts(wanted, found, typed), sentence_counts(wanted, others, typed), bootstrap
        )
        for typed in (True, False)
    )
    return Comparison(typed, untyped)


def _gold_column(gold: Sequence[GoldPair]) -> pa.Array:
    return pa.array(mention_rows(pair.target_mentions for pair in gold), _GOLD.type)


def _mentions(table: pa.Table) -> list[list[Mention]]:
    return [
        [Mention(m["start"], m["end"], m["label"]) for m in row]
        for row in table["mentions"].to_pylist()
    ]
