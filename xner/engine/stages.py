"""The stages of the jobs: each takes a shard's table and returns it with more columns.

A stage holds its model and nothing of the engine that calls it, so the plain loop and the actors
of Ray Data run the same object. Every stage returns as many rows as it was given. What computes is
imported where a model is loaded: the driver, which names stages and runs none, needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xner.config import AlignerConfig, ModelConfig, QualityConfig, TeacherConfig
from xner.models.usage import Usage
from xner.models.word_links import WordLinker, require_languages, word_linker
from xner.projection.calibration import Calibration
from xner.projection.combine import Combination, combine, is_open
from xner.projection.decode import COPY, Candidate, candidates, stored_score, verbatim
from xner.projection.evidence import candidates_by_evidence
from xner.projection.quality import (
    ProjectedMention,
    Projection,
    from_alignments,
    project_row,
    to_alignments,
)
from xner.shards import schema
from xner.text.chinese import whole_words
from xner.text.iob2 import OUTSIDE, split_tag, tags_of
from xner.text.mentions import Mention
from xner.text.pairs import SentencePair
from xner.text.words import Span, segment

if TYPE_CHECKING:
    from xner.models.aligner import Aligner
    from xner.models.tagger import Tagger


class Label:
    """Adds ``source_mentions``: what the teacher finds in the source sentence."""

    def __init__(self, config: TeacherConfig) -> None:
        self._tagger = _load_tagger(config)

    @property
    def usage(self) -> Usage:
        """What the teacher has computed so far."""
        return self._tagger.budget.usage

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

    With an entity aligner alone a mention is its name, and the aligner's probabilities are decoded.
    With word links all evidence is weighed, and the mentions of a shard hear from each other. With
    ``exact_match`` a name that stands verbatim, once, in the target is placed there beforehand.

    Raises ConfigError for pairs in other languages than those of a word aligner.
    """

    def __init__(self, config: AlignerConfig) -> None:
        self._config = config
        self._aligner = _load_aligner(config) if config.model is not None else None
        self._linker = (
            None
            if config.links is None
            else word_linker(config.links, config.device, config.precision, config.batch_tokens)
        )

    @property
    def usage(self) -> Usage:
        """What the entity aligner, if there is one, has computed so far."""
        return Usage() if self._aligner is None else self._aligner.budget.usage

    def __call__(self, table: pa.Table) -> pa.Table:
        if self._linker is not None and self._config.links is not None:
            require_languages(self._linker.languages, self._config.links, table)
        rows = [
            _AlignedRow(
                source,
                target,
                lang if self._config.whole_words else None,
                [(m["start"], m["end"]) for m in mentions],
            )
            for source, target, lang, mentions in zip(
                table["source"].to_pylist(),
                table["target"].to_pylist(),
                table["target_lang"].to_pylist(),
                table["source_mentions"].to_pylist(),
                strict=True,
            )
        ]
        if self._config.exact_match:
            for row in rows:
                row.place_copies()
        if self._linker is None:
            self._decode([row for row in rows if row.asked and row.target_words])
        else:
            self._weigh(rows, self._linker)
        column = [to_alignments([found or [] for found in row.found]) for row in rows]
        return _with_columns(table, schema.ALIGNED, {"alignments": column})

    def _decode(self, rows: Sequence[_AlignedRow]) -> None:
        """Place by the entity aligner alone."""
        if self._aligner is None:
            return
        config, settings = self._config, self._aligner.settings
        calibration = Calibration(settings.score_scale, settings.score_bias)
        requests = [(row.names_asked, row.target, row.whole_words) for row in rows]
        for row, scores in zip(rows, self._aligner.align(requests), strict=True):
            row.place(
                candidates(
                    scores,
                    row.whole_words,
                    row.target,
                    threshold=config.threshold,
                    max_gap=config.max_gap,
                    max_candidates=config.max_candidates,
                    calibration=calibration,
                )
            )

    def _weigh(self, rows: Sequence[_AlignedRow], linker: WordLinker) -> None:
        """Place by the evidence of word links, of the entity aligner if there is one, and more.

        Pairs without a mention are linked too: what links words may learn from them.
        """
        pairs = [row.pair for row in rows]
        requests = [(row.names_asked, row.target, row.target_words) for row in rows]
        likely = self._aligner.align(requests) if self._aligner is not None else [None] * len(rows)
        found = candidates_by_evidence(
            pairs,
            [row.asked for row in rows],
            linker.links(pairs),
            likely,
            self._config.evidence,
            self._config.max_candidates,
        )
        for row, of_row in zip(rows, found, strict=True):
            row.place(of_row)


class _AlignedRow:
    """A pair and its source mentions; ``found``: each one's candidates, None while unplaced.

    ``target_lang``: None where mentions may tear its words.
    """

    def __init__(
        self, source: str, target: str, target_lang: str | None, mentions: Sequence[Span]
    ) -> None:
        self.source, self.target, self.target_lang = source, target, target_lang
        self.mentions = mentions
        self.found: list[list[Candidate] | None] = [None] * len(mentions)

    @cached_property
    def target_words(self) -> list[Span]:
        return segment(self.target)

    @cached_property
    def whole_words(self) -> Sequence[Span]:
        return whole_words(self.target, self.target_words, self.target_lang)

    @property
    def pair(self) -> SentencePair:
        whole = self.whole_words if self.mentions else None
        return SentencePair(
            self.source, segment(self.source), self.target, self.target_words, whole
        )

    @property
    def asked(self) -> list[Span]:
        """The mentions without a place."""
        return [m for m, found in zip(self.mentions, self.found, strict=True) if found is None]

    @property
    def names_asked(self) -> list[str]:
        return [self.source[start:end] for start, end in self.asked]

    def place(self, found: Iterable[list[Candidate]]) -> None:
        """The candidates of the mentions without a place, in their order."""
        more = iter(found)
        self.found = [next(more) if each is None else each for each in self.found]

    def place_copies(self) -> None:
        """Place the names that stand once on either side, letter for letter."""
        names = self.names_asked
        for index, name in enumerate(names):
            if names.count(name) == 1:
                place = verbatim(name, self.target, self.whole_words)
                if place is not None:
                    self.found[index] = [Candidate(*place, 1.0, COPY)]


