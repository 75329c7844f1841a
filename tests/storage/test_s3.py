"""Folders on a server that speaks S3 and has bad days."""

from __future__ import annotations

import re
from functools import partialmethod
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import s3fs
from fsspec.core import url_to_fs
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from xner.errors import ConfigError, TransientError
from xner.shards.storage import Folder, files_at, read_file

BAD_DAY = {"busy": 0.1, "failed": 0.05, "cut": 0.1, "lost": 0.1, "slow": 0.05}


@pytest.fixture
def folder(s3: Any) -> Folder:
    return Folder.at("s3://bucket/pairs")


def test_s3_works_as_a_disk_does_on_a_bad_day(folder: Folder, s3: Any, tmp_path: Path) -> None:
    local = Folder.at(str(tmp_path / "pairs"))
    s3.set(**BAD_DAY)
    for place in (folder, local):
        table = pa.table({"x": list(range(1000)), "y": ["ß中"] * 1000})
        for number in range(8):
            place.publish_table(f"en-de/{number}.parquet", table, {"number": str(number)})
        place.publish("notes.txt", b"notes")
        place.publish("notes.txt", b"other notes")
        place.publish("_hidden/x.parquet", b"")
        place.publish_json("run.json", {"a": 1})
        place.remove("en-de/7.parquet")
    assert folder.names() == local.names()
    assert folder.names(".parquet") == [f"en-de/{number}.parquet" for number in range(7)]
    for name in local.names():
        assert folder.read(name) == local.read(name)
    for name in local.names(".parquet"):
        assert folder.read_table(name).equals(local.read_table(name))
        assert folder.read_footer(name) == local.read_footer(name)
    assert folder.read_json("run.json") == {"a": 1} and folder.read_json("none.json") is None
    assert folder.exists("notes.txt") and not folder.exists("en-de/7.parquet")
    assert folder.remove_leftovers() == 0
    (tmp_path / "file").write_bytes(b"from here")
    folder.upload("up/file", tmp_path / "file")
    folder.download("up/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"from here" == read_file(f"{folder}/up/file")
    assert files_at(f"{folder}/up/file", ".x") == (folder / "up", ["file"])
    folder.remove_all()
    assert folder.names() == []
    assert all(s3.counts[kind] for kind in BAD_DAY), s3.counts


def test_s3_shows_what_another_process_has_written(folder: Folder) -> None:
    folder.publish("a.parquet", b"")
    assert folder.names() == ["a.parquet"]
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.put_object("bucket", "pairs/b.parquet", b"")
    assert folder.exists("b.parquet") and folder.is_file("b.parquet")
    assert folder.names() == ["a.parquet", "b.parquet"]


def test_s3_that_stays_busy_is_a_transient_error(folder: Folder, s3: Any) -> None:
    for request in (
        lambda: folder.names(),
        lambda: folder.read("x"),
        lambda: folder.publish("x", b""),
        lambda: folder.exists("x"),
        lambda: folder.remove("x"),
    ):
        s3.set(failed=1)
        with pytest.raises(TransientError, match=r"s3://bucket/pairs.* does not answer"):
            request()
        # Those of botocore, and none of ours on top.
        assert s3.counts["failed"] == 5


def test_s3_that_is_gone_is_a_transient_error(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(TransientError, match="does not answer"):
        Folder.at("s3://bucket/pairs").publish("x", b"")


def test_s3_answers_that_are_too_slow_are_asked_for_again(
    folder: Folder, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 0.02)
    folder.filesystem.connect(refresh=True)
    s3.set(slow=1)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(TransientError, match="does not answer"):
        folder.read("x")
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 15)
    folder.filesystem.connect(refresh=True)


def test_s3_refusals_are_config_errors(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Folder.at("s3://no-such-bucket/x")
    with pytest.raises(ConfigError, match="buckets and containers are not made here"):
        nowhere.publish("x", b"")
    assert nowhere.names() == []
    with pytest.raises(ConfigError, match="no such file"):
        read_file("s3://no-such-bucket/x")
    with pytest.raises(ConfigError, match="the request is refused"):
        Folder.at("s3://no bucket/x").publish("x", b"")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    s3fs.S3FileSystem.clear_instance_cache()
    s3.set()
    with pytest.raises(ConfigError, match=r"access is refused.*credentials") as raised:
        Folder.at("s3://bucket/x").publish("x", b"")
    assert "planted" not in str(raised.value)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ConfigError, match=r"access is refused.*nobody"):
        Folder.at("s3://bucket/x").names()
    monkeypatch.undo()


def test_s3_folder_of_thousands_is_listed_in_pages(folder: Folder, s3: Any) -> None:
    names = [f"{number:04d}.parquet" for number in range(2500)]
    # Straight into the server's memory: as many requests would take a minute.
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for name in names:
        store.put_object("bucket", f"pairs/{name}", b"x")
    s3.set()
    assert folder.names(".parquet") == names
    # Three pages, and no request for any of the files; a slow page may be asked for again.
    assert len(set(s3.requests)) == 3
    assert all("list-type=2" in request for request in s3.requests)


def test_s3_upload_that_fails_leaves_nothing(
    folder: Folder, s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts = 5 << 20
    for name in ("_pipe_file", "_put_file"):
        method = partialmethod(getattr(s3fs.S3FileSystem, name), chunksize=parts)
        monkeypatch.setattr(s3fs.S3FileSystem, name, method)
    s3fs.S3FileSystem.clear_instance_cache()
    content = bytes(range(256)) * ((2 * parts + 1000) // 256)
    (tmp_path / "file").write_bytes(content)
    is_second_part = re.compile("partNumber=2").search

    for write in (
        lambda: folder.publish("large", content),
        lambda: folder.upload("large", tmp_path / "file"),
    ):
        s3.set(lambda environ: bool(is_second_part(environ["QUERY_STRING"])), failed=1)
        with pytest.raises(TransientError, match="large: does not answer"):
            write()
        assert s3.counts["failed"] == 5
        s3.set()
        assert folder.names() == []
        pending = folder.filesystem.call_s3("list_multipart_uploads", Bucket="bucket")
        assert pending.get("Uploads", []) == []
        s3.set(busy=0.1, cut=0.1)
        write()
        assert folder.read("large") == content
        folder.remove("large")


def test_s3_upload_of_a_killed_process_is_not_seen(folder: Folder) -> None:
    filesystem = url_to_fs("s3://bucket")[0]
    upload = filesystem.call_s3("create_multipart_upload", Bucket="bucket", Key="pairs/large")
    filesystem.call_s3(
        "upload_part",
        Bucket="bucket",
        Key="pairs/large",
        PartNumber=1,
        UploadId=upload["UploadId"],
        Body=b"x",
    )
    assert folder.names() == [] and not folder.exists("large")


def test_s3_creates_a_file_once_though_answers_are_lost(folder: Folder, s3: Any) -> None:
    s3.set(lambda environ: environ["REQUEST_METHOD"] == "PUT", lost=0.5)
    made = [folder.create(f"{number}.json", b"mine") for number in range(10)]
    assert all(made) and s3.counts["lost"] > 1
    s3.set()
    assert not folder.create("0.json", b"another's")
    assert folder.read("0.json") == b"mine"


def test_s3_placeholders_of_folders_are_no_files(folder: Folder) -> None:
    for key in ("pairs/", "pairs/en-de/"):
        folder.filesystem.call_s3("put_object", Bucket="bucket", Key=key, Body=b"")
    folder.publish("en-de/1.parquet", b"x")
    assert folder.names() == ["en-de/1.parquet"]
