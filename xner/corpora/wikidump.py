"""MediaWiki XML dumps: from a part of a file to its pages, one after the other.

The format is https://www.mediawiki.org/wiki/Help:Export. A dump is cut by nominal byte offsets, so
that nobody has to read it to know its parts: a page belongs to the part in which the bzip2 stream
begins that holds its first byte. A multistream dump (a stream every hundred pages) falls into equal
parts that way, and so does anything that pbzip2 has packed, although its streams end in the middle
of pages; the index file that comes with a multistream dump is not needed. Of a dump of one stream
the first part reads all. Plain XML is cut in the same way by its own bytes; gzip knows no streams.

The pages are found by their tags, which cannot stand in the escaped text of a page, and each is
parsed by itself. So a page that is no XML is one refused page, and an entity that the head declares
expands nowhere.
"""

from __future__ import annotations

import bz2
import html
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

from fsspec.core import url_to_fs
from lxml import etree

from xner.corpora.files import (
    BZIP2_MAGIC,
    CHUNK_BYTES,
    GZIP_MAGIC,
    check_ratio,
    chunks,
    damage_reported,
    explained,
    magic,
    open_seekable,
    unpacked,
)
from xner.errors import DataError
from xner.shards.remote import ask

# Of the packed file: half a minute to some minutes of work.
PART_BYTES = 32 << 20

# MediaWiki allows two mebibytes of text, which escaping can make somewhat longer.
MAX_PAGE_BYTES = 32 << 20
# Of a page in its last revision, which has some thirty.
_MAX_TAGS = 100_000
_HEAD_BYTES = 1 << 18
_TAIL_BYTES = 256

# The beginning of a bzip2 stream and of its first block.
_STREAM = re.compile(rb"BZh[1-9]1AY&SY")
_STREAM_BYTES = 10

_PAGE, _PAGE_END = b"<page>", b"</page>"
_PARSER_LIMITS = {"resolve_entities": False, "no_network": True, "load_dtd": False}


@dataclass(frozen=True)
class DumpPart:
    """The pages whose stream begins in ``[start, end)`` of the file; ``end`` None: to its end."""

    path: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page as the dump has it, in its last revision.

    ``redirect`` is the page that it redirects to. ``refused`` says why its content cannot be used:
    ``broken_xml`` or ``too_large``; then the other fields hold what is known.
    """

    title: str = ""
    namespace: int = 0
    model: str = "wikitext"
    redirect: str | None = None
    text: str = ""
    refused: str | None = None


@dataclass(frozen=True)
class Head:
    """What a dump says of itself: the wiki's database name, and what its namespaces are called."""

    database: str
    namespaces: tuple[str, ...]


