from __future__ import annotations

import bz2
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xner.corpora.alignment_set import AlignmentExample
from xner.corpora.wikidump import Page, dump_parts, read_head
from xner.corpora.wikipedia import (
    PAGE_REFUSALS,
    REFUSALS,
    AnchorReader,
    WikipediaStatistics,
    english_name,
    windows,
)
from xner.corpora.wikitext import normal_title
from xner.corpora.wikititles import TitleLink, TitleTable, dump_links, links_table

ENGLISH_OF = {
    "Deutschland": "Germany",
    "Frankreich": "France",
    "Berlin": "Berlin",
    "Königreich Preußen": "Kingdom of Prussia",
    "Immanuel Kant": "Immanuel Kant",
    "Austin": "Austin, Texas",
    "Georgien": "Georgia (country)",
    "Georgia": "Georgia (U.S. state)",
    "Vereinigte Staaten": "United States",
    "Philosoph": "Philosopher",
    "Naturphilosoph": "Natural philosopher",
    "Ethik": "Ethics",
    "Deutsche Sprache": "German language",
    "1990": "1990",
    "22. Februar": "February 22",
    "19. Jahrhundert": "19th century",
    "Liste der Staaten": "List of sovereign states",
    "Geschichte Deutschlands": "History of Germany",
    "德国": "Germany",
    "Alemania": "Germany",
    # These show which words have capitals.
    "A": "History of Germany",
    "B": "History of France",
    "C": "Free University of Berlin",
    "D": "Kingdom of Georgia",
}
TITLES = TitleTable.of(
    [
        links_table(TitleLink(title, english=english) for title, english in ENGLISH_OF.items()),
        links_table([TitleLink("USA", redirect="Vereinigte Staaten")]),
    ]
)
# So that there is text around the names.
REST = " und so geht der Satz noch weiter."


def _read(
    wikitext: str, lang: str = "de", titles: TitleTable = TITLES, max_chars: int = 300
) -> tuple[list[AlignmentExample], WikipediaStatistics]:
    return AnchorReader(lang, titles, max_chars=max_chars).page(Page("X", text=wikitext))


def _shown(examples: Iterable[AlignmentExample]) -> dict[str, list[str]]:
    """Per English name its places, as text."""
    found: dict[str, list[str]] = {}
    for example in examples:
        for name, spans in zip(example.names, example.spans, strict=True):
            found.setdefault(name, []).extend(example.text[start:end] for start, end in spans)
    return found


@pytest.mark.parametrize(
    ("wikitext", "names"),
    [
        ("In [[Deutschland]]", {"Germany": ["Deutschland"]}),
        ("[[Deutschland]]s Sieg", {"Germany": ["Deutschlands"]}),
        ("Das [[Königreich Preußen]]", {"Kingdom of Prussia": ["Königreich Preußen"]}),
        ("Bei [[Immanuel Kant|Kant]]", {"Kant": ["Kant"]}),
        ("Bei [[Immanuel Kant|Dr. Immanuel Kant]]", {"Immanuel Kant": ["Immanuel Kant"]}),
        ("Bei [[Immanuel Kant|Kant (Philosoph)]]", {"Kant": ["Kant"]}),
        ("Die [[Vereinigte Staaten|USA]]", {"United States": ["USA"]}),
        ("Die [[USA]]", {"United States": ["USA"]}),
        ("[[USA|der USA]]", {"United States": ["USA"]}),
        ("In [[Austin]]", {"Austin": ["Austin"]}),
        ("In [[Austin|Austin, Texas]]", {"Austin, Texas": ["Austin, Texas"]}),
        ("In [[Georgien]]", {"Georgia": ["Georgien"]}),
        ("„[[Berlin|„Berlin“]]", {"Berlin": ["Berlin"]}),
        ("[[Frankreich]], [[Deutschland]]", {"France": ["Frankreich"], "Germany": ["Deutschland"]}),
        ("[[Berlin]] liegt in Berlin", {"Berlin": ["Berlin", "Berlin"]}),
        ("[[Vereinigte Staaten|USA]] oder [[USA]]", {"United States": ["USA", "USA"]}),
    ],
)  # fmt: skip
def test_wikipedia_takes_names(wikitext: str, names: dict[str, list[str]]):
    examples, statistics = _read(wikitext + REST)
    assert _shown(examples) == names
    assert statistics.resolved == wikitext.count("[[")
    assert {example.origin for example in examples} == {"anchor"}


