from __future__ import annotations

from xner.models.word_units import Cut, cuts, tokenizer_of
from xner.text.pairs import SentencePair
from xner.text.words import segment


def pair(source: str, target: str) -> SentencePair:
    return SentencePair(source, segment(source), target, segment(target))


def test_cut_letters_that_no_unit_knows_stand_alone() -> None:
    units = tokenizer_of([("房子", -1.0), ("房", -3.0), ("子", -3.0)])
    given = pair("houses", "房子鸟儿房")
    by_units, by_letter = cuts(5, (None, units))
    assert by_units.sides(given)[1].keys == ["房子", "鸟", "儿", "房"]
    assert by_letter.sides(given)[1].keys == ["房", "子", "鸟", "儿", "房"]


def test_cut_letters_keep_their_marks() -> None:
    # Thai: a letter with its vowel sign is one word, and no unit begins within it.
    units = tokenizer_of([("ก", -1.0), ("ิ", -1.0), ("น", -1.0), ("กิน", -9.0)])
    for cut in cuts(5, (None, units)):
        side = cut.sides(pair("", "กิน ok กก"))[1]
        assert side.keys == ["กิ", "น", "ok", "ก", "ก"]
        assert side.unit_of.tolist() == [0, 1, 2, 3, 4]


def test_cut_says_in_which_unit_each_word_is() -> None:
    units = tokenizer_of([("房子", -1.0), ("房", -3.0), ("子", -3.0)])
    side = Cut(None, (None, units)).sides(pair("", "NATO的房子"))[1]
    assert side.keys == ["nato", "的", "房子"]
    assert side.unit_of.tolist() == [0, 1, 2, 2]


def test_cut_knows_words_by_their_beginning_only_between_scripts_with_spaces() -> None:
    given = pair("Governments Governor", "Regierungen 房")
    (spaced,) = cuts(5, (None, None))
    assert spaced.sides(given)[0].keys == ["gover", "gover"]
    assert spaced.sides(given)[1].keys == ["regie", "房"]
    for cut in cuts(5, (None, tokenizer_of([("房", -1.0)]))):
        assert cut.sides(given)[0].keys == ["governments", "governor"]
        assert cut.sides(given)[1].keys == ["regierungen", "房"]


def test_cut_holds_traditional_and_simplified_letters_for_the_same() -> None:
    units = tokenizer_of([("国家", -1.0), ("国", -3.0), ("家", -3.0)])
    for cut in cuts(5, (None, units)):
        assert cut.sides(pair("", "國家"))[1].keys == cut.sides(pair("", "国家"))[1].keys
