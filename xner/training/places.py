"""Where the training loop runs: in this process, or in the workers of a Ray Train group.

Both keep, of the checkpoints of a run's epochs, the last and the best.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs
import torch
from torch import Tensor, nn

from xner.config import OptimizationConfig
from xner.errors import XnerError
from xner.models.encoder import pick_device, pick_precision
from xner.shards.storage import Folder
from xner.training.loop import DivergedError, State, Task, train

_PROGRESS = "progress.json"

# Lost workers (memory, hardware) are replaced this often; preempted nodes are not counted.
_MAX_FAILURES = 3


def checkpoint_name(epoch: int) -> str:
    """The folder name of an epoch's checkpoint."""
    return f"epoch-{epoch:04d}"


def is_local(folder: Folder) -> bool:
    """Whether the folder lies on a file system of this machine."""
    return Path(folder.location).is_absolute()


@contextmanager
def local_copy(folder: Folder) -> Iterator[Path]:
    """A folder's files on this machine: the folder itself, or a copy for the time of the block."""
    if is_local(folder):
        yield Path(folder.location)
        return
    with tempfile.TemporaryDirectory(prefix="xner-") as name:
        for file in folder.names():
            (Path(name) / file).write_bytes(folder.read(file))
        yield Path(name)


class InProcess:
    """The only process; checkpoints lie under ``folder``."""

    rank = 0
    num_workers = 1

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.device = pick_device("auto")

    def prepare(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def total(self, values: Tensor) -> Tensor:
        return values

    @contextmanager
    def last_checkpoint(self) -> Iterator[Path | None]:
        progress = self.folder.read_json(_PROGRESS)
        if progress is None:
            yield None
            return
        with local_copy(self.folder / checkpoint_name(progress["last"])) as path:
            yield path

    def commit(self, folder: Path | None, state: State) -> None:
        assert folder is not None
        filesystem = self.folder.filesystem
        target = self.folder.path(checkpoint_name(state.epoch))
        filesystem.makedirs(target, exist_ok=True)
        for file in folder.iterdir():
            filesystem.put_file(str(file), f"{target}/{file.name}")
        # Until this file says so, the new checkpoint is not there.
        self.folder.publish_json(_PROGRESS, {"last": state.epoch, "best": state.best_epoch})
        for epoch in range(1, state.epoch):
            stale = self.folder.path(checkpoint_name(epoch))
            if epoch != state.best_epoch and filesystem.exists(stale):
                filesystem.rm(stale, recursive=True)


class RayWorker:
    """One worker of a Ray Train group."""

    def __init__(self) -> None:
        import ray.train
        import ray.train.torch

        self._train = ray.train
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.num_workers = context.get_world_size()
        self.device = ray.train.torch.get_device()

    def prepare(self, model: nn.Module) -> nn.Module:
        return self._train.torch.prepare_model(model, parallel_strategy="ddp")

    def total(self, values: Tensor) -> Tensor:
        if self.num_workers > 1:
            torch.distributed.all_reduce(values)
        return values

    @contextmanager
    def last_checkpoint(self) -> Iterator[Path | None]:
        checkpoint = self._train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as name:
            yield Path(name)

    def commit(self, folder: Path | None, state: State) -> None:
        # Ray keeps the last checkpoint and the one with the highest score: the best's epoch number.
        score = state.epoch if state.best_epoch == state.epoch else -1
        self._train.report(
            {"epoch": state.epoch, "score": score},
            checkpoint=None if folder is None else self._train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=checkpoint_name(state.epoch),
        )


def train_in_process(
    task: Task, optimization: OptimizationConfig, folder: Folder, report: Callable[..., None]
) -> State:
    """Run the loop here, going on from the checkpoint in ``folder`` if there is one."""
    place = InProcess(folder)
    precision = pick_precision(optimization.precision, place.device)
    return train(task, optimization, place, precision=precision, report=report)


def train_on_ray(task: Task, optimization: OptimizationConfig, folder: Folder) -> State:
    """Run the loop in a group of Ray Train workers of the Ray that this process is connected to.

    Examples are read and encoded once, by the caller, and reach the workers through Ray's object
    store. Progress goes to the log of the first worker.

    Raises:
        XnerError: as a worker raised it; or, for any other failure of a worker, with its text.
    """
    import ray
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )
    from ray.train.torch import TorchTrainer

    parent, _, name = folder.location.rpartition("/")
    resources = {"CPU": optimization.cpus_per_worker}
    if optimization.gpus_per_worker:
        resources["GPU"] = optimization.gpus_per_worker
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "task": ray.put(task),
            "optimization": optimization,
            "log_level": logging.getLogger("xner").getEffectiveLevel(),
        },
        scaling_config=ScalingConfig(
            num_workers=optimization.num_workers,
            use_gpu=optimization.gpus_per_worker > 0,
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=parent if is_local(folder) else folder.path("").rsplit("/", 2)[0],
            storage_filesystem=None if is_local(folder) else _as_arrow(folder),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute="score", checkpoint_score_order="max"
            ),
        ),
    )
    try:
        outcome = trainer.fit().return_value
    except TrainingFailedError as error:
        raise _cause(error) from error
    if isinstance(outcome, XnerError):
        raise outcome
    return outcome


def _as_arrow(folder: Folder) -> pyarrow.fs.FileSystem:
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(folder.filesystem))


def _work(settings: dict[str, Any]) -> State | XnerError:
    """What each Ray Train worker does."""
    import ray

    optimization: OptimizationConfig = settings["optimization"]
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("xner").setLevel(settings["log_level"])
    torch.set_num_threads(max(1, int(optimization.cpus_per_worker)))
    place = RayWorker()
    precision = pick_precision(optimization.precision, place.device)
    try:
        return train(ray.get(settings["task"]), optimization, place, precision=precision)
    except DivergedError as error:
        # All workers are here; an exception would make Ray repeat the epoch to the same end.
        return error


def _cause(error: Exception) -> XnerError:
    """The error of our own that stopped a worker, or one that carries the foreign one's text."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        seen: BaseException | None = failure
        while seen is not None:
            if isinstance(seen, XnerError):
                return seen
            seen = getattr(seen, "_base_exc", None) or seen.__cause__
    return XnerError(f"training failed: {error}")