@pytest.mark.parametrize(
    ("wikitext", "reason"),
    [
        ("[[Datei:x.jpg|mini|a]] a", "namespace"),
        ("{{x|[[Berlin]]}} a", "outside_text"),
        ("[[Berlin#Geschichte|Berlin]]", "section"),
        ("[[Hinterdupfing]]", "unresolved"),
        ("[[1990]]", "date"),
        ("[[22. Februar]]", "date"),
        ("[[19. Jahrhundert]]", "date"),
        ("[[Liste der Staaten|Staaten]]", "list"),
        ("[[Geschichte Deutschlands]]", "list"),
        ("[[Deutsche Sprache]]", "common_noun"),
        ("[[Philosoph]]", "unknown_case"),
        ("[[Ethik]]", "unknown_case"),
        ("[[Deutschland|deutsche]]", "lower_case"),
        ("[[Immanuel Kant|Verfasser]]", "other_text"),
        ("[[Berlin|Berlin als solches]]", "other_text"),
        ("[[Berlin]]er", "derived"),
        ("[[Berlin|Berliner]]", "derived"),
        ("[[Berlin]]-Mitte", "no_word"),
        ("[[Berlin|1]]", "no_word"),
        (f"[[Berlin|{'Berlin ' * 20}]]", "too_long"),
    ],
)
def test_wikipedia_refuses_by_reason(wikitext: str, reason: str):
    examples, statistics = _read(wikitext + REST)
    assert not examples
    assert (statistics.refused, statistics.resolved) == ({reason: 1}, 0)


def test_wikipedia_refuses_what_is_ambiguous():
    text = "[[Georgien]] und [[Georgia]]"
    assert _read(text + REST)[1].refused == {"ambiguous": 2}
    text = "[[Georgien|Georgia]] und [[Georgia]]"
    assert _read(text + REST)[1].refused == {"ambiguous": 2}
    text = "[[Berlin]] in [[Georgien]] und [[Georgia]]"
    examples, statistics = _read(text + REST)
    assert _shown(examples) == {"Berlin": ["Berlin"]}
    assert (statistics.resolved, statistics.refused) == (1, {"ambiguous": 2})


def test_wikipedia_refuses_names_without_a_sentence():
    assert _read("* [[Berlin]], [[Deutschland]]")[1].refused == {"no_context": 2}


def test_wikipedia_refuses_what_is_no_paragraph():
    assert _read("[[Berlin]] " * 3000 + REST)[1].refused == {"long_paragraph": 3000}


def test_wikipedia_finds_unlinked_places_but_not_in_other_links_and_words():
    text = "[[Berlin]], Berlin, Berliner, [[X|Groß Berlin]], Groß-Berlin und Berlins Berlin"
    (example,), _ = _read(text + REST)
    places = [start for start, _ in example.spans[0]]
    assert places == [
        0,
        8,
        text.replace("[[", "").replace("]]", "").replace("X|", "").rindex("Berlin"),
    ]


def test_wikipedia_longer_text_has_the_place():
    text = "[[Immanuel Kant]] heißt [[Immanuel Kant|Kant]], Immanuel Kant ist Kant"
    (example,), _ = _read(text + REST)
    assert _shown([example]) == {"Immanuel Kant": ["Immanuel Kant"] * 2, "Kant": ["Kant"] * 2}


def test_wikipedia_capital_inside_a_sentence_shows_a_name():
    """Where nouns have none; at the beginning of a sentence nothing shows."""
    titles = TitleTable.of([links_table([TitleLink("Ética", english="Ethics")])])
    rest = " es una parte de todo esto."
    assert _shown(_read("En la [[Ética]]" + rest, "es", titles)[0]) == {"Ethics": ["Ética"]}
    assert _read("Sí. [[Ética]]" + rest, "es", titles)[1].refused == {"unknown_case": 1}
    assert _read("En la [[ética]]" + rest, "es", titles)[1].refused == {"lower_case": 1}


