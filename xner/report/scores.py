"""Scores as columns of tables on the terminal."""

from __future__ import annotations

from typing import Any

from xner.evaluation.bootstrap import Difference, Interval
from xner.evaluation.scoring import Counts


def rates(name: str, counts: Counts) -> dict[str, Any]:
    """A row of rates and counts."""
    return {
        "": name,
        "precision": counts.precision,
        "recall": counts.recall,
        "F1": counts.f1,
        "right": counts.true_positives,
        "wrong": counts.false_positives,
        "missed": counts.false_negatives,
    }


def between(interval: Interval | None) -> str:
    """An interval as a cell."""
    return "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def compared(name: str, found: Difference) -> dict[str, Any]:
    """A row of a paired test."""
    return {"": name, "difference": found.f1, "95 %": between(found.interval), "p": found.p}
