"""Wikipedia as functions of tables: first the titles, then the examples from anchors.

Two passes over a dump, each a task for every part of it. The first finds what is needed to know
where links lead: redirects and links to the English wiki, together with what SQL dumps and Wikidata
know. Their table of titles is published beside the examples, under a name that no reader of shards
takes for one, so that a task of the second pass finds it whatever machine it runs on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xner.config import WikipediaConfig
from xner.corpora.alignment_set import AlignmentExample, to_table
from xner.corpora.names import Casing
from xner.corpora.wikidump import DumpPart, Head, dump_parts, read_head
from xner.corpora.wikipedia import AnchorReader, WikipediaStatistics
from xner.corpora.wikititles import (
    LINKS,
    TitleLink,
    TitleTable,
    dump_links,
    links_table,
    sql_links,
    wikidata_links,
)
from xner.engine.flow import Engine, Flow
from xner.errors import ConfigError, DataError, XnerError
from xner.shards.schema import ALIGNMENT_EXAMPLES
from xner.shards.storage import Folder

_ROWS = 8192


def _with_tally(schema: pa.Schema) -> pa.Schema:
    fields = [each.with_nullable(True) for each in schema]
    return pa.schema([*fields, pa.field("tally", pa.string())])


# A row is one link, one example, or, once a source, what became of the source.
_LINK_ROWS = _with_tally(LINKS)
_EXAMPLE_ROWS = _with_tally(ALIGNMENT_EXAMPLES)


@dataclass(frozen=True)
class _SqlTables:
    """The two tables that together know the English titles."""

    langlinks: str
    page: str


@dataclass(frozen=True)
class _Wikidata:
    path: str


_TitleSource = DumpPart | _SqlTables | _Wikidata


@dataclass(frozen=True)
class PublishedTitles:
    """A table of titles where every task can read it; ``version`` tells it from an earlier one."""

    folder: Folder
    name: str
    version: int

    def load(self) -> TitleTable:
        """The table; a process reads it once."""
        return _loaded(self)


@lru_cache(maxsize=1)
def _loaded(titles: PublishedTitles) -> TitleTable:
    return TitleTable.from_table(titles.folder.read_table(titles.name))


@dataclass(frozen=True)
class WikipediaReading:
    """One Wikipedia with its dumps found and their heads read."""

    config: WikipediaConfig
    heads: tuple[Head, ...]
    parts: tuple[DumpPart, ...]

    @classmethod
    def plan(cls, config: WikipediaConfig, key: str = "wikipedia") -> WikipediaReading:
        """Find the files. Raises ConfigError for one that is missing, DataError for a wrong one."""
        named = [*config.dumps, *config.wikidata, config.langlinks, config.page]
        for path in filter(None, named):
            _check_file(path, key)
        heads = tuple(map(read_head, config.dumps))
        for path, head in zip(config.dumps, heads, strict=True):
            if head.database == "wikidatawiki":
                raise DataError(
                    f"{path}: a dump of Wikidata, not of a Wikipedia; name it in {key}.wikidata"
                )
        parts = tuple(part for path in config.dumps for part in dump_parts(path))
        return cls(config, heads, parts)

    def publish_titles(
        self,
        engine: Engine,
        output: Folder,
        casings: Sequence[Casing] = (),
        report: Callable[[int], None] = lambda num_titles: None,
    ) -> PublishedTitles:
        """Read all that knows English titles, and write the table of them for :meth:`examples`.

        Raises DataError when a source is broken, or none has an English title of this wiki.
        """
        config = self.config
        sources: list[_TitleSource] = [*self.parts, *map(_Wikidata, config.wikidata)]
        if config.langlinks and config.page:
            sources.append(_SqlTables(config.langlinks, config.page))
        tables = []
        for table in _checked(engine.read(sources, _ReadTitles(config)), lambda tally: None):
            tables.append(table.select(LINKS.names).cast(LINKS))
            report(table.num_rows)
        is_same = config.lang == config.source_lang
        titles = TitleTable.of(tables, is_same, casings)
        if not is_same and not len(titles):
            raise DataError(
                f"{', '.join(config.dumps)}: no title of this wiki has an English one: no link "
                f"[[{config.source_lang}:...]] in it, and none in langlinks or wikidata"
            )
        name = f"_titles-{config.lang}.parquet"
        output.publish_table(name, titles.to_table())
        return PublishedTitles(output, name, time.time_ns())

    def examples(
        self,
        engine: Engine,
        titles: PublishedTitles,
        tell: Callable[[WikipediaStatistics], None],
        report: Callable[[int], None] = lambda num_examples: None,
    ) -> Iterator[AlignmentExample]:
        """The examples of the dumps, in any order; ``tell`` gets what each part came to.

        Raises DataError when a part is broken, after the examples of the others.
        """
        namespaces = tuple(dict.fromkeys(name for head in self.heads for name in head.namespaces))
        reader = _ReadAnchors(self.config, namespaces, titles)
        flow = engine.read(self.parts, reader)
        for table in _checked(flow, lambda tally: tell(WikipediaStatistics(**tally))):
            report(table.num_rows)
            for row in table.to_pylist():
                yield AlignmentExample(
                    row["text"],
                    row["lang"],
                    tuple(row["names"]),
                    tuple(tuple((s["start"], s["end"]) for s in each) for each in row["spans"]),
                    row["origin"],
                )


def _check_file(path: str, key: str) -> None:
    if not Folder.at(path).is_file():
        raise ConfigError(f"{key}: {path}: no such file")


def _checked(flow: Flow, tell: Callable[[dict[str, Any]], None]) -> Iterator[pa.Table]:
    """The tables of a flow without the rows that carry a tally, which ``tell`` gets."""
    errors = []
    for table in flow:
        is_tally = pc.is_valid(table["tally"])
        for text in table["tally"].filter(is_tally).to_pylist():
            tally = json.loads(text)
            if "error" in tally:
                errors.append(tally["error"])
            else:
                tell(tally)
        yield table.filter(pc.invert(is_tally))
    if errors:
        raise DataError("\n  ".join([f"{len(errors)} parts cannot be read:", *sorted(errors)]))


def _tally(schema: pa.Schema, **record: object) -> pa.Table:
    return pa.Table.from_pylist([{"tally": json.dumps(record)}], schema=schema)


def _untallied(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([*table.columns, pa.nulls(len(table), pa.string())], schema=schema)


@dataclass(frozen=True)
class _ReadTitles:
    """Reads one source of titles."""

    config: WikipediaConfig

    def __call__(self, source: _TitleSource) -> Iterator[pa.Table]:
        try:
            links = self._links(source)
            while batch := list(islice(links, _ROWS)):
                yield _untallied(links_table(batch), _LINK_ROWS)
        except XnerError as error:
            yield _tally(_LINK_ROWS, error=str(error))
        else:
            yield _tally(_LINK_ROWS)

    def _links(self, source: _TitleSource) -> Iterator[TitleLink]:
        config = self.config
        if isinstance(source, DumpPart):
            return dump_links(source, config.source_lang)
        if isinstance(source, _SqlTables):
            return sql_links(source.langlinks, source.page, config.source_lang)
        site = config.wiki or f"{config.lang.split('_')[0]}wiki"
        return wikidata_links(source.path, site, f"{config.source_lang}wiki")


@dataclass(frozen=True)
class _ReadAnchors:
    """Reads one part of a dump."""

    config: WikipediaConfig
    namespaces: tuple[str, ...]
    titles: PublishedTitles

    def __call__(self, part: DumpPart) -> Iterator[pa.Table]:
        config = self.config
        titles = self.titles.load()
        reader = AnchorReader(config.lang, titles, self.namespaces, config.max_chars)
        statistics = WikipediaStatistics()
        held: list[AlignmentExample] = []
        try:
            for examples, of_page in reader.read(part):
                statistics += of_page
                held += examples
                if len(held) >= _ROWS:
                    yield _untallied(to_table(held), _EXAMPLE_ROWS)
                    held = []
        except XnerError as error:
            yield _tally(_EXAMPLE_ROWS, error=str(error))
        if held:
            yield _untallied(to_table(held), _EXAMPLE_ROWS)
        yield _tally(_EXAMPLE_ROWS, **statistics.to_dict())
