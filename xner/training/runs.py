"""A training run: its folder, its fingerprint, and the model folder that stands at its end.

While a run lasts it lives in ``<output>.training``: ``run.json`` (the fingerprint) and the
checkpoints; those of a soup's runs in folders below it, the model's name with ``-1``, ``-2`` and so
on. The model folder appears whole, at the end, and carries ``run.json`` and ``training.json`` (the
summary); then the run's folder goes. The same command again goes on where a killed run was, and has
nothing to do where the model stands.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from torch import nn

from xner.config import OptimizationConfig
from xner.errors import ConfigError, TransientError, without_credentials
from xner.models.encoder import pick_device
from xner.shards.lease import Lease
from xner.shards.ledger import RUN_FILE, SHARD, TRAINING_FILE, Run
from xner.shards.storage import Folder, files_at
from xner.training.loop import (
    OPTIMIZER,
    Progress,
    State,
    Task,
    load_weights,
    log_progress,
    state_of_record,
)
from xner.training.places import (
    CHECKPOINT,
    PROGRESS,
    checkpoint_name,
    is_local,
    local_copy,
    train_in_process,
)
from xner.training.tracking import EVENTS, TRACKING_FILE, check_trackers

logger = logging.getLogger(__name__)

# What says which checkpoints there are, where Ray's workers make them.
_PROGRESS_OF_RAY = "checkpoint_manager_snapshot.json"

# The state at the end of a run: there is nothing left to train then.
_DONE = "done.json"


class HasText(Protocol):
    """An example of anything, of which two with the same text are the same."""

    @property
    def text(self) -> str: ...


Example = TypeVar("Example", bound=HasText)

_ELSEWHERE: Mapping[str, Any] = {
    "output": True,
    "engine": True,
    "optimization": OptimizationConfig.ELSEWHERE,
}


def fingerprint(config: BaseModel, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What decides the weights: the settings that can change them, and the inputs' content."""
    return {"settings": config.model_dump(mode="json", exclude=_ELSEWHERE), "inputs": dict(inputs)}


