# ruff: noqa: RUF001 (text in many scripts is what is tested)
from __future__ import annotations

import sys
import time
import timeit
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.text.iob2 import decode
from xner.text.words import UNSPACED_LANGUAGES, join, segment, words_in

ANY_TEXT = st.text(
    st.one_of(
        st.characters(min_codepoint=0, max_codepoint=sys.maxunicode),
        # Whatever the pattern treats specially.
        st.sampled_from(
            " \t\n\u0085\u00a0\u200b\u200c\u200d\u2060\u200f\u00ad\ufeff\ud800'’-.,_&·"
        ),
        st.sampled_from("aZsS1é\u0301中かกี\U00020000\U0001f469\U0001f3fd\ufe0fאعΩя"),
    )
)


def pieces(text: str) -> str:
    return "|".join(text[start:end] for start, end in segment(text))


@given(ANY_TEXT)
def test_segment_covers_every_character_but_space_once(text: str) -> None:
    covered = [index for start, end in segment(text) for index in range(start, end)]
    assert covered == [index for index, char in enumerate(text) if not char.isspace()]


@given(ANY_TEXT)
def test_segment_cuts_alike_before_a_space_and_at_the_end(text: str) -> None:
    assert segment(f"{text} ") == segment(text)


@given(ANY_TEXT)
def test_segment_gives_no_empty_word(text: str) -> None:
    assert all(start < end for start, end in segment(text))


@pytest.mark.parametrize(
    "words",
    [
        "Hello|,|world|!",
        "Bonn-Berlin",
        "O'Brien|and|O’Brien|-",
        "don't|rock'n'roll|l'état|об'єкт",
        "'s|avonds",
        "AT&T|R&D",
        "the|U.S.|,|U.S.-led|e.g.|z.B.",
        "3.14|1,000|1.000,50|1'000|٣٫١٤",
        "It|ends|.|Now|J|.|Smith|17|.|Mai",
        "D'Angelo",
        "Col·lecció|צה״ל",
        "@|Theory_Versa|#|UN|_|_",
        "(|a|/|b|)|.|.|.|-|3|%",
        "COVID-19|m²|Windows10",
        "cafe\u0301|नमस्ते|می\u200cخواهم|Bundes\u00adtag|\U00011013\U0001103c",
    ],
)
def test_segment_keeps_the_habits_of_spaced_corpora(words: str) -> None:
    assert pieces(words.replace("|", " ")) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tom's 90's, Obama’s (OSCE'S)", "Tom|'s|90|'s|,|Obama|’s|(|OSCE|'S|)"),
        ("dell'Unione, d’Artagnan", "dell'|Unione|,|d’|Artagnan"),
        ("'quoted' and ‘so’", "'|quoted|'|and|‘|so|’"),
        ("Ende.Der U.S.Army", "Ende|.|Der|U.S.|Army"),
    ],
)
def test_segment_cuts_where_a_name_may_end(text: str, words: str) -> None:
    assert pieces(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("他在2000年用Windows 10。", "他|在|2000|年|用|Windows|10|。"),
        ("A股·科瑞3.14%", "A|股|·|科|瑞|3.14|%"),
        ("東京タワーへ行く", "東|京|タ|ワ|ー|へ|行|く"),
        ("か\u3099く\U00020000\U0003134a", "か\u3099|く|\U00020000|\U0003134a"),
        ("ที่นี่ ๒๕๖๗", "ที่|นี่|๒๕๖๗"),
        ("ເມືອງ", "ເ|ມື|ອ|ງ"),
        ("ខ្មែរ", "ខ្|មែ|រ"),
        ("မြန်မာ", "မြ|န်|မာ"),
        ("한국 사람", "한국|사람"),
    ],
)
def test_segment_parts_unspaced_scripts_by_character(text: str, words: str) -> None:
    assert pieces(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\u0085b\u00a0c", "a|b|c"),
        ("a\u200bb\ufeffc", "a|\u200b|b|\ufeff|c"),
        ("\u2067שלום\u2069", "\u2067|שלום|\u2069"),
        ("👩\u200d👩\u200d👧❤\ufe0fx", "👩\u200d👩\u200d👧|❤\ufe0f|x"),
        ("a\ud800\udc00b", "a|\ud800|\udc00|b"),
        ("\u0301 \u200d", "\u0301|\u200d"),
        ("𝐁𝐨𝐧𝐧", "𝐁𝐨𝐧𝐧"),
    ],
)
def test_segment_survives_odd_characters(text: str, words: str) -> None:
    assert pieces(text) == words


