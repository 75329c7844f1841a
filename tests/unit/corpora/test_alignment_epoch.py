from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.config import AugmentationConfig, NegativesMix
from xner.corpora.alignment_epoch import (
    MAX_REPEATS,
    Names,
    augmented,
    mixed,
    origin_counts,
    origin_weights,
    with_negatives,
)
from xner.corpora.alignment_set import AlignmentExample, Origin
from xner.errors import ConfigError

ANY = NegativesMix(alike=0, shared_word=0)
ALIKE = NegativesMix(anywhere=0, shared_word=0)
SHARED_WORD = NegativesMix(anywhere=0, alike=0)


def example(text: str, *names: str, origin: Origin = "verbatim", **forms: str) -> AlignmentExample:
    """An example whose names stand in the text as they are, or as ``forms`` says, or not at all."""
    places = {}
    for name in (*names, *forms):
        form, found, at = forms.get(name, name), [], 0
        while (at := text.find(form, at)) >= 0:
            found.append((at, at + len(form)))
            at += len(form)
        places[name] = tuple(found)
    return AlignmentExample(text, "de", tuple(places), tuple(places.values()), origin)


def forms_of(example: AlignmentExample) -> dict[str, list[str]]:
    """What stands at the places of each name."""
    return {
        name: [example.text[start:end] for start, end in spans]
        for name, spans in zip(example.names, example.spans, strict=True)
    }


BERLIN = example("Sie wohnt in Berlin.", "Berlin", origin="table")
ROME = example("Rom ist alt.", Rome="Rom", origin="table")
PARIS = AlignmentExample("Il aime Paris.", "fr", ("Paris",), (((8, 13),),), "table")


def test_alignment_epoch_counts_share_out_the_epoch() -> None:
    assert origin_counts({"a": 100}, {"a": 1.0}) == {"a": 100}
    assert origin_counts({"a": 150, "b": 50}, {"a": 1.0, "b": 1.0}) == {"a": 100, "b": 100}
    assert origin_counts({"a": 150, "b": 50}, {"a": 3.0, "b": 1.0}) == {"a": 150, "b": 50}
    assert origin_counts({"a": 100, "b": 60}, {"a": 0.0, "b": 1.0}) == {"a": 0, "b": 160}


def test_alignment_epoch_repeats_a_small_origin_no_more_than_it_may() -> None:
    counts = origin_counts({"a": 5000, "b": 5000, "c": 10}, dict.fromkeys("abc", 1.0))
    assert counts["c"] == MAX_REPEATS * 10
    assert counts["a"] == counts["b"] == (10_010 - counts["c"]) / 2


@given(
    st.dictionaries(
        st.sampled_from("abcde"), st.tuples(st.integers(1, 10_000), st.floats(0.01, 10)), min_size=1
    )
)
def test_alignment_epoch_counts_are_as_many_as_there_are(drawn: dict[str, Any]) -> None:
    sizes = {origin: size for origin, (size, _) in drawn.items()}
    weights = {origin: weight for origin, (_, weight) in drawn.items()}
    counts = origin_counts(sizes, weights)
    assert sum(counts.values()) == pytest.approx(sum(sizes.values()), abs=len(sizes))
    assert all(counts[origin] <= MAX_REPEATS * sizes[origin] for origin in sizes)


def test_alignment_epoch_mix_draws_each_origin_evenly_and_anew() -> None:
    many = [example(f"{n} x", origin="verbatim") for n in range(90)]
    few = [example(f"{n} y", origin="table") for n in range(20)]
    examples, weights = [*many, *few], {"verbatim": 1.0, "table": 1.0}
    first, again, other = (mixed(examples, weights, (0, epoch)) for epoch in (1, 1, 2))
    assert first == again != other
    assert Counter(e.origin for e in first) == {"verbatim": 55, "table": 55}
    times = Counter(first)
    assert {times[e] for e in many} == {0, 1}
    assert {times[e] for e in few} == {2, 3}
    assert mixed(many, {"verbatim": 2.0}, (0,)) == many


