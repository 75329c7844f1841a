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

#: Differences up to this are none: sums of the same terms in another order differ in last bits.
NOTHING = 1e-12


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
    """The intervals of precision, recall and F1. Raises ValueError for no sentences."""
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
    (apart,) = weighted_f1([counts, others], np.array([[1.0], [-1.0]]), config).T
    mine, theirs = (_f1(each.sum(axis=0, dtype=np.float64)[None])[0] for each in (counts, others))
    return Difference(f1=float(mine - theirs), interval=_interval(apart), p=p_value(apart))


def weighted_f1(
    systems: Sequence[SentenceCounts], weights: npt.NDArray[np.float64], config: BootstrapConfig
) -> npt.NDArray[np.float64]:
    """Weighted sums of the F1 of systems, on the same resamples of their sentences.

    ``weights`` is [systems, sums], the result [samples, sums]. With weights of 1 and -1 a sum is a
    difference; with shares of them, one of means. Raises ValueError when the sentences of the
    systems are not as many.
    """
    for each in systems:
        if len(each) != len(systems[0]):
            raise ValueError(f"{len(systems[0])} sentences and {len(each)}")
    blocks = _resampled(np.hstack(list(systems)), config)
    return np.concatenate(
        [_f1(block.reshape(-1, 3)).reshape(len(block), -1) @ weights for block in blocks]
    )


def p_value(apart: npt.NDArray[np.float64]) -> float:
    """How often chance would show a difference, by its resamples, as :class:`Difference` has it."""
    rarer = min(int((apart <= NOTHING).sum()), int((apart >= -NOTHING).sum()))
    # One more on both sides of the fraction: no number of resamples shows a p of 0.
    return min(1.0, 2 * (rarer + 1) / (len(apart) + 1))


def _resampled(
    counts: npt.NDArray[np.int64], config: BootstrapConfig
) -> Iterator[npt.NDArray[np.float64]]:
    """The summed counts of the resamples, some at a time so that memory stays bounded."""
    if len(counts) == 0:
        raise ValueError("no sentences to draw from")
    generator = np.random.default_rng(config.seed)
    num_sentences = len(counts)
    shares = np.full(num_sentences, 1 / num_sentences)
    at_once = max(1, _MAX_CELLS // (num_sentences + counts.shape[1]))
    # Whole numbers, as floats: numpy multiplies matrices of integers a hundred times slower.
    summands = counts.astype(np.float64)
    for first in range(0, config.samples, at_once):
        size = min(at_once, config.samples - first)
        drawn = generator.multinomial(num_sentences, shares, size=size)
        yield drawn.astype(np.float64) @ summands


def _f1(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found, invented, missed = sums.T
    return _rate(2 * found, 2 * found + invented + missed)


def _rate(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """0 where nothing was counted, as :class:`xner.evaluation.scoring.Counts` has it."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    tail = (1 - _COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
