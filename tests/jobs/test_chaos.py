"""Chaos in its short form: one kill of each kind, and the output of an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from xner.shards import schema
from xner.shards.storage import Folder

SCRIPT = Path(__file__).resolve().parents[1] / "measurements" / "chaos.py"


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_chaos_changes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, "--kills", "5", "--shards", "48"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["kills_by_kind"] == dict.fromkeys(
        ("actor", "task", "node", "driver", "notice"), 1
    )
    assert summary["driver_runs"] == 2 and summary["driver_failures"] == 0
    assert summary["identical"] and summary["each_shard_once"]
    assert summary["rows_in"] == summary["rows_out"] == 48 * 40
    assert summary["mentions"] > 100


def test_chaos_is_told_from_order(measurement: Callable[[str], ModuleType], tmp_path: Path) -> None:
    chaos = measurement("chaos")
    pairs, calm, wild = (Folder.at(str(tmp_path / name)) for name in ("pairs", "calm", "wild"))
    chaos.make_pairs(pairs, 2)
    names = pairs.names(".parquet")
    for folder in (calm, wild):
        for name in names:
            rows = pairs.read_table(name).to_pylist()
            made = [{**row, "mentions": [], "status": "ok"} for row in rows]
            folder.publish_table(name, schema.PSEUDO.empty_table().from_pylist(made, schema.PSEUDO))
    found = chaos.compared(pairs, calm, wild)
    assert found["identical"] and found["each_shard_once"] and found["left_behind"] == []
    assert found["rows_in"] == found["rows_out"] == 80
    wild.publish("en-de/_tmp-1-000001.parquet", b"half")
    assert chaos.compared(pairs, calm, wild)["left_behind"] == ["en-de/_tmp-1-000001.parquet"]
    wild.publish_table(names[1], wild.read_table(names[0]))
    found = chaos.compared(pairs, calm, wild)
    assert not found["identical"] and not found["each_shard_once"]


def test_chaos_kills_each_kind_in_turn(measurement: Callable[[str], ModuleType]) -> None:
    chaos = measurement("chaos")
    assert set(Counter(chaos.plan(5, seed=1)).values()) == {1}
    assert chaos.plan(20, seed=1) == chaos.plan(20, seed=1) != chaos.plan(20, seed=2)
