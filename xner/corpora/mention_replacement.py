"""Sentences whose names are exchanged for others, so that less is learned by heart.

Mention replacement (Dai and Adel 2020, "An analysis of simple data augmentation for named entity
recognition"): a copy of a sentence has, where a mention was, another mention of the same type.
Where text is little, the same few names would else stand in the same few sentences in every epoch.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xner.corpora.tagged import TaggedSentence
from xner.text.iob2 import OUTSIDE, UNKNOWN, chunks
from xner.text.words import Span

# A name, and its words as spans of it.
_Form = tuple[str, tuple[Span, ...]]
_Forms = Mapping[tuple[str, str], Sequence[_Form]]


def with_replacements(
    sentences: Sequence[TaggedSentence], num_copies: int, seed: int
) -> list[TaggedSentence]:
    """The sentences, and behind them ``num_copies`` of each that has a mention.

    In a copy every mention is replaced by one that is drawn from the different mentions of its type
    and language in all the sentences. The copies depend on these and the seed alone. Words that
    teach nothing (``?``) stay. Those of a new mention have the scores of the first word that it
    replaces.
    """
    if not num_copies:
        return list(sentences)
    forms = _forms_of(sentences)
    copies = []
    for sentence in sentences:
        mentions = _mentions(sentence)
        choose = random.Random(f"{seed} {sentence.text}")
        for _ in range(num_copies if mentions else 0):
            drawn = [choose.choice(forms[sentence.lang, label]) for *_, label in mentions]
            copies.append(_replaced(sentence, mentions, drawn))
    return [*sentences, *copies]


def _forms_of(sentences: Iterable[TaggedSentence]) -> _Forms:
    """By language and type the different mentions, in alphabetical order."""
    found: defaultdict[tuple[str, str], dict[str, tuple[Span, ...]]] = defaultdict(dict)
    for sentence in sentences:
        for first, last, label in _mentions(sentence):
            words = sentence.words[first:last]
            start, end = words[0][0], words[-1][1]
            inside = tuple((a - start, b - start) for a, b in words)
            found[sentence.lang, label].setdefault(sentence.text[start:end], inside)
    return {key: sorted(forms.items()) for key, forms in found.items()}


def _mentions(sentence: TaggedSentence) -> list[tuple[int, int, str]]:
    return list(chunks([OUTSIDE if tag == UNKNOWN else tag for tag in sentence.tags]))


def _replaced(
    sentence: TaggedSentence, mentions: Sequence[tuple[int, int, str]], forms: Sequence[_Form]
) -> TaggedSentence:
    """The sentence with these forms in the place of its mentions."""
    text, read = "", 0
    words: list[Span] = []
    tags: list[str] = []
    scores: list[tuple[float, float]] = []
    after = 0

    def keep(until: int) -> None:
        shift = len(text) - read
        words.extend((a + shift, b + shift) for a, b in sentence.words[after:until])
        tags.extend(sentence.tags[after:until])
        scores.extend(sentence.scores[after:until])

    for (first, last, label), (name, inside) in zip(mentions, forms, strict=True):
        keep(first)
        text += sentence.text[read : sentence.words[first][0]]
        words.extend((a + len(text), b + len(text)) for a, b in inside)
        tags.extend([f"B-{label}", *[f"I-{label}"] * (len(inside) - 1)])
        scores.extend(sentence.scores[first : first + 1] * len(inside))
        text += name
        read, after = sentence.words[last - 1][1], last
    keep(len(sentence.words))
    return replace(
        sentence,
        text=text + sentence.text[read:],
        words=tuple(words),
        tags=tuple(tags),
        scores=tuple(scores),
        sent_id=None,
    )
