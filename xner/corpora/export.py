"""Pseudo-labelled shards taken to other tools: one file a shard, in one pass over the shards.

A shard is read, its rows are chosen, and its file is published whole; so memory is that of a shard,
and a run that died goes on. What was exported is counted anew each time: a card must tell of all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from xner.config import ExportConfig
from xner.corpora.export_formats import COLUMNS, EXPORTS, require_library
from xner.errors import ConfigError, DataError
from xner.shards.ledger import (
    RUN_FILE,
    Run,
    footers_of_each,
    input_shards,
    record_of,
    require_made_of,
    require_numbering,
    statistics_in,
)
from xner.shards.schema import SINCE_VERSION_3, tag_names
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

_ARCHIVE = re.compile(r"/OPUS-([^/]+)/([^/]+)/")


@dataclass(frozen=True)
class Exported:
    """What was exported of shards; adds up with ``+``. ``corpora`` and ``languages`` count rows.

    ``mentions`` counts those of all exported rows by label, the refused ones' too.
    """

    files: int = 0
    statistics: Statistics = field(default_factory=Statistics)
    mentions: Counter[str] = field(default_factory=Counter)
    corpora: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Exported) -> Exported:
        return Exported(
            self.files + other.files,
            self.statistics + other.statistics,
            self.mentions + other.mentions,
            self.corpora + other.corpora,
            self.languages + other.languages,
        )


@dataclass(frozen=True)
class CorpusExport:
    """An export with its shards counted.

    ``made_by`` is the record of the run that labelled the shards, ``versions`` the versions of the
    corpora, as far as the record of the pairs tells.
    """

    config: ExportConfig
    run: Run
    pseudo: Folder
    names: tuple[str, ...]
    tags: tuple[str, ...]
    accepted: tuple[int, ...]
    made_by: Mapping[str, Any]
    versions: Mapping[str, str]

    @classmethod
    def plan(cls, config: ExportConfig) -> CorpusExport:
        """Find the shards. Raises ConfigError where there are none, and for a missing library."""
        require_library(config.format)
        if config.push_to is not None and "://" in Folder.at(config.output).location:
            raise ConfigError(f"push_to: output {config.output} must be a folder of this machine")
        pseudo = Folder.at(config.pseudo)
        names = input_shards(pseudo)
        made_by = record_of(pseudo)
        tags: list[str] = []
        accepted: list[int] = []
        for name, footer in zip(names, footers_of_each(pseudo, names), strict=True):
            where = f"{pseudo}/{name}"
            tags = tags or tag_names(footer)
            if not tags:
                raise DataError(f"{where}: its footer does not name the tags of ner_tags")
            require_numbering(footer, where, tags)
            statistics = statistics_in(footer, where)
            accepted.append(sum(statistics.status.get(each, 0) for each in set(config.status)))
        fingerprint = {
            "pseudo": made_by.get("fingerprint", str(pseudo)),
            "format": config.format,
            "status": sorted(set(config.status)),
            "max_rows": config.max_rows,
        }
        if config.max_rows is not None:
            # Of more rows the sample is another.
            fingerprint["rows"] = sum(accepted)
        return cls(
            config,
            Run(Folder.at(config.output), "export", fingerprint),
            pseudo,
            tuple(names),
            tuple(tags),
            tuple(accepted),
            made_by,
            _versions(config, made_by),
        )

    @property
    def num_rows(self) -> int:
        """Rows to be exported."""
        return min(sum(self.accepted), self.config.max_rows or sum(self.accepted))

    def export(self) -> Iterator[Exported]:
        """Write the files that are not there; what each shard comes to, in order."""
        form = EXPORTS[self.config.format]
        there = set(self.run.folder.names(form.suffix))
        for target, content_of in form.once.items():
            self.run.folder.publish(target, content_of(self.tags).encode())
        for name, chosen in zip(self.names, self._chosen(), strict=True):
            table = self.pseudo.read_table(name, COLUMNS, SINCE_VERSION_3)
            table = table.filter(pc.is_in(table["status"], pa.array(self.config.status)))
            if chosen is not None:
                table = table.take(chosen)
            target = form.name_of(name)
            if table.num_rows and target not in there:
                form.write(self.run.folder, target, table, self.tags)
            yield Exported(
                1 if table.num_rows else 0,
                Statistics.of(table),
                Counter(pc.struct_field(pc.list_flatten(table["mentions"]), "label").to_pylist()),
                Counter(table["corpus"].to_pylist()),
                Counter(table["target_lang"].to_pylist()),
            )

    def _chosen(self) -> Sequence[npt.NDArray[np.int64] | None]:
        """The numbers of the sampled rows of each shard, among those with the right status."""
        if self.num_rows == sum(self.accepted):
            return [None] * len(self.names)
        rows = np.random.default_rng(0).choice(sum(self.accepted), self.num_rows, replace=False)
        rows.sort()
        ends = np.cumsum(self.accepted)
        parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
        return [part - start for part, start in zip(parts, [0, *ends[:-1]], strict=True)]


def _versions(config: ExportConfig, made_by: Mapping[str, Any]) -> dict[str, str]:
    """The version of each corpus, by its archive's place in OPUS; empty where nobody tells."""
    if config.pairs is None:
        return {}
    folder = Folder.at(config.pairs)
    record = folder.read_record(RUN_FILE)
    archives = (record or {}).get("archives")
    if record is None or not isinstance(archives, dict):
        raise ConfigError(
            f"pairs {folder}: no {RUN_FILE} of prepare_corpus; name its output, which holds the "
            "folders of the language pairs"
        )
    require_made_of(made_by, folder, config.pseudo)
    found = (_ARCHIVE.search(str(path)) for path in archives)
    return {each[1]: each[2] for each in found if each is not None}
