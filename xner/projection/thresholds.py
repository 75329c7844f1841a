"""How many rows and labels every choice of thresholds would leave, counted in one pass over a run.

Re-deciding a run for each choice would take a pass each. But places are given to the surest first,
so a higher threshold takes labels away and moves none (see :func:`xner.projection.resolve.greedy`):
for each number of mentions that may stay unplaced, a row needs two numbers to say which thresholds
accept it, its least sure source mention's score and the score of one of its places. Counted by how
many thresholds of a grid each of the two passes, rows are a table from which any choice on the grid
is a sum; it is exact, whatever the number of rows. (Of labels there is one exception: two mentions
of different types that exchange equal candidates, of which one is told twice.) The same sums in
JavaScript stand beside the rule's twin in xner/report/assets/rule.js.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from xner.config import QualityConfig
from xner.projection.decode import Candidate
from xner.projection.quality import share_of, spans_told
from xner.projection.resolve import greedy
from xner.text.mentions import Mention

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_STEPS = 100
_MOST_UNPLACED = 3
_TYPES = {
    "source_index": np.int64,
    "start": np.int64,
    "end": np.int64,
    "score": np.float64,
    "label": np.object_,
}
# Less than every threshold: the score of a place that there is not.
_NO_PLACE = -1.0
# What closes a place that may tell a mention twice.
_CLOSING = r"\p{Pe}"


@dataclass(frozen=True)
class Grid:
    """The thresholds to choose from, ascending: hundredths, and the run's own."""

    teacher: tuple[float, ...]
    alignment: tuple[float, ...]
    unplaced: tuple[int, ...]
    mention_free: tuple[float, ...]

    @classmethod
    def around(cls, quality: QualityConfig) -> Grid:
        """The grid for a run that was made under ``quality``."""

        def shares(own: float) -> tuple[float, ...]:
            return tuple(sorted({own, *(step / _STEPS for step in range(_STEPS + 1))}))

        return cls(
            teacher=shares(quality.min_teacher_score),
            alignment=shares(quality.min_alignment_score),
            unplaced=tuple(sorted({quality.max_unplaced, *range(_MOST_UNPLACED + 1)})),
            mention_free=shares(quality.keep_mention_free),
        )


@dataclass(frozen=True)
class Outcome:
    """What a choice of thresholds leaves: rows by reason (``ok``: accepted), their labels by type.

    Rows in error are none of it.
    """

    rows: Mapping[str, int]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Thresholds:
    """Rows and labels by the thresholds that they pass; adds up with ``+``.

    The axes of ``rows``, ``labels`` and ``lacking`` are [unplaced, teacher + 1, alignment + 1]: for
    each number of ``grid.unplaced``, how many thresholds of the other two are passed. ``lacking``
    are the rows with a mention that has no candidate at all; ``contested`` [unplaced, teacher + 1,
    alignment] those that a threshold of alignment refuses for that reason. ``mention_free``
    [mention_free + 1]: rows without mentions, by how many shares leave them out.
    """

    grid: Grid
    rows: Counts
    labels: Mapping[str, Counts]
    lacking: Counts
    contested: Counts
    mention_free: Counts

    @classmethod
    def of(cls, table: pa.Table, quality: QualityConfig) -> Thresholds:
        """Those of the rows of a ``pseudo`` table that was projected under ``quality``."""
        grid = Grid.around(quality)
        table = table.filter(pc.not_equal(table["status"], "error"))
        mentions = _Mentions.of(table, quality.labels)
        num_wanted = np.bincount(mentions.row, minlength=table.num_rows)
        free = table["pair_id"].filter(pa.array(num_wanted == 0)).to_pylist()
        shares = [share_of(pair_id) for pair_id in free]
        passed = np.searchsorted(grid.mention_free, shares, side="right")
        return cls(
            grid,
            mention_free=np.bincount(passed, minlength=len(grid.mention_free) + 1),
            **_counted(grid, mentions, num_wanted),
        )

    def __add__(self, other: Thresholds) -> Thresholds:
        none = np.zeros_like(self.rows)
        return Thresholds(
            self.grid,
            self.rows + other.rows,
            {
                label: self.labels.get(label, none) + other.labels.get(label, none)
                for label in sorted({*self.labels, *other.labels})
            },
            self.lacking + other.lacking,
            self.contested + other.contested,
            self.mention_free + other.mention_free,
        )

    def outcome(self, quality: QualityConfig) -> Outcome:
        """What these thresholds leave. Raises ValueError for one that is not on the grid."""
        teacher = self.grid.teacher.index(quality.min_teacher_score)
        alignment = self.grid.alignment.index(quality.min_alignment_score)
        unplaced = self.grid.unplaced.index(quality.max_unplaced)
        share = self.grid.mention_free.index(quality.keep_mention_free)
        free = int(self.mention_free.sum())
        kept_free = int(self.mention_free[: share + 1].sum())
        rows = self.rows[unplaced]
        sure = int(rows[teacher + 1 :].sum())
        accepted = int(rows[teacher + 1 :, alignment + 1 :].sum())
        lacking = int(self.lacking[unplaced, teacher + 1 :, : alignment + 1].sum())
        contested = int(self.contested[unplaced, teacher + 1 :, alignment].sum())
        return Outcome(
            {
                "ok": accepted + kept_free,
                "low_teacher_score": int(rows.sum()) - sure,
                "unplaced_mention": lacking,
                "contested_mention": contested,
                "low_alignment_score": sure - accepted - lacking - contested,
                "mention_free": free - kept_free,
            },
            {
                label: int(counts[unplaced, teacher + 1 :, alignment + 1 :].sum())
                for label, counts in self.labels.items()
            },
        )


