"""Training in this process, and the layout of checkpoints that it shares with Ray's workers.

A run's folder holds one folder an epoch; of them, the last and the best are kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from xner.config import OptimizationConfig
from xner.models.encoder import pick_device, pick_precision
from xner.shards.storage import Folder
from xner.training.loop import Progress, State, Task, train

CHECKPOINT = "epoch-"
_PROGRESS = "progress.json"


def checkpoint_name(epoch: int) -> str:
    """The folder name of an epoch's checkpoint."""
    return f"{CHECKPOINT}{epoch:04d}"


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


def train_in_process(
    task: Task, optimization: OptimizationConfig, folder: Folder, report: Callable[[Progress], None]
) -> State:
    """Run the loop here, going on from the checkpoint in ``folder`` if there is one."""
    place = InProcess(folder)
    precision = pick_precision(optimization.precision, place.device)
    return train(task, optimization, place, precision=precision, report=report)
