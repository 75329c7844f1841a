"""Taggers run on gold, on a pool of them where the engine has one, and their predictions kept.

A file of predictions carries in its footer what it came from: the content of the model and that of
the gold. As long as both are the same a model is not run again, whatever is scored how.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import pyarrow as pa

from xner.config import (
    BootstrapConfig,
    EngineConfig,
    EvaluatedModelConfig,
    EvaluateTaggerConfig,
    GoldConfig,
    ModelConfig,
)
from xner.corpora.tagged import TaggedSentence, read_tagged
from xner.engine.choose import engine_for
from xner.engine.flow import Step
from xner.engine.recipes import model_found, model_identity
from xner.engine.stages import Tag
from xner.errors import ConfigError, DataError
from xner.evaluation.bootstrap import Difference, difference
from xner.evaluation.tagging import TaggerReport, comparable, evaluate
from xner.models.folders import entity_types
from xner.shards.ledger import require_no_run
from xner.shards.schema import PREDICTED, TAGGED
from xner.shards.storage import Folder
from xner.text.iob2 import OUTSIDE, chunks

_MADE_FROM = "xner.made_from"
_CHOSEN = pa.schema([PREDICTED.field("predicted")])

# Sentences that an actor takes at once: few enough to spread a small gold over a pool.
_AT_ONCE = 1000


def predict(
    model: ModelConfig, sentences: Sequence[TaggedSentence], engine: EngineConfig
) -> list[list[str]]:
    """The tag that the model chose for each word of each sentence, valid IOB2 or not.

    Raises ConfigError for a model that is no tagger.
    """
    tags: list[list[str]] = _predicted(model, sentences, engine)["predicted"].to_pylist()
    return tags


@dataclass(frozen=True)
class GoldSet:
    """A gold set that was read; ``content`` names texts, words and tags by their hash."""

    config: GoldConfig
    sentences: Sequence[TaggedSentence]
    content: str

    @classmethod
    def read(cls, config: GoldConfig) -> GoldSet:
        """Raises what read_tagged does, and DataError for another number of entities."""
        sentences = read_tagged(config)
        rows = [(sentence.text, sentence.words, sentence.tags) for sentence in sentences]
        gold = cls(config, sentences, hashlib.sha256(json.dumps(rows).encode()).hexdigest())
        if config.num_entities not in (None, gold.num_entities):
            raise DataError(
                f"gold {config.name}: {config.path}: {gold.num_entities} entities, but "
                f"num_entities is {config.num_entities}"
            )
        return gold

    @property
    def num_entities(self) -> int:
        """Entities in all sentences."""
        return sum(1 for sentence in self.sentences for _ in chunks(sentence.tags))

    @property
    def labels(self) -> set[str]:
        """The types of the entities."""
        return {label for sentence in self.sentences for _, _, label in chunks(sentence.tags)}


@dataclass(frozen=True)
class FoundModel:
    """A tagger that was found: its types as the gold calls them, and what decides its tags."""

    config: EvaluatedModelConfig
    labels: frozenset[str]
    identity: Mapping[str, Any]

    @classmethod
    def find(cls, config: EvaluatedModelConfig) -> FoundModel:
        """Raises ConfigError for a model that is no tagger, or whose types are not the map's."""
        found, folder = model_found(config)
        types = entity_types(folder)
        label_map = config.label_map or {label: label for label in types}
        for problem, wrong in (
            ("does not name", set(types) - label_map.keys()),
            ("names", label_map.keys() - set(types)),
        ):
            if wrong:
                raise ConfigError(
                    f"model {config.name}: label_map {problem} {', '.join(sorted(wrong))}; the "
                    f"model knows {', '.join(types)}: map each to a type of the gold, or to "
                    f"{OUTSIDE} to drop it"
                )
        labels = frozenset(label_map.values()) - {OUTSIDE}
        return cls(found, labels, model_identity(found, folder))


@dataclass(frozen=True)
class TaggerComparison:
    """The paired tests of one model against another on the same gold."""

    model: str
    other: str
    strict: Difference
    lenient: Difference


@dataclass(frozen=True)
class GoldReport:
    """What one gold set says of the models: a report each, and a comparison for each two."""

    models: Mapping[str, TaggerReport]
    comparisons: Sequence[TaggerComparison]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "models": {name: report.to_dict() for name, report in self.models.items()},
            "comparisons": [asdict(each) for each in self.comparisons],
        }


