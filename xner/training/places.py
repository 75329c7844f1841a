"""Training in this process, and the layout of checkpoints that it shares with Ray's workers.

A run's folder holds a folder for each checkpoint; of them, the last and the best epochs' are kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from xner.config import OptimizationConfig
from xner.errors import XnerError
from xner.models.encoder import pick_device, pick_precision
from xner.shards.remote import explained, library_errors
from xner.shards.storage import Folder
from xner.training.loop import Progress, State, Task, train
from xner.training.tracking import tracking

CHECKPOINT = "epoch-"
PROGRESS = "progress.json"


def checkpoint_name(epoch: int, epoch_step: int = 0) -> str:
    """The folder name of the checkpoint that lies at an epoch's end, or some steps after it.

    Names sort as the checkpoints follow one another.
    """
    return f"{CHECKPOINT}{epoch:04d}" + (f"-step-{epoch_step:08d}" if epoch_step else "")


def is_local(folder: Folder) -> bool:
    """Whether the folder lies on a file system of this machine."""
    return Path(folder.location).is_absolute()


@contextmanager
def whole_or_absent(checkpoint: Folder) -> Iterator[None]:
    """While a checkpoint is written: where that fails, what there is of it goes.

    Raises ConfigError for a place that cannot be written, TransientError for one that is full.
    """
    try:
        yield
    except library_errors(OSError, XnerError) as error:
        checkpoint.remove_all()
        raise explained(error, str(checkpoint)) from error


@contextmanager
def local_copy(folder: Folder) -> Iterator[Path]:
    """A folder's files on this machine: the folder itself, or a copy for the time of the block."""
    if is_local(folder):
        yield Path(folder.location)
        return
    with tempfile.TemporaryDirectory(prefix="xner-") as name:
        for file in folder.names():
            folder.download(file, Path(name) / file)
        yield Path(name)


class InProcess:
    """The only process; checkpoints lie under ``folder``."""

    rank = 0
    num_workers = 1

    def __init__(self, folder: Folder, keep_best: int) -> None:
        self.folder = folder
        self.keep_best = keep_best
        self.device = pick_device("auto")

    def prepare(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def total(self, values: Tensor) -> Tensor:
        return values

    @contextmanager
    def last_checkpoint(self) -> Iterator[Path | None]:
        progress = self.folder.read_record(PROGRESS)
        if progress is None:
            yield None
            return
        with local_copy(self.folder / progress["last"]) as path:
            yield path

    def commit(self, folder: Path | None, state: State) -> None:
        assert folder is not None
        last = checkpoint_name(state.epoch, state.epoch_step)
        target = self.folder / last
        with whole_or_absent(target):
            for file in folder.iterdir():
                target.upload(file.name, file)
        # Until this file says so, the new checkpoint is not there.
        self.folder.publish_json(PROGRESS, {"last": last})
        there = {name.split("/")[0] for name in self.folder.names() if name.startswith(CHECKPOINT)}
        best = {checkpoint_name(epoch) for epoch in state.best(self.keep_best)}
        for stale in there - best - {last}:
            self.folder.remove_all(stale)


def train_in_process(
    task: Task,
    optimization: OptimizationConfig,
    folder: Folder,
    report: Callable[[Progress], None],
    run: int = 0,
) -> State:
    """Run the loop here, going on from the checkpoint in ``folder`` if there is one."""
    place = InProcess(folder, optimization.keep_best)
    precision = pick_precision(optimization.precision, place.device)
    with tracking(optimization.trackers, folder) as track:
        return train(
            task, optimization, place, precision=precision, run=run, report=report, track=track
        )
