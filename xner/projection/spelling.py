"""How alike a name and the words of its translation are spelled.

Letters of all scripts are romanised, so that a transliterated name has its letters back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from anyascii import anyascii

Codes = npt.NDArray[np.int64]

# Bigrams are numbered: all letters are ASCII, and 0 stands for either border of a text.
_LETTERS = 128


@dataclass(frozen=True, eq=False)
class Letters:
    """The letters of a text's words, one word after another.

    ``codes`` are ASCII codes, with a 0 at the end; word i has those of ``bounds[i]`` to
    ``bounds[i + 1]``.
    """

    codes: Codes
    bounds: Codes

    @classmethod
    def of(cls, words: Iterable[str]) -> Letters:
        """Those of the words. Case, spaces and diacritics do not count."""
        romanised = [_romanised(word) for word in words]
        bounds = np.cumsum([0, *map(len, romanised)])
        return cls(np.frombuffer(b"".join([*romanised, b"\0"]), np.uint8).astype(np.int64), bounds)

    def shared(self, names: Sequence[str], firsts: Codes, stops: Codes) -> npt.NDArray[Any]:
        """The share of each name in each span of words: [names, spans] in [0, 1].

        Span i has the words of ``firsts[i]`` to ``stops[i]``. It is the Dice coefficient of their
        letters' bigrams, borders counted.
        """
        starts, ends = self.bounds[firsts], self.bounds[stops]
        if not names:
            return np.zeros((0, len(starts)))
        grams = [_bigrams(_romanised(name)) for name in names]
        inside, times = np.concatenate([each.inside for each in grams], axis=1)
        # How often each bigram stands before each place.
        before = np.zeros((len(inside), len(self.codes)), np.int64)
        np.cumsum(self._bigrams == inside[:, None], axis=1, out=before[:, 1:])
        counts = before[:, np.maximum(ends - 1, starts)] - before[:, starts]
        rows = np.cumsum([0, *(each.inside.shape[1] for each in grams[:-1])])
        shared = np.add.reduceat(np.minimum(counts, times[:, None]), rows, axis=0)
        is_empty = starts == ends
        first = np.where(is_empty, 0, self.codes[starts])
        last = np.where(is_empty, -1, self.codes[ends - 1] * _LETTERS)
        borders = np.array([each.borders for each in grams])
        shared += first == borders[:, :1]
        shared += last == borders[:, 1:]
        sizes = np.array([each.size for each in grams])
        found: npt.NDArray[Any] = 2 * shared / (sizes[:, None] + ends - starts + 1)
        return found

    @cached_property
    def _bigrams(self) -> Codes:
        return self.codes[:-1] * _LETTERS + self.codes[1:]


@dataclass(frozen=True, eq=False)
class _Bigrams:
    """A name's bigrams: ``inside`` [2, different ones], each and how often; the two at its
    ``borders``; and how many they are, ``size``."""

    inside: Codes
    borders: tuple[int, int]
    size: int


@lru_cache(maxsize=65_536)
def _bigrams(letters: bytes) -> _Bigrams:
    inside = Counter(a * _LETTERS + b for a, b in pairwise(letters))
    # One that no text has, so that no name is without.
    counted = [*inside.items(), (-1, 0)]
    borders = (letters[0], letters[-1] * _LETTERS) if letters else (0, 0)
    return _Bigrams(np.array(counted).T, borders, len(letters) + 1)


@lru_cache(maxsize=65_536)
def _romanised(text: str) -> bytes:
    return "".join(anyascii(text).lower().split()).encode()
