from __future__ import annotations

import codecs
import functools
import gzip
import io
import lzma
import os
import re
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xner.config import OpusConfig
from xner.corpora.bitext import MAX_LINE_BYTES, Block, read_bitext
from xner.corpora.opus import Archive, Format, locate
from xner.errors import DataError, TransientError


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _moses(folder: Path, source: bytes, target: bytes) -> Archive:
    members = {"README": b"about", "X.de-en.de": target, "X.de-en.en": source}
    return _archive(_zip(folder / "de-en.txt.zip", members))


def _archive(path: Path | str, format: Format = "moses", target: Path | None = None) -> Archive:
    return Archive("X", "en", "de", str(path), target and str(target), format)


def _text(folder: Path, source: bytes, target: bytes) -> Archive:
    (folder / "x.en").write_bytes(source)
    (folder / "x.de").write_bytes(target)
    return _archive(folder / "x.en", "text", folder / "x.de")


def _tmx(folder: Path, body: str, document_type: str = "") -> Archive:
    text = f'<?xml version="1.0"?>{document_type}<tmx version="1.4"><body>{body}</body></tmx>'
    (folder / "x.tmx").write_text(text, encoding="utf-8")
    return _archive(folder / "x.tmx", "tmx")


def _unit(**texts: str) -> str:
    variants = (
        f'<tuv xml:lang="{lang.replace("_", "-")}"><seg>{text}</seg></tuv>'
        for lang, text in texts.items()
    )
    return f"<tu>{''.join(variants)}</tu>"


def _read(archive: Archive, block_pairs: int = 32_768) -> tuple[list[tuple[str, str]], dict]:
    """All pairs, and the reasons of the refused ones by line number."""
    pairs: list[tuple[str, str]] = []
    refused: dict[int, str] = {}
    for block in read_bitext(archive, block_pairs):
        assert block.first_line == len(pairs) + 1
        assert len(block.source) == len(block.target) == len(block) <= block_pairs
        refused |= {block.first_line + index: reason for index, reason in block.refused.items()}
        pairs += zip(block.source, block.target, strict=True)
    return pairs, refused


@pytest.mark.parametrize("make", [_moses, _text])
@pytest.mark.parametrize("block_pairs", [1, 2, 1000])
def test_bitext_pairs_line_n_with_line_n(tmp_path: Path, make, block_pairs: int) -> None:
    archive = make(tmp_path, b"one\ntwo\n\nfour\n", b"eins\nzwei\ndrei\nvier\n")
    pairs, refused = _read(archive, block_pairs)
    assert pairs == [("one", "eins"), ("two", "zwei"), ("", "drei"), ("four", "vier")]
    assert not refused


def test_bitext_ends_a_line_at_line_feed_only(tmp_path: Path) -> None:
    odd = "a\x85b\u2028c\u2029d\x0be\x0cf\x1cg\rh"
    archive = _moses(tmp_path, f"{odd}\nx\n".encode(), b"eins\nzwei\n")
    assert _read(archive)[0] == [(odd, "eins"), ("x", "zwei")]


def test_bitext_strips_one_carriage_return_and_a_byte_order_mark(tmp_path: Path) -> None:
    archive = _moses(tmp_path, b"\xef\xbb\xbfone\r\ntwo\r\r\nthree\r", b"eins\nzwei\ndrei")
    assert [source for source, _ in _read(archive)[0]] == ["one", "two\r", "three"]


def test_bitext_does_not_depend_on_where_a_chunk_ends(tmp_path: Path) -> None:
    # Lines of every length, so that the reader's chunks of 1 MiB end within a line end, a letter.
    source = [f"{number} ü" + "x" * (number % 97) for number in range(40_000)]
    target = [f"{number} 汉" + "y" * (number % 89) for number in range(40_000)]
    archive = _text(
        tmp_path, "\r\n".join(source).encode() + b"\r\n", "\n".join(target).encode() + b"\n"
    )
    assert _read(archive, 1_000)[0] == list(zip(source, target, strict=True))


