"""The main job's own stages on parallel gold, and what they found kept for later comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from xner.config import AlignerConfig, BootstrapConfig, QualityConfig, TeacherConfig
from xner.engine.stages import Align, Label, Project
from xner.errors import ConfigError, DataError
from xner.evaluation.bootstrap import Difference, difference, sentence_counts
from xner.evaluation.projection_gold import GoldPair, gold_labels, labelled_table
from xner.shards.schema import PSEUDO, SOURCE_MENTION
from xner.shards.storage import Folder
from xner.text.mentions import Mention

PREDICTIONS = "predictions.parquet"

_SCHEMA = PSEUDO.append(pa.field("gold_mentions", pa.list_(SOURCE_MENTION)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """This evaluation against another on the same gold; positive where this one is better."""

    typed: Difference
    untyped: Difference


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
    folder.publish_table(PREDICTIONS, table.append_column(_SCHEMA.field(-1), _gold_column(gold)))


def compare(
    folder: Folder, gold: Sequence[GoldPair], table: pa.Table, bootstrap: BootstrapConfig
) -> Comparison:
    """The paired bootstrap test of a projected table against the one kept in ``folder``.

    Raises DataError when there is none, or when it was scored on other gold.
    """
    other = folder.read_table(PREDICTIONS, _SCHEMA)
    mine = {
        "source": table["source"].to_pylist(),
        "target": table["target"].to_pylist(),
        "gold_mentions": _gold_column(gold).to_pylist(),
    }
    for name, values in mine.items():
        if other[name].to_pylist() != values:
            raise DataError(
                f"{folder}/{PREDICTIONS}: {other.num_rows} pairs whose {name} is not that of "
                f"these {len(gold)}; only evaluations on the same gold can be compared"
            )
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
    return pa.array(
        [
            [{name: getattr(m, name) for name in SOURCE_MENTION.names} for m in p.target_mentions]
            for p in gold
        ],
        _SCHEMA.field(-1).type,
    )


def _mentions(table: pa.Table) -> list[list[Mention]]:
    return [
        [Mention(m["start"], m["end"], m["label"]) for m in row]
        for row in table["mentions"].to_pylist()
    ]
