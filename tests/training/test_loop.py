from __future__ import annotations

import copy
import re
import threading
from typing import Any

import numpy as np
import pytest
import torch

from xner.config import OptimizationConfig
from xner.errors import ConfigError
from xner.training import loop
from xner.training.loop import (
    DivergedError,
    MemoryFullError,
    Progress,
    cut_batches,
    load_weights,
    read_state,
    train,
)

FAST = OptimizationConfig(
    epochs=3, batch_tokens=64, learning_rate=0.02, weight_decay=0.0, num_workers=0
)


def weights_of(task: Any, folder: Any) -> dict[str, torch.Tensor]:
    model = task.make_model()
    load_weights(model, folder)
    return model.state_dict()


def test_loop_cuts_batches_that_hold_every_row_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=5000)
    batches = cut_batches(lengths, 256, (0, 1))
    assert sorted(np.concatenate(batches)) == list(range(5000))
    assert all(len(rows) * lengths[rows].max() <= 256 for rows in batches)
    padding = 1 - lengths.sum() / sum(len(rows) * lengths[rows].max() for rows in batches)
    assert padding < 0.1


def test_loop_gives_a_row_beyond_the_budget_a_batch_of_its_own() -> None:
    batches = cut_batches(np.array([5, 900, 5]), 100, (0,))
    assert sorted(len(rows) for rows in batches) == [1, 2]


def test_loop_cuts_the_same_batches_for_the_same_seed_only() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=500)
    first, again, other = (cut_batches(lengths, 256, (0, epoch)) for epoch in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=False))


def test_loop_cuts_no_batches_of_no_rows() -> None:
    assert cut_batches(np.array([], dtype=int), 10, (0,)) == []


def test_loop_learns(linear_task: Any, desk: Any, tmp_path: Any) -> None:
    state = train(linear_task(), FAST, desk(tmp_path))
    losses = [epoch["loss"] for epoch in state.epochs]
    assert losses[-1] < losses[0] / 10
    assert state.best_epoch == 3
    assert state.epochs[-1]["closeness"] > -0.1
    assert state.curve[0][0] == 1 and state.curve[-1][1] < state.curve[0][1] / 10
    lengths = linear_task().epoch(0).lengths
    assert state.tokens == 3 * lengths.sum()


def test_loop_stops_at_max_steps(linear_task: Any, desk: Any, tmp_path: Any) -> None:
    seen: list[Progress] = []
    steps_an_epoch = len(cut_batches(linear_task().epoch(0).lengths, 64, (0, 0)))
    limited = FAST.model_copy(update={"max_steps": steps_an_epoch + 3})
    state = train(linear_task(), limited, desk(tmp_path), report=seen.append)
    assert (state.step, state.epoch) == (steps_an_epoch + 3, 2)
    assert (seen[-1].step, seen[-1].num_steps) == (steps_an_epoch + 3, steps_an_epoch + 3)
    assert seen[-1].seconds_left == 0.0


PATIENT = FAST.model_copy(update={"epochs": 8, "patience": 2})
SCORES = [0.1, 0.4, 0.3, 0.5, 0.5, 0.2, 0.9, 0.9]


def scripted(task: Any) -> Any:
    """A task whose held-out score depends on the epoch alone, also in a run that goes on."""

    class Scripted(task):
        def evaluate(self, model: Any) -> dict[str, float]:
            seen = len(self.evaluations)
            self.evaluations.append(None)
            return {"closeness": SCORES[seen]}

    return Scripted


def test_loop_stops_when_patience_is_at_its_end(linear_task: Any, desk: Any, tmp_path: Any) -> None:
    state = train(scripted(linear_task)(), PATIENT, desk(tmp_path / "two"))
    assert (state.epoch, state.best_epoch) == (6, 4)
    hasty = PATIENT.model_copy(update={"patience": 1})
    state = train(scripted(linear_task)(), hasty, desk(tmp_path / "one"))
    assert (state.epoch, state.best_epoch) == (3, 2)


