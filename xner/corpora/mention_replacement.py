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
from itertools import accumulate

from xner.corpora.tagged import TaggedSentence
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
        mentions = sentence.mentions()
        choose = random.Random(f"{seed} {sentence.text}")
        for _ in range(num_copies if mentions else 0):
            drawn = [choose.choice(forms[sentence.lang, label]) for *_, label in mentions]
            copies.append(_replaced(sentence, mentions, drawn))
    return [*sentences, *copies]


def _forms_of(sentences: Iterable[TaggedSentence]) -> _Forms:
    """By language and type the different mentions, in alphabetical order."""
    found: defaultdict[tuple[str, str], dict[str, tuple[Span, ...]]] = defaultdict(dict)
    for sentence in sentences:
        for first, last, label in sentence.mentions():
            start, end = sentence.words[first][0], sentence.words[last - 1][1]
            name, words = _cut(sentence, (start, end), slice(first, last))
            found[sentence.lang, label].setdefault(name, words)
    return {key: sorted(forms.items()) for key, forms in found.items()}


def _cut(sentence: TaggedSentence, span: Span, words: slice) -> _Form:
    """These characters of the sentence, and these of its words as spans of them."""
    start, end = span
    return sentence.text[start:end], tuple((a - start, b - start) for a, b in sentence.words[words])


def _replaced(
    sentence: TaggedSentence, mentions: Sequence[tuple[int, int, str]], forms: Sequence[_Form]
) -> TaggedSentence:
    """The sentence with these forms in the place of its mentions."""
    pieces: list[_Form] = []
    tags: list[str] = []
    scores: list[tuple[float, float]] = []
    done, after = 0, 0
    for (first, last, label), form in zip(mentions, forms, strict=True):
        between, size = slice(after, first), len(form[1])
        pieces += [_cut(sentence, (done, sentence.words[first][0]), between), form]
        tags += [*sentence.tags[between], f"B-{label}", *[f"I-{label}"] * (size - 1)]
        scores += [*sentence.scores[between], *sentence.scores[first : first + 1] * size]
        done, after = sentence.words[last - 1][1], last
    rest = slice(after, None)
    pieces.append(_cut(sentence, (done, len(sentence.text)), rest))
    starts = accumulate((len(text) for text, _ in pieces), initial=0)
    return replace(
        sentence,
        text="".join(text for text, _ in pieces),
        words=tuple(
            (start + a, start + b)
            for start, (_, words) in zip(starts, pieces, strict=False)
            for a, b in words
        ),
        tags=(*tags, *sentence.tags[rest]),
        scores=(*scores, *sentence.scores[rest]),
        sent_id=None,
    )
