"""How good predicted tags are: strict and lenient scores, and how sure they are.

Two readings of the same tags are in use. seqeval's strict IOB2 mode takes an entity for what it
was meant to be: an ``I-`` that continues nothing belongs to none. conlleval, whose figures most
papers report, lets such a tag begin an entity. On valid tags the two are one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xner.config import BootstrapConfig
from xner.evaluation.bootstrap import (
    Interval,
    SentenceCounts,
    intervals,
    sentence_counts,
    with_intervals,
)
from xner.evaluation.scoring import Scores, require_same_words, score_mentions, tagged_words
from xner.text.iob2 import OUTSIDE, renamed, repair, split_tag

Tags = Sequence[Sequence[str]]

_BOOTSTRAP = BootstrapConfig()


@dataclass(frozen=True, slots=True)
class TagScores:
    """The scores of one reading of the tags: micro averages, each type, and their intervals.

    ``counts`` are those of each sentence, for tests against another tagger.
    """

    scores: Scores
    intervals: Mapping[str, Interval]
    counts: SentenceCounts = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The scores as JSON writes them, without the counts of each sentence."""
        return {
            "macro_f1": self.scores.macro_f1,
            **with_intervals(self.scores, self.intervals),
        }


@dataclass(frozen=True, slots=True)
class TaggerReport:
    """What the tags of a model are worth on one gold set.

    ``num_invalid`` are the predicted ``I-`` that continue nothing: all that the two readings differ
    by.
    """

    num_sentences: int
    num_words: int
    num_entities: int
    num_invalid: int
    strict: TagScores
    lenient: TagScores

    @property
    def labels_not_in_gold(self) -> dict[str, int]:
        """The types that only the predictions have, and how many false positives each cost."""
        return {
            label: counts.false_positives
            for label, counts in self.lenient.scores.labels.items()
            if not counts.num_gold
        }

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON writes it, without the counts of each sentence."""
        return {
            "sentences": self.num_sentences,
            "words": self.num_words,
            "entities": self.num_entities,
            "invalid_tags": self.num_invalid,
            "strict": self.strict.to_dict(),
            "lenient": self.lenient.to_dict(),
            "labels_not_in_gold": self.labels_not_in_gold,
        }


def evaluate(gold: Tags, predicted: Tags, bootstrap: BootstrapConfig = _BOOTSTRAP) -> TaggerReport:
    """Score the predicted tags of each sentence against the gold's, which are valid IOB2.

    Raises ValueError when the two sides differ in sentences or in words, or have none, or for what
    is no tag.
    """
    require_same_words(gold, predicted)
    strict, lenient = (_scored(gold, predicted, lenient, bootstrap) for lenient in (False, True))
    return TaggerReport(
        num_sentences=len(gold),
        num_words=sum(map(len, gold)),
        num_entities=strict.scores.overall.num_gold,
        num_invalid=sum(
            tag != valid
            for tags in predicted
            for tag, valid in zip(tags, repair(tags), strict=True)
        ),
        strict=strict,
        lenient=lenient,
    )


def comparable(
    predicted: Tags, label_map: Mapping[str, str], not_annotated: Collection[str] = ()
) -> list[list[str]]:
    """The predicted tags as the gold would have written them.

    ``label_map`` says what the types of the model are in the gold, ``O`` where they are nothing; an
    empty one keeps all. Types that the gold does not mark (``not_annotated``) cannot be judged and
    are dropped. Raises ValueError for what is no tag.
    """
    distinct = {tag for tags in predicted for tag in tags}
    labels = {split_tag(tag)[1] for tag in distinct - {OUTSIDE}}
    targets = label_map or {label: label for label in labels}
    judged = {label: target for label, target in targets.items() if target not in not_annotated}
    as_gold = {tag: renamed(tag, judged) for tag in distinct}
    return [[as_gold[tag] for tag in tags] for tags in predicted]


def _scored(gold: Tags, predicted: Tags, lenient: bool, bootstrap: BootstrapConfig) -> TagScores:
    wanted, found = (tagged_words(side, lenient) for side in (gold, predicted))
    counts = sentence_counts(wanted, found)
    return TagScores(score_mentions(wanted, found), intervals(counts, bootstrap), counts)
