"""What a labelling job sums up: what it made itself, and the footers of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from xner.engine.flow import ClusterSize, ShardResult
from xner.errors import ConfigError, DataError
from xner.report.labelling import label_pending
from xner.shards.ledger import Run
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder


def test_labelling_sums_this_run_and_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, run = Folder.at(str(tmp_path / "in")), Run(Folder.at(str(tmp_path / "out")), "job", {})
    for number in range(4):
        inputs.publish(f"{number}.parquet", b"")

    def commit(number: int) -> ShardResult:
        name, statistics = f"{number}.parquet", Statistics(number, {"ok": number})
        run.commit(name, pa.table({"x": [number]}), statistics)
        return ShardResult(name, statistics, {"label": 0.5})

    def run_pending(watch: Callable[[ClusterSize], None]) -> Iterator[ShardResult]:
        for actors in (0, 2):
            watch(ClusterSize(0.0, 1, 0.0, {"label": actors}))
        yield commit(2)
        yield ShardResult("3.parquet", error=DataError("3.parquet: torn"))
        yield commit(1)

    run.open()
    commit(0)
    run.commit("gone.parquet", pa.table({"x": [0]}), Statistics(10, {"filtered": 10}))
    footers: list[str] = []
    read_footer = Folder.read_footer

    def counted(folder: Folder, name: str) -> dict[str, str]:
        footers.append(name)
        return read_footer(folder, name)

    monkeypatch.setattr(Folder, "read_footer", counted)
    with pytest.raises(DataError, match=r"1 shards have no output:\n  3\.parquet: torn"):
        label_pending("job", run, inputs, run_pending)
    # What this run made, it knows.
    assert sorted(footers) == ["0.parquet", "gone.parquet"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["rows"], summary["shards"]) == (13, 4)
    assert summary["status"] == {"filtered": 10, "ok": 3}
    assert summary["broken_shards"] == {"3.parquet": "3.parquet: torn"}
    made = summary["this_run"]
    assert (made["shards"], made["rows"]) == (2, 3)
    assert made["seconds_by_step"] == {"label": 1.0}
    assert [size["actors"] for size in made["cluster"]] == [{"label": 0}, {"label": 2}]


def test_labelling_refuses_a_folder_that_is_another_one_on_the_workers(tmp_path: Path) -> None:
    inputs, run = Folder.at(str(tmp_path / "in")), Run(Folder.at(str(tmp_path / "out")), "job", {})
    inputs.publish("0.parquet", b"")

    def run_pending(watch: Callable[[ClusterSize], None]) -> Iterator[ShardResult]:
        # The same path on the disk of another machine.
        there = Run(Folder.at(str(tmp_path / "another disk")), "job", {})
        there.commit("0.parquet", pa.table({"x": [0]}), Statistics(1, {"ok": 1}))
        yield ShardResult("0.parquet", Statistics(1, {"ok": 1}))

    with pytest.raises(ConfigError, match=r"out: 0\.parquet was committed, but is not here"):
        label_pending("job", run, inputs, run_pending)
    assert not (tmp_path / "out" / "summary.json").exists()