def dump_parts(path: str, part_bytes: int = PART_BYTES) -> list[DumpPart]:
    """The parts that a dump can be read in, in file order. The file is not read.

    Raises DataError when it is not there, TransientError when its location does not answer.
    """
    with explained(path), open_seekable(path) as file:
        if magic(file) == GZIP_MAGIC:
            return [DumpPart(path)]
    filesystem, inner_path = url_to_fs(os.path.expanduser(path))
    with explained(path):
        size = ask(path, filesystem, lambda: filesystem.size(inner_path))
    if size is None or size <= part_bytes:
        return [DumpPart(path)]
    starts = list(range(0, size, part_bytes))
    return [
        DumpPart(path, start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]


def read_head(path: str) -> Head:
    """The head of a dump. Raises DataError for a file that is none, or declares entities."""
    with explained(path), open_seekable(path) as file, damage_reported(path, 0):
        head = unpacked(file, path).read(_HEAD_BYTES)
    head = head.partition(_PAGE)[0]
    if not re.search(rb"<mediawiki\b", head):
        raise DataError(
            f"{path}: not a MediaWiki XML dump: expected <mediawiki ...>, begins with {head[:40]!r}"
        )
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise DataError(
            f"{path}: declares a document type, which a dump does not need and an attack does"
        )
    text = head.decode(errors="replace")
    database = re.search(r"<dbname>([^<]*)</dbname>", text)
    names = re.findall(r"<namespace\b[^<>]*>([^<]+)</namespace>", text)
    return Head(database[1] if database else "", tuple(map(html.unescape, names)))


def read_pages(part: DumpPart) -> Iterator[Page]:
    """The pages of a part, in file order; a page that cannot be read is among them, refused.

    Raises DataError when the file is damaged or ends too soon, with the last page before that, and
    TransientError when the location stops answering.
    """
    with explained(part.path), ExitStack() as stack:
        file = stack.enter_context(open_seekable(part.path))
        yield from _pages(_pieces(file, part), part)


def _pages(pieces: Iterator[tuple[bytes, bool]], part: DumpPart) -> Iterator[Page]:
    held = b""
    # Bytes before `held`, and the first byte that belongs to the next part.
    gone, limit = 0, None
    # Where the search for the end of an open page goes on; its beginning has been given up.
    searched, is_too_large = 0, False
    last, tail = "", b""
    for piece, is_mine in pieces:
        tail = (tail + piece[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        if not is_mine and limit is None:
            limit = gone + len(held)
        held += piece
        position = 0
        while True:
            if is_too_large:
                start = 0
            else:
                start = held.find(_PAGE, position)
                if start < 0:
                    position = max(position, len(held) - len(_PAGE) + 1)
                    break
                if limit is not None and gone + start >= limit:
                    return
            end = held.find(_PAGE_END, max(start, searched))
            if end < 0:
                position = start
                searched = max(0, len(held) - len(_PAGE_END) - start)
                break
            searched = 0
            end += len(_PAGE_END)
            page = Page(title=last, refused="too_large") if is_too_large else _page(held[start:end])
            is_too_large = False
            last = f"page {page.title!r}"
            yield page
            position = end
        held, gone = held[position:], gone + position
        if held.startswith(_PAGE) and len(held) > MAX_PAGE_BYTES:
            last, is_too_large = _title(held[: 1 << 12]), True
        if is_too_large:
            gone += len(held) - len(_PAGE_END)
            held, searched = held[-len(_PAGE_END) :], 0
        elif limit is not None and not held.startswith(_PAGE) and gone > limit:
            return
    # The end of the file was reached. A later part without a page may begin behind the last one.
    has_pages = part.start == 0 or last or held.startswith(_PAGE)
    if has_pages and (held.startswith(_PAGE) or is_too_large or b"</mediawiki>" not in tail):
        raise DataError(
            f"{part.path}: truncated: ends without </mediawiki> after {last or 'no page'}, "
            f"{gone + len(held)} bytes into what lies packed from byte {part.start} on"
        )


def _page(xml: bytes) -> Page:
    if xml.count(b"<") > _MAX_TAGS:
        return Page(title=_title(xml[: 1 << 12]), refused="too_large")
    try:
        # A parser is made for every page: what one has seen must not change the next.
        root = etree.fromstring(xml, etree.XMLParser(huge_tree=False, **_PARSER_LIMITS))
        redirect = root.find("redirect")
        revision = root.findall("revision")[-1]
        return Page(
            title=(root.findtext("title") or "").strip(),
            namespace=int(root.findtext("ns") or 0),
            model=revision.findtext("model") or "wikitext",
            redirect=None if redirect is None else redirect.get("title", ""),
            text=revision.findtext("text") or "",
        )
    except (etree.XMLSyntaxError, IndexError, ValueError):
        return Page(title=_title(xml[: 1 << 12]), refused="broken_xml")


def _title(xml: bytes) -> str:
    found = re.search(rb"<title>([^<]*)</title>", xml)
    return html.unescape(found[1].decode(errors="replace")) if found else ""


# Pieces of what is packed


def _pieces(file: IO[bytes], part: DumpPart) -> Iterator[tuple[bytes, bool]]:
    """The unpacked bytes from the part's first stream on, and whether they are its own.

    What follows the part comes too, as long as it is asked for: its last page may end there.
    """
    kind = magic(file)
    if kind == BZIP2_MAGIC[:2]:
        yield from _unpacked_streams(file, part)
    elif kind == GZIP_MAGIC:
        for chunk in chunks(unpacked(file, part.path), part.path):
            yield chunk, True
    else:
        file.seek(part.start)
        position = part.start
        for chunk in chunks(file, part.path):
            num_mine = len(chunk) if part.end is None else max(0, part.end - position)
            position += len(chunk)
            yield chunk[:num_mine], True
            if num_mine < len(chunk):
                yield chunk[num_mine:], False


def _unpacked_streams(file: IO[bytes], part: DumpPart) -> Iterator[tuple[bytes, bool]]:
    begin = _first_stream(file, part)
    if begin is None:
        return
    file.seek(begin)
    first, num_bytes = begin, 0
    packed, read_to = b"", begin
    while True:
        if len(packed) < _STREAM_BYTES:
            more = file.read(CHUNK_BYTES)
            packed, read_to = packed + more, read_to + len(more)
        if not packed:
            return
        begin = read_to - len(packed)
        if not packed.startswith(BZIP2_MAGIC):
            raise DataError(f"{part.path}: byte {begin}: damaged: a bzip2 stream should begin here")
        is_mine = part.end is None or begin < part.end
        decompressor = bz2.BZ2Decompressor()
        while not decompressor.eof:
            if decompressor.needs_input and not packed:
                packed = file.read(CHUNK_BYTES)
                read_to += len(packed)
                if not packed:
                    raise DataError(
                        f"{part.path}: truncated: the file ends at byte {read_to}, in the middle "
                        f"of the bzip2 stream that begins at byte {begin}"
                    )
            try:
                piece = decompressor.decompress(packed, CHUNK_BYTES)
            except OSError as error:
                raise DataError(
                    f"{part.path}: damaged in the bzip2 stream that begins at byte {begin}: {error}"
                ) from error
            packed = b""
            num_bytes += len(piece)
            check_ratio(read_to - first, num_bytes, part.path)
            yield piece, is_mine
        packed = decompressor.unused_data


def _first_stream(file: IO[bytes], part: DumpPart) -> int | None:
    """Where the first bzip2 stream begins in the part; None where none does."""
    if part.start == 0:
        return 0
    file.seek(part.start)
    tail, position = b"", part.start
    # One that begins at the part's last byte is known by what follows the part.
    while part.end is None or position < part.end + _STREAM_BYTES - 1:
        chunk = file.read(CHUNK_BYTES)
        if not chunk:
            return None
        window = tail + chunk
        if found := _STREAM.search(window):
            start = position - len(tail) + found.start()
            return start if part.end is None or start < part.end else None
        tail, position = window[-_STREAM_BYTES + 1 :], position + len(chunk)
    return None
