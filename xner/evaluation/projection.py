"""How good projected mentions are: scores, what limits them, calibration, and errors by kind.

The scores compare spans and types with the gold of the target side, strictly, and are those that
papers on annotation projection report. They know an upper bound that has nothing to do with the
projector: the two sides of a gold do not mark the same entities. All is computed from the columns
that the main job writes, so any aligner can be judged, and judged again without running it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from xner.config import BootstrapConfig, QualityConfig
from xner.evaluation.bootstrap import (
    Interval,
    SentenceCounts,
    intervals,
    sentence_counts,
    with_intervals,
)
from xner.evaluation.calibration import CalibrationReport, calibrate
from xner.evaluation.projection_errors import (
    ErrorGroup,
    ProjectedPair,
    Verdict,
    border_words,
    group_errors,
    judge,
    similarity,
    span_text,
)
from xner.evaluation.projection_gold import GoldPair, inexpressible
from xner.evaluation.scoring import Counts, Scores, score_mentions
from xner.projection.quality import ProjectedMention, certainty
from xner.text.mentions import Mention
from xner.text.words import segment, words_in

NO_COUNTERPART = "no counterpart"
LENGTHS = ("1", "2", "3", "4 or more", NO_COUNTERPART)
RENDERINGS = ("copied", "nearly copied", "translated", NO_COUNTERPART)

# Similarity from which on a name is the other one in another spelling.
_NEARLY = 0.8

_NUM_BORDER_WORDS = 20

_QUALITY, _BOOTSTRAP = QualityConfig(), BootstrapConfig()


@dataclass(frozen=True, slots=True)
class ProjectionReport:
    """What an evaluation finds. Scores are strict micro averages over all pairs.

    ``ceiling`` is what a perfect projector of the gold source mentions gets; ``ceiling_given`` the
    same for the mentions that were there to project, and ``source`` scores these against the gold
    source mentions. ``accepted`` scores only the pairs that the quality rules accept. ``by_length``
    goes by the words of the source mention, ``by_rendering`` by how like it the counterpart is
    written. ``inexpressible`` counts the gold mentions with a border inside a word.
    ``added_words`` and ``lost_words`` are the most frequent words at wrong borders. ``counts`` are
    those of each sentence, for tests against another system.
    """

    num_pairs: int
    num_source_mentions: int
    num_gold_mentions: int
    inexpressible: int
    typed: Scores
    untyped: Scores
    typed_intervals: Mapping[str, Interval]
    untyped_intervals: Mapping[str, Interval]
    ceiling: Scores
    ceiling_untyped: Scores
    ceiling_given: Scores
    source: Scores
    num_accepted: int
    accepted: Scores
    by_length: Mapping[str, Counts]
    by_rendering: Mapping[str, Counts]
    calibration: CalibrationReport
    errors: Mapping[str, ErrorGroup]
    added_words: Mapping[str, int]
    lost_words: Mapping[str, int]
    counts: SentenceCounts = field(repr=False)
    counts_untyped: SentenceCounts = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON writes it, without the counts of each sentence."""
        return {
            "pairs": self.num_pairs,
            "source_mentions": self.num_source_mentions,
            "gold_mentions": self.num_gold_mentions,
            "inexpressible_gold_mentions": self.inexpressible,
            "typed": with_intervals(self.typed, self.typed_intervals),
            "untyped": with_intervals(self.untyped, self.untyped_intervals),
            "ceiling": self.ceiling.to_dict(),
            "ceiling_untyped": self.ceiling_untyped.to_dict(),
            "ceiling_given": self.ceiling_given.to_dict(),
            "source": self.source.to_dict(),
            "accepted": {"pairs": self.num_accepted, **self.accepted.to_dict()},
            "by_length": {name: counts.to_dict() for name, counts in self.by_length.items()},
            "by_rendering": {name: counts.to_dict() for name, counts in self.by_rendering.items()},
            "calibration": asdict(self.calibration),
            "errors": {kind: asdict(group) for kind, group in self.errors.items()},
            "added_words": dict(self.added_words),
            "lost_words": dict(self.lost_words),
        }


def evaluate(
    gold: Sequence[GoldPair],
    table: pa.Table,
    quality: QualityConfig = _QUALITY,
    bootstrap: BootstrapConfig = _BOOTSTRAP,
    num_examples: int = 10,
) -> ProjectionReport:
    """Score the mentions that were projected onto the gold's target side.

    ``table`` is in the ``pseudo`` schema, made by the rules of ``quality``, with a row a pair in
    the order of the gold. Refused rows count like others. The score of a label is its source
    mention's times its alignment's. Raises ValueError when the rows are not the gold's.
    """
    pairs = projected_pairs(gold, table, quality.labels)
    verdicts = [judge(pair, quality.min_alignment_score) for pair in pairs]
    own = [pair.source_mentions for pair in gold]
    given = [tuple(pair.source_mentions.values()) for pair in pairs]
    wanted = [pair.target_mentions for pair in gold]
    found = [_labels(pair.mentions) for pair in pairs]
    accepted = [index for index, pair in enumerate(pairs) if pair.status == "ok"]
    counts = sentence_counts(wanted, found)
    counts_untyped = sentence_counts(wanted, found, typed=False)
    added, lost = border_words(pairs, verdicts)
    return ProjectionReport(
        num_pairs=len(gold),
        num_source_mentions=sum(map(len, given)),
        num_gold_mentions=sum(map(len, wanted)),
        inexpressible=sum(len(inexpressible(pair)) for pair in gold),
        typed=score_mentions(wanted, found),
        untyped=score_mentions(wanted, found, typed=False),
        typed_intervals=intervals(counts, bootstrap),
        untyped_intervals=intervals(counts_untyped, bootstrap),
        ceiling=ceiling(own, wanted),
        ceiling_untyped=ceiling(own, wanted, typed=False),
        ceiling_given=ceiling(given, wanted),
        source=score_mentions(own, given),
        num_accepted=len(accepted),
        accepted=score_mentions([wanted[i] for i in accepted], [found[i] for i in accepted]),
        by_length=_grouped(pairs, verdicts, _length, LENGTHS),
        by_rendering=_grouped(pairs, verdicts, _rendering, RENDERINGS),
        calibration=calibrate(
            [
                (certainty(mention), not kind, kind in (None, "wrong_type"))
                for pair, verdict in zip(pairs, verdicts, strict=True)
                for mention, kind in zip(pair.mentions, verdict.projected, strict=True)
            ]
        ),
        errors=group_errors(pairs, verdicts, num_examples),
        added_words=dict(added.most_common(_NUM_BORDER_WORDS)),
        lost_words=dict(lost.most_common(_NUM_BORDER_WORDS)),
        counts=counts,
        counts_untyped=counts_untyped,
    )


