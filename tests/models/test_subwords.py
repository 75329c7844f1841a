from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from xner.models import subwords
from xner.models.encoder import load_tokenizer
from xner.models.subwords import Subwords


def test_subwords_template_is_the_tokenizers_own(bert_folder: Path, xlmr_folder: Path) -> None:
    bert = subwords.template(load_tokenizer(bert_folder))
    assert bert == subwords.Template((2,), (3,), (3,), 1)
    xlmr = subwords.template(load_tokenizer(xlmr_folder))
    assert xlmr == subwords.Template((0,), (2, 2), (2,), 0)


def test_subwords_split_is_raw_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    texts = ["Angela Merkel in Berlin.", "", "默克尔在柏林。"]
    found = subwords.split(tokenizer, texts)
    for number, text in enumerate(texts):
        part = slice(found.bounds[number], found.bounds[number + 1])
        expected = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        assert found.ids[part].tolist() == expected["input_ids"]
        assert found.starts[part].tolist() == [start for start, _ in expected["offset_mapping"]]


@pytest.mark.parametrize("trap", ["[SEP]", "</s>", "<pad>", "[PAD]", "<mask>"])
def test_subwords_special_tokens_in_a_text_are_unknown(folder: Path, trap: str) -> None:
    tokenizer = load_tokenizer(folder)
    found = subwords.split(tokenizer, [f"Berlin {trap} Bonn"])
    unknown = tokenizer.unk_token_id
    assert not set(found.ids.tolist()) & (set(tokenizer.all_special_ids) - {unknown})


def test_subwords_of_a_letter_that_is_elsewhere_a_mark_stand_for_it(bert_folder: Path) -> None:
    tokenizer = load_tokenizer(bert_folder)
    tokenizer.add_tokens(["Ġ"])
    found = subwords.split(tokenizer, ["Ġ. Borg", "Bonn"])
    assert found.starts[:2].tolist() == [0, 1]
    assert found.ends[:2].tolist() == [1, 2]
    words = subwords.words_of(found, [[(0, 1), (1, 2), (3, 7)], [(0, 4)]])
    assert words.read_at[:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x02In Bonn", " In Bonn"),
        ("\x01\x02\x9f\x02", "    "),
        ("In\x02Bonn", "In\x02Bonn"),
        ("\tIn\n", "\tIn\n"),
        ("", ""),
    ],
)
def test_subwords_tokenizers_see_no_control_characters_first(text: str, shown: str) -> None:
    assert subwords._shown(text) == shown


def make(offsets: list[tuple[int, int]]) -> Subwords:
    starts, ends = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
    return Subwords(np.arange(len(offsets)), starts, ends, np.array([0, len(offsets)]))


def test_subwords_belong_to_the_word_of_their_last_character() -> None:
    # " Angela| Mer|kel": sentencepiece counts the space to the sub-word that follows it.
    found = subwords.words_of(make([(0, 6), (6, 10), (10, 13)]), [[(0, 6), (7, 13)]])
    assert found.of.tolist() == [0, 1, 1]
    assert found.read_at.tolist() == [0, 1]


def test_subwords_marks_and_spaces_belong_to_none() -> None:
    # A lone mark (start = end) right behind a word, and a sub-word of spaces only.
    found = subwords.words_of(make([(0, 3), (3, 3), (3, 4), (4, 6)]), [[(0, 3), (4, 6)]])
    assert found.of.tolist() == [0, -1, -1, 1]
    assert found.read_at.tolist() == [0, 3]


def test_subwords_that_cover_several_words_are_read_by_all() -> None:
    # "(A).": the sub-word ")." covers two words and belongs to the last.
    found = subwords.words_of(make([(0, 1), (1, 2), (2, 4)]), [[(0, 1), (1, 2), (2, 3), (3, 4)]])
    assert found.of.tolist() == [0, 1, 3]
    assert found.read_at.tolist() == [0, 1, 2, 2]
    bounds, linked = subwords.links(make([(0, 1), (1, 2), (2, 4)]), found)
    stands_for = [set(linked[a:b].tolist()) for a, b in pairwise(bounds)]
    assert stands_for == [{0}, {1}, {2, 3}]


def test_subwords_words_that_the_tokenizer_drops_are_read_nowhere() -> None:
    found = subwords.words_of(make([(0, 2), (5, 7)]), [[(0, 2), (3, 4), (5, 7), (8, 9)]])
    assert found.read_at.tolist() == [0, -1, 1, -1]


def test_subwords_texts_do_not_mix() -> None:
    both = Subwords(np.arange(3), np.array([0, 0, 3]), np.array([2, 2, 5]), np.array([0, 1, 1, 3]))
    found = subwords.words_of(both, [[(0, 2), (3, 5)], [(0, 1)], [(0, 2), (3, 5)]])
    assert found.of.tolist() == [0, 0, 1]
    assert found.read_at.tolist() == [0, -1, -1, 1, 2]
    assert found.bounds.tolist() == [0, 2, 3, 5]


def test_subwords_windows_cover_everything() -> None:
    for length in range(30):
        for capacity in range(1, 9):
            for stride in range(capacity):
                found = subwords.windows(length, capacity, stride)
                covered = {position for start, end in found for position in range(start, end)}
                assert covered == set(range(length))
                assert all(0 < end - start <= capacity for start, end in found)
                assert len(found) == (length > 0) or length > capacity
                neighbours = pairwise(found)
                assert all(end - start >= stride for (_, end), (start, _) in neighbours)


def test_subwords_windows_need_room() -> None:
    with pytest.raises(ValueError, match="stride"):
        subwords.windows(10, 4, 4)


def test_subwords_margins_count_cuts_only() -> None:
    assert subwords.margins(4, 0, 4).tolist() == [4, 4, 4, 4]
    assert subwords.margins(9, 0, 4).tolist() == [3, 2, 1, 0]
    assert subwords.margins(9, 3, 7).tolist() == [0, 1, 1, 0]
    assert subwords.margins(9, 5, 9).tolist() == [0, 1, 2, 3]
