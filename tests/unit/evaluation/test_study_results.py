from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from xner.config import BootstrapConfig
from xner.evaluation.study import Cell
from xner.evaluation.study_results import (
    Result,
    comparisons,
    holm,
    randomisation_p,
    rankings,
    rows,
)

BOOTSTRAP = BootstrapConfig(samples=500)


def result(
    cell: Cell, right: int, of: int = 10, sentences: int = 40, step: str | None = None
) -> Result:
    """A model that finds the first ``right`` of ten mentions in each of the sentences."""
    counts = np.tile([right, 0, of - right], (sentences, 1)).astype(np.int64)
    return Result(cell, step or str(cell), "mini", counts, 100, 1.0, 1.0)


def student(encoder: str = "a", seed: int = 0, **axes: object) -> Cell:
    values = {"aligner": "hmm", "loss": "gce", "initialisation": "teacher", "domain": "all", **axes}
    return Cell("student", "de", encoder, seed=seed, **values)  # type: ignore[arg-type]


def f1(right: int) -> float:
    return 2 * right / (right + 10)


def test_rankings_are_means_over_seeds_best_first() -> None:
    ranked = rankings(
        [
            result(student("a", 0), 6),
            result(student("a", 1), 8),
            result(student("b", 0), 9),
            result(Cell("transfer", "de", "a"), 5),
            result(Cell("supervised", "de", "a", seed=0), 10),
        ],
        BOOTSTRAP,
    )["de", "mini"]
    assert [(s.cell.system, s.cell.encoder) for s in ranked] == [
        ("supervised", "a"),
        ("student", "b"),
        ("student", "a"),
        ("transfer", "a"),
    ]
    bound, best, mine, transfer = ranked
    mean = (f1(6) + f1(8)) / 2
    assert (mine.num_seeds, mine.mean) == (2, pytest.approx(mean))
    assert mine.std == pytest.approx(abs(f1(8) - f1(6)) / 2**0.5)
    assert mine.gain == pytest.approx(mean - f1(5))
    assert mine.share == pytest.approx(mean)
    # All are held against the best student, a bound too.
    assert (best.ahead, best.p) == (None, None)
    assert mine.ahead == pytest.approx(mean - f1(9))
    assert bound.ahead == pytest.approx(1 - f1(9))
    # Of encoder b there is no reference; of one seed there is no spread.
    assert (best.gain, best.share, best.std) == (None, None, None)
    # Every resample says the same, and three comparisons are corrected for.
    assert transfer.p == pytest.approx(3 * 2 / 501)


def test_rankings_of_many_systems_can_show_a_difference() -> None:
    results = [result(student(aligner=f"{number}"), 2 + 7 * (number == 0)) for number in range(60)]
    best, *others = rankings(results, BOOTSTRAP)["de", "mini"]
    assert (best.cell.aligner, best.p) == ("0", None)
    # As clear as can be; the correction for 59 comparisons must leave that to be said.
    assert all(each.p == pytest.approx(59 * 2 / (59 * 80 + 1)) for each in others)


def test_rankings_find_no_difference_between_the_same_figures() -> None:
    results = [
        result(student(encoder, seed), right)
        for encoder, figures in {"a": (3, 4, 8), "b": (8, 3, 4)}.items()
        for seed, right in enumerate(figures)
    ]
    _, other = rankings(results, BOOTSTRAP)["de", "mini"]
    assert (other.ahead, other.p) == (pytest.approx(0), 1)


def of_sentences(cell: Cell, gold: str, is_right: Sequence[bool]) -> Result:
    """A model that finds the one mention of a sentence, or another one."""
    right = np.array(is_right, np.int64)
    counts = np.stack([right, 1 - right, 1 - right], axis=1)
    return Result(cell, str(cell), gold, counts, 100, 1.0, 1.0)


def test_comparisons_test_over_sentences_the_difference_that_they_report() -> None:
    # On the large set b is better, surely and by little; on the small one a is, by chance and by
    # more. The mean over the sets is in favour of a, and no sentences but a few say so.
    right = {
        ("large", "a"): [True] * 1000 + [False] * 1000,
        ("large", "b"): [True] * 1020 + [False] * 980,
        ("small", "a"): [True] * 11 + [False] * 9,
        ("small", "b"): [False] * 10 + [True] * 10,
    }
    results = [
        of_sentences(student(encoder, seed), gold, is_right)
        for (gold, encoder), is_right in right.items()
        for seed in range(8)
    ]
    (encoder,) = comparisons(results, BOOTSTRAP)
    assert encoder.difference == pytest.approx((0.05 - 0.01) / 2)
    assert encoder.p_models == pytest.approx(2 / 2**8)
    assert encoder.p_sentences > 0.5
    assert not encoder.is_significant


