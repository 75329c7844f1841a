"""``--dry-run`` of the jobs that go on in their output folder: what they refuse, it refuses."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from xner.config import (
    ExportConfig,
    PrepareConfig,
    ProjectConfig,
    RefilterConfig,
    RelabelConfig,
    TrainAlignerConfig,
    TrainTaggerConfig,
)
from xner.errors import ConfigError
from xner.shards import schema
from xner.shards.ledger import Run
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize(
    "job", ["prepare_corpus", "project_corpus", "relabel", "refilter", "export"]
)
def test_dry_run_refuses_the_folder_of_another_run(
    project_config: Callable[..., ProjectConfig], models: Path, tmp_path: Path, job: str
) -> None:
    pseudo = Folder.at(str(tmp_path / "pseudo"))
    table = schema.with_tag_names(schema.PSEUDO.empty_table(), ["O", "B-LOC", "I-LOC"])
    made_by = Run(pseudo, "project_corpus", {})
    made_by.open()
    made_by.commit("1.parquet", table, Statistics())
    output = tmp_path / "out"
    given = {"pseudo": str(pseudo), "output": str(output)}
    texts = [tmp_path / name for name in ("x.en", "x.de")]
    for text in texts:
        text.write_text("one\n")
    bitext = {"corpus": "X", "target_lang": "de", "path": texts[0], "target_path": texts[1]}
    config = {
        "prepare_corpus": lambda: PrepareConfig.model_validate(
            {
                "target_langs": ["de"],
                "bitexts": [{key: str(value) for key, value in bitext.items()}],
                "output": str(output),
            }
        ),
        "project_corpus": lambda: project_config(output),
        "relabel": lambda: RelabelConfig.model_validate(
            {**given, "student": {"model": str(models / "teacher")}}
        ),
        "refilter": lambda: RefilterConfig.model_validate({**given, "quality": {}}),
        "export": lambda: ExportConfig.model_validate({**given, "format": "jsonl"}),
    }[job]()
    plan = runpy.run_path(str(JOBS / f"{job}.py"))["plan"]
    assert plan(config)
    Run(Folder.at(str(output)), job, {"of": "another"}).open()
    with pytest.raises(ConfigError, match="belongs to another run"):
        plan(config)


def test_dry_run_names_all_files_of_a_corpus(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("old.tmx", "new.tmx")]
    for file in files:
        Path(file).write_text("")
    given = [{"corpus": "Mine", "target_lang": "de", "path": file} for file in files]
    values = {"target_langs": ["de"], "bitexts": given, "output": str(tmp_path / "out")}
    plan = runpy.run_path(str(JOBS / "prepare_corpus.py"))["plan"]
    told = plan(PrepareConfig.model_validate(values))
    assert told == {"Mine en-de": ", ".join(f"{file} (pending)" for file in files)}


def training(job: str, reads: Path, output: Path) -> TrainTaggerConfig | TrainAlignerConfig:
    given = {"encoder": "tiny", "output": str(output), "optimization": {"soup": 2}}
    if job == "train_tagger":
        return TrainTaggerConfig.model_validate({**given, "data": [{"path": str(reads)}]})
    return TrainAlignerConfig.model_validate({**given, "examples": [str(reads)]})


@pytest.mark.parametrize("job", ["train_tagger", "train_aligner"])
def test_dry_run_of_a_training_tells_what_it_reads_and_misses(tmp_path: Path, job: str) -> None:
    plan = runpy.run_path(str(JOBS / f"{job}.py"))["plan"]
    config = training(job, tmp_path / "read", tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"read: no such file, nor a folder with \*\.parquet in it"
    ):
        plan(config)
    (tmp_path / "read").mkdir()
    for number in range(3):
        (tmp_path / "read" / f"part-{number}.parquet").touch()
    told = plan(config)
    assert told["reads (files)"] == f"{tmp_path / 'read'} (3)"
    assert told["output"].endswith("out: train from the start")
    assert told["takes the mean of"] == "2 runs"
    secret = config.model_copy(update={"encoder": "https://me:secret@example.org/encoder"})
    assert plan(secret)["starts from"] == "https://example.org/encoder"


@pytest.mark.parametrize("job", ["train_tagger", "train_aligner"])
@pytest.mark.parametrize("there", ["out/training.json", "out.training/progress.json"])
def test_dry_run_of_a_training_refuses_the_folder_of_another_run(
    tmp_path: Path, job: str, there: str
) -> None:
    (tmp_path / "read").write_text("one\n")
    config = training(job, tmp_path / "read", tmp_path / "out")
    plan = runpy.run_path(str(JOBS / f"{job}.py"))["plan"]
    assert "train from the start" in plan(config)["output"]
    path = tmp_path / there
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    Run(Folder.at(str(tmp_path / there.split("/")[0])), job, {"of": "another"}).open()
    with pytest.raises(ConfigError, match="belongs to another run"):
        plan(config)
