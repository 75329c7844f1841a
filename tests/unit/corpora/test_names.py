from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

import pytest

from xner.corpora.alignment_set import AlignmentExample
from xner.corpora.names import (
    Casing,
    Lexicon,
    NameIndex,
    capitalised_names,
    carrier_examples,
    example_of,
    read_lexicon,
    table_names,
    verbatim_names,
)
from xner.errors import ConfigError, DataError
from xner.text.words import segment

CASING = Casing.of(
    [
        "We saw the new house in Berlin, in winter, with President Obama and Chancellor Merkel.",
        "It was at the bank that we met yesterday.",
        "He works for New York and for the union of Bosnia and York, or so he said.",
        "Then the Bank of England and Barack Obama met the European Union in Hamburg.",
    ]
)
COUNTRIES = Lexicon(
    {
        "Germany": ("Deutschland",),
        "Guinea": ("Guinea",),
        "Equatorial Guinea": ("Äquatorialguinea",),
        "United States": ("Vereinigte Staaten", "USA"),
        "Niger": ("Niger",),
        "Nigeria": ("Nigeria",),
    }
)
ZH = Lexicon({"Germany": ("德国", "德國"), "India": ("印度",), "Indonesia": ("印度尼西亚",)})


def _verbatim(source: str, target: str) -> list[str]:
    found = verbatim_names(source, target, segment(source), segment(target), CASING)
    assert all(target[s:e] == name for name, places in found.items() for s, e in places)
    return sorted(found)


def _capitalised(source: str) -> list[str]:
    return [source[s:e] for s, e in capitalised_names(source, segment(source), CASING)]


def _table(source: str, target: str, lexicon: Lexicon = COUNTRIES) -> dict[str, list[str]]:
    found = table_names(source, target, segment(source), segment(target), lexicon)
    return {name: [target[s:e] for s, e in places] for name, places in found.items()}


def _example(source: str, target: str) -> AlignmentExample | None:
    return example_of(source, target, "de", CASING, [COUNTRIES])


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("We met in Berlin.", "Wir trafen uns in Berlin.", ["Berlin"]),
        ("Berlin is big.", "Berlin ist groß.", ["Berlin"]),
        ("In Berlin we met.", "In Berlin trafen wir uns.", ["Berlin"]),
        ("Zbigniew Kowalski fell.", "Zbigniew Kowalski fiel.", ["Zbigniew Kowalski"]),
        ("Zbigniew fell.", "Zbigniew fiel.", []),
        ("Was it New York?", "Was, New York?", ["New York"]),
        ("So President Barack Obama said", "So Präsident Barack Obama", ["Barack Obama"]),
        ("at the Bank of England", "bei der Bank of England", ["Bank of England"]),
        ("at the Bank of England", "bei der Bank von England", ["England"]),
        ("the European Union", "die Europäische Union", []),
        ("in Berlin and Berlin", "in Berlin und dort", []),
        ("in Berlin", "Berlin, nur Berlin", []),
        ("of Berlin", "der Berliner", []),
        ("and I know", "I wo", []),
        ("saw Obama in Berlin", "奥巴马Obama在Berlin", ["Berlin", "Obama"]),
        ("A B C D E F G H J", "A B C D E F G H J", []),
    ],
)
def test_verbatim_names_are_sure(source: str, target: str, expected: list[str]):
    assert _verbatim(source, target) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("We met Barack Obama in Berlin.", ["Barack Obama", "Berlin"]),
        ("So President Barack Obama said", ["President Barack Obama"]),
        ("at the Bank of England", ["Bank of England"]),
        ("the European Union of Bosnia", ["European Union of Bosnia"]),
        # What opens a sentence has a capital anyway.
        ("Berlin is big. In Hamburg we met.", ["Berlin", "Hamburg"]),
        ("In Berlin we met.", ["Berlin"]),
        ("Zbigniew Kowalski fell.", ["Zbigniew Kowalski"]),
        ("Zbigniew fell.", []),
        ('He said: "The winter came"', []),
        # A noun that is a name's part elsewhere, and words that are never a name.
        ("at the Bank of it", []),
        ("and I know, so X", []),
        ("the bank and the union", []),
        # A headline.
        ("see A B C D E F G H J", []),
        ("see Obama Obama Obama Obama Obama Obama Obama Obama", ["Obama" + 7 * " Obama"]),
        # Nobody knows which of its places in the translation is whose.
        ("from Berlin to Berlin with Merkel", ["Merkel"]),
        ("Obama, said Barack Obama in Berlin", ["Barack Obama", "Berlin"]),
        ("the Berliner in Berlin", ["Berlin"]),
        ("", []),
        ("...", []),
    ],
)
def test_capitalised_names_are_the_longest_of_their_run(source: str, expected: list[str]):
    assert _capitalised(source) == expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("from Germany", "aus Deutschland", {"Germany": ["Deutschland"]}),
        ("from Germany", "von dort", {}),
        ("from there", "aus Deutschland", {}),
        ("in Equatorial Guinea", "in Guinea", {}),
        ("to Nigeria", "nach Niger", {}),
        ("the United States", "die USA", {"United States": ["USA"]}),
        ("the United States", "die Vereinigte Staaten (USA)", {}),
        ("Germany, Germany", "Deutschland, Deutschland", {"Germany": ["Deutschland"] * 2}),
        ("Germany, Germany", "Deutschland", {}),
    ],
)
def test_table_names_stand_on_both_sides_equally_often(source, target, expected):
    assert _table(source, target) == expected


