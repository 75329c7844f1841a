"""Equal-weight sampling from several corpora in one pass, whatever the order of reading.

A pair's key is a hash of its text and the seed, so the pairs with the n smallest keys are a random
sample that does not depend on who reads which pair when: bottom-n sampling (Cohen and Kaplan 2007).
While a corpus streams by, only its n smallest keys need be known, eight bytes each. How many a
corpus may give is settled when all are read, by filling shares like connected vessels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_MIN_PENDING = 1 << 16


class Threshold:
    """The ``limit`` smallest distinct keys of a stream, as far as they can be told so far.

    ``admit`` never turns away a key at or below the final ``bound``, and ever fewer above it.
    Takes time and memory in proportion to ``limit``, at least to 65,536 keys. ``limit`` None
    admits everything.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self._limit = limit
        self._smallest = np.empty(0, np.int64)
        self._pending: list[npt.NDArray[np.int64]] = []
        self._num_pending = 0

    def admit(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Count in the keys of some pairs; True for each that may still be in the sample."""
        if self._limit is None:
            return np.ones(len(keys), np.bool_)
        known = self._bound()
        admitted = np.ones(len(keys), np.bool_) if known is None else keys <= known
        self._pending.append(keys[admitted])
        self._num_pending += len(self._pending[-1])
        if self._num_pending >= max(self._limit, _MIN_PENDING):
            self._merge()
        return admitted

    def bound(self) -> int | None:
        """The largest key of the sample; None when the sample is the whole stream."""
        if self._limit is None:
            return None
        self._merge()
        return self._bound()

    def _bound(self) -> int | None:
        return None if len(self._smallest) != self._limit else int(self._smallest[-1])

    def _merge(self) -> None:
        merged = np.unique(np.concatenate([self._smallest, *self._pending]))
        self._smallest = merged[: self._limit].copy()
        self._pending, self._num_pending = [], 0


def quotas(available: Sequence[int], target: int | None) -> list[int]:
    """How many pairs each corpus gives so that ``target`` come together with equal weights.

    A corpus with less than its share gives all it has, and the others make up for it in equal
    parts; what does not divide evenly goes to the first ones. Their sum is ``target``, or all
    there is when that is less or ``target`` is None.
    """
    shares = [0] * len(available)
    rest = sum(available) if target is None else min(target, sum(available))
    able = [index for index, pairs in enumerate(available) if pairs]
    while rest >= len(able) > 0:
        level = min(rest // len(able), *(available[index] - shares[index] for index in able))
        for index in able:
            shares[index] += level
        rest -= level * len(able)
        able = [index for index in able if shares[index] < available[index]]
    for index in able[:rest]:
        shares[index] += 1
    return shares
