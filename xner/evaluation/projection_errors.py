"""What is wrong with projected mentions: each error has one kind, and examples show what it is.

Gold marks the mentions of both sides but does not say which belong together. So each source
mention is given at most one target mention of its type as its counterpart: similar names first,
then those at similar places. No type has more counterparts than the side with fewer mentions of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from xner.evaluation.projection_gold import GoldPair
from xner.projection.quality import ProjectedMention
from xner.text.mentions import Mention
from xner.text.words import Span, segment, words_in

KINDS = {
    "wrong_type": "The span is right, the type is not.",
    "too_long": "The span holds the gold one and more.",
    "too_short": "The span is a part of the gold one.",
    "shifted": "The span holds a part of the gold one and more.",
    "wrong_place": "The span has nothing of the gold one.",
    "spurious": "The source mention has no counterpart in the gold.",
    "no_candidate": "Missed: the aligner found no place for the source mention.",
    "below_threshold": "Missed: every place that was found scores too low.",
    "contested": "Missed: the places that score high enough overlap surer mentions.",
    "no_source": "Missed: no source mention is its counterpart; no projector can find it.",
}
"""The closed list of errors. Each wrong mention and each missed one has exactly one of them."""

_BORDERS = ("too_long", "too_short", "shifted")
_ONLY_MISSED = ("no_candidate", "below_threshold", "contested", "no_source")

# Similarity below which names are alike by chance.
_ALIKE = 0.5


@dataclass(frozen=True, slots=True)
class ProjectedPair:
    """A gold pair and what was projected onto it.

    ``source_mentions`` are those that were there to project, by their index in the row;
    ``best_scores`` has, for each of them with a candidate, the best candidate's score.
    """

    gold: GoldPair
    source_mentions: Mapping[int, Mention]
    mentions: tuple[ProjectedMention, ...]
    best_scores: Mapping[int, float]
    status: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of each projected and each gold mention of a pair: None where right, or a kind.

    A projected mention is judged by the gold one that it shares most characters with, else by its
    source mention's counterpart; ``compared`` has that gold mention's index, if there is one.
    ``counterparts`` leads from a source mention's index to its gold mention's.
    """

    projected: tuple[str | None, ...]
    gold: tuple[str | None, ...]
    compared: tuple[int | None, ...]
    counterparts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """An error, with what people need to understand it.

    ``name`` and ``label`` are the source mention's; ``score`` is that of the chosen candidate, or
    of the best where none was chosen.
    """

    pair_id: str
    source: str
    target: str
    name: str | None
    label: str | None
    gold: str | None
    gold_label: str | None
    predicted: str | None
    score: float | None


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """The errors of a kind, counted as wrong mentions and as missed ones, and the first few."""

    false_positives: int
    false_negatives: int
    examples: tuple[ErrorExample, ...]


def counterparts(gold: GoldPair, source_mentions: Mapping[int, Mention]) -> dict[int, int]:
    """Index of a source mention -> index of the gold target mention that is its counterpart.

    Of each type as many are paired as the side with fewer has: first those whose names look alike,
    then those at the closest relative places.
    """
    ranked = []
    for i, mention in source_mentions.items():
        for j, other in enumerate(gold.target_mentions):
            if mention.label == other.label:
                alike = similarity(span_text(gold.source, mention), span_text(gold.target, other))
                apart = abs(mention.start / len(gold.source) - other.start / len(gold.target))
                ranked.append((-alike if alike >= _ALIKE else 0.0, apart, i, j))
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, i, j in sorted(ranked):
        if i not in found and j not in taken:
            found[i] = j
            taken.add(j)
    return found


def similarity(name: str, other: str) -> float:
    """How alike two names are written, in [0, 1]: Ratcliff and Obershelp's measure, less case."""
    return SequenceMatcher(None, name.casefold(), other.casefold(), autojunk=False).ratio()


def span_text(text: str, span: Mention | ProjectedMention) -> str:
    """What a span of a text says."""
    return text[span.start : span.end]


def judge(pair: ProjectedPair, min_score: float) -> Verdict:
    """The kind of every error of a pair; candidates below ``min_score`` could not be chosen."""
    of_source = counterparts(pair.gold, pair.source_mentions)
    of_gold = {j: i for i, j in of_source.items()}
    gold = pair.gold.target_mentions
    kinds: list[str | None] = []
    compared: list[int | None] = []
    for mention in pair.mentions:
        j = _most_overlapping(mention, gold)
        if j is not None:
            kinds.append(_kind_of_overlap(mention, gold[j]))
        else:
            # What a student alone found has no source.
            j = None if mention.source_index is None else of_source.get(mention.source_index)
            kinds.append("spurious" if j is None else "wrong_place")
        compared.append(j)
    placed = {mention.source_index for mention in pair.mentions}
    missed: list[str | None] = []
    for j, wanted in enumerate(gold):
        k = _most_overlapping(wanted, pair.mentions)
        if k is not None:
            missed.append(_kind_of_overlap(pair.mentions[k], wanted))
        elif j not in of_gold:
            missed.append("no_source")
        elif of_gold[j] in placed:
            missed.append("wrong_place")
        elif of_gold[j] not in pair.best_scores:
            missed.append("no_candidate")
        elif pair.best_scores[of_gold[j]] < min_score:
            missed.append("below_threshold")
        else:
            missed.append("contested")
    return Verdict(tuple(kinds), tuple(missed), tuple(compared), of_source)