def test_table_names_are_found_in_unspaced_text_longest_first():
    source, target = "from Germany to Indonesia", "从德國到印度尼西亚"
    assert _table(source, target, ZH) == {"Germany": ["德國"], "Indonesia": ["印度尼西亚"]}
    assert _table("to India", "到印度尼西亚", ZH) == {}


def test_name_index_finds_leftmost_longest():
    names = ["A", "A B", "A B C", "B C", "C"]
    text = "A B D A B C C B C A"
    found = NameIndex(names).find(text, segment(text))
    assert found == {
        "A B": [(0, 3)],
        "A B C": [(6, 11)],
        "C": [(12, 13)],
        "B C": [(14, 17)],
        "A": [(18, 19)],
    }


def test_example_of_holds_all_names_of_a_sentence():
    example = _example("Obama flew from Germany.", "Obama flog aus Deutschland ab.")
    assert example is not None
    assert set(zip(example.names, example.spans, strict=True)) == {
        ("Obama", ((0, 5),)),
        ("Germany", ((15, 26),)),
    }
    assert example.origin == "table"


def test_example_of_gives_a_place_to_the_longest_name():
    source, target = "the Bank of Nigeria", "die Bank of Nigeria"
    example = _example(source, target)
    assert example is not None
    assert (example.names, example.origin) == (("Bank of Nigeria",), "verbatim")


def test_example_of_unknown_names_is_none():
    assert _example("He slept.", "Er schlief.") is None


def test_carrier_examples_exchange_names_of_the_same_table():
    text = "Obama flog aus Deutschland ab, aus Deutschland!"
    places = ((15, 26), (35, 46))
    example = AlignmentExample(text, "de", ("Obama", "Germany"), (((0, 5),), places), "table")
    carriers = list(carrier_examples(example, [COUNTRIES], 20, seed=1))
    assert len(carriers) > 10
    for carrier in carriers:
        name = carrier.names[1]
        forms = {carrier.text[s:e] for s, e in carrier.spans[1]}
        assert carrier.names[0] == "Obama" and carrier.text[slice(*carrier.spans[0][0])] == "Obama"
        assert name != "Germany" and len(forms) == 1
        (form,) = forms
        assert form in COUNTRIES.translations[name]
        assert carrier.text == f"Obama flog aus {form} ab, aus {form}!"
        assert carrier.origin == "carrier"
    assert len({carrier.names[1] for carrier in carriers}) > 2
    assert carriers == list(carrier_examples(example, [COUNTRIES], 20, seed=1))


def test_carrier_examples_need_a_name_of_a_table():
    example = AlignmentExample("Obama schlief.", "de", ("Obama",), (((0, 5),),), "verbatim")
    assert list(carrier_examples(example, [COUNTRIES], 5, seed=1)) == []


