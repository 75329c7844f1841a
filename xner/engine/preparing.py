"""Corpus preparation as functions of tables: read and clean, then draw without duplicates.

The key of a pair is a hash of its texts and the seed, so it is at once the identity that finds
duplicates and a uniform random number: the pairs with the smallest keys are a random sample that
depends on neither file order nor on the number of workers (bottom-k sampling; Cohen and Kaplan
2007). Each archive is read once. Refused pairs travel as counts, in one last row an archive that
has a ``tally`` and no pair.
"""

from __future__ import annotations

import json
import re
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from xner.config import PrepareConfig
from xner.corpora.bitext import read_bitext
from xner.corpora.cleaning import clean
from xner.corpora.opus import Archive
from xner.corpora.sampling import Threshold
from xner.engine.flow import Flow, range_borders
from xner.errors import XnerError
from xner.shards import schema
from xner.shards.ledger import Run

CANDIDATES = pa.schema(
    [
        *(field.with_nullable(True) for field in schema.PAIRS),
        pa.field("archive", pa.int16()),
        pa.field("key", pa.int64()),
        # The key, scrambled: rows in this order are a random mixture of all archives.
        pa.field("position", pa.int64()),
        pa.field("tally", pa.string()),
    ]
)

_BIN_BITS = 48
_NUM_BINS = 2 ** (64 - _BIN_BITS)


@dataclass(frozen=True)
class Tally:
    """What came of reading one archive; ``accepted`` and the sum of ``refused`` make ``read``.

    ``bound``: no pair with a greater key can be among those that sampling draws. ``error``: why
    the archive as a whole cannot be trusted. ``peak_rss_bytes``: the most that the process held
    at the end of a block (:func:`held_bytes`).
    """

    archive: int
    read: int
    accepted: int
    refused: Mapping[str, int]
    bound: int | None
    seconds: float
    peak_rss_bytes: int
    error: str | None = None


@dataclass(frozen=True)
class ReadArchive:
    """Reads one archive; yields the pairs that cleaning accepts and sampling may draw."""

    config: PrepareConfig

    def __call__(self, source: tuple[int, Archive]) -> Iterator[pa.Table]:
        number, archive = source
        started = time.process_time()
        threshold = Threshold(self.config.sampling.pairs)
        reasons: Counter[str | None] = Counter()
        error, peak = None, held_bytes()
        try:
            for block in read_bitext(archive):
                table = clean(block, archive, self.config)
                counts = pc.value_counts(table["reason"]).to_pylist()
                reasons.update({each["values"]: each["counts"] for each in counts})
                table = table.filter(pc.is_null(table["reason"]))
                keys = table["key"].to_numpy()
                table = table.filter(pa.array(threshold.admit(keys)))
                peak = max(peak, held_bytes())
                if table.num_rows:
                    yield _candidates(table, number)
        except XnerError as problem:
            error = str(problem)
        accepted = reasons.pop(None, 0)
        tally = Tally(
            archive=number,
            read=accepted + sum(reasons.values()),
            accepted=accepted,
            refused={str(reason): count for reason, count in sorted(reasons.items())},
            bound=threshold.bound(),
            seconds=time.process_time() - started,
            peak_rss_bytes=peak,
            error=error,
        )
        yield pa.Table.from_pylist([{"tally": json.dumps(asdict(tally))}], schema=CANDIDATES)