def is_held_out(text: str, share: float) -> bool:
    """Whether a text belongs to the held-out share: by its hash, so that a repeated text is on one
    side only, whatever else there is and in which order."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def held_out(
    examples: Sequence[Example], optimization: OptimizationConfig
) -> tuple[list[Example], list[Example]]:
    """The examples to train on, and those held out: ``dev_share`` of them, up to about ``max_dev``.

    Raises ConfigError where none is left to train on.
    """
    share = held_out_share(len(examples), optimization)
    dev = [example for example in examples if is_held_out(example.text, share)]
    training = [example for example in examples if not is_held_out(example.text, share)]
    check_left(len(training))
    return training, dev


def held_out_share(num_examples: int, optimization: OptimizationConfig) -> float:
    """The share of so many examples that is held out."""
    return min(optimization.dev_share, optimization.max_dev / max(num_examples, 1))


def check_left(num_training: int) -> None:
    """Raises ConfigError where all examples are held out."""
    if not num_training:
        raise ConfigError("optimization.dev_share leaves no example to train on; lower it")


def check_patience(optimization: OptimizationConfig, num_dev: int) -> None:
    """Raises ConfigError where a run may stop early and has nothing to tell it when."""
    if optimization.patience is not None and not num_dev:
        raise ConfigError(
            f"optimization.patience = {optimization.patience} needs held-out examples, and there "
            "are none; raise optimization.dev_share"
        )


def fit(
    make_task: Callable[[Folder, int], Task],
    optimization: OptimizationConfig,
    *,
    output: str,
    job: str,
    fingerprint: Mapping[str, Any],
    report: Callable[[Progress], None] = log_progress,
) -> dict[str, Any]:
    """Train what ``make_task`` makes, publish the model folder ``output``, return its summary.

    ``make_task`` gets the run's folder, for files that have to outlive this process, and the number
    (from 0) of the run, where ``optimization.soup`` wants several; it is not called when the model
    is there already. With ``optimization.num_workers`` of 0 the run stays in this process and calls
    ``report`` now and then; otherwise it needs a connected Ray.

    The summary (also ``training.json`` in the model folder): ``steps``, ``epochs``, ``best_epoch``,
    ``seconds`` (training and held-out evaluation), ``tokens`` (sub-words read), ``metrics`` (of the
    best epoch, or of the mean of several), ``history`` (one record an epoch), ``curve`` (points of
    step and loss). Of several runs it has sums of the numbers, the metrics of their mean, and under
    ``runs`` what each run's summary would be.

    Raises:
        ConfigError: ``output`` holds something else, or a run with another fingerprint.
        XnerError: the loss was not finite, or a worker failed for good.
    """
    check_trackers(optimization.trackers)
    model_folder, run_folder = _folders(output)
    if model_folder.exists(TRAINING_FILE):
        Run(model_folder, job, fingerprint).open()
        logger.info("%s: trained already under these settings; nothing to do", model_folder)
        _remove(run_folder)
        return model_folder.require_record(TRAINING_FILE)
    _check_strangers(model_folder, run_folder)
    with Lease(run_folder, job) as lease:
        if not _has_checkpoint(run_folder) and run_folder.exists(RUN_FILE):
            # Nothing is lost, and whoever corrects a setting after a first error can go on.
            for name in run_folder.names():
                run_folder.remove(name)
        Run(run_folder, job, fingerprint).open()
        _check_checkpoints(run_folder, optimization.num_workers)
        task: Task | None = None
        states: list[State] = []
        shares: dict[Folder, float] = {}
        for number in range(optimization.soup):
            folder = run_folder
            if optimization.soup > 1:
                folder = run_folder / f"{model_folder.name}-{number + 1}"
                Run(folder, job, fingerprint).open()
            state = _state_at_the_end(folder)
            if state is None:
                task = None  # The examples of one run at a time.
                started = time.monotonic()
                task = make_task(run_folder, number)
                logger.info("%s: examples ready after %.1f s", job, time.monotonic() - started)
                if optimization.soup > 1:
                    logger.info("%s: run %d of %d", job, number + 1, optimization.soup)
                state = _train(task, optimization, folder, number, report)
                lease.check()
                folder.publish_json(_DONE, asdict(state))
            states.append(state)
            best = [checkpoint_name(epoch) for epoch in state.best(optimization.keep_best)]
            shares |= {folder / name: 1 / len(best) / optimization.soup for name in best}
            if optimization.soup > 1:
                _keep_weights(folder, best)
        if task is None:
            task = make_task(run_folder, 0)
        lease.check()
        summary = _summary(states)
        _publish(task, shares, summary, run_folder, model_folder)
    _remove(run_folder)
    return summary


def _state_at_the_end(folder: Folder) -> State | None:
    """The state of a run that is over; None while there is something left to train."""
    record = folder.read_record(_DONE)
    return None if record is None else state_of_record(record)


def _train(
    task: Task,
    optimization: OptimizationConfig,
    folder: Folder,
    number: int,
    report: Callable[[Progress], None],
) -> State:
    if optimization.num_workers == 0:
        return train_in_process(task, optimization, folder, report, number)
    from xner.training.distributed import train_on_ray

    return train_on_ray(task, optimization, folder, number)


def state_of(
    output: str,
    optimization: OptimizationConfig,
    *,
    reads: Sequence[str],
    job: str,
    fingerprint: Callable[[], Mapping[str, Any]],
) -> dict[str, str]:
    """What a run to ``output`` would read, find and do, for ``--dry-run``.

    ``fingerprint`` is called where there is something to hold it against; the other arguments are
    ``fit``'s. Raises ConfigError for what ``fit`` would find in the way, and where there is
    nothing to read.
    """
    inputs = [f"{without_credentials(path)} ({len(files_at(path, SHARD)[1])})" for path in reads]
    model_folder, run_folder = _folders(output)
    if model_folder.exists(TRAINING_FILE):
        Run(model_folder, job, fingerprint()).check()
        found = "trained already: nothing to do"
    elif _has_checkpoint(run_folder):
        Run(run_folder, job, fingerprint()).check()
        _check_checkpoints(run_folder, optimization.num_workers)
        found = "a run was interrupted: go on after its last checkpoint"
    else:
        _check_strangers(model_folder, run_folder)
        found = "train from the start"
    workers = (
        f"{optimization.num_workers} Ray Train workers of {optimization.cpus_per_worker} CPU, "
    )
    workers += f"{optimization.gpus_per_worker} GPU"
    rows = {"reads (files)": ", ".join(inputs), "output": f"{model_folder}: {found}"}
    if optimization.soup > 1:
        rows["takes the mean of"] = f"{optimization.soup} runs"
    return {
        **rows,
        "runs on": workers if optimization.num_workers else "this process, without Ray",
    }


def as_rows(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary as the rows of a table; the metrics are those of what was published."""
    runs = summary.get("runs", [summary])
    return {
        "steps": summary["steps"],
        "epochs": summary["epochs"],
        "best epoch": ", ".join(str(run["best_epoch"]) for run in runs),
        "seconds": summary["seconds"],
        "sub-words/s": summary["tokens"] / max(summary["seconds"], 1e-9),
        "loss in the last epoch": statistics.fmean(run["history"][-1]["loss"] for run in runs),
        **summary["metrics"],
    }


def _summary(states: Sequence[State]) -> dict[str, Any]:
    runs = [_summary_of_run(state) for state in states]
    if len(runs) == 1:
        return runs[0]
    sums = {key: sum(run[key] for run in runs) for key in ("steps", "epochs", "seconds", "tokens")}
    return {**sums, "seconds": round(sums["seconds"], 2), "metrics": {}, "runs": runs}


def _summary_of_run(state: State) -> dict[str, Any]:
    best = state.epochs[state.best_epoch - 1]
    return {
        "steps": state.step,
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "seconds": round(state.seconds, 2),
        "tokens": state.tokens,
        "metrics": {key: best[key] for key in best if key not in ("epoch", "step", "loss")},
        "history": state.epochs,
        "curve": [list(point) for point in state.curve],
    }


