"""What a run on Ray tells Prometheus: one table of metrics, and who counts what.

Ray puts `ray_` before a name and `_total` behind a counter's, and its agents on every node export
what their processes report. The driver counts what became of shards, once each, however often a
task was tried; the process that runs a stage counts what the device did, so that those figures can
be told apart by node. The dashboard and the alerts in `cluster/` read these names alone, and a test
says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from ray.util import metrics

from xner.engine.flow import ShardResult
from xner.models.usage import Usage

# From a tiny shard on a laptop to one of a large model without a GPU.
_SECONDS = [0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600]


@dataclass(frozen=True)
class Metric:
    """One line of the table."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    label: str | None = None

    def exported(self, name: str) -> str:
        """The name under which Prometheus finds it; a histogram has `_bucket`, `_sum`, `_count`."""
        return f"ray_{name}_total" if self.kind == "counter" else f"ray_{name}"


METRICS = {
    "xner_pairs": Metric("counter", "Pairs in committed shards, by status.", "status"),
    "xner_refusals": Metric("counter", "Pairs that are not ok, by reason.", "reason"),
    "xner_mentions": Metric("counter", "Mentions projected in ok pairs, by type.", "type"),
    "xner_shards_committed": Metric("counter", "Shards committed."),
    "xner_shard_errors": Metric("counter", "Shards that could not be read or were given up."),
    "xner_shards_pending": Metric("gauge", "Shards of the run without an output yet."),
    "xner_actors": Metric("gauge", "Actors alive, by pool: the steps that share them.", "pool"),
    "xner_shard_seconds": Metric("histogram", "Seconds that a step takes for a shard.", "step"),
    "xner_forward_seconds": Metric("counter", "Seconds in forward passes, by step.", "step"),
    "xner_tokens": Metric("counter", "Sub-words put through a model, by step.", "step"),
    "xner_cells": Metric("counter", "Sub-words computed, padding included, by step.", "step"),
}


def count_result(result: ShardResult) -> None:
    """Count what became of a shard; for the driver."""
    if result.error is not None:
        _add("xner_shard_errors", 1)
        return
    _add("xner_shards_committed", 1)
    for name, counts in (
        ("xner_pairs", result.statistics.status),
        ("xner_refusals", result.statistics.reasons),
        ("xner_mentions", result.statistics.mentions),
    ):
        for label, count in counts.items():
            _add(name, count, label)


def show_pending(num_shards: int) -> None:
    """Show how many shards have no output yet; for the driver."""
    _instrument("xner_shards_pending").set(num_shards)


def show_actors(actors: Mapping[str, int]) -> None:
    """Show how many actors each pool has; for the driver."""
    for pool, number in actors.items():
        _instrument("xner_actors").set(number, _tags("xner_actors", pool))


def count_stage(step: str, seconds: float, usage: Usage) -> None:
    """Count a shard's time in a step, and what its models did; for the process that ran it."""
    name = "xner_shard_seconds"
    _instrument(name).observe(seconds, _tags(name, step))
    _add("xner_forward_seconds", usage.seconds, step)
    _add("xner_tokens", usage.tokens, step)
    _add("xner_cells", usage.cells, step)


def _add(name: str, amount: float, label: str | None = None) -> None:
    # Ray refuses to add nothing.
    if amount > 0:
        _instrument(name).inc(amount, _tags(name, label))


def _tags(name: str, label: str | None) -> dict[str, str]:
    key = METRICS[name].label
    return {} if key is None or label is None else {key: label}


@cache
def _instrument(name: str) -> metrics.Counter | metrics.Gauge | metrics.Histogram:
    metric = METRICS[name]
    keys = (metric.label,) if metric.label else ()
    if metric.kind == "histogram":
        return metrics.Histogram(name, metric.help, boundaries=_SECONDS, tag_keys=keys)
    kind = metrics.Counter if metric.kind == "counter" else metrics.Gauge
    return kind(name, metric.help, tag_keys=keys)
