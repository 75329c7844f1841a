from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.text.chinese import simplified, word_borders


def words_of(text: str) -> list[str]:
    borders = sorted(word_borders(text))
    return [text[start:end] for start, end in pairwise(borders)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("她住在堪萨斯州", ["她", "住", "在", "堪萨斯州"]),
        ("尼羅河流經開羅", ["尼羅河", "流經", "開羅"]),
        # A name that the dictionary lacks has borders inside, and where it ends.
        ("馮·別林斯高晉說", ["馮", "·", "別林斯", "高", "晉", "說"]),
        ("Addenbrooke醫院 2021", ["Addenbrooke", "醫院", " ", "2021"]),
        ("", []),
    ],
)
def test_word_borders_are_those_of_the_dictionary(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text("中国國美·aé1 \n\u200b👍🏽\u0301、", max_size=20))
def test_word_borders_are_offsets_of_the_text_itself(text: str) -> None:
    assert {0, len(text)} <= word_borders(text) <= set(range(len(text) + 1))
    assert len(simplified(text)) == len(text)
