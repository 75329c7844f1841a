from __future__ import annotations

import re
from itertools import pairwise
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.projection.calibration import Calibration
from xner.projection.decode import Candidate, brackets, candidates, split_at_bracket, verbatim
from xner.text.words import segment

Spans = list[tuple[int, int]]


def _words(text: str) -> Spans:
    """Letters together, marks alone, Han characters alone: enough to be independent of ours."""
    return [m.span() for m in re.finditer(r"[一-鿿]|[^\W一-鿿]+|[^\w\s]", text)]


def _found(text: str, *scores: list[float], **settings: object) -> list[list[Candidate]]:
    options = {"threshold": 0.5, "max_gap": 1, "max_candidates": 3, **settings}
    return candidates(np.array(scores, np.float32), _words(text), text, **options)


def _texts(text: str, *scores: list[float], **settings: float) -> list[list[str]]:
    return [[text[c.start : c.end] for c in row] for row in _found(text, *scores, **settings)]


def test_candidates_are_runs_best_first():
    found = _found("Bonn oder aber Köln", [0.75, 0, 0, 1.0])
    assert found == [[Candidate(15, 19, 1.0, "aligner"), Candidate(0, 4, 0.75, "aligner")]]


def test_candidates_are_calibrated_after_they_are_ranked():
    """A calibration may round two scores to one; which candidate is better stays as it was."""
    text, scores = "Bonn Ulm oder und aber Köln", [0.999, 0.999, 0, 0, 0, 1.0]
    plain = _found(text, scores)
    sure = _found(text, scores, calibration=Calibration(2.0, 5.0))
    assert (
        [(c.start, c.end) for c in sure[0]]
        == [(c.start, c.end) for c in plain[0]]
        == [
            (23, 27),
            (0, 8),
        ]
    )
    assert [c.score for c in sure[0]] == [1.0, 1.0]
    doubtful = _found("Bonn", [0.75], calibration=Calibration(1.0, -np.log(9)))
    assert [c.score for c in doubtful[0]] == pytest.approx([0.25], abs=1e-3)


def test_candidates_without_a_likely_word_are_none():
    assert _found("Bonn oder Köln", [0.49, 0, 0.1], [0, 0, 0]) == [[], []]


def test_candidates_of_names_do_not_join_across_rows():
    assert _texts("a b c", [0, 0, 0.9], [0.9, 0, 0]) == [["c"], ["a"]]


@pytest.mark.parametrize(
    ("max_gap", "expected"), [(0, ["Bank", "England"]), (1, ["Bank von England"])]
)
def test_candidates_bridge_no_wider_gap_than_allowed(max_gap: int, expected: list[str]):
    assert _texts("die Bank von England", [0, 0.9, 0.1, 0.8], max_gap=max_gap) == [expected]


def test_candidates_test_the_gap_and_not_the_extent():
    text = "Bank von England und Wales und Irland"
    assert _texts(text, [0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9]) == [[text]]
    assert _texts(text, [0.9, 0.1, 0.1, 0.1, 0.9, 0.1, 0.9]) == [["Bank", "Wales und Irland"]]


def test_candidates_score_counts_bridged_words():
    assert _found("a b c", [1.0, 0.25, 1.0]) == [[Candidate(0, 5, 0.75, "aligner")]]


def test_candidates_scores_are_the_same_after_storage_as_float32():
    ((found,),) = _found("a b c", [0.9, 0.7, 0.633333])
    assert np.float32(found.score) == found.score == pytest.approx(0.744444, abs=1e-3)


def test_candidates_are_the_same_for_scores_that_differ_by_noise():
    exact = np.array([0.9, 0.1, 0.9, 0.2, 0.2, 0.9], np.float32)
    noisy = exact + np.array([0, 0, -3e-7, 0, 0, 3e-7], np.float32)
    text = "a b c d e f"
    assert _found(text, exact.tolist()) == _found(text, noisy.tolist())


