"""The stages of the main job: each takes a shard's table and returns it with more columns.

A stage holds its model and nothing of the engine that calls it, so the plain loop and the actors
of Ray Data run the same object. Every stage returns as many rows as it was given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from xner.config import AlignerConfig, QualityConfig, TeacherConfig
from xner.models.aligner import Aligner
from xner.models.tagger import Tagger
from xner.projection.calibration import Calibration
from xner.projection.decode import COPY, Candidate, candidates, stored_score, verbatim
from xner.projection.quality import from_alignments, project_row, to_alignments
from xner.shards import schema
from xner.text.iob2 import tags_of
from xner.text.mentions import Mention
from xner.text.words import segment


class Label:
    """Adds ``source_mentions``: what the teacher finds in the source sentence."""

    def __init__(self, config: TeacherConfig) -> None:
        self._tagger = Tagger(config)

    def __call__(self, table: pa.Table) -> pa.Table:
        column = [
            [
                {
                    "start": m.start,
                    "end": m.end,
                    "label": m.label,
                    "score": stored_score(m.score),
                }
                for m in mentions
            ]
            for mentions in self._tagger.label(table["source"].to_pylist())
        ]
        return _with_columns(table, schema.LABELLED, {"source_mentions": column})


class Align:
    """Adds ``alignments``: the candidate spans of every source mention in the target sentence.

    A sentence's distinct names make one request; with ``exact_match`` a name that stands verbatim,
    once, in the target is placed there and not asked for.
    """

    def __init__(self, config: AlignerConfig) -> None:
        self._config = config
        self._aligner = Aligner(config)

    def __call__(self, table: pa.Table) -> pa.Table:
        names_of_rows: list[list[str]] = []
        places_of_rows: list[dict[str, list[Candidate]]] = []
        requests, asking_rows = [], []
        for source, target, mentions in zip(
            table["source"].to_pylist(),
            table["target"].to_pylist(),
            table["source_mentions"].to_pylist(),
            strict=True,
        ):
            names = [source[m["start"] : m["end"]] for m in mentions]
            words = segment(target) if names else []
            places = self._copies(names, target, words)
            names_of_rows.append(names)
            places_of_rows.append(places)
            wanted = tuple(dict.fromkeys(name for name in names if name not in places))
            if wanted and words:
                requests.append((wanted, target, words))
                asking_rows.append(places)
        config, settings = self._config, self._aligner.settings
        calibration = Calibration(settings.score_scale, settings.score_bias)
        for (wanted, target, words), places, scores in zip(
            requests, asking_rows, self._aligner.align(requests), strict=True
        ):
            found = candidates(
                scores,
                words,
                target,
                threshold=config.threshold,
                max_gap=config.max_gap,
                max_candidates=config.max_candidates,
                calibration=calibration,
            )
            places.update(zip(wanted, found, strict=True))
        column = [
            to_alignments([places.get(name, []) for name in names])
            for names, places in zip(names_of_rows, places_of_rows, strict=True)
        ]
        return _with_columns(table, schema.ALIGNED, {"alignments": column})

    def _copies(
        self, names: Sequence[str], target: str, words: Sequence[tuple[int, int]]
    ) -> dict[str, list[Candidate]]:
        if not self._config.exact_match:
            return {}
        found = {name: verbatim(name, target, words) for name in names if names.count(name) == 1}
        return {
            name: [Candidate(*place, 1.0, COPY)]
            for name, place in found.items()
            if place is not None
        }


class Project:
    """Adds the projected mentions and tags, the weight, and what the rules say of the row.

    ``labels`` are the teacher's entity types; they number the tags in ``ner_tags``.
    """

    def __init__(self, config: QualityConfig, labels: Sequence[str]) -> None:
        self._config = config
        self._tags = tags_of(labels)

    def __call__(self, table: pa.Table) -> pa.Table:
        tag_ids = {tag: number for number, tag in enumerate(self._tags)}
        columns: dict[str, list[Any]] = {
            name: [] for name in schema.PSEUDO.names if name not in schema.ALIGNED.names
        }
        for row in table.select(["pair_id", "target", "source_mentions", "alignments"]).to_pylist():
            mentions = [Mention(**mention) for mention in row["source_mentions"]]
            projection = project_row(
                row["pair_id"],
                row["target"],
                segment(row["target"]),
                mentions,
                from_alignments(row["alignments"], len(mentions)),
                self._config,
            )
            columns["mentions"].append(
                [
                    {name: getattr(m, name) for name in schema.PROJECTED_MENTION.names}
                    for m in projection.mentions
                ]
            )
            columns["tokens"].append(projection.tokens)
            columns["ner_tags"].append([tag_ids[tag] for tag in projection.ner_tags])
            columns["weight"].append(projection.weight)
            columns["status"].append(projection.status)
            columns["reason"].append(projection.reason)
        table = _with_columns(table, schema.PSEUDO, columns)
        return table.replace_schema_metadata({"huggingface": _features(self._tags)})


def _with_columns(table: pa.Table, wanted: pa.Schema, columns: dict[str, list[Any]]) -> pa.Table:
    """The table in the wanted schema, the columns that it lacks taken from ``columns``."""
    arrays = [
        pa.chunked_array([pa.array(columns[field.name], field.type)])
        if field.name in columns
        else table[field.name]
        for field in wanted
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def _features(tags: Sequence[str]) -> str:
    """What the datasets library reads from a footer: here, the names behind ``ner_tags``."""
    feature = {"feature": {"names": list(tags), "_type": "ClassLabel"}, "_type": "List"}
    return json.dumps({"info": {"features": {"ner_tags": feature}}})
