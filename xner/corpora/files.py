"""Other people's files as streams of bytes, on any fsspec location.

What goes wrong is classed by what the caller should do: a damaged file is a DataError that says how
far it could be read, a location that stops answering a TransientError.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, cast

import fsspec
from fsspec.core import url_to_fs

from xner.errors import DataError
from xner.shards import remote

CHUNK_BYTES = 1 << 20

# Packing shrinks real text three- to thirtyfold.
MAX_RATIO = 200
_LARGE_BYTES = 64 << 20

GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"

_DAMAGE = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    # A way to pack that zipfile does not know.
    NotImplementedError,
)


@contextmanager
def open_seekable(path: str) -> Iterator[IO[bytes]]:
    """The file, seekable; from a web server that knows no ranges, a temporary local copy."""
    filesystem, inner_path = url_to_fs(os.path.expanduser(path))
    # Reading the two members of a zip in turn needs more than one block at hand.
    cache = {"cache_type": "blockcache", "cache_options": {"maxblocks": 8}, "block_size": 8 << 20}
    with ExitStack() as stack:
        with explained(path):
            file = stack.enter_context(remote.open_file(path, filesystem, inner_path, **cache))
            if not _can_seek(file):
                file = stack.enter_context(tempfile.TemporaryFile())
                remote.ask(path, filesystem, lambda: _copy(filesystem, inner_path, file))
        yield file


def _copy(filesystem: fsspec.AbstractFileSystem, path: str, file: IO[bytes]) -> None:
    """Copies the remote file whole, over whatever an attempt before has left."""
    file.seek(0)
    file.truncate()
    with filesystem.open(path, "rb", block_size=0) as stream:
        shutil.copyfileobj(stream, file, CHUNK_BYTES)
    file.seek(0)


def _can_seek(file: IO[bytes]) -> bool:
    try:
        end = file.seek(0, io.SEEK_END)
        file.seek(max(0, end - 1))
        file.read(1)
        file.seek(0)
    except ValueError:
        return False
    return True


def magic(file: IO[bytes]) -> bytes:
    """The first two bytes of the file, which is then at its beginning again."""
    found = file.read(2)
    file.seek(0)
    return found


def unpacked(file: IO[bytes], name: str) -> IO[bytes]:
    """The content of a file packed by gzip or bzip2; of any other, the file.

    Reading raises DataError, by the file's name, once a little has become absurdly much.
    """
    kind = magic(file)
    if kind == GZIP_MAGIC:
        return cast(IO[bytes], _Unpacked(gzip.GzipFile(fileobj=file), file, name))
    if kind == BZIP2_MAGIC[:2]:
        return cast(IO[bytes], _Unpacked(bz2.BZ2File(file), file, name))
    return file


class _Unpacked:
    """What a packed file unpacks to, held against what was read of it."""

    def __init__(self, content: gzip.GzipFile | bz2.BZ2File, packed: IO[bytes], name: str) -> None:
        self._content, self._packed, self._name = content, packed, name
        self._num_bytes = 0

    def read(self, size: int) -> bytes:
        found = self._content.read(size)
        self._num_bytes += len(found)
        check_ratio(self._packed.tell(), self._num_bytes, self._name)
        return found


def check_ratio(num_packed: int, num_bytes: int, name: str) -> None:
    """Raises DataError where so few packed bytes are so many that they cannot be text."""
    if num_bytes > max(_LARGE_BYTES, MAX_RATIO * num_packed):
        raise DataError(
            f"{name}: unpacks {num_packed} bytes to {num_bytes} or more; a ratio above {MAX_RATIO} "
            "is no text"
        )


def chunks(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """The stream from where it is, a mebibyte at a time. Raises DataError for a damaged one."""
    num_bytes = 0
    while True:
        with damage_reported(name, num_bytes):
            chunk = stream.read(CHUNK_BYTES)
        if not chunk:
            return
        num_bytes += len(chunk)
        yield chunk


@contextmanager
def damage_reported(name: str, num_bytes: int) -> Iterator[None]:
    """Reports what unpacking raises for a damaged file, and how many bytes came before."""
    try:
        yield
    except EOFError as error:
        raise DataError(f"{name}: truncated: ends after {num_bytes} bytes or soon after") from error
    except _DAMAGE as error:
        raise DataError(f"{name}: damaged after {num_bytes} bytes: {error}") from error
    except OSError as error:
        # What bz2 says of damage is an OSError too, but comes from no system call.
        if error.errno is not None or type(error) is not OSError:
            raise
        raise DataError(f"{name}: damaged after {num_bytes} bytes: {error}") from error


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Classes the errors of the location by what the caller should do."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except remote.library_errors(OSError) as error:
        raise remote.explained(error, path) from error
