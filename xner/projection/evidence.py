"""Which span of the target is a mention, by all the evidence there is.

One witness is often wrong: word links are torn where a translation is free, an entity aligner is
unsure of what it never saw, spelling tells nothing of translated names. They are wrong in different
places, so every span of the target that may be the mention is a candidate, and each says with how
much of each witness it agrees. A log-linear model weighs them (Berger et al. 1996): the probability
of a candidate is the softmax of its weighted evidence over all candidates of its mention and over
one more, that the mention is not in the text at all. So a score is small where two spans are about
equally good, and where none is.

The last witness is agreement. The same name is translated alike in many sentences of a shard,
while the errors of the others are random: of "Mitgliedstaaten" and "Mitgliedstaaten umgesetzt",
which one sentence alone cannot tell apart, the other sentences know one. What a mention's own
sentence says is left out of what it hears from others.

The weights are round numbers, the same for all languages. Their common scale and that of the entity
aligner were set with the scores on Europarl (de, es) and Parallel UD (zh) in view, between choices
that differ by half a point there (`make measure-aligner`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from xner.config import EvidenceConfig
from xner.projection.decode import Candidate, brackets, paired_mark, stored_score
from xner.projection.spelling import Letters
from xner.text.pairs import SentencePair
from xner.text.words import Span, folded, is_cased, is_unspaced, segment, words_in

# Candidate.method: chosen by the evidence of several witnesses.
EVIDENCE = "evidence"

WITNESSES = ("links", "aligner", "spelling", "capitals")

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]

# Names are seldom longer than this in words, nor their translations than twice the name; where each
# letter is a word, than so many, and half as many again as the name has letters.
_MAX_WORDS, _MAX_LETTERS = 10, 16
# What of either witness makes a span a candidate at all.
_MIN_SUPPORT, _MIN_SPELLING = 0.2, 0.5
# Candidates weighed for a mention; the rest are hopeless.
_MAX_WEIGHED = 25

# How foreign to a mention a word is that nothing links, where one that is linked elsewhere is 1.
_OF_NOTHING = 0.1

_ROUNDS = 3
# As if so many more mentions of the name agreed with nobody.
_UNDECIDED = 1.0

# Letters that inflection leaves alone, as a rule: words are compared by as many.
_PREFIX = 5

Key = tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """The candidates of one mention, and what speaks for each.

    ``name``: what mentions of the same entity share. ``spans`` [candidates, 2]: characters of the
    target. ``witnesses`` [candidates, len(WITNESSES)], each in [0, 1]. ``phrases`` [candidates]:
    what spans with the same words share.
    """

    name: Key
    spans: Indices
    witnesses: Floats
    phrases: tuple[Key, ...]


def candidates_by_evidence(
    pairs: Sequence[SentencePair],
    mentions: Sequence[Sequence[Span]],
    links: Sequence[Floats],
    probabilities: Sequence[Floats | None],
    config: EvidenceConfig,
    max_candidates: int,
) -> list[list[list[Candidate]]]:
    """For each pair of a shard the candidates of each of its mentions, best first.

    ``mentions``: spans of the source. ``links``: [source words, target words] in [0, 1].
    ``probabilities``: [mentions, target words], what the entity aligner says, None without one.
    """
    evidence = [collect(*each) for each in zip(pairs, mentions, links, probabilities, strict=True)]
    return [
        [mention.best(max_candidates) for mention in of_pair] for of_pair in weigh(evidence, config)
    ]


def collect(
    pair: SentencePair, mentions: Sequence[Span], links: Floats, probabilities: Floats | None
) -> list[Evidence]:
    """The candidate spans of each mention of the source, with their evidence but for the agreement.

    ``links`` is [source words, target words] in [0, 1]. ``probabilities`` [mentions, target words]:
    what the entity aligner says of each word, None where there is no aligner. A span begins and
    ends with a word proper, or with a bracket or quotation mark whose partner is inside, and has no
    bracket inside whose partner is outside. It tears none of the pair's whole words: names placed
    on Parallel UD zh have an F1 of 64.3, and 57.4 where they may begin and end at any letter.
    """
    if not mentions:
        return []
    target = _Target.of(pair)
    linked = links.sum(0)
    likely = (
        np.zeros((len(mentions), len(target.words))) if probabilities is None else probabilities
    )
    # Those of most mentions are the same.
    spans_of = cache(target.spans)
    words = [words_in(*mention, pair.source_words) for mention in mentions]
    spelled = target.spelled(
        [[pair.source[slice(*pair.source_words[i])] for i in mine] for mine in words]
    )
    return [
        _evidence(pair, target, spans_of, *of_mention, links, linked)
        for of_mention in zip(mentions, words, spelled, likely, strict=True)
    ]


def _evidence(
    pair: SentencePair,
    target: _Target,
    spans_of: Callable[[int], tuple[Indices, Indices]],
    mention: Span,
    mine: range,
    spelled: Floats,
    likely: Floats,
    links: Floats,
    linked: Floats,
) -> Evidence:
    """The evidence of one mention, whose words are ``mine``.

    ``spelled``, ``likely``, ``linked`` [target words]: how like the mention's words each is, what
    the entity aligner says of it, and the sum of all its links.
    """
    name = pair.source[slice(*mention)]
    inside = links[mine.start : mine.stop].sum(0)
    outside = linked - inside
    longest = max(_MAX_WORDS, 2 * len(mine))
    if target.is_unspaced:
        longest = max(longest, _MAX_LETTERS, 3 * len(name) // 2)
    firsts, stops = spans_of(longest)

    by_word, likeness = _within(inside, firsts, stops), _within(likely, firsts, stops)
    has_like = _within(spelled >= _MIN_SPELLING, firsts, stops) > 0
    hopeful = has_like | (np.maximum(by_word, likeness) >= _MIN_SUPPORT)
    firsts, stops = firsts[hopeful], stops[hopeful]
    by_word, likeness = by_word[hopeful], likeness[hopeful]

    # Words that nothing links are no part of a name, as a rule, but may stand inside one.
    foreign = outside + _OF_NOTHING * np.clip(1 - inside - outside, 0, 1)
    by_links = by_word / (inside.sum() + _within(foreign, firsts, stops) + 1e-6)
    # Both are measures of overlap: what span and witness share, over what either has.
    by_aligner = likeness / (likely.sum() + (stops - firsts) - likeness + 1e-6)
    capitals = (target.capital[firsts] + target.capital[stops - 1]) / 2

    first_guess = by_links + by_aligner + _within(spelled, firsts, stops) / (stops - firsts)
    kept = np.sort(np.argsort(-first_guess, kind="stable")[:_MAX_WEIGHED])
    spans = np.stack([target.bounds[firsts[kept], 0], target.bounds[stops[kept] - 1, 1]], axis=1)
    (spelling,) = target.letters.shared([name], firsts[kept], stops[kept])
    columns = [by_links[kept], by_aligner[kept], spelling, capitals[kept]]
    return Evidence(
        name=tuple(folded(name[a:b]) for a, b in segment(name)),
        spans=spans,
        witnesses=np.stack(columns, axis=1) if len(kept) else np.zeros((0, len(WITNESSES))),
        phrases=tuple(
            tuple(target.keys[first:stop])
            for first, stop in zip(firsts[kept], stops[kept], strict=True)
        ),
    )


@dataclass(frozen=True)
class Weighed:
    """A mention's candidates, weighed.

    ``agreement`` [candidates] in [0, 1]: the last witness. ``probabilities`` [candidates]: what is
    missing to 1 is the probability that the mention is not in the text.
    """

    evidence: Evidence
    agreement: Floats
    probabilities: Floats

    def best(self, max_candidates: int) -> list[Candidate]:
        """The likeliest candidates, best first; of equal ones the longer, then the earlier."""
        witnesses = np.column_stack([self.evidence.witnesses, self.agreement])
        found = [
            Candidate(start, end, score, EVIDENCE, tuple(map(stored_score, said)))
            for (start, end), score, said in zip(
                self.evidence.spans.tolist(),
                map(stored_score, self.probabilities.tolist()),
                witnesses.tolist(),
                strict=True,
            )
            if score > 0
        ]
        found.sort(key=lambda c: (-c.score, c.start - c.end, c.start))
        return found[:max_candidates]


def weigh(evidence: Sequence[Sequence[Evidence]], config: EvidenceConfig) -> list[list[Weighed]]:
    """Weigh the candidates of all mentions of a shard, which hear from other sentences' mentions.

    ``evidence`` and what is returned: by sentence.
    """
    sentences = [number for number, found in enumerate(evidence) for _ in found]
    weighed = iter(_weigh(list(chain.from_iterable(evidence)), sentences, config))
    return [[next(weighed) for _ in found] for found in evidence]


def _weigh(
    evidence: Sequence[Evidence], sentences: Sequence[int], config: EvidenceConfig
) -> list[Weighed]:
    sizes = [len(each.spans) for each in evidence]
    mention_of = np.repeat(np.arange(len(evidence)), sizes)
    weights = np.array([getattr(config, name) for name in WITNESSES])
    nothing = np.zeros((0, len(WITNESSES)))
    alone = np.concatenate([nothing, *(each.witnesses for each in evidence)]) @ weights

    def shares(odds: Floats) -> Floats:
        highest = np.full(len(evidence), float(config.absent))
        np.maximum.at(highest, mention_of, odds)
        grown = np.exp(odds - highest[mention_of])
        total = np.exp(config.absent - highest)
        total += np.bincount(mention_of, grown, len(evidence))
        found: Floats = grown / total[mention_of]
        return found

    agreement: Floats = np.zeros(len(alone))
    probabilities = shares(alone)
    if config.agreement:
        others = _Others.of(evidence, sentences)
        for _ in range(_ROUNDS):
            agreement = others.agreement(probabilities)
            probabilities = shares(alone + config.agreement * agreement)
    bounds = np.cumsum(sizes)[:-1]
    parts = (np.split(values, bounds) for values in (agreement, probabilities))
    return [Weighed(*each) for each in zip(evidence, *parts, strict=True)] if evidence else []


@dataclass(frozen=True, eq=False)
class _Others:
    """What each candidate of a shard hears from mentions of its name in other sentences.

    ``alike`` [candidates]: a number that candidates of the same name share that have the same
    words; ``here`` [candidates]: one that they share within a sentence. ``mentions`` [candidates]:
    how many mentions the name has in other sentences.
    """

    alike: Indices
    here: Indices
    mentions: Indices

    @classmethod
    def of(cls, evidence: Sequence[Evidence], sentences: Sequence[int]) -> _Others:
        """Those of the mentions, each of which is in one of the ``sentences``."""
        everywhere = Counter(each.name for each in evidence)
        in_sentence = Counter(
            (sentence, each.name) for sentence, each in zip(sentences, evidence, strict=True)
        )
        numbers: defaultdict[Any, int] = defaultdict(lambda: len(numbers))
        alike, here, mentions = [], [], []
        for sentence, each in zip(sentences, evidence, strict=True):
            number = everywhere[each.name] - in_sentence[sentence, each.name]
            for phrase in each.phrases:
                alike.append(numbers[each.name, phrase])
                here.append(numbers[sentence, alike[-1]])
                mentions.append(number)
        return cls(*(np.array(each, np.int64) for each in (alike, here, mentions)))

    def agreement(self, probabilities: Floats) -> Floats:
        """For each candidate the share of those mentions that say the same."""
        said, said_here = (
            np.bincount(group, probabilities)[group] for group in (self.alike, self.here)
        )
        found: Floats = (said - said_here) / (self.mentions + _UNDECIDED)
        return found


@dataclass(frozen=True)
class _Target:
    """What the mentions of a pair share: its target's words, and where a span may have its ends.

    ``bounds`` [words, 2]: characters. ``proper`` [words, 2]: whether a span may begin, and whether
    it may end with a word, whatever else is in it; ``opened``, ``closed``: where the partner stands
    before or after a mark, or -1. ``brackets``: of which no span has one without the other.
    ``is_unspaced``: whether most words are single letters of a script without spaces.
    """

    words: Sequence[str]
    letters: Letters
    keys: Sequence[str]
    bounds: Indices
    capital: Floats
    proper: npt.NDArray[np.bool_]
    opened: Indices
    closed: Indices
    brackets: Sequence[tuple[int, int]]
    is_unspaced: bool

    @classmethod
    def of(cls, pair: SentencePair) -> _Target:
        words = [pair.target[a:b] for a, b in pair.target_words]
        marks = [paired_mark(word) for word in words]
        places = range(len(words))
        bounds = np.array(pair.target_words, dtype=np.int64).reshape(-1, 2)
        proper = np.array([[mark is None] * 2 for mark in marks], dtype=bool).reshape(-1, 2)
        if pair.whole_words is not None and len(pair.whole_words) < len(words):
            starts, ends = np.array(pair.whole_words, dtype=np.int64).reshape(-1, 2).T
            proper[:, 0] &= np.isin(bounds[:, 0], starts)
            proper[:, 1] &= np.isin(bounds[:, 1], ends)
        opened = [_partner(marks, i, range(i - 1, -1, -1)) for i in places]
        closed = [_partner(marks, i, range(i + 1, len(words))) for i in places]
        for index, (start, end) in enumerate(pair.target_words):
            if _is_suspended(pair.target, start, end):
                proper[index] = index > 0
                closed[index] = -1
        return cls(
            words=words,
            letters=Letters.of(words),
            keys=[_prefix(word) for word in words],
            bounds=bounds,
            capital=np.array([_capital(word) for word in words]),
            proper=proper,
            opened=np.array(opened, dtype=np.int64),
            closed=np.array(closed, dtype=np.int64),
            brackets=brackets(pair.target, pair.target_words),
            is_unspaced=2 * sum(map(is_unspaced, words)) > len(words),
        )

    def spelled(self, mentions: Sequence[Sequence[str]]) -> Floats:
        """How like the likest of a mention's words each word is, [mentions, words].

        ``mentions`` are of words; short ones must be the same.
        """
        places = np.arange(len(self.words))
        names = list(dict.fromkeys(chain.from_iterable(mentions)))
        alike = dict(zip(names, self.letters.shared(names, places, places + 1), strict=True))
        for name in names:
            if len(name) <= 2:
                alike[name] = np.array([word == name for word in self.words], float)
        nothing = np.zeros(len(places))
        return np.array([np.max([nothing, *(alike[n] for n in mine)], axis=0) for mine in mentions])

    def spans(self, max_words: int) -> tuple[Indices, Indices]:
        """First words, and words after the last, of the spans that may be a mention."""
        size = len(self.words)
        firsts, lasts = np.nonzero(
            np.tri(size, dtype=bool).T & ~np.tri(size, k=-max_words, dtype=bool).T
        )
        # A mark ends a span that has its partner inside, and begins one likewise.
        closed, opened = self.closed[firsts], self.opened[lasts]
        begins = self.proper[firsts, 0] | ((closed >= 0) & (closed < lasts))
        ends = self.proper[lasts, 1] | ((opened > firsts) & (opened >= 0))
        good = begins & ends
        for opening, closing in self.brackets:
            has_opening = (firsts <= opening) & (opening <= lasts)
            good &= has_opening == ((firsts <= closing) & (closing <= lasts))
        return firsts[good], lasts[good] + 1


def _partner(marks: Sequence[str | None], index: int, others: Iterable[int]) -> int:
    """Where the partner of a bracket or quotation mark stands, or -1."""
    if not marks[index]:
        return -1
    return next((other for other in others if marks[other] == marks[index]), -1)


def _is_suspended(text: str, start: int, end: int) -> bool:
    """Whether a hyphen stands for the rest of a compound: "Struktur- und Kohäsionsfonds"."""
    return (
        text[start:end] in "-\u2010\u2011"
        and start > 0
        and text[start - 1].isalpha()
        and (end == len(text) or text[end].isspace())
    )


def _within(values: npt.NDArray[Any], firsts: Indices, stops: Indices) -> Floats:
    """Sums of the values over ranges of words."""
    sums: Floats = np.concatenate([[0.0], np.cumsum(values)])
    inside: Floats = sums[stops] - sums[firsts]
    return inside


@lru_cache(maxsize=65_536)
def _capital(word: str) -> float:
    """1 for a word that begins like a name, 0 for a lower-case one, 0.5 for one without case."""
    if word[0].isupper() or word[0].isdigit():
        return 1.0
    return 0.0 if word[0].islower() and is_cased(word[0]) else 0.5


@lru_cache(maxsize=65_536)
def _prefix(word: str) -> str:
    return folded(word)[:_PREFIX]
