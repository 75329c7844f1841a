"""What the cells of a study say: means over seeds, rankings, and what each axis changes.

Two questions are asked of a difference, for chance enters twice. Would other test sentences show
it? The paired bootstrap over sentences says (Koehn 2004): the difference of mean F1 that is
reported is computed again on resamples of every gold set. Would other models show it? Two values of
an axis are compared on matched cells, which differ in nothing else, and Fisher's randomisation test
(1935) swaps the sides of the pairs at random. A difference is called significant when both say so,
the larger of the two p being what is judged, after Holm's correction (1979) for the number of
comparisons in its table.

Matched cells share teachers, aligners and text, so they are less independent than the randomisation
test takes them to be: a p near the border should be read as no. Teachers and entity aligners are
trained once, and no pairs can show what another training of them would do: of these axes the test
speaks of the models at hand.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np

from xner.config import BootstrapConfig
from xner.evaluation.bootstrap import NOTHING, SentenceCounts, p_value, weighted_f1
from xner.evaluation.scoring import Counts
from xner.evaluation.study import AXES, Cell

SIGNIFICANT = 0.05

# The smallest p of the bootstrap, corrected for all comparisons of a table, is half of SIGNIFICANT.
_SAMPLES_A_COMPARISON = int(4 / SIGNIFICANT)

# So many pairs have 65,536 ways to be swapped, and all of them are tried.
_MOST_PAIRS_EXACT = 16
_SWAPS = 10_000
_SWAPS_AT_ONCE = 1000


@dataclass(frozen=True)
class Result:
    """A cell on one gold set: the counts of each sentence, [num_sentences, 3].

    ``step``: the name of the step that trained and scored its model, which is another cell's too
    where both ask for the same; ``sentences``: how many the model was trained on, those held out
    for selection included; ``training_seconds``: of the model, whatever it is scored on.
    """

    cell: Cell
    step: str
    gold: str
    counts: SentenceCounts
    sentences: int
    training_seconds: float
    scoring_seconds: float

    @cached_property
    def scores(self) -> Counts:
        """The counts over all sentences."""
        right, invented, missed = self.counts.sum(axis=0).tolist()
        return Counts(right, invented, missed)


@dataclass(frozen=True)
class SystemScore:
    """A system on one gold set, over its seeds.

    ``std`` is the sample's, None for one seed. ``sentences`` is a mean. ``gain``: over direct
    transfer of the same encoder; ``share``: of the F1 that the same encoder reaches when it is
    trained on gold; None where there is nothing to compare with. ``ahead`` and ``p``: F1 less that
    of the best student, and the corrected p of the bootstrap; None for that student.
    """

    cell: Cell
    gold: str
    num_seeds: int
    mean: float
    std: float | None
    sentences: float
    gain: float | None = None
    share: float | None = None
    ahead: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two values of an axis, everything else equal; positive where ``value`` is better.

    ``difference``: mean over the pairs of models of their difference in F1, each a mean over gold
    sets; ``p_models`` and ``p_sentences``: of the randomisation test and the bootstrap; ``p``: the
    larger of them, corrected.
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
    return {key: _ranked(_distinct(groups[key]), bootstrap) for key in sorted(groups)}


def _distinct(results: Iterable[Result]) -> list[Result]:
    """Of the results on one gold set, each model's once: the first cell's that asks for it."""
    first: dict[str, Result] = {}
    for each in results:
        first.setdefault(each.step, each)
    return list(first.values())


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
    # A bound that is no student is no rival either.
    best = next((key for key in order if seeds[key][0].cell.system == "student"), order[0])
    others = [key for key in order if key != best]
    ps = _against(seeds[best], [seeds[key] for key in others], bootstrap)
    corrected = dict(zip(others, holm(ps), strict=True))
    scores = []
    for key in order:
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
                gain=None if transfer is None else mean - transfer,
                share=mean / supervised if supervised else None,
                ahead=None if key == best else mean - fmean(f1[best]),
                p=corrected.get(key),
            )
        )
    return scores


def _against(
    best: Sequence[Result], others: Sequence[Sequence[Result]], bootstrap: BootstrapConfig
) -> list[float]:
    """The p of the bootstrap that mean F1 over seeds differs from the best's, for each other."""
    if not others:
        return []
    groups = [best, *others]
    models = [(number, each) for number, group in enumerate(groups) for each in group]
    means = np.zeros((len(models), len(groups)))
    for row, (number, _) in enumerate(models):
        means[row, number] = 1 / len(groups[number])
    apart = weighted_f1(
        [each.counts for _, each in models],
        means[:, 1:] - means[:, :1],
        _resolving(len(others), bootstrap),
    )
    return [p_value(each) for each in apart.T]


def _resolving(num_comparisons: int, bootstrap: BootstrapConfig) -> BootstrapConfig:
    """Resamples enough for a difference to be significant after the correction for so many."""
    wanted = _SAMPLES_A_COMPARISON * num_comparisons
    return bootstrap.model_copy(update={"samples": max(bootstrap.samples, wanted)})


