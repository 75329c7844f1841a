"""The event files of a run, read with TensorBoard's own record of what they hold."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from xner.config import OptimizationConfig
from xner.training.places import InProcess
from xner.training.runs import fit
from xner.training.tracking import EVENTS

FAST = OptimizationConfig(
    epochs=3, batch_tokens=64, learning_rate=0.02, num_workers=0, checkpoint_steps=2
)


class Killed(BaseException):
    pass


def run(task: Any, output: Path, optimization: OptimizationConfig = FAST) -> dict[str, Any]:
    return fit(
        lambda folder: task,
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


def test_tracking_can_be_turned_off(linear_task: Any, tmp_path: Path) -> None:
    run(linear_task(), tmp_path / "model", FAST.model_copy(update={"tensorboard": False}))
    assert not list((tmp_path / "model").glob(f"{EVENTS}*"))
