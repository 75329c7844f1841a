from __future__ import annotations

import errno
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from xner.errors import ConfigError, DataError, TransientError
from xner.shards.schema import PAIRS, PSEUDO
from xner.shards.storage import Folder, files_at, read_file


def test_storage_location_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Folder.at("a/b").location == str(tmp_path / "a" / "b")
    assert Folder.at("memory://a/b").location == "memory:///a/b"


@pytest.mark.parametrize(
    ("location", "parent"),
    [
        *(("/data/pairs", "/data"), ("/data", "/"), ("s3://bucket/pairs", "s3://bucket")),
        *(("s3://bucket", None), ("zip://pairs::/data/all.zip", None)),
    ],
)
def test_storage_parent_is_a_folder_of_the_same_location(location: str, parent: str | None) -> None:
    assert Folder(location).parent == (parent and Folder(parent))


def test_storage_unknown_protocol_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        Folder.at("nosuch://bucket/x")


@pytest.mark.parametrize("root", ["local", "memory://storage-test"])
def test_storage_publishes_lists_and_reads(root: str, tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path) if root == "local" else root)
    folder.publish("b/2.parquet", b"two")
    folder.publish("1.parquet", b"one")
    folder.publish("1.parquet", b"another")
    folder.publish("run.json", b"{}")
    folder.publish("_hidden/3.parquet", b"three")
    assert folder.names(".parquet") == ["1.parquet", "b/2.parquet"]
    assert folder.read("1.parquet") == b"another"
    assert folder.exists("b/2.parquet") and not folder.exists("2.parquet")


@pytest.mark.parametrize("root", ["/data", "s3://bucket/data"])
def test_storage_lists_what_lies_below(root: str) -> None:
    folder = Folder(root)
    assert folder.lists(folder) and folder.lists(folder / "a" / "b")
    assert not (folder / "a").lists(folder)
    assert not folder.lists(Folder(f"{root}-2"))
    assert not folder.lists(folder / "a" / "_b")
    assert Folder("/").lists(Folder("/data"))


def test_storage_missing_folder_is_empty(tmp_path: Path) -> None:
    assert Folder.at(str(tmp_path / "nowhere")).names() == []


def test_storage_tells_of_a_folder_within_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish("en-de/1.parquet", b"")
    folder.publish("en-es/1.parquet", b"")
    ls = LocalFileSystem.ls

    def refused(self: Any, path: str, *arguments: Any, **settings: Any) -> Any:
        if path.endswith("en-es"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return ls(self, path, *arguments, **settings)

    # Another user's folder can be read by root, who may run the tests.
    monkeypatch.setattr(LocalFileSystem, "ls", refused)
    with pytest.raises(ConfigError, match="no permission: Permission denied"):
        folder.names(".parquet")


def test_storage_folder_within_that_is_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish("en-de/1.parquet", b"")
    (folder / "_lease").publish("1.json", b"")
    ls = LocalFileSystem.ls

    def removed_after(self: Any, path: str, *arguments: Any, **settings: Any) -> Any:
        found = ls(self, path, *arguments, **settings)
        (folder / "_lease").remove_all()
        return found

    monkeypatch.setattr(LocalFileSystem, "ls", removed_after)
    assert folder.names(".parquet") == ["en-de/1.parquet"]


def test_storage_follows_links_to_folders_on_another_disk(tmp_path: Path) -> None:
    pairs, elsewhere = tmp_path / "pairs", Folder.at(str(tmp_path / "elsewhere"))
    elsewhere.publish("part-0.parquet", b"")
    Folder.at(str(pairs)).publish("en-de/part-0.parquet", b"")
    (pairs / "en-es").symlink_to(elsewhere.location)
    # Nor does one that leads back end in a circle.
    (pairs / "en-de" / "all").symlink_to(pairs)
    assert Folder.at(str(pairs)).names() == ["en-de/part-0.parquet", "en-es/part-0.parquet"]


def test_storage_file_in_place_of_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="a file stands where a folder is expected"):
        Folder.at(str(tmp_path / "file")).names()
    with pytest.raises(ConfigError, match="a file stands where a folder is expected"):
        Folder.at(str(tmp_path / "file")).publish("x", b"")


