from __future__ import annotations

import math

import numpy as np
import pytest

from xner.config import BootstrapConfig
from xner.evaluation.bootstrap import Interval, difference, intervals, sentence_counts
from xner.evaluation.scoring import score_mentions
from xner.text.mentions import Mention

CONFIG = BootstrapConfig(samples=20_000, seed=1)


def binomial_quantile(share: float, num_trials: int, probability: float) -> int:
    """The smallest number of successes whose cumulative probability reaches ``share``."""
    total = 0.0
    for successes in range(num_trials + 1):
        total += (
            math.comb(num_trials, successes)
            * probability**successes
            * (1 - probability) ** (num_trials - successes)
        )
        if total >= share:
            return successes
    return num_trials


def test_intervals_of_one_mention_a_sentence_are_the_binomial_distribution_s() -> None:
    # A sentence has one mention, found or replaced by a wrong one: all three rates are the share
    # of right sentences, and a resample draws their number from a binomial distribution.
    counts = np.array([[1, 0, 0]] * 60 + [[0, 1, 1]] * 40)
    low, high = (binomial_quantile(share, 100, 0.6) / 100 for share in (0.025, 0.975))
    for interval in intervals(counts, CONFIG).values():
        assert interval.low == pytest.approx(low, abs=0.011)
        assert interval.high == pytest.approx(high, abs=0.011)


def test_intervals_of_scores_without_variance_are_points() -> None:
    certain = np.array([[2, 0, 0]] * 5)
    assert set(intervals(certain, CONFIG).values()) == {Interval(1.0, 1.0)}
    assert set(intervals(np.zeros((5, 3), np.int64), CONFIG).values()) == {Interval(0.0, 0.0)}


def test_intervals_do_not_depend_on_the_blocks_they_are_drawn_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = np.random.default_rng(0).integers(0, 3, (40, 3))
    whole = intervals(counts, BootstrapConfig(samples=500))
    monkeypatch.setattr("xner.evaluation.bootstrap._MAX_CELLS", 40 * 7)
    assert intervals(counts, BootstrapConfig(samples=500)) == whole
    assert intervals(counts, BootstrapConfig(samples=500, seed=1)) != whole


def test_sentence_counts_sum_to_the_scores() -> None:
    gold = [[Mention(0, 3, "PER"), Mention(5, 9, "LOC")], [], [Mention(1, 2, "LOC")]]
    found = [[Mention(0, 3, "PER"), Mention(5, 9, "ORG")], [Mention(0, 3, "PER")], []]
    for typed in (True, False):
        counts = sentence_counts(gold, found, typed)
        overall = score_mentions(gold, found, typed).overall
        assert counts.sum(axis=0).tolist() == [
            overall.true_positives,
            overall.false_positives,
            overall.false_negatives,
        ]
    assert sentence_counts(gold, found).tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 1]]


def test_difference_of_a_system_and_itself_is_none() -> None:
    counts = np.array([[1, 0, 0], [0, 1, 1]] * 20)
    found = difference(counts, counts, CONFIG)
    assert (found.f1, found.interval, found.p) == (0.0, Interval(0.0, 0.0), 1.0)


def test_difference_of_paired_systems_is_tested_on_the_same_resamples() -> None:
    # One more sentence right of a hundred, all others alike: the difference is the share of
    # resampled sentences that are that one, and it is absent with probability (1 - 1/100)^100.
    worse = np.array([[1, 0, 0]] * 50 + [[0, 1, 1]] * 50)
    better = worse.copy()
    better[-1] = [1, 0, 0]
    found = difference(better, worse, CONFIG)
    assert found.f1 == pytest.approx(0.01)
    assert found.interval.low == 0.0
    assert found.p == pytest.approx(2 * 0.99**100, abs=0.02)
    assert difference(worse, better, CONFIG).f1 == pytest.approx(-0.01)


def test_difference_of_systems_far_apart_is_beyond_chance() -> None:
    right, wrong = np.array([[1, 0, 0]] * 50), np.array([[0, 1, 1]] * 50)
    found = difference(right, wrong, BootstrapConfig(samples=999))
    assert (found.f1, found.interval, found.p) == (1.0, Interval(1.0, 1.0), 2 / 1000)
    with pytest.raises(ValueError, match="50 sentences and 49"):
        difference(right, wrong[:49], CONFIG)
