"""Readers of tagged text: columns of tokens and tags, and our own pseudo-labelled shards.

The CoNLL family is one format with habits: tabs or spaces, comments or none, document marks, a
missing last blank line, four tag schemes. A file says by itself which it has, so only the two
columns must be named. Tokens are kept as they are and joined to a raw text, on which the words are
spans; tags come out as IOB2.
"""

from __future__ import annotations

import codecs
import random
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from xner.config import TaggedSourceConfig
from xner.errors import ConfigError, DataError
from xner.shards.ledger import SHARD
from xner.shards.schema import PSEUDO
from xner.shards.storage import files_at, read_file
from xner.text.iob2 import OUTSIDE, PREFIXES, detect_scheme, encode, renamed, split_tag, to_iob2
from xner.text.mentions import Mention
from xner.text.words import Span, join, segment

_FOUR = {"PER": "PER", "LOC": "LOC", "ORG": "ORG", "MISC": "MISC"}
_THREE = {"PER": "PER", "LOC": "LOC", "ORG": "ORG"}

#: What the types of well-known sets are in CoNLL's four; documentation, and values to copy. A set
#: of three types teaches a model that MISC does not exist, so do not mix the two without thought.
LABEL_MAPS: dict[str, dict[str, str]] = {
    "europarl": _FOUR,
    "wikigold": _FOUR,
    "btc": _THREE,
    "uner": _THREE,
    # Works and products are MISC in CoNLL's guide. A group is a band, a team, a party.
    "wnut17": {
        "person": "PER",
        "location": "LOC",
        "corporation": "ORG",
        "group": "ORG",
        "creative-work": "MISC",
        "product": "MISC",
    },
    # `LOCderiv` derives from a name ("deutsch"), `LOCpart` has one inside ("deutschlandweit").
    "germeval": {
        "PER": "PER",
        "LOC": "LOC",
        "ORG": "ORG",
        "OTH": "MISC",
        "PERderiv": "O",
        "LOCderiv": "O",
        "ORGderiv": "O",
        "OTHderiv": "O",
        "PERpart": "O",
        "LOCpart": "O",
        "ORGpart": "O",
        "OTHpart": "O",
    },
}

# A comment, unless it is the row of a token `#` in a file with spaces; the mark of a document.
_COMMENT = "# "
_SENT_ID = re.compile(r"# sent_id ?= ?(.+)")
_DOCUMENT = "-DOCSTART-"

_STATUS = pa.schema([PSEUDO.field("status")])
_STATUS_AND_CORPUS = _STATUS.append(PSEUDO.field("corpus"))
_PSEUDO_COLUMNS = pa.schema(
    [
        PSEUDO.field(name)
        for name in ("pair_id", "target", "target_lang", "mentions", "tokens", "weight")
    ]
)


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """A raw text, its words as spans of it, and the IOB2 tag of each word.

    ``weight`` is the row's in pseudo-labelled text and 1 in text that people labelled. ``sent_id``
    is what a comment ``# sent_id = …`` above the sentence names, as in Universal Dependencies.
    ``not_annotated`` are the types that an ``O`` may hide, because its source does not mark them.
    """

    text: str
    words: tuple[Span, ...]
    tags: tuple[str, ...]
    lang: str
    weight: float = 1.0
    sent_id: str | None = None
    not_annotated: tuple[str, ...] = ()


def read_tagged(config: TaggedSourceConfig) -> list[TaggedSentence]:
    """The sentences of a source in order, or a sample of ``config.max_sentences`` of them.

    A larger sample contains the smaller ones. Raises ConfigError when the source does not exist,
    a column is out of range, ``label_map`` misses a type of the source, or ``not_annotated`` names
    one that it has; DataError, with file and line, when its content is not what the format asks
    for.
    """
    sentences = _read_conll(config) if config.format == "conll" else _read_pseudo(config)
    if not sentences:
        of = f" of {', '.join(config.corpora)}" if config.corpora else ""
        raise DataError(f"{config.path}: no sentences{of}")
    return _with_not_annotated(sentences, config)


