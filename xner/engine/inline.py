"""The plain loop: one process, no Ray. For laptops, debuggers and tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from xner.config import StepConfig
from xner.engine.attempts import load_steps, patiently, run_step
from xner.engine.flow import (
    ClusterSize,
    Schedule,
    ShardResult,
    Step,
    TableFunction,
    UnitResult,
    range_borders,
)
from xner.errors import DataError, XnerError
from xner.shards.statistics import Statistics


class InlineEngine:
    """Runs every step in this process, one shard after the other.

    ``shard_seconds`` is the limit of a step for a shard: one that takes longer ends the process.
    """

    def __init__(self, shard_seconds: float | None = None) -> None:
        self._shard_seconds = shard_seconds

    def run_shards(
        self,
        names: Sequence[str],
        read: Callable[[str], pa.Table],
        steps: Sequence[Step],
        commit: Callable[[str, pa.Table], Statistics],
        report: Callable[[ClusterSize], None] = lambda size: None,
    ) -> Iterator[ShardResult]:
        """See :class:`xner.engine.flow.Engine`."""
        stages = load_steps(steps if names else ())
        for name in names:
            try:
                table = patiently(f"{name}: reading", read, name)
            except DataError as error:
                yield ShardResult(name, error=error)
                continue
            seconds = {}
            for step_name, stage in stages:
                started = time.perf_counter()
                table = run_step(step_name, stage, name, table, self._shard_seconds)
                seconds[step_name] = time.perf_counter() - started
            statistics = patiently(f"{name}: committing", commit, name, table)
            yield ShardResult(name, statistics, seconds)

    def run_tables(self, tables: Sequence[pa.Table], steps: Sequence[Step]) -> Iterator[pa.Table]:
        """See :class:`xner.engine.flow.Engine`."""
        stages = load_steps(steps if tables else ())
        for number, table in enumerate(tables):
            for step_name, stage in stages:
                table = run_step(step_name, stage, f"table {number}", table, self._shard_seconds)
            yield table

    def read(
        self, sources: Sequence[Any], reader: Callable[[Any], Iterable[pa.Table]]
    ) -> InlineFlow:
        """See :class:`xner.engine.flow.Engine`."""
        return InlineFlow(lambda: (table for source in sources for table in reader(source)))

    def run_graph(
        self,
        needs: Mapping[str, Collection[str]],
        work: Callable[[str], None],
        step: StepConfig,
    ) -> Iterator[UnitResult]:
        """See :class:`xner.engine.flow.Engine`."""
        schedule = Schedule(needs)
        while ready := schedule.ready():
            for name in ready:
                started = time.perf_counter()
                try:
                    work(name)
                except XnerError as error:
                    yield UnitResult(name, error=error)
                    continue
                schedule.finished(name)
                yield UnitResult(name, time.perf_counter() - started)
        yield from schedule.left()


class InlineFlow:
    """Tables in this process; sorting and holding keep all of them in memory."""

    def __init__(self, tables: Callable[[], Iterable[pa.Table]]) -> None:
        self._tables = tables

    def map(self, function: TableFunction) -> InlineFlow:
        """See :class:`xner.engine.flow.Flow`."""
        return InlineFlow(lambda: (function(table) for table in self))

    def partition(self, column: str, num_tables: int) -> InlineFlow:
        """See :class:`xner.engine.flow.Flow`."""

        def ranges() -> Iterator[pa.Table]:
            table = pa.concat_tables(self).sort_by(column)
            inner = np.searchsorted(table[column].to_numpy(), range_borders(num_tables))
            for start, end in pairwise([0, *inner.tolist(), table.num_rows]):
                yield table.slice(start, end - start)

        return InlineFlow(ranges)

    def held(self, report: Callable[[int], None] | None = None) -> InlineFlow:
        """See :class:`xner.engine.flow.Flow`."""
        tables = []
        for table in self:
            tables.append(table)
            if report:
                report(table.num_rows)
        return InlineFlow(lambda: tables)

    def __iter__(self) -> Iterator[pa.Table]:
        return iter(self._tables())
