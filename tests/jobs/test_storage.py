"""Whole jobs on a store that has bad days: the same rows as on a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from xner.config import PrepareConfig, ProjectConfig
from xner.corpora import miniature
from xner.engine.recipes import CorpusPreparation, CorpusProjection
from xner.errors import ConfigError
from xner.models.folders import content_hash, resolve
from xner.shards import schema
from xner.shards.ledger import RUN_FILE
from xner.shards.storage import Folder

BAD_DAY = {"busy": 0.1, "failed": 0.04, "cut": 0.06, "lost": 0.06, "slow": 0.04}


@pytest.fixture(autouse=True)
def home_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies of models lie, for this test alone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "xner"


def upload(local: Path, target: Folder) -> None:
    for file in sorted(local.rglob("*")):
        if file.is_file():
            target.upload(file.relative_to(local).as_posix(), file)


def tables(where: Folder, kind: pa.Schema) -> dict[str, pa.Table]:
    return {name: where.read_table(name, kind) for name in where.names(".parquet")}


def prepare(root: str, output: str) -> CorpusPreparation:
    config = PrepareConfig.model_validate(
        {
            "target_langs": ["de"],
            "opus": {"root": root, "corpora": list(miniature.CORPORA)},
            "shard_pairs": 50,
            "output": output,
            "engine": {"kind": "inline"},
        }
    )
    preparation = CorpusPreparation.plan(config)
    preparation.run.open()
    preparation.run_pending(lambda count: None)
    return preparation


def test_storage_prepares_from_s3_to_s3_as_on_disk(s3: Any, tmp_path: Path) -> None:
    opus = tmp_path / "opus"
    miniature.write_moses(opus, 100, target_langs=["de"])
    upload(opus, Folder.at("s3://bucket/opus"))
    prepare(str(opus), str(tmp_path / "pairs"))
    s3.set(**BAD_DAY)
    prepare("s3://bucket/opus", "s3://bucket/pairs")
    assert s3.num_faults > 1
    made, expected = Folder.at("s3://bucket/pairs"), Folder.at(str(tmp_path / "pairs"))
    assert made.names(".parquet") == expected.names(".parquet") != []
    for name in expected.names(".parquet"):
        assert made.read(name) == expected.read(name)


def test_storage_projects_on_s3_as_on_disk_and_resumes(
    project_config: Callable[..., ProjectConfig],
    models: Path,
    pairs: Path,
    s3: Any,
    tmp_path: Path,
    home_of_models: Path,
) -> None:
    german = pairs / "en-de"
    local = project_config(tmp_path / "out", pairs=str(german))
    projection = CorpusProjection.plan(local)
    projection.run.open()
    expected_names = [result.name for result in projection.run_pending()]
    upload(german, Folder.at("s3://bucket/pairs"))
    for name in ("teacher", "packed"):
        upload(models / name, Folder.at(f"s3://bucket/models/{name}"))
    config = local.model_copy(
        update={
            "pairs": "s3://bucket/pairs",
            "output": "s3://bucket/out",
            "teacher": local.teacher.model_copy(update={"model": "s3://bucket/models/teacher"}),
            "aligner": local.aligner.model_copy(update={"model": "s3://bucket/models/packed"}),
        }
    )
    s3.set(**BAD_DAY)
    first = CorpusProjection.plan(config)
    first.run.open()
    results = first.run_pending()
    committed = [next(results).name, next(results).name]
    results.close()  # type: ignore[attr-defined]
    second = CorpusProjection.plan(config)
    second.run.open()
    rest = [result.name for result in second.run_pending()]
    assert sorted([*committed, *rest]) == sorted(expected_names)
    assert s3.num_faults > 5
    s3.set()
    made, expected = Folder.at("s3://bucket/out"), Folder.at(str(tmp_path / "out"))
    assert tables(made, schema.PSEUDO) == tables(expected, schema.PSEUDO)
    # The models are known by their content, wherever they lie.
    records = [where.read_json(RUN_FILE) for where in (made, expected)]
    differing = {key for key in records[0] if records[0][key] != records[1][key]}
    assert differing == {"pairs", "fingerprint"}
    # Each model was copied once.
    assert len([each for each in home_of_models.iterdir() if each.is_dir()]) == 2


def test_storage_model_is_copied_once_and_by_its_content(
    models: Path, s3: Any, home_of_models: Path
) -> None:
    url, there = "s3://bucket/teacher", Folder.at("s3://bucket/teacher")
    upload(models / "teacher", there)
    there.publish("sub/config.json", b"{}")
    there.publish("pytorch_model.bin", b"a pickle")
    # A key that would be a path elsewhere on this machine.
    there.filesystem.pipe_file("bucket/teacher//etc/x.safetensors", b"")
    s3.set(**BAD_DAY)
    copy = resolve(url)
    assert content_hash(copy) == content_hash(models / "teacher")
    assert not {"pytorch_model.bin", "sub", "x.safetensors"} & {p.name for p in copy.iterdir()}
    s3.set()
    assert resolve(url) == copy
    assert not [request for request in s3.requests if "safetensors" in request]
    # A node that is told the revision asks nothing.
    s3.set()
    assert resolve(url, copy.name) == copy and s3.requests == []

    there.publish("config.json", there.read("config.json") + b"\n")
    assert resolve(url) != copy
    with pytest.raises(ConfigError, match="is not at revision 0 but at"):
        resolve(url, "0")
    assert {each.suffix for each in home_of_models.iterdir()} == {"", ".lock"}


def test_storage_model_that_is_not_there(s3: Any, home_of_models: Path) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/none: no model here"):
        resolve("s3://bucket/none")
    with pytest.raises(ConfigError, match="a web server cannot list a model's files"):
        resolve("https://example.org/model")
    assert not home_of_models.exists()