def _with_not_annotated(
    sentences: list[TaggedSentence], config: TaggedSourceConfig
) -> list[TaggedSentence]:
    not_annotated = tuple(sorted(set(config.not_annotated)))
    if not not_annotated:
        return sentences
    marked = {split_tag(tag)[1] for tag in {tag for s in sentences for tag in s.tags}}
    if wrong := sorted(marked.intersection(not_annotated)):
        raise ConfigError(
            f"{config.path}: not_annotated names {', '.join(wrong)}, which the source marks "
            "(label_map applied)"
        )
    return [replace(sentence, not_annotated=not_annotated) for sentence in sentences]


def _sample(num_all: int, num_wanted: int | None) -> Sequence[int]:
    if num_wanted is None or num_wanted >= num_all:
        return range(num_all)
    generator = random.Random(0)
    return sorted(sorted(range(num_all), key=lambda _: generator.random())[:num_wanted])


class _Row(NamedTuple):
    line: int
    token: str
    tag: str


class _Block(NamedTuple):
    """The rows of a sentence."""

    rows: list[_Row]
    sent_id: str | None


class _Layout(NamedTuple):
    """How a file writes its rows, as its first row shows."""

    has_tabs: bool
    num_columns: int
    line: int


def _read_conll(config: TaggedSourceConfig) -> list[TaggedSentence]:
    blocks = list(_blocks(config))
    try:
        scheme = detect_scheme([row.tag for row in block.rows] for block in blocks)
    except ValueError as error:
        raise DataError(f"{config.path}: {error}") from error

    tagged = []
    for rows, sent_id in blocks:
        try:
            tags = to_iob2([row.tag for row in rows], scheme)
        except ValueError as error:
            raise DataError(
                f"{config.path}:{rows[0].line}: in the sentence that begins here, {error}"
            ) from error
        # Some corpora have rows whose token was lost; outside of mentions they say nothing.
        kept = [(row, tag) for row, tag in zip(rows, tags, strict=True) if row.token]
        if kept:
            text, words = join([row.token for row, _ in kept], config.lang)
            kept_tags = tuple(tag for _, tag in kept)
            tagged.append(
                TaggedSentence(text, tuple(words), kept_tags, config.lang, sent_id=sent_id)
            )
    mapped = _mapped(tagged, config)
    return [mapped[index] for index in _sample(len(mapped), config.max_sentences)]


def _blocks(config: TaggedSourceConfig) -> Iterator[_Block]:
    """The rows of each sentence; a blank line or a document mark ends one."""
    lines = _lines(config.path)
    layout = _layout(lines, config)
    rows: list[_Row] = []
    sent_id: str | None = None
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith(_DOCUMENT):
            if rows:
                yield _Block(rows, sent_id)
                sent_id = None
            rows = []
            continue
        columns = _columns(line, layout.has_tabs)
        if line.startswith(_COMMENT) and not _is_row(columns, layout, config):
            if named := _SENT_ID.fullmatch(line):
                sent_id = named[1]
            continue
        if len(columns) != layout.num_columns:
            raise DataError(
                f"{config.path}:{number}: {len(columns)} columns, expected {layout.num_columns} "
                f"as in line {layout.line}: {line[:80]!r}"
            )
        rows.append(_row(config, number, columns))
    if rows:
        yield _Block(rows, sent_id)


def _lines(path: str) -> list[str]:
    """The lines less the white space at their ends.

    Only a line feed ends a line, and only tabs and spaces are white space: tokens may hold U+0085.
    """
    content = read_file(path).removeprefix(codecs.BOM_UTF8)
    lines = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8").rstrip("\t \r"))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number}: byte {error.start + 1} of the line, 0x{line[error.start]:02x}, "
                "is not UTF-8; convert the file first (iconv -t utf-8)"
            ) from error
    return lines


def _columns(line: str, has_tabs: bool) -> list[str]:
    return line.split("\t") if has_tabs else [column for column in line.split(" ") if column]


def _layout(lines: list[str], config: TaggedSourceConfig) -> _Layout:
    number, line = next(
        (
            (number, line)
            for number, line in enumerate(lines, start=1)
            if line and not line.startswith((_COMMENT, _DOCUMENT))
        ),
        (0, ""),
    )
    if not number:
        raise DataError(f"{config.path}: no row of a token and a tag")
    has_tabs = "\t" in line
    num_columns = len(_columns(line, has_tabs))
    for key in ("token_column", "tag_column"):
        column = getattr(config, key)
        if not -num_columns <= column < num_columns:
            raise ConfigError(
                f"{config.path}: {key} is {column}, but line {number} has {num_columns} columns"
            )
    if config.token_column % num_columns == config.tag_column % num_columns:
        raise ConfigError(
            f"{config.path}: token_column and tag_column are the same one; "
            f"line {number} has {num_columns} columns"
        )
    return _Layout(has_tabs, num_columns, number)


