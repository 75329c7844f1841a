"""The study from end to end on the miniature world: undisturbed, and killed and resumed.

`XNER_STUDY=full` (make study-smoke) takes the whole grid of 64 students; otherwise a part of it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w

from xner.command_line import load
from xner.config import PrepareConfig, StudyConfig
from xner.corpora import miniature
from xner.engine.recipes import CorpusPreparation
from xner.models.tiny import new_encoder_folder
from xner.shards.schema import ALIGNMENT_EXAMPLES
from xner.shards.storage import Folder

if TYPE_CHECKING:
    from xner.evaluation.study_run import StudyRun

PROJECT = Path(__file__).resolve().parents[2]
IS_FULL = os.environ.get("XNER_STUDY") == "full"
LANG = "de"
GRID: dict[str, Any] = {
    # Beside entity aligners of a few steps, which place nothing by themselves.
    "aligners": [
        {"layout": "single", "links": {"kind": "hmm"}},
        {"layout": "packed", "links": {"kind": "hmm"}},
    ],
    "losses": [{"name": "cross_entropy"}, {"name": "opposite_focal"}],
    "initialisations": ["encoder", "teacher"],
    "sizes": [60, 120],
    "seeds": [0, 1],
}
SMALL: dict[str, Any] = {
    "losses": [{"name": "opposite_focal"}],
    "initialisations": ["teacher"],
    "sizes": [60],
}


def make_world(folder: Path) -> None:
    """Pairs, labelled text, alignment examples and two encoders, all of the miniature world."""
    miniature.write_moses(folder / "opus", 150, target_langs=[LANG])
    preparation = CorpusPreparation.plan(
        PrepareConfig.model_validate(
            {
                "target_langs": [LANG],
                "opus": {"root": str(folder / "opus"), "corpora": list(miniature.CORPORA)},
                "shard_pairs": 150,
                "output": str(folder / "pairs"),
                "engine": {"kind": "inline"},
            }
        )
    )
    preparation.run.open()
    preparation.run_pending(lambda count: None)
    miniature.write_tagged(folder / "train.en.conll", "train", "en", 400, seed=1)
    miniature.write_tagged(folder / "train.de.conll", "train", LANG, 120, seed=2)
    miniature.write_tagged(folder / "test.de.conll", "test", LANG, 60)
    examples = list(miniature.alignment_examples("train", 200, LANG))
    table = pa.Table.from_pylist(examples, schema=ALIGNMENT_EXAMPLES)
    Folder.at(str(folder)).publish_table("examples/de.parquet", table)
    texts = [text for each in miniature.sentences("train", 200) for text in each.texts.values()]
    for seed in (0, 1):
        new_encoder_folder(texts, folder / f"encoder-{seed}", seed)


def recipe(folder: Path, output: Path, **grid: Any) -> dict[str, Any]:
    """A study of this world as settings; ``grid`` is laid over the grid."""
    training: Mapping[str, Any] = {"batch_tokens": 512, "learning_rate": 2e-3, "dev_share": 0.1}
    return {
        "grid": {"encoders": [str(folder / f"encoder-{seed}") for seed in (0, 1)], **GRID, **grid},
        "languages": [
            {
                "lang": LANG,
                "pairs": str(folder / "pairs" / f"en-{LANG}"),
                "gold": [{"name": "mini", "path": str(folder / "test.de.conll"), "lang": LANG}],
                "train": [{"path": str(folder / "train.de.conll"), "lang": LANG}],
            }
        ],
        "teacher": {
            "data": [{"path": str(folder / "train.en.conll")}],
            "optimization": {**training, "epochs": 3},
        },
        "aligner": {
            "examples": [str(folder / "examples")],
            "optimization": {**training, "epochs": 1, "max_steps": 10},
        },
        "student": {**training, "epochs": 2},
        # What models of a few steps find is wrong, and shall be learned from all the same.
        "quality": {"min_teacher_score": 0.0, "min_alignment_score": 0.0, "max_unplaced": 9},
        "max_length": 128,
        "bootstrap": {"samples": 200},
        "output": str(output),
        "engine": {"kind": "inline"},
    }


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    make_world(folder)
    return folder


def command(world: Path, output: Path) -> list[str]:
    settings = recipe(world, output, **({} if IS_FULL else SMALL))
    path = output.with_suffix(".toml")
    path.write_text(tomli_w.dumps(settings))
    return [sys.executable, str(PROJECT / "jobs" / "run_study.py"), str(path)]


def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(arguments, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def scores_in(output: Path) -> dict[str, float]:
    """The modification times of the scores of finished cells, by step; of one gold set."""
    # Whoever is killed while it writes leaves a file whose name begins with `_`.
    paths = list(output.glob("steps/*/scores/[!_]*"))
    found = {path.parts[-3]: path.stat().st_mtime_ns for path in paths}
    assert len(found) == len(paths)
    return found


TIMES = ["training_seconds", "scoring_seconds"]


def results_of(output: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(output / "results.parquet").drop_columns(TIMES).to_pylist()
    return list(rows)


def test_run_study_knows_what_it_reads_by_content_and_whole_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xner.evaluation.study_run import data_at, model_at

    monkeypatch.chdir(tmp_path)
    Path("pairs").mkdir()
    shard = Path("pairs", "0.parquet")
    found = []
    # A label that was put right changes no size.
    for content in (b"B-PER", b"B-LOC"):
        shard.write_bytes(content)
        found.append(data_at("pairs"))
    assert found[0].content != found[1].content
    assert {each.location for each in found} == {str(tmp_path / "pairs")}
    encoder = new_encoder_folder(["one text"], Path("encoder"), 0)
    before = model_at("encoder")
    assert before.location == str(tmp_path / "encoder")
    (encoder / "config.json").write_bytes((encoder / "config.json").read_bytes() + b" ")
    assert model_at("encoder").content != before.content


def test_run_study_refuses_pairs_of_another_language(tmp_path: Path) -> None:
    from xner.errors import ConfigError
    from xner.evaluation.study_run import StudyRun

    settings = recipe(tmp_path, tmp_path / "out")
    rows = [{"source_lang": "en", "target_lang": "nl"}]
    Folder.at(str(tmp_path)).publish_table("pairs/en-de/0.parquet", pa.Table.from_pylist(rows))
    with pytest.raises(ConfigError, match=r"languages, de: pairs .*0\.parquet are en-nl"):
        StudyRun.plan(StudyConfig.model_validate(settings))


def supervised_alone(settings: Mapping[str, Any]) -> StudyRun:
    """Of a study that reads nothing but gold the first supervised model, which stands there."""
    from xner.evaluation.study import Input, Study, plan
    from xner.evaluation.study_run import StudyRun

    config = StudyConfig.model_validate(settings)
    planned = plan(config, *[lambda name: Input(name, name)] * 2)
    cell = next(cell for cell in planned.cells if cell.system == "supervised")
    step = planned.steps[planned.cells[cell]]
    steps = Folder.at(config.output) / "steps"
    steps.publish_json(f"{step.name}/model/data.json", {"data": [{"sentences": 9}], "dev": []})
    return StudyRun(config, Study({cell: step.name}, {step.name: step}, {}), steps)


def test_run_study_counts_what_a_training_took_before_its_process_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model stands already, and its summary tells of all the processes that it took."""
    from xner.evaluation import study_run

    miniature.write_tagged(tmp_path / "test.de.conll", "test", LANG, 3)
    run = supervised_alone(recipe(tmp_path, tmp_path / "out"))
    monkeypatch.setattr(study_run, "_train_tagger", lambda recipe: {"seconds": 100.0})
    monkeypatch.setattr(study_run, "predict", lambda model, gold, engine: [g.tags for g in gold])
    run(*run.pending())
    (result,) = run.results()
    assert (result.scores.f1, result.sentences) == (1.0, 9)
    assert result.training_seconds == 100.0 and result.scoring_seconds > 0