def test_wikipedia_chinese():
    examples, statistics = _read("他曾经住在[[德国]]\uff0c后来离开德国。", "zh")
    assert _shown(examples) == {"Germany": ["德国", "德国"]}
    assert statistics.resolved == 1


def test_wikipedia_georgian_has_no_capitals():
    """Unicode has two cases of its letters, and people write one."""
    titles = TitleTable.of(
        [
            links_table([TitleLink(normal_title("ბერლინი"), english="Berlin")]),
            links_table([TitleLink(normal_title("ნიუ იორკი"), english="New York City")]),
            links_table([TitleLink("C", english="Free University of Berlin")]),
        ]
    )
    examples, statistics = _read("იგი დიდხანს ცხოვრობდა ქალაქ [[ბერლინი|ბერლინში]].", "ka", titles)
    assert statistics.refused == {}
    assert _shown(examples) == {"Berlin": ["ბერლინში"]}
    examples, statistics = _read(
        "იგი დიდხანს ცხოვრობდა ქალაქ [[ნიუ იორკი|ნიუ იორკში]].", "ka", titles
    )
    assert statistics.refused == {}
    assert _shown(examples) == {"New York City": ["ნიუ იორკში"]}


def test_wikipedia_english_titles_are_their_own():
    titles = TitleTable.of([links_table([TitleLink("UK", redirect="United Kingdom")])], True)
    text = "He left the [[UK]] for [[Paris, Texas|Paris]] and liked [[philosophy]] there."
    examples, statistics = _read(text, "en", titles)
    assert _shown(examples) == {"United Kingdom": ["UK"], "Paris": ["Paris"]}
    assert statistics.refused == {"lower_case": 1}


@pytest.mark.parametrize(
    ("title", "shown", "name"),
    [
        ("Paris (Texas)", "Paris", "Paris"),
        ("Immanuel Kant", "Kants", "Immanuel Kant"),
        ("Sammy Davis, Jr.", "Sammy", "Sammy"),
        ("Sammy Davis, Jr.", "S. Davis", "Sammy Davis, Jr."),
        ("Washington, D.C.", "华盛顿", "Washington"),
        ("The Championships, Wimbledon", "Wimbledon", "Wimbledon"),
        ("The Championships, Wimbledon", "温布尔登", "The Championships, Wimbledon"),
        ("(Sandy) Alex G", "Alex", "Alex"),
    ],
)
def test_wikipedia_english_names(title: str, shown: str, name: str):
    assert english_name(title, shown) == name


def test_wikipedia_pages_are_counted():
    reader = AnchorReader("de", TITLES)
    pages = [
        Page("A", text="[[Berlin]]" + REST),
        Page("B", redirect="A"),
        Page("Datei:C", namespace=6),
        Page("D", model="css"),
        Page("E", refused="broken_xml"),
    ]
    total = sum((reader.page(page)[1] for page in pages), start=WikipediaStatistics())
    assert (total.pages, total.redirects, total.paragraphs, total.examples) == (5, 1, 1, 1)
    assert total.refused_pages == {"other_namespace": 1, "not_wikitext": 1, "broken_xml": 1}
    assert total + WikipediaStatistics() == total
    assert WikipediaStatistics(**total.to_dict()) == total


def test_wikipedia_windows_are_whole_sentences():
    text = "Eins ist da. Zwei ist es! Und drei (nun ja.) Vier."
    assert [text[s:e] for s, e in windows(text, [], 30)] == [
        "Eins ist da. Zwei ist es!",
        "Und drei (nun ja.) Vier.",
    ]
    assert next(windows(text, [(8, 20)], 30)) == (0, 25)
    assert list(windows("他来了。他走了。", [], 5)) == [(0, 4), (4, 8)]


@settings(max_examples=200)
@given(st.text("aB. 。!?", max_size=300), st.data())
def test_wikipedia_windows_cover_the_text_and_cut_no_anchor(text: str, data: st.DataObject):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = zip(cuts[::2], cuts[1::2], strict=False)
    closed = [(a, b) for a, b in spans if b - a <= 20 and text[a:b] == text[a:b].strip()]
    found = list(windows(text, closed, 20))
    assert "".join(text[s:e] for s, e in found).replace(" ", "") == text.replace(" ", "")
    for start, end in found:
        assert end - start <= 20
        assert not any(s < cut < e for s, e in closed for cut in (start, end))


