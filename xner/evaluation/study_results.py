"""What the cells of a study say: means over seeds, rankings, and what each axis changes.

Two questions are asked of a difference, for chance enters twice. Would other test sentences show
it? The paired bootstrap over sentences says (Koehn 2004), on counts summed over all models of a
side. Would other models show it? Two values of an axis are compared on matched cells, which differ
in nothing else, and Fisher's randomisation test (1935) swaps the sides of the pairs at random. A
difference is called significant when both say so, the larger of the two p being what is judged,
after Holm's correction (1979) for the number of comparisons in its table.

Matched cells share teachers, aligners and text, so they are less independent than the randomisation
test takes them to be: a p near the border should be read as no.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np

from xner.config import BootstrapConfig
from xner.evaluation.bootstrap import SentenceCounts, differences
from xner.evaluation.scoring import Counts
from xner.evaluation.study import AXES, Cell

SIGNIFICANT = 0.05

# So many pairs have 65,536 ways to be swapped, and all of them are tried.
_MOST_PAIRS_EXACT = 16
_SWAPS = 10_000


@dataclass(frozen=True)
class Result:
    """A cell on one gold set: the counts of each sentence, [num_sentences, 3].

    ``sentences``: how many the model was trained on, those held out for selection included;
    ``seconds``: of training and scoring.
    """

    cell: Cell
    gold: str
    counts: SentenceCounts
    sentences: int
    seconds: float

    @cached_property
    def scores(self) -> Counts:
        """The counts over all sentences."""
        right, invented, missed = self.counts.sum(axis=0).tolist()
        return Counts(right, invented, missed)


@dataclass(frozen=True)
class SystemScore:
    """A system on one gold set, over its seeds.

    ``std`` is the sample's, None for one seed. ``sentences`` is a mean. ``counts`` are summed over
    the seeds. ``gain``: over direct transfer of the same encoder; ``share``: of the F1 that the
    same encoder reaches when it is trained on gold; None where there is nothing to compare with.
    ``behind`` and ``p``: F1 less that of the table's best, and the corrected p of the bootstrap;
    None for the best.
    """

    cell: Cell
    gold: str
    num_seeds: int
    mean: float
    std: float | None
    sentences: float
    counts: SentenceCounts
    gain: float | None = None
    share: float | None = None
    behind: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two values of an axis, everything else equal; positive where ``value`` is better.

    ``difference``: mean over the matched models of their F1, each a mean over gold sets;
    ``p_models`` and ``p_sentences``: of the randomisation test and the bootstrap; ``p``: the larger
    of them, corrected.
    """

    axis: str
    value: str
    other: str
    num_pairs: int
    difference: float
    p_models: float
    p_sentences: float
    p: float

    @property
    def is_significant(self) -> bool:
        return self.p < SIGNIFICANT


