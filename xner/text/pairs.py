"""A sentence and its translation, each with its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xner.text.words import Span


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two raw texts and the spans of their words (see :mod:`xner.text.words`).

    ``whole_words``: the words of the target that no mention tears, each of which may be several of
    ``target_words``; None where they are these.
    """

    source: str
    source_words: Sequence[Span]
    target: str
    target_words: Sequence[Span]
    whole_words: Sequence[Span] | None = None
