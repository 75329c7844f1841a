"""A round of self-training on made shards, with models that are small and untrained."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from xner.config import RefilterConfig, RelabelConfig, TaggedSourceConfig
from xner.corpora.tagged import read_tagged
from xner.engine.recipes import CorpusRefiltering, CorpusRelabelling
from xner.engine.stages import labels_in
from xner.errors import ConfigError, DataError
from xner.projection.combine import REASONS
from xner.shards import schema
from xner.shards.storage import Folder
from xner.text.iob2 import encode, tags_of
from xner.text.mentions import Mention
from xner.text.words import segment

JOB = Path(__file__).parents[2] / "jobs" / "relabel.py"


@pytest.fixture
def recipe(models: Path, pseudo: Path, tmp_path: Path) -> Callable[..., RelabelConfig]:
    def make(**settings: object) -> RelabelConfig:
        values: dict[str, object] = {
            "pseudo": str(pseudo),
            "output": str(tmp_path / "again"),
            "student": {"model": str(models / "teacher"), "precision": "fp32"},
            "min_student_score": 0.1,
            "engine": {"kind": "inline"},
        }
        return RelabelConfig.model_validate({**values, **settings})

    return make


def table_of(folder: Path | str) -> pa.Table:
    where = Folder.at(str(folder))
    tables = [where.read_table(name, schema.PSEUDO) for name in where.names(".parquet")]
    return pa.concat_tables(tables)


@pytest.mark.parametrize("how", ["agreement", "student", "union"])
def test_relabel_conserves_rows_and_what_projection_said(
    recipe: Callable[..., RelabelConfig], pseudo: Path, how: str
) -> None:
    config = recipe(combine=how)
    runpy.run_path(str(JOB))["main"](config)
    before, after = table_of(pseudo), table_of(config.output)
    assert after.select(schema.ALIGNED.names).equals(before.select(schema.ALIGNED.names))
    assert before.num_rows > 100
    (name, *_) = Folder.at(config.output).names(".parquet")
    tags = tags_of(labels_in(Folder.at(config.output).read_footer(name)))
    for row in after.to_pylist():
        assert (row["reason"] is None) == (row["status"] == "ok")
        assert row["reason"] is None or row["reason"] in REASONS
        mentions = [Mention(m["start"], m["end"], m["label"]) for m in row["mentions"]]
        assert [tags[number] for number in row["ner_tags"]] == encode(
            mentions, segment(row["target"])
        )
    changed = sum(
        old != new
        for old, new in zip(
            before["mentions"].to_pylist(), after["mentions"].to_pylist(), strict=True
        )
    )
    assert (changed > 0) == (how != "agreement")
    summary = json.loads((Path(config.output) / "summary.json").read_text())
    assert summary["rows"] == before.num_rows
    assert sum(summary["reasons"].values()) + summary["status"].get("ok", 0) == before.num_rows


def test_relabel_of_what_the_student_said_agrees_with_the_student(
    recipe: Callable[..., RelabelConfig], tmp_path: Path
) -> None:
    first, second = (
        recipe(combine="student"),
        recipe(pseudo=str(tmp_path / "again"), output=str(tmp_path / "third"), combine="agreement"),
    )
    main = runpy.run_path(str(JOB))["main"]
    main(first)
    main(second)
    assert table_of(first.output).equals(table_of(second.output))
    assert "ok" in table_of(first.output)["status"].to_pylist()
    sentences = read_tagged(TaggedSourceConfig(path=second.output, format="pseudo"))
    assert any(tag != "O" for sentence in sentences for tag in sentence.tags)


def test_relabel_goes_on_where_it_stopped_and_knows_its_settings(
    recipe: Callable[..., RelabelConfig], pseudo: Path
) -> None:
    config = recipe()
    relabelling = CorpusRelabelling.plan(config)
    relabelling.run.open()
    results = relabelling.run_pending()
    first = next(iter(results)).name
    assert CorpusRelabelling.plan(config).run.pending(Folder.at(str(pseudo)))[0] != first
    done = [result.name for result in CorpusRelabelling.plan(config).run_pending()]
    assert sorted([first, *done]) == Folder.at(str(pseudo)).names(".parquet")
    with pytest.raises(ConfigError, match=r"student\.combine"):
        CorpusRelabelling.plan(recipe(combine="union")).run.open()
    record = json.loads((Path(config.output) / "run.json").read_text())
    assert record["teacher"]["content"] == record["student"]["content"]


def test_relabel_and_refilter_know_the_run_of_one_language(
    recipe: Callable[..., RelabelConfig], pseudo: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(pseudo, whole / "en-de")
    (whole / "en-de" / "run.json").rename(whole / "run.json")
    config = recipe(pseudo=str(whole / "en-de"))
    relabelling = CorpusRelabelling.plan(config)
    relabelling.run.open()
    next(iter(relabelling.run_pending()))
    given = {"pseudo": config.pseudo, "output": str(tmp_path / "view"), "quality": {}}
    refiltering = CorpusRefiltering.plan(RefilterConfig.model_validate(given))
    refiltering.run.open()
    made_by = json.loads((whole / "run.json").read_text())
    for run in (relabelling.run, refiltering.run):
        assert run.folder.read_json("run.json")["teacher"] == made_by["teacher"]
    # Projected again by other rules, into the same place.
    (whole / "run.json").write_text(json.dumps({**made_by, "fingerprint": "another"}))
    with pytest.raises(ConfigError, match=r"pseudo: there .*now \"another/en-de\""):
        CorpusRelabelling.plan(config).run.open()


@pytest.mark.parametrize("torn", [0, 1])
def test_relabel_and_refilter_report_a_torn_shard_and_go_on(
    recipe: Callable[..., RelabelConfig], pseudo: Path, tmp_path: Path, torn: int
) -> None:
    some = tmp_path / "some"
    shutil.copytree(pseudo, some)
    names = Folder.at(str(some)).names(".parquet")
    (some / names[torn]).write_bytes((some / names[torn]).read_bytes()[:-30])
    given = {"pseudo": str(some), "output": str(tmp_path / "view"), "engine": {"kind": "inline"}}
    for config in (recipe(pseudo=str(some)), RefilterConfig.model_validate(given)):
        job = JOB if isinstance(config, RelabelConfig) else JOB.with_name("refilter.py")
        with pytest.raises(DataError, match=rf"1 shards have no output:\s*.*{names[torn]}"):
            runpy.run_path(str(job))["main"](config)
        assert len(Folder.at(config.output).names(".parquet")) == len(names) - 1


def test_relabel_refuses_what_is_no_pseudo_labelled_shard(
    recipe: Callable[..., RelabelConfig], pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="its footer does not name the tags"):
        CorpusRelabelling.plan(recipe(pseudo=str(pairs)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no shards"):
        CorpusRelabelling.plan(recipe(pseudo=str(tmp_path / "empty")))
    with pytest.raises(ConfigError, match=r"^output .*again: is, holds or lies in pseudo"):
        CorpusRelabelling.plan(recipe(output=f"{recipe().pseudo}/again"))


def test_relabel_reports_shards_whose_tags_another_run_numbered_otherwise(
    recipe: Callable[..., RelabelConfig], pseudo: Path, tmp_path: Path
) -> None:
    both, (name, *_) = tmp_path / "both", Folder.at(str(pseudo)).names(".parquet")
    table, footer = table_of(pseudo), Folder.at(str(pseudo)).read_footer(name)
    labels = labels_in(footer)
    for run, order in (("en-de", labels), ("en-es", labels[::-1])):
        tags = tags_of(order)
        numbers = [
            [tags.index(tags_of(labels)[number]) for number in row]
            for row in table["ner_tags"].to_pylist()
        ]
        column = pa.array(numbers, schema.PSEUDO.field("ner_tags").type)
        place = table.schema.get_field_index("ner_tags")
        numbered = table.set_column(place, schema.PSEUDO.field("ner_tags"), column)
        Folder.at(str(both)).publish_table(
            f"{run}/0.parquet", schema.with_tag_names(numbered, tags)
        )
    config = recipe(pseudo=str(both))
    with pytest.raises(DataError, match=r"1 shards have no output:\s*.*en-es/0\.parquet: its tags"):
        runpy.run_path(str(JOB))["main"](config)
    assert Folder.at(config.output).names(".parquet") == ["en-de/0.parquet"]
