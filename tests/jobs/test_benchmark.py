"""The benchmark in its smallest form: that it runs, and that its table is whole."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from xner.config import BenchmarkConfig
from xner.errors import ConfigError
from xner.evaluation.benchmark import measure, steady_rate

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {
    "encoder": "tiny",
    "num_pairs": 12,
    "repetitions": 2,
    "ray_seconds": 0,
    "training_steps": 2,
}
RATIOS = {
    "batched_pipelines",
    "batched_pipelines_over_single_layout",
    "unbatched",
    "simalign",
    "awesome_align",
    "awesome_align_layer_8",
    "bf16",
    "ray_over_inline",
    "ray_actors_over_inline",
    "two_actors",
}


def test_benchmark_table_is_whole(tmp_path: Path) -> None:
    recipe = PROJECT / "jobs" / "recipes" / "benchmark.toml"
    options = {**SMALL, "output": str(tmp_path), "profile": str(tmp_path / "profile")}
    # This Python has no simalign: what is said of that is part of the table.
    options["aligners_python"] = sys.executable
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    job = [sys.executable, str(PROJECT / "jobs" / "benchmark.py"), str(recipe), *arguments]
    ran = subprocess.run(job, capture_output=True, text=True, cwd=PROJECT)
    assert ran.returncode == 0, ran.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["ratios"]) == RATIOS
    for name in ("batched_pipelines", "unbatched", "batched_pipelines_over_single_layout"):
        assert summary["ratios"][name] > 0
        assert name in ran.stdout
    assert {"ours", "word_links"} < set(summary["pairs_per_second"])
    assert "simalign" in summary["left_out"]["simalign"]
    assert summary["ratios"]["simalign"] is None
    assert summary["pairs"] == 12
    assert summary["mentions"] > 12
    # The same weights place the same names, however they are batched.
    assert summary["equal_alignments"] == 1
    for share in ("padding_share", "device_share", "matmul_share", "device_matmul_share"):
        assert 0 < summary[share] < 1
    assert summary["matmul_share"] < summary["device_matmul_share"]
    assert 0 < summary["training"]["matmul_share"] < 1
    assert ("bf16" in summary) != ("bf16" in summary["left_out"])
    assert {cost["GPU"] for cost in summary["costs"]} >= {"L4", "H100"}
    assert "aten::" in (tmp_path / "profile" / "operators.txt").read_text()


def test_benchmark_says_what_it_would_do() -> None:
    plan = runpy.run_path(str(PROJECT / "jobs" / "benchmark.py"))["plan"]
    told = plan(BenchmarkConfig.model_validate({**SMALL, "pairs": "data/pairs"}))
    assert told["text"] == "12 pairs of data/pairs"
    assert (told["training"], told["Ray"]) == ("2 steps of 1,024 sub-words", "left out")


def test_benchmark_says_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no shards"):
        measure(BenchmarkConfig.model_validate({**SMALL, "pairs": str(tmp_path)}), print)
    wrong = BenchmarkConfig.model_validate({**SMALL, "aligners_python": "/nowhere"})
    with pytest.raises(ConfigError, match="cannot be run"):
        measure(wrong, print)
    # That nothing can be written is told first, and not after half an hour.
    (tmp_path / "file").write_text("")
    main = runpy.run_path(str(PROJECT / "jobs" / "benchmark.py"))["main"]
    with pytest.raises(ConfigError, match="a file stands where a folder is expected"):
        main(wrong.model_copy(update={"output": str(tmp_path / "file" / "out")}))


def test_steady_rate_counts_no_shard_that_was_begun_before_the_clock() -> None:
    # One actor, a shard a second, and two that begin together: twice as many.
    assert steady_rate([9, 10, 11, 12], 1) == 1
    assert steady_rate([9, 9, 10, 10, 11, 11], 2) == 2
