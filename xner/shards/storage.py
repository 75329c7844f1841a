"""Folders on any fsspec location, and files that appear in them whole or not at all.

On a file system with rename, a file is written under a temporary name, flushed to disk and
renamed; on an object store it is one PUT, or one multipart upload that exists once completed. So a
name that can be listed is a whole file, after whatever crash. Names that begin with ``_`` are
ours: temporary files, which a later run may remove. What a multipart upload of a killed process
leaves is no object; a rule of the bucket should remove it in time.
"""

from __future__ import annotations

import glob
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from xner.errors import ConfigError, DataError, without_credentials
from xner.shards.remote import ask, open_file, protocols

_T = TypeVar("_T")

_TEMPORARY = "_tmp-"

# Stores where an object becomes visible only when it is complete, by the sources of s3fs, gcsfs,
# adlfs and huggingface_hub: one PUT, a completed multipart or resumable upload, a committed list of
# blocks, a commit.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf"}
_ATOMIC_PUT = {*_OBJECT_STORES, "memory"}


@dataclass(frozen=True)
class Folder:
    """A folder by its absolute location, e.g. ``/data/pairs`` or ``s3://bucket/pairs``.

    It holds only the location, so it can be sent to another process; the file system is opened,
    or taken from fsspec's cache, where it is used.
    """

    location: str

    @classmethod
    def at(cls, url: str) -> Folder:
        """The folder at ``url``; a relative local path is resolved against the current directory.

        Raises ConfigError when no installed file system understands the location.
        """
        try:
            filesystem, path = url_to_fs(os.path.expanduser(url))
        except (ValueError, ImportError) as error:
            raise ConfigError(f"{url}: not a location that can be opened: {error}") from error
        if isinstance(filesystem, LocalFileSystem):
            return cls(os.path.abspath(path))
        # A path alone does not name the host that a URL of SFTP or the like names.
        is_whole = not filesystem.storage_options
        return cls((filesystem.unstrip_protocol(path) if is_whole else url).rstrip("/"))

    def __str__(self) -> str:
        return without_credentials(self.location)

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.location}/{name}")

    @property
    def name(self) -> str:
        """The last part of the location."""
        return self.location.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Folder | None:
        """The folder that this one lies in; None where its location has none."""
        above = self.location.rpartition("/")[0]
        if "::" in self.location or above.endswith("/"):
            return None
        return Folder(above or "/")

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The file system that serves this folder."""
        return url_to_fs(self.location)[0]

    def path(self, name: str) -> str:
        """The path of a file of this folder, as :attr:`filesystem` wants it."""
        return f"{url_to_fs(self.location)[1].rstrip('/')}/{name}"

    def names(self, suffix: str = "") -> list[str]:
        """The sorted names of the files below here that end with ``suffix``, e.g. ``en-de/0.x``.

        Empty if there is no such folder. Left out are files and folders whose name begins with
        ``_`` or ``.``: ours and the system's.
        """
        return [
            name
            for name in self._listing()
            if name.endswith(suffix)
            # A part without a name is a placeholder of a folder, which some tools put on a store.
            and not any(part.startswith(("_", ".")) or not part for part in name.split("/"))
        ]

    def lists(self, other: Folder) -> bool:
        """Whether files of another folder are among the :meth:`names` of this one."""
        mine, theirs = (f"{each.location.rstrip('/')}/" for each in (self, other))
        inside = theirs.removeprefix(mine).split("/")
        return theirs.startswith(mine) and not any(name.startswith(("_", ".")) for name in inside)

    def _listing(self) -> list[str]:
        filesystem, path = url_to_fs(self.location)
        filesystem.invalidate_cache(path)
        # Stores list all below a prefix in pages.
        by_pages = protocols(filesystem) & _OBJECT_STORES
        try:
            found = self._ask(
                lambda: filesystem.find(path) if by_pages else list(_walked(filesystem, path))
            )
        except FileNotFoundError:
            return []
        if found == [path]:
            raise ConfigError(f"{self}: a file stands where a folder is expected")
        prefix = len(path.rstrip("/")) + 1
        return sorted(name[prefix:] for name in found)

    def _ask(self, request: Callable[[], _T], name: str = "") -> _T:
        return ask(f"{self}/{name}" if name else str(self), self.filesystem, request)

    def is_file(self, name: str = "") -> bool:
        """Whether that, or the folder itself, is a file."""
        try:
            return bool(self._info(name)["type"] == "file")
        except FileNotFoundError:
            return False

    def _info(self, name: str) -> dict[str, Any]:
        """What the location says of a file now: other processes may have written it since."""
        filesystem, path = self.filesystem, self.path(name).rstrip("/")

        def info() -> dict[str, Any]:
            # Not every file system lets the folder's listing go with the file.
            for cached in (path, self.path("").rstrip("/")):
                filesystem.invalidate_cache(cached)
            return dict(filesystem.info(path))

        return self._ask(info, name)

    def children(self) -> list[dict[str, Any]]:
        """What the location says of the files and folders right in here; none where it is not."""
        filesystem, path = self.filesystem, self.path("").rstrip("/")
        filesystem.invalidate_cache(path)
        try:
            return list(self._ask(lambda: filesystem.ls(path, detail=True)))
        except FileNotFoundError:
            return []

    def exists(self, name: str) -> bool:
        """Whether the file is there; a location that does not answer is an error."""
        try:
            self._info(name)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        filesystem, path = self.filesystem, self.path(name)
        return bytes(self._ask(lambda: filesystem.cat_file(path), name))

    def remove(self, name: str) -> None:
        """Remove a file. Raises FileNotFoundError where the location tells."""
        filesystem, path = self.filesystem, self.path(name)
        self._ask(lambda: filesystem.rm_file(path), name)

    def remove_all(self, name: str = "") -> None:
        """Remove a folder below here, or this one, with all that is in it; it may be gone."""
        filesystem, path = self.filesystem, self.path(name).rstrip("/")
        if glob.has_magic(path) and not isinstance(filesystem, LocalFileSystem):
            # Most file systems take what they remove for a pattern, which other folders may fit.
            folder = self / name if name else self
            for each in folder._listing():
                with suppress(FileNotFoundError):
                    folder.remove(each)
            return
        with suppress(FileNotFoundError):
            self._ask(lambda: filesystem.rm(path, recursive=True), name)

    def publish(self, name: str, content: bytes) -> None:
        """Write a file so that it is seen whole or not at all; replaces one of that name.

        Raises ConfigError when the location cannot be written, TransientError when it is full.
        """
        self._write(name, content, told_as=name)

    def _write(self, name: str, content: bytes, told_as: str) -> None:
        filesystem, path = self.filesystem, self.path(name)
        if protocols(filesystem) & _ATOMIC_PUT:
            self._put(lambda: filesystem.pipe_file(path, content), told_as)
        else:
            self._put(lambda: _write_and_rename(filesystem, path, content), told_as)

    def require_writable(self) -> None:
        """Write a file and remove it: for long work that writes only when it is done.

        Raises ConfigError when the location cannot be written, TransientError when it is full.
        """
        name = f"{_TEMPORARY}{uuid.uuid4().hex}"
        self._write(name, b"", told_as="")
        # Who may write to a bucket may not always remove.
        with suppress(ConfigError):
            self.remove(name)

    def upload(self, name: str, file: Path) -> None:
        """Copy a file of this machine here. On an object store it is seen whole or not at all."""
        filesystem, path = self.filesystem, self.path(name)
        if not protocols(filesystem) & _ATOMIC_PUT:
            self._put(lambda: filesystem.makedirs(path.rpartition("/")[0], exist_ok=True), name)
        self._put(lambda: filesystem.put_file(str(file), path), name)

    def download(self, name: str, file: Path) -> None:
        """Copy a file from here to this machine. Raises FileNotFoundError."""
        filesystem, path = self.filesystem, self.path(name)
        self._ask(lambda: filesystem.get_file(path, str(file)), name)

    def _put(self, request: Callable[[], _T], name: str) -> _T:
        try:
            return self._ask(request, name)
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self}/{name}: cannot be written: {error}; buckets and containers are not made "
                "here: make it first"
            ) from error

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none of that name; whether it was written.

        Of several who try at once one succeeds, on a local disk and on stores with conditional
        writes; a reader may see it before its content is whole.

        Raises ConfigError when the location cannot be written, TransientError when it is full.
        """
        filesystem, path = self.filesystem, self.path(name)

        def write() -> bool:
            try:
                if isinstance(filesystem, LocalFileSystem):
                    # fsspec looks and then writes, which two may do at once.
                    with open(path, "xb") as file:
                        file.write(content)
                else:
                    filesystem.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
            return True

        if protocols(filesystem) & _OBJECT_STORES:
            # The store may have done it, and its answer be lost: repeated, it finds our own file.
            return self._put(write, name) or self.read(name) == content
        folder = path.rpartition("/")[0]
        self._put(lambda: filesystem.makedirs(folder, exist_ok=True), name)
        return self._ask(write, name)

    def remove_if_empty(self) -> None:
        """Remove the folder where nothing is in it; object stores have no folders to remove."""
        if isinstance(self.filesystem, LocalFileSystem):
            with suppress(OSError):
                os.rmdir(self.location)

    def remove_leftovers(self) -> int:
        """Remove temporary files of runs that died while writing; how many there were."""
        leftovers = []
        for name in self._listing():
            *folders, leaf = name.split("/")
            # Those in a folder of ours, as the lease's, are a living run's.
            if leaf.startswith(_TEMPORARY) and not any(part.startswith("_") for part in folders):
                leftovers.append(name)
        num_removed = 0
        for name in leftovers:
            # A process that outlives its run may finish one meanwhile.
            with suppress(FileNotFoundError):
                self.remove(name)
                num_removed += 1
        return num_removed

    def read_json(self, name: str) -> Any:
        """A JSON file's value; None if there is none. Raises DataError when it is not JSON."""
        try:
            return parsed_json(self.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DataError(f"{self}/{name}: not valid JSON: {error}") from error

    def read_record(self, name: str) -> dict[str, Any] | None:
        """A JSON file's object; None if there is no file. Raises DataError when it is no object."""
        value = self.read_json(name)
        if value is not None and not isinstance(value, dict):
            raise DataError(f"{self}/{name}: expected a JSON object")
        return value

    def require_record(self, name: str) -> dict[str, Any]:
        """A JSON file's object. Raises DataError when there is no file, or no object in it."""
        record = self.read_record(name)
        if record is None:
            raise DataError(f"{self}/{name}: no such file")
        return record

    def publish_json(self, name: str, value: Any) -> None:
        """Write a value as indented JSON, keys in the order given."""
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        self.publish(name, (text + "\n").encode())

    def read_table(
        self, name: str, schema: pa.Schema | None = None, may_lack: Collection[str] = ()
    ) -> pa.Table:
        """A Parquet file as a table, in the columns and types of ``schema`` where one is given.

        Columns that the file ``may_lack`` are null where it does. Raises DataError when it is not
        there, is no whole Parquet file, has two columns of one name, or does not fit the schema.
        """
        with (
            _parquet_explained(f"{self}/{name}"),
            open_file(f"{self}/{name}", self.filesystem, self.path(name)) as file,
        ):
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            there = parquet.schema_arrow.names
            if twice := sorted(column for column, count in Counter(there).items() if count > 1):
                raise DataError(f"{self}/{name}: has columns twice: {', '.join(twice)}")
            if schema is None:
                return _validated(parquet.read())
            missing = set(schema.names) - set(there)
            if not missing <= set(may_lack):
                raise DataError(
                    f"{self}/{name}: lacks the columns {', '.join(sorted(missing))}; "
                    f"it has {', '.join(there)}"
                )
            table = _validated(parquet.read(columns=schema.names))
            for column in sorted(missing):
                table = table.append_column(column, pa.nulls(table.num_rows))
            table = table.select(schema.names)
            try:
                return table.cast(schema)
            # A ValueError is pyarrow's complaint about a null in a column that must have none.
            except (ValueError, TypeError, NotImplementedError) as error:
                raise DataError(f"{self}/{name}: does not fit the schema: {error}") from error

    def publish_table(
        self, name: str, table: pa.Table, metadata: dict[str, str] | None = None
    ) -> None:
        """Write a table as Parquet (zstd, a checksum a page), with metadata in its footer."""
        sink = pa.BufferOutputStream()
        pairs = {**(table.schema.metadata or {}), **(metadata or {})}
        pq.write_table(
            table.replace_schema_metadata(pairs), sink, compression="zstd", write_page_checksum=True
        )
        self.publish(name, sink.getvalue().to_pybytes())

    def read_footer(self, name: str) -> dict[str, str]:
        """The key-value metadata in the footer of a Parquet file, without reading its rows.

        Raises DataError when it is not there or is no whole Parquet file.
        """
        with (
            _parquet_explained(f"{self}/{name}"),
            open_file(f"{self}/{name}", self.filesystem, self.path(name)) as file,
        ):
            metadata = pq.read_metadata(file).metadata or {}
        try:
            return {key.decode(): value.decode() for key, value in metadata.items()}
        except UnicodeDecodeError as error:
            raise DataError(f"{self}/{name}: its footer holds what is no text: {error}") from error


def parsed_json(content: str | bytes) -> Any:
    """The value of a JSON text.

    Raises ValueError for what is none, nests too deep, or escapes what is no text (half a surrogate
    pair, which nothing can write again).
    """
    text = content if isinstance(content, str) else content.decode()
    try:
        value = json.loads(text)
        if r"\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError(str(error)) from error
    return value


def read_file(url: str) -> bytes:
    """The content of the file at ``url``, a location that the settings name.

    Raises ConfigError when there is no file that can be read, TransientError when the location does
    not answer.
    """
    try:
        filesystem, path = url_to_fs(os.path.expanduser(url))
        return bytes(ask(url, filesystem, lambda: filesystem.cat_file(path)))
    except FileNotFoundError as error:
        raise ConfigError(f"{url}: no such file") from error
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{url}: not a location that can be opened: {error}") from error


def files_at(url: str, suffix: str) -> tuple[Folder, list[str]]:
    """A file by itself, or those of a folder that end with ``suffix``: their folder and names.

    Raises ConfigError when there is none, TransientError when the location does not answer.
    """
    folder = Folder.at(url)
    if folder.is_file():
        parent, _, name = folder.location.rpartition("/")
        return Folder(parent or "/"), [name]
    names = folder.names(suffix)
    if not names:
        raise ConfigError(f"{folder}: no such file, nor a folder with *{suffix} in it")
    return folder, names


def _walked(
    filesystem: fsspec.AbstractFileSystem, folder: str, above: Collection[str] = ()
) -> Iterator[str]:
    """The paths of the files below a folder, which is itself below those ``above``.

    fsspec's own walk passes over the folders within that cannot be read, and over links to folders.
    """
    is_local = isinstance(filesystem, LocalFileSystem)
    here = os.path.realpath(folder) if is_local else folder
    if here in above:
        # By a link that leads back.
        return
    try:
        entries = filesystem.ls(folder, detail=True)
    except FileNotFoundError:
        if not above:
            raise
        # Removed meanwhile.
        return
    if not entries and not above and filesystem.isfile(folder):
        yield folder
    for entry in entries:
        path = entry["name"].rstrip("/")
        is_link = is_local and entry["islink"]
        is_folder = os.path.isdir(path) if is_link else entry["type"] == "directory"
        if is_folder and path != folder.rstrip("/"):
            yield from _walked(filesystem, path, (*above, here))
        else:
            yield path


def _write_and_rename(filesystem: fsspec.AbstractFileSystem, path: str, content: bytes) -> None:
    folder, _, leaf = path.rpartition("/")
    filesystem.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{_TEMPORARY}{uuid.uuid4().hex}-{leaf}"
    is_local = isinstance(filesystem, LocalFileSystem)
    try:
        with filesystem.open(temporary, "wb") as file:
            file.write(content)
            if is_local:
                file.flush()
                os.fsync(file.fileno())
        if is_local:
            os.replace(temporary, path)
        else:
            filesystem.mv(temporary, path)
    except BaseException:
        if filesystem.exists(temporary):
            filesystem.rm_file(temporary)
        raise


def _validated(table: pa.Table) -> pa.Table:
    """The table, whose texts are UTF-8: Parquet promises it, and readers do not look."""
    table.validate(full=True)
    return table


@contextmanager
def _parquet_explained(where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{where}: no such file") from error
    # A UnicodeDecodeError is pyarrow's complaint about a column's name that is no text.
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, OSError) as error:
        # What pyarrow says of a torn page is an OSError too, but comes from no system call.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{where}: not a readable Parquet shard: {error}") from error
