"""Chinese letters and words, which no space shows."""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import accumulate

import opencc


def simplified(text: str) -> str:
    """Han letters in their simplified form, one for one: corpora mix the two, and words are
    compared by this; the text itself is never changed."""
    return "".join(map(_simplified_letter, text))


@lru_cache(maxsize=65_536)
def _simplified_letter(letter: str) -> str:
    found: str = _to_simplified().convert(letter)
    return found if len(found) == 1 else letter


@cache
def _to_simplified() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def word_borders(text: str) -> frozenset[int]:
    """The offsets of a Chinese text at which a word begins or ends, by the dictionary of jieba.

    Of all ways to cut the text into its words it is the likeliest. Letters that are part of none
    are words by themselves, so a name that the dictionary lacks has a border at each letter.
    """
    # Its dictionary takes 33 MiB and a fifth of a second.
    import rjieba

    return frozenset(accumulate(map(len, rjieba.cut(simplified(text), hmm=False)), initial=0))