_PIECES = st.sampled_from(
    [
        *(f"[[{title}]]" for title in ENGLISH_OF),
        "[[Immanuel Kant|Kant]]",
        "[[Berlin]]er",
        *("[[", "]]", "|", "{{", "}}", "<ref>", "</ref>", "'''", "\n", "*"),
        *(".", ",", " ", "Berlin", "USA ", "德国"),
    ]
)


@settings(max_examples=300)
@given(st.lists(_PIECES | st.text(max_size=3), max_size=60), st.sampled_from(["de", "es", "zh"]))
def test_wikipedia_every_anchor_is_resolved_or_refused(pieces: list[str], lang: str):
    examples, statistics = _read("".join(pieces), lang, max_chars=100)
    _check(examples, statistics)


def _check(examples: Iterable[AlignmentExample], statistics: WikipediaStatistics) -> None:
    assert statistics.anchors == statistics.resolved + sum(statistics.refused.values())
    assert set(statistics.refused) <= set(REFUSALS)
    assert set(statistics.refused_pages) <= set(PAGE_REFUSALS)
    num_examples = 0
    for example in examples:
        num_examples += 1
        spans = sorted(span for of_name in example.spans for span in of_name)
        assert all(example.spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        for start, end in spans:
            assert 0 <= start < end <= len(example.text)
            assert example.text[start:end].strip() == example.text[start:end]
    assert num_examples == statistics.examples


def test_wikipedia_huge_paragraph_costs_no_more_than_its_length():
    started = time.process_time()
    for text in (
        "[[Berlin]] Berlin " * 900,
        "[[A]]. " * 6000 + "[[Berlin]]",
        "[[Berlin|Kant]], [[Immanuel Kant]] " * 500,
    ):
        for wikitext in (text, "\n\n".join([text] * 20)):
            _check(*_read(wikitext))
    assert time.process_time() - started < 20


# The real dumps

DUMPS = {
    "de.xml.bz2": 2130,
    "en.xml.bz2": 6881,
    "es.xml.bz2": 512,
    "gensim.enwiki-shortened.xml.bz2": 32_374,
    "nl.xml.bz2": 793,
    "wikipedia2vec.enwiki-sample.xml.bz2": 323,
    "zh.xml.bz2": 363,
}


def _everything(
    path: str, lang: str, titles: TitleTable, part_bytes: int
) -> tuple[list[AlignmentExample], WikipediaStatistics]:
    reader = AnchorReader(lang, titles, read_head(path).namespaces)
    found: Iterator = (each for p in dump_parts(path, part_bytes) for each in reader.read(p))
    examples, total = [], WikipediaStatistics()
    for of_page, statistics in found:
        _check(of_page, statistics)
        examples += of_page
        total += statistics
    return examples, total


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if size > 10_000 else [])
        for name, size in DUMPS.items()
    ],
)
def test_wikipedia_real_dumps(shared_data: Path, tmp_path: Path, name: str):
    """Counts add up, every link is counted, and no way to cut the file changes anything."""
    path = shared_data / "wikipedia" / name
    lang = name[:2] if name[2:3] == "." else "en"
    titles = TITLES
    if lang == "en":
        links = (links_table(dump_links(part, "en")) for part in dump_parts(str(path)))
        titles = TitleTable.of(links, is_same=True)
    examples, total = _everything(str(path), lang, titles, 1 << 30)
    assert total.anchors == DUMPS[name]
    assert total.resolved > 0 and examples
    assert not total.refused_pages.keys() - {"other_namespace"}
    content = bz2.decompress(path.read_bytes())
    streams = tmp_path / "streams.xml.bz2"
    size = len(content) // 23
    streams.write_bytes(
        b"".join(bz2.compress(content[i : i + size]) for i in range(0, len(content), size))
    )
    for other, part_bytes in ((path, 5_003), (streams, 10_007)):
        assert _everything(str(other), lang, titles, part_bytes) == (examples, total)
