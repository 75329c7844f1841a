"""Chinese letters and words, which no space shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import accumulate

import opencc

from xner.text.languages import language_of
from xner.text.words import Span, is_unspaced


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


def whole_words(text: str, words: Sequence[Span], lang: str | None) -> Sequence[Span]:
    """The words of a text, in Chinese its letters put together to the words of jieba's dictionary.

    Of all ways to cut a text into such words it is the likeliest. Letters that are part of none
    stay words by themselves: a name that the dictionary lacks has a border at each letter.
    ``words``: those of :func:`xner.text.words.segment`. Texts in other languages, or in one that is
    not known (None), keep them.
    """
    if lang is None or language_of(lang) != "zh":
        return words
    borders = _borders(text)
    found: list[Span] = []
    joins = False
    for start, end in words:
        is_letter = is_unspaced(text[start:end])
        if joins and is_letter and found[-1][1] == start and start not in borders:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
        joins = is_letter
    return found


def _borders(text: str) -> frozenset[int]:
    # Its dictionary takes 33 MiB and a fifth of a second.
    import rjieba

    return frozenset(accumulate(map(len, rjieba.cut(simplified(text), hmm=False)), initial=0))