def test_candidates_of_equal_score_are_longest_then_earliest():
    text = "a x x b c x x d e"
    scores = [0.8, 0, 0, 0.8, 0.8, 0, 0, 0.8, 0.8]
    assert _texts(text, scores) == [["b c", "d e", "a"]]
    assert _texts(text, scores, max_candidates=2) == [["b c", "d e"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("„ Bonn “ ,", ["Bonn"]),
        ("《 北 京 》 。", ["北 京"]),
        ("¿ Quién ?", ["Quién"]),
        ("« Paris » …", ["Paris"]),
        ("` Bonn `", ["Bonn"]),
        ("( Bonn )", ["Bonn"]),
        ("ARD ( Bonn )", ["ARD ( Bonn )"]),
        ("ARD ( Bonn ) .", ["ARD ( Bonn )"]),
        ("( Nord ) Korea", ["( Nord ) Korea"]),
        ("ARD ( Bonn", ["ARD ( Bonn"]),
        ("Bonn (", ["Bonn"]),
        ("Die „ Zeit “", ["Die „ Zeit “"]),
        (". , !", []),
    ],
)
def test_candidates_trim_marks_that_no_partner_inside_holds(text: str, expected: list[str]):
    assert _texts(text, [0.9] * len(_words(text))) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ( b [ c ] ) d", [("[", "]"), ("(", ")")]),
        # Without a partner, and across others.
        ("a ) b ( c", []),
        ("( a [ b ) c ]", [("(", ")")]),
        ("（ a ) （ b ）", [("（", "）")]),
        ("„ a “ « b »", []),
    ],
)
def test_brackets_are_pairs(text: str, expected: list[tuple[str, str]]):
    words = _words(text)
    found = brackets(text, words)
    assert [(text[slice(*words[a])], text[slice(*words[b])]) for a, b in found] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Vereinte Nationen ( UN )", ["Vereinte Nationen", "UN"]),
        ("巴 拉 特 （ Barratt ）", ["巴 拉 特", "Barratt"]),
        ("A ( B ) C ( D )", ["A ( B ) C", "D"]),
        ("A ( B ( C ) )", ["A", "B ( C )"]),
        ("Bonn", ["Bonn"]),
        ("( Bonn )", ["( Bonn )"]),
        ("Bonn ( )", ["Bonn ( )"]),
        ("( Nord ) Korea", ["( Nord ) Korea"]),
        ("Bonn ( West", ["Bonn ( West"]),
        ("Bonn , ( „ West“ , )", ["Bonn", "West"]),
        # An age or a doubt is no name, and a title in quotation marks is told once.
        ("Merkel ( 52 )", ["Merkel ( 52 )"]),
        ("Bonn ( ? )", ["Bonn ( ? )"]),
        ("( ( A ) ( B ) )", ["( ( A ) ( B ) )"]),
        ("电 影 《 红 楼 梦 》", ["电 影 《 红 楼 梦 》"]),
        ("映 画 「 雪 国 」", ["映 画 「 雪 国 」"]),
    ],
)
def test_parts_of_a_name_that_is_told_twice(text: str, expected: list[str]):
    # The words around it are none of its parts.
    whole = f"( in {text} )"
    start = whole.index(text)
    found = split_at_bracket(start, start + len(text), whole)
    assert [whole[a:b] for a, b in found] == expected


def test_candidates_keep_a_mark_that_is_part_of_a_word():
    text = "aus den U.S."
    scores = np.array([[0, 0, 0.9]])
    settings = {"threshold": 0.5, "max_gap": 1, "max_candidates": 3}
    ((found,),) = candidates(scores, segment(text), text, **settings)
    assert text[found.start : found.end] == "U.S."


def test_candidates_do_not_begin_or_end_with_what_is_invisible():
    text = "\u200fAnna\u200f kam"
    scores = np.array([[0.9] * (len(segment(text)) - 1) + [0]])
    settings = {"threshold": 0.5, "max_gap": 1, "max_candidates": 3}
    ((found,),) = candidates(scores, segment(text), text, **settings)
    assert text[found.start : found.end] == "Anna"


def test_candidates_do_not_end_on_a_bridge_whose_far_side_was_trimmed():
    assert _found("Bonn und .", [0.75, 0.25, 0.9]) == [[Candidate(0, 4, 0.75, "aligner")]]


def test_candidates_without_names_or_words_are_none():
    settings = {"threshold": 0.5, "max_gap": 1, "max_candidates": 3}
    assert candidates(np.zeros((0, 3)), _words("a b c"), "a b c", **settings) == []
    assert candidates(np.zeros((2, 0)), [], "", **settings) == [[], []]


def test_candidates_refuse_what_is_no_score_of_these_words():
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 3 words"):
        _found("a b c", [0.5, 0.5])
    with pytest.raises(ValueError, match="not a number"):
        _found("a b", [float("nan"), 0.9])


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=9, max_size=9), min_size=1, max_size=3),
    st.integers(0, 3),
)
def test_candidates_are_disjoint_likely_at_both_ends_and_sorted(
    scores: list[list[float]], max_gap: int
):
    text = "a ( b ) c , d e ."
    words = _words(text)
    for row, found in zip(
        scores, _found(text, *scores, max_gap=max_gap, max_candidates=9), strict=True
    ):
        likely_at = {
            edge for span, score in zip(words, row, strict=True) if score >= 0.5 for edge in span
        }
        assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
        in_order = sorted(found, key=lambda c: c.start)
        assert all(a.end < b.start for a, b in pairwise(in_order))
        assert all({c.start, c.end} <= likely_at for c in found)


def test_candidates_cost_little():
    text = " ".join(["Wort"] * 25)
    words = _words(text)
    scores = np.zeros((2, 25), np.float32)
    scores[0, 3:5] = scores[1, 20] = scores[1, 22] = 0.9
    settings = {"threshold": 0.5, "max_gap": 1, "max_candidates": 3}
    started = process_time()
    for _ in range(1000):
        candidates(scores, words, text, **settings)
    # Aim: 50 microseconds; the bound leaves room for a busy machine.
    assert (process_time() - started) / 1000 < 250e-6


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("Iran", "Der Iran liegt dort.", (4, 8)),
        ("Iran", "Ein Iraner aus Iran", (15, 19)),
        ("Iran", "Iran und Iran", None),
        ("Iran", "Ein Iraner", None),
        ("New York", "in New York .", (3, 11)),
        ("Tom", "汤姆是Tom吗", (3, 6)),
        ("", "leer", None),
    ],
)
def test_verbatim_is_the_only_place_at_word_borders(
    name: str, text: str, expected: tuple[int, int] | None
):
    assert verbatim(name, text, _words(text)) == expected
