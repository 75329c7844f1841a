from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.projection.decode import Candidate
from xner.projection.resolve import resolve
from xner.text.mentions import Mention


def _candidate(start: int, end: int, score: float) -> Candidate:
    return Candidate(start, end, score, "aligner")


def _mentions(num: int) -> list[Mention]:
    return [Mention(10 * i, 10 * i + 3, "PER") for i in range(num)]


def test_resolve_gives_each_mention_its_best_free_candidate():
    first = [_candidate(0, 4, 0.9), _candidate(8, 9, 0.7)]
    second = [_candidate(2, 6, 0.95), _candidate(12, 15, 0.5)]
    assert resolve(_mentions(2), [first, second], 0.5) == [1, 0]


def test_resolve_leaves_a_mention_without_place_when_all_are_taken():
    assert resolve(_mentions(2), [[_candidate(0, 4, 0.9)], [_candidate(3, 8, 0.8)]], 0.5) == [
        0,
        None,
    ]


def test_resolve_ignores_candidates_below_the_minimum():
    assert resolve(_mentions(1), [[_candidate(0, 4, 0.49)]], 0.5) == [None]
    assert resolve(_mentions(1), [[_candidate(0, 4, 0.5)]], 0.5) == [0]


def test_resolve_lets_entities_change_places():
    candidates = [[_candidate(20, 24, 0.9)], [_candidate(0, 4, 0.9)]]
    assert resolve(_mentions(2), candidates, 0.5) == [0, 0]


def test_resolve_lets_spans_touch():
    assert resolve(_mentions(2), [[_candidate(0, 2, 0.9)], [_candidate(2, 4, 0.9)]], 0.5) == [0, 0]


@pytest.mark.parametrize("scores", [(0.9, 0.8), (0.8, 0.9)])
def test_resolve_gives_equal_names_their_occurrences_in_order(scores: tuple[float, float]):
    shared = [_candidate(0, 4, scores[0]), _candidate(10, 14, scores[1])]
    mentions = _mentions(2)
    assert resolve(mentions, [shared, shared], 0.5) == [0, 1]
    assert resolve(mentions[::-1], [shared, shared], 0.5) == [1, 0]


def test_resolve_gives_the_only_occurrence_to_the_first_of_equal_names():
    shared = [_candidate(0, 4, 0.9)]
    assert resolve(_mentions(2), [shared, shared], 0.5) == [0, None]


def test_resolve_orders_equal_names_around_a_place_that_another_took():
    shared = [_candidate(0, 4, 0.7), _candidate(10, 14, 0.8), _candidate(20, 24, 0.6)]
    other = [_candidate(9, 12, 0.95)]
    assert resolve(_mentions(3), [shared, other, shared], 0.5) == [0, 0, 2]


def test_resolve_of_nothing_is_nothing():
    assert resolve([], [], 0.5) == []
    assert resolve(_mentions(1), [[]], 0.5) == [None]


def test_resolve_refuses_lists_that_do_not_match():
    with pytest.raises(ValueError):
        resolve(_mentions(2), [[]], 0.5)


_LISTS = st.lists(
    st.builds(
        lambda start, length, score: _candidate(start, start + length, score / 8),
        st.integers(0, 12),
        st.integers(1, 5),
        st.integers(0, 8),
    ),
    max_size=4,
)


@given(st.lists(_LISTS, max_size=4))
def test_resolve_never_overlaps_and_never_wastes_a_place(candidates: list[list[Candidate]]):
    chosen = resolve(_mentions(len(candidates)), candidates, 0.5)
    taken = [offered[j] for offered, j in zip(candidates, chosen, strict=True) if j is not None]
    assert all(c.score >= 0.5 for c in taken)
    in_order = sorted(taken, key=lambda c: c.start)
    assert all(a.end <= b.start for a, b in pairwise(in_order))
    for offered, j in zip(candidates, chosen, strict=True):
        if j is None:
            assert all(
                any(c.start < t.end and t.start < c.end for t in taken)
                for c in offered
                if c.score >= 0.5
            )
