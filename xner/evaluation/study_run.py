"""The steps of a study carried out: each is a job's own code, in one process, into one folder.

A step is done when its job's last file stands in its folder. Scores are a file a gold set, in
``scores``: the counts of every sentence, and in the footer whose they are and what they took.

The process that plans a study and hands out its steps does none of them: what needs torch is
imported where it is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from xner.config import (
    EngineConfig,
    ModelConfig,
    ProjectConfig,
    StudyConfig,
    StudyLanguageConfig,
    TrainAlignerConfig,
    TrainTaggerConfig,
    TrainWordAlignerConfig,
)
from xner.engine.recipes import CorpusProjection
from xner.errors import ConfigError, DataError
from xner.evaluation.bootstrap import sentence_counts
from xner.evaluation.scoring import tagged_words
from xner.evaluation.study import Cell, Input, Kind, Scoring, Step, Study, plan
from xner.evaluation.study_results import Result
from xner.evaluation.tagger_run import GoldSet, predict
from xner.evaluation.tagging import comparable
from xner.models.folders import encoder_content, local_path
from xner.models.hmm import SETTINGS_FILE
from xner.shards.ledger import (
    DATA_FILE,
    SHARD,
    SUMMARY_FILE,
    TRAINING_FILE,
    content_of,
    total_statistics,
)
from xner.shards.schema import PAIRS, language_pairs
from xner.shards.storage import Folder, files_at
from xner.text.languages import language_of

if TYPE_CHECKING:
    from xner.training.loop import Progress

_RECORD_KEY = "xner.study"
_COUNTS = pa.schema(
    [
        pa.field("sentence", pa.int32(), nullable=False),
        *(
            pa.field(name, pa.int32(), nullable=False)
            for name in ("true_positives", "false_positives", "false_negatives")
        ),
    ]
)

_LANGUAGES = pa.schema([PAIRS.field(name) for name in ("source_lang", "target_lang")])

# The file that each kind of step writes last; a step that scores has one for each gold set.
_MARKS: Mapping[Kind, str] = {
    "teacher": TRAINING_FILE,
    "aligner": TRAINING_FILE,
    "words": SETTINGS_FILE,
    "projection": SUMMARY_FILE,
}


@dataclass(frozen=True)
class StudyRun:
    """A study and the folder that its steps lie in; called with a step's name, it does the step.

    All its locations are whole, for steps run in other directories than the process that plans.
    """

    config: StudyConfig
    study: Study
    steps: Folder

    @classmethod
    def plan(cls, config: StudyConfig) -> StudyRun:
        """Plan the study.

        Raises ConfigError where something that it reads is not there, or pairs are of another
        language than their students are scored on.
        """
        for language in config.languages:
            _check_pairs(language)
        study = plan(config, data_at, model_at)
        return cls(config, study, Folder.at(config.output) / "steps")

    def done(self) -> set[str]:
        """The steps that have their result."""
        there = set(self.steps.names())
        return {
            name
            for name, step in self.study.steps.items()
            if all(f"{name}/{mark}" in there for mark in _marks(step))
        }

    def pending(self) -> dict[str, list[str]]:
        """The steps that are still to be done, and what each one needs."""
        done = self.done()
        return {name: step.needs for name, step in self.study.steps.items() if name not in done}

    def __call__(self, name: str) -> None:
        """Do one step. Raises what its job raises."""
        step = self.study.steps[name]
        _WORK[step.kind](self, step)

    def results(self) -> list[Result]:
        """The cells that are done on every gold set, in the grid's order."""
        done = self.done()
        return [
            result
            for cell, name in self.study.cells.items()
            if name in done
            for result in self._read(cell, name)
        ]

    def recipe(self, step: Step) -> Any:
        """The step's recipe as its job takes it."""
        how = {"batch_tokens": self.config.batch_tokens}
        changes = {"teacher": how, "aligner": how} if step.kind == "projection" else {}
        return step.resolved(self.steps.location, **changes)

    def score(self, step: Step) -> None:
        """Train the cell's model where it has one of its own; score it where it has no score yet.

        A model that was kept, or that its process left behind, is trained already.
        """
        recipe = cast(Scoring, self.recipe(step))
        folder = self.steps / step.name
        sentences, seconds = 0, 0.0
        if recipe.training is not None:
            # What a process took that was killed counts as well.
            seconds = _train_tagger(recipe.training)["seconds"]
            data = Folder.at(recipe.model).require_record(DATA_FILE)
            sentences = sum(each["sentences"] for each in data["data"] + data["dev"])
        model = ModelConfig(
            model=recipe.model,
            max_length=recipe.max_length,
            batch_tokens=self.config.batch_tokens,
        )
        for key, source in recipe.gold.items():
            if folder.exists(_scores(key)):
                continue
            started = time.perf_counter()
            gold = GoldSet.read(source).sentences
            predicted = predict(model, gold, EngineConfig(kind="inline"))
            wanted = tagged_words([each.tags for each in gold])
            found = tagged_words(comparable(predicted, {}, source.not_annotated))
            columns = [np.arange(len(gold)), *sentence_counts(wanted, found).T]
            table = pa.table(dict(zip(_COUNTS.names, columns, strict=True))).cast(_COUNTS)
            record = {
                "cells": [asdict(c) for c, name in self.study.cells.items() if name == step.name],
                "sentences": sentences,
                "training_seconds": seconds,
                "scoring_seconds": time.perf_counter() - started,
            }
            folder.publish_table(_scores(key), table, {_RECORD_KEY: json.dumps(record)})
        if recipe.training is not None and not self.config.keep_models:
            folder.remove_all("model")

    def _read(self, cell: Cell, name: str) -> list[Result]:
        folder = self.steps / name
        found = []
        for key, source in cast(Scoring, self.study.steps[name].recipe).gold.items():
            record = json.loads(folder.read_footer(_scores(key))[_RECORD_KEY])
            table = folder.read_table(_scores(key), _COUNTS)
            counts = np.stack([table[each].to_numpy() for each in _COUNTS.names[1:]], axis=1)
            found.append(
                Result(
                    cell=cell,
                    step=name,
                    gold=source.name,
                    counts=counts.astype(np.int64),
                    sentences=record["sentences"],
                    training_seconds=record["training_seconds"],
                    scoring_seconds=record["scoring_seconds"],
                )
            )
        return found