def _publish(
    task: Task,
    shares: Mapping[Folder, float],
    summary: dict[str, Any],
    run_folder: Folder,
    model_folder: Folder,
) -> None:
    """Write the model folder so that it is whole once it, or its summary, can be seen.

    Of several checkpoints it has the mean of the weights, in which they have these ``shares``, and
    its metrics, which go to ``summary``.
    """
    with _scratch(run_folder) as ready:
        model = task.make_model()
        _load_mean(model, shares)
        if len(shares) > 1:
            model.to(pick_device("auto")).eval()
            with torch.no_grad():
                summary["metrics"] = task.evaluate(model)
            model.cpu()
        try:
            task.save(model, ready, summary["metrics"])
        except (OSError, SafetensorError) as error:
            raise TransientError(
                f"{ready}: the model cannot be written there: {error}; the checkpoints stay, so "
                "free some space and run again"
            ) from error
        tracked = [
            name for name in run_folder.names() if _leaf(name).startswith((EVENTS, TRACKING_FILE))
        ]
        for name in (RUN_FILE, *tracked):
            (ready / name).parent.mkdir(exist_ok=True)
            (ready / name).write_bytes(run_folder.read(name))
        (ready / TRAINING_FILE).write_text(json.dumps(summary, indent=2) + "\n")
        if is_local(model_folder):
            try:
                os.replace(ready, model_folder.location)
            except OSError as error:
                raise ConfigError(
                    f"output {model_folder}: cannot be written, or something else is there now: "
                    f"{error.strerror}"
                ) from error
        else:
            # An object store has no rename: the summary goes last, and says that all is there.
            files = [path for path in ready.rglob("*") if path.is_file()]
            for file in sorted(files, key=lambda file: file.name == TRAINING_FILE):
                model_folder.upload(file.relative_to(ready).as_posix(), file)


def _load_mean(model: nn.Module, shares: Mapping[Folder, float]) -> None:
    """Give the model the mean of checkpoints' weights, in which they have these shares.

    Of epochs of a run (Vaswani et al. 2017), of runs from one start (Wortsman et al. 2022, "Model
    soups"), or of both.
    """
    weights = list(model.parameters())
    sums = [torch.zeros_like(weight) for weight in weights]
    for checkpoint, share in shares.items():
        with local_copy(checkpoint) as path:
            load_weights(model, path)
        torch._foreach_add_(sums, [weight.detach() for weight in weights], alpha=share)
    with torch.no_grad():
        torch._foreach_copy_(weights, sums)


@contextmanager
def _scratch(run_folder: Folder) -> Iterator[Path]:
    """An empty folder of this machine, from where a local model folder is one rename away."""
    if is_local(run_folder):
        ready = Path(run_folder.location) / "model"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        yield ready
    else:
        with tempfile.TemporaryDirectory(prefix="xner-model-") as name:
            yield Path(name)


def _folders(output: str) -> tuple[Folder, Folder]:
    """The model's folder and, beside it, that of the run that makes it."""
    model_folder = Folder.at(output)
    return model_folder, Folder(f"{model_folder.location}.training")


def _keep_weights(folder: Folder, best: Sequence[str]) -> None:
    """Remove of a run that is over what only one that goes on would read: most of the bytes."""
    for name in folder.names():
        checkpoint, _, file = name.partition("/")
        if checkpoint.startswith(CHECKPOINT) and (checkpoint not in best or file == OPTIMIZER):
            folder.remove(name)


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]


def _progress_files(run_folder: Folder) -> set[str]:
    """The kinds of files that say which checkpoints there are, of any run."""
    return {PROGRESS, _PROGRESS_OF_RAY}.intersection(map(_leaf, run_folder.names()))


def _has_checkpoint(run_folder: Folder) -> bool:
    """Whether one is whole: what a process wrote that was killed as it made its first is none."""
    return bool(_progress_files(run_folder))


def _check_strangers(model_folder: Folder, run_folder: Folder) -> None:
    """Refuse a folder that is nobody's model, unless a run was stopped as it published its own."""
    if not _has_checkpoint(run_folder) and (strangers := model_folder.names()):
        raise ConfigError(
            f"output {model_folder}: holds {strangers[0]} but no {TRAINING_FILE}: not an output of "
            "this job; choose another folder"
        )


def _check_checkpoints(run_folder: Folder, num_workers: int) -> None:
    """Refuse to go on, in this process, from what Ray's workers left, or the other way round."""
    if (PROGRESS if num_workers else _PROGRESS_OF_RAY) in _progress_files(run_folder):
        began = "= 0, in one process" if num_workers else "> 0, on Ray"
        raise ConfigError(
            f"optimization.num_workers = {num_workers}: {run_folder} has checkpoints of a run with "
            f"num_workers {began}, which cannot be gone on with; go on as it began, or remove "
            "that folder to begin anew"
        )


def _remove(run_folder: Folder) -> None:
    """Remove a run's folder: one that has its mark, and no other."""
    if run_folder.exists(RUN_FILE):
        run_folder.remove_all()