def _most_overlapping(
    span: Mention | ProjectedMention, others: Sequence[Mention | ProjectedMention]
) -> int | None:
    """The index of the mention that shares most characters with this one, if any shares one."""
    shared = [min(span.end, other.end) - max(span.start, other.start) for other in others]
    best = max(range(len(shared)), key=shared.__getitem__, default=None)
    return best if best is not None and shared[best] > 0 else None


def _kind_of_overlap(mention: ProjectedMention, gold: Mention) -> str | None:
    if (mention.start, mention.end) == (gold.start, gold.end):
        return None if mention.label == gold.label else "wrong_type"
    if mention.start <= gold.start and mention.end >= gold.end:
        return "too_long"
    if mention.start >= gold.start and mention.end <= gold.end:
        return "too_short"
    return "shifted"


def group_errors(
    pairs: Sequence[ProjectedPair], verdicts: Sequence[Verdict], num_examples: int
) -> dict[str, ErrorGroup]:
    """All errors by kind, in the order of ``KINDS``, with the first examples of each.

    A missed mention is an example only of the kinds that no wrong mention has.
    """
    wrong = Counter(kind for verdict in verdicts for kind in verdict.projected)
    missed = Counter(kind for verdict in verdicts for kind in verdict.gold)
    examples: dict[str, list[ErrorExample]] = {kind: [] for kind in KINDS}
    for pair, verdict in zip(pairs, verdicts, strict=True):
        for kind, example in _examples(pair, verdict):
            if len(examples[kind]) < num_examples:
                examples[kind].append(example)
    return {
        kind: ErrorGroup(wrong[kind], missed[kind], tuple(examples[kind]))
        for kind in KINDS
        if wrong[kind] or missed[kind]
    }


def _examples(pair: ProjectedPair, verdict: Verdict) -> Iterator[tuple[str, ErrorExample]]:
    gold = pair.gold.target_mentions
    for mention, kind, j in zip(pair.mentions, verdict.projected, verdict.compared, strict=True):
        if kind is not None:
            wanted = None if j is None else gold[j]
            yield kind, _example(pair, mention.source_index, wanted, mention)
    of_gold = {j: i for i, j in verdict.counterparts.items()}
    for j, missing in enumerate(verdict.gold):
        if missing in _ONLY_MISSED:
            yield missing, _example(pair, of_gold.get(j), gold[j], None)


def _example(
    pair: ProjectedPair, source: int | None, wanted: Mention | None, found: ProjectedMention | None
) -> ErrorExample:
    gold = pair.gold
    mention = None if source is None else pair.source_mentions[source]
    best_score = None if source is None else pair.best_scores.get(source)
    return ErrorExample(
        pair_id=gold.pair_id,
        source=gold.source,
        target=gold.target,
        name=None if mention is None else span_text(gold.source, mention),
        label=None if mention is None else mention.label,
        gold=None if wanted is None else span_text(gold.target, wanted),
        gold_label=None if wanted is None else wanted.label,
        predicted=None if found is None else span_text(gold.target, found),
        score=best_score if found is None else found.alignment_score,
    )


def border_words(
    pairs: Sequence[ProjectedPair], verdicts: Sequence[Verdict]
) -> tuple[Counter[str], Counter[str]]:
    """The words that spans with wrong borders have too many, and those that they lack.

    In lower case. Words are the target's; one that the gold cuts is counted whole.
    """
    added: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for pair, verdict in zip(pairs, verdicts, strict=True):
        text = pair.gold.target
        words = segment(text) if any(kind in _BORDERS for kind in verdict.projected) else []
        for mention, kind, j in zip(
            pair.mentions, verdict.projected, verdict.compared, strict=True
        ):
            if kind in _BORDERS and j is not None:
                found, wanted = (
                    set(words_in(span.start, span.end, words))
                    for span in (mention, pair.gold.target_mentions[j])
                )
                added.update(_words(text, [words[w] for w in sorted(found - wanted)]))
                lost.update(_words(text, [words[w] for w in sorted(wanted - found)]))
    return added, lost


def _words(text: str, spans: Sequence[Span]) -> list[str]:
    return [text[start:end].lower() for start, end in spans]
