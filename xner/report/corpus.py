"""The report of a run of pseudo-labelled shards: what came of every pair, and the pairs themselves.

One pass over the shards counts them and draws the rows to look at, with no more rows in memory than
a shard's and the sample's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from xner.config import QualityConfig, ReportConfig
from xner.errors import ConfigError, DataError
from xner.projection.combine import REASONS
from xner.report.browser import browser_data
from xner.report.card import provenance
from xner.report.census import NUM_BINS, Census
from xner.report.document import Part, Row, Step, write_document
from xner.report.findings import findings
from xner.report.last_run import last_run
from xner.report.plots import score_plot
from xner.report.sample import Sample
from xner.report.terminal import as_text
from xner.shards.ledger import RUN_FILE, SUMMARY_FILE, input_shards, record_of, require_made_of
from xner.shards.schema import PSEUDO, SINCE_VERSION_3
from xner.shards.storage import Folder

PAGE = "index.html"

# Tokens and their tags are another view of the mentions.
_COLUMNS = pa.schema([each for each in PSEUDO if each.name not in ("tokens", "ner_tags")])

_ABOUT = (
    "A model of the source language, the teacher, found names in the source sentences; an aligner "
    "looked for each name in the translation. What it found there are labels, from which a model "
    "of the target language, the student, can learn. Pairs whose labels may be wrong or incomplete "
    "are refused, for the reasons told here. They are kept in the shards all the same."
)
_NOT_LABELLED = "Pairs of shards that are not done yet, or that could not be read."
_SCORES_NOTES = {
    "teacher": "How sure the teacher was of the names in the source sentences.",
    "alignment": "How sure the alignment was of the places that names were given.",
}


_OF_ARCHIVE = ("source_lang", "target_lang", "read", "refused", "not_sampled", "written")


@dataclass(frozen=True)
class CorpusReport:
    """A report with its shards found.

    ``made_by`` is the record of the run that wrote them; ``quality`` its rules, None where its rows
    cannot be decided again; ``prepared`` what prepare_corpus says of each archive; ``results`` what
    other jobs found, ``run`` what the run that wrote the shards says of itself.
    """

    config: ReportConfig
    pseudo: Folder
    names: tuple[str, ...]
    made_by: Mapping[str, Any]
    quality: QualityConfig | None
    prepared: tuple[Mapping[str, Any], ...]
    results: tuple[Part, ...] = field(repr=False)
    run: tuple[Part, ...] = field(repr=False)

    @classmethod
    def plan(cls, config: ReportConfig) -> CorpusReport:
        """Find the shards and read what other jobs say. Raises ConfigError and DataError."""
        pseudo = Folder.at(config.pseudo)
        names = input_shards(pseudo)
        made_by = record_of(pseudo)
        return cls(
            config,
            pseudo,
            tuple(names),
            made_by,
            _rules(pseudo, made_by),
            tuple(_prepared(config, made_by)),
            tuple(part for location in config.results for part in findings(location)),
            tuple(last_run(pseudo)),
        )

    def read(self, sample: Sample) -> Iterator[Census]:
        """The census of each shard, in order; ``sample`` draws from its rows."""
        for name in self.names:
            table = self.pseudo.read_table(name, _COLUMNS, SINCE_VERSION_3)
            sample.add(table)
            yield Census.of(table, self.quality)

    def write(self, census: Census, sample: pa.Table) -> str:
        """Write the page; where it is."""
        path = f"{Folder.at(self.config.output).location}/{PAGE}"
        title = f"{self.made_by.get('job', 'Labels')}: {self.pseudo.name}"
        pairs = browser_data(census, sample, self.quality)
        write_document(path, title, self.parts(census), pairs)
        return path

    def parts(self, census: Census) -> list[Part]:
        """What the page tells before it shows the pairs."""
        return [
            Part(
                "At a glance",
                _ABOUT,
                figures={
                    "pairs": census.num_rows,
                    "pairs kept": census.num_ok,
                    "labels in them": census.num_labels,
                    "entity types": len({label for _, label in census.found}),
                    "languages": len({group[:2] for group in census.rows}),
                    "corpora": len({group[2] for group in census.rows}),
                    "shards": len(self.names),
                },
            ),
            Part("From pairs to labels", steps=_funnel(census, self.prepared)),
            Part("By type", rows=_by_type(census)),
            Part("By corpus", rows=_by_corpus(census)),
            *self.results,
            *(_scores(name, census) for name in _SCORES_NOTES),
            *self.run,
            Part(
                "Models and rules",
                rows=[
                    {"setting": key, "value": as_text(value)}
                    for key, value in provenance(self.made_by).items()
                ],
            ),
        ]


def _rules(pseudo: Folder, made_by: Mapping[str, Any]) -> QualityConfig | None:
    """The rules that decide the rows again; not those of relabel, where a student had its say."""
    if made_by.get("job") not in ("project_corpus", "refilter"):
        return None
    try:
        return QualityConfig.model_validate(made_by.get("quality"))
    except ValidationError as error:
        raise DataError(
            f"{pseudo}/{RUN_FILE}: its quality is not as this version of xner writes it: {error}"
        ) from error


def _prepared(config: ReportConfig, made_by: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What became of the pairs of each archive. Raises ConfigError for other pairs."""
    if config.pairs is None:
        return
    pairs = Folder.at(config.pairs)
    require_made_of(made_by, pairs, config.pseudo)
    names = pairs.names(SUMMARY_FILE)
    if not names:
        raise ConfigError(f"pairs {pairs}: no {SUMMARY_FILE} of prepare_corpus below here")
    for name in names:
        archives = pairs.read_json(name)
        if isinstance(archives, dict):
            # That of all languages says the same once more.
            continue
        try:
            for archive in archives:
                yield {key: archive[key] for key in _OF_ARCHIVE}
        except (TypeError, KeyError) as error:
            raise DataError(
                f"{pairs}/{name}: not as prepare_corpus writes it: {error!r}"
            ) from error


