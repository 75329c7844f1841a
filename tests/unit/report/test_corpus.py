"""The report of a folder of shards, from its plan to its page."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from xner.config import QualityConfig, ReportConfig
from xner.errors import ConfigError, DataError
from xner.projection.decode import Candidate
from xner.report.census import Census
from xner.report.corpus import CorpusReport
from xner.report.document import Part
from xner.report.sample import Sample
from xner.shards.ledger import Run
from xner.shards.schema import PSEUDO
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder
from xner.text.mentions import Mention

JOB = runpy.run_path(str(Path(__file__).parents[3] / "jobs" / "report.py"))
QUALITY = QualityConfig(min_alignment_score=0.625)
RUN_PARTS = ("The last run", "The cluster")

Rows = Callable[..., dict[str, Any]]


@pytest.fixture
def shards(pseudo_row: Rows) -> Callable[..., Folder]:
    """Writes two shards of three rows, of which one is kept, and their record."""

    def write(location: str, **record: Any) -> Folder:
        anna, place = Mention(0, 4, "PER", 0.875), Candidate(0, 4, 0.75, "copy")
        made = {"quality": QUALITY.model_dump(mode="json"), "teacher": {"model": "a-teacher"}}
        run = Run(Folder.at(location), record.pop("job", "project_corpus"), {**made, **record})
        run.open()
        for number in range(2):
            rows = [
                pseudo_row(f"{number}-kept", [anna], [[place]]),
                pseudo_row(f"{number}-unplaced", [anna], [[]]),
                pseudo_row(f"{number}-empty", [], [], target=""),
            ]
            table = pa.Table.from_pylist(rows, schema=PSEUDO)
            run.commit(f"en-de/{number}.parquet", table, Statistics.of(table))
        return run.folder

    return write


def data_of(page: str) -> Any:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(text)


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_report_is_written_where_the_shards_are(
    shards: Callable[..., Folder], tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = str(tmp_path) if where == "disk" else f"memory://{tmp_path.name}"
    pseudo = shards(f"{base}/pseudo")
    config = ReportConfig(pseudo=str(pseudo), output=f"{base}/report")
    assert JOB["plan"](config)["thresholds to choose"] == "yes"
    JOB["main"](config)
    with fsspec.open(f"{base}/report/index.html", "rt", encoding="utf-8") as file:
        page = file.read()
    data = data_of(page)
    assert data["num_rows"] == len(data["rows"]) == 6
    assert data["rules"] == QUALITY.model_dump(mode="json")
    assert {row["pair_id"] for row in data["rows"]} == {
        f"{number}-{kind}" for number in range(2) for kind in ("kept", "unplaced", "empty")
    }
    kept = next(row for row in data["rows"] if row["pair_id"] == "0-kept")
    assert kept["mentions"] == [[0, 4, "PER", 0.875 * 4096]]
    assert kept["candidates"] == [[[0, 4, 0.75 * 4096, "copy", None]]]
    assert kept["labels"] == [[0, 4, "PER", 0.875 * 4096, 0.75 * 4096, 0]]
    assert 0.625 in data["thresholds"]["grid"]["min_alignment_score"]
    assert data["errors"] == {"no_text": 2}
    assert "a-teacher" in page
    assert "6" in capsys.readouterr().out


def test_report_reads_no_shard_for_what_it_cannot_write(
    shards: Callable[..., Folder], tmp_path: Path
) -> None:
    pseudo = shards(str(tmp_path / "pseudo"))
    pseudo.publish("en-de/0.parquet", b"no Parquet")
    config = ReportConfig(pseudo=str(pseudo), output=f"{pseudo}/run.json/report")
    with pytest.raises(ConfigError, match="a file stands where a folder is expected"):
        JOB["main"](config)


def test_corpus_report_reads_shards_that_have_no_error_column(
    tmp_path: Path, shards: Callable[..., Folder]
) -> None:
    folder = shards(str(tmp_path / "pseudo"))
    for name in folder.names(".parquet"):
        folder.publish_table(name, folder.read_table(name).drop_columns("error"))
    config = ReportConfig(pseudo=folder.location, output=str(tmp_path / "report"))
    census = sum(CorpusReport.plan(config).read(Sample(10, 0)), start=Census())
    assert (census.num_rows, census.num_ok) == (6, 2)


def test_report_of_fewer_rows_is_the_same_each_time(
    shards: Callable[..., Folder], tmp_path: Path
) -> None:
    pseudo = shards(str(tmp_path / "pseudo"))

    def drawn(seed: int) -> Any:
        config = ReportConfig(
            pseudo=str(pseudo), output=str(tmp_path / "report"), max_rows=3, seed=seed
        )
        JOB["main"](config)
        data = data_of((tmp_path / "report" / "index.html").read_text("utf-8"))
        assert data["num_rows"] == 6
        return data["rows"]

    assert drawn(0) == drawn(0)
    assert {row["reason"] for row in drawn(0)} == {None, "unplaced_mention", "no_text"}
    assert any(drawn(0) != drawn(seed) for seed in range(1, 9))


def test_report_tells_what_was_read_before(shards: Callable[..., Folder], tmp_path: Path) -> None:
    languages = {"source_lang": "en", "target_lang": "de"}
    counts = {"read": 90, "refused": {"identical": 4}, "not_sampled": 80, "written": 6}
    archive = {**languages, **counts}
    pairs = Folder.at(str(tmp_path / "pairs"))
    pairs.publish_json("en-de/summary.json", [archive, archive])
    # Of a language that was prepared with it, and is no part of these shards.
    pairs.publish_json("en-zh/summary.json", [{**archive, "target_lang": "zh"}])
    pairs.publish_json("summary.json", {"corpora": [archive, archive], "seconds": 1})
    pseudo = shards(str(tmp_path / "pseudo"))
    config = ReportConfig(pseudo=str(pseudo), output=str(tmp_path), pairs=str(pairs))
    report = CorpusReport.plan(config)

    census = sum(report.read(Sample(9, 0)), start=Census())
    (funnel,) = (part.steps for part in report.parts(census) if part.steps)
    assert [(step.name, step.count, step.is_loss) for step in funnel] == [
        ("pairs read", 180, False),
        ("not sampled", 160, True),
        ("identical", 8, True),
        ("not labelled", 6, True),
        ("pairs labelled", 6, False),
        ("unplaced_mention", 2, True),
        ("error: no_text", 2, True),
        ("pairs kept", 2, False),
    ]
    # The source may be of any language.
    assert not any("English" in part.note for part in report.parts(census))
    left = 0
    for step in funnel:
        assert step.is_loss or not left or step.count == left
        left = left - step.count if step.is_loss else step.count


def test_report_refuses_what_was_read_for_other_pairs(
    shards: Callable[..., Folder], tmp_path: Path
) -> None:
    languages = {"source_lang": "en", "target_lang": "de"}
    archive = {**languages, "read": 9, "refused": {}, "not_sampled": 4, "written": 5}
    pairs = Folder.at(str(tmp_path / "pairs"))
    pairs.publish_json("summary.json", [archive])
    pseudo = shards(str(tmp_path / "pseudo"))
    config = ReportConfig(pseudo=str(pseudo), output=str(tmp_path), pairs=str(pairs))
    with pytest.raises(ConfigError, match="pairs: 5 were written, but 6 are labelled"):
        JOB["main"](config)
    pairs.publish_json("summary.json", [{**archive, "target_lang": "zh"}])
    with pytest.raises(ConfigError, match="pairs: en-zh were prepared, but en-de are labelled"):
        JOB["main"](config)


def test_report_refuses_pairs_that_the_shards_were_not_made_of(
    shards: Callable[..., Folder], tmp_path: Path
) -> None:
    languages = {"source_lang": "en", "target_lang": "de"}
    archive = {**languages, "read": 900, "refused": {}, "not_sampled": 0, "written": 900}
    pairs = Folder.at(str(tmp_path / "pairs"))
    pairs.publish_json("en-de/summary.json", [archive])
    pairs.publish_json("run.json", {"job": "prepare_corpus", "fingerprint": "feed"})
    pseudo = shards(str(tmp_path / "pseudo"), pairs="feed/en-de")
    for location in (str(pairs), f"{pairs}/en-de"):
        config = ReportConfig(pseudo=str(pseudo), output=str(tmp_path), pairs=location)
        JOB["main"](config)
        pairs.publish_json("run.json", {"job": "prepare_corpus", "fingerprint": "beef"})
        with pytest.raises(ConfigError, match=r"pairs .*pseudo was made of other pairs"):
            JOB["main"](config)
        pairs.publish_json("run.json", {"job": "prepare_corpus", "fingerprint": "feed"})


def test_report_tells_of_the_last_run_and_its_cluster(
    shards: Callable[..., Folder], tmp_path: Path
) -> None:
    pseudo = shards(str(tmp_path / "pseudo"))
    config = ReportConfig(pseudo=str(pseudo), output=str(tmp_path))

    def parts(run: object) -> dict[str, Part]:
        pseudo.publish_json("summary.json", {"this_run": run})
        report = CorpusReport.plan(config)
        found = report.parts(sum(report.read(Sample(9, 0)), start=Census()))
        return {part.heading: part for part in found if part.heading in RUN_PARTS}

    run = {
        **{"shards": 2, "rows": 6, "seconds": 90.0, "pairs_per_second": 0.5},
        "seconds_by_step": {"label": 61.0},
        "cluster": [
            {"seconds": 0.0, "nodes": 1, "gpus": 0.0, "actors": {"label": 0}},
            {"seconds": 60.0, "nodes": 3, "gpus": 2.0, "actors": {"label": 2}},
        ],
    }
    found = parts(run)
    assert found["The last run"].figures == {
        **{"shards": 2, "pairs": 6, "time": "1m30s", "pairs a second": 0.5},
        "in label": "1m01s",
    }
    assert found["The cluster"].rows[1] == {
        **{"after": "1m00s", "nodes": 3, "GPUs": 2.0},
        "actors of label": 2,
    }
    assert "actors of label" in str(found["The cluster"].plot)
    # Where the plain loop ran, or nothing was left to do.
    assert list(parts({**run, "cluster": [], "pairs_per_second": None})) == ["The last run"]
    assert parts(None) == {}
    with pytest.raises(DataError, match=r"summary\.json: not as a labelling job writes it"):
        parts({**run, "cluster": [{"nodes": 1}]})


def test_report_of_shards_that_a_student_changed_has_no_thresholds(
    shards: Callable[..., Folder], tmp_path: Path
) -> None:
    pseudo = shards(str(tmp_path / "pseudo"), job="relabel")
    config = ReportConfig(pseudo=str(pseudo), output=str(tmp_path / "report"))
    assert JOB["plan"](config)["thresholds to choose"] == "no"
    JOB["main"](config)
    data = data_of((tmp_path / "report" / "index.html").read_text("utf-8"))
    assert data["rules"] is None and data["thresholds"] is None and len(data["rows"]) == 6


def test_report_refuses_what_it_cannot_read(shards: Callable[..., Folder], tmp_path: Path) -> None:
    def plan(pseudo: object, **settings: Any) -> None:
        CorpusReport.plan(ReportConfig(pseudo=str(pseudo), output=str(tmp_path), **settings))

    with pytest.raises(ConfigError, match="no shards"):
        plan(tmp_path / "nothing")
    strange = shards(str(tmp_path / "strange"), quality={"min_beauty": 1})
    with pytest.raises(DataError, match=r"run\.json: its quality is not as this version"):
        plan(strange)
    pseudo = shards(str(tmp_path / "pseudo"))
    with pytest.raises(ConfigError, match=r"pairs .*no summary\.json of prepare_corpus"):
        plan(pseudo, pairs=str(tmp_path / "nothing"))
    pairs = Folder.at(str(tmp_path / "pairs"))
    pairs.publish_json("en-de/summary.json", [{"read": 1}])
    with pytest.raises(DataError, match=r"en-de/summary\.json: not as prepare_corpus writes it"):
        plan(pseudo, pairs=str(pairs))


def test_report_of_shards_without_rows_is_a_page(tmp_path: Path) -> None:
    run = Run(Folder.at(str(tmp_path / "pseudo")), "project_corpus", {"quality": {}})
    run.open()
    run.commit("en-de/0.parquet", PSEUDO.empty_table(), Statistics())
    JOB["main"](ReportConfig(pseudo=str(tmp_path / "pseudo"), output=str(tmp_path / "report")))
    assert data_of((tmp_path / "report" / "index.html").read_text("utf-8"))["rows"] == []
