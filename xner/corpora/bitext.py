"""Readers of bitext: bytes in, blocks of pairs out, line n beside line n.

A line ends at LF and nowhere else: U+0085, U+2028 and their like occur inside OPUS sentences, and
``str.splitlines`` or universal newlines would let the two sides drift apart. A line that cannot be
text stays in its place as a refused pair, for the same reason. Everything streams: what is held in
memory is a block, whatever the size of the archive and of its longest line.

Moses archives are those of OPUS (Tiedemann 2012); TMX is the LISA standard 1.4b, of which the text
of ``<seg>`` is read: native codes inside ``<bpt>``, ``<ept>``, ``<it>``, ``<ph>`` and ``<ut>`` are
markup and are left out, the content of ``<hi>`` is text.
"""

from __future__ import annotations

import codecs
import io
import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5
from typing import IO, Any

from lxml import etree

from xner.corpora.files import (
    check_ratio,
    chunks,
    damage_reported,
    explained,
    magic,
    open_seekable,
    unpacked,
)
from xner.corpora.opus import Archive, spellings
from xner.errors import DataError

# A longer line is no sentence.
MAX_LINE_BYTES = 32_767

_BLOCK_BYTES = 16 << 20
_KEPT_BYTES = 256

# A unit of a TMX with its markup, or what stands before the first one.
_MAX_UNIT_BYTES = 4 << 20

# The directory of a zip, as the end of the file tells its size: twenty thousand members.
_MAX_DIRECTORY_BYTES = 1 << 20
_DIRECTORY_END = re.compile(rb"PK\x05\x06.{8}(.{4})|PK\x06\x06.{36}(.{8})", re.DOTALL)
_DIRECTORY_END_BYTES = (1 << 16) + 128
_IN_OTHER_RECORD = 0xFFFFFFFF
_SHOWN_NAMES = 5

_ZIP_MAGIC = b"PK"