def held_bytes(process: int | Literal["self"] = "self") -> int:
    """The memory that a process of this machine holds now, Ray's object store left out.

    The store is shared: each of its pages counts as resident in every process that touched it.
    Nor is there a system's figure for the peak: ``ru_maxrss`` and ``VmHWM`` count those pages, and
    the former begins with that of the process which started this one. Where there is no ``/proc``,
    ``ru_maxrss`` has to do.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kilobytes = dict(re.findall(r"^(VmRSS|RssShmem):\s+(\d+) kB$", status, re.MULTILINE))
    return (int(kilobytes.get("VmRSS", 0)) - int(kilobytes.get("RssShmem", 0))) * 1024


def only_tallies(table: pa.Table) -> pa.Table:
    """Of a table of ``CANDIDATES``, the rows that carry a tally."""
    return table.select(["tally"]).filter(pc.is_valid(table["tally"]))


def read_tallies(tables: Iterable[pa.Table]) -> dict[int, Tally]:
    """The tallies in tables of :func:`only_tallies`, by archive."""
    records = [text for table in tables for text in table["tally"].to_pylist()]
    return {tally.archive: tally for tally in (Tally(**json.loads(text)) for text in records)}


@dataclass(frozen=True)
class Within:
    """Keeps the pairs of some archives whose key is at most the archive's bound."""

    bounds: Mapping[int, int | None]

    def __call__(self, table: pa.Table) -> pa.Table:
        archives, keys = table["archive"].fill_null(-1).to_numpy(), table["key"].to_numpy()
        return table.filter(pa.array(_at_most(archives, keys, self.bounds)))


def owned(table: pa.Table) -> pa.Table:
    """One row a key: of equal pairs, that of the archive which the recipe names first.

    ``table`` holds all rows of the keys that occur in it.
    """
    table = table.sort_by([("position", "ascending"), ("archive", "ascending")])
    keys = table["key"].to_numpy()
    return table.filter(pa.array(np.append(True, keys[1:] != keys[:-1])[: len(keys)]))


