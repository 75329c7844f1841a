"""A headless Chromium, and the report of real rows for it to open."""

from __future__ import annotations

import random
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from xner.config import AlignerConfig, LinksConfig, QualityConfig, ReportConfig
from xner.corpora import miniature
from xner.projection.decode import Candidate
from xner.shards.ledger import Run
from xner.shards.schema import LABELLED, PSEUDO
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder
from xner.text.mentions import Mention

JOB = Path(__file__).parents[2] / "jobs" / "report.py"
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

QUALITY = QualityConfig(min_teacher_score=0.55, max_unplaced=0, keep_mention_free=0.5)

EVIL = "</script><script>window.obeyed = 1</script><img src=x onerror='window.obeyed = 1'>"


# Playwright holds a running event loop as long as it is open, which others would trip over: so it
# is opened for a module and not for the session.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window: the system's, else the one that Playwright has downloaded."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    with playwright.sync_playwright() as found:
        if program is None and not Path(found.chromium.executable_path).exists():
            pytest.skip(f"no Chromium: neither {', '.join(PROGRAMS)} nor Playwright's own")
        chromium = found.chromium.launch(executable_path=program)
        yield chromium
        chromium.close()


@dataclass(frozen=True)
class Site:
    """A report and the rows that it is of."""

    page: Path
    rows: list[dict[str, Any]]

    @property
    def pairs(self) -> str:
        """The address of the browser of pairs."""
        return f"{self.page.as_uri()}#pairs"

    def row(self, pair_id: str) -> str:
        """The address of a row."""
        return f"{self.page.as_uri()}#row={pair_id}"


def written(folder: Path, job: str, rows: list[dict[str, Any]], **settings: Any) -> Site:
    """Shards of these rows and their report, which shows all of them unless told otherwise."""
    run = Run(Folder.at(str(folder / "pseudo")), job, {"quality": QUALITY.model_dump(mode="json")})
    run.open()
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        table = pa.Table.from_pylist(part, schema=PSEUDO)
        run.commit(f"{number}.parquet", table, Statistics.of(table))
    config = {"pseudo": str(run.folder), "output": str(folder / "report"), **settings}
    runpy.run_path(str(JOB))["main"](ReportConfig.model_validate(config))
    return Site(folder / "report" / "index.html", rows)


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, pseudo_row: Callable[..., dict[str, Any]]
) -> Site:
    """The miniature world, aligned by word links, and rows of every script and verdict."""
    rows = [*_foreign(pseudo_row), *_miniature(pseudo_row)]
    return written(tmp_path_factory.mktemp("report"), "project_corpus", rows)


def _miniature(pseudo_row: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """Real candidates; scores of a teacher that is unsure at random."""
    from xner.engine.stages import Align
    from xner.models.hmm import WordAlignerSettings, train
    from xner.projection.quality import from_alignments

    draw = random.Random(0)
    rows = []
    for lang in ("de", "zh"):
        sentences = list(miniature.sentences("train", 150))
        texts = [(each.texts["en"], each.texts[lang]) for each in sentences]
        with tempfile.TemporaryDirectory() as folder:
            train(texts, ("en", lang), WordAlignerSettings()).aligner.save(Folder.at(folder))
            align = Align(AlignerConfig(links=LinksConfig(model=folder)))
            mentions = [
                [Mention(m.start, m.end, m.label, _score(draw)) for m in each.mentions["en"]]
                for each in sentences
            ]
            pairs = [
                {
                    "pair_id": "",
                    "corpus": "",
                    "source_lang": "en",
                    "target_lang": lang,
                    "source": source,
                    "target": target,
                    "source_mentions": [asdict(mention) for mention in of_row],
                }
                for (source, target), of_row in zip(texts, mentions, strict=True)
            ]
            table = pa.Table.from_pylist(pairs, schema=LABELLED)
            found = align(table)["alignments"].to_pylist()
        for number, ((source, target), of_row) in enumerate(zip(texts, mentions, strict=True)):
            candidates = from_alignments(found[number], len(of_row))
            if len(of_row) > 1 and draw.random() < 0.3:
                # One name twice, or two that want the same place.
                candidates[-1] = candidates[0]
            rows.append(
                pseudo_row(
                    f"{lang}-{number}",
                    of_row,
                    candidates,
                    source,
                    target,
                    QUALITY,
                    target_lang=lang,
                    corpus=("News", "Talks")[number % 2],
                )
            )
    return rows


def _score(draw: random.Random) -> float:
    return draw.choice([1.0, draw.randrange(2048, 4097) / 4096])


def _foreign(pseudo_row: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """Hostile text, letters of two units, right to left, no spaces, and rows in error."""

    def row(pair_id: str, source: str, target: str, *names: tuple[str, str], **more: Any) -> Any:
        mentions, candidates = [], []
        for name, place in names:
            start, there = source.index(name), target.index(place)
            mentions.append(Mention(start, start + len(name), "PER", 0.9375))
            candidates.append(
                [
                    Candidate(there, there + len(place), 0.75, "aligner"),
                    # Half of it loses.
                    Candidate(there, there + max(1, len(place) // 2), 0.25, "aligner"),
                ]
            )
        return pseudo_row(pair_id, mentions, candidates, source, target, QUALITY, **more)

    return [
        row("evil", f"{EVIL} Anna", f"{EVIL} Anna", ("Anna", "Anna"), corpus=EVIL),
        row("emoji", "😀😀 Anna 👩‍👩‍👧 left", "👍🏽 ging Anna 😀", ("Anna", "Anna")),
        row("arabic", "Anna met Omar", "التقت آنا عمر", ("Anna", "آنا"), ("Omar", "عمر"),
            target_lang="ar"),
        row("thai", "Somchai went to Bangkok", "สมชายไปกรุงเทพ", ("Somchai", "สมชาย"),
            target_lang="th"),
        row("twice", "Barratt spoke", "巴拉特（Barratt）说", ("Barratt", "巴拉特（Barratt）"),
            target_lang="zh"),
        pseudo_row("empty", target=""),
        pseudo_row("unplaced", [Mention(0, 4, "PER", 1.0)], [[]]),
        pseudo_row("broken") | {"status": "error", "reason": "a_later_reason"}
        | dict.fromkeys(["source_mentions", "alignments", "mentions", "weight"]),
    ]  # fmt: skip
