from __future__ import annotations

import numpy as np
import pytest

from xner.projection.calibration import (
    IDENTITY,
    Calibration,
    calibration_error,
    fit_calibration,
)


@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (0.5, 0.5), (1.5, -1.4)])
def test_calibration_finds_what_made_the_scores(scale: float, bias: float) -> None:
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.5, 1.0, size=4000).tolist()
    true = [Calibration(scale, bias)(score) for score in scores]
    right = (generator.random(4000) < true).tolist()
    fitted = fit_calibration(scores, right)
    assert (fitted.scale, fitted.bias) == pytest.approx((scale, bias), abs=0.2)
    after = [fitted(score) for score in scores]
    assert calibration_error(after, right) < 0.03
    if bias < 0:
        assert calibration_error(scores, right) > 4 * calibration_error(after, right)


def test_calibration_concludes_little_from_few_spans() -> None:
    assert fit_calibration([], []) == IDENTITY
    assert 0.6 < fit_calibration([0.9], [False])(0.9) < 0.9
    assert fit_calibration([0.6] * 200, [False] * 200)(0.6) < 0.1


def test_calibration_of_spans_that_are_all_right_stays_below_certainty() -> None:
    fitted = fit_calibration([0.8, 0.99] * 50, [True] * 100)
    assert 0.95 < fitted(0.9) < 0.9999


def test_calibration_keeps_the_order_of_scores() -> None:
    scores = np.linspace(0, 1, 50)
    for fitted in (Calibration(1.5, -1.4), fit_calibration([0.5, 0.99] * 99, [True, False] * 99)):
        after = [fitted(score) for score in scores]
        assert (np.diff(after[1:-1]) > 0).all() and 0 < after[0] <= after[-1] < 1
    assert [IDENTITY(score) for score in (0.0, 0.3, 1.0)] == [0.0, 0.3, 1.0]


def test_calibration_error_is_the_gap_between_scores_and_shares() -> None:
    assert calibration_error([], []) == 0.0
    assert calibration_error([1.0, 1.0], [True, True]) == 0.0
    assert calibration_error([0.9, 0.9, 0.5], [True, False, True]) == pytest.approx(1.3 / 3)
    assert calibration_error([0.95] * 20, [True] * 19 + [False]) == pytest.approx(0.0)


@pytest.mark.parametrize("least", [0.6, 0.9])
def test_calibration_of_scores_that_tell_the_opposite_is_the_share_that_is_right(
    least: float,
) -> None:
    generator = np.random.default_rng(1)
    scores = generator.uniform(least, 1.0, size=4000)
    right = generator.random(4000) < 0.9 - 0.6 * (scores - least) / (1 - least)
    fitted = fit_calibration(scores.tolist(), right.tolist())
    assert 0 < fitted.scale < 0.1
    assert [fitted(each) for each in scores] == pytest.approx([right.mean()] * 4000, abs=0.02)
