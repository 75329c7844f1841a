from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray.train
import torch

from xner.config import OptimizationConfig
from xner.errors import DataError
from xner.shards.storage import Folder
from xner.training import distributed
from xner.training.loop import DivergedError, log_progress, train
from xner.training.places import train_in_process
from xner.training.runs import fit
from xner.training.tagger import train_tagger

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

TWO_WORKERS = OptimizationConfig(
    epochs=3,
    batch_tokens=64,
    learning_rate=0.02,
    precision="fp32",
    num_workers=2,
    cpus_per_worker=0.5,
)


@pytest.fixture(autouse=True)
def _workers_know_the_toys(linear_task: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray's workers cannot import what conftest.py defines: send it along."""
    import ray.cloudpickle

    # An actor less to start, for every run.
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    module = sys.modules[linear_task.__module__]
    ray.cloudpickle.register_pickle_by_value(module)
    yield
    ray.cloudpickle.unregister_pickle_by_value(module)


def test_distributed_two_workers_take_the_steps_of_one(tagger_recipe: Any, tmp_path: Path) -> None:
    """The same batches, the same gradients: the curves differ by rounding only."""
    common = {"epochs": 2, "learning_rate": 5e-4}
    alone = train_tagger(tagger_recipe(output=str(tmp_path / "alone"), optimization=common))
    two = {**common, "num_workers": 2, "cpus_per_worker": 0.5}
    together = train_tagger(tagger_recipe(output=str(tmp_path / "together"), optimization=two))
    assert together["steps"] == alone["steps"] > 20
    assert [loss for _, loss in together["curve"]] == pytest.approx(
        [loss for _, loss in alone["curve"]], rel=2e-3, abs=1e-4
    )
    assert together["metrics"]["dev_f1"] == pytest.approx(alone["metrics"]["dev_f1"], abs=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "together"]


def test_distributed_run_that_died_goes_on_to_the_same_weights(
    linear_task: Any, desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker began it, two go on."""
    expected = train(linear_task(), TWO_WORKERS, desk(tmp_path))
    monkeypatch.setattr(distributed, "_MAX_FAILURES", 0)
    output = tmp_path / "model"

    def run(task: Any, num_workers: int) -> Any:
        settings = TWO_WORKERS.model_copy(update={"num_workers": num_workers})
        return fit(lambda *_: task, settings, output=str(output), job="test", fingerprint={})

    with pytest.raises(DataError, match="the second evaluation fails"):
        run(linear_task(fails_at_evaluation=2), num_workers=1)
    assert not output.exists()
    # The task of the second start counts its evaluations anew, so it would fail if it began at 1.
    summary = run(linear_task(fails_at_evaluation=3), num_workers=2)
    assert [loss for _, loss in summary["curve"]] == pytest.approx(
        [loss for _, loss in expected.curve], rel=1e-3, abs=1e-3
    )
    weights = torch.load(output / "model.pt", weights_only=True)
    model = linear_task().make_model()
    model.load_state_dict(weights)
    assert linear_task().evaluate(model)["closeness"] == pytest.approx(
        expected.epochs[-1]["closeness"], rel=1e-2
    )
    assert not (tmp_path / "model.training").exists()


def test_distributed_run_of_a_soup_is_that_of_one_process(linear_task: Any, tmp_path: Path) -> None:
    settings = TWO_WORKERS.model_copy(update={"num_workers": 1, "trackers": []})
    task, folder = linear_task(dropout=0.1), Folder.at(str(tmp_path / "model.training"))
    states = [
        train_in_process(task, settings, folder / f"in-process-{run}", log_progress, run)
        for run in (0, 1)
    ]
    states.append(distributed.train_on_ray(task, settings, folder / "model-2", 1))
    first, second, on_ray = ([loss for _, loss in state.curve] for state in states)
    assert on_ray == pytest.approx(second, rel=1e-4)
    assert on_ray != pytest.approx(first, rel=1e-2)


def test_distributed_worker_that_is_killed_within_an_epoch_is_replaced(
    linear_task: Any, desk: Any, tmp_path: Path
) -> None:
    """One of two processes dies once, in the second epoch, some steps after a checkpoint."""
    often = TWO_WORKERS.model_copy(update={"checkpoint_steps": 10})
    steps_file, mark = tmp_path / "steps", tmp_path / "killed"

    class Mortal(linear_task):
        def loss(self, model: Any, batch: Any) -> Any:
            if model.training:
                with steps_file.open("a") as steps:
                    steps.write(f"{os.getpid()}\n")
                mine = steps_file.read_text().split().count(str(os.getpid()))
                if mine == 48:
                    try:
                        mark.touch(exist_ok=False)
                    except FileExistsError:
                        pass
                    else:
                        os.kill(os.getpid(), signal.SIGKILL)
            return super().loss(model, batch)

    expected = train(linear_task(), TWO_WORKERS, desk(tmp_path))
    state = distributed.train_on_ray(Mortal(), often, Folder.at(str(tmp_path / "run")))
    assert mark.exists()
    assert [loss for _, loss in state.curve] == pytest.approx(
        [loss for _, loss in expected.curve], rel=1e-3, abs=1e-3
    )
    assert state.epochs[-1]["closeness"] == pytest.approx(
        expected.epochs[-1]["closeness"], rel=1e-2
    )
    # Two processes up to the kill, and two from a checkpoint on: the last one, at step 40, or one
    # before it where Ray had not taken note of that yet.
    calls = sorted(Counter(steps_file.read_text().split()).values())
    assert len(calls) == 4
    assert calls[1] == 48
    assert calls[2] == calls[3]
    assert expected.step - calls[2] in (30, 35, 40)


def test_distributed_worker_without_memory_lets_all_begin_again_with_smaller_forwards(
    linear_task: Any, desk: Any, tmp_path: Path
) -> None:
    class Cramped(linear_task):
        """The second worker's memory holds 20 targets."""

        def loss(self, model: Any, batch: Any) -> Any:
            is_second = ray.train.get_context().get_world_rank() == 1
            cells = len(batch["lengths"]) * int(batch["lengths"].max())
            if model.training and is_second and cells > 20:
                raise torch.OutOfMemoryError("a test's memory is full")
            return super().loss(model, batch)

    expected = train(linear_task(), TWO_WORKERS, desk(tmp_path))
    run = Folder.at(str(tmp_path / "run"))
    state = distributed.train_on_ray(Cramped(), TWO_WORKERS, run)
    assert [loss for _, loss in state.curve] == pytest.approx(
        [loss for _, loss in expected.curve], rel=1e-3, abs=1e-3
    )
    noted = run.read_record("forward_tokens.json")
    assert noted is not None
    assert 10 <= noted["forward_tokens"] <= 20


def test_distributed_workers_begin_as_many_as_there_is_room_for_and_stop_together(
    linear_task: Any, desk: Any, tmp_path: Path
) -> None:
    """The shared Ray has room for two such workers, not for four; nothing is ever gained."""
    roomy = {"min_workers": 1, "num_workers": 4, "cpus_per_worker": 1.5}
    settings = TWO_WORKERS.model_copy(update={**roomy, "epochs": 9, "patience": 2})

    class Stuck(linear_task):
        def evaluate(self, model: Any) -> dict[str, float]:
            return {"closeness": 0.5}

    class Counting(Stuck):
        def evaluate(self, model: Any) -> dict[str, float]:
            return {**super().evaluate(model), "workers": ray.train.get_context().get_world_size()}

    expected = train(Stuck(), settings, desk(tmp_path))
    state = distributed.train_on_ray(Counting(), settings, Folder.at(str(tmp_path / "run")))
    assert [epoch["workers"] for epoch in state.epochs] == [2, 2, 2]
    assert (state.epoch, state.best_epoch) == (expected.epoch, expected.best_epoch) == (3, 1)
    assert [loss for _, loss in state.curve] == pytest.approx(
        [loss for _, loss in expected.curve], rel=1e-3, abs=1e-3
    )


def test_distributed_loss_that_is_no_number_is_not_tried_again(
    linear_task: Any, tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match="nan at step"):
        distributed.train_on_ray(
            linear_task(poisoned=3), TWO_WORKERS, Folder.at(str(tmp_path / "run"))
        )
