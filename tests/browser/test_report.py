"""The report in a real browser: what people see, and that its rule is the rule of the main job."""

from __future__ import annotations

import json
import random
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.browser.conftest import EVIL, QUALITY, Site, written
from xner.config import QualityConfig
from xner.projection.quality import Projection, from_alignments, project_row
from xner.projection.thresholds import Thresholds
from xner.report.browser import browser_data
from xner.report.census import Census
from xner.report.document import Part, render_document
from xner.shards.schema import PSEUDO
from xner.text.mentions import Mention
from xner.text.words import segment

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
LOOKS = {
    "light": DESKTOP,
    "dark": {**DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}
MANY = 50_000

Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens an address; at the end nothing may have been complained of, or asked of a network."""
    contexts, complaints, requests = [], [], []

    def opened(url: str, look: str = "light") -> Any:
        context = browser.new_context(**LOOKS[look])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
    assert all(url.startswith("file:") for url in requests) and len(requests) == len(contexts)


def decided(row: dict[str, Any], quality: QualityConfig) -> Projection:
    """A row as the main job decides it."""
    mentions = [Mention(**mention) for mention in row["source_mentions"]]
    return project_row(
        row["pair_id"],
        row["source"],
        row["target"],
        segment(row["target"]),
        mentions,
        from_alignments(row["alignments"], len(mentions)),
        quality,
    )


def is_decided(row: dict[str, Any]) -> bool:
    return row["status"] != "error"


def some_rules() -> list[QualityConfig]:
    draw = random.Random(0)
    return [
        QualityConfig(
            min_teacher_score=draw.choice([0.0, 0.5, 0.55, 0.7, 0.9, 1.0]),
            min_alignment_score=draw.choice([0.0, 0.2, 0.5, 0.8, 0.97, 1.0]),
            max_unplaced=draw.choice([0, 0, 1, 2, 3]),
            keep_mention_free=draw.choice([0.0, 0.5, 0.77, 1.0]),
        )
        for _ in range(25)
    ]


def settle(page: Any) -> None:
    """Wait until what was asked of the page is done: later than its own timer, and two frames."""
    page.evaluate(
        """() => new Promise(done => setTimeout(
            () => requestAnimationFrame(() => requestAnimationFrame(done)), 100))"""
    )


def shown(page: Any) -> int:
    """How many pairs the filters let through."""
    numbers = re.findall(r"[\d,]+", page.inner_text("#count"))
    return int(numbers[0].replace(",", ""))


def set_slider(page: Any, name: str, value: float) -> None:
    page.evaluate(
        """([name, value]) => {
            const input = document.getElementById(name);
            input.value = page.data.thresholds.grid[name].indexOf(value);
            input.dispatchEvent(new Event("input"));
        }""",
        [name, value],
    )
    settle(page)


def test_rule_in_javascript_decides_as_the_main_job(open_page: Open, site: Site) -> None:
    page = open_page(site.pairs)
    rows = [row for row in site.rows if is_decided(row)]
    seen: Counter[str | None] = Counter()
    for quality in [*some_rules(), QUALITY.model_copy(update={"labels": ["LOC", "ORG"]})]:
        # As text, for Playwright takes its time over objects.
        told = page.evaluate(
            """rules => JSON.stringify(Object.fromEntries(
                page.rows.map(row => [row.pair_id, {...decide(row, rules)}])))""",
            quality.model_dump(mode="json"),
        )
        found = json.loads(told)
        for row in rows:
            expected, mine = decided(row, quality), found[row["pair_id"]]
            seen[expected.reason] += 1
            assert mine["labels"] == [
                [
                    *(m.start, m.end, m.label, m.score * 4096),
                    *((m.alignment_score or 0) * 4096, m.source_index),
                ]
                for m in expected.mentions
            ]
            assert (mine["status"], mine["reason"]) == (expected.status, expected.reason)
            assert mine["weight"] == pytest.approx(expected.weight, abs=1e-12)
    assert set(seen) >= {
        *(None, "low_teacher_score", "unplaced_mention", "contested_mention"),
        *("low_alignment_score", "mention_free"),
    }


def test_outcomes_in_javascript_are_those_of_the_census(open_page: Open, site: Site) -> None:
    page = open_page(site.pairs)
    table = pa.Table.from_pylist(site.rows, schema=PSEUDO)
    thresholds = Thresholds.of(table, QUALITY)
    for quality in some_rules():
        expected = thresholds.outcome(quality)
        found = page.evaluate("rules => page.outcome(rules)", quality.model_dump(mode="json"))
        assert found == {"rows": expected.rows, "labels": expected.labels}
        again = Counter(decided(row, quality).status for row in site.rows if is_decided(row))
        assert found["rows"]["ok"] == again["ok"]


@pytest.mark.parametrize("look", LOOKS)
def test_page_opens_from_a_disk_and_fits(open_page: Open, site: Site, look: str) -> None:
    page = open_page(site.pairs, look)
    assert shown(page) == len(site.rows)
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", back)[:3]))
    assert brightness < 150 if look == "dark" else brightness > 600


def test_text_of_sentences_is_not_obeyed(open_page: Open, site: Site) -> None:
    page = open_page(site.row("evil"))
    assert page.evaluate("window.obeyed") is None
    sentence = page.locator('[data-id="evil"] p.source')
    assert EVIL in sentence.evaluate("element => element.textContent")


@pytest.mark.parametrize(
    ("pair_id", "marked"),
    [
        ("emoji", ["Anna", "Anna"]),
        ("arabic", ["Anna", "Omar", "آنا", "عمر"]),
        ("thai", ["Somchai", "สมชาย"]),
        ("twice", ["Barratt", "Barratt", "巴拉特"]),
    ],
)
def test_mentions_are_marked_in_any_script(
    open_page: Open, site: Site, pair_id: str, marked: list[str]
) -> None:
    page = open_page(site.row(pair_id))
    card = page.locator(f'[data-id="{pair_id}"]')
    assert sorted(card.locator("mark").all_inner_texts()) == sorted(marked)
    target = card.locator("p.target")
    (row,) = (row for row in site.rows if row["pair_id"] == pair_id)
    assert target.get_attribute("lang") == row["target_lang"]
    direction = target.evaluate("element => getComputedStyle(element).direction")
    assert direction == ("rtl" if pair_id == "arabic" else "ltr")


def test_name_that_is_told_twice_has_one_candidate_placed(open_page: Open, site: Site) -> None:
    card = open_page(site.row("twice")).locator('[data-id="twice"]')
    card.locator("summary").click()
    assert card.locator("td.won").all_inner_texts() == ["巴拉特（Barratt）"]
    assert card.locator("tbody tr").count() == 2
    card.locator("p.source mark").hover()
    # The losing candidate alone is boxed: two marks and what stands between them.
    assert card.locator("rect").count() == 3


@pytest.mark.parametrize("look", ["light", "phone"])
def test_lines_lead_from_mentions_to_their_places(open_page: Open, site: Site, look: str) -> None:
    page = open_page(site.row("arabic"), look)
    settle(page)
    cards = page.evaluate(
        """() => [...document.querySelectorAll(".sides")].map(sides => {
            const near = (x, y, mark) => [...mark.getClientRects()].some(box =>
                x > box.left - 2 && x < box.right + 2 && y > box.top - 8 && y < box.bottom + 8);
            const frame = sides.getBoundingClientRect();
            return [...sides.querySelectorAll("path")].map(path => {
                const ends = [0, path.getTotalLength()].map(at => path.getPointAtLength(at));
                const marks = ["source", "target"].map(side =>
                    [...sides.querySelectorAll(`.${side} mark`)]
                        .find(mark => mark.span.index === path.index));
                return ends.every(({x, y}, i) => near(x + frame.left, y + frame.top, marks[i]));
            }).concat(sides.now.labels.length === sides.querySelectorAll("path").length);
        })"""
    )
    assert len(cards) > 5 and any(len(each) > 2 for each in cards)
    assert all(all(each) for each in cards)


def test_filters_let_through_what_they_say(open_page: Open, site: Site) -> None:
    page = open_page(site.pairs)

    def count(test: Callable[[dict[str, Any]], bool]) -> int:
        return sum(map(test, site.rows))

    text = site.rows[20]["source"].split()[-2]
    page.fill("#text", text.upper())
    settle(page)
    expected = count(lambda row: text.lower() in f"{row['source']}\n{row['target']}".lower())
    assert shown(page) == expected > 0
    page.fill("#text", unicodedata.normalize("NFD", "آنا"))
    settle(page)
    assert shown(page) == 1
    page.click("#clear")
    assert shown(page) == len(site.rows)

    page.select_option("#verdict", "filtered: low_alignment_score")
    assert shown(page) == count(lambda row: row["reason"] == "low_alignment_score") > 0
    assert "all score too low" in page.inner_text("#list .row >> nth=0")
    page.select_option("#languages", "en → zh")
    both = count(lambda r: r["reason"] == "low_alignment_score" and r["target_lang"] == "zh")
    assert shown(page) == both > 0
    page.click("#clear")

    page.select_option("#verdict", "error: a_later_reason")
    assert shown(page) == 1
    page.click("#clear")
    page.select_option("#corpus", "Talks")
    assert shown(page) == count(lambda row: row["corpus"] == "Talks") > 0
    page.select_option("#type", "ORG")
    expected = count(
        lambda row: (
            row["corpus"] == "Talks" and any(m["label"] == "ORG" for m in row["source_mentions"])
        )
    )
    assert shown(page) == expected > 0
    page.click("#clear")
    page.fill("#most", "0.5")
    settle(page)
    assert shown(page) == count(lambda row: (row["weight"] or 0) <= 0.5) > 0
    page.fill("#most", "")
    settle(page)
    assert shown(page) == count(lambda row: True)


def test_worst_come_first_when_asked_to(open_page: Open, site: Site) -> None:
    page = open_page(site.pairs)

    def weights() -> list[float]:
        # Rows are drawn when they come into view, which takes a busy machine a moment.
        page.locator("#list .row header").first.wait_for()
        settle(page)
        texts = page.locator("#list .row header").all_inner_texts()
        return [float(re.findall(r"weight ([\d.]+)", text)[0]) for text in texts]

    at_random = weights()
    assert at_random != sorted(at_random)
    page.select_option("#order", "worst")
    assert weights() == sorted(weights()) and weights()[0] == 0
    page.select_option("#order", "best")
    assert weights() == sorted(weights(), reverse=True) and weights()[0] == 1


def test_link_leads_to_its_row(open_page: Open, site: Site) -> None:
    last = open_page(site.pairs).evaluate("page.rows.at(-1).pair_id")
    page = open_page(site.row(last))
    settle(page)
    card = page.locator(f'[data-id="{last}"].linked')
    assert is_in_view(card)
    # Filters that would hide it give way; its own link is where it leads.
    page.fill("#text", "no such text")
    settle(page)
    assert shown(page) == 0
    page.evaluate("location.hash = '#row=emoji'")
    settle(page)
    emoji = page.locator('[data-id="emoji"].linked')
    assert is_in_view(emoji) and shown(page) == len(site.rows)
    assert emoji.locator("header a").get_attribute("href") == "#row=emoji"
    assert page.locator(".linked").count() == 1
    page.evaluate("location.hash = '#row=nobody'")
    settle(page)
    assert "nobody is not in this sample" in page.inner_text("#missing")


def is_in_view(card: Any) -> bool:
    found: bool = card.evaluate(
        """element => {
            const {top, bottom} = element.getBoundingClientRect();
            return top >= 0 && top < innerHeight && bottom > 0;
        }"""
    )
    return found


def test_sliders_tell_at_once_what_stays(open_page: Open, site: Site) -> None:
    page = open_page(site.pairs)
    rules = QUALITY.model_copy(update={"min_alignment_score": 0.97, "max_unplaced": 1})
    set_slider(page, "min_alignment_score", 0.97)
    set_slider(page, "max_unplaced", 1)
    expected = Thresholds.of(pa.Table.from_pylist(site.rows, schema=PSEUDO), rules).outcome(rules)
    told = page.inner_text("#outcome")
    assert f"{expected.rows['ok']} of {len(site.rows)} pairs stay" in told
    assert f"{sum(expected.labels.values())} labels stay" in told

    again = {row["pair_id"]: decided(row, rules) for row in site.rows if is_decided(row)}
    changed = [
        row
        for row in site.rows
        if is_decided(row)
        and ((now := again[row["pair_id"]]).reason != row["reason"]
             or len(now.mentions) != len(row["mentions"]))
    ]  # fmt: skip
    page.check("#changed")
    assert shown(page) == len(changed) > 0
    page.uncheck("#changed")
    page.select_option("#verdict", "ok")
    assert shown(page) == sum(each.status == "ok" for each in again.values())

    recipe = tomllib.loads(page.inner_text("#recipe"))
    assert QualityConfig.model_validate(recipe["quality"]) == rules
    page.click("#reset")
    assert shown(page) == sum(row["status"] == "ok" for row in site.rows)
    assert page.is_hidden("#recipe-box") and page.is_hidden("#changed-box")


def test_pointing_at_a_mention_tells_its_scores(open_page: Open, site: Site) -> None:
    page = open_page(site.row("emoji"))
    settle(page)
    mark = page.locator('[data-id="emoji"] p.source mark')
    for point in (mark.hover, mark.focus):
        point()
        tip = page.inner_text("#tip")
        assert "PER, teacher 0.938" in tip and "alignment 0.750 (aligner)" in tip
        assert "1 losing candidate" in tip
        assert page.locator('[data-id="emoji"] rect').count() == 1
        losing, twin = (
            page.locator(f'[data-id="emoji"] {what}').bounding_box()
            for what in ("rect", "p.target mark")
        )
        # The box stands around the first half of the name, behind letters of two units.
        assert abs(losing["x"] - twin["x"]) < 6 and losing["width"] < twin["width"]
        page.keyboard.press("Escape")
        assert page.is_hidden("#tip") and page.locator(".sides rect").count() == 0
    # The keyboard brings what it comes to into view.
    page.mouse.move(1, 1)
    mark.evaluate("mark => mark.blur()")
    for act in ("_ => scrollBy(0, -innerHeight)", "mark => mark.focus()"):
        mark.evaluate(act)
        settle(page)
    assert is_in_view(mark) and page.is_visible("#tip")
    page.keyboard.press("Escape")
    page.mouse.wheel(0, 1)
    settle(page)
    assert page.is_hidden("#tip")
    page.click('[data-id="emoji"] summary')
    table = page.inner_text('[data-id="emoji"] table')
    assert "placed" in table and "below the threshold" in table


def test_page_of_many_rows_answers_within_a_second(
    open_page: Open, site: Site, tmp_path: Path
) -> None:
    table = pa.Table.from_pylist(site.rows, schema=PSEUDO)
    data = browser_data(Census.of(table, QUALITY), table, QUALITY)
    rows = data["rows"]
    data["rows"] = [{**rows[number % len(rows)], "pair_id": f"{number}"} for number in range(MANY)]
    path = tmp_path / "index.html"
    path.write_text(render_document("many", [Part("t", figures={"rows": MANY})], data), "utf-8")
    page = open_page(f"{path.as_uri()}#pairs")
    assert shown(page) == MANY
    # The time that the page's thread computes: the machine may have other work.
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})

    def computed() -> float:
        found = metrics.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")

    took = {}
    for what, value, event in (
        ("verdict", "ok", "change"),
        ("min_alignment_score", "90", "input"),
        ("order", "worst", "change"),
        ("text", "an", "input"),
        ("row", "31415", ""),
    ):
        before = computed()
        page.evaluate(
            """async ([what, value, event]) => {
                const state = () => [document.getElementById("count").textContent,
                    document.querySelector("#list .row")?.dataset.id, location.hash].join();
                const before = state();
                if (what === "row") location.hash = `#row=${value}`;
                else {
                    document.getElementById(what).value = value;
                    document.getElementById(what).dispatchEvent(new Event(event));
                }
                do await new Promise(requestAnimationFrame); while (state() === before);
                await new Promise(requestAnimationFrame);
            }""",
            [what, value, event],
        )
        took[what] = computed() - before
    print(took)
    # And it waits for a twelfth of a second whether there is more to come.
    assert min(took.values()) > 0 and max(took.values()) < 0.9
    assert is_in_view(page.locator('[data-id="31415"].linked'))
    # However many rows there are, few have elements.
    assert page.locator(".row").count() < 300
    page.mouse.wheel(0, 20_000)
    settle(page)
    assert page.evaluate(
        "[...document.querySelectorAll('.row')].some(row => row.getBoundingClientRect().top > 0)"
    )


@pytest.mark.parametrize("look", LOOKS)
def test_page_is_accessible(open_page: Open, site: Site, look: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(site.row("emoji"), look)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    # A few rows are enough, and the rules take their time over each.
    page.fill("#text", "anna")
    set_slider(page, "min_alignment_score", 0.97)
    found = axe.Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(serious, indent=1)[:5000]


def test_shards_of_a_student_are_shown_without_sliders(
    open_page: Open, pseudo_row: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    alone = {"start": 10, "end": 13, "label": "PER", "score": 0.5}
    row = pseudo_row("a", reason="student_disagrees", status="filtered")
    rows = [{**row, "mentions": [{**alone, "alignment_score": None, "source_index": None}]}]
    page = open_page(written(tmp_path, "relabel", rows).pairs)
    assert page.is_hidden("#thresholds")
    assert page.locator("#list mark").all_inner_texts() == ["Bob"]
    page.locator("#list mark").hover()
    assert "found by the student: 0.500" in page.inner_text("#tip")
