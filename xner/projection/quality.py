"""From a row's mentions and candidates to its labels, and whether a student should see them.

A projected row is a pure function of columns that the shard keeps: the source mentions with the
teacher's scores and every candidate with the aligner's. So a row can be judged again with other
rules and without a model. Refusing pairs matters as much as aligning them: an entity left
unlabelled in an accepted sentence teaches the student to overlook it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xner.config import QualityConfig
from xner.projection.decode import Candidate, brackets, split_at_bracket
from xner.projection.resolve import resolve
from xner.shards.schema import EVIDENCE
from xner.text.iob2 import encode
from xner.text.mentions import Mention
from xner.text.words import Span, segment

REASONS = {
    "no_text": "The target sentence has no words.",
    "stage_error": "A step raised an exception on this row; `error` says which.",
    "low_teacher_score": "The teacher was not sure enough of a source mention.",
    "unplaced_mention": "A source mention has no candidate in the target.",
    "contested_mention": "A source mention's candidates all lie where surer mentions were placed.",
    "low_alignment_score": "A source mention's candidates all score too low.",
    "mention_free": "No source mention; only a share of such rows is kept.",
}
"""The closed list of reasons why a row is not ``ok``, with what each says."""


@dataclass(frozen=True, slots=True)
class ProjectedMention:
    """A labelled span of the target: the teacher's score, the aligner's, and where it is from.

    A source mention that the target tells twice has two, with the same scores.
    One that a student found (see xner.projection.combine) has the student's score, and neither an
    ``alignment_score`` nor a ``source_index``.
    """

    start: int
    end: int
    label: str
    score: float
    alignment_score: float | None
    source_index: int | None


@dataclass(frozen=True, slots=True)
class Projection:
    """What projection adds to a row; the fields are columns of the ``pseudo`` schema.

    ``ner_tags`` are IOB2 names. A refused row has its labels too, an erroneous one has none.
    """

    mentions: tuple[ProjectedMention, ...]
    tokens: tuple[str, ...]
    ner_tags: tuple[str, ...]
    weight: float
    status: str
    reason: str | None


def project_row(
    pair_id: str,
    source: str,
    target: str,
    words: Sequence[Span],
    source_mentions: Sequence[Mention],
    candidates: Sequence[Sequence[Candidate]],
    quality: QualityConfig,
) -> Projection:
    """The labelled target of a pair.

    ``words`` are the spans of the target's words, ``candidates`` one list a source mention. A
    mention that the target tells twice, the second time in brackets, is labelled twice, unless it
    has brackets in the source too. The weight is the mean over the source mentions to be projected
    of teacher score times alignment score, where an unplaced one counts nothing; 1 for a row
    without mentions. Raises ValueError when ``source_mentions`` and ``candidates`` differ in length
    or a candidate covers no word.
    """
    if len(source_mentions) != len(candidates):
        raise ValueError(f"{len(source_mentions)} mentions, {len(candidates)} candidate lists")
    if not words:
        return Projection((), (), (), 0.0, "error", "no_text")
    wanted = [
        index
        for index, mention in enumerate(source_mentions)
        if quality.labels is None or mention.label in quality.labels
    ]
    mentions = [source_mentions[index] for index in wanted]
    offered = [candidates[index] for index in wanted]
    chosen = resolve(mentions, offered, quality.min_alignment_score)
    placed = [
        (index, mention, places[choice])
        for index, mention, places, choice in zip(wanted, mentions, offered, chosen, strict=True)
        if choice is not None
    ]
    projected = sorted(
        (
            ProjectedMention(*part, mention.label, mention.score, place.score, index)
            for index, mention, place in placed
            for part in spans_told(
                source, (mention.start, mention.end), target, (place.start, place.end)
            )
        ),
        key=lambda m: m.start,
    )
    tags = encode([Mention(m.start, m.end, m.label, m.score) for m in projected], words)
    sure = sum(mention.score * place.score for _, mention, place in placed)
    weight = sure / len(wanted) if wanted else 1.0
    status, reason = judge(pair_id, mentions, offered, chosen, quality)
    return Projection(
        mentions=tuple(projected),
        tokens=tuple(target[start:end] for start, end in words),
        ner_tags=tuple(tags),
        weight=weight,
        status=status,
        reason=reason,
    )


def spans_told(source: str, mention: Span, target: str, place: Span) -> list[Span]:
    """Where a place in the target tells a mention of the source: one span or two."""
    parts = split_at_bracket(*place, target)
    name = source[slice(*mention)]
    return [place] if len(parts) > 1 and brackets(name, segment(name)) else parts


def certainty(mention: ProjectedMention) -> float:
    """The scores of a mention multiplied, as far as it has any."""
    aligned = 1.0 if mention.alignment_score is None else mention.alignment_score
    return mention.score * aligned


def judge(
    pair_id: str,
    mentions: Sequence[Mention],
    candidates: Sequence[Sequence[Candidate]],
    chosen: Sequence[int | None],
    quality: QualityConfig,
) -> tuple[str, str | None]:
    """Status and reason of a row: the source mentions to be projected, and what became of them.

    When several rules refuse a row, the reason is the one that comes first in ``REASONS``.
    """
    if not mentions:
        is_kept = share_of(pair_id) < quality.keep_mention_free
        return ("ok", None) if is_kept else ("filtered", "mention_free")
    if min(mention.score for mention in mentions) < quality.min_teacher_score:
        return "filtered", "low_teacher_score"
    unplaced = [
        offered for offered, choice in zip(candidates, chosen, strict=True) if choice is None
    ]
    if len(unplaced) <= quality.max_unplaced:
        return "ok", None
    if not all(unplaced):
        return "filtered", "unplaced_mention"
    if any(c.score >= quality.min_alignment_score for offered in unplaced for c in offered):
        return "filtered", "contested_mention"
    return "filtered", "low_alignment_score"


def share_of(pair_id: str) -> float:
    """A number in [0, 1) that depends on the pair alone, never on order or on other rows."""
    digest = hashlib.blake2b(pair_id.encode(), digest_size=7, person=b"mention_free").digest()
    return int.from_bytes(digest) / 2**56


def to_alignments(candidates: Sequence[Sequence[Candidate]]) -> list[dict[str, Any]]:
    """A row's ``alignments`` column: every candidate of every source mention."""
    return [
        {
            "source_index": index,
            "start": candidate.start,
            "end": candidate.end,
            "score": candidate.score,
            "method": candidate.method,
            "evidence": candidate.evidence
            and dict(zip(EVIDENCE.names, candidate.evidence, strict=True)),
        }
        for index, offered in enumerate(candidates)
        for candidate in offered
    ]


def from_alignments(
    alignments: Iterable[Mapping[str, Any]], num_mentions: int
) -> list[list[Candidate]]:
    """The inverse of :func:`to_alignments`."""
    found: list[list[Candidate]] = [[] for _ in range(num_mentions)]
    for each in alignments:
        found[each["source_index"]].append(
            Candidate(
                each["start"],
                each["end"],
                each["score"],
                each["method"],
                each["evidence"] and tuple(each["evidence"][name] for name in EVIDENCE.names),
            )
        )
    return found
