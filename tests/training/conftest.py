"""A task that trains in a blink, a place to train it, and one Ray for this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xner.training.loop import Batch, State


@dataclass(frozen=True)
class Rows:
    """Rows of a linear problem; a row's targets are as many as its length."""

    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray
    poisoned: int | None = None

    def collate(self, rows: np.ndarray) -> Batch:
        inputs = self.inputs[rows].copy()
        if self.poisoned is not None:
            inputs[rows == self.poisoned] = np.nan
        return {
            "inputs": torch.from_numpy(inputs),
            "targets": torch.from_numpy(self.targets[rows]),
            "lengths": torch.from_numpy(self.lengths[rows]),
        }


@dataclass(frozen=True)
class LinearTask:
    """Learn a linear map; small enough that a step takes a fraction of a millisecond."""

    num_rows: int = 200
    dropout: float = 0.0
    poisoned: int | None = None

    selection = "closeness"

    def make_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.Dropout(self.dropout), nn.Linear(16, 1))

    def epoch(self, number: int) -> Rows:
        generator = np.random.default_rng(7)
        inputs = generator.normal(size=(self.num_rows, 8)).astype(np.float32)
        weights = generator.normal(size=(8, 1)).astype(np.float32)
        lengths = generator.integers(1, 20, size=self.num_rows)
        return Rows(inputs, inputs @ weights, lengths, self.poisoned)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        errors = (model(batch["inputs"]) - batch["targets"]).squeeze(-1) ** 2
        return (errors * batch["lengths"]).sum(), batch["lengths"].sum()

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        loss, count = self.loss(model, self.epoch(0).collate(np.arange(self.num_rows)))
        return {"closeness": -float(loss / count)}

    def save(self, model: nn.Module, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(model.state_dict(), folder / "model.pt")


class Desk:
    """A single process that keeps every epoch's checkpoint, and can die after one of them."""

    rank = 0
    num_workers = 1
    device = torch.device("cpu")

    def __init__(self, folder: Path, dies_after: int | None = None) -> None:
        self.folder = folder
        self.dies_after = dies_after

    def prepare(self, model: nn.Module) -> nn.Module:
        return model

    def total(self, values: Tensor) -> Tensor:
        return values

    @contextmanager
    def last_checkpoint(self) -> Iterator[Path | None]:
        yield max(self.folder.glob("epoch-*"), default=None)

    def commit(self, folder: Path | None, state: State) -> None:
        assert folder is not None
        shutil.copytree(folder, self.folder / f"epoch-{state.epoch}")
        if state.epoch == self.dies_after:
            raise KeyboardInterrupt


@pytest.fixture
def linear_task() -> type[LinearTask]:
    return LinearTask


@pytest.fixture
def desk() -> type[Desk]:
    return Desk


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