@pytest.mark.parametrize(
    ("bad", "reason", "shown"),
    [
        (b"caf\xe9", "invalid_utf8", "caf\ufffd"),
        (b"a\xed\xa0\x80b", "invalid_utf8", "a\ufffd\ufffd\ufffdb"),
        (b"a\0b", "nul_byte", "a\ufffdb"),
        (b"x" * (MAX_LINE_BYTES + 1), "line_too_long", "x" * 256),
    ],
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_bitext_refuses_a_bad_line_in_its_place(
    tmp_path: Path, bad: bytes, reason: str, shown: str, side: str
) -> None:
    good = b"one\ntwo\nthree\nfour\n"
    broken = b"eins\n" + bad + b"\ndrei\nvier\n"
    sides = (broken, good) if side == "source" else (good, broken)
    pairs, refused = _read(_moses(tmp_path, *sides), 3)
    assert refused == {2: reason}
    lines = [pair[side == "target"] for pair in pairs]
    assert lines == ["eins", shown, "drei", "vier"]
    assert [pair[side == "source"] for pair in pairs] == ["one", "two", "three", "four"]


def test_bitext_counts_a_pair_that_is_bad_on_both_sides_once(tmp_path: Path) -> None:
    archive = _moses(tmp_path, b"a\0\nb\nc\xff\n", b"a\xff\nb\nc\n")
    assert _read(archive)[1] == {1: "nul_byte", 3: "invalid_utf8"}


def test_bitext_accepts_a_line_of_the_greatest_length(tmp_path: Path) -> None:
    line = "ü" * (MAX_LINE_BYTES // 2)
    pairs, refused = _read(_text(tmp_path, f"{line}\n".encode(), b"kurz\n"))
    assert pairs == [(line, "kurz")]
    assert not refused


def test_bitext_does_not_hold_a_line_of_ten_megabytes(tmp_path: Path) -> None:
    archive = _text(tmp_path, b"a\n" + b"x" * 10_000_000 + b"\nc\n", b"a\nb\nc\n")
    tracemalloc.start()
    pairs, refused = _read(archive)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [source for source, _ in pairs] == ["a", "x" * 256, "c"]
    assert refused == {2: "line_too_long"}
    assert peak_bytes < 9_000_000


def test_bitext_blocks_of_long_lines_are_small(tmp_path: Path) -> None:
    line = b"x" * 30_000 + b"\n"
    archive = _text(tmp_path, line * 2_000, b"y\n" * 2_000)
    lengths = [len(block) for block in read_bitext(archive)]
    assert sum(lengths) == 2_000
    assert max(lengths) * 30_000 < 20_000_000


@pytest.mark.parametrize("longer", [0, 1])
def test_bitext_gives_the_pairs_before_it_says_that_the_sides_differ(
    tmp_path: Path, longer: int
) -> None:
    sides = [b"x\n" * 70_000, b"y\n" * 70_000]
    sides[longer] += b"z\n" * 90_000
    blocks: Iterator[Block] = read_bitext(_moses(tmp_path, *sides))
    num_pairs = 0
    counts = (160_000, 70_000) if longer == 0 else (70_000, 160_000)
    message = f"X.de-en.en: has {counts[0]} lines, .*X.de-en.de has {counts[1]};"
    with pytest.raises(DataError, match=message):
        for block in blocks:
            num_pairs += len(block)
    assert num_pairs == 70_000


@pytest.mark.parametrize("make", [_moses, _text])
def test_bitext_without_a_pair_is_an_error(tmp_path: Path, make) -> None:
    with pytest.raises(DataError, match="holds no pair"):
        _read(make(tmp_path, b"", b""))


def test_bitext_reads_gzip_of_either_side(tmp_path: Path) -> None:
    (tmp_path / "x.en.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (tmp_path / "x.de").write_bytes(b"eins\nzwei\n")
    archive = _archive(tmp_path / "x.en.gz", "text", tmp_path / "x.de")
    assert _read(archive)[0] == [("one", "eins"), ("two", "zwei")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4...", "is packed as zip; .* plain or packed by gzip or bzip2"),
        (lzma.compress(b"eins\n"), "is packed as xz; "),
        (b"\x28\xb5\x2f\xfd...", "is packed as zstd; "),
        (codecs.BOM_UTF16_LE + "eins\n".encode("utf-16-le"), "is UTF-16; .*iconv"),
        (gzip.compress(codecs.BOM_UTF16_BE + "eins\n".encode("utf-16-be")), "is UTF-16; "),
    ],
    ids=["zip", "xz", "zstd", "utf-16", "utf-16 in gzip"],
)
@pytest.mark.parametrize("side", ["en", "de"])
def test_bitext_reads_no_packing_or_encoding_as_text(
    tmp_path: Path, content: bytes, message: str, side: str
) -> None:
    archive = _text(tmp_path, b"one\n", b"eins\n")
    (tmp_path / f"x.{side}").write_bytes(content)
    with pytest.raises(DataError, match=rf"x.{side}: {message}"):
        _read(archive)


def test_bitext_says_how_far_a_truncated_gzip_went(tmp_path: Path) -> None:
    lines = "".join(f"{number * 7919 % 10007} words\n" for number in range(250_000)).encode()
    packed = gzip.compress(lines)
    (tmp_path / "x.en").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "x.de").write_bytes(lines)
    with pytest.raises(DataError, match=r"x.en: truncated: ends after \d{7} bytes"):
        _read(_archive(tmp_path / "x.en", "text", tmp_path / "x.de"))


def test_bitext_notices_a_damaged_gzip(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"one\ntwo\n"))
    packed[-8] ^= 1  # the checksum
    (tmp_path / "x.en").write_bytes(packed)
    (tmp_path / "x.de").write_bytes(b"eins\nzwei\n")
    with pytest.raises(DataError, match=r"x.en: damaged .*CRC"):
        _read(_archive(tmp_path / "x.en", "text", tmp_path / "x.de"))