@pytest.mark.parametrize("dies_after", [2, 5, 6])
def test_loop_that_was_killed_stops_at_the_same_epoch(
    linear_task: Any, desk: Any, tmp_path: Any, dies_after: int
) -> None:
    task = scripted(linear_task)()
    with pytest.raises(KeyboardInterrupt):
        train(task, PATIENT, desk(tmp_path, dies_after=f"epoch-000{dies_after}"))
    state = train(task, PATIENT, desk(tmp_path))
    assert (state.epoch, state.best_epoch) == (6, 4)
    assert len(task.evaluations) == 6


def test_loop_stops_all_workers_at_once(linear_task: Any, desk: Any, tmp_path: Any) -> None:
    states = train_in_threads(scripted(linear_task)(), PATIENT, 2, desk, tmp_path)
    assert [state.epoch for state in states] == [6, 6]


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize(
    "dies_after",
    ["epoch-0001", "epoch-0002", "epoch-0000-step-00000008", "epoch-0002-step-00000002"],
)
def test_loop_resumes_to_the_same_weights(
    linear_task: Any, desk: Any, tmp_path: Any, dies_after: str, ema_decay: float | None
) -> None:
    """At an epoch's end and within one, dropout and all; the other run made no such checkpoints."""
    task = linear_task(dropout=0.3)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    settings = FAST.model_copy(update={"ema_decay": ema_decay})
    expected = train(task, settings, desk(undisturbed))
    often = settings.model_copy(update={"checkpoint_steps": 8})
    with pytest.raises(KeyboardInterrupt):
        train(task, often, desk(killed, dies_after=dies_after))
    state = train(task, often, desk(killed))
    assert state.curve == expected.curve
    assert state.epochs == expected.epochs
    assert (state.step, state.tokens) == (expected.step, expected.tokens)
    there = weights_of(task, killed / "epoch-0003")
    for name, weight in weights_of(task, undisturbed / "epoch-0003").items():
        assert torch.equal(weight, there[name]), name


def test_loop_averages_weights_over_the_steps(linear_task: Any, desk: Any, tmp_path: Any) -> None:
    seen: list[Any] = []

    class Watched(linear_task):
        def evaluate(self, model: Any) -> dict[str, float]:
            seen.append({name: weight.clone() for name, weight in model.state_dict().items()})
            return super().evaluate(model)

    plain, averaging = tmp_path / "plain", tmp_path / "averaging"
    train(linear_task(), FAST.model_copy(update={"checkpoint_steps": 1}), desk(plain))
    train(Watched(), FAST.model_copy(update={"ema_decay": 0.7}), desk(averaging))
    torch.manual_seed(FAST.seed)
    expected = linear_task().make_model().state_dict()
    for step, folder in enumerate(sorted(plain.iterdir())):
        decay = min(0.7, (1 + step) / (10 + step))
        for name, weight in weights_of(linear_task(), folder).items():
            expected[name] = decay * expected[name] + (1 - decay) * weight
    published = weights_of(linear_task(), averaging / "epoch-0003")
    for name, weight in expected.items():
        assert torch.allclose(published[name], weight, atol=1e-6), name
        assert torch.equal(seen[-1][name], published[name])
        assert not torch.equal(weights_of(linear_task(), folder)[name], published[name])


