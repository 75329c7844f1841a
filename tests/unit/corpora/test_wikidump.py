from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xner.corpora import wikidump
from xner.corpora.wikidump import DumpPart, Page, dump_parts, read_head, read_pages
from xner.errors import DataError

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="de">
  <siteinfo><dbname>dewiki</dbname><namespaces>
    <namespace key="0" case="first-letter" /><namespace key="6">Datei</namespace>
    <namespace key="4">A &amp; B</namespace>
  </namespaces></siteinfo>
"""
TAIL = "</mediawiki>\n"


def page_xml(title: str, text: str = "", ns: int = 0, redirect: str = "") -> str:
    target = f'<redirect title="{redirect}" />' if redirect else ""
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>1</id>{target}<revision><id>2</id>"
        f"<model>wikitext</model><text bytes='1'>{text}</text></revision></page>\n"
    )


PAGES = [page_xml(f"Seite {n}", f"&lt;b&gt; [[Ä{n}]] " * (n % 7)) for n in range(60)]
DUMP = (HEAD + "".join(PAGES) + TAIL).encode()


def _streams(content: bytes, size: int) -> bytes:
    return b"".join(bz2.compress(content[i : i + size]) for i in range(0, len(content), size))


# As Wikimedia does it: the head, some pages a stream, the end.
MULTISTREAM = b"".join(
    bz2.compress(part.encode())
    for part in [HEAD, *("".join(PAGES[i : i + 10]) for i in range(0, 60, 10)), TAIL]
)
PACKED = {
    "plain.xml": DUMP,
    "one.xml.gz": gzip.compress(DUMP),
    "one.xml.bz2": bz2.compress(DUMP),
    "multistream.xml.bz2": MULTISTREAM,
    "cut anywhere.xml.bz2": _streams(DUMP, 101),
}


@pytest.mark.parametrize("part_bytes", [1, 37, 500, 10_000])
@pytest.mark.parametrize("name", PACKED)
def test_wikidump_every_page_is_in_one_part(tmp_path: Path, name: str, part_bytes: int):
    path = tmp_path / name
    path.write_bytes(PACKED[name])
    parts = dump_parts(str(path), max(part_bytes, len(PACKED[name]) // 400))
    pages = [page for part in parts for page in read_pages(part)]
    assert [page.title for page in pages] == [f"Seite {n}" for n in range(60)]
    assert pages[8] == Page(title="Seite 8", text="<b> [[Ä8]] ")
    if part_bytes == 37 and name != "one.xml.gz":
        assert len(parts) > 3


@pytest.mark.parametrize("part_bytes", range(20, 60))
def test_wikidump_no_stream_is_lost_between_two_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int
):
    monkeypatch.setattr(wikidump, "CHUNK_BYTES", part_bytes)
    path = tmp_path / "m.xml.bz2"
    path.write_bytes(MULTISTREAM)
    pages = [page for part in dump_parts(str(path), part_bytes) for page in read_pages(part)]
    assert [page.title for page in pages] == [f"Seite {n}" for n in range(60)]


def test_wikidump_multistream_is_shared_out(tmp_path: Path):
    path = tmp_path / "m.xml.bz2"
    path.write_bytes(MULTISTREAM)
    sizes = [len(list(read_pages(part))) for part in dump_parts(str(path), 200)]
    assert sum(sizes) == 60
    assert sum(size > 0 for size in sizes) > 3


def test_wikidump_reads_the_head(tmp_path: Path):
    path = tmp_path / "d.xml.bz2"
    path.write_bytes(MULTISTREAM)
    head = read_head(str(path))
    assert (head.database, head.namespaces) == ("dewiki", ("Datei", "A & B"))


def _pages(tmp_path: Path, content: str | bytes, name: str = "d.xml") -> list[Page]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_pages(DumpPart(str(path))))


def test_wikidump_takes_redirects_namespaces_and_the_last_revision(tmp_path: Path):
    old = "<revision><text>old</text></revision><revision><model>css</model>"
    pages = _pages(
        tmp_path,
        HEAD
        + page_xml("A", "#REDIRECT [[B]]", redirect="B")
        + page_xml("Datei:C", ns=6)
        + page_xml("D", "new").replace("<revision><id>2</id><model>wikitext</model>", old)
        + TAIL,
    )
    assert [(p.title, p.namespace, p.redirect, p.model, p.text) for p in pages] == [
        ("A", 0, "B", "wikitext", "#REDIRECT [[B]]"),
        ("Datei:C", 6, None, "wikitext", ""),
        ("D", 0, None, "css", "new"),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        page_xml("X", "a <b> c"),
        page_xml("X", "&bomb;"),
        page_xml("X").replace("<ns>0", "<ns>zero"),
        "<page><title>X</title></page>",
        "<page><title>X</title>" + page_xml("lost"),
    ],
)
def test_wikidump_refuses_a_broken_page_and_goes_on(tmp_path: Path, broken: str):
    pages = _pages(tmp_path, HEAD + page_xml("A") + broken + page_xml("B") + TAIL)
    assert [(p.title, p.refused) for p in pages] == [("A", None), ("X", "broken_xml"), ("B", None)]


def test_wikidump_refuses_bytes_that_are_no_text(tmp_path: Path):
    content = (HEAD + page_xml("A", "Q") + TAIL).encode().replace(b">Q<", b">\xff\xfe<")
    assert [page.refused for page in _pages(tmp_path, content)] == ["broken_xml"]


def test_wikidump_refuses_a_page_too_large_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(wikidump, "CHUNK_BYTES", 64)
    monkeypatch.setattr(wikidump, "MAX_PAGE_BYTES", 1 << 20)
    content = HEAD + page_xml("X", "a" * (5 << 20)) + page_xml("B", "b") + TAIL
    pages = _pages(tmp_path, _streams(content.encode(), 1 << 16), "d.xml.bz2")
    assert [(p.title, p.refused) for p in pages] == [("X", "too_large"), ("B", None)]


@pytest.mark.parametrize("name", PACKED)
def test_wikidump_truncated_is_told(tmp_path: Path, name: str):
    for share in (0.5, 0.9, 0.99):
        path = tmp_path / name
        path.write_bytes(PACKED[name][: int(len(PACKED[name]) * share)])
        with pytest.raises(DataError, match=f"{name}.*(truncated|damaged)"):
            list(read_pages(DumpPart(str(path))))


def test_wikidump_truncated_between_pages_is_told(tmp_path: Path):
    path = tmp_path / "d.xml.bz2"
    path.write_bytes(MULTISTREAM[: -len(bz2.compress(TAIL.encode()))])
    with pytest.raises(DataError, match=r"truncated.*'Seite 59'"):
        for part in dump_parts(str(path), 150):
            list(read_pages(part))


def test_wikidump_damage_is_told_with_its_place(tmp_path: Path):
    path = tmp_path / "d.xml.bz2"
    begin = len(bz2.compress(HEAD.encode()))
    path.write_bytes(MULTISTREAM[: begin + 60] + b"\0" * 40 + MULTISTREAM[begin + 100 :])
    with pytest.raises(DataError, match=f"damaged in the bzip2 stream that begins at byte {begin}"):
        list(read_pages(DumpPart(str(path))))
    path.write_bytes(MULTISTREAM + b"rubbish behind")
    with pytest.raises(DataError, match=f"byte {len(MULTISTREAM)}: damaged"):
        list(read_pages(DumpPart(str(path))))


@pytest.mark.parametrize(
    "content", [b"", b"no dump", b"<html></html>", b"PK\x03\x04", b"\x1f\x8bx"]
)
def test_wikidump_other_files_are_told(tmp_path: Path, content: bytes):
    path = tmp_path / "d.xml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"d\.xml"):
        read_head(str(path))
    with pytest.raises(DataError, match="no such file"):
        read_head(str(tmp_path / "absent"))


def test_wikidump_entities_are_refused(tmp_path: Path):
    path = tmp_path / "d.xml"
    path.write_text('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + HEAD + TAIL)
    with pytest.raises(DataError, match="document type"):
        read_head(str(path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([HEAD, *PAGES[:3], TAIL, "<page>", "</page>", "&x;", "\0"]))
    .map("".join)
    .map(str.encode),
    st.sampled_from([bytes, bz2.compress, gzip.compress]),
    st.integers(1, 300),
)
def test_wikidump_whatever_comes_raises_only_our_errors(tmp_path: Path, content, pack, size):
    path = tmp_path / "d"
    path.write_bytes(pack(content))
    for read in (lambda: read_head(str(path)), lambda: _read_parts(path, size)):
        try:
            read()
        except DataError as error:
            assert str(path) in str(error)


def _read_parts(path: Path, size: int) -> None:
    for part in dump_parts(str(path), size):
        list(read_pages(part))