@pytest.mark.parametrize("unit", ["a-", "a.", "a\u0301", "1,", "a'", "👩\u200d", "l'A", "\u0301"])
def test_segment_is_linear_on_hostile_text(unit: str) -> None:
    text = unit * 100_000
    started = time.process_time()
    segment(text)
    assert time.process_time() - started < 1.0


def test_segment_reads_more_than_a_megabyte_a_second() -> None:
    text = (
        "Der Rat für Ausbildung in Bonn-Bad Godesberg sagte am 3. Mai, es sei „genug“. 他在北京。"
        * 4000
    )
    seconds = min(timeit.repeat(lambda: segment(text), time.process_time, number=1, repeat=3))
    assert len(text.encode()) / seconds > 1e6


def test_join_puts_spaces_between_words_of_spaced_languages() -> None:
    text, spans = join(["Tom", "'s", "b e", "."], "en")
    assert text == "Tom 's b e ."
    assert [text[start:end] for start, end in spans] == ["Tom", "'s", "b e", "."]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["他", "用", "Windows", "10", "。"], "他用Windows 10。"),
        (["A", "股", "3", "%"], "A股3%"),
        (["Apple", "Inc", ".", "and", "中"], "Apple Inc.and中"),
    ],
)
def test_join_spaces_only_latin_neighbours_in_unspaced_languages(
    tokens: list[str], text: str
) -> None:
    assert join(tokens, "zh")[0] == text
    assert join(tokens, "zh_CN")[0] == text
    assert join(tokens, "en")[0] == " ".join(tokens)


@given(
    st.lists(st.text(min_size=1, max_size=5)), st.sampled_from(["en", *sorted(UNSPACED_LANGUAGES)])
)
def test_join_keeps_tokens_exactly(tokens: list[str], lang: str) -> None:
    text, spans = join(tokens, lang)
    assert [text[start:end] for start, end in spans] == tokens
    assert len(text) <= sum(map(len, tokens)) + max(len(tokens) - 1, 0)


def test_join_refuses_an_empty_token() -> None:
    with pytest.raises(ValueError, match="token 1 is empty"):
        join(["a", ""], "en")


def test_words_in_finds_the_words_that_share_a_character() -> None:
    words = [(0, 3), (4, 6), (6, 7), (9, 12)]
    found = {
        (start, end): list(words_in(start, end, words))
        for start in range(14)
        for end in range(start + 1, 15)
    }
    assert found == {
        (start, end): [i for i, (first, last) in enumerate(words) if first < end and start < last]
        for start, end in found
    }


@pytest.mark.parametrize(
    "name",
    [
        "projection_gold/en_pud-ud-test.iob2",
        "projection_gold/zh_pud-ud-test.iob2",
        "ner/en/en_ewt-ud-dev.iob2",
        "ner/zh/zh_gsdsimp-ud-dev.iob2",
    ],
)
def test_segment_seldom_cuts_off_a_gold_mention(shared_data: Path, name: str) -> None:
    """On untokenised text (the `# text` lines) the words can express the gold mentions."""
    content = (shared_data / name).read_bytes().decode()
    num_mentions = num_exact = 0
    for block in content.split("\n\n"):
        lines = block.split("\n")
        text = next((line[9:] for line in lines if line.startswith("# text = ")), "")
        rows = [line.split("\t") for line in lines if "\t" in line]
        spans, position = [], 0
        for _, token, *_ in rows:
            position = text.index(token, position)
            spans.append((position, position + len(token)))
            position += len(token)
        words = segment(text)
        for mention in decode([row[2] for row in rows], spans):
            covered = words_in(mention.start, mention.end, words)
            edges = (words[covered[0]][0], words[covered[-1]][1])
            num_mentions += 1
            num_exact += edges == (mention.start, mention.end)
    assert num_mentions > 700
    assert num_exact / num_mentions > 0.995