def rankings(
    results: Iterable[Result], bootstrap: BootstrapConfig
) -> dict[tuple[str, str], list[SystemScore]]:
    """The systems on each language and gold set, best mean F1 first."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.cell.lang, result.gold].append(result)
    return {key: _ranked(groups[key], bootstrap) for key in sorted(groups)}


def _ranked(results: Sequence[Result], bootstrap: BootstrapConfig) -> list[SystemScore]:
    seeds: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for result in results:
        seeds[result.cell.without("seed")].append(result)
    f1 = {key: [each.scores.f1 for each in group] for key, group in seeds.items()}
    references = {
        (group[0].cell.system, group[0].cell.encoder): fmean(f1[key])
        for key, group in seeds.items()
        if group[0].cell.system != "student"
    }
    order = sorted(seeds, key=lambda key: -fmean(f1[key]))
    counts = {key: np.sum([each.counts for each in seeds[key]], axis=0) for key in seeds}
    best, *others = order
    behind = differences(counts[best], [counts[key] for key in others], bootstrap) if others else []
    corrected = holm([each.p for each in behind])
    scores = []
    for place, key in enumerate(order):
        cell, mean = seeds[key][0].cell, fmean(f1[key])
        transfer = references.get(("transfer", cell.encoder))
        supervised = references.get(("supervised", cell.encoder))
        scores.append(
            SystemScore(
                cell=cell,
                gold=seeds[key][0].gold,
                num_seeds=len(seeds[key]),
                mean=mean,
                std=stdev(f1[key]) if len(f1[key]) > 1 else None,
                sentences=fmean(each.sentences for each in seeds[key]),
                counts=counts[key],
                gain=None if transfer is None else mean - transfer,
                share=mean / supervised if supervised else None,
                behind=mean - fmean(f1[best]) if place else None,
                p=corrected[place - 1] if place else None,
            )
        )
    return scores


def comparisons(results: Iterable[Result], bootstrap: BootstrapConfig) -> list[Comparison]:
    """Every two values of every axis that the students differ in, by axis; see the module."""
    students = [result for result in results if result.cell.system == "student"]
    found = []
    for axis in AXES:
        values = {getattr(each.cell, axis): each.cell.value(axis) for each in students}
        for one, other in itertools.combinations(values, 2):
            pairs = _matched(students, axis, one, other)
            if pairs:
                found.append(_compared(axis, values[one], values[other], pairs, bootstrap))
    corrected = holm([each.p for each in found])
    return [Comparison(**{**vars(each), "p": p}) for each, p in zip(found, corrected, strict=True)]


def _matched(
    students: Iterable[Result], axis: str, one: Any, other: Any
) -> list[tuple[Result, Result]]:
    """Pairs of results that differ in the value of one axis alone."""
    sides: dict[tuple[Any, ...], dict[Any, Result]] = defaultdict(dict)
    for each in students:
        sides[each.gold, *each.cell.without(axis)][getattr(each.cell, axis)] = each
    return [(both[one], both[other]) for both in sides.values() if one in both and other in both]


def _compared(
    axis: str,
    value: str | None,
    other: str | None,
    pairs: Sequence[tuple[Result, Result]],
    bootstrap: BootstrapConfig,
) -> Comparison:
    by_model: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    by_gold: dict[tuple[str, str], list[tuple[Result, Result]]] = defaultdict(list)
    for mine, theirs in pairs:
        by_model[mine.cell.without(axis)].append(mine.scores.f1 - theirs.scores.f1)
        by_gold[mine.cell.lang, mine.gold].append((mine, theirs))
    # The sentences of a gold set are the same for all models; those of several sets are pooled.
    summed = [
        np.concatenate(
            [np.sum([both[side].counts for both in group], axis=0) for group in by_gold.values()]
        )
        for side in (0, 1)
    ]
    (by_sentences,) = differences(summed[0], summed[1:], bootstrap)
    apart = [fmean(golds) for golds in by_model.values()]
    p_models = randomisation_p(apart, bootstrap.seed)
    return Comparison(
        axis=axis,
        value=str(value),
        other=str(other),
        num_pairs=len(apart),
        difference=fmean(apart),
        p_models=p_models,
        p_sentences=by_sentences.p,
        p=max(p_models, by_sentences.p),
    )


def randomisation_p(apart: Sequence[float], seed: int = 0) -> float:
    """The two-sided p of Fisher's randomisation test that paired differences have mean zero.

    All swaps are tried for up to 16 pairs, else ten thousand at random. With n pairs p is never
    below 2 / 2^n: less than six of them can show nothing at 0.05.
    """
    values = np.asarray(apart, float)
    if len(values) <= _MOST_PAIRS_EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(values))), float)
        more = 0
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (_SWAPS, len(values)))
        signs, more = 1.0 - 2 * drawn, 1
    # Sums of the same terms in another order differ in their last bits.
    as_far = np.abs(signs @ values) >= abs(values.sum()) - 1e-12
    return (int(as_far.sum()) + more) / (len(signs) + more)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: each p as it counts among so many."""
    corrected = [0.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = highest
    return corrected


def rows(results: Iterable[Result]) -> list[Mapping[str, Any]]:
    """One record a cell and gold set, for ``results.parquet``."""
    return [
        {
            **vars(each.cell),
            "gold": each.gold,
            "sentences": each.sentences,
            **each.scores.to_dict(),
            "seconds": each.seconds,
        }
        for each in results
    ]
