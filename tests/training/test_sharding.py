"""Two processes that share out a model (FSDP2 over gloo), without Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn

from tests.training.conftest import Desk
from xner.config import OptimizationConfig
from xner.shards.storage import Folder
from xner.training.distributed import shard
from xner.training.loop import State, load_weights, read_state, train
from xner.training.tagger import make_task

SETTINGS = OptimizationConfig(
    epochs=1,
    max_steps=8,
    batch_tokens=256,
    forward_tokens=96,
    learning_rate=2e-3,
    ema_decay=0.9,
    checkpoint_steps=4,
    precision="fp32",
    num_workers=0,
)


class Seat(Desk):
    """One of the processes that a process group connects."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rank = torch.distributed.get_rank()
        self.num_workers = torch.distributed.get_world_size()

    def prepare(self, model: nn.Module) -> nn.Module:
        return shard(model)

    def total(self, values: Tensor) -> Tensor:
        torch.distributed.all_reduce(values)
        return values

    def commit(self, folder: Path | None, state: State) -> None:
        if folder is not None:
            super().commit(folder, state)
        torch.distributed.barrier()


def work(rank: int, tasks: list[Any], folders: list[Path], meeting: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    for task, folder in zip(tasks, folders, strict=True):
        train(task, SETTINGS, Seat(folder))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_sharded_workers_take_the_steps_of_one_and_share_its_checkpoints(
    tagger_recipe: Any, tmp_path: Path
) -> None:
    """One tagger, and two students, of which the first is evaluated by itself."""
    folders = [tmp_path / "one", tmp_path / "two"]
    losses = [{"agreement": agreement, "agreement_warmup": 0} for agreement in (0.0, 1.0)]
    tasks = [
        make_task(tagger_recipe(loss=loss), Folder.at(str(folder / "run")))
        for loss, folder in zip(losses, folders, strict=True)
    ]
    # Processes take longer to start than to train: the same two for both.
    places = [folder / "sharded" for folder in folders]
    torch.multiprocessing.spawn(work, (tasks, places, f"file://{tmp_path}/meeting"), nprocs=2)

    for task, folder in zip(tasks, folders, strict=True):
        alone, sharded, resumed = (folder / name for name in ("alone", "sharded", "resumed"))
        expected = train(task, SETTINGS, Desk(alone))
        state = read_state(sharded / "epoch-0001")
        assert [loss for _, loss in state.curve] == pytest.approx(
            [loss for _, loss in expected.curve], rel=1e-3
        )
        assert state.epochs[0].keys() == expected.epochs[0].keys()

        # What two workers had half way, one goes on from.
        half_way = "epoch-0000-step-00000004"
        shutil.copytree(sharded / half_way, resumed / half_way)
        train(task, SETTINGS, Desk(resumed))
        model, other = task.make_model(), task.make_model()
        load_weights(model, alone / "epoch-0001")
        for made in (sharded, resumed):
            load_weights(other, made / "epoch-0001")
            for name, weight in model.state_dict().items():
                assert torch.allclose(other.state_dict()[name], weight, atol=1e-3), (made, name)
