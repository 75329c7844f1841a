"""A fixed sample of a run's rows in which every kind of row is found, drawn in one pass.

A row's key is a hash of its pair and the seed, and of each kind the rows with the smallest keys are
drawn: the same ones in whatever order the shards come. Kinds give equally many, as far as they have
them. A kind's share can only sink while others grow, so what is beyond it is dropped on the way,
and never more rows are held than the sample has and those of one shard.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xner.corpora.sampling import quotas

#: A kind of row: target language, status, reason.
Kind = tuple[str, str, str | None]

_KIND = ("target_lang", "status", "reason")

Keys = npt.NDArray[np.uint64]


class Sample:
    """At most ``limit`` rows of the tables that are added, in equal parts by kind."""

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._seed = limit, seed
        self._seen: Counter[Kind] = Counter()
        self._kept: dict[Kind, tuple[Keys, pa.Table]] = {}

    def add(self, table: pa.Table) -> None:
        """Draw from one more table; all have the same columns."""
        keys = np.array([self._key(pair_id) for pair_id in table["pair_id"].to_pylist()], np.uint64)
        rows_of: dict[Kind, list[int]] = defaultdict(list)
        for row, kind in enumerate(zip(*(table[name].to_pylist() for name in _KIND), strict=True)):
            rows_of[kind].append(row)
        for kind, rows in rows_of.items():
            self._seen[kind] += len(rows)
            kept_keys, kept = self._kept.get(kind, (keys[:0].copy(), table.schema.empty_table()))
            # Whoever has dropped a row knows that larger keys are of no use.
            bound = kept_keys.max() if len(kept_keys) < self._seen[kind] - len(rows) else None
            chosen = [row for row in rows if bound is None or keys[row] < bound]
            self._kept[kind] = (
                np.concatenate([kept_keys, keys[chosen]]),
                pa.concat_tables([kept, table.take(pa.array(chosen, pa.int64()))]),
            )
        for kind, share in self._shares().items():
            # What does not divide evenly may go to another kind later.
            self._kept[kind] = _smallest(*self._kept[kind], share + 1)

    def rows(self) -> pa.Table:
        """The sample, in an order that tells nothing; without columns where nothing was added."""
        if not self._kept:
            return pa.table({})
        shares = self._shares()
        parts = [_smallest(*kept, shares[kind]) for kind, kept in self._kept.items()]
        order = np.argsort(np.concatenate([keys for keys, _ in parts]), kind="stable")
        return pa.concat_tables([table for _, table in parts]).take(pa.array(order))

    def _shares(self) -> Mapping[Kind, int]:
        kinds = sorted(self._seen, key=lambda kind: tuple(map(str, kind)))
        return dict(
            zip(kinds, quotas([self._seen[kind] for kind in kinds], self._limit), strict=True)
        )

    def _key(self, pair_id: str) -> int:
        seeded = f"{self._seed} {pair_id}".encode()
        return int.from_bytes(hashlib.blake2b(seeded, digest_size=8, person=b"sample").digest())


def _smallest(keys: Keys, table: pa.Table, count: int) -> tuple[Keys, pa.Table]:
    if len(keys) <= count:
        return keys, table
    order = np.argsort(keys, kind="stable")[:count]
    return keys[order], table.take(pa.array(order))
