"""What a run tells Prometheus, as a node of a real Ray exports it."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable

import pyarrow as pa
import pytest

from xner.config import EngineConfig, PoolConfig
from xner.engine.choose import engine_for
from xner.engine.flow import ClusterSize, Step
from xner.engine.metrics import METRICS
from xner.errors import DataError
from xner.models.usage import Usage
from xner.shards.statistics import Statistics

# `name{label="value",...} number`
SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)


Samples = dict[tuple[str, str], float]


def exported() -> Samples:
    """Our samples by exported name and by the value of our own label, summed over processes."""
    import ray

    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    names = "|".join(metric.label for metric in METRICS.values() if metric.label)
    found: Samples = {}
    for name, labels, value in SAMPLE.findall(text):
        if name.startswith("ray_xner_") and "_bucket" not in name:
            own = re.search(rf'(?:^|,)(?:{names})="([^"]*)"', labels)
            key = (name, own[1] if own else "")
            found[key] = found.get(key, 0.0) + float(value)
    return found


class Busy:
    """A stage that has used a model for a hundred sub-words a row, a quarter of them padding."""

    def __init__(self) -> None:
        self.usage = Usage()

    def __call__(self, table: pa.Table) -> pa.Table:
        n = table.num_rows
        self.usage += Usage(tokens=75 * n, cells=100 * n, seconds=0.5 * n)
        return table


def read(name: str) -> pa.Table:
    if name == "broken":
        raise DataError("broken: not a readable shard")
    return pa.table({"x": list(range(int(name)))})


def commit(name: str, table: pa.Table) -> Statistics:
    return Statistics(
        rows=table.num_rows,
        status={"counted": table.num_rows - 1, "uncounted": 1},
        reasons={"for_a_test": 1},
        mentions={"TESTED": 2 * table.num_rows},
    )


@pytest.mark.slow
def test_metrics_are_exported_with_what_a_run_came_to(local_ray: None) -> None:
    before = exported()
    sizes: list[ClusterSize] = []
    steps = [
        Step("busy", Busy, (), PoolConfig(num_cpus=0.5)),
        Step("idle", lambda: lambda table: table),
    ]
    names = ["2", "3", "broken", "5"]
    engine = engine_for(EngineConfig())
    assert len(list(engine.run_shards(names, read, steps, commit, sizes.append))) == 4
    assert sizes[0].nodes == 1
    assert max(size.actors["busy"] for size in sizes) <= 1

    expected = {
        ("ray_xner_pairs_total", "counted"): 7.0,
        ("ray_xner_pairs_total", "uncounted"): 3.0,
        ("ray_xner_refusals_total", "for_a_test"): 3.0,
        ("ray_xner_mentions_total", "TESTED"): 20.0,
        ("ray_xner_tokens_total", "busy"): 750.0,
        ("ray_xner_cells_total", "busy"): 1000.0,
        ("ray_xner_forward_seconds_total", "busy"): 5.0,
        ("ray_xner_shard_seconds_count", "busy"): 3.0,
        ("ray_xner_shard_seconds_count", "idle"): 3.0,
        ("ray_xner_actors", "busy"): 0.0,
        ("ray_xner_shards_pending", ""): 0.0,
    }
    found = wait_for(lambda now: all(now.get(key) == value for key, value in expected.items()))
    assert {key: found.get(key) for key in expected} == expected
    for name, more in (("shards_committed", 3), ("shard_errors", 1)):
        key = (f"ray_xner_{name}_total", "")
        assert found[key] >= before.get(key, 0.0) + more
    assert {name for name, _ in found} >= {
        metric.exported(name) for name, metric in METRICS.items() if metric.kind != "histogram"
    }


def wait_for(is_there: Callable[[Samples], bool]) -> Samples:
    """What is exported once it holds; processes report every ten seconds."""
    for _ in range(60):
        found = exported()
        if is_there(found):
            break
        time.sleep(0.5)
    return found