def projected_pairs(
    gold: Sequence[GoldPair], table: pa.Table, labels: Sequence[str] | None = None
) -> list[ProjectedPair]:
    """The gold with what the rows of ``table`` projected onto it.

    ``labels`` are the types that were to be projected; by default all. Raises ValueError when the
    rows are not the gold's.
    """
    names = ["source", "target", "source_mentions", "alignments", "mentions", "status"]
    rows = table.select(names).to_pylist()
    if len(rows) != len(gold):
        raise ValueError(f"{len(rows)} rows for {len(gold)} gold pairs")
    pairs = []
    for number, (pair, row) in enumerate(zip(gold, rows, strict=True)):
        if (row["source"], row["target"]) != (pair.source, pair.target):
            raise ValueError(f"row {number} is not the gold pair {pair.pair_id}")
        best: dict[int, float] = defaultdict(float)
        for each in row["alignments"]:
            best[each["source_index"]] = max(best[each["source_index"]], each["score"])
        pairs.append(
            ProjectedPair(
                gold=pair,
                source_mentions={
                    index: Mention(**mention)
                    for index, mention in enumerate(row["source_mentions"])
                    if labels is None or mention["label"] in labels
                },
                mentions=tuple(ProjectedMention(**mention) for mention in row["mentions"]),
                best_scores=dict(best),
                status=row["status"],
            )
        )
    return pairs


def ceiling(
    source: Sequence[Iterable[Mention]], target: Sequence[Iterable[Mention]], typed: bool = True
) -> Scores:
    """The scores of a projector that places each mention right, and once, that has a counterpart.

    In each pair and for each type, or for all types together, the smaller number of mentions are
    true positives; source mentions beyond it are false positives, target ones false negatives.
    """
    total = Scores()
    for mentions, others in zip(source, target, strict=True):
        given, wanted = (
            Counter(mention.label if typed else "" for mention in side)
            for side in (mentions, others)
        )
        labels = {
            label: Counts(
                min(given[label], wanted[label]),
                max(given[label] - wanted[label], 0),
                max(wanted[label] - given[label], 0),
            )
            for label in sorted(given | wanted)
        }
        total += Scores(sum(labels.values(), Counts()), labels if typed else {})
    return total


def _grouped(
    pairs: Sequence[ProjectedPair],
    verdicts: Sequence[Verdict],
    group_of: Callable[[GoldPair, Mention, Mention | None], str],
    groups: Sequence[str],
) -> dict[str, Counts]:
    """Counts by a property of a source mention and its counterpart.

    A right or missed mention counts for the group of its gold mention, so that the sizes of the
    groups are the gold's; a wrong one for the group of the source mention that it came from.
    """
    counts = dict.fromkeys(groups, Counts())
    for pair, verdict in zip(pairs, verdicts, strict=True):
        gold = pair.gold.target_mentions
        # What the student found by itself has no source mention.
        of_source: dict[int | None, str] = {None: NO_COUNTERPART}
        of_gold: dict[int, str] = {}
        for i, mention in pair.source_mentions.items():
            j = verdict.counterparts.get(i)
            of_source[i] = group_of(pair.gold, mention, None if j is None else gold[j])
            if j is not None:
                of_gold[j] = of_source[i]
        for j, kind in enumerate(verdict.gold):
            counts[of_gold.get(j, NO_COUNTERPART)] += Counts(not kind, 0, kind is not None)
        for projected, kind in zip(pair.mentions, verdict.projected, strict=True):
            counts[of_source[projected.source_index]] += Counts(0, kind is not None, 0)
    return {group: each for group, each in counts.items() if each != Counts()}


def _length(pair: GoldPair, mention: Mention, counterpart: Mention | None) -> str:
    num_words = len(words_in(mention.start, mention.end, segment(pair.source)))
    return LENGTHS[min(num_words, 4) - 1]


def _rendering(pair: GoldPair, mention: Mention, counterpart: Mention | None) -> str:
    if counterpart is None:
        return NO_COUNTERPART
    name, other = span_text(pair.source, mention), span_text(pair.target, counterpart)
    copied, nearly, translated, _ = RENDERINGS
    if name == other:
        return copied
    return nearly if similarity(name, other) >= _NEARLY else translated


def _labels(mentions: Iterable[ProjectedMention]) -> list[Mention]:
    return [Mention(m.start, m.end, m.label, m.score) for m in mentions]
