"""What a shard came to: rows by status, refusals by reason, mentions by label.

Statistics ride in the footer of the shard they describe and add up with ``+``, so a run's summary
is the sum over its shards, whichever worker wrote them and whenever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def _added(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {key: first.get(key, 0) + second.get(key, 0) for key in sorted({*first, *second})}


def _counted(values: pa.ChunkedArray | pa.Array) -> dict[str, int]:
    pairs = ((item["values"], item["counts"]) for item in pc.value_counts(values).to_pylist())
    return {value: count for value, count in sorted(p for p in pairs if p[0] is not None)}


@dataclass(frozen=True)
class Statistics:
    """Counts of ``pseudo`` rows; ``Statistics()`` is the neutral element of ``+``.

    ``status`` sums to ``rows``, ``reasons`` to the rows that are not ``ok``. ``mentions`` counts
    the projected mentions of ``ok`` rows by label: what a student will see.
    """

    rows: int = 0
    status: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    mentions: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pa.Table) -> Statistics:
        """The statistics of a table in the ``pseudo`` schema."""
        accepted = table.filter(pc.equal(table["status"], "ok"))["mentions"]
        labels = pc.struct_field(pc.list_flatten(accepted), "label")
        return cls(
            rows=table.num_rows,
            status=_counted(table["status"]),
            reasons=_counted(table["reason"]),
            mentions=_counted(labels),
        )

    @classmethod
    def total(cls, parts: Iterable[Statistics]) -> Statistics:
        """The sum of many."""
        return sum(parts, start=cls())

    @property
    def num_mentions(self) -> int:
        """Projected mentions in accepted rows."""
        return sum(self.mentions.values())

    @property
    def num_refused(self) -> int:
        """Rows that are not ``ok``."""
        return self.rows - self.status.get("ok", 0)

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            rows=self.rows + other.rows,
            status=_added(self.status, other.status),
            reasons=_added(self.reasons, other.reasons),
            mentions=_added(self.mentions, other.mentions),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"rows": self.rows} | {
            name: dict(getattr(self, name)) for name in ("status", "reasons", "mentions")
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """The inverse of :meth:`to_dict`; raises ValueError for what cannot come from there."""
        expected = {each.name for each in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != expected:
            raise ValueError(f"expected an object of {', '.join(sorted(expected))}")
        for name, value in values.items():
            counts = [value] if name == "rows" else value.values()
            if not all(type(count) is int and count >= 0 for count in counts):
                raise ValueError(f"{name}: expected counts, found {value}")
        return cls(**values)
