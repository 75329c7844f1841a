"""The jobs train_tagger and train_aligner, as a user runs them."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from safetensors.torch import load_file

JOBS = Path(__file__).parents[2] / "jobs"


def test_train_jobs_aligner_trains_and_then_has_nothing_to_do(
    aligner_recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = runpy.run_path(str(JOBS / "train_aligner.py"))
    recipe = aligner_recipe(optimization={"max_steps": 12})
    assert "train from the start" in job["plan"](recipe)["output"]
    job["main"](recipe)
    assert "dev_exact" in capsys.readouterr().out
    written = json.loads((tmp_path / "aligner" / "training.json").read_text())
    assert written["steps"] == 12
    assert "nothing to do" in job["plan"](recipe)["output"]
    job["main"](recipe)
    assert "dev_exact" in capsys.readouterr().out


@pytest.mark.slow
def test_train_jobs_tagger_survives_kills(tagger_recipe: Any, tmp_path: Path) -> None:
    """`kill -9` at two moments; the model is that of a run that nothing disturbed."""
    train = [sys.executable, str(JOBS / "train_tagger.py")]
    for name in ("killed", "undisturbed"):
        config = tagger_recipe(output=str(tmp_path / name))
        (tmp_path / f"{name}.toml").write_text(
            tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
        )
    for marker in ("run.json", "epoch-0001"):
        process = subprocess.Popen([*train, str(tmp_path / "killed.toml")])
        wait_for(tmp_path / "killed.training" / marker, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed").exists()
    for name in ("killed", "undisturbed"):
        subprocess.run([*train, str(tmp_path / f"{name}.toml")], check=True, capture_output=True)
    there, here = (
        load_file(tmp_path / name / "model.safetensors") for name in ("undisturbed", "killed")
    )
    assert all(weight.equal(here[name]) for name, weight in there.items())
    assert not list(tmp_path.glob("*.training"))


@pytest.mark.slow
def test_train_jobs_tagger_that_waits_for_workers_is_interrupted(
    tagger_recipe: Any, tmp_path: Path
) -> None:
    """As one does who is told that there is no GPU: at once, and as any job."""
    optimization = {"num_workers": 1, "gpus_per_worker": 1}
    config = tagger_recipe(optimization=optimization, engine={"num_cpus": 1})
    recipe = tmp_path / "t.toml"
    recipe.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(JOBS / "train_tagger.py"), str(recipe)],
            stdout=file,
            stderr=file,
            # Ray must find no card here.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            # What a shell starts in the background is told to ignore the signal, this test too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            wait_for(log, process, "waiting for more")
            # Until Ray waits for them too.
            time.sleep(10)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=40) == 130
        finally:
            process.kill()
    assert "interrupted; run the same command again to go on" in log.read_text()


def wait_for(path: Path, process: subprocess.Popen[bytes], text: str = "") -> None:
    deadline = time.monotonic() + 120
    while not path.exists() or (text and text not in path.read_text()):
        assert process.poll() is None, f"ended before {path} was there"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_train_jobs_tell_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(
        'encoder = "tiny"\noutput = "model"\n[[data]]\npath = "nowhere.conll"\n'
        "[optimization]\nnum_workers = 0\n"
    )
    outcome = subprocess.run(
        [sys.executable, str(JOBS / "train_tagger.py"), str(tmp_path / "t.toml")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert outcome.returncode == 2
    assert outcome.stderr.strip().splitlines()[-1].startswith("error: ")
    assert f"{tmp_path}/nowhere.conll: no such file" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.toml"]


def test_train_jobs_tagger_writes_a_card_that_goes_with_its_license(
    tagger_recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = runpy.run_path(str(JOBS / "train_tagger.py"))
    job["main"](tagger_recipe(optimization={"max_steps": 12}))
    card = tmp_path / "model" / "README.md"
    assert "license: unknown" in card.read_text()
    job["main"](tagger_recipe(optimization={"max_steps": 12}, license="mit"))
    assert "license: mit" in card.read_text()
    assert "| loss.name | cross_entropy |" in card.read_text()
