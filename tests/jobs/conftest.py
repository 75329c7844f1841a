"""Small models and pairs that the tests of the jobs share; everything is made here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from xner.config import (
    BuildAlignmentSetConfig,
    EvaluateTaggerConfig,
    PrepareConfig,
    ProjectConfig,
    Record,
    TrainAlignerConfig,
    TrainTaggerConfig,
    TrainWordAlignerConfig,
)
from xner.corpora import miniature

MEASUREMENTS = Path(__file__).resolve().parents[1] / "measurements"


@pytest.fixture
def measurement(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of the measurements, which are scripts beside each other, by its name."""
    monkeypatch.syspath_prepend(MEASUREMENTS)
    return importlib.import_module


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `teacher`, `packed` and `single` of random weights: what they find is wrong."""
    import torch

    from xner.models.aligner import new_network, save_aligner
    from xner.models.folders import AlignerSettings
    from xner.models.tagger import new_model, save_tagger
    from xner.models.tiny import new_encoder_folder

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    texts = [t for s in miniature.sentences("train", 300) for t in s.texts.values()]
    encoder = new_encoder_folder(texts, folder / "encoder", seed=0)
    model, tokenizer = new_model(encoder, miniature.LABELS)
    save_tagger(model, tokenizer, folder / "teacher")
    for layout in ("packed", "single"):
        network, tokenizer = new_network(encoder, layout)
        (folder / layout).mkdir(exist_ok=True)
        save_aligner(network, tokenizer, folder / layout, AlignerSettings(layout=layout))
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pairs shards of two language pairs: sixteen shards of about fifty pairs."""
    from xner.engine.recipes import CorpusPreparation

    folder = tmp_path_factory.mktemp("corpus")
    miniature.write_moses(folder / "opus", 200, target_langs=["de", "zh"])
    config = PrepareConfig.model_validate(
        {
            "target_langs": ["de", "zh"],
            "opus": {"root": str(folder / "opus"), "corpora": list(miniature.CORPORA)},
            "shard_pairs": 50,
            "output": str(folder / "pairs"),
            "engine": {"kind": "inline"},
        }
    )
    preparation = CorpusPreparation.plan(config)
    preparation.run.open()
    preparation.run_pending(lambda count: None)
    return folder / "pairs"


@pytest.fixture(scope="session")
def word_aligner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a word aligner for English and German."""
    from xner.models.hmm import WordAlignerSettings, train
    from xner.shards.storage import Folder

    folder = tmp_path_factory.mktemp("words")
    texts = [(each.texts["en"], each.texts["de"]) for each in miniature.sentences("train", 200)]
    train(texts, ("en", "de"), WordAlignerSettings()).aligner.save(Folder.at(str(folder)))
    return folder


@pytest.fixture(scope="session")
def project_config(models: Path, pairs: Path) -> Callable[..., ProjectConfig]:
    """The main job on these models, output first; thresholds so low that random scores pass, and
    about a quarter of the rows."""

    def config(output: Path, **settings: object) -> ProjectConfig:
        values: dict[str, object] = {
            "pairs": str(pairs),
            "output": str(output),
            "teacher": {
                "model": str(models / "teacher"),
                "precision": "fp32",
                "pool": {"num_cpus": 0.5},
            },
            "aligner": {
                "model": str(models / "packed"),
                "precision": "fp32",
                "threshold": 0.004,
                "pool": {"num_cpus": 0.5},
            },
            "quality": {"min_teacher_score": 0.1, "min_alignment_score": 0.0, "max_unplaced": 6},
            "engine": {"kind": "inline"},
        }
        return ProjectConfig.model_validate({**values, **settings})

    return config


@pytest.fixture(scope="session")
def pseudo(
    project_config: Callable[..., ProjectConfig],
    pairs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Pseudo-labelled German shards, as random models see them; no row is refused."""
    from xner.engine.recipes import CorpusProjection

    output = tmp_path_factory.mktemp("pseudo")
    quality = {"min_teacher_score": 0.1, "min_alignment_score": 0.0, "max_unplaced": 99}
    projection = CorpusProjection.plan(
        project_config(output, pairs=str(pairs / "en-de"), quality=quality)
    )
    projection.run.open()
    assert all(result.error is None for result in projection.run_pending())
    return output


class StepsOnPaper:
    """Stands in for the measurements' Steps: runs nothing, keeps the recipes, checked."""

    _RECORDS: ClassVar[dict[str, type[Record]]] = {
        "prepare_corpus": PrepareConfig,
        "train_word_aligner": TrainWordAlignerConfig,
        "build_alignment_set": BuildAlignmentSetConfig,
        "train_tagger": TrainTaggerConfig,
        "train_aligner": TrainAlignerConfig,
        "project_corpus": ProjectConfig,
        "evaluate_tagger": EvaluateTaggerConfig,
    }

    def __init__(self) -> None:
        self.recipes: dict[str, Any] = {}

    def run(self, job: str, name: str, recipe: dict[str, Any]) -> float:
        self.recipes[name] = self._RECORDS[job].model_validate({**recipe, "output": name})
        return 1.0


@pytest.fixture
def steps_on_paper() -> StepsOnPaper:
    return StepsOnPaper()
