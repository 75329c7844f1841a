from __future__ import annotations

import pytest

from xner.evaluation.calibration import CalibrationReport, calibrate


def test_calibrate_counts_labels_and_shares_by_score() -> None:
    found = calibrate(
        [(1.0, True, True), (0.95, False, True), (0.5, True, True), (0.1, False, False)]
    )
    above = {each.low: each for each in found.above}
    assert {low: each.num_labels for low, each in above.items()} == {
        **{0.5: 3, 0.6: 2, 0.7: 2},
        **{0.8: 2, 0.9: 2, 0.95: 2},
    }
    assert (above[0.9].right, above[0.9].right_untyped) == (0.5, 1.0)
    assert above[0.9].mean_score == pytest.approx(0.975)
    # The edge of two bins is in the upper one, the highest score in the last.
    assert [each.num_labels for each in found.bins] == [0, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert found.bins[0].right is None


def test_calibrate_expected_error_is_the_mean_gap_weighted_by_labels() -> None:
    scores = [(0.85, True, True)] * 3 + [(0.85, False, True)] + [(0.25, False, False)]
    found = calibrate(scores)
    assert found.expected_error == pytest.approx((4 * (0.85 - 0.75) + 0.25) / 5)
    assert found.expected_error_untyped == pytest.approx((4 * (1 - 0.85) + 0.25) / 5)
    honest = calibrate([(0.75, True, True)] * 3 + [(0.75, False, False)])
    assert honest.expected_error == pytest.approx(0.0)


def test_calibrate_puts_every_tenth_into_the_bin_that_begins_there() -> None:
    for tenth in range(10):
        bins = calibrate([(tenth / 10, True, True)]).bins
        assert [each.num_labels for each in bins].index(1) == tenth


def test_calibrate_of_nothing_is_empty() -> None:
    found = calibrate([])
    assert isinstance(found, CalibrationReport)
    assert (found.expected_error, [each.num_labels for each in found.above]) == (0.0, [0] * 6)