@dataclass(frozen=True)
class _Mentions:
    """The source mentions to be projected, [num_mentions] each, in the order of their rows.

    ``best``: the score of the surest candidate, ``chosen`` that of the place which the mention gets
    at threshold 0; _NO_PLACE where there is none. ``num_labels``: what it is labelled with there,
    2 where the place tells it twice.
    """

    row: Counts
    label: npt.NDArray[np.object_]
    score: Floats
    best: Floats
    chosen: Floats
    num_labels: Counts

    @classmethod
    def of(cls, table: pa.Table, labels: Collection[str] | None) -> _Mentions:
        """Those of a table; of all types, or of these."""
        row, mentions = _flattened(table["source_mentions"], "start", "end", "score", "label")
        is_wanted = np.array([labels is None or each in labels for each in mentions["label"]], bool)
        sizes = np.bincount(row, minlength=table.num_rows)
        first = np.cumsum(sizes) - sizes
        alignment_row, alignments = _flattened(
            table["alignments"], "source_index", "start", "end", "score"
        )
        of_mention = first[alignment_row] + alignments["source_index"]
        is_asked = is_wanted[of_mention]
        candidates = _Candidates.sorted(
            (np.cumsum(is_wanted) - 1)[of_mention[is_asked]],
            *(alignments[name][is_asked] for name in ("start", "end", "score")),
        )
        row, start = row[is_wanted], mentions["start"][is_wanted]
        best, places = candidates.placed(row, start)
        chosen = np.full(len(row), _NO_PLACE)
        chosen[places >= 0] = candidates.score[places[places >= 0]]
        spans = np.stack([start, mentions["end"][is_wanted]], axis=1)
        return cls(
            row,
            mentions["label"][is_wanted],
            mentions["score"][is_wanted],
            best,
            chosen,
            _num_labels(table, row, spans, candidates, places),
        )


def _num_labels(
    table: pa.Table, row: Counts, spans: Counts, candidates: _Candidates, places: Counts
) -> Counts:
    """How many labels each mention gets in its place: ``spans`` [num_mentions, 2] of the source."""
    found = np.ones(len(row), np.int64)
    may_be_two = pc.match_substring_regex(table["target"], _CLOSING).to_numpy()
    for number in np.flatnonzero((places >= 0) & may_be_two[row]).tolist():
        target = table["target"][row[number]].as_py()
        place = int(candidates.start[places[number]]), int(candidates.end[places[number]])
        source = table["source"][row[number]].as_py()
        span = spans[number, 0], spans[number, 1]
        found[number] = len(spans_told(source, span, target, place))
    return found