# Zip files


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_bitext_names_a_truncated_zip(tmp_path: Path, kept: float) -> None:
    archive = _moses(tmp_path, b"one\n" * 50_000, b"eins\n" * 50_000)
    path = Path(archive.path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    num_bytes = path.stat().st_size
    with pytest.raises(DataError, match=rf"truncated or damaged zip.*its {num_bytes} bytes"):
        _read(archive)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_bitext_names_what_is_no_zip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"x.zip: not a zip file, but {len(content)} bytes"):
        _read(_archive(tmp_path / "x.zip"))


def test_bitext_notices_a_wrong_checksum(tmp_path: Path) -> None:
    archive = _moses(tmp_path, b"one\n", b"eins\n")
    path = Path(archive.path)
    with zipfile.ZipFile(path) as members:
        checksum = members.getinfo("X.de-en.en").CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(checksum, b"\0\0\0\0"))
    with pytest.raises(DataError, match=r"X.de-en.en: damaged .*CRC"):
        _read(archive)


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_bitext_notices_damage_within_a_member(tmp_path: Path, packing: int) -> None:
    text = "".join(f"{number * 7919 % 10007}\n" for number in range(100_000)).encode()
    archive = _moses(tmp_path, text, text)
    path = Path(archive.path)
    with zipfile.ZipFile(path, "w", packing) as members:
        for lang in ("en", "de"):
            members.writestr(f"X.de-en.{lang}", text)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2_000] = bytes(2_000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"X.de-en.\w\w: damaged after \d+ bytes"):
        _read(archive)


def test_bitext_reads_no_more_than_a_member_declares(tmp_path: Path) -> None:
    archive = _moses(tmp_path, b"one\n" * 10_000, b"eins\n" * 10_000)
    path = Path(archive.path)
    content = path.read_bytes()
    directory = content.index(b"PK\1\2")
    declared = (40_000).to_bytes(4, "little")
    lied = content[directory:].replace(declared, (40).to_bytes(4, "little"))
    path.write_bytes(content[:directory] + lied)
    with pytest.raises(DataError, match=r"X.de-en.en: damaged .*CRC"):
        _read(archive)


@pytest.mark.parametrize("name", ["../evil.en", "/etc/evil.en", "a/../../evil.en", "C:\\evil.en"])
def test_bitext_refuses_a_member_outside_the_archive(tmp_path: Path, name: str) -> None:
    path = _zip(tmp_path / "x.zip", {name: b"one\n", "x.de": b"eins\n"})
    with pytest.raises(DataError, match="points outside the archive"):
        _read(_archive(path))


def test_bitext_refuses_an_absurd_ratio_without_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("x.de", b"eins\n")
        with members.open("x.en", "w") as member:
            for _ in range(70):
                member.write(bytes(1 << 20))
    with pytest.raises(DataError, match=r"unpacks .* to 73400320 or more; a ratio above 200"):
        _read(_archive(path))


