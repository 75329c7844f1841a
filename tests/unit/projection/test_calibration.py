from __future__ import annotations

import numpy as np
import pytest

from xner.projection.calibration import (
    MIN_SPANS,
    TEMPERATURES,
    calibration_error,
    fit_temperature,
    tempered,
)


def test_calibration_temperature_divides_logits() -> None:
    p = np.array([[0.0, 0.2, 0.5, 0.9, 1.0]], dtype=np.float32)
    assert tempered(p, 1.0) == pytest.approx(p, abs=1e-6)
    odds = p[0, 1:4] / (1 - p[0, 1:4])
    assert tempered(p, 2.0)[0, 1:4] == pytest.approx(odds**0.5 / (1 + odds**0.5))
    assert tempered(p, 4.0)[0, 2] == 0.5
    assert (np.diff(tempered(p, 10.0)) > 0).all()


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_calibration_finds_the_temperature_that_made_the_scores(true_temperature: float) -> None:
    generator = np.random.default_rng(0)
    claimed = 1 / (1 + np.exp(-generator.uniform(0, 6, size=4000)))
    is_right = generator.random(4000) < tempered(claimed, true_temperature)

    def scored(temperature: float) -> tuple[list[float], list[bool]]:
        return tempered(claimed, temperature).tolist(), is_right.tolist()

    assert fit_temperature(scored) == pytest.approx(true_temperature, rel=0.15)
    error = calibration_error(*scored(fit_temperature(scored)))
    assert error < 0.03
    if true_temperature == 3.0:
        assert calibration_error(*scored(1.0)) > 5 * error


def test_calibration_concludes_nothing_from_few_spans() -> None:
    def scored(count: int, right: bool) -> float:
        return fit_temperature(lambda t: ([float(tempered(0.9, t))] * count, [right] * count))

    assert scored(0, True) == scored(MIN_SPANS - 1, True) == 1.0
    assert scored(MIN_SPANS, False) == TEMPERATURES[-1]


def test_calibration_of_spans_that_are_all_right_stays_below_certainty() -> None:
    fitted = fit_temperature(lambda t: ([float(tempered(0.9, t))] * 60, [True] * 60))
    assert 0.95 < tempered(0.9, fitted) < 0.995


def test_calibration_error_is_the_gap_between_scores_and_shares() -> None:
    assert calibration_error([], []) == 0.0
    assert calibration_error([1.0, 1.0], [True, True]) == 0.0
    assert calibration_error([0.9, 0.9, 0.5], [True, False, True]) == pytest.approx(1.3 / 3)
    assert calibration_error([0.95] * 20, [True] * 19 + [False]) == pytest.approx(0.0)