def test_alignment_epoch_weights_name_every_origin_or_none() -> None:
    both = [example("x", origin="table"), example("y", origin="verbatim")]
    assert origin_weights(both, {}) == {"table": 1.0, "verbatim": 1.0}
    assert origin_weights(both, {"verbatim": 0, "table": 2}) == {"table": 2, "verbatim": 0}
    with pytest.raises(ConfigError, match=r"mix: no weight for verbatim; .* have table, verbatim"):
        origin_weights(both, {"table": 1})


def test_alignment_epoch_adds_names_that_are_not_in_the_text() -> None:
    examples = [BERLIN, ROME, PARIS] * 50
    names = Names.of(examples)
    mixed = with_negatives(examples, names, 0.5, ANY, (0, 0))
    added = Counter()
    for before, after in zip(examples, mixed, strict=True):
        asked = dict(zip(after.names, after.spans, strict=True))
        for name, spans in zip(before.names, before.spans, strict=True):
            assert asked.pop(name) == spans
        for name, spans in asked.items():
            assert spans == ()
            added[before.lang, name] += 1
    assert set(added) == {("de", "Berlin"), ("de", "Rome")}
    assert 30 <= sum(added.values()) <= 70


def test_alignment_epoch_adds_no_name_that_is_there_in_another_form() -> None:
    unmarked = AlignmentExample("Heute in Rom.", "de", (), (), "table")
    mixed = with_negatives([unmarked] * 50, Names.of([ROME, BERLIN]), 1.0, ANY, (0,))
    assert {name for example in mixed for name in example.names} == {"Berlin"}


def test_alignment_epoch_draws_other_names_in_another_epoch_and_the_same_in_the_same() -> None:
    cities = [
        AlignmentExample(f"Stadt {n}x.", "de", (f"City {n}",), (((6, 9),),), "table")
        for n in range(20)
    ]
    names = Names.of(cities)
    first, again, other = (
        with_negatives(cities, names, 0.5, ANY, (3, epoch)) for epoch in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("text", "asked", "unwanted"),
    [
        ("Heute in ROM.", "", "Rome"),
        ("Sie sah Smith.", "Smith", "John Smith"),
        ("Sie sah John Smith.", "John Smith", "Smith"),
    ],
)
def test_alignment_epoch_adds_no_name_that_may_be_meant(
    text: str, asked: str, unwanted: str
) -> None:
    names = Names.of([BERLIN, example("Rom ist alt.", **{unwanted: "Rom"})])
    asking = [example(text, *filter(None, [asked]))] * 50
    mix = NegativesMix()
    drawn = {n for e in with_negatives(asking, names, 1.0, mix, (0,)) for n in e.names}
    assert drawn - {asked} == {"Berlin"}


def test_alignment_epoch_adds_names_of_the_kind_that_is_asked_for() -> None:
    hanses = {f"Hans {name}" for name in ("Bethe", "Eisler", "Geiger", "Holbein", "Zimmer")}
    others = [
        example("Der IWF riet.", "IWF"),
        example("Kim Larsen kam.", "Kim Larsen"),
        *(example(f"{name} kam.", name) for name in sorted(hanses)),
        example("In New Bern.", "New Bern", origin="anchor"),
        example("In Mali.", "Mali"),
    ]
    asking = [example("Hans Albers sang.", "Hans Albers")] * 60
    names = Names.of([*others, *asking])

    def drawn(mix: NegativesMix) -> set[str]:
        mixed_in = with_negatives(asking, names, 1.0, mix, (0,))
        return {name for e in mixed_in for name in e.names} - {"Hans Albers"}

    assert drawn(ANY) == {"IWF", "Kim Larsen", *hanses, "New Bern", "Mali"}
    assert drawn(ALIKE) == {"Kim Larsen", *hanses}
    assert drawn(SHARED_WORD) == hanses


