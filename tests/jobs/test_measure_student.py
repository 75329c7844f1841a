"""The pieces of `make measure-student` and `make measure-training`, on made data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xner.config import EvaluateTaggerConfig


@pytest.fixture
def student(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("student")


def test_measure_student_trains_on_no_gold_that_it_scores(
    student: ModuleType, steps_on_paper: Any, tmp_path: Path
) -> None:
    student.label(steps_on_paper, tmp_path, tmp_path / "encoder")
    student.train_supervised(steps_on_paper, tmp_path, tmp_path / "encoder")
    student.train_students(steps_on_paper)
    student.train_with_losses(steps_on_paper)
    recipes = steps_on_paper.recipes
    trained = {name: recipe for name, recipe in recipes.items() if hasattr(recipe, "loss")}
    read = {source.path for recipe in trained.values() for source in (*recipe.data, *recipe.dev)}
    assert not read & {gold["path"] for gold in student.gold_sets(tmp_path).values()}
    for lang in student.GOLD_OF:
        own = recipes[f"student-{lang}"]
        assert not own.dev
        # Its own language, and no corpus twice.
        made = [recipes[Path(source.path).name].pairs for source in own.data]
        assert {Path(pairs).name for pairs in made} == {f"en-{lang}"}
        corpora = [
            source.corpora or recipes[Path(pairs).parent.name].opus.corpora
            for source, pairs in zip(own.data, made, strict=True)
        ]
        each = list(chain.from_iterable(corpora))
        assert len(each) == len(set(each))
    # Runs of the comparison differ by loss and seed, and by nothing else.
    runs = [trained[name] for name in student.loss_runs()]
    assert len({(run.loss.name, run.optimization.seed) for run in runs}) == len(runs) == 6
    same = {
        run.model_copy(
            update={
                "loss": None,
                "output": "",
                "optimization": run.optimization.model_copy(update={"seed": 0}),
            }
        ).model_dump_json(warnings=False)
        for run in runs
    }
    assert len(same) == 1


def test_measure_student_scores_every_system(
    student: ModuleType, steps_on_paper: Any, tmp_path: Path
) -> None:
    trained = {"teacher", *(f"student-{lang}" for lang in student.GOLD_OF), *student.loss_runs()}
    trained |= {f"supervised-{lang}" for lang in student.SUPERVISED_LANGUAGES}
    # Of each system its F1 is made from its name and the gold's, so that a mix-up shows.
    f1 = lambda model, gold: len(model) / 100 + len(gold) / 1000  # noqa: E731

    class Steps(type(steps_on_paper)):  # type: ignore[misc]
        def summary(self, name: str) -> Any:
            recipe = self.recipes[name]
            return {
                "gold": {
                    gold.name: {
                        "models": {
                            model.name: {"strict": {"f1": f1(model.name, gold.name)}}
                            for model in recipe.models
                        }
                    }
                    for gold in recipe.gold
                }
            }

    steps = Steps()
    scores = student.score(steps, tmp_path)
    folders = {
        Path(model.model).name
        for recipe in steps.recipes.values()
        if isinstance(recipe, EvaluateTaggerConfig)
        for model in recipe.models
    }
    assert trained == folders
    golds = {name for names in student.GOLD_OF.values() for name in names}
    assert set(scores) == golds | {"europarl_en", "losses"}
    assert set(scores["germeval"]) == {"transfer", "student", "supervised"}
    assert set(scores["europarl_es"]) == {"transfer", "student"}
    assert scores["gsdsimp"]["student"] == f1("student", "gsdsimp")
    assert set(scores["losses"]) == set(student.loss_runs())


def test_measure_student_compares(student: ModuleType) -> None:
    scores = {"transfer": 0.1, "student": 0.4, "supervised": 0.5}
    assert student.compared(scores) == {**scores, "share": 0.8}
    assert "share" not in student.compared({"transfer": 0.1, "student": 0.4})
    by_run = {"cross_entropy-0": 0.1, "cross_entropy-1": 0.2, "cross_entropy-2": 0.3}
    by_run |= {f"opposite_focal-{seed}": 0.5 for seed in student.SEEDS}
    found = student.spread(by_run, "cross_entropy")
    assert found["mean"] == pytest.approx(0.2) and found["std"] == pytest.approx(0.1)
    assert student.spread(by_run, "opposite_focal")["std"] == 0


def test_measure_student_shows_what_there_is(
    student: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    golds = {
        name: {"transfer": 0.1, "student": 0.4}
        for of_lang in student.GOLD_OF.values()
        for name in of_lang
    }
    golds["germeval"] = {**golds["germeval"], "supervised": 0.5, "share": 0.8125}
    losses = {loss: {"mean": 0.25, "std": 0.125} for loss in student.LOSSES}
    student.show({**golds, "losses": losses, "teacher_en": 0.4375, "seconds": {"all": 17.0}})
    shown = capsys.readouterr().out
    assert all(figure in shown for figure in ("0.8125", "0.125", "0.4375", "17"))