def _is_row(columns: list[str], layout: _Layout, config: TaggedSourceConfig) -> bool:
    """Whether a line that begins like a comment is the row of a token ``#``."""
    if len(columns) != layout.num_columns:
        return False
    try:
        split_tag(columns[config.tag_column], PREFIXES)
    except ValueError:
        return False
    return True


def _row(config: TaggedSourceConfig, number: int, columns: list[str]) -> _Row:
    token, tag = columns[config.token_column].strip(" "), columns[config.tag_column]
    try:
        split_tag(tag, PREFIXES)
    except ValueError as error:
        raise DataError(
            f"{config.path}:{number}: {error}; is tag_column = {config.tag_column} right?"
        ) from error
    if not token and tag != OUTSIDE:
        raise DataError(f"{config.path}:{number}: the tag {tag} on an empty token")
    return _Row(number, token, tag)


def _mapped(sentences: list[TaggedSentence], config: TaggedSourceConfig) -> list[TaggedSentence]:
    """The sentences with their types as ``config.label_map`` names them; an empty map keeps all."""
    if not config.label_map:
        return sentences
    tags = {tag for sentence in sentences for tag in sentence.tags}
    unmapped = {split_tag(tag)[1] for tag in tags - {OUTSIDE}} - config.label_map.keys()
    if unmapped:
        raise ConfigError(
            f"{config.path}: label_map does not name {', '.join(sorted(unmapped))}; "
            f"map each type to one of the model, or to {OUTSIDE} to drop it"
        )
    mapped = {tag: renamed(tag, config.label_map) for tag in tags}
    return [replace(s, tags=tuple(mapped[tag] for tag in s.tags)) for s in sentences]


def _read_pseudo(config: TaggedSourceConfig) -> list[TaggedSentence]:
    folder, names = files_at(config.path, SHARD)
    # Two passes, so that never more than one shard is held beside the sample.
    columns = _STATUS_AND_CORPUS if config.corpora else _STATUS
    accepted = [_accepted(folder.read_table(name, columns), config.corpora) for name in names]
    chosen = _sample(sum(map(len, accepted)), config.max_sentences)
    sentences: list[TaggedSentence] = []
    offset = 0
    for name, rows in zip(names, accepted, strict=True):
        first, last = (bisect_left(chosen, border) for border in (offset, offset + len(rows)))
        wanted = rows[np.array(chosen[first:last], np.int64) - offset]
        table = folder.read_table(name, _PSEUDO_COLUMNS).take(wanted)
        sentences += [_pseudo_sentence(row, f"{folder}/{name}") for row in table.to_pylist()]
        offset += len(rows)
    return _mapped(sentences, config)


def _accepted(table: pa.Table, corpora: Sequence[str]) -> npt.NDArray[np.int64]:
    """The numbers of the rows whose status is ``ok``, of all corpora or of some."""
    accepted = pc.equal(table["status"], "ok")
    if corpora:
        accepted = pc.and_(accepted, pc.is_in(table["corpus"], pa.array(corpora)))
    return np.flatnonzero(accepted.to_numpy())


def _pseudo_sentence(row: dict[str, Any], path: str) -> TaggedSentence:
    text = row["target"]
    nulls = [name for name in _PSEUDO_COLUMNS.names if row[name] is None]
    if nulls:
        raise DataError(f"{path}: row {row['pair_id']}: null in {', '.join(nulls)}")
    words = segment(text)
    if [text[start:end] for start, end in words] != row["tokens"]:
        raise DataError(
            f"{path}: row {row['pair_id']}: `tokens` are not the words of `target`; "
            "was the shard written by another version of xner?"
        )
    try:
        tags = encode((Mention(m["start"], m["end"], m["label"]) for m in row["mentions"]), words)
    except ValueError as error:
        raise DataError(f"{path}: row {row['pair_id']}: {error}") from error
    return TaggedSentence(text, tuple(words), tuple(tags), row["target_lang"], row["weight"])