def test_alignment_epoch_adds_any_name_where_none_is_of_the_kind() -> None:
    names = Names.of([example("In Mali.", "Mali")])
    asking = [example("Hans Albers sang.", "Hans Albers")] * 20
    for mix in (ALIKE, SHARED_WORD):
        mixed_in = with_negatives(asking, names, 1.0, mix, (0,))
        assert {n for e in mixed_in for n in e.names} == {"Hans Albers", "Mali"}


def varied(kind: str, *examples: AlignmentExample) -> list[AlignmentExample]:
    """All that becomes of the first example; the others are there for the forms they show."""
    shares = AugmentationConfig.model_validate({kind: 1.0})
    return augmented([examples[0]] * 40, Names.of(examples), shares, (0,))


def seen(varied: list[AlignmentExample]) -> set[tuple[str, str, tuple[str, ...]]]:
    """Text, name and what stands at its places, of examples with one name."""
    return {(e.text, n, tuple(f)) for e in varied for n, f in forms_of(e).items()}


def test_alignment_epoch_shortens_a_name_that_stands_in_the_text() -> None:
    smith = example("Ich traf John Smith.", "John Smith")
    assert seen(varied("last_word", smith)) == {
        ("Ich traf Smith.", "John Smith", ("Smith",)),
        ("Ich traf Smith.", "Smith", ("Smith",)),
    }
    assert seen(varied("initials", smith)) == {
        ("Ich traf J. Smith.", "John Smith", ("J. Smith",)),
        ("Ich traf J. Smith.", "J. Smith", ("J. Smith",)),
        ("Ich traf John Smith.", "J. Smith", ("John Smith",)),
    }
    bank = example("Die Bank of England und die Bank of England.", "Bank of England")
    assert ("Die BE und die BE.", "Bank of England", ("BE", "BE")) in seen(varied("acronym", bank))


@pytest.mark.parametrize(
    ("kind", "unclear"),
    [
        ("last_word", example("Hans Bern in Berner Tracht", "Hans Bern")),
        ("last_word", example("John Smith und Mary Smith", "John Smith", "Mary Smith")),
        ("last_word", example("John Smith kam", "John Smith", "Jane Smith")),
        ("last_word", example("Smith kam", "Smith")),
        ("last_word", example("Rom ist alt", **{"Old Rome": "Rom"})),
        ("initials", example("the Who sang", "the Who")),
        ("initials", example("EU John sang", "EU John")),
        ("acronym", example("European Union (EU)", "European Union")),
        ("acronym", example("European Union", "European Union", "EU")),
        ("last_word", example("New York Times", "New York", "York Times")),
    ],
)
def test_alignment_epoch_shortens_nothing_that_is_in_doubt(
    kind: str, unclear: AlignmentExample
) -> None:
    assert set(varied(kind, unclear)) == {unclear}


def test_alignment_epoch_changes_a_name_to_a_form_that_it_has_elsewhere() -> None:
    here = example("In Moskau schneit es.", Moscow="Moskau")
    there = example("Moskaus Winter", Moscow="Moskaus")
    assert seen(varied("form", here, there)) == {("In Moskaus schneit es.", "Moscow", ("Moskaus",))}
    assert set(varied("form", here)) == {here}
    # Moskva may be the same town: it is not to be denied where its form comes to stand.
    asked_too = AlignmentExample(here.text, "de", ("Moscow", "Moskva"), (*here.spans, ()), "table")
    other = example("Moskaus Sommer", Moskva="Moskaus")
    assert set(varied("form", asked_too, there, other)) == {asked_too}


def test_alignment_epoch_changes_case_where_there_is_one() -> None:
    kinds = seen(varied("case", example("In Gießen.", "Gießen")))
    assert {text for text, _, _ in kinds} == {"In Gießen.", "in gießen.", "IN GIEßEN."}
    assert {name for _, name, _ in kinds} == {"Gießen", "gießen", "GIEßEN"}
    assert ("In Gießen.", "Gießen", ("Gießen",)) not in kinds
    chinese = example("他在北京。", "北京")
    assert set(varied("case", chinese)) == {chinese}


