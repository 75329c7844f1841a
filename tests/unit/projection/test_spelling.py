"""How alike names and words are spelled."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from anyascii import anyascii
from hypothesis import given
from hypothesis import strategies as st

from xner.projection.spelling import Letters


def shared(name: str, *words: str) -> float:
    """Of one name and all of these words."""
    ((found,),) = Letters.of(words).shared([name], np.array([0]), np.array([len(words)]))
    return float(found)


def test_spelling_is_the_dice_coefficient_of_bigrams() -> None:
    assert shared("abc", "xyz") == 0
    # ^a ab bc c$ against ^a ab bd d$
    assert shared("abc", "abd") == pytest.approx(2 * 2 / 8)
    # A bigram that one has more often counts as often as both have it.
    assert shared("anan", "ananan") == pytest.approx(2 * 5 / (5 + 7))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Berlin", ["berlin"]),
        ("New York", ["Newyork"]),
        ("Beijing", ["北", "京"]),
        ("Orleans", ["Or", "léans"]),
        ("Munchen", ["München"]),
        ("San\tJosé", ["san", "jose"]),
    ],
)
def test_spelling_knows_no_case_space_accent_or_script(name: str, words: list[str]) -> None:
    assert shared(name, *words) == 1


def test_spelling_of_what_has_no_letters() -> None:
    # These two signs have no Latin form.
    assert anyascii("\u200d\ufe0f") == ""
    assert shared("\u200d", "\ufe0f") == 1
    assert shared("\u200d", "a") == shared("a", "\u200d") == 0
    assert Letters.of(["a"]).shared([], np.array([0]), np.array([1])).shape == (0, 1)
    assert Letters.of([]).shared(["a"], np.array([], int), np.array([], int)).shape == (1, 0)


WORDS = st.lists(st.text("abAB北é\u200d-", min_size=1, max_size=5), max_size=8)


@given(names=st.lists(st.text("abAB北é \u200d", max_size=6), max_size=4), words=WORDS)
def test_spelling_of_all_spans_at_once_is_that_of_each(names: list[str], words: list[str]) -> None:
    spans = [(i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    firsts, stops = (np.array([span[side] for span in spans], int) for side in (0, 1))
    found = Letters.of(words).shared(names, firsts, stops)
    assert found.shape == (len(names), len(spans))
    for name, row in zip(names, found, strict=True):
        for (first, stop), value in zip(spans, row, strict=True):
            a, b = bigrams(name), bigrams("".join(words[first:stop]))
            assert value == 2 * (a & b).total() / (a.total() + b.total())


def bigrams(text: str) -> Counter[str]:
    letters = f"^{anyascii(text).lower().replace(' ', '')}$"
    return Counter(letters[i : i + 2] for i in range(len(letters) - 1))
