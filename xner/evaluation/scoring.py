"""Entity scores: a mention is right when both its span and its type are.

On tags, seqeval in strict IOB2 mode says what the entities are (Nakayama 2018), or, where leniency
is asked for, the reading of conlleval, the script of the CoNLL tasks (Tjong Kim Sang and
Buchholz 2000); so the figures are those that papers report. On raw text, mentions are compared by
their characters. All end in counts, and counts add: sentences, shards and workers can be scored
apart and summed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqeval.scheme import IOB2, Entities

from xner.text import iob2
from xner.text.mentions import Mention


@dataclass(frozen=True, slots=True)
class Counts:
    """Right, invented and missed mentions; rates are fractions, and 0 where nothing was counted."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def precision(self) -> float:
        return _rate(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return _rate(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 tp / (2 tp + fp + fn)."""
        wrong = self.false_positives + self.false_negatives
        return _rate(2 * self.true_positives, 2 * self.true_positives + wrong)

    @property
    def num_gold(self) -> int:
        """Mentions of the gold."""
        return self.true_positives + self.false_negatives

    def to_dict(self) -> dict[str, float]:
        """Rates and counts as JSON writes them."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
        }


@dataclass(frozen=True, slots=True)
class Scores:
    """Counts over all mentions (micro average) and for each type; untyped scores have no types."""

    overall: Counts = field(default_factory=Counts)
    labels: dict[str, Counts] = field(default_factory=dict)

    def __add__(self, other: Scores) -> Scores:
        return Scores(
            self.overall + other.overall,
            {
                label: self.labels.get(label, Counts()) + other.labels.get(label, Counts())
                for label in sorted(self.labels.keys() | other.labels.keys())
            },
        )

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the types, with those that only predictions have, as in seqeval."""
        return sum(c.f1 for c in self.labels.values()) / len(self.labels) if self.labels else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The overall counts and rates, and under ``labels`` those of each type."""
        return {
            **self.overall.to_dict(),
            "labels": {label: counts.to_dict() for label, counts in self.labels.items()},
        }


def score_tags(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Scores:
    """Strict scores of IOB2 tags, one sequence a sentence; equal to seqeval's.

    Raises ValueError when the two sides differ in sentences or in words.
    """
    require_same_words(gold, predicted)
    return score_mentions(tagged_words(gold), tagged_words(predicted))


def tagged_words(sequences: Sequence[Sequence[str]], lenient: bool = False) -> list[list[Mention]]:
    """The entities that the tags of each sentence mark, as mentions that count words.

    An ``I-`` that continues nothing belongs to no entity, as in seqeval's strict IOB2 mode. With
    ``lenient`` it begins one, as in conlleval. Raises ValueError for what is no IOB2 tag.
    """
    if lenient:
        return [[Mention(*chunk) for chunk in iob2.chunks(iob2.repair(tags))] for tags in sequences]
    for tag in {tag for tags in sequences for tag in tags}:
        iob2.split_tag(tag)
    return [
        [Mention(entity.start, entity.end, entity.tag) for entity in entities]
        for entities in Entities(sequences, IOB2).entities
    ]


def require_same_words(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> None:
    """Raise ValueError when the two sides differ in sentences or in words."""
    _require_same_length(gold, predicted)
    for index, (tags, other) in enumerate(zip(gold, predicted, strict=True)):
        if len(tags) != len(other):
            raise ValueError(
                f"sentence {index} has {len(tags)} gold tags but {len(other)} predicted ones"
            )


def score_mentions(
    gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]], typed: bool = True
) -> Scores:
    """Strict scores of mentions by their character spans, one group a sentence.

    With ``typed=False`` the span alone must agree. Raises ValueError when the two sides differ in
    the number of sentences.
    """
    _require_same_length(gold, predicted)
    scores = _compared(_labelled_spans(gold, typed), _labelled_spans(predicted, typed))
    return scores if typed else Scores(scores.overall)


# Type, sentence, first and last border.
_Labelled = tuple[str, int, int, int]


def _labelled_spans(sentences: Sequence[Iterable[Mention]], typed: bool) -> set[_Labelled]:
    return {
        (mention.label if typed else "", index, mention.start, mention.end)
        for index, mentions in enumerate(sentences)
        for mention in mentions
    }


def _compared(gold: set[_Labelled], predicted: set[_Labelled]) -> Scores:
    right, invented, missed = (
        Counter(label for label, *_ in mentions)
        for mentions in (gold & predicted, predicted - gold, gold - predicted)
    )
    labels = {
        label: Counts(right[label], invented[label], missed[label])
        for label in sorted(right.keys() | invented.keys() | missed.keys())
    }
    return Scores(sum(labels.values(), Counts()), labels)


def _require_same_length(gold: Sequence[object], predicted: Sequence[object]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences but {len(predicted)} predicted ones")


def _rate(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
