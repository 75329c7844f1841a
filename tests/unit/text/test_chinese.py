from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.text.chinese import simplified, whole_words
from xner.text.words import segment


def words_of(text: str, lang: str | None = "zh") -> list[str]:
    return [text[start:end] for start, end in whole_words(text, segment(text), lang)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("她住在堪萨斯州", ["她", "住", "在", "堪萨斯州"]),
        ("尼羅河流經開羅。", ["尼羅河", "流經", "開羅", "。"]),
        # A name that the dictionary lacks has borders inside, and where it ends.
        ("馮·別林斯高晉說", ["馮", "·", "別林斯", "高", "晉", "說"]),
        ("Addenbrooke醫院, 2021年", ["Addenbrooke", "醫院", ",", "2021", "年"]),
        # What a space parts is no word, and what is no letter is none of the dictionary's.
        ("北 京卡拉OK", ["北", "京", "卡拉", "OK"]),
        ("", []),
    ],
)
def test_whole_words_are_those_of_the_dictionary(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(("lang", "is_asked"), [("zh_TW", True), ("ja", False), (None, False)])
def test_whole_words_are_known_for_chinese_alone(lang: str | None, is_asked: bool) -> None:
    assert words_of("東京", lang) == (["東京"] if is_asked else ["東", "京"])


@given(st.text("中国國美·aé1 \n\u200b👍🏽\u0301、", max_size=20))
def test_whole_words_are_made_of_words(text: str) -> None:
    words = segment(text)
    whole = whole_words(text, words, "zh")
    assert len(simplified(text)) == len(text)
    assert {start for start, _ in whole} <= {start for start, _ in words}
    assert {end for _, end in whole} <= {end for _, end in words}
    assert "".join(words_of(text)) == "".join(text[start:end] for start, end in words)
