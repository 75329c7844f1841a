from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from xner.report.document import Part, Step, embedded, render_document, write_document

EVIL = "</script><script>alert('\"x')</script><!--"


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


def test_document_shows_figures_steps_and_tables():
    parts = [
        Part("Sums", "how", {"rows": 32768, "F1": 0.91342}),
        Part("Funnel", steps=[Step("read", 12345), Step("lost", 45, "why", is_loss=True)]),
        Part("Corpora", rows=[{"corpus": "A & B", "read": 54321}]),
        Part("Nothing"),
    ]
    text = _Page(render_document("A run", parts)).text
    for shown in (
        "A run",
        "32,768",
        "0.9134",
        "12,345",
        "\N{MINUS SIGN}45",
        "why",
        "A & B",
        "54,321",
    ):
        assert shown in text
    assert "Nothing" not in text and "None" not in text


def test_document_draws_a_funnel_to_scale():
    steps = [Step("read", 200), Step("lost", 50, is_loss=True)]
    page = render_document("t", [Part("Funnel", steps=steps)])
    bars = re.findall(r'<rect x="([\d.]+)" width="([\d.]+)"', page)
    assert bars == [("0.00", "100.00"), ("75.00", "25.00")]


def test_document_sets_a_column_of_numbers_right_where_the_first_is_missing():
    page = render_document("t", [Part("T", rows=[{"p": None, "of": "A"}, {"p": 0.25, "of": None}])])
    assert page.count('<th scope="col" class="number">p') == 1
    assert page.count('<td class="number">') == 2


def test_document_keeps_the_names_of_plots_apart():
    plot = '<svg><g id="a"/><use xlink:href="#a" clip-path="url(#a)"/></svg>'
    page = render_document("t", [Part("one", plot=plot), Part("other", plot=plot)])
    assert page.count('id="plot1-a"') == page.count('href="#plot2-a"') == 1
    assert "url(#plot2-a)" in page and 'id="a"' not in page


def test_document_escapes_foreign_text_everywhere():
    part = Part(EVIL, EVIL, {EVIL: EVIL}, [Step(EVIL, 1, EVIL)], None, [{EVIL: EVIL}])
    page = render_document(EVIL, [part], {"rows": [{EVIL: EVIL}]})
    scripts = [attributes for tag, attributes in _Page(page).tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not [
        name for _, attributes in _Page(page).tags for name in attributes if name.startswith("on")
    ]


def test_document_embeds_json_that_no_tag_ends():
    value: Any = {"text": EVIL, "line": "\u2028", "emoji": "😀", "nul": "\0"}
    text = embedded(value)
    assert "<" not in text and json.loads(text) == value


def test_document_needs_nothing_from_elsewhere(tmp_path: Path):
    write_document(str(tmp_path / "report" / "index.html"), "t", [Part("A", "b")], {"rows": []})
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    page = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|src=|@import|url\(|<link", page)
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