def test_alignment_epoch_shares_are_those_of_the_recipe() -> None:
    examples = [example(f"Herr John Smith, {n}", "John Smith") for n in range(1000)]
    names = Names.of(examples)
    shares = AugmentationConfig(initials=0.2)
    first, again, other = (augmented(examples, names, shares, (0, n)) for n in (1, 1, 2))
    assert first == again != other
    changed = sum(before != after for before, after in zip(examples, first, strict=True))
    assert 150 < changed < 250
    assert augmented(examples, names, AugmentationConfig(), (0,)) == examples


NAMES = st.lists(
    st.sampled_from(["John", "Smith", "of", "İzmir", "Gießen", "EU", "北京", "Ann", "9"]),
    min_size=1,
    max_size=3,
).map(" ".join)


@st.composite
def examples(draw: Any) -> AlignmentExample:
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    text, spans = draw(st.text("ab ß.", max_size=5)), []
    for name in names:
        form = draw(st.sampled_from([name, name + "s", "Bär"]))
        places = []
        for _ in range(draw(st.integers(0, 2))):
            places.append((len(text), len(text) + len(form)))
            text += form + draw(st.text("ab ß.", max_size=5))
        spans.append(tuple(places))
    return AlignmentExample(text, "de", tuple(names), tuple(spans), "verbatim")


@given(st.lists(examples(), min_size=1, max_size=4), st.integers(0, 99))
def test_alignment_epoch_varied_places_hold_the_name(
    drawn: list[AlignmentExample], seed: int
) -> None:
    """Outside of the places nothing changes; there stands a form of the name or a short one."""
    names = Names.of(drawn)
    shares = AugmentationConfig(form=0.5, last_word=0.5, initials=0.5, acronym=0.5)
    for before, after in zip(drawn, augmented(drawn, names, shares, (seed,)), strict=True):
        assert [len(spans) for spans in after.spans] == [len(spans) for spans in before.spans]
        assert outside(after) == outside(before)
        for old, new, places in zip(
            before.names, after.names, forms_of(after).values(), strict=True
        ):
            assert new == old or is_short(new, old)
            assert len(set(places)) <= 1
            for form in places:
                known = (old, *names.forms["de", old])
                assert form in known or any(is_short(form, name) for name in known)


def outside(example: AlignmentExample) -> list[str]:
    places = sorted(place for spans in example.spans for place in spans)
    starts, ends = [0, *(end for _, end in places)], [*(start for start, _ in places), None]
    return [example.text[start:end] for start, end in zip(starts, ends, strict=True)]


def is_short(short: str, name: str) -> bool:
    """Whether the letters of the one stand in the other in this order, from its capitals."""
    letters = iter(name)
    return len(short) <= len(name) and all(c in letters for c in short if c not in ". ")


@given(st.lists(examples(), min_size=1, max_size=4), st.integers(0, 99))
def test_alignment_epoch_case_moves_no_place(drawn: list[AlignmentExample], seed: int) -> None:
    shares = AugmentationConfig(case=1.0)
    for before, after in zip(
        drawn, augmented(drawn, Names.of(drawn), shares, (seed,)), strict=True
    ):
        assert after.spans == before.spans
        assert len(after.text) == len(before.text)
        assert after.text.casefold() == before.text.casefold() or "İ" in before.text


@given(st.lists(examples(), min_size=1, max_size=5), st.integers(0, 99))
def test_alignment_epoch_negatives_are_not_in_the_text(
    drawn: list[AlignmentExample], seed: int
) -> None:
    names = Names.of(drawn)
    for before, after in zip(
        drawn, with_negatives(drawn, names, 1.0, NegativesMix(), (seed,)), strict=True
    ):
        asked = dict(zip(after.names, after.spans, strict=True))
        for name, spans in zip(before.names, before.spans, strict=True):
            assert asked.pop(name) == spans
        for name, spans in asked.items():
            assert spans == ()
            known = (name, *names.forms["de", name])
            assert not any(form.casefold() in before.text.casefold() for form in known)
