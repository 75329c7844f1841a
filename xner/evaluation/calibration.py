"""Whether a label's score is the chance that the label is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Scores from which on labels are counted.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """Labels of a range of scores: how many, their mean score, which shares are right.

    A mean or a share of no labels is None.
    """

    low: float
    high: float
    num_labels: int
    mean_score: float | None
    right: float | None
    right_untyped: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a label's score is the chance that it is right; strict, typed unless told otherwise.

    ``above`` has a row a threshold,
    ``bins`` one a tenth; the expected calibration errors are the mean distance of score and share
    over the bins, weighted by labels (Guo et al. 2017).
    """

    above: tuple[Reliability, ...]
    bins: tuple[Reliability, ...]
    expected_error: float
    expected_error_untyped: float


def calibrate(labels: Sequence[tuple[float, bool, bool]]) -> Calibration:
    """The calibration of labels given as score, right, right but for the type."""
    table = np.array(labels, np.float64).reshape(-1, 3)
    scores = table[:, 0]
    edges = np.arange(_NUM_BINS + 1) / _NUM_BINS
    # The last bin holds its upper edge too.
    bin_of = np.minimum(np.searchsorted(edges, scores, side="right") - 1, _NUM_BINS - 1)
    return Calibration(
        above=tuple(_reliability(low, 1.0, table[scores >= low]) for low in THRESHOLDS),
        bins=tuple(
            _reliability(float(edges[b]), float(edges[b + 1]), table[bin_of == b])
            for b in range(_NUM_BINS)
        ),
        expected_error=_expected_error(table[:, [0, 1]], bin_of),
        expected_error_untyped=_expected_error(table[:, [0, 2]], bin_of),
    )


def _reliability(low: float, high: float, labels: npt.NDArray[np.float64]) -> Reliability:
    if not len(labels):
        return Reliability(low, high, 0, None, None, None)
    return Reliability(low, high, len(labels), *map(float, labels.mean(axis=0)))


def _expected_error(labels: npt.NDArray[np.float64], bin_of: npt.NDArray[np.intp]) -> float:
    """From scores and rights in two columns, and the bin of each row."""
    gaps = np.bincount(bin_of, labels[:, 0] - labels[:, 1], minlength=_NUM_BINS)
    return float(np.abs(gaps).sum() / len(labels)) if len(labels) else 0.0
