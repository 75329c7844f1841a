"""What trackers know of a run: event files, a store of MLflow, offline runs of W&B."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from xner.config import OptimizationConfig
from xner.errors import ConfigError, TransientError
from xner.shards.storage import Folder
from xner.training.places import InProcess
from xner.training.runs import fit
from xner.training.tracking import EVENTS, TRACKING_FILE

FAST = OptimizationConfig(
    epochs=3, batch_tokens=64, learning_rate=0.02, num_workers=0, checkpoint_steps=2
)


class Killed(BaseException):
    pass


def run(task: Any, output: Path, optimization: OptimizationConfig = FAST) -> dict[str, Any]:
    return fit(
        lambda *_: task,
        optimization,
        output=str(output),
        job="test",
        fingerprint={"settings": {"data": "s3://me:secret@host/data"}},
    )


def points(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """The scalars by tag, in the order of the files, and the text."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    text = ""
    for file in sorted(folder.glob(f"{EVENTS}*")):
        content, position = file.read_bytes(), 0
        while position < len(content):
            # A record: its length, a checksum, the event, a checksum.
            (length,) = struct.unpack_from("<Q", content, position)
            event = Event.FromString(content[position + 12 : position + 12 + length])
            position += 16 + length
            for value in event.summary.value:
                if value.HasField("tensor"):
                    text += value.tensor.string_val[0].decode()
                else:
                    scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars, text


def test_tracking_has_every_point_once(linear_task: Any, tmp_path: Path) -> None:
    summary = run(linear_task(), tmp_path / "model")
    scalars, text = points(tmp_path / "model")
    assert [step for step, _ in scalars["step/loss"]] == [step for step, _ in summary["curve"]]
    for (_, found), (_, expected) in zip(scalars["step/loss"], summary["curve"], strict=True):
        assert found == pytest.approx(expected)
    for key in ("loss", "closeness"):
        assert scalars[f"epoch/{key}"] == [
            (record["step"], pytest.approx(record[key])) for record in summary["history"]
        ]
    rates = [rate for _, rate in scalars["step/learning_rate"]]
    assert max(rates) <= FAST.learning_rate
    assert rates[-1] < rates[len(rates) // 2]
    assert all(rate > 0 for _, rate in scalars["step/subwords_per_second"])
    assert '"job": "test"' in text
    assert "secret" not in text


@pytest.mark.parametrize("when", [2, 3, 5])
def test_tracking_goes_on_with_the_same_curves(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    task = linear_task(dropout=0.2)
    run(task, tmp_path / "undisturbed")
    commit, calls = InProcess.commit, 0

    def killed(self: InProcess, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            raise Killed
        commit(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(InProcess, "commit", killed)
        run(task, tmp_path / "model")
    # What has been so far can be looked at.
    assert len(list((tmp_path / "model.training").glob(f"{EVENTS}*"))) == when
    run(task, tmp_path / "model")
    (expected, settings), (found, again) = (
        points(tmp_path / name) for name in ("undisturbed", "model")
    )
    speed = "step/subwords_per_second"
    assert [step for step, _ in found.pop(speed)] == [step for step, _ in expected.pop(speed)]
    assert found == expected
    assert settings == again


def test_tracking_tells_the_runs_of_a_soup_apart(linear_task: Any, tmp_path: Path) -> None:
    summary = run(linear_task(), tmp_path / "model", FAST.model_copy(update={"soup": 2}))
    assert not list((tmp_path / "model").glob(f"{EVENTS}*"))
    for number, of_run in enumerate(summary["runs"], 1):
        scalars, text = points(tmp_path / "model" / f"model-{number}")
        assert [step for step, _ in scalars["step/loss"]] == [step for step, _ in of_run["curve"]]
        assert '"job": "test"' in text


def test_tracking_can_be_turned_off(linear_task: Any, tmp_path: Path) -> None:
    run(linear_task(), tmp_path / "model", FAST.model_copy(update={"trackers": []}))
    assert not list((tmp_path / "model").glob(f"{EVENTS}*"))


@pytest.fixture(scope="module")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of MLflow in a file; it takes seconds to make."""
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def mlflow_store(mlflow_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the store, in which the test has an experiment of its own."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_file)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    return mlflow.MlflowClient(mlflow_file)


def mlflow_run(client: Any) -> Any:
    experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    [run] = client.search_runs([experiment.experiment_id])
    return run


def test_tracking_by_mlflow_has_settings_and_every_point(
    linear_task: Any, tmp_path: Path, mlflow_store: Any
) -> None:
    optimization = FAST.model_copy(update={"trackers": ["mlflow"]})
    summary = run(linear_task(), tmp_path / "model", optimization)
    found = mlflow_run(mlflow_store)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "model"
    assert found.data.params["job"] == "test"
    assert "host/data" in found.data.params["settings.data"]
    assert "secret" not in str(found.data.params)
    losses = mlflow_store.get_metric_history(found.info.run_id, "step/loss")
    assert [(each.step, each.value) for each in losses] == [
        (step, pytest.approx(loss)) for step, loss in summary["curve"]
    ]
    assert found.data.metrics["epoch/closeness"] == summary["history"][-1]["closeness"]
    numbers = Folder.at(str(tmp_path / "model")).read_json(TRACKING_FILE)
    assert numbers == {"mlflow": found.info.run_id}
    assert not list((tmp_path / "model").glob(f"{EVENTS}*"))


def test_tracking_by_mlflow_goes_on_with_the_same_run(
    linear_task: Any, tmp_path: Path, mlflow_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimization = FAST.model_copy(update={"trackers": ["mlflow"]})
    commit, calls = InProcess.commit, 0

    def killed(self: InProcess, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        commit(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(InProcess, "commit", killed)
        run(linear_task(), tmp_path / "model", optimization)
    assert mlflow_run(mlflow_store).info.status == "FAILED"
    summary = run(linear_task(), tmp_path / "model", optimization)
    found = mlflow_run(mlflow_store)
    assert found.info.status == "FINISHED"
    losses = mlflow_store.get_metric_history(found.info.run_id, "step/loss")
    assert sorted({each.step for each in losses}) == [step for step, _ in summary["curve"]]


def test_tracking_by_mlflow_says_when_nobody_answers(
    linear_task: Any, tmp_path: Path, mlflow_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TransientError, match=r"MLflow at http://127\.0\.0\.1:9") as caught:
        run(linear_task(), tmp_path / "model", FAST.model_copy(update={"trackers": ["mlflow"]}))
    assert "secret" not in str(caught.value)


def test_tracking_by_wandb_keeps_a_run_offline(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["train.py", "--data.path", "s3://me:secret@host/data"])
    optimization = FAST.model_copy(update={"trackers": ["wandb"]})
    run(linear_task(), tmp_path / "model", optimization)
    number = Folder.at(str(tmp_path / "model")).read_json(TRACKING_FILE)["wandb"]
    [record] = tmp_path.glob(f"wandb/offline-run-*-{number}/run-{number}.wandb")
    content = record.read_bytes()
    for expected in (b"step/loss", b"epoch/closeness", b"host/data", b"training_step"):
        assert expected in content
    files = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    assert not [path for path in files if b"secret" in path.read_bytes()]


def test_tracking_needs_the_package_of_its_tracker(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r'"wandb" needs wandb.*pip install'):
        run(linear_task(), tmp_path / "model", FAST.model_copy(update={"trackers": ["wandb"]}))
