"""From a page's title in one Wikipedia to its title in English.

Three places know: the wiki's own ``langlinks`` and ``page`` tables (SQL dumps), the site links of
Wikidata, and the links ``[[en:Title]]`` in the wikitext of old dumps. What redirects to a page is
another title of it. All are read as streams; what is kept is a table of hashes and English titles,
some forty bytes a title, that every process that reads the dump can hold.

Whether an English title is a name is a question of its capitals, and its first one means nothing:
"Berlin" and "Philosopher" look alike. What tells is how the word is written where it is not the
first: in the label that Wikidata has, in the other titles ("Free University of Berlin", "Natural
philosopher"), and in English text if there is some.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xner.corpora.files import chunks, explained, open_seekable, unpacked
from xner.corpora.names import Casing
from xner.corpora.wikidump import DumpPart, read_pages
from xner.corpora.wikitext import normal_title, redirect_target
from xner.errors import DataError
from xner.shards.storage import parsed_json

# Rows of an INSERT come in lines of about a mebibyte; an entity of Wikidata has some mebibytes.
_MAX_LINE_BYTES = 128 << 20

_MAX_REDIRECTS = 5
# Titles of works capitalise what is no name: "The Amazing Spider-Man".
_MIN_CAPITALISED_RATIO = 10

LINKS = pa.schema(
    [
        pa.field("title", pa.string(), nullable=False),
        pa.field("redirect", pa.string()),
        pa.field("english", pa.string()),
        # Whether the first letter of Wikidata's English label is lower-case.
        pa.field("is_lower", pa.bool_()),
    ]
)

_STRING = rb"'((?:[^'\\]++|\\.)*+)'"
_LANGLINK = re.compile(rb"\((\d++),%b,%b\)" % (_STRING, _STRING), re.DOTALL)
_PAGE = re.compile(rb"\((\d++),(-?\d++),%b," % _STRING, re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"Z": b"\x1a"}


@dataclass(frozen=True, slots=True)
class TitleLink:
    """What one place says of a title: the page that it redirects to, or its English title."""

    title: str
    redirect: str | None = None
    english: str | None = None
    is_lower: bool | None = None


def links_table(links: Iterable[TitleLink]) -> pa.Table:
    """The links as a table of ``LINKS``."""
    rows = [(link.title, link.redirect, link.english, link.is_lower) for link in links]
    columns = zip(*rows, strict=True) if rows else ([],) * len(LINKS)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, LINKS, strict=True)],
        schema=LINKS,
    )


def dump_links(part: DumpPart, source_lang: str) -> Iterator[TitleLink]:
    """The redirects and the links to the English wiki of a part of a dump.

    A redirect to a section names a part of a page, so it is no title of the page.
    """
    pattern = re.compile(rf"\[\[\s*{re.escape(source_lang)}\s*:([^\[\]|\n]++)\]\]")
    for page in read_pages(part):
        if page.namespace != 0 or page.refused:
            continue
        title = normal_title(page.title)
        if page.redirect is not None:
            target = redirect_target(page.text) or (normal_title(page.redirect), "")
            if not target[1]:
                yield TitleLink(title, redirect=target[0])
        elif found := pattern.search(page.text):
            yield TitleLink(title, english=normal_title(found[1]))


# SQL dumps


def sql_links(langlinks: str, pages: str, source_lang: str) -> Iterator[TitleLink]:
    """What the tables ``langlinks`` and ``page`` of a wiki know, the former held meanwhile.

    Raises DataError for a file that is no dump of its table, is damaged or ends too soon.
    """
    english: dict[int, str] = {}
    wanted = source_lang.encode()
    columns = ("ll_from", "ll_lang", "ll_title")
    for found in _rows(langlinks, "langlinks", columns, _LANGLINK):
        if found[2] == wanted:
            english[int(found[1])] = _sql_text(found[3])
    for found in _rows(pages, "page", ("page_id", "page_namespace", "page_title"), _PAGE):
        if found[2] == b"0" and (title := english.get(int(found[1]))):
            yield TitleLink(normal_title(_sql_text(found[3])), english=normal_title(title))


def _rows(
    path: str, table: str, columns: Sequence[str], pattern: re.Pattern[bytes]
) -> Iterator[re.Match[bytes]]:
    """The rows of a table in an SQL dump, whose first columns must be these."""
    insert = f"INSERT INTO `{table}` VALUES".encode()
    found_columns: list[str] = []
    num_rows, last = 0, b""
    is_insert = False
    for line in _lines(path):
        begins = line.startswith(insert)
        # Newer versions of mariadb-dump write the rows in the lines after it, one in each.
        is_insert = begins or (is_insert and line.startswith(b"("))
        if is_insert:
            if begins and found_columns[: len(columns)] != list(columns):
                raise DataError(
                    f"{path}: the first columns of `{table}` are {', '.join(found_columns[:3])}; "
                    f"expected {', '.join(columns)}"
                )
            for found in pattern.finditer(line):
                num_rows += 1
                yield found
        elif not num_rows and (column := re.match(rb"\s+`(\w+)` ", line)):
            found_columns.append(column[1].decode())
        last = line.strip() or last
    if not num_rows:
        raise DataError(f"{path}: holds no rows of the table `{table}`; expected its SQL dump")
    if not (last.endswith(b";") or last.startswith(b"--")):
        raise DataError(f"{path}: truncated: ends in the middle of a statement")


def _sql_text(raw: bytes) -> str:
    unescaped = _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), raw)
    return unescaped.decode(errors="replace")


def _lines(path: str) -> Iterator[bytes]:
    with explained(path), open_seekable(path) as file:
        rest: list[bytes] = []
        num_rest = 0
        for chunk in _file_chunks(file, path):
            first, *others = chunk.split(b"\n")
            rest.append(first)
            num_rest += len(first)
            if num_rest > _MAX_LINE_BYTES:
                raise DataError(f"{path}: a line of more than {_MAX_LINE_BYTES} bytes")
            if others:
                yield b"".join(rest)
                yield from others[:-1]
                rest, num_rest = [others[-1]], len(others[-1])
        if last := b"".join(rest):
            yield last


def _file_chunks(file: IO[bytes], path: str) -> Iterator[bytes]:
    return chunks(unpacked(file, path), path)


# Wikidata


def wikidata_links(path: str, site: str, source_site: str) -> Iterator[TitleLink]:
    """The site links of a dump of Wikidata: JSON, an entity a line, or XML with JSON in its pages.

    ``site``: the database name of the wiki, e.g. ``dewiki``. Raises DataError for a file that
    holds no entity.
    """
    # Most entities have neither, and parsing is what takes the time.
    wanted = [f'"{name}"'.encode() for name in (site, source_site)]
    num_entities = 0
    for number, text in enumerate(_entities(path), start=1):
        num_entities += b'"sitelinks"' in text
        if any(name not in text for name in wanted):
            continue
        try:
            link = _site_link(parsed_json(text), site, source_site)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: entity {number}: not as Wikidata writes it: {error}"
            ) from error
        if link is not None:
            yield link
    if not num_entities:
        raise DataError(f"{path}: holds no entity of Wikidata with site links")


def _site_link(entity: Any, site: str, source_site: str) -> TitleLink | None:
    links = entity.get("sitelinks") or {}
    if site not in links or source_site not in links:
        return None
    label = (entity.get("labels") or {}).get(source_site.removesuffix("wiki"), {}).get("value", "")
    return TitleLink(
        normal_title(links[site]["title"]),
        english=normal_title(links[source_site]["title"]),
        is_lower=label.split()[0].islower() if label.strip() else None,
    )


def _entities(path: str) -> Iterator[bytes]:
    with explained(path), open_seekable(path) as file:
        start = next(_file_chunks(file, path), b"")[:1024].lstrip()
    if start.startswith(b"<"):
        for page in read_pages(DumpPart(path)):
            if page.model == "wikibase-item":
                yield page.text.encode()
    elif start.startswith((b"[", b"{")):
        for line in _lines(path):
            line = line.strip().removesuffix(b",")
            if line not in (b"", b"[", b"]"):
                yield line
    else:
        raise DataError(f"{path}: no dump of Wikidata: begins with {start[:40]!r}")


# The table


@dataclass(frozen=True)
class TitleTable:
    """English titles by the hash of a title or redirect; ``is_name`` where its capital is known.

    ``is_name``: 1, the first word of the English title has a capital elsewhere too; -1, it has
    none; 0, nothing tells. ``is_same``: the wiki is the English one, where a title that is not here
    is its own.
    """

    keys: npt.NDArray[np.uint64]
    english: pa.Array
    is_name: npt.NDArray[np.int8]
    is_same: bool

    @classmethod
    def of(
        cls, tables: Iterable[pa.Table], is_same: bool = False, casings: Sequence[Casing] = ()
    ) -> TitleTable:
        """The table that tables of ``LINKS`` make, in whatever order they come.

        ``casings``: how words are written in English text, besides what the titles show. Where two
        places differ about a title, the alphabetically first English title is taken.
        """
        links = pa.concat_tables([LINKS.empty_table(), *tables]).combine_chunks()
        direct = links.filter(links["english"].is_valid()).sort_by(
            [("title", "ascending"), ("english", "ascending"), ("is_lower", "ascending")]
        )
        keys = _keys(direct["title"])
        # Stable, so of equal keys the first in the order above is the one that is kept.
        keys, first = np.unique(keys, return_index=True)
        direct = direct.take(pa.array(first))
        english, is_lower = direct["english"], direct["is_lower"]

        redirects = links.filter(links["redirect"].is_valid()).sort_by(
            [("title", "ascending"), ("redirect", "ascending")]
        )
        sources, first = np.unique(_keys(redirects["title"]), return_index=True)
        targets = redirects["redirect"].take(pa.array(first))
        # To the end of a chain of redirects; a circle of them leads nowhere.
        ends, place = _keys(targets), np.arange(len(sources))
        for _ in range(_MAX_REDIRECTS):
            index, is_redirect = _found(sources, ends)
            place = np.where(is_redirect, place[index] if len(index) else place, place)
            ends = np.where(is_redirect, ends[index] if len(index) else ends, ends)
        is_circle = _found(sources, ends)[1]
        if is_same:
            known = ~is_circle
            titles = targets.take(pa.array(place[known]))
            lower = pa.nulls(len(titles), pa.bool_())
        else:
            index, known = _found(keys, ends)
            index, known = index[known & ~is_circle], known & ~is_circle
            titles, lower = english.take(pa.array(index)), is_lower.take(pa.array(index))
        # A title that has a page of its own is no redirect.
        is_new = ~_found(keys, sources[known])[1]
        keys = np.concatenate([keys, sources[known][is_new]])
        order = np.argsort(keys, kind="stable")
        names = pa.concat_arrays([_one(english), _one(titles).filter(pa.array(is_new))]).take(
            pa.array(order)
        )
        lower = pa.concat_arrays([_one(is_lower), _one(lower).filter(pa.array(is_new))])
        return cls(
            keys[order],
            names,
            _capitals(names, lower.take(pa.array(order)), casings),
            is_same,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def lookup(self, title: str) -> tuple[str, int] | None:
        """The English title and ``is_name``; None for a page that has no English one."""
        key = _key(title)
        index = int(np.searchsorted(self.keys, key))
        if index < len(self.keys) and self.keys[index] == key:
            return self.english[index].as_py(), int(self.is_name[index])
        return (title, 0) if self.is_same and title else None

    def to_table(self) -> pa.Table:
        """For :meth:`from_table`."""
        columns = {"key": self.keys, "english": self.english, "is_name": self.is_name}
        return pa.table(columns).replace_schema_metadata({"is_same": str(int(self.is_same))})

    @classmethod
    def from_table(cls, table: pa.Table) -> TitleTable:
        """The inverse of :meth:`to_table`."""
        return cls(
            table["key"].to_numpy(),
            _one(table["english"]),
            table["is_name"].to_numpy(),
            (table.schema.metadata or {}).get(b"is_same") == b"1",
        )


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays([pa.array([], column.type), *column.chunks])


def _key(title: str) -> np.uint64:
    return np.uint64(
        int.from_bytes(hashlib.blake2b(title.encode(errors="replace"), digest_size=8).digest())
    )


def _keys(titles: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    return np.fromiter((_key(title) for title in titles.to_pylist()), np.uint64, len(titles))


def _found(
    keys: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For each wanted key an index into the ascending ``keys``, and whether it is there."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return index, keys[index] == wanted


def _capitals(
    names: pa.Array, is_lower: pa.Array, casings: Sequence[Casing]
) -> npt.NDArray[np.int8]:
    """``is_name`` of each English title: what the label says, else what the other titles do."""
    shown = [Casing.of(name for name in names.to_pylist() if " " in name), *casings]
    found = np.zeros(len(names), np.int8)
    for index, (name, lower) in enumerate(
        zip(names.to_pylist(), is_lower.to_pylist(), strict=True)
    ):
        if lower is not None:
            found[index] = -1 if lower else 1
        elif word := name.split(" ")[0].lower():
            capitalised = sum(casing.capitalised.get(word, 0) for casing in shown)
            lower_case = sum(casing.lower.get(word, 0) for casing in shown)
            found[index] = capitalised > 0 and capitalised >= _MIN_CAPITALISED_RATIO * lower_case
    return found
