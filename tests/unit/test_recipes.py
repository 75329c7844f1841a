"""The recipes that we ship are whole: they load, and every line of them is a setting."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xner import config
from xner.command_line import load

FOLDER = Path(__file__).resolve().parents[2] / "jobs" / "recipes"
RECIPES = sorted(FOLDER.rglob("*.toml"))
SCENARIOS = sorted({recipe.parent.name for recipe in RECIPES if recipe.parent != FOLDER})

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
    "report": config.ReportConfig,
    "evaluate_projection": config.EvaluateProjectionConfig,
    "evaluate_tagger": config.EvaluateTaggerConfig,
    "run_study": config.StudyConfig,
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_recipes_load(recipe: Path) -> None:
    load(RECORDS[recipe.stem], str(recipe))


def test_recipes_are_one_for_each_kind_of_run() -> None:
    assert {recipe.stem for recipe in FOLDER.glob("*.toml")} == set(RECORDS)


def test_recipes_models_that_are_read_are_written_by_some_recipe() -> None:
    recipes = [tomllib.loads(recipe.read_text()) for recipe in RECIPES]
    written = {recipe.get("output") for recipe in recipes}
    read = {text for recipe in recipes for text in texts(recipe) if text.startswith("models/")}
    assert read and read <= written


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_recipes_shards_that_are_read_are_written_by_some_recipe(scenario: str) -> None:
    recipes = {path: tomllib.loads(path.read_text()) for path in RECIPES}
    written = {recipe.get("output") for recipe in recipes.values()}
    for path in FOLDER.glob(f"{scenario}/*.toml"):
        recipe = recipes[path]
        sources = [s["path"] for s in recipe.get("data", []) if s.get("format") == "pseudo"]
        folders = [recipe.get("pairs", []), recipe.get("pseudo", []), recipe.get("examples", [])]
        for read in [*sources, *(text for each in folders for text in texts(each))]:
            # The folder of a language pair lies in what prepare_corpus wrote.
            assert {read, read.rpartition("/")[0]} & written, f"{path}: nothing writes {read}"


def test_recipes_table_has_every_scenario() -> None:
    table = (FOLDER / "README.md").read_text()
    assert SCENARIOS and all(f"`{scenario}/`" in table for scenario in SCENARIOS)


def texts(value: Any) -> Iterator[str]:
    """All texts in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)
