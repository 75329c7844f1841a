"""A poisoned row on its way through every job: marked, conserved, never learned from."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from xner.config import (
    ExportConfig,
    LinksConfig,
    ProjectConfig,
    RefilterConfig,
    RelabelConfig,
    TaggedSourceConfig,
)
from xner.corpora.tagged import read_tagged
from xner.models.tagger import Tagger
from xner.projection import evidence
from xner.shards import schema
from xner.shards.storage import Folder
from xner.text.pairs import SentencePair

PROJECT = Path(__file__).resolve().parents[2]


def run(job: str, config: Any) -> Folder:
    runpy.run_path(str(PROJECT / "jobs" / f"{job}.py"))["main"](config)
    return Folder.at(config.output)


def table_of(folder: Folder) -> pa.Table:
    names = folder.names(".parquet")
    return pa.concat_tables([folder.read_table(name, schema.PSEUDO) for name in names])


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Sources for which the teacher or a student raises, targets for which the aligner does."""
    bad: dict[str, set[str]] = {"label": set(), "align": set()}
    label, weigh = Tagger.label, evidence.candidates_by_evidence

    def labelling(self: Tagger, texts: Sequence[str]) -> Any:
        if bad["label"] & set(texts):
            raise IndexError("a word too many")
        return label(self, texts)

    def weighing(pairs: Sequence[SentencePair], *arguments: Any) -> Any:
        if bad["align"] & {pair.target for pair in pairs}:
            raise ZeroDivisionError
        return weigh(pairs, *arguments)

    monkeypatch.setattr(Tagger, "label", labelling)
    monkeypatch.setattr("xner.engine.stages.candidates_by_evidence", weighing)
    return bad


@pytest.fixture
def one_shard(pairs: Path, tmp_path: Path) -> Iterator[tuple[pa.Table, Callable[..., Path]]]:
    """A shard's pairs, and what writes some of them into a folder."""
    given = Folder.at(str(pairs / "en-de"))
    table = given.read_table(given.names(".parquet")[0], schema.PAIRS)

    def write(rows: pa.Table, name: str) -> Path:
        Folder.at(str(tmp_path / name)).publish_table("0.parquet", rows)
        return tmp_path / name

    yield table, write


def test_poisoned_rows_are_marked_conserved_and_never_learned_from(
    project_config: Callable[..., ProjectConfig],
    models: Path,
    word_aligner: Path,
    poison: dict[str, set[str]],
    one_shard: tuple[pa.Table, Callable[..., Path]],
    tmp_path: Path,
) -> None:
    table, write = one_shard
    bad = {3: "label: IndexError", 17: "align: ZeroDivisionError"}
    poison["label"].add(table["source"][3].as_py())
    poison["align"].add(table["target"][17].as_py())
    sound = pa.array([number not in bad for number in range(table.num_rows)])

    def project(rows: pa.Table, name: str) -> Folder:
        made = project_config(tmp_path / name, pairs=str(write(rows, f"{name}-pairs")))
        links = LinksConfig.model_validate({"model": str(word_aligner)})
        aligner = made.aligner.model_copy(update={"links": links})
        return run("project_corpus", made.model_copy(update={"aligner": aligner}))

    made = project(table, "poisoned")
    after = table_of(made)
    assert after.select(schema.PAIRS.names).equals(table)
    assert [each for each in after["error"].to_pylist() if each] == list(bad.values())
    for number in bad:
        row = after.to_pylist()[number]
        assert (row["status"], row["reason"]) == ("error", "stage_error")
        assert (row["mentions"], row["tokens"], row["ner_tags"], row["weight"]) == ([], [], [], 0)
    # Word links are learned from the shard: the rest is as if these rows had never been there.
    assert after.filter(sound).equals(table_of(project(table.filter(sound), "without")))
    summary = made.read_json("summary.json")
    assert summary["status"]["error"] == summary["reasons"]["stage_error"] == 2
    assert sum(summary["status"].values()) == summary["rows"] == table.num_rows

    # A job without a model would find nothing wrong with them, nor would another model.
    poison["label"].clear()
    quality = {"min_teacher_score": 0.0, "min_alignment_score": 0.0, "max_unplaced": 99}
    values = {"pseudo": str(made), "engine": {"kind": "inline"}}
    refiltered = run(
        "refilter",
        RefilterConfig.model_validate(
            {**values, "output": str(tmp_path / "refiltered"), "quality": quality}
        ),
    )
    student = {"model": str(models / "teacher"), "precision": "fp32"}
    asked = {**values, "student": student, "combine": "student", "min_student_score": 0.0}
    relabelled = run(
        "relabel", RelabelConfig.model_validate({**asked, "output": str(tmp_path / "relabelled")})
    )
    for folder in (refiltered, relabelled):
        found = table_of(folder)
        assert found.num_rows == table.num_rows
        assert found.filter(pc.invert(sound)).equals(after.filter(pc.invert(sound)))
    texts = {table["target"][number].as_py() for number in bad}
    for folder in (made, refiltered, relabelled):
        learned = read_tagged(TaggedSourceConfig(path=str(folder), format="pseudo"))
        assert learned and texts.isdisjoint(sentence.text for sentence in learned)
    for status, num_rows in (("ok", summary["status"]["ok"]), ("error", 2)):
        output = str(tmp_path / f"export-{status}")
        exported = run(
            "export", ExportConfig(pseudo=str(made), output=output, format="jsonl", status=[status])
        )
        assert exported.read_json("summary.json")["rows"] == num_rows

    # Of those that a student cannot take, the labels go too.
    poison["label"].add(next(text for text in after["target"].to_pylist() if text not in texts))
    again = table_of(
        run("relabel", RelabelConfig.model_validate({**asked, "output": str(tmp_path / "again")}))
    )
    assert set(filter(None, again["error"].to_pylist())) == {*bad.values(), "relabel: IndexError"}
    assert [row["mentions"] for row in again.to_pylist() if row["error"]] == [[], [], []]


def test_shards_from_before_errors_were_kept_are_read_as_they_were(
    project_config: Callable[..., ProjectConfig],
    models: Path,
    one_shard: tuple[pa.Table, Callable[..., Path]],
    tmp_path: Path,
) -> None:
    table, write = one_shard
    made = run("project_corpus", project_config(tmp_path / "new", pairs=str(write(table, "given"))))
    old = Folder.at(str(tmp_path / "old"))
    kept = made.read_table("0.parquet").drop_columns("error")
    old.publish_table("0.parquet", kept, made.read_footer("0.parquet"))
    old.publish_json("run.json", {**made.read_json("run.json"), "schema_version": 2})
    student = {"model": str(models / "teacher"), "precision": "fp32"}
    for job, record, settings in (
        ("refilter", RefilterConfig, {"quality": {"min_alignment_score": 0.5}}),
        ("relabel", RelabelConfig, {"student": student}),
        ("export", ExportConfig, {"format": "datasets", "status": ["ok", "filtered"]}),
    ):
        found = []
        for pseudo in (made, old):
            output = str(tmp_path / f"{job}-{pseudo.name}")
            engine = {} if job == "export" else {"engine": {"kind": "inline"}}
            values = {"pseudo": str(pseudo), "output": output, **engine, **settings}
            written = run(job, record.model_validate(values))
            found += [written.read_table(name) for name in written.names(".parquet")]
        assert found[0].equals(found[1]) and found[0].num_rows > 10