def test_loop_makes_checkpoints_every_so_many_steps(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    state = train(linear_task(), FAST.model_copy(update={"checkpoint_steps": 8}), desk(tmp_path))
    found = {read_state(path).step for path in tmp_path.iterdir()}
    ends = {int(epoch["step"]) for epoch in state.epochs}
    assert found == ends | set(range(8, state.step, 8))


def test_loop_that_is_done_does_nothing_more(linear_task: Any, desk: Any, tmp_path: Any) -> None:
    first = train(linear_task(), FAST, desk(tmp_path))
    assert train(linear_task(), FAST, desk(tmp_path)) == first


def test_loop_forward_budget_changes_no_gradient(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    whole = train(linear_task(), FAST, desk(tmp_path / "whole"))
    parts = train(
        linear_task(), FAST.model_copy(update={"forward_tokens": 20}), desk(tmp_path / "parts")
    )
    assert [loss for _, loss in parts.curve] == pytest.approx(
        [loss for _, loss in whole.curve], rel=1e-4, abs=1e-6
    )


def cramped(task: Any, cells: int) -> Any:
    """A task with memory for so many sub-words a forward; what does not fit fails half way."""

    class Cramped(task):
        def loss(self, model: Any, batch: Any) -> Any:
            loss, count = super().loss(model, batch)
            if model.training and len(batch["lengths"]) * batch["lengths"].max() > cells:
                model[2].bias.grad = torch.ones(1)
                raise torch.OutOfMemoryError("a test's memory is full")
            return loss, count

    return Cramped


def test_loop_halves_the_forward_where_memory_runs_out(
    linear_task: Any, desk: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(linear_task(), FAST, desk(tmp_path / "whole"))
    halved = train(cramped(linear_task, 20)(), FAST, desk(tmp_path / "halved"))
    assert [loss for _, loss in halved.curve] == pytest.approx(
        [loss for _, loss in whole.curve], rel=1e-4, abs=1e-6
    )
    told = [record.message for record in caplog.records if "out of memory" in record.message]
    assert re.fullmatch(
        r"out of memory at step 1, in a forward of \d+ sub-words: forward_tokens is now \d+",
        told[0],
    )
    assert len(told) < 4


@pytest.mark.parametrize("batch_tokens", [64, 5000])
def test_loop_names_the_setting_where_one_example_is_too_large(
    linear_task: Any, desk: Any, tmp_path: Any, batch_tokens: int
) -> None:
    """Also where shorter examples of the step still share a forward."""
    settings = FAST.model_copy(update={"batch_tokens": batch_tokens})
    with pytest.raises(ConfigError, match="a single example: lower max_length"):
        train(cramped(linear_task, 5)(), settings, desk(tmp_path))


def test_loop_repeats_no_step_where_one_of_several_workers_has_no_memory(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    """The others may wait for it already; the error tells what all should begin again with."""

    class FirstOfTwo(desk):
        num_workers = 2

    with pytest.raises(MemoryFullError, match=r"forward_tokens is now \d+") as caught:
        train(cramped(linear_task, 20)(), FAST, FirstOfTwo(tmp_path))
    again = copy.copy(caught.value)  # Made anew from its arguments, as where it is unpickled.
    assert (str(again), again.forward_tokens) == (str(caught.value), caught.value.forward_tokens)


def test_loop_names_step_and_examples_of_a_loss_that_is_no_number(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    lengths = linear_task().epoch(0).lengths
    batches = cut_batches(lengths, 64, (0, 0))
    step, rows = next((n, rows) for n, rows in enumerate(batches, 1) if 17 in rows)
    with pytest.raises(DivergedError, match=f"loss is nan at step {step};") as caught:
        train(linear_task(poisoned=17), FAST, desk(tmp_path))
    named = str(caught.value).splitlines()[1:]
    assert named == [f"{row}: {lengths[row]} targets" for row in rows]
    assert not list(tmp_path.iterdir())


def test_loop_keeps_the_checkpoint_before_a_loss_that_is_no_number(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    task = linear_task(poisoned=17)
    batches = cut_batches(task.epoch(0).lengths, 64, (0, 0))
    step = next(index for index, rows in enumerate(batches, 1) if 17 in rows)
    with pytest.raises(DivergedError):
        train(task, FAST.model_copy(update={"checkpoint_steps": 1}), desk(tmp_path))
    kept = sorted(tmp_path.iterdir())
    assert [read_state(path).step for path in kept] == list(range(1, step))
    assert step > 1
    assert all(weight.isfinite().all() for weight in weights_of(task, kept[-1]).values())


def test_loop_names_the_step_of_a_gradient_that_is_not_finite(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    class Steep(linear_task):
        def loss(self, model: Any, batch: Any) -> Any:
            loss, count = super().loss(model, batch)
            # The root has a value at 0, and no finite slope.
            return loss + (0.0 * model[0].bias.sum()).sqrt(), count

    with pytest.raises(DivergedError, match="gradient's norm is nan at step 1;"):
        train(Steep(), FAST, desk(tmp_path))
    assert not list(tmp_path.iterdir())


def test_loop_makes_no_checkpoint_of_weights_that_are_not_finite(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    rash = {"learning_rate": 1e39, "warmup_share": 0.0, "checkpoint_steps": 1}
    with pytest.raises(DivergedError, match="weights are not finite after step 1;"):
        train(linear_task(), FAST.model_copy(update=rash), desk(tmp_path))
    assert not list(tmp_path.iterdir())


def test_loop_splits_a_batch_over_workers_without_changing_the_step(
    linear_task: Any, desk: Any, tmp_path: Any
) -> None:
    """Three workers as threads that average gradients, one of which often has no row."""
    few_rows = FAST.model_copy(update={"batch_tokens": 24})
    expected = train(linear_task(), few_rows, desk(tmp_path / "one"))
    states = train_in_threads(linear_task(), few_rows, 3, desk, tmp_path / "three")
    assert states[0].epochs[0]["loss"] == pytest.approx(expected.epochs[0]["loss"], rel=1e-4)
    for state in states:
        assert [step for step, _ in state.curve] == [step for step, _ in expected.curve]
        assert [loss for _, loss in state.curve] == pytest.approx(
            [loss for _, loss in expected.curve], rel=1e-3, abs=1e-3
        )


def test_loop_ends_all_workers_at_one_step_where_the_loss_is_no_number(
    linear_task: Any, desk: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first looks at the losses, to tell of its progress, before the others."""
    monkeypatch.setattr(loop, "_LOG_SECONDS", 0.0)
    first, second = train_in_threads(linear_task(poisoned=17), FAST, 2, desk, tmp_path)
    assert isinstance(first, DivergedError)
    assert str(first) == str(second)


def train_in_threads(task: Any, optimization: Any, count: int, desk: Any, folder: Any) -> list[Any]:
    """The state of each worker, or the error that ended it."""
    torch.manual_seed(optimization.seed)
    start = task.make_model()
    barrier = threading.Barrier(count, timeout=30)
    slots: list[Any] = [None] * count
    states: list[Any] = [None] * count
    models: list[Any] = [None] * count

    class Seat(desk):
        def __init__(self, rank: int) -> None:
            super().__init__(folder)
            self.rank = rank
            self.num_workers = count

        def prepare(self, model: Any) -> Any:
            models[self.rank] = model
            barrier.wait()
            if self.rank == 0:
                # The threads share one random state, so what they drew is not what one alone draws.
                for same in models:
                    same.load_state_dict(start.state_dict())
            barrier.wait()
            return model

        def total(self, values: Any) -> Any:
            gradients = [p.grad for p in models[self.rank].parameters() if p.grad is not None]
            slots[self.rank] = (values, gradients)
            barrier.wait()
            values = sum(values for values, _ in slots)
            means = [sum(same) / count for same in zip(*(g for _, g in slots), strict=True)]
            barrier.wait()
            if not means:
                return values
            for parameter, mean in zip(models[self.rank].parameters(), means, strict=True):
                parameter.grad = mean.clone()
            return values

        def commit(self, folder: Any, state: Any) -> None:
            if self.rank == 0:
                super().commit(folder, state)
            barrier.wait()

    def work(rank: int) -> None:
        try:
            states[rank] = train(task, optimization, Seat(rank))
        except DivergedError as error:
            states[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in states
    return states