def test_comparisons_match_cells_that_differ_in_nothing_else() -> None:
    results = [
        result(student(encoder, seed, size=size), 5 + (encoder == "b") + seed)
        for encoder, seed, size in product("ab", (0, 1, 2), (10, None))
    ]
    # One that has no partner counts for nothing.
    results.append(result(student("a", 9), 1))
    by_axis = {each.axis: each for each in comparisons(results, BOOTSTRAP)}
    assert set(by_axis) == {"encoder", "size"}
    encoder = by_axis["encoder"]
    assert (encoder.value, encoder.other, encoder.num_pairs) == ("a", "b", 6)
    expected = np.mean([f1(5 + seed) - f1(6 + seed) for seed in (0, 1, 2)])
    assert encoder.difference == pytest.approx(expected)
    # All six point one way: two of the 2^6 ways to swap them lie as far out.
    assert encoder.p_models == pytest.approx(2 / 64)
    assert encoder.p_sentences == pytest.approx(2 / 501)
    assert encoder.p == pytest.approx(2 * 2 / 64)
    assert not encoder.is_significant
    size = by_axis["size"]
    assert (size.difference, size.p_models, size.p_sentences) == (0, 1, 1)


def test_comparisons_count_a_model_once_whatever_it_is_scored_on() -> None:
    results = []
    for gold, (encoder, seed) in product(("g", "h"), product("ab", (0, 1))):
        one = result(student(encoder, seed), 5 + (encoder == "b"), sentences=20 + 5 * (gold == "h"))
        results.append(replace(one, gold=gold))
    (encoder,) = comparisons(results, BOOTSTRAP)
    assert encoder.num_pairs == 2
    assert encoder.p_models == pytest.approx(2 / 4)


def test_randomisation_p_has_its_closed_form() -> None:
    assert randomisation_p([1.0]) == 1
    assert randomisation_p([0.1] * 8) == pytest.approx(2 / 2**8)
    # Sums of +-1 +-2 +-3: |sum| >= 4 in four of eight ways.
    assert randomisation_p([-1.0, 2.0, 3.0]) == pytest.approx(4 / 8)
    assert randomisation_p([0.0, 0.0]) == 1


def test_randomisation_p_by_chance_agrees_with_the_exact_one() -> None:
    generator = np.random.default_rng(0)
    apart = generator.normal(0.4, 1, 16)
    exact = randomisation_p(apart.tolist())
    # A pair without a difference changes no sum, but makes them too many to try all.
    sampled = randomisation_p([*apart, 0.0])
    assert 0.001 < exact < 0.9
    assert sampled == pytest.approx(exact, abs=0.02)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_rows_say_every_axis_and_the_scores() -> None:
    (row,) = rows([result(student(size=5), 5)])
    assert row["encoder"] == "a"
    assert (row["size"], row["gold"], row["sentences"]) == (5, "mini", 100)
    assert (row["precision"], row["recall"]) == (1, 0.5)


def test_results_of_one_model_under_two_cells_are_counted_once() -> None:
    """Encoder a with the teacher a is encoder a with its own: no pair, no rival of itself."""
    results = []
    for seed in range(3):
        for encoder, teacher, right in (
            ("a", None, 8),
            ("a", "a", 8),
            ("b", None, 4),
            ("b", "a", 6),
        ):
            cell = student(encoder, seed, teacher=teacher)
            same = encoder == "a"
            results.append(result(cell, right, step=f"a-{seed}" if same else str(cell)))
    by_axis = {each.axis: each for each in comparisons(results, BOOTSTRAP)}
    teacher = by_axis["teacher"]
    assert teacher.num_pairs == 3
    assert teacher.difference == pytest.approx(f1(4) - f1(6))
    # b with its own teacher and with that of a are two models, each held against a.
    assert by_axis["encoder"].num_pairs == 6
    ranked = rankings(results, BOOTSTRAP)["de", "mini"]
    assert [(each.cell.encoder, each.num_seeds) for each in ranked] == [
        ("a", 3),
        ("b", 3),
        ("b", 3),
    ]
