from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from xner.projection.quality import REASONS
from xner.report.page import render_page, write_page


def _row(source: str, target: str, reason: str | None = None, place: bool = True) -> dict[str, Any]:
    mention = {"start": 0, "end": 4, "label": "LOC", "score": 0.875}
    projected = {"start": 3, "end": 7, "alignment_score": 0.625, "source_index": 0}
    return {
        "source": source,
        "target": target,
        "source_lang": "en",
        "target_lang": "zh_CN",
        "source_mentions": [mention],
        "mentions": [{**mention, **projected}] if place else [],
        "status": "filtered" if reason else "ok",
        "reason": reason,
    }


class _Page(HTMLParser):
    """Tags with their attributes, and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_marks_mentions_on_both_sides_with_their_scores():
    page = render_page("t", {}, {}, [_row("Bonn is here.", "In Bonn dort.")])
    marks = re.findall(r'<mark [^>]*title="([^"]*)">([^<]*)<sup>([^<]*)</sup>', page)
    assert marks == [
        ("teacher 0.88", "Bonn", "LOC 1"),
        ("teacher 0.88, aligner 0.62", "Bonn", "LOC 1"),
    ]
    assert '<p lang="zh-CN">' in page


def test_page_tells_refusals_by_reason_and_unplaced_mentions():
    rows = [
        _row("Bonn fell.", "Es fiel.", "unplaced_mention", place=False),
        _row("Bonn is here.", "In Bonn dort."),
    ]
    page = render_page("t", {}, {}, rows)
    assert page.index("Accepted") < page.index("Refused: unplaced_mention")
    assert REASONS["unplaced_mention"] in page
    assert page.count('class="unplaced"') == 1


def test_page_shows_figures_and_tables():
    tables = {"Corpora": [{"corpus": "A & B", "read": 12345}], "None": []}
    text = _Page(render_page("A run", {"rows": 32768, "F1": 0.91342}, tables, [])).text
    for shown in ("A run", "32,768", "0.9134", "Corpora", "A & B", "12,345"):
        assert shown in text
    assert "None" not in text


def test_page_sets_a_column_of_numbers_right_where_the_first_is_missing():
    page = render_page("t", {}, {"T": [{"p": None, "of": "A"}, {"p": 0.25, "of": None}]}, [])
    assert page.count("<th class=number>p") == 1
    assert page.count("<td class=number>") == 2


def test_page_escapes_foreign_text_everywhere():
    evil = "<script>alert('\"x')</script>"
    row = _row(evil, evil, reason=evil) | {"source_lang": evil, "corpus": evil}
    row["source_mentions"][0]["label"] = row["mentions"][0]["label"] = evil
    page = _Page(render_page(evil, {evil: evil}, {evil: [{evil: evil}]}, [row]))
    assert {tag for tag, _ in page.tags} <= {
        *("html", "meta", "title", "style", "h1", "h2", "div", "b", "span", "p", "small"),
        *("table", "tr", "th", "td", "mark", "sup"),
    }
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count("<script>") >= 8


def test_page_needs_nothing_from_elsewhere(tmp_path: Path):
    write_page(str(tmp_path / "report" / "index.html"), "t", {}, {}, [_row("Bonn", "In Bonn")])
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert not re.search(r"https?:|src=|@import|url\(|<link|<script", page)
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
