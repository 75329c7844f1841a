"""What is done and what is pending, told by the output folder itself.

A shard is done when its output file exists; the pending ones are the inputs without an output.
``run.json`` beside the shards holds the run's fingerprint: everything that can change a row. The
same folder is continued only under the same fingerprint, so it never holds rows of two kinds.
The version of xner stands beside it: with another one a run goes on, and says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from xner import __version__
from xner.errors import ConfigError, DataError, without_credentials
from xner.shards.lease import Lease
from xner.shards.remote import open_file
from xner.shards.schema import SCHEMA_VERSION, tag_names
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder, files_at, parsed_json

SHARD = ".parquet"
RUN_FILE = "run.json"
SUMMARY_FILE = "summary.json"
DATA_FILE = "data.json"
"""What a tagger was trained and selected on; in its folder, beside the weights."""
TRAINING_FILE = "training.json"
"""The summary of a training run: the file of a model folder that is written last."""
# The jobs whose output may be a folder of shards a language.
_WRITE_SHARDS = ("prepare_corpus", "project_corpus", "relabel", "refilter")
_STATISTICS_KEY = "xner.statistics"
_VERSION_KEY = "xner_version"
_FOOTERS_AT_ONCE = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run's output folder, under one fingerprint."""

    folder: Folder
    job: str
    fingerprint: Mapping[str, Any]

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """Open the folder and hold it for the time of the block, so that no other run does.

        Raises TransientError when one does, and what :meth:`open` raises.
        """
        # A folder that is not ours must not be written to, not even for a lease.
        self.check()
        with Lease(self.folder, self.job) as lease:
            self.open()
            yield lease

    def open(self) -> None:
        """Take the folder for this run, or go on with it; removes what dead runs left half-written.

        Warns where another version of xner began it: its shards may differ from those to come.
        Raises ConfigError when the folder holds another run's shards, naming what differs.
        """
        theirs = self.check()
        if theirs is None:
            self.folder.publish_json(RUN_FILE, {**self._record(), _VERSION_KEY: __version__})
        elif (version := theirs.get(_VERSION_KEY)) != __version__:
            _log.warning(
                "output %s: begun by %s, goes on with xner %s; shards of the two may differ",
                self.folder,
                f"xner {version}" if version else "an older xner",
                __version__,
            )
        self.folder.remove_leftovers()

    def check(self) -> Any:
        """The record that the folder has; None in a new one. Raises ConfigError as open does."""
        mine = self._record()
        theirs = self.folder.read_record(RUN_FILE)
        if theirs is None:
            strangers = self.folder.names(SHARD)
            if strangers:
                raise ConfigError(
                    f"output {self.folder}: holds shards ({strangers[0]}, …) but no {RUN_FILE}: "
                    "not an output of this job; choose an empty folder"
                )
        elif {**theirs, _VERSION_KEY: None} != {**mine, _VERSION_KEY: None}:
            differing = "\n".join(
                f"  {key}: there {json.dumps(was)}, now {json.dumps(now)}"
                for key, was, now in _differences(theirs, mine)
            )
            raise ConfigError(
                f"output {self.folder}: belongs to another run; choose another folder, or go back "
                f"to its settings. What differs:\n{differing}"
            )
        return theirs

    def _record(self) -> dict[str, Any]:
        fingerprint = _without_credentials(self.fingerprint)
        record = {"job": self.job, "schema_version": SCHEMA_VERSION, **fingerprint}
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        return {**record, "fingerprint": digest}

    def done(self) -> list[str]:
        """The names of the committed shards, sorted."""
        return self.folder.names(SHARD)

    def pending(self, inputs: Folder) -> list[str]:
        """The names of the input shards that have no output yet, sorted.

        Raises ConfigError when there is no input at all.
        """
        names = input_shards(inputs)
        done = set(self.done())
        return [name for name in names if name not in done]

    def commit(self, name: str, table: pa.Table, statistics: Statistics) -> None:
        """Publish a shard whole, its statistics in its footer."""
        record = json.dumps(statistics.to_dict(), sort_keys=True)
        self.folder.publish_table(name, table, {_STATISTICS_KEY: record})

    def check_found(self, name: str) -> None:
        """Look for a shard that another process committed.

        Raises ConfigError where the folder is one here and another one there.
        """
        if not self.folder.exists(name):
            raise ConfigError(
                f"output {self.folder}: {name} was committed, but is not here, so this is not a "
                "folder that all machines share; name a URL, or a folder that all nodes mount"
            )


def input_shards(inputs: Folder) -> list[str]:
    """The names of the shards in a folder, sorted. Raises ConfigError when there is none."""
    names = inputs.names(SHARD)
    if not names:
        raise ConfigError(f"{inputs}: no shards (*{SHARD}) here")
    return names


def content_of(paths: Sequence[str]) -> str:
    """sha256 (hex) over the files, or over the shards of the folders, at ``paths``.

    Raises ConfigError when there is nothing at a path.
    """
    digest = hashlib.sha256()
    for path in paths:
        folder, names = files_at(path, SHARD)
        for name in names:
            where, path = f"{folder}/{name}", folder.path(name)
            with open_file(where, folder.filesystem, path) as file:
                # What fsspec opens can readinto; IO does not say so.
                found = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
                digest.update(found.digest())
    return digest.hexdigest()


