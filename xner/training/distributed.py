"""Training in the workers of a Ray Train group.

Ray starts the workers, replaces lost ones, averages their gradients and keeps their checkpoints; a
run with the same folder goes on from the last of these.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
import ray.train
import torch
from ray.exceptions import RayTaskError
from ray.train import (
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchTrainer, get_device, prepare_model
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from xner.config import OptimizationConfig
from xner.corpora.tagged import Item, Result, in_turn
from xner.errors import XnerError
from xner.models.encoder import encoders_in, layers_of, pick_precision
from xner.shards.storage import Folder
from xner.training.loop import DivergedError, MemoryFullError, State, Task, train
from xner.training.places import checkpoint_name, is_local, whole_or_absent
from xner.training.tracking import tracking

logger = logging.getLogger(__name__)

# Lost workers (memory, hardware) are replaced this often; preempted nodes are not counted.
_MAX_FAILURES = 3

# So many parts of the examples may be read and not taken over yet: some hundred MB of them.
_TASKS_AT_ONCE = 64
_FEW_ITEMS = 4

_BUDGET = "forward_tokens.json"


def shard(model: nn.Module) -> nn.Module:
    """The model itself, its weights shared out over the workers (FSDP2), layer by layer.

    Each Hugging Face model in it may also be called by itself, as one of two students is.
    """
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for encoder in encoders_in(model).values():
        for layer in layers_of(encoder)[1]:
            fully_shard(layer, mesh=mesh)
        fully_shard(encoder, mesh=mesh)
    return model if isinstance(model, FSDPModule) else fully_shard(model, mesh=mesh)


def map_on_ray(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Call the function for each item in Ray's tasks, of one CPU each; results in order.

    A task whose node is lost runs again elsewhere. A few items are done here, before Ray would have
    started its processes. Raises what the function does.
    """
    if len(items) <= _FEW_ITEMS:
        yield from in_turn(function, items)
        return
    task = ray.remote(num_cpus=1, max_retries=_MAX_FAILURES)(_call)
    there = ray.put(function)
    waiting: deque[ray.ObjectRef] = deque()
    to_come = iter(items)
    try:
        while True:
            # Those that wait for a free place are what an autoscaling cluster grows by.
            more = islice(to_come, _TASKS_AT_ONCE - len(waiting))
            waiting.extend(task.remote([there], item) for item in more)
            if not waiting:
                return
            try:
                yield ray.get(waiting.popleft())
            except RayTaskError as error:
                raise (error.cause if isinstance(error.cause, XnerError) else error) from None
    finally:
        for left in waiting:
            ray.cancel(left)


def _call(there: list[ray.ObjectRef], item: Item) -> Any:
    # In a list, or Ray would fetch it anew for each task.
    return _function(there[0])(item)


@lru_cache(maxsize=1)
def _function(there: ray.ObjectRef) -> Callable[[Any], Any]:
    """The function, one for all tasks of a process: it may hold what is slow to load."""
    return ray.get(there)


class RayWorker:
    """One worker of a Ray Train group; checkpoints lie under ``folder``."""

    def __init__(self, folder: Folder, sharding: str) -> None:
        self.folder = folder
        self.sharding = sharding
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.num_workers = context.get_world_size()
        self.device = get_device()

    def prepare(self, model: nn.Module) -> nn.Module:
        if self.sharding == "fsdp" and self.num_workers > 1:
            return shard(model.to(self.device))
        return prepare_model(model, parallel_strategy="ddp")

    def total(self, values: Tensor) -> Tensor:
        if self.num_workers > 1:
            torch.distributed.all_reduce(values)
        return values

    @contextmanager
    def last_checkpoint(self) -> Iterator[Path | None]:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as name:
            yield Path(name)

    def commit(self, folder: Path | None, state: State) -> None:
        # Ray keeps the last checkpoint and those with the highest scores.
        is_epoch = bool(state.scores) and not state.epoch_step
        score = state.scores[-1] if is_epoch else -sys.float_info.max
        name = checkpoint_name(state.epoch, state.epoch_step)
        with whole_or_absent(self.folder / name):
            ray.train.report(
                {"epoch": state.epoch, "score": score},
                checkpoint=None if folder is None else ray.train.Checkpoint.from_directory(folder),
                checkpoint_dir_name=name,
            )


_UNUSED = ("PlacementGroupCleanerCallback", "DatasetsCallback")


