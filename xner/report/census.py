"""What a run's shards hold, counted over all rows: by corpus, type and reason, and by score.

A census of each shard adds up to that of the run, so millions of rows are counted in a stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from xner.config import QualityConfig
from xner.projection.calibration import bins_of
from xner.projection.thresholds import Thresholds
from xner.shards.statistics import Statistics

NUM_BINS = 20

#: Of a row: source and target language, corpus, status, reason.
Group = tuple[str, str, str, str, str | None]

_GROUP = ("source_lang", "target_lang", "corpus", "status", "reason")


@dataclass(frozen=True)
class Census:
    """Counts over rows; ``Census()`` is the neutral element of ``+``.

    ``found`` are the source mentions by type, ``labels`` the projected ones. ``scores`` [2,
    NUM_BINS] by name: of accepted rows and of others, how many scores lie in each twentieth
    (``teacher``: of source mentions; ``alignment``: of projected ones). ``thresholds`` is None
    where no row can be decided again.
    """

    rows: Counter[Group] = field(default_factory=Counter)
    found: Counter[tuple[Group, str]] = field(default_factory=Counter)
    labels: Counter[tuple[Group, str]] = field(default_factory=Counter)
    scores: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    thresholds: Thresholds | None = None

    @classmethod
    def of(cls, table: pa.Table, quality: QualityConfig | None) -> Census:
        """The census of a ``pseudo`` table; ``quality``: the rules that decide its rows, if any."""
        groups = zip(*(table[name].to_pylist() for name in _GROUP), strict=True)
        group_of: list[Group] = list(groups)
        is_ok = np.array([group[3] == "ok" for group in group_of], bool)
        found, teacher = _mentions(table["source_mentions"], "score", group_of, is_ok)
        labels, alignment = _mentions(table["mentions"], "alignment_score", group_of, is_ok)
        return cls(
            Counter(group_of),
            found,
            labels,
            {"teacher": teacher, "alignment": alignment},
            None if quality is None else Thresholds.of(table, quality),
        )

    def __add__(self, other: Census) -> Census:
        none = np.zeros((2, NUM_BINS), np.int64)
        mine, theirs = self.thresholds, other.thresholds
        return Census(
            self.rows + other.rows,
            self.found + other.found,
            self.labels + other.labels,
            {
                name: self.scores.get(name, none) + other.scores.get(name, none)
                for name in sorted({*self.scores, *other.scores})
            },
            mine + theirs if mine and theirs else mine or theirs,
        )

    @property
    def statistics(self) -> Statistics:
        """The counts that a shard's footer has."""
        status, reasons, mentions = Counter[str](), Counter[str](), Counter[str]()
        for (*_, state, reason), count in self.rows.items():
            status[state] += count
            if reason is not None:
                reasons[reason] += count
        for ((*_, state, _), label), count in self.labels.items():
            if state == "ok":
                mentions[label] += count
        return Statistics(self.num_rows, status, reasons, mentions)

    @property
    def num_rows(self) -> int:
        return self.rows.total()

    @property
    def num_ok(self) -> int:
        return sum(count for group, count in self.rows.items() if group[3] == "ok")

    @property
    def num_labels(self) -> int:
        """Labels in accepted rows: what a student will see."""
        return sum(count for (group, _), count in self.labels.items() if group[3] == "ok")

    def refused(self) -> Counter[tuple[str, str | None]]:
        """The rows that are not accepted by status and reason."""
        refused: Counter[tuple[str, str | None]] = Counter()
        for (*_, status, reason), count in self.rows.items():
            if status != "ok":
                refused[status, reason] += count
        return refused


def _mentions(
    column: pa.ChunkedArray, score: str, group_of: list[Group], is_ok: npt.NDArray[np.bool_]
) -> tuple[Counter[tuple[Group, str]], npt.NDArray[np.int64]]:
    """Mentions by group and type, and their scores by status and twentieth."""
    lists = column.combine_chunks()
    row = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    mentions = pc.list_flatten(lists)
    labels: list[Any] = mentions.field("label").to_pylist()
    by_type = Counter(
        (group_of[number], label) for number, label in zip(row.tolist(), labels, strict=True)
    )
    scores = mentions.field(score).to_numpy(zero_copy_only=False).astype(float)
    there = ~np.isnan(scores)
    bins = bins_of(scores[there], NUM_BINS)
    counts = np.zeros((2, NUM_BINS), np.int64)
    np.add.at(counts, (np.where(is_ok[row[there]], 0, 1), bins), 1)
    return by_type, counts
