"""A task that trains in a blink, a place to train it, and one Ray for this folder."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from xner.config import (
    OptimizationConfig,
    TaggedSourceConfig,
    TrainAlignerConfig,
    TrainTaggerConfig,
)
from xner.errors import DataError
from xner.shards.schema import ALIGNMENT_EXAMPLES
from xner.text.mentions import Mention
from xner.text.words import segment
from xner.training.loop import Batch, State
from xner.training.places import checkpoint_name
from xner.training.tagger import train_tagger


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
    fails_at_evaluation: int | None = None
    evaluations: list[None] = field(default_factory=list)

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

    def describe(self, batch: Batch) -> list[str]:
        return [f"{length} targets" for length in batch["lengths"].tolist()]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        self.evaluations.append(None)
        if len(self.evaluations) == self.fails_at_evaluation:
            raise DataError("the second evaluation fails")
        loss, count = self.loss(model, self.epoch(0).collate(np.arange(self.num_rows)))
        return {"closeness": -(loss / count).item()}

    def save(self, model: nn.Module, folder: Path, metrics: Mapping[str, float]) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(model.state_dict(), folder / "model.pt")


class Desk:
    """A single process that keeps every checkpoint, and can die after one of them."""

    rank = 0
    num_workers = 1
    device = torch.device("cpu")

    def __init__(self, folder: Path, dies_after: str | None = None) -> None:
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
        name = checkpoint_name(state.epoch, state.epoch_step)
        shutil.copytree(folder, self.folder / name)
        if name == self.dies_after:
            raise KeyboardInterrupt


@pytest.fixture
def linear_task() -> type[LinearTask]:
    return LinearTask


@pytest.fixture
def desk() -> type[Desk]:
    return Desk


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


_SYLLABLES = ["ka", "lo", "mi", "ter", "ran", "sol", "vi", "dor", "bel", "un", "gra", "pet"]
_FILL = ["der", "Mann", "sah", "gestern", "eine", "Frau", "im", "Garten", "kam", "Zug", "Norden"]


@pytest.fixture(scope="session")
def tagged_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made German sentences with people (Herr Milosen) and places (nach Terburg)."""
    generator = random.Random(1)
    lines = []
    for _ in range(400):
        for title, ending, label in (("Herr", "sen", "PER"), ("nach", "burg", "LOC")):
            words = [f"{word} O" for word in generator.choices(_FILL, k=generator.randint(2, 4))]
            name = "".join(generator.choices(_SYLLABLES, k=2)).capitalize() + ending
            lines += [*words, f"{title} O", f"{name} B-{label}", "kam O"]
        lines.append("")
    path = tmp_path_factory.mktemp("tagged") / "train.conll"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def labelled_row() -> Callable[..., dict[str, Any]]:
    """Makes a pseudo-labelled row: of a German text, with mentions and what their places scored.

    Columns by name replace what comes out.
    """

    def row(
        pair_id: str, text: str, *mentions: tuple[Mention, float], **columns: Any
    ) -> dict[str, Any]:
        return {
            "pair_id": pair_id,
            "corpus": "Made",
            "source_lang": "en",
            "target_lang": "de",
            "source": "",
            "target": text,
            "mentions": [
                {**asdict(each), "alignment_score": alignment_score}
                for each, alignment_score in mentions
            ],
            "tokens": [text[start:end] for start, end in segment(text)],
            "weight": 1.0,
            "status": "ok",
            **columns,
        }

    return row


@pytest.fixture
def tagger_recipe(tagged_file: Path, tmp_path: Path) -> Callable[..., TrainTaggerConfig]:
    """The configuration of a run of a few seconds in this process; keywords override."""

    def recipe(**settings: Any) -> TrainTaggerConfig:
        optimization = {
            "epochs": 4,
            "batch_tokens": 256,
            "learning_rate": 2e-3,
            "dev_share": 0.2,
            "precision": "fp32",
            "num_workers": 0,
            **settings.pop("optimization", {}),
        }
        return TrainTaggerConfig.model_validate(
            {
                "encoder": "tiny",
                "data": [{"path": str(tagged_file), "lang": "de"}],
                "max_length": 64,
                "output": str(tmp_path / "model"),
                "optimization": optimization,
                **settings,
            }
        )

    return recipe


@pytest.fixture(scope="session")
def trained_tagger(tagged_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tagger that finds most of the made names."""
    folder = tmp_path_factory.mktemp("trained") / "tagger"
    train_tagger(
        TrainTaggerConfig(
            encoder="tiny",
            data=[TaggedSourceConfig(path=str(tagged_file), lang="de")],
            max_length=64,
            output=str(folder),
            optimization=OptimizationConfig(
                epochs=4, batch_tokens=256, learning_rate=2e-3, precision="fp32", num_workers=0
            ),
        )
    )
    return folder


@pytest.fixture(scope="session")
def examples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made alignment examples: names stand in the text as they are or with an ending."""
    generator = random.Random(2)
    rows = []
    for _ in range(600):
        names = ["".join(generator.choices(_SYLLABLES, k=3)).capitalize() for _ in range(2)]
        text, spans = generator.choice(_FILL), []
        for name in names:
            form = name + generator.choice(["", "s"])
            text += " " + " ".join(generator.choices(_FILL, k=2)) + " "
            spans.append([{"start": len(text), "end": len(text) + len(form)}])
            text += form
        if generator.random() < 0.1:
            names.append("Absentia")
            spans.append([])
        rows.append({"text": text, "lang": "de", "names": names, "spans": spans, "origin": "made"})
    folder = tmp_path_factory.mktemp("examples")
    pq.write_table(pa.Table.from_pylist(rows, ALIGNMENT_EXAMPLES), folder / "part-0.parquet")
    return folder


@pytest.fixture
def aligner_recipe(examples_folder: Path, tmp_path: Path) -> Callable[..., TrainAlignerConfig]:
    """The configuration of a run of some seconds in this process; keywords override."""

    def recipe(**settings: Any) -> TrainAlignerConfig:
        optimization = {
            "epochs": 4,
            "batch_tokens": 512,
            "learning_rate": 2e-3,
            "dev_share": 0.1,
            "precision": "fp32",
            "num_workers": 0,
            **settings.pop("optimization", {}),
        }
        return TrainAlignerConfig.model_validate(
            {
                "encoder": "tiny",
                "examples": [str(examples_folder)],
                "max_length": 64,
                "output": str(tmp_path / "aligner"),
                "optimization": optimization,
                **settings,
            }
        )

    return recipe
