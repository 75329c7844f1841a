from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.corpora.sampling import Threshold, quotas


def _keys(num_keys: int, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(np.int64)
    return np.random.default_rng(seed).integers(limits.min, limits.max, num_keys)


def _sample(keys: np.ndarray, limit: int | None, block: int) -> tuple[np.ndarray, int]:
    """The sample, and how many keys were admitted on the way."""
    threshold = Threshold(limit)
    blocks = [keys[start : start + block] for start in range(0, len(keys), block)]
    admitted = np.concatenate([part[threshold.admit(part)] for part in blocks])
    bound = threshold.bound()
    kept = admitted if bound is None else admitted[admitted <= bound]
    return np.unique(kept), len(admitted)


@pytest.mark.parametrize("block", [1_000, 7_777, 300_000])
def test_sampling_threshold_keeps_exactly_the_smallest_keys(block: int) -> None:
    keys = _keys(300_000)
    sample, _ = _sample(keys, 1_000, block)
    assert np.array_equal(sample, np.sort(keys)[:1_000])


def test_sampling_threshold_does_not_depend_on_the_order() -> None:
    keys = _keys(100_000)
    shuffled = np.random.default_rng(1).permutation(keys)
    assert np.array_equal(_sample(keys, 500, 4_096)[0], _sample(shuffled, 500, 999)[0])


def test_sampling_threshold_turns_most_of_a_long_stream_away() -> None:
    _, num_admitted = _sample(_keys(1_000_000), 1_000, 32_768)
    assert num_admitted < 200_000


def test_sampling_threshold_counts_equal_keys_once() -> None:
    keys = np.repeat(_keys(3_000), 50)
    sample, _ = _sample(keys, 2_000, 10_000)
    assert np.array_equal(sample, np.unique(keys)[:2_000])


@pytest.mark.parametrize("limit", [None, 1_001])
def test_sampling_threshold_of_a_short_stream_is_open(limit: int | None) -> None:
    threshold = Threshold(limit)
    assert threshold.admit(_keys(1_000)).all()
    assert threshold.bound() is None


def test_sampling_threshold_refuses_an_empty_sample() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Threshold(0)


@pytest.mark.parametrize(
    ("available", "target", "expected"),
    [
        ([100, 100, 100], 9, [3, 3, 3]),
        ([100, 100, 100], 8, [3, 3, 2]),
        ([1, 100, 100], 21, [1, 10, 10]),
        ([100, 3, 0, 10], 30, [17, 3, 0, 10]),
        ([4, 5], 100, [4, 5]),
        ([4, 5], None, [4, 5]),
        ([], 3, []),
        ([0, 0], 3, [0, 0]),
    ],
)
def test_sampling_quotas_are_equal_where_they_can_be(
    available: list[int], target: int | None, expected: list[int]
) -> None:
    assert quotas(available, target) == expected


@given(st.lists(st.integers(0, 20), max_size=7), st.integers(0, 80))
def test_sampling_quotas_are_those_of_dealing_one_by_one(available: list[int], target: int) -> None:
    dealt = [0] * len(available)
    left = min(target, sum(available))
    while left:
        for index in range(len(available)):
            if left and dealt[index] < available[index]:
                dealt[index] += 1
                left -= 1
    assert quotas(available, target) == dealt
