from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.corpora.mention_replacement import with_replacements
from xner.corpora.tagged import TaggedSentence
from xner.text.iob2 import decode, encode
from xner.text.mentions import Mention
from xner.text.words import segment


def tagged(text: str, lang: str = "de", scores: bool = False, **labels: str) -> TaggedSentence:
    """A sentence whose mentions are these words or phrases (``_`` for a space), by their type."""
    words = segment(text)
    mentions = []
    for name, label in labels.items():
        start = text.index(name.replace("_", " "))
        mentions.append(Mention(start, start + len(name), label))
    return TaggedSentence(
        text,
        tuple(words),
        tuple(encode(mentions, words)),
        lang,
        scores=tuple((0.5, place / 64) for place in range(len(words))) if scores else (),
    )


def names_of(sentence: TaggedSentence) -> list[tuple[str, str]]:
    return [
        (sentence.text[m.start : m.end], m.label) for m in decode(sentence.tags, sentence.words)
    ]


SENTENCES = [
    tagged(
        "Am Montag fuhr Anna Maria Kunz nach Bad Aibling.", Anna_Maria_Kunz="PER", Bad_Aibling="LOC"
    ),
    tagged("In Köln regnet es.", Köln="LOC"),
    tagged("Bonn, sagt Uwe, ist klein.", Bonn="LOC", Uwe="PER"),
    tagged("Es regnet."),
    tagged("Ana vive aquí.", "es", Ana="PER"),
]


def test_replacements_are_of_the_type_and_the_language() -> None:
    found = with_replacements(SENTENCES, 20, seed=1)
    assert found[:5] == SENTENCES
    copies = found[5:]
    assert len(copies) == 4 * 20
    names = {name for copy in copies for name in names_of(copy) if copy.lang == "de"}
    assert names == {
        *((name, "LOC") for name in ("Bad Aibling", "Köln", "Bonn")),
        *((name, "PER") for name in ("Anna Maria Kunz", "Uwe")),
    }
    # There is one Spanish name.
    assert {copy.text for copy in copies if copy.lang == "es"} == {"Ana vive aquí."}
    rain = {copy.text for copy in copies if "regnet" in copy.text}
    assert rain == {f"In {name} regnet es." for name in ("Bad Aibling", "Köln", "Bonn")}


def test_replacements_keep_what_stands_around_them() -> None:
    for copy in with_replacements(SENTENCES, 10, seed=2):
        assert list(copy.words) == segment(copy.text)
        text = copy.text
        for name, label in names_of(copy):
            text = text.replace(name, label, 1)
        assert text in {
            "Am Montag fuhr PER nach LOC.",
            "In LOC regnet es.",
            "LOC, sagt PER, ist klein.",
            "Es regnet.",
            "PER vive aquí.",
        }


def test_replacements_have_the_scores_of_what_they_replace() -> None:
    sentences = [
        tagged("In Bad Aibling regnet es.", scores=True, Bad_Aibling="LOC"),
        tagged("Es regnet in Köln.", scores=True, Köln="LOC"),
    ]
    for copy in with_replacements(sentences, 10, seed=0)[2:]:
        numbers = [round(64 * score) for _, score in copy.scores]
        first_of_name = 1 if copy.text.startswith("In") else 3
        inside = [first_of_name] * len(names_of(copy)[0][0].split())
        after = {1: [3, 4, 5], 3: [4]}[first_of_name]
        assert numbers == [*range(first_of_name), *inside, *after]


def test_replacements_leave_words_alone_that_teach_nothing() -> None:
    one = tagged("Der Rhein fließt durch Köln.", Rhein="LOC", Köln="LOC")
    unknown = TaggedSentence(one.text, one.words, ("?", "?", *one.tags[2:]), "de")
    copies = with_replacements([unknown, SENTENCES[2]], 10, seed=0)[2:]
    mine = [copy for copy in copies if "fließt" in copy.text]
    assert {copy.text for copy in mine} == {
        f"Der Rhein fließt durch {n}." for n in ("Köln", "Bonn")
    }
    assert all(copy.tags[:3] == ("?", "?", "O") for copy in mine)


@pytest.mark.parametrize("num_copies", [0, 2])
def test_replacements_of_nothing(num_copies: int) -> None:
    assert with_replacements([], num_copies, seed=0) == []


@given(st.integers(0, 3), st.integers(0, 2**32))
def test_replacements_depend_on_the_seed_alone(num_copies: int, seed: int) -> None:
    found = with_replacements(SENTENCES, num_copies, seed)
    assert found == with_replacements(list(SENTENCES), num_copies, seed)
    assert len(found) == len(SENTENCES) + 4 * num_copies
