"""Where a name stands in a text, at word borders: "Iran" is not in "Iraner".

A border is what the text's word segmentation says it is, so the same search serves scripts with
spaces and scripts without.
"""

from __future__ import annotations

from collections.abc import Sequence

from xner.text.words import Span


def occurrences(name: str, text: str, words: Sequence[Span]) -> list[Span]:
    """The non-overlapping places where ``name`` stands in ``text``, in text order.

    ``words`` are the spans of the text's words; a place must begin where one of them begins and
    end where one ends. The comparison is by code point: no case folding, no normalisation.
    """
    if not name or name not in text:
        return []
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    found: list[Span] = []
    start = text.find(name)
    while start >= 0:
        end = start + len(name)
        at_borders = start in starts and end in ends
        if at_borders:
            found.append((start, end))
        start = text.find(name, end if at_borders else start + 1)
    return found
