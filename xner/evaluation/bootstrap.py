"""How sure a score is: resampling of sentences (Efron 1979), alone and for two systems at once.

Micro-averaged rates are functions of summed counts, so a resample is a weighted sum of the counts
of each sentence, and all resamples are one matrix product. Two systems are compared on the same
resamples (Koehn 2004): what makes a sentence hard is then the same for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xner.config import BootstrapConfig
from xner.evaluation.scoring import Scores
from xner.text.mentions import Mention

#: Of each sentence: true positives, false positives, false negatives.
SentenceCounts = npt.NDArray[np.int64]

_COVERAGE = 0.95
_MAX_CELLS = 10_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of the resamples."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """F1 of one system less that of another, and how often chance would show as much.

    ``p`` is two-sided: twice the share of resamples on the rarer side of zero.
    """

    f1: float
    interval: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One evaluation against another on the same gold; positive where the first is better."""

    typed: Difference
    untyped: Difference


def sentence_counts(
    gold: Sequence[Iterable[Mention]], predicted: Sequence[Iterable[Mention]], typed: bool = True
) -> SentenceCounts:
    """[num_sentences, 3]: the counts of each sentence, as score_mentions sums them."""
    rows = []
    for mentions, others in zip(gold, predicted, strict=True):
        wanted, found = (
            {(m.start, m.end, m.label if typed else "") for m in each}
            for each in (mentions, others)
        )
        right = len(wanted & found)
        rows.append((right, len(found) - right, len(wanted) - right))
    return np.array(rows, np.int64).reshape(-1, 3)


def intervals(counts: SentenceCounts, config: BootstrapConfig) -> dict[str, Interval]:
    """The intervals of precision, recall and F1."""
    sums = np.concatenate(list(_resampled(counts, config)))
    found, invented, missed = sums.T
    return {
        "precision": _interval(_rate(found, found + invented)),
        "recall": _interval(_rate(found, found + missed)),
        "f1": _interval(_f1(sums)),
    }


def with_intervals(scores: Scores, found: Mapping[str, Interval]) -> dict[str, Any]:
    """Scores and their intervals as JSON writes them."""
    return {**scores.to_dict(), "intervals": {rate: asdict(each) for rate, each in found.items()}}


def difference(
    counts: SentenceCounts, others: SentenceCounts, config: BootstrapConfig
) -> Difference:
    """The paired test of two systems on the same sentences.

    Raises ValueError when they are not as many.
    """
    return differences(counts, [others], config)[0]


def differences(
    counts: SentenceCounts, others: Sequence[SentenceCounts], config: BootstrapConfig
) -> list[Difference]:
    """The paired test of one system against each of some others, on the same resamples.

    Raises ValueError when their sentences are not as many.
    """
    for each in others:
        if len(counts) != len(each):
            raise ValueError(f"{len(counts)} sentences and {len(each)}")
    together = np.concatenate(list(_resampled(np.hstack([counts, *others]), config)))
    mine, *theirs = np.split(together, 1 + len(others), axis=1)
    observed = _f1(counts.sum(axis=0)[None])
    found = []
    for each, resampled in zip(others, theirs, strict=True):
        apart = _f1(mine) - _f1(resampled)
        rarer = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
        found.append(
            Difference(
                f1=float((observed - _f1(each.sum(axis=0)[None]))[0]),
                interval=_interval(apart),
                # One more on both sides of the fraction: no number of resamples shows a p of 0.
                p=min(1.0, 2 * (rarer + 1) / (config.samples + 1)),
            )
        )
    return found


def _resampled(
    counts: npt.NDArray[np.int64], config: BootstrapConfig
) -> Iterator[npt.NDArray[np.int64]]:
    """The summed counts of the resamples, some at a time so that memory stays bounded."""
    generator = np.random.default_rng(config.seed)
    num_sentences = len(counts)
    shares = np.full(num_sentences, 1 / num_sentences)
    at_once = max(1, _MAX_CELLS // num_sentences)
    for first in range(0, config.samples, at_once):
        size = min(at_once, config.samples - first)
        yield generator.multinomial(num_sentences, shares, size=size) @ counts


def _f1(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    found, invented, missed = sums.T
    return _rate(2 * found, 2 * found + invented + missed)


def _rate(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """0 where nothing was counted, as :class:`xner.evaluation.scoring.Counts` has it."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    tail = (1 - _COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
