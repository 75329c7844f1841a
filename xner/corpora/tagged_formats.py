"""The formats of tagged files: each a function from a source's settings to the file's sentences.

A new format is one more of these functions, its name in ``FORMATS`` here and in the ``format`` of
``TaggedSourceConfig``, and a test with a small file. What all formats share (one tag scheme, label
maps, samples) is done after them, in :mod:`xner.corpora.tagged`.

The CoNLL family is one format with habits: tabs or spaces, comments or none, document marks, a
missing last blank line, a language before every token (WikiANN). A file says by itself which it
has, so only the two columns must be named.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa

from xner.config import TaggedSourceConfig
from xner.corpora.files import GZIP_MAGIC, chunks, unpacked
from xner.errors import ConfigError, DataError
from xner.shards.ledger import SHARD
from xner.shards.schema import tag_names
from xner.shards.storage import files_at, parsed_json, read_file
from xner.text.iob2 import PREFIXES, decode, encode, split_tag
from xner.text.mentions import Mention
from xner.text.words import segment

_log = logging.getLogger(__name__)

# A comment, unless it is the row of a token `#`; the mark of a document.
_COMMENT = ("# ", "#\t")
_SENT_ID = re.compile(r"# sent_id ?= ?(.+)")
_DOCUMENT = "-DOCSTART-"
# The code of a Wikipedia, of which one is no code of a language.
_LANGUAGE = re.compile(r"(?:[a-z]{2,3}(?:-[a-z]+)*|simple):")

# Names under which annotation tools write the spans of a text.
_SPANS = ("spans", "entities", "mentions")

# Tags may be numbers in the file; a tag's name is never one.
_ROWS = pa.schema([("tokens", pa.list_(pa.string())), ("ner_tags", pa.list_(pa.string()))])


@dataclass(frozen=True, slots=True)
class FileSentence:
    """A sentence as its file has it, in the tag scheme of the file.

    ``where`` is its place for messages. ``text`` is the raw text whose words the tokens are, in
    formats that have one; elsewhere a token may be empty, if its tag is ``O``.
    """

    where: str
    tokens: Sequence[str]
    tags: Sequence[str]
    sent_id: str | None = None
    text: str | None = None


def read_conll(config: TaggedSourceConfig) -> list[FileSentence]:
    """Rows of columns; a blank line or a document mark ends a sentence.

    Raises ConfigError for a column that is not there, DataError for a bad row.
    """
    lines = _lines(config.path, config.encoding)
    if len(lines) == 1 and "\r" in lines[0]:
        raise DataError(f"{config.path}: its lines end in CR alone; expected LF or CR LF")
    layout = _layout(lines, config)
    sentences: list[FileSentence] = []
    rows: list[tuple[str, str]] = []
    first, sent_id = 0, None
    for number, line in enumerate([*lines, ""], start=1):
        if not line or line.startswith(_DOCUMENT):
            if rows:
                tokens, tags = zip(*rows, strict=True)
                sentences.append(FileSentence(f"{config.path}:{first}", tokens, tags, sent_id))
                sent_id = None
            rows = []
            continue
        columns = _columns(line, layout.has_tabs)
        # An empty comment is told from a token without its tag by its place.
        if line == "#" and not rows:
            continue
        if line.startswith(_COMMENT) and not _is_row(columns, layout, config):
            if named := _SENT_ID.fullmatch(line):
                sent_id = named[1]
            continue
        if len(columns) != layout.num_columns:
            raise DataError(
                f"{config.path}:{number}: {len(columns)} columns, expected {layout.num_columns} "
                f"as in line {layout.line}: {line[:80]!r}"
            )
        first = first if rows else number
        rows.append(_row(config, number, columns))
    return _without_language(sentences)


class _Layout(NamedTuple):
    """How a file writes its rows, as its first row shows."""

    has_tabs: bool
    num_columns: int
    line: int


def _lines(path: str, encoding: str = "utf-8") -> list[str]:
    """The lines of a text, plain or in gzip, less the white space at their ends.

    Only a line feed ends a line, and only tabs and spaces are white space: tokens may hold U+0085.
    """
    content = read_file(path)
    if content.startswith(GZIP_MAGIC):
        content = b"".join(chunks(unpacked(io.BytesIO(content), path), path))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content[: error.start].decode(encoding).count("\n") + 1
        byte = error.start - content.rfind(b"\n", 0, error.start)
        raise DataError(
            f"{path}:{number}: byte {byte} of the line, 0x{content[error.start]:02x}, is not "
            f"{encoding}; convert the file (iconv -t utf-8) or, for conll, set `encoding` "
            "(latin-1 in the sets of 2002 and 2003)"
        ) from error
    return [line.rstrip("\t \r") for line in text.removeprefix("\ufeff").split("\n")]


def _columns(line: str, has_tabs: bool) -> list[str]:
    return line.split("\t") if has_tabs else [column for column in line.split(" ") if column]


def _layout(lines: list[str], config: TaggedSourceConfig) -> _Layout:
    number, line = next(
        (
            (number, line)
            for number, line in enumerate(lines, start=1)
            if line and line != "#" and not line.startswith((*_COMMENT, _DOCUMENT))
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


def _row(config: TaggedSourceConfig, number: int, columns: list[str]) -> tuple[str, str]:
    token, tag = columns[config.token_column].strip(" "), columns[config.tag_column]
    try:
        split_tag(tag, PREFIXES)
    except ValueError as error:
        raise DataError(
            f"{config.path}:{number}: {error}; is tag_column = {config.tag_column} right?"
        ) from error
    return token, tag


def _without_language(sentences: list[FileSentence]) -> list[FileSentence]:
    """WikiANN writes ``en:Paris``: a prefix is taken off if every token of the file has it."""
    prefix = _LANGUAGE.match(sentences[0].tokens[0]) if sentences else None
    if not prefix or not all(t.startswith(prefix[0]) for s in sentences for t in s.tokens):
        return sentences
    return [replace(s, tokens=[t.removeprefix(prefix[0]) for t in s.tokens]) for s in sentences]


def read_jsonl(config: TaggedSourceConfig) -> list[FileSentence]:
    """A JSON object a line: ``tokens`` and ``ner_tags``, or ``text`` and marked ``spans`` of it.

    Tags are names, or numbers of ``config.tag_names``. A span has ``start`` and ``end`` in
    characters (Unicode code points) and a ``label``, and covers whole words; instead of ``spans``
    the key may be ``entities`` or ``mentions``. Other keys are ignored.
    In Prodigy's files ``answer`` says what an annotator made of a line: of those that were not
    accepted the log has the number, and they are left out.
    Raises DataError for a bad line.
    """
    sentences = []
    num_refused = 0
    for number, line in enumerate(_lines(config.path), start=1):
        if not line:
            continue
        where = f"{config.path}:{number}"
        try:
            row = parsed_json(line)
        except ValueError as error:
            raise DataError(f"{where}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected a JSON object, found {line[:80]!r}")
        if row.get("answer", "accept") != "accept":
            num_refused += 1
        elif "ner_tags" in row:
            sentences.append(_from_tags(row, where, config.tag_names))
        else:
            sentences.append(_from_spans(row, where))
    if num_refused:
        _log.warning("%s: %d lines left out: not accepted", config.path, num_refused)
    return sentences


def read_label_studio(config: TaggedSourceConfig) -> list[FileSentence]:
    """The JSON export of Label Studio: a list of tasks, each with a text and its annotations.

    Of several annotations the one marked as ground truth counts, or else the last; one that was
    skipped does not. Tasks without any are left out, and the log has their number. Offsets are in
    characters (Unicode code points), as Label Studio counts (its selection-tools.js); where it
    stored the marked text, that is compared, for its versions of before 2022 counted UTF-16 units.
    White space at the ends of what was marked is no part of the mention.
    Raises DataError for what is no such file, and for a bad task.
    """
    try:
        tasks = parsed_json("\n".join(_lines(config.path)))
    except ValueError as error:
        raise DataError(f"{config.path}: not JSON: {error}") from error
    if not isinstance(tasks, list):
        raise DataError(f"{config.path}: expected a list of tasks, Label Studio's export JSON")
    sentences = []
    for number, task in enumerate(tasks, start=1):
        where = f"{config.path}: task {number}"
        try:
            text, annotations = task["data"]["text"], task["annotations"]
            submitted = [each for each in annotations if not each.get("was_cancelled")]
            if submitted:
                chosen = [each for each in submitted if each.get("ground_truth")] or submitted
                spans = [_label_studio_span(each, text) for each in chosen[-1]["result"]]
                marked = [span for span in spans if span is not None]
                sentences.append(_from_spans({"text": text, "spans": marked}, where))
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{where}: expected data.text and annotations with their results, as in Label "
                f"Studio's export JSON ({type(error).__name__}: {error})"
            ) from error
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
    if left_out := len(tasks) - len(sentences):
        _log.warning("%s: %d tasks left out: no submitted annotation", config.path, left_out)
    return sentences


def _label_studio_span(result: dict[str, Any], text: str) -> dict[str, Any] | None:
    """A result as a span; None for one that is no label of the text."""
    if result["type"] != "labels":
        return None
    value = result["value"]
    start, end, labels = value["start"], value["end"], value["labels"]
    if len(labels) != 1:
        raise ValueError(f"expected one label at [{start}, {end}), found {labels}")
    # It stores the end of a line as two characters, a backslash and an n.
    found, stored = (
        re.sub(r"\\n|\s", "", each)
        for each in (text[start:end], value.get("text", text[start:end]))
    )
    if found != stored:
        raise ValueError(
            f"{text[start:end]!r} at [{start}, {end}), but Label Studio marked {value['text']!r}; "
            "old versions of it count characters beyond U+FFFF twice"
        )
    marked = text[start:end]
    if marked.strip() and end <= len(text):
        # A hand with a mouse takes a space along.
        start += len(marked) - len(marked.lstrip())
        end = start + len(marked.strip())
    return {"start": start, "end": end, "label": labels[0]}


def read_parquet(config: TaggedSourceConfig) -> list[FileSentence]:
    """The columns ``tokens`` and ``ner_tags`` of a Parquet file, or of all those in a folder.

    Tags are names, or numbers of ``config.tag_names``; by default of the names that the datasets
    library has written into the file (its ClassLabel).
    Raises ConfigError for numbers without names, DataError for a bad file or row.
    """
    folder, names = files_at(config.path, SHARD)
    sentences = []
    for name in names:
        names_of_tags = config.tag_names or tag_names(folder.read_footer(name))
        rows = folder.read_table(name, _ROWS).to_pylist()
        sentences += [
            _from_tags(row, f"{folder}/{name}: row {number}", names_of_tags)
            for number, row in enumerate(rows, start=1)
        ]
    return sentences


def _from_tags(row: dict[str, Any], where: str, names: list[str]) -> FileSentence:
    tokens, tags = row.get("tokens"), row["ner_tags"]
    if not (isinstance(tokens, list) and isinstance(tags, list)):
        raise DataError(f"{where}: `tokens` and `ner_tags` must be lists")
    if not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{where}: a token is no text: {tokens}")
    if len(tokens) != len(tags):
        raise DataError(f"{where}: {len(tags)} ner_tags for {len(tokens)} tokens")
    return FileSentence(where, tokens, [_tag(str(tag), where, names) for tag in tags])


def _tag(tag: str, where: str, names: list[str]) -> str:
    """A tag by its name or, where the file numbers them, by its number."""
    if tag.isdecimal():
        if not names:
            raise ConfigError(
                f"{where}: ner_tags are numbers, and the file does not say of what; list the tags "
                'in this order in tag_names (e.g. ["O", "B-PER", "I-PER"])'
            )
        if int(tag) >= len(names):
            raise DataError(f"{where}: the tag number {tag}, but there are {len(names)} names")
        tag = names[int(tag)]
    try:
        split_tag(tag, PREFIXES)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    return tag


def _from_spans(row: dict[str, Any], where: str) -> FileSentence:
    if "answer" in row:
        # Prodigy writes no spans where none were marked.
        row = {"spans": [], **row}
    text, keys = row.get("text"), [key for key in _SPANS if key in row]
    if not isinstance(text, str) or len(keys) != 1 or not isinstance(row[keys[0]], list):
        raise DataError(
            f"{where}: expected the keys tokens and ner_tags, or text and one of "
            f"{', '.join(_SPANS)}; found {', '.join(row) or 'none'}"
        )
    words = segment(text)
    try:
        mentions = [_mention(span) for span in row[keys[0]]]
        tags = encode(mentions, words)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    whole = {(mention.start, mention.end) for mention in decode(tags, words)}
    for mention in mentions:
        if (mention.start, mention.end) not in whole:
            raise DataError(
                f"{where}: {text[mention.start : mention.end]!r} at [{mention.start}, "
                f"{mention.end}) is not made of whole words of {text[:80]!r}"
            )
    return FileSentence(where, [text[start:end] for start, end in words], tags, text=text)


def _mention(span: Any) -> Mention:
    keys = ("start", "end", "label")
    start, end, label = (span.get(key) if isinstance(span, dict) else None for key in keys)
    if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label:
        raise ValueError(f"a span needs start and end, two numbers, and a label: {span}")
    return Mention(start, end, label)


#: The readers by the name of their format in the settings.
FORMATS: dict[str, Callable[[TaggedSourceConfig], list[FileSentence]]] = {
    "conll": read_conll,
    "jsonl": read_jsonl,
    "label-studio": read_label_studio,
    "parquet": read_parquet,
}