def test_bitext_refuses_an_encrypted_member(tmp_path: Path) -> None:
    archive = _moses(tmp_path, b"one\n", b"eins\n")
    path = Path(archive.path)
    content = bytearray(path.read_bytes())
    for found in re.finditer(b"PK\1\2", bytes(content)):
        content[found.start() + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted"):
        _read(archive)


def test_bitext_names_the_members_it_found(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"README": b"", "X.en-fr.en": b"", "X.en-fr.fr": b""})
    with pytest.raises(DataError, match=r"no member for de: .*\.de, found README, X.en-fr.en"):
        _read(_archive(path))


def test_bitext_does_not_choose_among_members(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"a.en": b"1\n", "b.en": b"2\n", "a.de": b"1\n"})
    with pytest.raises(DataError, match=r"several members for en: a.en, b.en"):
        _read(_archive(path))
    _zip(path, {"2023.tmx": b"<tmx/>", "2024.TMX": b"<tmx/>"})
    with pytest.raises(DataError, match=r"x.zip: several TMX members: 2023.tmx, 2024.TMX"):
        _read(_archive(path, "tmx"))


def test_bitext_ignores_what_macos_adds_to_a_zip(tmp_path: Path) -> None:
    members = {"a.en": b"one\n", "a.de": b"eins\n"}
    added = {f"__MACOSX/._{name}": b"\0" for name in (*members, "a.tmx")}
    path = _zip(tmp_path / "x.zip", {**added, **members})
    assert _read(_archive(path))[0] == [("one", "eins")]


def test_bitext_finds_members_under_the_code_of_the_corpus(tmp_path: Path) -> None:
    members = {"LICENSE": b"", "O.en-zh_CN.en": b"one\n", "O.en-zh_CN.zh_CN": "一\n".encode()}
    path = _zip(tmp_path / "x.zip", members)
    assert _read(Archive("O", "en", "zh", str(path)))[0] == [("one", "一")]


# TMX


def test_bitext_reads_tmx_languages_and_variants(tmp_path: Path) -> None:
    body = (
        _unit(en="one", de="eins")
        + _unit(fr="deux", DE_at="zwei", EN_us="two")
        + '<tu><tuv lang="de"><seg>drei</seg></tuv><tuv lang="en"><seg>three</seg></tuv></tu>'
        + _unit(en="four", de="vier", de_ch="vieri")
    )
    pairs, refused = _read(_tmx(tmp_path, body), 3)
    assert pairs == [("one", "eins"), ("two", "zwei"), ("three", "drei"), ("four", "vier")]
    assert not refused


def test_bitext_keeps_a_tmx_unit_without_the_language_as_refused(tmp_path: Path) -> None:
    body = _unit(en="one", de="eins") + _unit(en="two", fr="deux") + _unit(en="three", de="drei")
    pairs, refused = _read(_tmx(tmp_path, body), 2)
    assert pairs == [("one", "eins"), ("two", ""), ("three", "drei")]
    assert refused == {2: "missing_language"}


def test_bitext_of_a_tmx_in_other_languages_is_an_error(tmp_path: Path) -> None:
    body = _unit(en="one", fr="un") + _unit(en="two", fr="deux") + _unit(en="three")
    expected = r"x\.tmx: none of its 3 units has both en and de; they are in en, fr"
    with pytest.raises(DataError, match=expected):
        _read(_tmx(tmp_path, body), 2)


def test_bitext_joins_tmx_text_and_leaves_native_codes_out(tmp_path: Path) -> None:
    marked = (
        'The <bpt i="1">&lt;b&gt;</bpt>big<ept i="1">&lt;/b&gt;</ept> '
        '<hi type="term">black <hi>cat</hi></hi><ph>&lt;img/&gt;<sub>alt</sub></ph>,<!-- so --> it'
    )
    pairs, _ = _read(_tmx(tmp_path, _unit(en=marked, de="&#228;&amp;ö")))
    assert pairs == [("The big black cat, it", "ä&ö")]


