"""The pieces of `make measure-scale`, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from xner.engine.flow import ShardResult
from xner.errors import DataError
from xner.shards import schema
from xner.shards.ledger import Run
from xner.shards.storage import Folder


@pytest.fixture
def scale(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("scale")


def test_measure_scale_follows_a_run_to_its_end(
    scale: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([100.0, 110.0, 120.0, 0.0])
    monkeypatch.setattr(scale, "actor_mib", lambda: next(shares))
    monkeypatch.setattr(scale, "MARK_EVERY", 20)
    figures = scale.followed("made", (ShardResult(str(i)) for i in range(60)), 60)
    assert [mark["shards"] for mark in figures["marks"]] == [1, 20, 40, 60]
    assert (figures["shards"], figures["committed"]) == (60, 60)
    # The actors of the last mark are gone.
    assert figures["actor_mib"] == 120.0
    assert figures["memory_growth"]["actor"] == pytest.approx(120 / 110)


def test_measure_scale_stops_at_its_limit_and_at_errors(
    scale: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "actor_mib", lambda: 1.0)
    figures = scale.followed("made", (ShardResult(str(i)) for i in range(60)), 60, 0.0)
    assert (figures["shards"], figures["committed"]) == (60, 1)
    with pytest.raises(DataError, match="torn"):
        scale.followed("made", [ShardResult("0", error=DataError("torn"))], 1)


def test_measure_scale_sums_up_what_the_engine_left(scale: ModuleType, tmp_path: Path) -> None:
    inputs, run = Folder(str(tmp_path / "in")), Run(Folder(str(tmp_path / "out")), "made", {})
    scale.make_pairs(inputs, 6)
    names = inputs.names(".parquet")
    assert len(names) == 6
    assert inputs.read_table(names[0], schema.PAIRS).num_rows == scale.PAIRS_OF_A_SHARD
    for name in names[2:4]:
        scale.commit_statistics(run, name, pa.table({}))
    assert set(scale.ledger_seconds(run, inputs, names)) == {
        "list_seconds",
        "resume_seconds",
        "summary_seconds",
    }
    assert run.done() == names
