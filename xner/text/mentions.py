"""Mentions: labelled character spans of a raw text.

A mention is the half-open span ``[start, end)`` of the text that it belongs to, counted in
Unicode code points. Words, tags and sub-words are views of mentions and never replace them.
"""

from __future__ import annotations

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
