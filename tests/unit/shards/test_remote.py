from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import aiohttp
import botocore.exceptions
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from yarl import URL

from xner.errors import ConfigError, DataError, TransientError
from xner.shards.remote import MAX_ATTEMPTS, ask, explained
from xner.shards.storage import Folder


class Plain(MemoryFileSystem):
    """A file system whose library repeats nothing."""

    protocol = "plain"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012


class Recorded(Plain):
    """Remembers what was asked of it, and by which protocol it is known."""

    calls: list[tuple[str, str]] = []  # noqa: RUF012

    def pipe_file(self, path: str, value: bytes, **settings: Any) -> None:
        self.calls.append(("put", path.rpartition("/")[2]))
        super().pipe_file(path, value, **settings)

    def mv(self, path1: str, path2: str, **settings: Any) -> None:
        self.calls.append(("rename", path2.rpartition("/")[2]))
        super().mv(path1, path2, **settings)


def http_error(status: int) -> aiohttp.ClientResponseError:
    url = URL("http://h/x?X-Amz-Signature=planted")
    return aiohttp.ClientResponseError(
        aiohttp.RequestInfo(url, "GET", None, url),  # type: ignore[arg-type]
        (),
        status=status,
        message="told",
    )


def no_answer(cause: Exception) -> FileNotFoundError:
    """What fsspec raises over HTTP, whatever the cause."""
    error = FileNotFoundError("http://h/x")
    error.__cause__ = cause
    return error


def torn_answer() -> aiohttp.ClientPayloadError:
    error = aiohttp.ClientPayloadError("torn")
    error.__cause__ = aiohttp.http_exceptions.ContentLengthError("torn")
    return error


def s3_error(status: int, code: str) -> OSError:
    error = OSError(errno.EIO, "told")
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error.__cause__ = botocore.exceptions.ClientError(answer, "PutObject")  # type: ignore[arg-type]
    return error


def failing(error: Exception, num_failures: int) -> tuple[Callable[[], str], list[int]]:
    """A request that fails so often before it succeeds, and the list of its attempts."""
    attempts: list[int] = []

    def request() -> str:
        attempts.append(len(attempts))
        if len(attempts) <= num_failures:
            raise error
        return "content"

    return request, attempts


PASSING = [
    http_error(503),
    http_error(429),
    http_error(408),
    no_answer(http_error(502)),
    no_answer(torn_answer()),
    torn_answer(),
    TimeoutError("late"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://h"),
    s3_error(503, "SlowDown"),
]

LASTING = [
    (http_error(403), "access is refused"),
    (http_error(501), "the request is refused"),
    (http_error(400), "the request is refused"),
    (PermissionError("told"), "access is refused.*not in the recipe"),
    (PermissionError(errno.EACCES, "Permission denied"), "no permission: Permission denied"),
    (botocore.exceptions.NoCredentialsError(), "credentials that may do this in the usual way"),
    (botocore.exceptions.ParamValidationError(report="bucket"), "the request is refused"),
    (s3_error(301, "PermanentRedirect"), "the request is refused"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_remote_repeats_what_may_pass(error: Exception) -> None:
    request, attempts = failing(error, 3)
    assert ask("x", Plain(), request) == "content"
    assert len(attempts) == 4
    request, attempts = failing(error, 100)
    with pytest.raises(TransientError, match="x: does not answer as it should") as raised:
        ask("x", Plain(), request)
    assert len(attempts) == MAX_ATTEMPTS
    assert raised.value.__cause__ is error
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize(("error", "message"), LASTING, ids=lambda value: repr(value)[:40])
def test_remote_gives_up_at_once_what_will_not_pass(error: Exception, message: str) -> None:
    request, attempts = failing(error, 100)
    with pytest.raises(ConfigError, match=f"x: .*{message}") as raised:
        ask("x", Plain(), request)
    assert len(attempts) == 1
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize("error", [FileNotFoundError("x"), no_answer(http_error(404))], ids=repr)
def test_remote_leaves_it_to_the_caller_what_a_missing_file_means(error: Exception) -> None:
    request, attempts = failing(error, 1)
    with pytest.raises(FileNotFoundError):
        ask("x", Plain(), request)
    assert len(attempts) == 1


@pytest.mark.parametrize("protocol", ["s3", "gs", "az", "abfs", "hf", "file"])
def test_remote_does_not_repeat_what_the_library_repeats(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plain, "protocol", (protocol, "other"))
    request, attempts = failing(TimeoutError("late"), 1)
    with pytest.raises(TransientError):
        ask("x", Plain(), request)
    assert len(attempts) == 1


def test_remote_errors_of_our_own_stay_as_they_are() -> None:
    error = DataError("a row")
    assert explained(error, "x") is error


@pytest.mark.parametrize(
    ("protocol", "is_put"),
    [(name, True) for name in ("s3", "s3a", "gs", "gcs", "az", "abfs", "hf", "memory")]
    + [(name, False) for name in ("sftp", "webhdfs", "adl")],
)
def test_storage_publishes_by_one_put_or_by_a_rename(
    protocol: str, is_put: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorded, "protocol", protocol)
    monkeypatch.setattr(Recorded, "calls", [])
    monkeypatch.setattr(Recorded, "store", {})
    monkeypatch.setattr("xner.shards.storage.url_to_fs", lambda url: (Recorded(), "/a"))
    Folder(f"{protocol}://a").publish("1.parquet", b"one")
    assert Recorded.calls == [("put" if is_put else "rename", "1.parquet")]
    assert list(Recorded.store) == ["/a/1.parquet"]


@pytest.mark.parametrize("protocol", ["s3", "hf", "memory"])
def test_storage_knows_the_installed_stores_by_their_protocols(protocol: str) -> None:
    from xner.shards.remote import protocols
    from xner.shards.storage import _ATOMIC_PUT

    assert protocols(fsspec.get_filesystem_class(protocol)) & _ATOMIC_PUT == protocols(
        fsspec.get_filesystem_class(protocol)
    )
