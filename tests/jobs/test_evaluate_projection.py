"""The evaluation job on made gold, with models of random weights: only copies are placed."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tomli_w

from xner.config import EvaluateProjectionConfig
from xner.corpora import miniature
from xner.errors import ConfigError, DataError
from xner.evaluation.projection import evaluate
from xner.evaluation.projection_gold import read_gold
from xner.evaluation.projection_run import (
    compare,
    project_gold,
    read_predictions,
    write_predictions,
)
from xner.projection.decode import verbatim
from xner.shards.schema import PSEUDO
from xner.shards.storage import Folder
from xner.text.words import segment

PROJECT = Path(__file__).resolve().parents[2]
NUM_PAIRS = 60


@pytest.fixture
def made(models: Path, tmp_path: Path) -> Callable[..., EvaluateProjectionConfig]:
    """The settings of an evaluation that places verbatim copies and nothing else."""
    for lang in ("en", "de"):
        miniature.write_tagged(tmp_path / f"{lang}.conll", "test", lang, NUM_PAIRS)

    def config(**settings: Any) -> EvaluateProjectionConfig:
        values = {
            "source": {"path": str(tmp_path / "en.conll"), "lang": "en"},
            "target": {"path": str(tmp_path / "de.conll"), "lang": "de"},
            "aligner": {
                "model": str(models / "packed"),
                "precision": "fp32",
                "threshold": 1.0,
                "exact_match": True,
            },
            "bootstrap": {"samples": 100},
            "output": str(tmp_path / "out"),
        }
        return EvaluateProjectionConfig.model_validate({**values, **settings})

    return config


def job(step: str, config: EvaluateProjectionConfig) -> Any:
    return runpy.run_path(str(PROJECT / "jobs" / "evaluate_projection.py"))[step](config)


@pytest.mark.slow
def test_evaluate_projection_scores_and_compares(
    made: Callable[..., EvaluateProjectionConfig], tmp_path: Path
) -> None:
    config = made()
    gold = read_gold(config.source, config.target)
    places = [
        verbatim(pair.source[mention.start : mention.end], pair.target, segment(pair.target))
        for pair in gold
        for mention in pair.source_mentions
    ]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
    command = [sys.executable, "jobs/evaluate_projection.py", str(recipe)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    scores = summary["typed"]
    num_found = scores["true_positives"] + scores["false_positives"]
    assert 0 < num_found <= sum(place is not None for place in places)
    assert scores["precision"] > 0.9 > scores["recall"]
    assert summary["ceiling"]["f1"] == 1.0
    assert summary["by_rendering"]["copied"]["recall"] > 0.9
    assert summary["by_rendering"]["translated"]["true_positives"] == 0
    assert "evaluate_projection" in done.stdout and "no_candidate" in done.stdout
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.num_rows == NUM_PAIRS and set(PSEUDO.names) < set(table.column_names)

    # The same again, without the copies, tested against the first.
    aligner = config.aligner.model_copy(update={"exact_match": False})
    again = made(aligner=aligner, compare=config.output, output=str(tmp_path / "again"))
    job("main", again)
    comparison = json.loads((tmp_path / "again" / "summary.json").read_text())["comparison"]
    assert comparison["with"] == config.output
    assert comparison["typed"]["f1"] == pytest.approx(-scores["f1"])
    assert comparison["typed"]["p"] == pytest.approx(2 / 101)


def test_evaluate_projection_says_what_it_would_do(
    made: Callable[..., EvaluateProjectionConfig], tmp_path: Path
) -> None:
    assert "target mentions that cut words" in job("plan", made())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["plan", "main"])
def test_evaluate_projection_tells_of_a_wrong_aligner_before_a_teacher_labels(
    made: Callable[..., EvaluateProjectionConfig], tmp_path: Path, step: str
) -> None:
    config = made(
        aligner={"links": {"model": str(tmp_path)}}, mentions="teacher", teacher={"model": "none"}
    )
    with pytest.raises(ConfigError, match=r"no word_aligner\.json"):
        job(step, config)


@pytest.mark.parametrize("step", ["plan", "main"])
def test_evaluate_projection_does_not_write_into_the_folder_of_a_run(
    made: Callable[..., EvaluateProjectionConfig], tmp_path: Path, step: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text('{"job": "relabel"}')
    with pytest.raises(ConfigError, match="out: belongs to a run of relabel; choose another"):
        job(step, made())


def test_evaluate_projection_tells_what_it_cannot_write_before_a_teacher_labels(
    made: Callable[..., EvaluateProjectionConfig], read_only: None
) -> None:
    with pytest.raises(ConfigError, match="no permission"):
        job("main", made(mentions="teacher", teacher={"model": "none"}))


def test_evaluate_projection_projects_what_a_teacher_finds(
    made: Callable[..., EvaluateProjectionConfig], models: Path
) -> None:
    config = made(mentions="teacher", teacher={"model": str(models / "teacher")})
    gold = read_gold(config.source, config.target)
    table = project_gold(gold, config.aligner, config.quality, config.teacher)
    own = [[(m.start, m.end) for m in pair.source_mentions] for pair in gold]
    found = [[(m["start"], m["end"]) for m in row] for row in table["source_mentions"].to_pylist()]
    assert any(found) and found != own
    few = read_gold(config.source, config.target, labels=["PER"])
    with pytest.raises(ConfigError, match=r"finds LOC.*quality\.labels: PER"):
        project_gold(few, config.aligner, config.quality, config.teacher)
    only = config.quality.model_copy(update={"labels": ["PER"]})
    for row in project_gold(few, config.aligner, only, config.teacher)["mentions"].to_pylist():
        assert {mention["label"] for mention in row} <= {"PER"}


def test_evaluate_projection_takes_a_word_aligner_for_the_languages_of_the_gold(
    made: Callable[..., EvaluateProjectionConfig], word_aligner: Path
) -> None:
    config = made(aligner={"links": {"model": str(word_aligner)}})
    gold = read_gold(config.source, config.target)
    report = evaluate(
        gold,
        project_gold(gold, config.aligner, config.quality),
        config.quality,
        config.bootstrap,
        config.num_examples,
    )
    assert report.typed.overall.f1 > 0.8
    dutch = made(aligner=config.aligner, target={**config.target.model_dump(), "lang": "nl"})
    with pytest.raises(ConfigError, match="for en-de, but the pairs are en-nl;"):
        project_gold(read_gold(dutch.source, dutch.target), dutch.aligner, dutch.quality)


def test_read_predictions_refuses_other_gold_and_other_folders(
    made: Callable[..., EvaluateProjectionConfig], tmp_path: Path
) -> None:
    config = made()
    gold = read_gold(config.source, config.target)
    table = project_gold(gold, config.aligner, config.quality)
    folder = Folder.at(str(tmp_path / "kept"))
    with pytest.raises(DataError, match=r"kept/predictions\.parquet: no such file"):
        read_predictions(folder, gold)
    write_predictions(folder, gold, table)
    kept = read_predictions(folder, gold)
    assert compare(gold, table, kept, config.bootstrap).typed.f1 == 0.0
    with pytest.raises(DataError, match="60 pairs whose source is not that of these 59"):
        read_predictions(folder, gold[1:])
    other = read_gold(config.source, config.target, labels=["PER"])
    with pytest.raises(DataError, match="whose gold_mentions is not that"):
        read_predictions(folder, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mentions": "teacher"}, 'mentions = "teacher", but no teacher is given'),
        ({"teacher": {"model": "x"}}, 'mentions = "gold", but a teacher is given'),
        ({"source": {"path": "x", "max_sentences": 5}}, "source.max_sentences: a sample"),
        ({"source": {"path": "x", "repeat": 2}}, "source: repeat is for sources that are trained"),
        ({"target": {"path": "x", "replacements": 1}}, "target: replacements is for sources"),
        ({"target": {"path": "x", "label_map": {"MISC": "?"}}}, "target: label_map: \\? is for"),
    ],
)
def test_evaluate_projection_refuses_settings_that_contradict(
    made: Callable[..., EvaluateProjectionConfig], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(**settings)