def record_of(inputs: Folder) -> dict[str, Any]:
    """What ``run.json`` says of the run that wrote some shards; nothing where no run did.

    Of the shards of one language it is that of the folder above, its fingerprint followed by this
    folder's name.
    """
    record = inputs.read_record(RUN_FILE)
    if record is not None or inputs.parent is None:
        return record or {}
    # What lies above need not be ours, nor for us to read.
    with suppress(ConfigError, DataError):
        record = inputs.parent.read_record(RUN_FILE)
    if record is None or record.get("job") not in _WRITE_SHARDS:
        return {}
    return {**record, "fingerprint": f"{record['fingerprint']}/{inputs.name}"}


def require_no_run(output: Folder) -> None:
    """Refuse an output folder that a run of another job holds. Raises ConfigError.

    For jobs that keep no record of their own: their files would take the place of that run's
    summary, and be taken for its shards.
    """
    made_by = output.read_record(RUN_FILE)
    if made_by is not None:
        raise ConfigError(
            f"output {output}: belongs to a run of {made_by.get('job', 'another job')}; choose "
            "another folder"
        )


def require_made_of(made_by: Mapping[str, Any], pairs: Folder, where: str) -> None:
    """Refuse pairs other than those that shards were made of, by what both records say.

    ``pairs`` is the output of prepare_corpus or the folder of a language pair in it. Where a record
    is silent nothing is refused. Raises ConfigError.
    """
    made_of = made_by.get("pairs")
    fingerprint = record_of(pairs).get("fingerprint")
    if made_of is None or fingerprint is None:
        return
    # Of the pairs of one language the shards know the fingerprint and the folder, older ones only
    # the folder, which lies in that of the record or is it.
    whole = str(fingerprint).partition("/")[0]
    if not f"{made_of}/".startswith((f"{whole}/", f"{pairs}/")):
        raise ConfigError(f"pairs {pairs}: {where} was made of other pairs")


def require_numbering(footer: Mapping[str, str], where: str, tags: Sequence[str]) -> None:
    """Refuse a shard whose ``ner_tags`` do not number these tags, or the first of them.

    A folder of several runs' shards may hold those of other teachers. Raises DataError.
    """
    found = tag_names(footer)
    if not found or found != list(tags[: len(found)]):
        raise DataError(
            f"{where}: its tags are numbered as {', '.join(found) or 'nobody says'}; "
            f"expected {', '.join(tags)}, as in the first shard: take each run by itself"
        )


def total_statistics(folder: Folder, names: Sequence[str]) -> Statistics:
    """The sum over committed shards. Raises DataError when one carries no statistics."""
    footers = zip(names, footers_of_each(folder, names), strict=True)
    return Statistics.total(statistics_in(footer, f"{folder}/{name}") for name, footer in footers)


def footers_of_each(folder: Folder, names: Iterable[str]) -> Iterator[dict[str, str]]:
    """The footers of shards, in order. Raises DataError as reading one does.

    They are read side by side: on an object store each takes as long as two requests.
    """
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
        yield from threads.map(folder.read_footer, names)


def statistics_of(folder: Folder, name: str) -> Statistics:
    """The statistics that a committed shard carries. Raises DataError when it carries none."""
    return statistics_in(folder.read_footer(name), f"{folder}/{name}")


def statistics_in(footer: Mapping[str, str], where: str) -> Statistics:
    """The statistics in a committed shard's footer. Raises DataError when there are none."""
    record = footer.get(_STATISTICS_KEY)
    if record is None:
        raise DataError(f"{where}: no statistics in its footer; expected a shard of xner")
    try:
        return Statistics.from_dict(parsed_json(record))
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"{where}: the statistics in its footer cannot be read: {error}; was the shard "
            "written by another version of xner?"
        ) from error


def _without_credentials(value: Any) -> Any:
    """A nested record as it may be stored beside the data, for everybody who reads them."""
    if isinstance(value, Mapping):
        # A URL may be a key too, as the archives are in the record of what was read of them.
        return {_without_credentials(key): _without_credentials(e) for key, e in value.items()}
    if isinstance(value, list | tuple):
        return [_without_credentials(each) for each in value]
    return without_credentials(value) if isinstance(value, str) else value


def _differences(
    theirs: Mapping[str, Any], mine: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """The leaves in which two nested records differ, as (dotted key, there, here)."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(theirs.keys() | mine.keys()):
        was, now = theirs.get(key), mine.get(key)
        if key in ("fingerprint", _VERSION_KEY) and not prefix:
            continue
        inner_was, inner_now = _nested(was), _nested(now)
        if inner_was is not None and inner_now is not None:
            found += _differences(inner_was, inner_now, f"{prefix}{key}.")
        elif was != now:
            found.append((f"{prefix}{key}", was, now))
    return found


def _nested(value: Any) -> Mapping[str, Any] | None:
    """The record, or the tables by their numbers, that a value is; None where it is neither."""
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return {str(number): each for number, each in enumerate(value)}
    return value if isinstance(value, Mapping) else None
