"""The steps of a study carried out: each is a job's own code, in one process, into one folder.

A step is done when its job's last file stands in its folder. The scores of a cell are one file,
``scores.parquet``: the counts of every sentence, and in the footer the cell and what it took.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from xner.config import (
    EngineConfig,
    ModelConfig,
    ProjectConfig,
    StudyConfig,
    TrainAlignerConfig,
    TrainTaggerConfig,
    TrainWordAlignerConfig,
)
from xner.corpora.tagged import read_tagged
from xner.engine.recipes import CorpusProjection
from xner.errors import DataError
from xner.evaluation.bootstrap import sentence_counts
from xner.evaluation.scoring import tagged_words
from xner.evaluation.study import Kind, Scoring, Step, Study
from xner.evaluation.study_results import Result
from xner.evaluation.tagger_run import GoldSet, predict
from xner.evaluation.tagging import comparable
from xner.models.hmm import SETTINGS_FILE
from xner.shards.ledger import SHARD, SUMMARY_FILE, statistics_of
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder, files_at
from xner.training.aligner import train_aligner
from xner.training.loop import Progress
from xner.training.runs import SUMMARY as TRAINED
from xner.training.tagger import train_tagger
from xner.training.word_aligner import train_word_aligner

_SCORES = "scores.parquet"
_CELL_KEY = "xner.cell"
_COUNTS = pa.schema(
    [
        pa.field("gold", pa.string(), nullable=False),
        pa.field("sentence", pa.int32(), nullable=False),
        *(
            pa.field(name, pa.int32(), nullable=False)
            for name in ("true_positives", "false_positives", "false_negatives")
        ),
    ]
)

# The file that each kind of step writes last.
_MARKS: Mapping[Kind, str] = {
    "teacher": TRAINED,
    "aligner": TRAINED,
    "words": SETTINGS_FILE,
    "projection": SUMMARY_FILE,
    "score": _SCORES,
}


@dataclass(frozen=True)
class StudyRun:
    """A study and the folder that its steps lie in; called with a step's name, it does the step."""

    config: StudyConfig
    study: Study

    @property
    def steps(self) -> Folder:
        """The folder of the steps' folders."""
        return Folder.at(self.config.output) / "steps"

    def is_done(self, name: str) -> bool:
        """Whether a step has its result."""
        return (self.steps / name).exists(_MARKS[self.study.steps[name].kind])

    def pending(self) -> dict[str, list[str]]:
        """The steps that are still to be done, and what each one needs."""
        return {
            name: step.needs for name, step in self.study.steps.items() if not self.is_done(name)
        }

    def __call__(self, name: str) -> None:
        """Do one step. Raises what its job raises."""
        step = self.study.steps[name]
        _WORK[step.kind](self, step)

    def results(self) -> list[Result]:
        """Every cell on every gold set, in the grid's order. Raises DataError where one lacks."""
        return [result for name in self.study.cells for result in self._read(name)]

    def recipe(self, step: Step) -> Any:
        """The step's recipe as its job takes it."""
        how = {"batch_tokens": self.config.batch_tokens}
        changes = {"teacher": how, "aligner": how} if step.kind == "projection" else {}
        return step.resolved(self.steps.location, **changes)

    def score(self, step: Step) -> None:
        """Train the cell's model where it has one of its own, and score it on every gold set."""
        started = time.perf_counter()
        recipe = cast(Scoring, self.recipe(step))
        sentences = 0
        if recipe.training is not None:
            train_tagger(recipe.training, _quietly)
            sentences = sum(len(read_tagged(source)) for source in recipe.training.data)
        model = ModelConfig(model=recipe.model, batch_tokens=self.config.batch_tokens)
        tables = []
        for source in recipe.gold:
            gold = GoldSet.read(source).sentences
            predicted = predict(model, gold, EngineConfig(kind="inline"))
            wanted = tagged_words([each.tags for each in gold])
            found = tagged_words(comparable(predicted, {}, source.not_annotated))
            counts = sentence_counts(wanted, found)
            columns = [np.full(len(gold), source.name), np.arange(len(gold)), *counts.T]
            tables.append(pa.table(dict(zip(_COUNTS.names, columns, strict=True))).cast(_COUNTS))
        folder = self.steps / step.name
        record = {
            "cell": asdict(self.study.cells[step.name]),
            "sentences": sentences,
            "seconds": time.perf_counter() - started,
        }
        folder.publish_table(_SCORES, pa.concat_tables(tables), {_CELL_KEY: json.dumps(record)})
        if recipe.training is not None and not self.config.keep_models:
            folder.filesystem.rm(folder.path("model"), recursive=True)

    def _read(self, name: str) -> list[Result]:
        folder = self.steps / name
        record = json.loads(folder.read_footer(_SCORES)[_CELL_KEY])
        table = folder.read_table(_SCORES, _COUNTS)
        names = np.array(table["gold"].to_pylist())
        counts = np.stack([table[each].to_numpy() for each in _COUNTS.names[2:]], axis=1)
        return [
            Result(
                cell=self.study.cells[name],
                gold=gold,
                counts=counts[names == gold].astype(np.int64),
                sentences=record["sentences"],
                seconds=record["seconds"],
            )
            for gold in dict.fromkeys(names.tolist())
        ]


def content_at(path: str) -> str:
    """A hash (hex) of what lies at a path: a file's bytes, or the names and sizes of its shards.

    Shards are compressed, so that others of the same sizes are not to be feared, and reading a
    corpus only to see that it is the same would take longer than some steps.
    """
    folder, names = files_at(path, SHARD)
    digest = hashlib.sha256()
    for name in names:
        if name.endswith(SHARD):
            digest.update(f"{name} {folder.filesystem.size(folder.path(name))}\n".encode())
        else:
            digest.update(folder.read(name))
    return digest.hexdigest()


def _train_tagger(run: StudyRun, step: Step) -> None:
    train_tagger(cast(TrainTaggerConfig, run.recipe(step)), _quietly)


def _train_aligner(run: StudyRun, step: Step) -> None:
    train_aligner(cast(TrainAlignerConfig, run.recipe(step)), _quietly)


def _train_words(run: StudyRun, step: Step) -> None:
    train_word_aligner(cast(TrainWordAlignerConfig, run.recipe(step)))


def _project(run: StudyRun, step: Step) -> None:
    """A corpus in one step, shard by shard: other corpora are other steps, at the same time."""
    projection = CorpusProjection.plan(cast(ProjectConfig, run.recipe(step)))
    projection.run.open()
    broken = [str(result.error) for result in projection.run_pending() if result.error]
    if broken:
        raise DataError("\n  ".join([f"{step.name}: {len(broken)} shards:", *broken]))
    folder = projection.run.folder
    total = Statistics.total(statistics_of(folder, name) for name in projection.run.done())
    folder.publish_json(SUMMARY_FILE, total.to_dict())


def _quietly(progress: Progress) -> None:
    """Hundreds of trainings say nothing of their steps: the study tells of them as they end."""


_WORK: Mapping[Kind, Callable[[StudyRun, Step], None]] = {
    "teacher": _train_tagger,
    "aligner": _train_aligner,
    "words": _train_words,
    "projection": _project,
    "score": StudyRun.score,
}
