"""What a recipe asks of an engine, and what it gets back.

Four shapes of work are enough. ``run_shards``: every shard goes through the same stages and is
committed, the shape of the main job. ``run_tables``: tables at hand go through stages and come
back, the shape of an evaluation. ``read``: tables made from archives, mapped, sorted and cut anew,
the shape of corpus preparation. ``run_graph``: units of which some need others first, the shape of
a study. The plain loop (:mod:`xner.engine.inline`) and Ray (:mod:`xner.engine.distributed`) offer
them with the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from xner.config import PoolConfig, StepConfig
from xner.errors import DataError, XnerError
from xner.shards.statistics import Statistics

TableFunction = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Step:
    """A stage and where it runs.

    ``make(*arguments)`` gives the function from table to table: once in every actor of ``pool``,
    or, without a pool, wherever there is a CPU. One that ``joins`` runs in the actors of the step
    before, which hold both.
    """

    name: str
    make: Callable[..., TableFunction]
    arguments: tuple[Any, ...] = ()
    pool: PoolConfig | None = None
    joins: bool = False


@dataclass(frozen=True)
class ShardResult:
    """What became of one shard: its statistics, or why it has no output.

    ``seconds`` is the time spent in each step. It is no part of the statistics that are stored,
    so that the same shard gives the same file, however fast the machine.
    """

    name: str
    statistics: Statistics = field(default_factory=Statistics)
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: DataError | None = None


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit: the seconds it took, or why it has no result.

    ``was_run``: False where what it needs has none.
    """

    name: str
    seconds: float = 0.0
    error: XnerError | None = None
    was_run: bool = True


@dataclass(frozen=True)
class ClusterSize:
    """How large the cluster was ``seconds`` after the start: its nodes, and the actors by pool."""

    seconds: float
    nodes: int
    gpus: float
    actors: Mapping[str, int]

    def equals(self, other: ClusterSize) -> bool:
        """Whether nothing but the time differs."""
        return replace(self, seconds=other.seconds) == other


class Schedule:
    """Which units can run, as others finish: ``needs`` names the units that each one waits for.

    Needs that are no units themselves are taken for met.
    """

    def __init__(self, needs: Mapping[str, Collection[str]]) -> None:
        self._waiting = {name: set(before) & needs.keys() for name, before in needs.items()}

    def ready(self) -> list[str]:
        """The units that can run now and were not named before, in the order given."""
        found = [name for name, before in self._waiting.items() if not before]
        for name in found:
            del self._waiting[name]
        return found

    def finished(self, name: str) -> None:
        """Take note that a unit has its result; one that failed is never said to be finished."""
        for before in self._waiting.values():
            before.discard(name)

    def left(self) -> Iterator[UnitResult]:
        """The units that cannot run, once no other is running: what they need failed."""
        for name, before in self._waiting.items():
            missing = ", ".join(sorted(before))
            error = XnerError(f"{name}: not run, for it needs {missing}")
            yield UnitResult(name, error=error, was_run=False)


def range_borders(num_ranges: int) -> list[int]:
    """Borders of equal ranges of int64; range i holds borders[i - 1] <= x < borders[i]."""
    return [i * 2**64 // num_ranges - 2**63 for i in range(1, num_ranges)]


class Flow(Protocol):
    """A sequence of tables, computed when it is iterated over."""

    def map(self, function: TableFunction) -> Flow:
        """The flow of ``function(table)``; a function of one table only, order kept."""
        ...

    def partition(self, column: str, num_tables: int) -> Flow:
        """All rows by equal ranges of an int64 column (see ``range_borders``), sorted in each.

        Each range is one table, however large. Only of a flow that comes from a ``held`` one. A
        range without rows may give an empty table or none.
        """
        ...

    def held(self, report: Callable[[int], None] | None = None) -> Flow:
        """The flow computed once and kept, for more than one reader.

        ``report`` is called with the number of rows of each table as it comes.
        """
        ...

    def __iter__(self) -> Iterator[pa.Table]: ...


class Engine(Protocol):
    """Where a recipe runs."""

    def run_shards(
        self,
        names: Sequence[str],
        read: Callable[[str], pa.Table],
        steps: Sequence[Step],
        commit: Callable[[str, pa.Table], Statistics],
        report: Callable[[ClusterSize], None] = lambda size: None,
    ) -> Iterator[ShardResult]:
        """Take every shard through the steps and commit it; results as they come, in any order.

        Where there is a cluster, ``report`` is told its size, at the start and as it changes; it
        may be called from another thread. A shard whose input raises DataError is reported and the
        others go on, and so, where steps run in processes of their own, is one that cost several
        of them their life; any other exception ends the run. What may succeed later is tried
        again.
        """
        ...

    def run_tables(self, tables: Sequence[pa.Table], steps: Sequence[Step]) -> Iterator[pa.Table]:
        """Take every table through the steps; what comes of them, as it comes, in any order."""
        ...

    def read(self, sources: Sequence[Any], reader: Callable[[Any], Iterable[pa.Table]]) -> Flow:
        """The tables that ``reader`` yields for each source; all of the same schema.

        The flow raises DataError for a source that cost several processes their life, where it is
        read in processes of their own.
        """
        ...

    def run_graph(
        self,
        needs: Mapping[str, Collection[str]],
        work: Callable[[str], None],
        step: StepConfig,
    ) -> Iterator[UnitResult]:
        """Call ``work`` with each unit's name once all it needs is there; results as they come.

        Every call reserves what ``step`` says. A unit that raises an XnerError is reported, and so
        are those that need it, which are not run; the others go on. Any other exception ends the
        run. ``work`` may be called again for a unit whose process was lost.
        """
        ...
