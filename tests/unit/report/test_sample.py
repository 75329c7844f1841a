from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from xner.report.sample import Sample


def _table(kinds: dict[tuple[str, str, str | None], int]) -> pa.Table:
    rows = [
        {"pair_id": f"{kind}-{number}", "target_lang": lang, "status": status, "reason": reason}
        for kind, (lang, status, reason) in enumerate(kinds)
        for number in range(kinds[lang, status, reason])
    ]
    columns = ["pair_id", "target_lang", "status", "reason"]
    return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})


def _drawn(table: pa.Table, limit: int, parts: int = 1, seed: int = 0) -> list[str]:
    sample = Sample(limit, seed)
    size = -(-table.num_rows // parts)
    for first in range(0, table.num_rows, size):
        sample.add(table[first : first + size])
    rows = sample.rows()
    assert rows is not None
    return rows["pair_id"].to_pylist()


TABLE = _table(
    {
        ("de", "ok", None): 900,
        ("de", "filtered", "mention_free"): 300,
        ("de", "error", "a_reason_nobody_knows"): 3,
        ("zh", "ok", None): 40,
    }
)


def test_sample_has_equal_parts_of_every_kind_as_far_as_there_are() -> None:
    assert Counter(each[0] for each in _drawn(TABLE, 103)) == {"0": 33, "1": 34, "2": 3, "3": 33}
    assert sorted(_drawn(TABLE, 5000)) == sorted(TABLE["pair_id"].to_pylist())


@pytest.mark.parametrize("limit", [3, 50, 103, 400])
def test_sample_is_the_same_whatever_the_order_of_reading(limit: int) -> None:
    drawn = _drawn(TABLE, limit)
    assert len(drawn) == len(set(drawn)) == limit
    backwards = TABLE.take(pa.array(range(TABLE.num_rows)[::-1]))
    assert drawn == _drawn(TABLE, limit, parts=7) == _drawn(backwards, limit, parts=50)


def test_sample_is_another_with_another_seed_and_in_no_order() -> None:
    drawn = _drawn(TABLE, 100)
    assert set(drawn) != set(_drawn(TABLE, 100, seed=1))
    assert drawn != sorted(drawn) and len({each[0] for each in drawn[:20]}) > 1


def test_sample_holds_little_more_than_its_rows() -> None:
    sample = Sample(60, 0)
    for first in range(0, TABLE.num_rows, 10):
        sample.add(TABLE[first : first + 10])
        held = [kept for _, kept in sample._kept.values()]
        assert sum(each.num_rows for each in held) <= 60 + len(held)


def test_sample_of_nothing_is_nothing() -> None:
    assert Sample(10, 0).rows().num_rows == 0
