"""Units that need each other, as Ray tasks."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from xner.config import EngineConfig, StepConfig
from xner.engine.distributed import RayEngine
from xner.errors import DataError

NEEDS = {"teacher": [], "corpus": ["teacher"], "student": ["corpus", "teacher"], "other": []}


def leave_a_mark(folder: Path, name: str) -> None:
    for before in NEEDS[name]:
        assert (folder / before).exists()
    if name == "corpus" and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(1)
    (folder / name).touch()


def refuse_the_corpus(name: str) -> None:
    if name == "corpus":
        raise DataError("corpus: torn at byte 7")
    if name == "other":
        raise KeyError("a bug")


@pytest.mark.usefixtures("local_ray")
def test_graph_on_ray_keeps_the_order_and_survives_a_lost_worker(tmp_path: Path) -> None:
    engine = RayEngine(EngineConfig())
    results = list(engine.run_graph(NEEDS, partial(leave_a_mark, tmp_path), StepConfig()))
    assert {each.name for each in results} == set(NEEDS)
    assert all(each.error is None for each in results)
    assert (tmp_path / "died").exists() and (tmp_path / "student").exists()


@pytest.mark.usefixtures("local_ray")
def test_graph_on_ray_reports_what_failed_and_ends_on_a_bug() -> None:
    engine = RayEngine(EngineConfig())
    needs = {name: NEEDS[name] for name in ("teacher", "corpus", "student")}
    results = {r.name: r.error for r in engine.run_graph(needs, refuse_the_corpus, StepConfig())}
    assert results["teacher"] is None
    assert isinstance(results["corpus"], DataError)
    assert str(results["corpus"]) == "corpus: torn at byte 7"
    assert str(results["student"]) == "student: not run, for it needs corpus"
    with pytest.raises(Exception, match="a bug"):
        list(engine.run_graph({"other": []}, refuse_the_corpus, StepConfig()))