def test_storage_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.at(str(tmp_path))

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(TransientError, match="No space left on device; what was committed stays"):
        folder.publish("1.parquet", b"one")
    assert os.listdir(tmp_path) == []


def test_storage_read_only_location_is_a_config_error(tmp_path: Path, read_only: None) -> None:
    folder = Folder.at(str(tmp_path))
    with pytest.raises(ConfigError, match=r"1\.parquet: no permission: Permission denied"):
        folder.publish("1.parquet", b"one")
    with pytest.raises(ConfigError, match=f"{tmp_path.name}: no permission: Permission denied"):
        folder.require_writable()
    assert os.listdir(tmp_path) == []


def test_storage_tells_beforehand_what_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.at(str(tmp_path / "new" / "out"))
    folder.require_writable()
    assert os.listdir(tmp_path / "new" / "out") == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"file/out/?: a file stands where a folder is expected"):
        Folder.at(str(tmp_path / "file" / "out")).require_writable()

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # One who may write and not remove can do the work.
    monkeypatch.setattr(LocalFileSystem, "rm_file", refused)
    folder.require_writable()
    assert folder.names() == []


def test_storage_leftovers_are_invisible_and_removed(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish("a/1.parquet", b"one")
    (tmp_path / "a" / "_tmp-0123-2.parquet").write_bytes(b"half")
    assert folder.names(".parquet") == ["a/1.parquet"]
    assert folder.remove_leftovers() == 1
    assert os.listdir(tmp_path / "a") == ["1.parquet"]


def test_storage_leftover_that_its_writer_renames_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish("_tmp-0123-1.parquet", b"one")
    folder.publish("_tmp-4567-2.parquet", b"half")
    listing = Folder._listing

    def renamed_after(self: Folder) -> list[str]:
        names = listing(self)
        (tmp_path / "_tmp-0123-1.parquet").rename(tmp_path / "1.parquet")
        return names

    monkeypatch.setattr(Folder, "_listing", renamed_after)
    assert folder.remove_leftovers() == 1
    assert os.listdir(tmp_path) == ["1.parquet"]


@pytest.mark.parametrize("root", ["local", "memory://storage-magic"])
@pytest.mark.parametrize(("name", "other"), [("a[1]", "a1"), ("b*", "b2"), ("c?", "c3")])
def test_storage_removes_no_folder_of_a_like_name(
    root: str, tmp_path: Path, name: str, other: str
) -> None:
    folder = Folder.at(str(tmp_path) if root == "local" else root)
    for each in (name, other):
        folder.publish(f"{each}/x[1]/file", b"")
        folder.publish(f"{each}/x1/file", b"")
    (folder / name).remove_all("x[1]")
    assert (folder / name).names() == ["x1/file"]
    (folder / name).remove_all()
    (folder / name).remove_all()
    assert (folder / name).names() == []
    assert (folder / other).names() == ["x1/file", "x[1]/file"]


def test_storage_table_and_footer(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    table = pa.table({"x": [1, 2], "y": ["a", "ß中🙂"]})
    folder.publish_table("t.parquet", table, {"key": "välue"})
    assert folder.read_table("t.parquet").equals(table)
    assert folder.read_footer("t.parquet")["key"] == "välue"


def test_storage_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish_table("t.parquet", pa.table({"source": ["a"]}))
    with pytest.raises(DataError, match=r"t\.parquet: lacks the columns .*pair_id"):
        folder.read_table("t.parquet", PAIRS)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all" * 100])
def test_storage_broken_parquet_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish("t.parquet", content)
    with pytest.raises(DataError, match=r"t\.parquet"):
        folder.read_table("t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet"):
        folder.read_footer("t.parquet")


def test_storage_column_whose_name_is_no_text_is_a_data_error(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    pq.write_table(pa.table({"column": [[1]]}), tmp_path / "t.parquet", store_schema=False)
    folder.publish("t.parquet", folder.read("t.parquet").replace(b"element", b"\x80lement"))
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet shard"):
        folder.read_table("t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet shard"):
        folder.read_footer("t.parquet")


def test_storage_columns_of_one_name_are_a_data_error(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish_table("t.parquet", pa.table([["a"], ["b"], [1]], ["text", "text", "number"]))
    for wanted in (None, pa.schema([("text", pa.string())])):
        with pytest.raises(DataError, match=r"t\.parquet: has columns twice: text$"):
            folder.read_table("t.parquet", wanted)


def test_storage_column_that_arrow_does_not_know_is_a_data_error(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish_table("t.parquet", pa.table({"x": [1]}))
    noted = pq.read_metadata(tmp_path / "t.parquet").metadata[b"ARROW:schema"]
    # Numbers of 64 bits become such of 128.
    other = b64encode(b64decode(noted).replace(b"\x40\0\0\0", b"\x80\0\0\0"))
    assert other != noted
    folder.publish("t.parquet", folder.read("t.parquet").replace(noted, other))
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet shard: Integers with"):
        folder.read_table("t.parquet")


@pytest.mark.parametrize("offset", [50, 2000, 20_000])
def test_storage_torn_pages_are_a_data_error(tmp_path: Path, offset: int) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish_table("t.parquet", pa.table({"x": [os.urandom(20).hex() for _ in range(3000)]}))
    content = bytearray(folder.read("t.parquet"))
    content[offset : offset + 40] = b"\xff" * 40
    folder.publish("t.parquet", bytes(content))
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet shard"):
        folder.read_table("t.parquet")


def test_storage_table_that_is_gone_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.parquet: no such file"):
        Folder.at(str(tmp_path)).read_table("t.parquet")


def test_storage_record_that_must_be_there(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    assert folder.read_record("summary.json") is None
    with pytest.raises(DataError, match=r"summary\.json: no such file"):
        folder.require_record("summary.json")
    folder.publish_json("summary.json", {"pairs": 3})
    assert folder.require_record("summary.json") == {"pairs": 3}


def test_storage_column_of_another_type_is_a_data_error(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish_table("t.parquet", pa.table({"mentions": ["a"]}))
    with pytest.raises(DataError, match=r"t\.parquet: does not fit the schema"):
        folder.read_table("t.parquet", pa.schema([PSEUDO.field("mentions")]))


@pytest.mark.parametrize("root", ["local", "memory://files-at"])
def test_storage_finds_a_file_and_those_of_a_folder(root: str, tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path) if root == "local" else root)
    folder.publish("de/1.parquet", b"")
    folder.publish("notes.txt", b"")
    assert files_at(str(folder), ".parquet") == (folder, ["de/1.parquet"])
    assert files_at(f"{folder}/de/1.parquet", ".parquet") == (folder / "de", ["1.parquet"])
    with pytest.raises(ConfigError, match="nowhere: no such file, nor a folder with"):
        files_at(f"{folder}/nowhere", ".parquet")


def test_storage_reads_a_file_or_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert read_file(str(tmp_path / "file")) == b"content"
    for url, message in [
        (str(tmp_path / "none"), "none: no such file"),
        (str(tmp_path), "is a folder"),
        ("nosuch://x", "not a location that can be opened"),
    ]:
        with pytest.raises(ConfigError, match=message):
            read_file(url)


def test_storage_shows_no_password() -> None:
    folder = Folder("https://me:secret@host/data?sig=abc&page=2")
    assert str(folder) == "https://host/data?sig=***&page=2"
    assert str(ConfigError(f"{folder.location}: gone")).startswith("https://host/data?sig=***&page")
    assert str(Folder("https://host/data;v=1;sig=abc")) == "https://host/data;v=1;sig=***"
    assert str(Folder("sftp://me:se@cr:et@host/data@1")) == "sftp://host/data@1"
    assert str(Folder("https://me:se@cret@host/data")) == "https://host/data"
    for name in ("password", "passwd", "pwd", "auth"):
        assert str(Folder(f"https://host/data?{name}=abc")) == f"https://host/data?{name}=***"
    azure = "abfs://container@account.dfs.core.windows.net/data"
    assert str(Folder(azure)) == azure
