"""The curves of a run, for TensorBoard, MLflow and Weights & Biases.

A tracker is told of each checkpoint before it is made, with the state at the one before; so it has
all that a killed run had committed, and a point twice at worst. None of them gets more than the
run's figures and ``run.json``, which holds no password.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from xner.errors import ConfigError, TransientError
from xner.shards.ledger import RUN_FILE
from xner.shards.storage import Folder
from xner.training.loop import State, Track

#: How the names of event files begin; TensorBoard reads them in the order of their names.
EVENTS = "events.out.tfevents."

#: Under which numbers the trackers know the run: it goes on there after a crash.
TRACKING_FILE = "tracking.json"

# MLflow takes so many in a request, no more characters, and of these no others in a key.
_MAX_PARAMS, _MAX_METRICS, _MAX_KEY, _MAX_CHARACTERS = 100, 1000, 250, 6000
_FOREIGN = re.compile(r"[^/\w.\- ]")


class Point(NamedTuple):
    """A value of a curve; steps count from 0."""

    curve: str
    step: int
    value: float


def points(before: State, after: State, learning_rate: Callable[[int], float]) -> list[Point]:
    """What came between two checkpoints, curve by curve."""
    steps = [(step, loss) for step, loss in after.curve if step > before.step]
    found = [Point("step/loss", step, loss) for step, loss in steps]
    found += [Point("step/learning_rate", step, learning_rate(step - 1)) for step, _ in steps]
    found += [
        Point(f"epoch/{key}", int(record["step"]), value)
        for record in after.epochs[len(before.epochs) :]
        for key, value in record.items()
        if key != "step"
    ]
    if (seconds := after.seconds - before.seconds) > 0:
        rate = (after.tokens - before.tokens) / seconds
        found.append(Point("step/subwords_per_second", after.step, rate))
    return found


def check_trackers(trackers: Sequence[str]) -> None:
    """Raises ConfigError for a tracker whose package is not installed."""
    for name in sorted({"mlflow", "wandb"}.intersection(trackers)):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f'optimization.trackers: "{name}" needs {error.name}, which is not installed: '
                f"pip install -e '.[{name}]'"
            ) from error


@contextmanager
def tracking(trackers: Sequence[str], folder: Folder) -> Iterator[Track]:
    """The trackers of these names as one, for the run in ``folder``; closed with the block."""
    with ExitStack() as stack:
        made = [stack.enter_context(_TRACKERS[name](folder)) for name in trackers]

        def track(before: State, after: State, learning_rate: Callable[[int], float]) -> None:
            for each in made:
                each(before, after, learning_rate)

        yield track


@contextmanager
def _tensorboard(folder: Folder) -> Iterator[Track]:
    """Each checkpoint brings one event file into the run's folder, whence all go beside the model.

    What a file holds depends on the checkpoints alone, so a run that was killed and went on has the
    curves of one that was not.
    """
    from tensorboardX import SummaryWriter

    def track(before: State, after: State, learning_rate: Callable[[int], float]) -> None:
        with tempfile.TemporaryDirectory(prefix="xner-events-") as name:
            with SummaryWriter(name) as writer:
                if not before.step:
                    settings = json.dumps(folder.read_record(RUN_FILE), indent=2)
                    writer.add_text("settings", f"```\n{settings}\n```", 0)
                for point in points(before, after, learning_rate):
                    writer.add_scalar(point.curve, point.value, point.step)
            (file,) = Path(name).glob(f"{EVENTS}*")
            folder.publish(f"{EVENTS}{after.step:010d}.xner", file.read_bytes())

    yield track


@contextmanager
def _mlflow(folder: Folder) -> Iterator[Track]:
    """A run on the server, or in the store, that MLFLOW_TRACKING_URI names.

    The experiment is MLFLOW_EXPERIMENT_NAME's, by default ``xner``.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    run_id: str | None = None

    def open_run() -> str:
        known = _number(folder, "mlflow")
        if known is not None:
            client.update_run(known, "RUNNING")
            return known
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "xner")
        experiment = client.get_experiment_by_name(name)
        found = experiment.experiment_id if experiment else client.create_experiment(name)
        created = client.create_run(found, run_name=_name(folder)).info.run_id
        _remember(folder, "mlflow", created)
        params = [
            Param(_FOREIGN.sub("_", key)[:_MAX_KEY], value[:_MAX_CHARACTERS])
            for key, value in _flat(folder.read_record(RUN_FILE) or {}).items()
        ]
        for start in range(0, len(params), _MAX_PARAMS):
            client.log_batch(created, params=params[start : start + _MAX_PARAMS])
        return created

    def track(before: State, after: State, learning_rate: Callable[[int], float]) -> None:
        nonlocal run_id
        now = int(time.time() * 1000)
        metrics = [
            Metric(point.curve, point.value, now, point.step)
            for point in points(before, after, learning_rate)
        ]
        try:
            run_id = run_id or open_run()
            for start in range(0, len(metrics), _MAX_METRICS):
                client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS])
        except MlflowException as error:
            raise TransientError(f"MLflow at {client.tracking_uri}: {error}") from error

    status = "FAILED"
    try:
        yield track
        status = "FINISHED"
    finally:
        if run_id is not None:
            client.set_terminated(run_id, status)


@contextmanager
def _wandb(folder: Folder) -> Iterator[Track]:
    """A run of Weights & Biases, under the account and the project of its own variables.

    WANDB_PROJECT is ``xner`` by default; with WANDB_MODE=offline all stays on this machine.
    """
    import wandb

    run: Any = None

    def open_run() -> Any:
        number = _number(folder, "wandb")
        if number is None:
            number = secrets.token_hex(4)
            _remember(folder, "wandb", number)
        opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "xner"),
            name=_name(folder),
            id=number,
            resume="allow",
            config=folder.read_record(RUN_FILE) or {},
            # Neither the command line, which may hold passwords, nor code, nor what is printed.
            settings=wandb.Settings(
                x_disable_meta=True,
                disable_code=True,
                disable_git=True,
                console="off",
                silent=True,
            ),
        )
        opened.define_metric("*", step_metric="training_step")
        return opened

    def track(before: State, after: State, learning_rate: Callable[[int], float]) -> None:
        nonlocal run
        run = run or open_run()
        by_step: dict[int, dict[str, float]] = {}
        for point in points(before, after, learning_rate):
            by_step.setdefault(point.step, {})[point.curve] = point.value
        for step in sorted(by_step):
            run.log({"training_step": step, **by_step[step]})

    exit_code = 1
    try:
        yield track
        exit_code = 0
    finally:
        if run is not None:
            run.finish(exit_code=exit_code)


_TRACKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}


def _name(folder: Folder) -> str:
    """The model's own name: the run's folder is ``<model>.training``, or in there ``<model>-1``."""
    return folder.location.rstrip("/").rpartition("/")[2].removesuffix(".training")


def _number(folder: Folder, tracker: str) -> str | None:
    return (folder.read_record(TRACKING_FILE) or {}).get(tracker)


def _remember(folder: Folder, tracker: str, number: str) -> None:
    numbers = folder.read_record(TRACKING_FILE) or {}
    folder.publish_json(TRACKING_FILE, {**numbers, tracker: number})


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The leaves of a record by their dotted keys; lists are leaves, as JSON."""
    found: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            found[f"{prefix}{key}"] = value
        else:
            found[f"{prefix}{key}"] = json.dumps(value, ensure_ascii=False)
    return found