class _Trainer(TorchTrainer):
    """Without the actor that removes placement groups after a controller died.

    It asks Ray's dashboard every second, and complains every second where there is none; the groups
    go with the driver at the latest. And without the one that hands out Ray's datasets: we have
    none, and a process more takes seconds to start.

    And without Ray's answer to Ctrl-C, which asks the controller to stop: one that waits for
    resources hears of it after a minute, and the exit code is not that of an interruption. Our own
    ends this process, and with it controller and workers, as SIGTERM does.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Python's, which raises KeyboardInterrupt."""

    def _create_default_callbacks(self) -> list[Any]:
        return [
            callback
            for callback in super()._create_default_callbacks()
            if type(callback).__name__ not in _UNUSED
        ]


def train_on_ray(
    task: Task, optimization: OptimizationConfig, folder: Folder, run: int = 0
) -> State:
    """Run the loop in a group of Ray Train workers of the Ray that this process is connected to.

    The task's examples reach the workers through Ray's object store, once a node. Progress goes to
    the log of the first worker.

    Raises:
        XnerError: as a worker raised it; or, for any other failure of a worker, with its text.
    """
    parent, _, name = folder.location.rpartition("/")
    resources = {"CPU": optimization.cpus_per_worker}
    if optimization.gpus_per_worker:
        resources["GPU"] = optimization.gpus_per_worker
    fewest, most = optimization.min_workers, optimization.num_workers
    _tell_what_is_missing(resources, fewest or most)
    trainer = _Trainer(
        _work,
        train_loop_config={
            "task": ray.put(task),
            "optimization": optimization,
            "folder": folder,
            "run": run,
            "log_level": logging.getLogger("xner").getEffectiveLevel(),
        },
        scaling_config=ScalingConfig(
            num_workers=most if fewest is None else (fewest, most),
            use_gpu=optimization.gpus_per_worker > 0,
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=parent if is_local(folder) else folder.path("").rsplit("/", 2)[0],
            storage_filesystem=None if is_local(folder) else _as_arrow(folder),
            logging_config=LoggingConfig(log_level="WARNING"),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=CheckpointConfig(
                num_to_keep=optimization.keep_best,
                checkpoint_score_attribute="score",
                checkpoint_score_order="max",
            ),
        ),
    )
    try:
        outcome = ray.cloudpickle.loads(trainer.fit().return_value)
    except TrainingFailedError as error:
        raise _cause(error) from error
    if isinstance(outcome, XnerError):
        raise outcome
    return outcome


def _tell_what_is_missing(resources: dict[str, float], num_workers: int) -> None:
    """Ray waits for resources in silence: right where a cluster grows, puzzling elsewhere."""
    there = ray.cluster_resources()
    for name, amount in resources.items():
        if there.get(name, 0) < amount * num_workers:
            logger.warning(
                "%d workers need %g %s, the cluster has %g now: waiting for more",
                num_workers,
                amount * num_workers,
                name,
                there.get(name, 0),
            )


def _as_arrow(folder: Folder) -> pyarrow.fs.FileSystem:
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(folder.filesystem))


def _work(settings: dict[str, Any]) -> bytes:
    """What each Ray Train worker does; comes to a State or an XnerError, pickled.

    Ray's controller hands it on, and would import all that a model needs to do so unpickled.
    """
    return ray.cloudpickle.dumps(_train(settings))


def _train(settings: dict[str, Any]) -> State | XnerError:
    optimization: OptimizationConfig = settings["optimization"]
    # Ray's handlers carry our lines to the driver; of other people's, those that matter.
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("xner").setLevel(settings["log_level"])
    torch.set_num_threads(max(1, int(optimization.cpus_per_worker)))
    place = RayWorker(settings["folder"], optimization.sharding)
    optimization = _within_memory(optimization, place)
    precision = pick_precision(optimization.precision, place.device)
    try:
        with tracking(optimization.trackers, place.folder) as track:
            return train(
                ray.get(settings["task"]),
                optimization,
                place,
                precision=precision,
                run=settings["run"],
                track=track,
            )
    except DivergedError as error:
        # All workers are here; an exception would make Ray repeat the epoch to the same end.
        return error
    except MemoryFullError as error:
        # Ray starts all workers anew, from the last checkpoint; they begin with this.
        place.folder.publish_json(_BUDGET, {"forward_tokens": error.forward_tokens})
        logger.warning("%s", error)
        raise


def _within_memory(optimization: OptimizationConfig, place: RayWorker) -> OptimizationConfig:
    """The settings, with the ``forward_tokens`` that a worker noted when its memory was full.

    The same on all workers, for each counts the others' forwards.
    """
    noted = (place.folder.read_record(_BUDGET) or {}) if place.rank == 0 else {}
    told = torch.tensor([noted.get("forward_tokens", 0)], device=place.device)
    budget = int(place.total(told))
    if not budget or budget >= (optimization.forward_tokens or sys.maxsize):
        return optimization
    return optimization.model_copy(update={"forward_tokens": budget})


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
