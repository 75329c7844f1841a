from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.text.iob2 import chunks, decode, detect_scheme, encode, repair, to_iob2
from xner.text.mentions import Mention
from xner.text.words import Span, join, segment

WORDS = [(0, 4), (5, 8), (9, 12), (13, 14)]

ANY_TAGS = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), max_size=12)


@st.composite
def mentions_on_words(draw: st.DrawFn) -> tuple[list[Mention], list[Span]]:
    words = segment(draw(st.text("ab. 中'", max_size=40)))
    edges = sorted(draw(st.sets(st.integers(0, len(words)), max_size=8)))
    labels = st.sampled_from(["PER", "LOC-x"])
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return [Mention(words[a][0], words[b - 1][1], draw(labels)) for a, b in pairs], words


def test_encode_opens_and_continues_mentions() -> None:
    mentions = [Mention(9, 14, "LOC"), Mention(0, 8, "PER")]
    assert encode(mentions, WORDS) == ["B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert encode([], WORDS) == ["O"] * 4


def test_encode_takes_a_word_that_is_covered_in_part() -> None:
    assert encode([Mention(7, 10, "PER")], WORDS) == ["O", "B-PER", "I-PER", "O"]


def test_encode_gives_a_shared_word_to_the_first_mention() -> None:
    assert encode([Mention(0, 2, "PER"), Mention(2, 8, "LOC")], WORDS)[:2] == ["B-PER", "B-LOC"]
    assert encode([Mention(0, 2, "PER"), Mention(2, 4, "LOC")], WORDS)[:2] == ["B-PER", "O"]


def test_encode_refuses_overlapping_mentions() -> None:
    with pytest.raises(ValueError, match="overlap"):
        encode([Mention(0, 8, "PER"), Mention(7, 12, "LOC")], WORDS)


def test_encode_refuses_a_mention_without_words() -> None:
    with pytest.raises(ValueError, match="covers none of the 4 words"):
        encode([Mention(20, 22, "PER")], WORDS)


@given(mentions_on_words())
def test_encode_and_decode_are_inverse_on_whole_words(
    example: tuple[list[Mention], list[Span]],
) -> None:
    mentions, words = example
    assert decode(encode(mentions, words), words) == mentions


@given(ANY_TAGS)
def test_decode_and_encode_are_inverse_on_valid_tags(tags: list[str]) -> None:
    valid = repair(tags)
    _, words = join(["w"] * len(tags), "en")
    assert encode(decode(valid, words), words) == valid


def test_decode_averages_the_scores_of_a_mentions_words() -> None:
    tags = ["B-PER", "I-PER", "O", "B-LOC"]
    first, second = decode(tags, WORDS, [0.9, 0.5, 0.1, 0.25])
    assert (first.score, second.score) == (pytest.approx(0.7), 0.25)
    assert (first.start, first.end, second.start, second.end) == (0, 8, 13, 14)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["O", "I-PER", "O", "O"], "position 1: 'I-PER' after 'O'"),
        (["I-PER", "O", "O", "O"], "position 0: 'I-PER' after 'the start'"),
        (["B-LOC", "I-LOC", "I-PER", "O"], "position 2: 'I-PER' after 'I-LOC'"),
        (["O", "S-PER", "O", "O"], "'S-PER' is not a tag"),
        (["O", "B-", "O", "O"], "'B-' is not a tag"),
        (["O", "PER", "O", "O"], "'PER' is not a tag"),
        (["O"], "1 tags for 4 words"),
    ],
)
def test_decode_refuses_what_is_not_strict_iob2(tags: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(tags, WORDS)


def test_decode_refuses_scores_of_another_length() -> None:
    with pytest.raises(ValueError, match="3 scores for 4 words"):
        decode(["O"] * 4, WORDS, [0.1] * 3)


def test_chunks_keeps_a_label_with_hyphens() -> None:
    tags = ["B-creative-work", "I-creative-work", "B-creative-work"]
    assert list(chunks(tags)) == [(0, 2, "creative-work"), (2, 3, "creative-work")]


def test_repair_opens_what_continues_nothing() -> None:
    tags = ["I-PER", "I-PER", "I-LOC", "O", "I-LOC", "B-LOC", "I-LOC"]
    assert repair(tags) == ["B-PER", "I-PER", "B-LOC", "O", "B-LOC", "B-LOC", "I-LOC"]
    with pytest.raises(ValueError, match="not a tag"):
        repair(["E-PER"])


@given(ANY_TAGS)
def test_repair_is_valid_and_changes_nothing_valid(tags: list[str]) -> None:
    repaired = repair(tags)
    list(chunks(repaired))
    assert repair(repaired) == repaired
    assert [tag[1:] for tag in repaired] == [tag[1:] for tag in tags]


# The same two mentions of PER side by side, then one LOC of three words, in each scheme.
IN_IOB2 = ["B-PER", "B-PER", "O", "B-LOC", "I-LOC", "I-LOC"]
DIALECTS = {
    "iob2": IN_IOB2,
    "iob1": ["I-PER", "B-PER", "O", "I-LOC", "I-LOC", "I-LOC"],
    "iobes": ["S-PER", "S-PER", "O", "B-LOC", "I-LOC", "E-LOC"],
    "bilou": ["U-PER", "U-PER", "O", "B-LOC", "I-LOC", "L-LOC"],
}


@pytest.mark.parametrize("scheme", DIALECTS)
def test_to_iob2_reads_every_scheme_that_is_detected(scheme: str) -> None:
    tags = DIALECTS[scheme]
    assert detect_scheme([["O"], tags]) == scheme
    assert to_iob2(tags, detect_scheme([tags])) == IN_IOB2


def test_detect_scheme_needs_the_whole_file() -> None:
    # Alone, the first sentence could be IOB2 as well.
    assert detect_scheme([["O", "O"], ["B-PER", "O"]]) == "iob2"
    assert detect_scheme([["I-PER", "I-LOC"]]) == "iob1"
    assert detect_scheme([["B-PER", "I-PER"], ["B-PER", "O"], ["O", "I-PER"]]) == "iob2"


def test_detect_scheme_refuses_a_mixture() -> None:
    with pytest.raises(ValueError, match="no scheme has the prefixes E, L, O together"):
        detect_scheme([["O", "E-PER"], ["L-PER"]])


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "I-PER"], "iob2"),
        (["O", "E-PER"], "iobes"),
        (["B-PER", "O"], "iobes"),
        (["B-PER", "S-PER"], "iobes"),
        (["B-PER", "E-LOC"], "iobes"),
        (["O", "B-PER"], "bilou"),
        (["U-PER", "L-PER"], "bilou"),
    ],
)
def test_to_iob2_refuses_sequences_that_break_their_scheme(tags: list[str], scheme: str) -> None:
    with pytest.raises(ValueError, match="position"):
        to_iob2(tags, scheme)