_NOT_UNPACKED = {b"PK\3\4": "zip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}

_NATIVE_CODES = {"bpt", "ept", "it", "ph", "ut", "sub"}


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive pairs of an archive.

    ``first_line`` is the number of the first one, from 1: a line of a text, a unit of a TMX.
    ``refused`` maps the index of a pair that cannot be used to the reason: ``invalid_utf8``,
    ``nul_byte``, ``line_too_long`` (of whose text only the beginning is here) or
    ``missing_language``.
    """

    first_line: int
    source: list[str]
    target: list[str]
    refused: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.source)


def read_bitext(archive: Archive, block_pairs: int = 32_768) -> Iterator[Block]:
    """The pairs of an archive in their order, in blocks of at most ``block_pairs``.

    A block of long lines holds fewer. Raises DataError when the file is damaged, is no bitext of
    the two languages, holds no pair, or when its two sides differ in length; the last is known
    only at the end, after the pairs up to there have been given out. Raises TransientError when
    the location stops answering.
    """
    num_pairs = 0
    with explained(archive.path), ExitStack() as stack:
        for block in _blocks(archive, block_pairs, stack):
            num_pairs += len(block)
            yield block
    if num_pairs == 0:
        raise DataError(f"{archive.path}: holds no pair")


def _blocks(archive: Archive, block_pairs: int, stack: ExitStack) -> Iterator[Block]:
    file = stack.enter_context(open_seekable(archive.path))
    if archive.target_path is not None:
        target_file = stack.enter_context(open_seekable(archive.target_path))
        source = _Side(unpacked(file, archive.path), archive.path)
        target = _Side(unpacked(target_file, archive.target_path), archive.target_path)
        return _paired(source, target, block_pairs)
    if archive.format == "tmx" and magic(file) != _ZIP_MAGIC:
        return _tmx_blocks(unpacked(file, archive.path), archive.path, archive, block_pairs)

    members = stack.enter_context(_safe_zip(file, archive.path))
    tmx = [name for name in _names(members) if name.lower().endswith(".tmx")]
    if len(tmx) > 1:
        raise DataError(f"{archive.path}: several TMX members: {_few(tmx)}")
    if tmx:
        stream, name = _member_stream(members, archive.path, tmx[0])
        return _tmx_blocks(stream, name, archive, block_pairs)
    source_member = _member(members, archive.path, archive.source_lang)
    target_member = _member(members, archive.path, archive.target_lang)
    source = _Side(*_member_stream(members, archive.path, source_member))
    target = _Side(*_member_stream(members, archive.path, target_member))
    return _paired(source, target, block_pairs)


# Two files of lines


class _Side:
    """The lines of one side: those read and not yet taken, and why some of them are no text."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        self.num_taken = 0
        self.lines: list[str] = []
        # By the number of the line in the file, from 0.
        self.refused: dict[int, str] = {}
        self._runs = _whole_lines(stream, name)

    def fill(self, num_lines: int) -> None:
        """Hold that many lines: fewer when they are long, none only at the end."""
        num_chars = sum(map(len, self.lines))
        while len(self.lines) < num_lines and num_chars < _BLOCK_BYTES:
            run = next(self._runs, None)
            if run is None:
                break
            lines, refused = _decoded(run)
            offset = self.num_taken + len(self.lines)
            self.refused.update((offset + index, reason) for index, reason in refused.items())
            self.lines += lines
            num_chars += len(run)

    def take(self, num_lines: int) -> list[str]:
        taken, self.lines = self.lines[:num_lines], self.lines[num_lines:]
        self.num_taken += len(taken)
        return taken

    def count_rest(self) -> int:
        """The number of lines of the whole file, of which the rest is read and forgotten."""
        while self.lines:
            self.take(len(self.lines))
            self.fill(1)
        return self.num_taken


def _paired(source: _Side, target: _Side, block_pairs: int) -> Iterator[Block]:
    while True:
        source.fill(block_pairs)
        target.fill(block_pairs)
        num_pairs = min(block_pairs, len(source.lines), len(target.lines))
        if num_pairs == 0:
            break
        first = source.num_taken
        refused = {}
        for number in {**target.refused, **source.refused}:
            if number < first + num_pairs:
                reasons = target.refused.pop(number, ""), source.refused.pop(number, "")
                refused[number - first] = reasons[1] or reasons[0]
        yield Block(first + 1, source.take(num_pairs), target.take(num_pairs), refused)
    if source.lines or target.lines:
        counts = source.count_rest(), target.count_rest()
        raise DataError(
            f"{source.name}: has {counts[0]} lines, {target.name} has {counts[1]}; "
            "line n of one must translate line n of the other"
        )


def _whole_lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Runs of whole lines without the last line end; of a line beyond the limit, its beginning."""
    rest = b""
    first = True
    for chunk in chunks(stream, name):
        if first:
            _check_is_text(chunk, name)
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
            first = False
        head, line_end, tail = chunk.rpartition(b"\n")
        if line_end:
            yield rest + head
            rest = b""
        rest = (rest + tail)[: MAX_LINE_BYTES + 1]
    if rest:
        yield rest


def _check_is_text(start: bytes, name: str) -> None:
    """Refuses a file that its first bytes show to be packed or UTF-16: its lines would be noise."""
    for first_bytes, packing in _NOT_UNPACKED.items():
        if start.startswith(first_bytes):
            raise DataError(
                f"{name}: is packed as {packing}; expected text in UTF-8, plain or packed by gzip "
                "or bzip2"
            )
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{name}: is UTF-16; convert it to UTF-8 (iconv -f utf-16 -t utf-8)")


def _decoded(run: bytes) -> tuple[list[str], dict[int, str]]:
    """Lines as text, and the reasons of the refused ones by index."""
    try:
        text = run.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return _decoded_singly(run)
    lines = text.replace("\r\n", "\n").split("\n")
    if "\0" in text or max(map(len, lines)) * 4 > MAX_LINE_BYTES:
        return _decoded_singly(run)
    return lines, {}


def _decoded_singly(run: bytes) -> tuple[list[str], dict[int, str]]:
    lines: list[str] = []
    refused: dict[int, str] = {}
    for index, raw in enumerate(run.split(b"\n")):
        line = raw.removesuffix(b"\r")
        try:
            text = line.decode()
            reason = "nul_byte" if "\0" in text else ""
        except UnicodeDecodeError:
            reason = "invalid_utf8"
        if len(line) > MAX_LINE_BYTES:
            reason = "line_too_long"
            line = line[:_KEPT_BYTES]
        if reason:
            refused[index] = reason
            text = line.decode(errors="replace").replace("\0", "\ufffd")
        lines.append(text)
    return lines, refused


# TMX


def _tmx_blocks(
    stream: IO[bytes], name: str, archive: Archive, block_pairs: int
) -> Iterator[Block]:
    first_unit = 1
    sources: list[str] = []
    targets: list[str] = []
    refused: dict[int, str] = {}
    num_chars = 0
    num_units = num_lacking = 0
    languages = archive.source_lang, archive.target_lang
    others: set[str] = set()
    for texts in _units(stream, name, languages, others):
        num_units += 1
        if None in texts:
            num_lacking += 1
            refused[len(sources)] = "missing_language"
        elif any(len(text.encode()) > MAX_LINE_BYTES for text in texts if text):
            refused[len(sources)] = "line_too_long"
            texts = [text and text[:_KEPT_BYTES] for text in texts]
        sources.append(texts[0] or "")
        targets.append(texts[1] or "")
        num_chars += len(sources[-1]) + len(targets[-1])
        if len(sources) == block_pairs or num_chars >= _BLOCK_BYTES:
            yield Block(first_unit, sources, targets, refused)
            first_unit += len(sources)
            sources, targets, refused, num_chars = [], [], {}, 0
    if sources:
        yield Block(first_unit, sources, targets, refused)
    if num_units and num_lacking == num_units:
        raise DataError(
            f"{name}: none of its {num_units} units has both {' and '.join(languages)}; they are "
            f"in {_few(sorted(others)) or 'no language'}"
        )


def _units(
    stream: IO[bytes], name: str, langs: tuple[str, str], others: set[str]
) -> Iterator[list[str | None]]:
    """Per translation unit its text in each language, None where it has none.

    ``others`` collects the codes of the languages that units without one of them have.
    """
    content = _Bounded(stream, name)
    events = etree.iterparse(
        content,
        events=("end",),
        tag="{*}tu",
        load_dtd=False,
        no_network=True,
        resolve_entities=False,
        huge_tree=False,
    )
    first = True
    try:
        for _, unit in events:
            if first:
                _refuse_entities(unit, name)
                first = False
            content.num_bytes = 0
            texts = [_segment(unit, lang, name) for lang in langs]
            if None in texts:
                others.update(map(_code, unit.iterchildren("{*}tuv")))
            yield texts
            unit.clear()
            # What came before goes at every level: units may stand in elements of any kind.
            for element in (unit, *unit.iterancestors()):
                parent = element.getparent()
                while parent is not None and element.getprevious() is not None:
                    del parent[0]
    except etree.XMLSyntaxError as error:
        raise DataError(
            f"{name}: not well-formed XML at line {error.lineno}: {error.msg}"
        ) from error


def _refuse_entities(unit: Any, name: str) -> None:
    document_type = unit.getroottree().docinfo.internalDTD
    entities = [] if document_type is None else [e.name for e in document_type.iterentities()]
    if entities:
        raise DataError(
            f"{name}: its document type declares entities ({', '.join(entities[:3])}), which a "
            "translation memory does not need and an attack does; they are not expanded"
        )


def _segment(unit: Any, lang: str, name: str) -> str | None:
    for variant in unit.iterchildren("{*}tuv"):
        if _is_language(_code(variant), lang):
            segment = variant.find("{*}seg")
            return None if segment is None else _text(segment, name).strip(" \t\r\n")
    return None


def _code(variant: Any) -> str:
    """The language of a variant, as the file writes it."""
    return str(variant.get("{http://www.w3.org/XML/1998/namespace}lang") or variant.get("lang", ""))


def _text(element: Any, name: str) -> str:
    parts = [element.text or ""]
    for child in element:
        if child.tag is etree.Entity:
            # The external document type that declares it is not read; the names are HTML's.
            if f"{child.name};" not in html5:
                raise DataError(
                    f"{name}: the entity &{child.name}; at line {child.sourceline} is not known; "
                    "expected those of XML and HTML"
                )
            parts.append(html5[f"{child.name};"])
        elif isinstance(child.tag, str) and etree.QName(child).localname not in _NATIVE_CODES:
            # Comments and processing instructions have a function for a tag.
            parts.append(_text(child, name))
        parts.append(child.tail or "")
    return "".join(parts)


@lru_cache
def _is_language(code: str, lang: str) -> bool:
    """Whether a language tag names the language: ``en-US`` is ``en``, ``zh`` is not ``zh_tw``."""
    folded = _folded(code)
    known = {_folded(spelling) for spelling in spellings(lang)}
    return folded in known or folded.partition("_")[0] in known


def _folded(code: str) -> str:
    return code.lower().replace("-", "_")


# Zip files


def _safe_zip(file: IO[bytes], path: str) -> zipfile.ZipFile:
    """The zip file, whose directory promises nothing absurd. Raises DataError."""
    kind, num_bytes = magic(file), file.seek(0, io.SEEK_END)
    if kind != _ZIP_MAGIC:
        raise DataError(f"{path}: not a zip file, but {num_bytes} bytes of something else")
    file.seek(max(0, num_bytes - _DIRECTORY_END_BYTES))
    for found in _DIRECTORY_END.finditer(file.read()):
        size = int.from_bytes(found[1] or found[2], "little")
        if size > _MAX_DIRECTORY_BYTES and size != _IN_OTHER_RECORD:
            raise DataError(f"{path}: its directory claims {size} bytes; a bitext has few members")
    try:
        members = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error) as error:
        raise DataError(
            f"{path}: a truncated or damaged zip file: {error}; no directory was found at the end "
            f"of its {num_bytes} bytes, nothing was read"
        ) from error
    for member in members.infolist():
        name = member.filename
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or name[1:2] == ":":
            raise DataError(f"{path}: the member {name!r} points outside the archive")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{path}: the member {name!r} is a link")
        if member.flag_bits & 1:
            raise DataError(f"{path}: the member {name!r} is encrypted")
        if member.compress_size > num_bytes:
            raise DataError(
                f"{path}: the member {name!r} claims {member.compress_size} bytes of a file that "
                f"has {num_bytes}"
            )
        check_ratio(member.compress_size, member.file_size, f"{path}: the member {name!r}")
    return members


def _member(members: zipfile.ZipFile, path: str, lang: str) -> str:
    names = _names(members)
    for spelling in spellings(lang):
        found = [n for n in names if _folded(n.rpartition(".")[2]) == _folded(spelling)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{path}: several members for {lang}: {_few(found)}")
    raise DataError(
        f"{path}: no member for {lang}: expected one whose name ends with .{lang}, "
        f"found {_few(names) or 'none'}"
    )


def _names(members: zipfile.ZipFile) -> list[str]:
    """The names of the files, without those that macOS adds of its own."""
    return [n for n in members.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")


def _member_stream(members: zipfile.ZipFile, path: str, name: str) -> tuple[IO[bytes], str]:
    shown = f"{path}:{name}"
    with damage_reported(shown, 0):
        return members.open(name), shown


class _Bounded:
    """A TMX for a parser that reads it itself; ``num_bytes`` were read since it was set to 0."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name, self.num_bytes = name, 0
        self._chunks = chunks(stream, name)

    def read(self, _size: int) -> bytes:
        if self.num_bytes > _MAX_UNIT_BYTES:
            raise DataError(f"{self.name}: {self.num_bytes} bytes without the end of a unit (tu)")
        chunk = next(self._chunks, b"")
        self.num_bytes += len(chunk)
        return chunk
