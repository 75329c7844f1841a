"""Sampled rows and the thresholds of the run, as the page's script reads them.

Scores are in 4096ths, the steps that shards keep, so that JSON's numbers are short and exact; the
script decides rows as :mod:`xner.projection.quality` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xner.config import QualityConfig
from xner.projection.combine import REASONS
from xner.projection.quality import share_of, spans_told
from xner.projection.thresholds import Thresholds
from xner.report.census import Census
from xner.shards.schema import EVIDENCE

_FULL_SCORE = 4096


def browser_data(census: Census, sample: pa.Table, quality: QualityConfig | None) -> dict[str, Any]:
    """What the page's script needs; ``quality``: the rules that decide the rows, if any do."""
    rows = [_row(row) for row in sample.to_pylist()]
    errors = {
        reason or status: count
        for (status, reason), count in census.refused().items()
        if status == "error"
    }
    thresholds = census.thresholds
    return {
        "num_rows": census.num_rows,
        "types": sorted({label for _, label in (*census.found, *census.labels)}),
        "witnesses": EVIDENCE.names,
        "reasons": REASONS,
        "errors": errors,
        "rules": None if quality is None else quality.model_dump(mode="json"),
        "thresholds": None if thresholds is None else _thresholds(thresholds),
        "rows": rows,
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the ``pseudo`` schema; what rule.js calls a mention, a candidate and a label."""
    mentions = row["source_mentions"] or []
    candidates: list[list[Any]] = [[] for _ in mentions]
    for each in row["alignments"] or []:
        mention, place = mentions[each["source_index"]], (each["start"], each["end"])
        spans = spans_told(row["source"], (mention["start"], mention["end"]), row["target"], place)
        evidence = each["evidence"] and [_steps(each["evidence"][name]) for name in EVIDENCE.names]
        candidates[each["source_index"]].append(
            [
                *(*place, _steps(each["score"]), each["method"], evidence),
                *([spans] if len(spans) > 1 else []),
            ]
        )
    told = {"pair_id", "corpus", "source_lang", "target_lang", "source", "target"}
    return {
        **{name: row[name] for name in sorted(told)},
        "mentions": [[m["start"], m["end"], m["label"], _steps(m["score"])] for m in mentions],
        "candidates": candidates,
        "labels": [
            [
                *(m["start"], m["end"], m["label"], _steps(m["score"])),
                *(_steps(m["alignment_score"]), m["source_index"]),
            ]
            for m in row["mentions"] or []
        ],
        "weight": row["weight"] or 0.0,
        "status": row["status"],
        "reason": row["reason"],
        "error": row.get("error"),
        "share": share_of(row["pair_id"]),
    }


def _steps(score: float | None) -> float | None:
    if score is None:
        return None
    steps = score * _FULL_SCORE
    return int(steps) if steps.is_integer() else steps


def _thresholds(thresholds: Thresholds) -> dict[str, Any]:
    """The counts as JSON: the cells that are not 0, as their indices and the count."""
    grid = thresholds.grid
    return {
        "grid": {
            "min_teacher_score": grid.teacher,
            "min_alignment_score": grid.alignment,
            "max_unplaced": grid.unplaced,
            "keep_mention_free": grid.mention_free,
        },
        "rows": _cells(thresholds.rows),
        "labels": {label: _cells(counts) for label, counts in thresholds.labels.items()},
        "lacking": _cells(thresholds.lacking),
        "contested": _cells(thresholds.contested),
        "mention_free": thresholds.mention_free.tolist(),
    }


def _cells(counts: npt.NDArray[np.int64]) -> list[list[int]]:
    return np.column_stack([*np.nonzero(counts), counts[counts != 0]]).tolist()
