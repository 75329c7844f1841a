"""Whether a label's score is the chance that the label is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xner.projection.calibration import bins_of, calibration_error

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
class CalibrationReport:
    """Whether a label's score is the chance that it is right; strict, typed unless told otherwise.

    ``above`` has a row a threshold, ``bins`` one a tenth; the expected errors are those of
    :func:`xner.projection.calibration.calibration_error` over these bins.
    """

    above: tuple[Reliability, ...]
    bins: tuple[Reliability, ...]
    expected_error: float
    expected_error_untyped: float


def calibrate(labels: Sequence[tuple[float, bool, bool]]) -> CalibrationReport:
    """The calibration of labels given as score, right, right but for the type."""
    table = np.array(labels, np.float64).reshape(-1, 3)
    scores = table[:, 0]
    edges = np.arange(_NUM_BINS + 1) / _NUM_BINS
    bin_of = bins_of(scores, _NUM_BINS)
    return CalibrationReport(
        above=tuple(_reliability(low, 1.0, table[scores >= low]) for low in THRESHOLDS),
        bins=tuple(
            _reliability(float(edges[b]), float(edges[b + 1]), table[bin_of == b])
            for b in range(_NUM_BINS)
        ),
        expected_error=calibration_error(scores, table[:, 1], _NUM_BINS),
        expected_error_untyped=calibration_error(scores, table[:, 2], _NUM_BINS),
    )


def _reliability(low: float, high: float, labels: npt.NDArray[np.float64]) -> Reliability:
    if not len(labels):
        return Reliability(low, high, 0, None, None, None)
    return Reliability(low, high, len(labels), *map(float, labels.mean(axis=0)))