def _enumerated(languages: Collection[Sequence[str]]) -> str:
    return ", ".join(sorted("-".join(pair) for pair in languages))


def _funnel(census: Census, prepared: Sequence[Mapping[str, Any]]) -> list[Step]:
    """From what was read to what is kept, with what was lost for which reason.

    The archives of a preparation that are of other languages than the rows are left out. Raises
    ConfigError for a preparation that has none of theirs, or wrote fewer pairs than there are rows:
    it is another one.
    """
    steps = []
    languages = {group[:2] for group in census.rows}
    read = {(archive["source_lang"], archive["target_lang"]) for archive in prepared}
    if read and languages and read.isdisjoint(languages):
        raise ConfigError(
            f"pairs: {_enumerated(read)} were prepared, but {_enumerated(languages)} are labelled; "
            "these are other pairs"
        )
    prepared = [
        archive
        for archive in prepared
        if (archive["source_lang"], archive["target_lang"]) in languages
    ]
    if prepared:
        refused: Counter[str] = Counter()
        for archive in prepared:
            refused.update(archive["refused"])
        refused["not sampled"] = sum(archive["not_sampled"] for archive in prepared)
        steps = [
            Step("pairs read", sum(archive["read"] for archive in prepared)),
            *(Step(name, count, is_loss=True) for name, count in (+refused).most_common()),
        ]
        num_written = sum(archive["written"] for archive in prepared)
        left = num_written - census.num_rows
        if left < 0:
            raise ConfigError(
                f"pairs: {num_written:,} were written, but {census.num_rows:,} are labelled; these "
                "are other pairs, or not all of them"
            )
        if left > 0:
            steps.append(Step("not labelled", left, _NOT_LABELLED, is_loss=True))
    steps.append(Step("pairs labelled", census.num_rows))
    for (status, reason), count in census.refused().most_common():
        name = " ".join(filter(None, ["error:" if status == "error" else "", reason]))
        steps.append(Step(name or status, count, REASONS.get(reason or "", ""), is_loss=True))
    steps.append(Step("pairs kept", census.num_ok))
    return steps


def _by_type(census: Census) -> list[Row]:
    found, placed, kept = Counter[str](), Counter[str](), Counter[str]()
    for (_, label), count in census.found.items():
        found[label] += count
    for (group, label), count in census.labels.items():
        placed[label] += count
        kept[label] += count if group[3] == "ok" else 0
    return [
        {
            "type": label,
            "names in the source": found[label],
            "placed in the target": placed[label],
            "labels in kept pairs": kept[label],
            "kept of those in the source": kept[label] / found[label] if found[label] else None,
        }
        for label in sorted({*found, *placed})
    ]


def _by_corpus(census: Census) -> list[Row]:
    reasons = sorted({reason or status for status, reason in census.refused()})
    rows: list[Row] = []
    for source_lang, target_lang, corpus in sorted({group[:3] for group in census.rows}):
        mine = {
            group[3:]: count
            for group, count in census.rows.items()
            if group[:3] == (source_lang, target_lang, corpus)
        }
        refused = {reason or status: count for (status, reason), count in mine.items()}
        num_rows, num_ok = sum(mine.values()), refused.pop("ok", 0)
        labels = sum(
            count
            for (group, _), count in census.labels.items()
            if group[:4] == (source_lang, target_lang, corpus, "ok")
        )
        rows.append(
            {
                "languages": f"{source_lang} → {target_lang}",
                "corpus": corpus,
                "pairs": num_rows,
                "kept": num_ok,
                "share kept": num_ok / num_rows,
                "labels in kept pairs": labels,
                **{reason: refused.get(reason, 0) for reason in reasons},
            }
        )
    return rows


def _scores(name: str, census: Census) -> Part:
    kept, refused = census.scores[name].tolist()
    width = 1 / NUM_BINS
    plot = {"in kept pairs": kept, "in refused pairs": refused}
    return Part(
        f"Scores of the {name}",
        _SCORES_NOTES[name],
        plot=score_plot(plot, f"score of the {name}") if sum(kept) + sum(refused) else None,
        rows=[
            {
                "scores": f"{width * number:.2f} to {width * (number + 1):.2f}",
                "in kept pairs": kept[number],
                "in refused pairs": refused[number],
            }
            for number in range(NUM_BINS)
        ],
    )