def test_run_study_scores_a_model_on_the_gold_that_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xner.evaluation import study_run

    asked: list[int] = []

    def predict(model: object, gold: Sequence[Any], engine: object) -> list[Any]:
        asked.append(len(gold))
        return [["O"] * len(each.tags) for each in gold]

    monkeypatch.setattr(study_run, "_train_tagger", lambda recipe: {"seconds": 100.0})
    monkeypatch.setattr(study_run, "predict", predict)
    miniature.write_tagged(tmp_path / "test.de.conll", "test", LANG, 3)
    miniature.write_tagged(tmp_path / "more.de.conll", "test", LANG, 4)
    settings = recipe(tmp_path, tmp_path / "out")
    for keep, names in ((True, ["mini"]), (True, ["mini", "more"]), (False, ["more", "mini"])):
        first = settings["languages"][0]["gold"][0]
        paths = {"mini": first["path"], "more": str(tmp_path / "more.de.conll")}
        settings["languages"][0]["gold"] = [
            {**first, "name": name, "path": paths[name]} for name in names
        ]
        run = supervised_alone({**settings, "keep_models": keep})
        for name in run.pending():
            run(name)
        assert [(each.gold, len(each.counts)) for each in run.results()] == [
            (name, {"mini": 3, "more": 4}[name]) for name in names
        ]
    assert asked == [3, 4]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_run_study_killed_and_resumed_equals_undisturbed(world: Path, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    run(command(world, undisturbed))
    num_cells = len(scores_in(undisturbed))
    students = 64 if IS_FULL else 8
    assert num_cells == students + 2 + 4

    arguments = command(world, killed)
    with subprocess.Popen(
        arguments, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while len(scores_in(killed)) < num_cells // 2:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    before = scores_in(killed)
    assert num_cells // 2 <= len(before) < num_cells
    assert not (killed / "results.parquet").exists()
    job = runpy.run_path(str(PROJECT / "jobs" / "run_study.py"))
    again = load(StudyConfig, arguments[-1])
    assert job["plan"](again)["cells pending"] == str(num_cells - len(before))

    run(arguments)
    after = scores_in(killed)
    assert len(after) == num_cells
    assert {name: after[name] for name in before} == before
    # The same names of steps, the same figures, to the last sentence.
    assert results_of(killed) == results_of(undisturbed)
    assert all(
        pq.read_table(killed / "steps" / name / "scores").equals(
            pq.read_table(undisturbed / "steps" / name / "scores")
        )
        for name in after
    )
    # Nothing to do: nothing is done.
    job["main"](again)
    assert scores_in(killed) == after


@pytest.mark.slow
def test_run_study_on_ray_reports_and_names_what_failed(
    world: Path, tmp_path: Path, local_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from xner.errors import DataError

    job = runpy.run_path(str(PROJECT / "jobs" / "run_study.py"))
    settings = recipe(
        world,
        tmp_path / "out",
        encoders=[str(world / "encoder-0")],
        aligners=[{"links": {"kind": "hmm"}}],
        losses=[{"name": "cross_entropy"}],
        initialisations=["teacher"],
        domains=[["MiniatureNews"], ["Nowhere"]],
        seeds=[0],
    )
    settings["engine"] = {"kind": "ray"}
    settings["languages"][0]["train"] = []
    broken = StudyConfig.model_validate(settings)
    cause = r"2 steps failed(.|\n)*student de, .*, Nowhere, seed 0 \(.*no sentences of Nowhere"
    with pytest.raises(DataError, match=cause):
        job["main"](broken)
    # One domain and the reference were scored all the same, are reported, and are found again.
    before = scores_in(tmp_path / "out")
    assert len(before) == 3
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["cells"], summary["cells_without_a_result"]) == (5, 2)
    assert [len(each["systems"]) for each in summary["rankings"]] == [3]

    settings["grid"]["domains"] = [["MiniatureNews"], []]
    whole = StudyConfig.model_validate(settings)
    assert job["plan"](whole)["cells pending"] == "2"
    job["main"](whole)
    after = scores_in(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    (ranking,) = summary["rankings"]
    assert [each["axis"] for each in summary["axes"]] == ["size", "domain"]
    assert len(ranking["systems"]) == 5
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert page.count("<svg") == 2
    assert "F1 against corpus size: de, mini" in page
    assert "direct transfer" in capsys.readouterr().out
    # The weights of students go once they are scored; the teacher's stay.
    assert not list((tmp_path / "out" / "steps").glob("score-*/model"))
    assert list((tmp_path / "out" / "steps").glob("teacher-*/model.safetensors"))
