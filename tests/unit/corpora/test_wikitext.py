from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xner.corpora.wikitext import link_target, normal_title, plain_page, redirect_target

# Wikitext, what a reader sees, and the links in it as text -> target.
CASES = {
    "piped link": ("Bei [[Immanuel Kant|Kant]] steht", "Bei Kant steht", {"Kant": "Immanuel Kant"}),
    "trail": ("die [[Berlin]]er Mauer", "die Berliner Mauer", {"Berliner": "Berlin"}),
    "trail ends at a capital": ("[[Berlin]]Mitte", "BerlinMitte", {"Berlin": "Berlin"}),
    "no trail after a possessive": ("[[Kant]]'s", "Kant's", {"Kant": "Kant"}),
    "title is normalised": ("[[berlin_ wall|x]]", "x", {"x": "Berlin wall"}),
    "entities and percent": ("[[K%C3%B6ln &amp; Bonn|x]]", "x", {"x": "Köln & Bonn"}),
    "bold and italics": ("'''''B''''' ''[[A|'''a''']]'' d'Or", "B a d'Or", {"a": "A"}),
    "template": ("a {{x|{{y|[[B]]}}|{{{z}}}}} [[C]] d", "a C d", {"C": "C"}),
    "template over lines": ("{{Infobox\n| a = [[B]]\n}}\n[[C]] d", "C d", {"C": "C"}),
    "unclosed template": ("a {{x [[C]] d", "a x C d", {"C": "C"}),
    "braces too many": ("a }} [[C]] d", "a }} C d", {"C": "C"}),
    "table": ("{| class=x\n|-\n| [[B]]\n{|\n| in\n|}\n|}\n[[C]] d", "C d", {"C": "C"}),
    "table cell leaves a template open": ("{|\n| {{x\n|}\n[[C]] d", "C d", {"C": "C"}),
    "unclosed table": ("{|\n| [[B]]\n! x\n[[C]] d", "C d", {"C": "C"}),
    "reference": ("a<ref name=x>see [[B]]</ref> b<ref name=x /> [[C]]", "a b C", {"C": "C"}),
    "unclosed reference": ("a<ref>b [[C]]", "ab C", {"C": "C"}),
    "comment": ("a <!-- [[B]] --> b<!-- open [[D]]", "a b", {}),
    "nowiki": ("<nowiki>[[B]] {{x}} ''</nowiki> [[C]]", "[[B]] {{x}} '' C", {"C": "C"}),
    "math": ("a <math>[[x]] {{</math> [[C]]", "a C", {"C": "C"}),
    "html": ('<span style="x">a</span><br />[[C|<b>c</b>]]', "a c", {"c": "C"}),
    "less than": ("1 < 2 [[C]]", "1 < 2 C", {"C": "C"}),
    "switch": ("__NOTOC__ a [[C]] __FOO_BAR__", "a C", {"C": "C"}),
    "external": ("[http://x.y/z text] [https://x.y] [[C]]", "text C", {"C": "C"}),
    "file with caption": ("[[Datei:x.jpg|mini|a [[B]] c]]d [[C]]", "d C", {"C": "C"}),
    "file in a file": ("[[File:x|a [[File:y|[[B]]]] c]]d [[C]]", "d C", {"C": "C"}),
    "category": ("a [[Kategorie:Stadt]] [[C]]", "a C", {"C": "C"}),
    "namespace as text": ("a [[:Kategorie:Stadt|Stadt]] [[C]]", "a Stadt C", {"C": "C"}),
    "interwiki": ("a [[wikt:b|b]] [[C]]", "a b C", {"C": "C"}),
    "colon in a title": ("[[CSI: Miami]] x", "CSI: Miami x", {"CSI: Miami": "CSI: Miami"}),
    "link in a link": ("[[A|b [[C]] d]]", "A|b C d", {"C": "C"}),
    "unclosed link": ("a [[B [[C]] d", "a B C d", {"C": "C"}),
    "closed twice": ("a [[C]]]] d", "a C d", {"C": "C"}),
    "empty brackets": ("a [[]] [[|x]] [[C]]", "a |x C", {"C": "C"}),
    "quotes and spaces in a link": ("a [[C| c ]] d", "a c d", {"c": "C"}),
    "what templates leave": ("K ({{x}}, {{y}}; [[C]]) ({{z}}) d", "K (C) d", {"C": "C"}),
    "item": ("* a [[C]]", "a C", {"C": "C"}),
    "entity": ("a&nbsp;b &lt;ref&gt; [[C]]", "a\xa0b <ref> C", {"C": "C"}),
    "variants": ("-{zh-hans:柏林;zh-hant:伯林}-在-{德}-国-{H|zh:x}-", "柏林在德国", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_wikitext_is_what_a_reader_sees(name: str):
    wikitext, text, links = CASES[name]
    (paragraph,) = plain_page(wikitext, "de").paragraphs
    assert paragraph.text == text
    found = {paragraph.text[a.start : a.end]: a.target for a in paragraph.anchors}
    assert found == links


def test_wikitext_splits_paragraphs_and_drops_headings():
    page = plain_page("a\n[[b]]\n\nc\n== [[h]] ==\nd\n* e\n* [[f]]\n\n----\n", "de")
    assert [p.text for p in page.paragraphs] == ["a b", "c", "d", "e", "f"]
    assert [a.target for p in page.paragraphs for a in p.anchors] == ["B", "F"]


def test_wikitext_counts_every_link():
    page = plain_page("[[A]] [[Datei:x|[[B]]]] [[Kategorie:C]] {{x|[[D]]}} [[en:E]] [[#F]]", "de")
    in_text = [anchor for p in page.paragraphs for anchor in p.anchors]
    assert [(a.target, a.section) for a in in_text] == [("A", False), ("", True)]
    assert (page.num_links, page.num_special) == (7, 3)


def test_wikitext_knows_the_namespaces_of_the_dump():
    assert not plain_page("[[Foobar:X]]", "de", ["Foobar"]).paragraphs[0].anchors
    assert plain_page("[[Foobar:X]]", "de").paragraphs[0].anchors


def test_wikitext_chinese_takes_no_trail():
    (anchor,) = plain_page("[[德国]]abc", "zh").paragraphs[0].anchors
    assert (anchor.start, anchor.end, anchor.trail) == (0, 2, "")


def test_wikitext_titles():
    assert normal_title(" _éa_ b\u200e") == "Éa b"
    assert normal_title("ßa") == "ßa"
    assert link_target(":Foo_bar#Sec tion ") == ("Foo bar", "Sec tion")
    assert redirect_target("#REDIRECT [[foo#bar|x]]") == ("Foo", "bar")
    assert redirect_target("#REDIRECT nothing") is None


_MARKUP = re.split(
    " ",
    "[[ ]] [ ] {{ }} {{{ }}} {| |} |- | ! = == * # : ; ' '' ''' <ref> </ref> <ref/> <!-- --> "
    "<nowiki> </nowiki> <br> <b </math> <math> -{ }- __TOC__ &amp; &#2; &lt; http://x [http://y "
    "Datei: File: en: Kategorie: Ärger Berlin 柏林 er \x02 \x03 \x00 \u2028",
)
_SOUP = st.lists(st.sampled_from([*_MARKUP, "\n", " "]) | st.text(max_size=4), max_size=60)


@settings(max_examples=400)
@given(_SOUP, st.sampled_from(["de", "zh", "en"]))
def test_wikitext_never_raises_and_counts_add_up(pieces: list[str], lang: str):
    wikitext = "".join(pieces)
    page = plain_page(wikitext, lang)
    num_anchors = 0
    for paragraph in page.paragraphs:
        end = 0
        for anchor in paragraph.anchors:
            assert end <= anchor.start <= anchor.end <= len(paragraph.text)
            end = anchor.end
        num_anchors += len(paragraph.anchors)
        assert "\x02" not in paragraph.text
    assert num_anchors + page.num_special <= page.num_links == wikitext.count("[[")


@pytest.mark.parametrize(
    "piece", [*_MARKUP, "[[a", "a]]", "{{a|", "[[File:a|", "<ref>[[a]]", "-{a"]
)
def test_wikitext_takes_time_in_proportion(piece: str):
    started = time.process_time()
    plain_page(piece * 60_000, "de")
    plain_page((piece + "\n") * 60_000, "de")
    assert time.process_time() - started < 8
