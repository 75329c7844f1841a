"""Taggers run on gold, on a pool of them where the engine has one."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from xner.config import EngineConfig, ModelConfig
from xner.corpora.tagged import TaggedSentence
from xner.engine.choose import engine_for
from xner.engine.flow import Step
from xner.engine.recipes import model_found
from xner.engine.stages import Tag
from xner.shards.schema import PREDICTED, TAGGED

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


def _predicted(
    model: ModelConfig, sentences: Sequence[TaggedSentence], engine: EngineConfig
) -> pa.Table:
    """The sentences as a table in the ``predicted`` schema, a row a sentence, in their order."""
    everywhere, _ = model_found(model)
    tables = [
        _table(sentences[first : first + _AT_ONCE], first)
        for first in range(0, len(sentences), _AT_ONCE)
    ]
    steps = [Step("tag", Tag, (everywhere,), model.pool)]
    found = engine_for(engine, [model.pool]).run_tables(tables, steps)
    return pa.concat_tables([PREDICTED.empty_table(), *found]).sort_by("sentence")


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