def comparisons(results: Iterable[Result], bootstrap: BootstrapConfig) -> list[Comparison]:
    """Every two values of every axis that the students differ in, by axis; see the module."""
    students = [result for result in results if result.cell.system == "student"]
    found = []
    for axis in AXES:
        values = {getattr(each.cell, axis): each.cell.value(axis) for each in students}
        for one, other in itertools.combinations(values, 2):
            pairs = _matched(students, axis, one, other)
            if pairs:
                found.append(_Pairs(axis, str(values[one]), str(values[other]), pairs))
    by_models = [randomisation_p(each.apart, bootstrap.seed) for each in found]
    by_sentences = _resampled(students, found, bootstrap)
    corrected = holm(list(map(max, by_models, by_sentences)))
    return [
        Comparison(
            axis=each.axis,
            value=each.value,
            other=each.other,
            num_pairs=len(each.apart),
            difference=fmean(each.apart),
            p_models=by_models[number],
            p_sentences=by_sentences[number],
            p=corrected[number],
        )
        for number, each in enumerate(found)
    ]


@dataclass(frozen=True)
class _Pairs:
    """What two values of an axis are compared on: models that differ in nothing else."""

    axis: str
    value: str
    other: str
    results: Sequence[tuple[Result, Result]]

    @cached_property
    def by_model(self) -> Mapping[tuple[Any, ...], Sequence[tuple[Result, Result]]]:
        """The results of each pair of models, one a gold set."""
        grouped: dict[tuple[Any, ...], list[tuple[Result, Result]]] = defaultdict(list)
        for mine, theirs in self.results:
            grouped[mine.cell.without(self.axis)].append((mine, theirs))
        return grouped

    @cached_property
    def apart(self) -> list[float]:
        """The difference in F1 of each pair of models, a mean over gold sets."""
        return [
            fmean(mine.scores.f1 - theirs.scores.f1 for mine, theirs in golds)
            for golds in self.by_model.values()
        ]

    def weights(self) -> Iterator[tuple[Result, float]]:
        """The share of each F1 in the mean of ``apart``."""
        for golds in self.by_model.values():
            share = 1 / (len(self.by_model) * len(golds))
            for mine, theirs in golds:
                yield mine, share
                yield theirs, -share


def _resampled(
    students: Sequence[Result], compared: Sequence[_Pairs], bootstrap: BootstrapConfig
) -> list[float]:
    """The p of the bootstrap of each comparison's mean difference.

    Every gold set is resampled by itself, for sets of other sizes must not drown each other.
    """
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for each in students:
        groups[each.cell.lang, each.gold].append(each)
    weights = {key: np.zeros((len(group), len(compared))) for key, group in groups.items()}
    row = {id(each): number for group in groups.values() for number, each in enumerate(group)}
    for column, pairs in enumerate(compared):
        for each, weight in pairs.weights():
            weights[each.cell.lang, each.gold][row[id(each)], column] = weight
    enough = _resolving(len(compared), bootstrap)
    apart = sum(
        weighted_f1(
            [each.counts for each in group],
            weights[key],
            enough.model_copy(update={"seed": bootstrap.seed + number}),
        )
        for number, (key, group) in enumerate(groups.items())
    )
    return [p_value(each) for each in np.transpose(apart)] if compared else []


def _matched(
    students: Iterable[Result], axis: str, one: Any, other: Any
) -> list[tuple[Result, Result]]:
    """Pairs of results that differ in the value of one axis alone, no two models twice.

    A model that is both sides, as where the teacher named is the encoder's own, is no pair.
    """
    sides: dict[tuple[Any, ...], dict[Any, Result]] = defaultdict(dict)
    for each in students:
        sides[each.gold, *each.cell.without(axis)][getattr(each.cell, axis)] = each
    pairs: dict[tuple[str, str, str], tuple[Result, Result]] = {}
    for both in sides.values():
        if one in both and other in both and both[one].step != both[other].step:
            mine, theirs = both[one], both[other]
            pairs.setdefault((mine.gold, mine.step, theirs.step), (mine, theirs))
    return list(pairs.values())


def randomisation_p(apart: Sequence[float], seed: int = 0) -> float:
    """The two-sided p of Fisher's randomisation test that paired differences have mean zero.

    All swaps are tried for up to 16 pairs, else ten thousand at random. With n pairs p is never
    below 2 / 2^n: less than six of them can show nothing at 0.05.
    """
    values = np.asarray(apart, float)
    if len(values) <= _MOST_PAIRS_EXACT:
        sums = np.array(list(itertools.product((1, -1), repeat=len(values)))) @ values
        more = 0
    else:
        generator = np.random.default_rng(seed)
        shape = (_SWAPS_AT_ONCE, len(values))
        sums = np.concatenate(
            [
                (1 - 2 * generator.integers(0, 2, shape)) @ values
                for _ in range(_SWAPS // _SWAPS_AT_ONCE)
            ]
        )
        more = 1
    as_far = np.abs(sums) >= abs(values.sum()) - NOTHING
    return (int(as_far.sum()) + more) / (len(sums) + more)


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
            "training_seconds": each.training_seconds,
            "scoring_seconds": each.scoring_seconds,
        }
        for each in results
    ]