@dataclass(frozen=True)
class _Candidates:
    """The candidates of all mentions, [num_candidates] each: by mention, best first."""

    mention: Counts
    start: Counts
    end: Counts
    score: Floats

    @classmethod
    def sorted(cls, mention: Counts, start: Counts, end: Counts, score: Floats) -> _Candidates:
        order = np.lexsort((start, start - end, -score, mention))
        return cls(mention[order], start[order], end[order], score[order])

    def placed(self, row: Counts, start: Counts) -> tuple[Floats, Counts]:
        """Of mentions in these rows, which start there in the source: the score of each one's
        surest candidate, _NO_PLACE without one, and the number of the one that it gets, or -1."""
        best = np.full(len(row), _NO_PLACE)
        chosen = np.full(len(row), -1, np.int64)
        placed, surest = np.unique(self.mention, return_index=True)
        best[placed] = self.score[surest]
        chosen[placed] = surest
        # A row whose mentions are surest of places that lie apart gives each its own.
        rows = row[placed]
        order = np.lexsort((self.start[surest], rows))
        here, after = order[:-1], order[1:]
        collide = (rows[here] == rows[after]) & (self.start[surest[after]] < self.end[surest[here]])
        for which in np.unique(rows[here[collide]]):
            members = range(*np.searchsorted(row, [which, which + 1]).tolist())
            chosen[members.start : members.stop] = self._greedy(members, start)
        return best, chosen

    def _greedy(self, members: range, start: Counts) -> list[int]:
        """The candidates that the mentions of one row get, -1 for none."""
        edges = np.searchsorted(self.mention, [*members, members.stop]).tolist()
        offered = [
            [
                Candidate(*place, "")
                for place in zip(
                    self.start[a:b].tolist(),
                    self.end[a:b].tolist(),
                    self.score[a:b].tolist(),
                    strict=True,
                )
            ]
            for a, b in pairwise(edges)
        ]
        mentions = [Mention(int(start[each]), int(start[each]) + 1, "") for each in members]
        return [
            -1 if choice is None else first + choice
            for first, choice in zip(edges[:-1], greedy(mentions, offered, 0.0), strict=True)
        ]


def _counted(grid: Grid, mentions: _Mentions, num_wanted: Counts) -> dict[str, Any]:
    """The counts of rows with mentions, as the fields of :class:`Thresholds`.

    ``num_wanted`` [num_rows]: mentions to be projected.
    """
    rows = np.flatnonzero(num_wanted)
    size = num_wanted[rows]
    last = np.cumsum(size) - 1
    place = np.repeat(np.arange(len(rows)), size)
    shape = (len(grid.unplaced), len(grid.teacher) + 1, len(grid.alignment) + 1)
    counts: dict[str, Any] = {
        "rows": np.zeros(shape, np.int64),
        "lacking": np.zeros(shape, np.int64),
        "contested": np.zeros((*shape[:2], len(grid.alignment)), np.int64),
        "labels": {label: np.zeros(shape, np.int64) for label in sorted(set(mentions.label))},
    }
    if not len(rows):
        return counts
    sure = np.searchsorted(
        grid.teacher, np.minimum.reduceat(mentions.score, last - size + 1), side="right"
    )
    chosen = np.searchsorted(grid.alignment, mentions.chosen, side="right")
    best = np.searchsorted(grid.alignment, mentions.best, side="right")
    is_lacking = np.minimum.reduceat(mentions.best, last - size + 1) == _NO_PLACE
    # Each row's places, least sure first.
    ascending = chosen[np.lexsort((chosen, place))]
    loses = np.unique(place[(best > chosen) & ~is_lacking[place]])
    for number, unplaced in enumerate(grid.unplaced):
        # The least sure place that must be there.
        needed = np.full(len(rows), len(grid.alignment))
        has_more = size > unplaced
        needed[has_more] = ascending[(last - size + 1)[has_more] + unplaced]
        np.add.at(counts["rows"][number], (sure, needed), 1)
        np.add.at(counts["lacking"][number], (sure[is_lacking], needed[is_lacking]), 1)
        passed = np.minimum(chosen, needed[place])
        for label, of_label in counts["labels"].items():
            mine = mentions.label == label
            where = sure[place[mine]], passed[mine]
            np.add.at(of_label[number], where, mentions.num_labels[mine])
        for row in loses.tolist():
            # A threshold between a mention's place and its best candidate finds that place taken.
            members = slice(last[row] - size[row] + 1, last[row] + 1)
            is_taken = np.zeros(len(grid.alignment), np.int64)
            for low, high in zip(chosen[members], best[members], strict=True):
                is_taken[low:high] = 1
            is_taken[: needed[row]] = 0
            counts["contested"][number, sure[row]] += is_taken
    return counts


def _flattened(column: pa.ChunkedArray, *names: str) -> tuple[Counts, dict[str, Any]]:
    """The row of each struct in a column of lists, and some fields of them all."""
    lists = column.combine_chunks()
    row = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    structs = pc.list_flatten(lists)
    return row, {
        name: structs.field(name).to_numpy(zero_copy_only=False).astype(_TYPES[name])
        for name in names
    }