def test_carrier_examples_never_repeat_a_name_that_is_there():
    text = "Niger und Nigeria"
    spans = (((0, 5),), ((10, 17),))
    example = AlignmentExample(text, "de", ("Niger", "Nigeria"), spans, "table")
    for carrier in carrier_examples(example, [COUNTRIES], 50, seed=2):
        forms = [carrier.text[slice(*places[0])] for places in carrier.spans]
        assert all(carrier.text.count(form) == 1 for form in forms if form != "Niger")


def test_read_lexicon_reads_csv_with_alternatives(tmp_path: Path):
    table = tmp_path / "names.csv"
    rows = ["id,name_en,name_de", "1,Munich,München", "2,Cologne|Koeln,Köln", "3,,Bonn"]
    table.write_text("\n".join([*rows, "4,Munich,Minga"]), "utf-8-sig")
    assert read_lexicon(str(table), "en", "de").translations == {
        "Munich": ("München", "Minga"),
        "Cologne": ("Köln",),
        "Koeln": ("Köln",),
    }


def test_read_lexicon_reads_json_by_language(tmp_path: Path):
    for lang, names in {"en": {"DE": "Germany", "X": "x"}, "es": {"DE": "Alemania"}}.items():
        (tmp_path / f"{lang}.country.json").write_text(json.dumps(names))
    lexicon = read_lexicon(f"{tmp_path}/{{lang}}.country.json", "en", "es")
    assert lexicon.translations == {"Germany": ("Alemania",)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"name_en,name_fr\nA,B\n", "a.csv: line 1: no column 'name_de', found name_en"),
        ("a.csv", b"name_en,name_de\nA,B\nC\n", "a.csv: line 3: expected 2 fields"),
        ("a.csv", b'name_en,name_de\nA,B\nC,"D\nE,F\n', "a.csv: line 3: not valid CSV: unexpected"),
        ("a.csv", b'name_en,name_de\nA,"B"C\n', "a.csv: line 2: not valid CSV: ',' expected"),
        ("a.csv", b'name_en,"name_de\nA,B\n', "a.csv: line 1: not valid CSV: unexpected end"),
        ("a.csv", b"name_en,name_de\nA," + b"B" * 200_000, "a.csv: line 2: .* field larger"),
        ("a.csv", b"name_en,name_de\n\xff,B\n", "a.csv: byte 16: not valid UTF-8"),
        ("a.{lang}.json", b"{", "a.en.json: not valid JSON"),
        ("a.{lang}.json", b"[1]", "a.en.json: expected an object of codes and names"),
    ],
)
def test_read_lexicon_names_what_is_wrong(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name.replace("{lang}", "en")).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lexicon(f"{tmp_path}/{name}", "en", "de")


def test_read_lexicon_misses_a_table(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.csv: no such file"):
        read_lexicon(f"{tmp_path}/none.csv", "en", "de")


def test_example_of_is_fast_with_large_tables():
    lexicon = Lexicon(
        {f"Name {i} of {j}": (f"Wort {i} {j}",) for i in range(100) for j in range(100)}
    )
    source = "The man from Name 7 of 5 met Barack Obama and Chancellor Merkel in the old town."
    target = "Der Mann aus Wort 7 5 traf Barack Obama und Bundeskanzlerin Merkel in der Altstadt."
    example_of(source, target, "de", CASING, [lexicon])
    started = perf_counter()
    for _ in range(500):
        example = example_of(source, target, "de", CASING, [lexicon])
    # Aim: 5,000 pairs/s; the bound leaves room for a busy machine.
    assert 500 / (perf_counter() - started) > 1500
    assert example is not None and set(example.names) == {"Name 7 of 5", "Barack Obama", "Merkel"}


def test_read_lexicon_reads_the_real_tables(shared_data: Path):
    cities = read_lexicon(f"{shared_data}/names/cities.csv", "en", "zh").translations
    countries = read_lexicon(f"{shared_data}/names/{{lang}}.country.json", "en", "nl").translations
    assert cities["Potenza"] == ("波坦察",)
    assert countries["Germany"] == ("Duitsland",)
