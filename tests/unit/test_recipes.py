"""The recipes that we ship are whole: they load, and every line of them is a setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from xner import config
from xner.command_line import load

RECIPES = sorted((Path(__file__).resolve().parents[2] / "jobs" / "recipes").glob("*.toml"))

RECORDS = {
    "benchmark": config.BenchmarkConfig,
    "prepare_corpus": config.PrepareConfig,
    "build_alignment_set": config.BuildAlignmentSetConfig,
    "train_teacher": config.TrainTaggerConfig,
    "train_student": config.TrainTaggerConfig,
    "train_aligner": config.TrainAlignerConfig,
    "train_word_aligner": config.TrainWordAlignerConfig,
    "project_corpus": config.ProjectConfig,
    "refilter": config.RefilterConfig,
    "relabel": config.RelabelConfig,
    "export": config.ExportConfig,
    "evaluate_projection": config.EvaluateProjectionConfig,
    "evaluate_tagger": config.EvaluateTaggerConfig,
    "run_study": config.StudyConfig,
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_load(recipe: Path) -> None:
    load(RECORDS[recipe.stem], str(recipe))


def test_recipes_are_one_for_each_kind_of_run() -> None:
    assert {recipe.stem for recipe in RECIPES} == set(RECORDS)
