"""Mentions: labelled character spans of a raw text, and the arithmetic on them.

A mention is the half-open span ``[start, end)`` of the text that it belongs to, counted in
Unicode code points. Words, tags and sub-words are views of mentions and never replace them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """A labelled span; ``score`` is the probability that whoever found it assigned to it."""

    start: int
    end: int
    label: str
    score: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a span needs 0 <= start < end, got [{self.start}, {self.end})")


def overlaps(first: Mention, second: Mention) -> bool:
    """Whether the two spans share at least one character."""
    return first.start < second.end and second.start < first.end


def contains(outer: Mention, inner: Mention) -> bool:
    """Whether every character of ``inner`` lies in ``outer``."""
    return outer.start <= inner.start and inner.end <= outer.end


def without_overlaps(mentions: Iterable[Mention]) -> list[Mention]:
    """The best mentions that do not overlap, in text order.

    Greedy by score; of equal scores the longer one wins, then the earlier one.
    """
    kept: list[Mention] = []
    for mention in sorted(mentions, key=lambda m: (-m.score, m.start - m.end, m.start)):
        if not any(overlaps(mention, other) for other in kept):
            kept.append(mention)
    return sorted(kept)