@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_bitext_reads_packed_tmx(tmp_path: Path, packing: str) -> None:
    content = Path(_tmx(tmp_path, _unit(en="one", de="eins")).path).read_bytes()
    path = tmp_path / f"y.tmx.{packing}"
    if packing == "gz":
        path.write_bytes(gzip.compress(content))
    else:
        _zip(path, {"en-de.tmx": content})
    assert _read(_archive(path, "tmx"))[0] == [("one", "eins")]


def test_bitext_reads_tmx_of_another_encoding_and_ignores_an_external_document_type(
    tmp_path: Path,
) -> None:
    text = Path(_tmx(tmp_path, _unit(en="one", de="zwölf")).path).read_text(encoding="utf-8")
    text = text.replace("?>", ' encoding="UTF-16"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">')
    (tmp_path / "x.tmx").write_text(text, encoding="utf-16")
    assert _read(_archive(tmp_path / "x.tmx", "tmx"))[0] == [("one", "zwölf")]


def test_bitext_reads_the_entities_of_an_external_document_type(tmp_path: Path) -> None:
    document_type = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">'
    body = _unit(en="A&nbsp;&amp;&nbsp;<hi>B&Eacute;</hi> C", de="D&ndash;E <ph>&logo;</ph>F")
    pairs, _ = _read(_tmx(tmp_path, body, document_type))
    assert pairs == [("A\xa0&\xa0B\xc9 C", "D\u2013E F")]
    for name in ("logo", "notit"):
        body = _unit(en="one", de="eins") + "\n" + _unit(en=f"two &{name};", de="zwei")
        with pytest.raises(DataError, match=rf"x.tmx: the entity &{name}; at line 2 is not known"):
            _read(_tmx(tmp_path, body, document_type))


def test_bitext_refuses_an_entity_bomb(tmp_path: Path) -> None:
    levels = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE tmx [<!ENTITY b0 "bang">{levels}]>'
    with pytest.raises(DataError, match=r"x.tmx: .*entit"):
        _read(_tmx(tmp_path, _unit(en="&b9;", de="eins"), bomb))


def test_bitext_reads_no_file_that_a_tmx_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    document_type = f'<!DOCTYPE tmx [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]>'
    with pytest.raises(DataError, match="declares entities"):
        _read(_tmx(tmp_path, _unit(en="&s;", de="eins"), document_type))


def test_bitext_names_the_line_where_xml_breaks(tmp_path: Path) -> None:
    body = "\n".join([_unit(en="one", de="eins"), _unit(en="a < b", de="zwei")])
    with pytest.raises(DataError, match=r"x.tmx: not well-formed XML at line 2: "):
        _read(_tmx(tmp_path, body))


