"""A sentence and its translation, each with its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xner.text.words import Span


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two raw texts and the spans of their words (see :mod:`xner.text.words`).

    ``target_lang``: that of the target, where it is known.
    """

    source: str
    source_words: Sequence[Span]
    target: str
    target_words: Sequence[Span]
    target_lang: str | None = None