# What a row is projected from.
_JUDGED = ["pair_id", "source", "target", "source_mentions", "alignments"]


class Project:
    """Adds the projected mentions and tags, the weight, and what the rules say of the row.

    ``labels`` are the teacher's entity types; they number the tags in ``ner_tags``.
    """

    def __init__(self, config: QualityConfig, labels: Sequence[str]) -> None:
        self._config = config
        self._tags = tags_of(labels)

    def __call__(self, table: pa.Table) -> pa.Table:
        projections = []
        for row in table.select(_JUDGED).to_pylist():
            mentions = [Mention(**mention) for mention in row["source_mentions"]]
            projections.append(
                project_row(
                    row["pair_id"],
                    row["source"],
                    row["target"],
                    segment(row["target"]),
                    mentions,
                    from_alignments(row["alignments"], len(mentions)),
                    self._config,
                )
            )
        return _with_projections(table, projections, self._tags)


class Relabel:
    """Combines the labels of pseudo-labelled rows with what a student finds in their targets.

    ``labels`` are the entity types of both, those of the shards first: they number the tags.
    """

    def __init__(
        self, student: ModelConfig, how: Combination, min_score: float, labels: Sequence[str]
    ) -> None:
        self._tagger = _load_tagger(student)
        self._how: Combination = how
        self._min_score = min_score
        self._tags = tags_of(labels)

    @property
    def usage(self) -> Usage:
        """What the student has computed so far."""
        return self._tagger.budget.usage

    def __call__(self, table: pa.Table) -> pa.Table:
        columns = ["target", *_PROJECTION]
        rows = [(row["target"], self._before(row)) for row in table.select(columns).to_pylist()]
        is_asked = [is_open(before.status, self._how) for _, before in rows]
        texts = [target for (target, _), asked in zip(rows, is_asked, strict=True) if asked]
        found = iter(self._tagger.label(texts))
        projections = [
            combine(before, next(found), segment(target), self._how, self._min_score)
            if asked
            else before
            for (target, before), asked in zip(rows, is_asked, strict=True)
        ]
        return _with_projections(table.select(schema.ALIGNED.names), projections, self._tags)

    def _before(self, row: dict[str, Any]) -> Projection:
        return Projection(
            mentions=tuple(ProjectedMention(**mention) for mention in row["mentions"]),
            tokens=tuple(row["tokens"]),
            ner_tags=tuple(self._tags[number] for number in row["ner_tags"]),
            weight=row["weight"],
            status=row["status"],
            reason=row["reason"],
        )


_PROJECTION = [field.name for field in fields(Projection)]


def _with_projections(
    table: pa.Table, projections: Sequence[Projection], tags: Sequence[str]
) -> pa.Table:
    """The table in the ``pseudo`` schema, its last columns and the names of its tags from these."""
    tag_ids = {tag: number for number, tag in enumerate(tags)}
    columns: dict[str, list[Any]] = {
        name: [getattr(projection, name) for projection in projections] for name in _PROJECTION
    }
    columns["mentions"] = [
        [{name: getattr(m, name) for name in schema.PROJECTED_MENTION.names} for m in mentions]
        for mentions in columns["mentions"]
    ]
    columns["ner_tags"] = [[tag_ids[tag] for tag in names] for names in columns["ner_tags"]]
    columns["error"] = [None] * len(projections)
    table = _with_columns(table, schema.PSEUDO, columns)
    return schema.with_tag_names(table, tags)


class Tag:
    """Adds ``predicted`` and ``scores``: the tag that a model chose for each word, and how surely.

    The words are the table's own, so that a gold is judged on its tokens.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._tagger = _load_tagger(config)

    def __call__(self, table: pa.Table) -> pa.Table:
        words = [[(w["start"], w["end"]) for w in row] for row in table["words"].to_pylist()]
        tags, scores = self._tagger.predict(table["text"].to_pylist(), words)
        return _with_columns(table, schema.PREDICTED, {"predicted": tags, "scores": scores})


def _load_tagger(config: ModelConfig) -> Tagger:
    from xner.models.tagger import Tagger

    return Tagger(config)


def _load_aligner(config: AlignerConfig) -> Aligner:
    from xner.models.aligner import Aligner

    return Aligner(config)


def _with_columns(table: pa.Table, wanted: pa.Schema, columns: dict[str, list[Any]]) -> pa.Table:
    """The table in the wanted schema, the columns that it lacks taken from ``columns``."""
    arrays = [
        pa.chunked_array([pa.array(columns[field.name], field.type)])
        if field.name in columns
        else table[field.name]
        for field in wanted
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def labels_in(footer: Mapping[str, str]) -> list[str]:
    """The entity types behind ``ner_tags`` in a shard with this footer, in their order.

    Raises KeyError for a footer that says nothing of them.
    """
    names = schema.tag_names(footer)
    if not names:
        raise KeyError("ner_tags")
    return list(dict.fromkeys(split_tag(name)[1] for name in names if name != OUTSIDE))