def _scores(key: str) -> str:
    """The file of a model's scores on the gold set that is known by ``key``."""
    return f"scores/{key}.parquet"


def _marks(step: Step) -> Iterable[str]:
    """The files without which a step is not done."""
    if step.kind == "score":
        return map(_scores, cast(Scoring, step.recipe).gold)
    return [_MARKS[step.kind]]


def data_at(path: str) -> Input:
    """A file, or the shards of a folder. Raises ConfigError where there is nothing."""
    return Input(Folder.at(path).location, content_of([path]))


def model_at(name: str) -> Input:
    """A model by its folder, or by its name on the hub. Raises ConfigError for what is none."""
    folder = local_path(name)
    return Input(str(folder.absolute()) if folder.is_dir() else name, encoder_content(name))


def _check_pairs(language: StudyLanguageConfig) -> None:
    """Look at the first shard of each folder: labels of other languages would be learned unseen."""
    folder, names = files_at(language.pairs, SHARD)
    for name in {name.rpartition("/")[0]: name for name in reversed(names)}.values():
        for pair in language_pairs(folder.read_table(name, _LANGUAGES)):
            if language_of(pair[1]) != language_of(language.lang):
                raise ConfigError(
                    f"languages, {language.lang}: pairs {folder}/{name} are {'-'.join(pair)}"
                )


def _train_tagger(recipe: TrainTaggerConfig) -> Mapping[str, Any]:
    from xner.training.tagger import train_tagger

    return train_tagger(recipe, _quietly)


def _train_teacher(run: StudyRun, step: Step) -> None:
    _train_tagger(cast(TrainTaggerConfig, run.recipe(step)))


def _train_aligner(run: StudyRun, step: Step) -> None:
    from xner.training.aligner import train_aligner

    train_aligner(cast(TrainAlignerConfig, run.recipe(step)), _quietly)


def _train_words(run: StudyRun, step: Step) -> None:
    from xner.training.word_aligner import train_word_aligner

    train_word_aligner(cast(TrainWordAlignerConfig, run.recipe(step)))


def _project(run: StudyRun, step: Step) -> None:
    """A corpus in one step, shard by shard: other corpora are other steps, at the same time."""
    projection = CorpusProjection.plan(cast(ProjectConfig, run.recipe(step)))
    projection.run.open()
    broken = [str(result.error) for result in projection.run_pending() if result.error]
    if broken:
        raise DataError("\n  ".join([f"{step.name}: {len(broken)} shards:", *broken]))
    folder = projection.run.folder
    total = total_statistics(folder, projection.run.done())
    folder.publish_json(SUMMARY_FILE, total.to_dict())


def _quietly(progress: Progress) -> None:
    """Hundreds of trainings say nothing of their steps: the study tells of them as they end."""


_WORK: Mapping[Kind, Callable[[StudyRun, Step], None]] = {
    "teacher": _train_teacher,
    "aligner": _train_aligner,
    "words": _train_words,
    "projection": _project,
    "score": StudyRun.score,
}