@dataclass(frozen=True)
class TaggerEvaluation:
    """An evaluation with its models found and its gold read."""

    config: EvaluateTaggerConfig
    models: Sequence[FoundModel]
    gold: Sequence[GoldSet]
    predictions: Folder

    @classmethod
    def plan(cls, config: EvaluateTaggerConfig) -> TaggerEvaluation:
        """Find the models and read the gold. Raises ConfigError and DataError as these do.

        And ConfigError for the output folder of another job.
        """
        output = Folder.at(config.output)
        require_no_run(output)
        return cls(
            config,
            [FoundModel.find(model) for model in config.models],
            [GoldSet.read(gold) for gold in config.gold],
            output / "predictions",
        )

    def pending(self, model: FoundModel) -> list[GoldSet]:
        """The gold sets that this model has no predictions for."""
        return [gold for gold in self.gold if not self._is_done(model, gold)]

    def predict_pending(self, report: Callable[[int], None]) -> None:
        """Run every model on the gold that it has no predictions for, and keep what it says.

        ``report`` is called with a number of sentences as they are tagged.
        """
        self.predictions.require_writable()
        self.predictions.remove_leftovers()
        for model in self.models:
            pending = self.pending(model)
            sentences = [sentence for gold in pending for sentence in gold.sentences]
            if not sentences:
                continue
            table = _predicted(model.config, sentences, self.config.engine, report)
            first = 0
            for gold in pending:
                rows = table.slice(first, len(gold.sentences)).drop_columns("sentence")
                self.predictions.publish_table(
                    _file_of(model, gold), rows, {_MADE_FROM: _made_from(model, gold)}
                )
                first += len(gold.sentences)

    def reports(self) -> dict[str, GoldReport]:
        """What each gold set says of the models. Raises DataError for lost predictions."""
        return {
            gold.config.name: _report(
                {model.config.name: self._score(model, gold) for model in self.models},
                self.config.bootstrap,
            )
            for gold in self.gold
        }

    def _is_done(self, model: FoundModel, gold: GoldSet) -> bool:
        name = _file_of(model, gold)
        if not self.predictions.exists(name):
            return False
        return self.predictions.read_footer(name).get(_MADE_FROM) == _made_from(model, gold)

    def _score(self, model: FoundModel, gold: GoldSet) -> TaggerReport:
        table = self.predictions.read_table(_file_of(model, gold), _CHOSEN)
        tags = comparable(
            table["predicted"].to_pylist(), model.config.label_map, gold.config.not_annotated
        )
        wanted = [sentence.tags for sentence in gold.sentences]
        return evaluate(wanted, tags, self.config.bootstrap)


def _file_of(model: FoundModel, gold: GoldSet) -> str:
    return f"{model.config.name}/{gold.config.name}.parquet"


def _made_from(model: FoundModel, gold: GoldSet) -> str:
    return json.dumps({"model": model.identity, "gold": gold.content}, sort_keys=True)


def _report(reports: Mapping[str, TaggerReport], bootstrap: BootstrapConfig) -> GoldReport:
    comparisons = []
    for (name, report), (other_name, other) in combinations(reports.items(), 2):
        strict, lenient = (
            difference(mine.counts, others.counts, bootstrap)
            for mine, others in ((report.strict, other.strict), (report.lenient, other.lenient))
        )
        comparisons.append(TaggerComparison(name, other_name, strict, lenient))
    return GoldReport(reports, comparisons)


def _predicted(
    model: ModelConfig,
    sentences: Sequence[TaggedSentence],
    engine: EngineConfig,
    report: Callable[[int], None] = lambda num_sentences: None,
) -> pa.Table:
    """The sentences as a table in the ``predicted`` schema, a row a sentence, in their order."""
    everywhere, _ = model_found(model)
    tables = [
        _table(sentences[first : first + _AT_ONCE], first)
        for first in range(0, len(sentences), _AT_ONCE)
    ]
    steps = [Step("tag", Tag, (everywhere,), model.pool)]
    found = [PREDICTED.empty_table()]
    for table in engine_for(engine, [model.pool]).run_tables(tables, steps):
        found.append(table)
        report(table.num_rows)
    return pa.concat_tables(found).sort_by("sentence")


def _table(sentences: Sequence[TaggedSentence], first: int) -> pa.Table:
    rows = [
        {
            "sentence": number,
            "text": sentence.text,
            "words": [{"start": start, "end": end} for start, end in sentence.words],
            "tokens": [sentence.text[start:end] for start, end in sentence.words],
            "tags": sentence.tags,
        }
        for number, sentence in enumerate(sentences, start=first)
    ]
    return pa.Table.from_pylist(rows, schema=TAGGED)