def key_counts(table: pa.Table) -> pa.Table:
    """How many owned keys, and how many rows in all, each archive has in each range of keys.

    Columns ``archive``, ``bin`` (0 to 65,535, ascending with the key), ``owned``, ``copies``.
    """
    filled, copies = np.unique(_cells(table), return_counts=True)
    holding, counts = np.unique(_cells(owned(table)), return_counts=True)
    distinct = np.zeros(len(filled), np.int64)
    distinct[np.searchsorted(filled, holding)] = counts
    return pa.table(
        {
            "archive": pa.array(filled // _NUM_BINS, pa.int16()),
            "bin": pa.array(filled % _NUM_BINS, pa.int32()),
            "owned": pa.array(distinct),
            "copies": pa.array(copies, pa.int64()),
        }
    )


def _bins(table: pa.Table) -> npt.NDArray[np.int64]:
    return (table["key"].to_numpy() >> _BIN_BITS) + _NUM_BINS // 2


def _cells(table: pa.Table) -> npt.NDArray[np.int64]:
    """Archive and range of keys of each row as one number."""
    return table["archive"].to_numpy().astype(np.int64) * _NUM_BINS + _bins(table)


@dataclass(frozen=True)
class KeysIn:
    """The owned keys (``archive``, ``key``) of one range of keys for each of some archives."""

    bins: Mapping[int, int]

    def __call__(self, table: pa.Table) -> pa.Table:
        table = owned(table).select(["archive", "key"])
        bins, archives = _bins(table), table["archive"].to_numpy()
        wanted = np.zeros(len(table), bool)
        for archive, number in self.bins.items():
            wanted |= (archives == archive) & (bins == number)
        return table.filter(pa.array(wanted))


@dataclass(frozen=True)
class Draw:
    """The owned rows whose key is at most their archive's last: the sample."""

    last_keys: Mapping[int, int | None]

    def __call__(self, table: pa.Table) -> pa.Table:
        table = owned(table)
        archives, keys = table["archive"].to_numpy(), table["key"].to_numpy()
        return table.filter(pa.array(_at_most(archives, keys, self.last_keys)))


@dataclass(frozen=True)
class WriteShard:
    """Commits the shard that a range of positions makes.

    Returns how many pairs are ``written`` by the number of their ``shard`` and by ``archive``.
    """

    run: Run
    folder: str
    num_shards: int

    def __call__(self, table: pa.Table) -> pa.Table:
        table = table.sort_by("position")
        positions = table["position"].to_numpy()
        numbers = np.searchsorted(range_borders(self.num_shards), positions, side="right")
        for number in np.unique(numbers):
            pairs = table.filter(pa.array(numbers == number)).select(schema.PAIRS.names)
            name = shard_name(self.folder, number, self.num_shards)
            self.run.folder.publish_table(name, pairs.cast(schema.PAIRS))
        cells = pa.table({"shard": pa.array(numbers), "archive": table["archive"]})
        counts = cells.group_by(["shard", "archive"]).aggregate([([], "count_all")])
        return counts.rename_columns({"count_all": "written"})


def shard_name(folder: str, number: int, num_shards: int) -> str:
    """The name of a shard of a language pair's folder."""
    return f"{folder}/part-{number:05d}-of-{num_shards:05d}.parquet"


def last_keys(
    parts: Flow, distinct: Mapping[int, npt.NDArray[np.int64]], quota_of: Mapping[int, int]
) -> dict[int, int | None]:
    """For each archive, the key up to which its quota of owned pairs lies; None: all of them.

    ``distinct``: how many owned keys each archive has in each range of keys (:func:`key_counts`).
    Found in two steps, so that no process ever holds all keys: first the range, by counting, and
    then the key, among the few of that range.
    """
    found: dict[int, int | None] = {}
    bins, ranks = {}, {}
    for archive, counts in distinct.items():
        quota = quota_of[archive]
        if quota == counts.sum():
            found[archive] = None
        elif quota == 0:
            found[archive] = -(2**63)
        else:
            upto = np.cumsum(counts)
            bins[archive] = int(np.searchsorted(upto, quota))
            ranks[archive] = quota - int(upto[bins[archive]] - counts[bins[archive]])
    if not bins:
        return found
    tables = list(parts.map(KeysIn(bins)))
    archives = np.concatenate([table["archive"].to_numpy() for table in tables])
    keys = np.concatenate([table["key"].to_numpy() for table in tables])
    for archive, rank in ranks.items():
        found[archive] = int(np.sort(keys[archives == archive])[rank - 1])
    return found


def sum_counts(
    tables: Iterable[pa.Table], archives: Sequence[int]
) -> tuple[dict[int, npt.NDArray[np.int64]], dict[int, npt.NDArray[np.int64]]]:
    """Tables of :func:`key_counts` added up: ``owned`` and ``copies``, [65,536] an archive each."""
    distinct, copies = (
        {archive: np.zeros(_NUM_BINS, np.int64) for archive in archives} for _ in range(2)
    )
    for table in tables:
        numbers = table["archive"].to_numpy()
        for archive in archives:
            mine = table.filter(pa.array(numbers == archive))
            bins = mine["bin"].to_numpy()
            distinct[archive][bins] += mine["owned"].to_numpy()
            copies[archive][bins] += mine["copies"].to_numpy()
    return distinct, copies


def _candidates(table: pa.Table, archive: int) -> pa.Table:
    keys = table["key"].to_numpy()
    added = {
        "archive": pa.array(np.full(len(table), archive), pa.int16()),
        "position": pa.array(scrambled(keys)),
        "tally": pa.nulls(len(table), pa.string()),
    }
    columns = [added.get(name) or table[name] for name in CANDIDATES.names]
    return pa.Table.from_arrays(columns, schema=CANDIDATES)


def scrambled(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A one-to-one map of int64 that leaves no trace of order (the finaliser of SplitMix64).

    Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    x = keys.view(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).view(np.int64)


def _at_most(
    archives: npt.NDArray[np.integer],
    keys: npt.NDArray[np.int64],
    bounds: Mapping[int, int | None],
) -> npt.NDArray[np.bool_]:
    admitted = np.zeros(len(keys), bool)
    for archive, bound in bounds.items():
        mine = archives == archive
        admitted |= mine if bound is None else mine & (keys <= bound)
    return admitted