def test_bitext_names_a_truncated_tmx(tmp_path: Path) -> None:
    path = Path(_tmx(tmp_path, _unit(en="one", de="eins") * 1_000).path)
    content = path.read_bytes()
    path.write_bytes(content[:20_000])
    with pytest.raises(DataError, match="not well-formed XML at line 1: "):
        _read(_archive(path, "tmx"))
    (tmp_path / "y.tmx.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(DataError, match=r"y.tmx.gz: truncated"):
        _read(_archive(tmp_path / "y.tmx.gz", "tmx"))


def test_bitext_of_an_empty_tmx_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pair"):
        _read(_tmx(tmp_path, ""))
    (tmp_path / "x.tmx").write_bytes(b"")
    with pytest.raises(DataError, match=r"x.tmx: not well-formed"):
        _read(_archive(tmp_path / "x.tmx", "tmx"))


def test_bitext_refuses_a_tmx_segment_that_is_too_long(tmp_path: Path) -> None:
    body = _unit(en="x" * (MAX_LINE_BYTES + 1), de="eins") + _unit(en="two", de="zwei")
    pairs, refused = _read(_tmx(tmp_path, body))
    assert pairs == [("x" * 256, "eins"), ("two", "zwei")]
    assert refused == {1: "line_too_long"}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_bitext_holds_only_a_part_of_a_large_tmx(tmp_path: Path) -> None:
    # The tree is not in Python's own memory, so the process is measured.
    archive = _tmx(tmp_path, _unit(en="x" * 3_000, de="y" * 3_000) * 8_000)
    resident = [
        int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for _ in read_bitext(archive, 100)
    ]
    assert len(resident) == 80
    assert max(resident) - resident[0] < 16_000_000


# Locations


class _Quiet(SimpleHTTPRequestHandler):
    """The standard library's server: it knows no ranges."""

    def log_message(self, *_: object) -> None:
        pass


class _WithRanges(_Quiet):
    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        start, end = re.match(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups()
        part = content[int(start) : int(end) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture(params=[_Quiet, _WithRanges])
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(request.param, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_bitext_reads_a_zip_from_a_web_server(tmp_path: Path, web: str) -> None:
    lines = "".join(f"{number * 7919 % 10007} words\n" for number in range(50_000)).encode()
    local = _moses(tmp_path, lines, lines)
    remote = _archive(f"{web}/{Path(local.path).name}")
    assert _read(remote)[0] == _read(local)[0]


def test_bitext_tells_a_missing_file_from_a_silent_server(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.zip: there is no such file"):
        _read(_archive(tmp_path / "gone.zip"))
    (tmp_path / "x.en").write_bytes(b"one\n")
    with pytest.raises(DataError, match=r"gone.de: there is no such file"):
        _read(_archive(tmp_path / "x.en", "text", tmp_path / "gone.de"))
    with pytest.raises(TransientError, match=r"127.0.0.1:9"):
        _read(_archive("http://127.0.0.1:9/de-en.txt.zip"))


# Real archives

COUNTS = {
    "Tatoeba": {"de": 169_197, "es": 118_964, "nl": 52_652, "zh": 21_116},
    "WMT-News": {"de": 35_131, "es": 16_555, "zh": 15_570},
    "NTREX": {"de": 1_997, "es": 1_997, "nl": 1_997, "zh": 1_997},
}


@pytest.mark.parametrize("corpus", COUNTS)
def test_bitext_reads_the_numbers_of_the_manifest(shared_data: Path, corpus: str) -> None:
    opus = OpusConfig(root=str(shared_data / "opus"))
    counts = {}
    for lang in COUNTS[corpus]:
        blocks = list(read_bitext(locate(opus, corpus, "en", lang)))
        counts[lang] = sum(len(block) for block in blocks)
        assert not any(block.refused for block in blocks)
    assert counts == COUNTS[corpus]


def test_bitext_stays_aligned_around_next_line_characters(shared_data: Path) -> None:
    archive = locate(OpusConfig(root=str(shared_data / "opus")), "WMT-News", "en", "de")
    with zipfile.ZipFile(archive.path) as members:
        raw = {
            lang: members.read(f"WMT-News.de-en.{lang}").decode().split("\n")
            for lang in ("en", "de")
        }
    pairs, _ = _read(archive)
    odd = [number for number, line in enumerate(raw["de"]) if "\x85" in line]
    assert len(odd) >= 5
    for number in odd:
        for near in range(number - 1, number + 2):
            assert pairs[near] == (raw["en"][near], raw["de"][near])
    # The last pair would be the first to drift.
    assert pairs[-1] == (raw["en"][-2], raw["de"][-2])
    figures = re.compile(r"\d{3,}")
    last = [set(figures.findall(text)) for text in pairs[odd[-1] + 1]]
    assert last[0] == last[1]


def test_bitext_reads_the_real_tmx(shared_data: Path) -> None:
    path = shared_data / "tmx" / "MDN_Web_Docs.en-es.tmx"
    pairs, refused = _read(Archive("MDN", "en", "es", str(path), None, "tmx"))
    assert len(pairs) == 6_690
    assert not refused
    assert pairs[0][0].startswith("This article looks at the anatomy")
    assert pairs[0][1].startswith("Este artículo examina la anatomía")
    assert all(text == text.strip(" \n") for pair in pairs for text in pair)


def test_bitext_blocks_can_be_left_early(tmp_path: Path) -> None:
    archive = _moses(tmp_path, b"x\n" * 100, b"y\n" * 100)
    assert len(next(read_bitext(archive, 10))) == 10


def test_bitext_reads_a_zip_inside_memory() -> None:
    import fsspec

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as members:
        members.writestr("x.en", b"one\n")
        members.writestr("x.de", b"eins\n")
    fsspec.filesystem("memory").pipe_file("/store/de-en.txt.zip", content.getvalue())
    assert _read(_archive("memory://store/de-en.txt.zip"))[0] == [("one", "eins")]
