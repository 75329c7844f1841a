"""Units that need each other, as Ray tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from xner.config import EngineConfig, StepConfig
from xner.engine.distributed import RayEngine
from xner.errors import DataError, TransientError

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


@pytest.mark.usefixtures("local_ray")
def test_graph_on_ray_gives_up_what_kills_its_process(tmp_path: Path) -> None:
    def crash(name: str) -> None:
        with open(tmp_path / "begun", "a") as file:
            file.write("x")
        os._exit(1)

    (result,) = RayEngine(EngineConfig()).run_graph({"u": []}, crash, StepConfig())
    assert isinstance(result.error, TransientError)
    assert str(result.error).startswith("u: given up, for it cost its process 3 times")
    assert (tmp_path / "begun").read_text() == "xxx"


# A Ray of its own, with a GPU that is none.
PROCESSES = """
import os, sys
from functools import partial
from pathlib import Path
import ray
from xner.config import EngineConfig, StepConfig
from xner.engine.distributed import RayEngine

def leave_the_process(folder, name):
    Path(folder, name).write_text(str(os.getpid()))

ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False,
         _node_ip_address="127.0.0.1")
needs = {"one": [], "two": ["one"]}
work = partial(leave_the_process, sys.argv[1])
list(RayEngine(EngineConfig()).run_graph(needs, work, StepConfig(num_gpus=1)))
"""


@pytest.mark.slow
def test_graph_on_ray_leaves_no_process_that_holds_a_gpu_s_memory(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", PROCESSES, str(tmp_path)]
    subprocess.run(arguments, check=True, capture_output=True, timeout=200)
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()
