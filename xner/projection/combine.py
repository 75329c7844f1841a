"""A row's projected mentions and those that a student finds in it, made into one set of labels.

The piece that self-training needs: a student learns from projected labels, says what it thinks of
the same text, and the next student learns from what both say. What an alignment got wrong here and
there, a student that saw many sentences often gets right; where the two differ, one of them errs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from xner.projection import quality
from xner.projection.quality import ProjectedMention, Projection, certainty
from xner.text.iob2 import encode
from xner.text.mentions import Mention
from xner.text.words import Span, words_in

Combination = Literal["agreement", "student", "union"]

REASONS = {
    **quality.REASONS,
    "student_disagrees": "The student finds other mentions than those of the projection, or none.",
    "low_student_score": "The student was not sure enough of a mention.",
}
"""The closed list of reasons why a relabelled row is not ``ok``: projection's, and two more."""


def is_open(status: str, how: Combination) -> bool:
    """Whether the student is asked about a row: by `student` also where projection failed."""
    return status == "ok" or (how == "student" and status == "filtered")


def combine(
    before: Projection,
    found: Sequence[Mention],
    words: Sequence[Span],
    how: Combination,
    min_score: float,
) -> Projection:
    """The row ``before``, which is open, with what the student ``found`` in its target.

    ``agreement`` accepts the rows in which both mark the same words with the same types;
    ``student`` takes the student's labels, also in rows that projection refused; ``union`` adds to
    the projected mentions the student's where these leave room. A mention that both have stays the
    projected one, with its provenance; one of the student alone has no ``source_index`` and no
    ``alignment_score``. When several rules refuse a row, the reason is the one that comes first in
    ``REASONS``.
    """
    projected = {_key(mention, words): mention for mention in before.mentions}
    of_student = {_key(mention, words): mention for mention in found}
    if how == "agreement":
        mentions = list(before.mentions)
    elif how == "student":
        mentions = [projected.get(key) or _alone(each) for key, each in of_student.items()]
    else:
        taken = {index for covered, _ in projected for index in covered}
        free = [each for (covered, _), each in of_student.items() if taken.isdisjoint(covered)]
        mentions = sorted([*before.mentions, *map(_alone, free)], key=lambda m: m.start)
    status, reason = _judge(before, found, how, min_score, projected.keys() == of_student.keys())
    if tuple(mentions) == before.mentions:
        return replace(before, status=status, reason=reason)
    return Projection(
        mentions=tuple(mentions),
        tokens=before.tokens,
        ner_tags=tuple(encode([Mention(m.start, m.end, m.label) for m in mentions], words)),
        weight=sum(map(certainty, mentions)) / len(mentions) if mentions else 1.0,
        status=status,
        reason=reason,
    )


def _judge(
    before: Projection, found: Sequence[Mention], how: Combination, min_score: float, agree: bool
) -> tuple[str, str | None]:
    """Status and reason of a row."""
    if not found and not before.mentions and before.reason in (None, "mention_free"):
        # Nobody sees a name here; how many of such rows are kept was decided before.
        return before.status, before.reason
    if (how == "agreement" and not agree) or (how == "student" and not found):
        return "filtered", "student_disagrees"
    if found and min(mention.score for mention in found) < min_score:
        return "filtered", "low_student_score"
    return "ok", None


def _key(mention: Mention | ProjectedMention, words: Sequence[Span]) -> tuple[range, str]:
    """What two mentions that are the same have in common: their words and their type."""
    return words_in(mention.start, mention.end, words), mention.label


def _alone(mention: Mention) -> ProjectedMention:
    """A mention that the student alone has found."""
    return ProjectedMention(mention.start, mention.end, mention.label, mention.score, None, None)
