"""The stages on Ray Data: one task a shard to read it, an actor pool a model, one commit a shard.

A shard travels as one row that holds its table as an Arrow IPC stream. So a row is a shard in
every figure that Ray shows, batches are of size one whatever a shard's size, pools with GPUs
included (for them Ray Data wants a whole number), an empty shard is as good as any, and a refused
input can be passed on and reported. The last task commits the shard and returns its statistics,
small enough to be held by the driver itself: no lost node can lose them, so a shard that was
committed is never computed again.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from ray._private import auto_init_hook
from ray._private.log import PlainRayHandler
from ray._private.utils import get_num_cpus
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy
from ray.data.block import BlockAccessor, BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from xner import errors
from xner.config import EngineConfig, PoolConfig, StepConfig
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
from xner.engine.metrics import count_result, count_stage, show_pending
from xner.engine.nodes import living_nodes
from xner.engine.poison import is_of_device
from xner.engine.sizes import watched
from xner.engine.tries import MAX_GIVEN_UP, MAX_LOST, Tries
from xner.errors import ConfigError, DataError, TransientError, XnerError
from xner.models.usage import usage_of
from xner.shards.statistics import Statistics

# Reading and committing wait for storage more than they compute.
_TASK_CPUS = 0.25

# By itself Ray ends processes beyond one a CPU after a second without work. Our tasks are short and
# reserve a quarter of a CPU: most of them would wait for a new process, which takes seconds.
_IDLE_WORKER_MS = 60_000

# Ray Data keeps every read task as an object of its own, and puts them all before the first one
# runs; with more shards than this, a task reads several, one after the other.
_MAX_READ_TASKS = 4000

_READ_BLOCK_BYTES = 64 * 2**20

# Less than any row: a parcel, which is one row, is never put into a block with another.
_PARCEL_BLOCK_BYTES = 1

# A task that sorts takes so much input at once and about twice as much memory. Ray's own choice,
# four times this, would let it pass two gibibytes.
_SORT_BATCH_BYTES = 256 * 2**20

_log = logging.getLogger(__name__)

_MARK = "<xner-error>"

# As whose processes those are counted that are no pool's.
_READER, _WRITER = "the reader", "the writer"

_WHAT_LOST = (
    f"its process {MAX_LOST} times: a step that hangs (engine.shard_seconds) or crashes, or too "
    "little memory; the log says where it stood"
)

T = TypeVar("T")

_PARCEL = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("table", pa.large_binary()),
        pa.field("steps", pa.list_(pa.string())),
        pa.field("seconds", pa.list_(pa.float64())),
        pa.field("error", pa.string()),
    ]
)


def connect(config: EngineConfig, pools: Sequence[PoolConfig] = ()) -> None:
    """Join the cluster that submitted this job or that the settings name, or start Ray here.

    A Ray started here has a logical CPU for reading and writing besides those that the pools
    reserve at least, so that actors never starve the tasks. Does nothing when connected.

    Raises ConfigError when there is no such cluster.
    """
    if ray.is_initialized():
        return
    # Ray puts a handler of its own in the place of the job's, and with it another exit code.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if is_main else None
    try:
        _connect(config, pools)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _connect(config: EngineConfig, pools: Sequence[PoolConfig]) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A thread that Ray Data leaves running would start another Ray while this process ends.
    auto_init_hook.enable_auto_connect = False
    options: dict[str, Any] = {"logging_level": _logging_level(), "log_to_driver": True}
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address:
        _log.info("Ray: joining %s", address)
        # Tries, in truth: where nobody listens each takes 40 s, and by itself Ray has twenty.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")
        try:
            ray.init(address=address, **options)
        except (ConnectionError, ValueError) as error:
            key = "engine.address" if config.address else "RAY_ADDRESS"
            raise ConfigError(f"{key}: no Ray cluster at {address}: {error}") from error
        return
    # By default as Ray counts them, which minds a container's limit.
    num_cpus = config.num_cpus or int(get_num_cpus(override_docker_cpu_warning=True))
    reserved = sum(pool.min_size * pool.num_cpus for pool in pools)
    if options["logging_level"] >= logging.ERROR:
        # The core's own lines, about actors that Ray itself starts, come on the driver's console.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(_IDLE_WORKER_MS))
    patiently(
        "Ray: starting",
        _start_here,
        {**options, "num_cpus": max(num_cpus, math.ceil(reserved) + 1)},
    )


def _start_here(options: Mapping[str, Any]) -> None:
    """Start Ray on this machine. Raises TransientError where it is too busy for Ray's patience."""
    try:
        ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **options)
    # Ray has no class for this. What it began ends with this process.
    except Exception as error:
        if "timed out during startup" in str(error):
            raise TransientError(f"this machine is too busy: {error}") from error
        raise


def _warn_if_short(pools: Sequence[PoolConfig]) -> None:
    """Say what a run will wait for; on a cluster that grows, it comes."""
    there = ray.cluster_resources()
    needed = {
        "CPU": sum(pool.min_size * pool.num_cpus for pool in pools) + _TASK_CPUS,
        "GPU": sum(pool.min_size * pool.num_gpus for pool in pools),
    }
    for resource, amount in needed.items():
        if amount > there.get(resource, 0):
            _log.warning(
                "the pools reserve %g %s at least, and the cluster has %g now: waiting for more "
                "(pool.num_cpus, pool.num_gpus, pool.min_size)",
                amount,
                resource,
                there.get(resource, 0),
            )


def _logging_level() -> int:
    """Ray's level for the driver's console; its log files keep everything.

    At our own default level only its errors: what Ray Data says of each dataset's start and end,
    and of an exception that is on its way to us, would drown our lines.
    """
    if logging.getLogger("xner").isEnabledFor(logging.DEBUG):
        return logging.INFO
    for handler in logging.getLogger("ray.data").handlers:
        # Its console only: not its files, and not a handler that somebody else put there.
        if isinstance(handler, PlainRayHandler):
            handler.setLevel(logging.CRITICAL)
    return logging.ERROR


class RayEngine:
    """Runs steps on the Ray that :func:`connect` joins or starts."""

    def __init__(self, config: EngineConfig, pools: Sequence[PoolConfig] = ()) -> None:
        connect(config, pools)
        _warn_if_short(pools)
        self._shard_seconds = config.shard_seconds

    def run_shards(
        self,
        names: Sequence[str],
        read: Callable[[str], pa.Table],
        steps: Sequence[Step],
        commit: Callable[[str, pa.Table], Statistics],
        report: Callable[[ClusterSize], None] = lambda size: None,
    ) -> Iterator[ShardResult]:
        """See :class:`xner.engine.flow.Engine`."""
        if not names:
            return
        pools = [_pool_name(group) for group in _joined(steps) if group[0].pool]
        pending = len(names)
        show_pending(pending)
        with _counted_tries(self._shard_seconds) as watch, watched(pools, report):
            with DataContext.current(_data_context(_PARCEL_BLOCK_BYTES)):
                reader = partial(_read_parcel, read=read, watch=watch)
                dataset = _parcels(names, reader, steps, watch)
                dataset = dataset.map_batches(
                    _commit_parcel, fn_args=(commit, watch), **_as_tasks(steps)
                )
            for batch in _batches(dataset):
                for row in batch.to_pylist():
                    result = _result(row)
                    count_result(result)
                    pending -= 1
                    show_pending(pending)
                    yield result

    def run_tables(self, tables: Sequence[pa.Table], steps: Sequence[Step]) -> Iterator[pa.Table]:
        """See :class:`xner.engine.flow.Engine`."""
        if not tables:
            return
        named = [(f"table {number}", table) for number, table in enumerate(tables)]
        with _counted_tries(self._shard_seconds) as watch:
            with DataContext.current(_data_context(_PARCEL_BLOCK_BYTES)):
                dataset = _parcels(named, lambda each: _parcel(*each), steps, watch)
            for batch in _batches(dataset):
                for row in range(batch.num_rows):
                    error = batch["error"][row].as_py()
                    if error is not None:
                        raise DataError(error)
                    yield _unpacked(batch.slice(row, 1))

    def read(self, sources: Sequence[Any], reader: Callable[[Any], Iterable[pa.Table]]) -> RayFlow:
        """See :class:`xner.engine.flow.Engine`."""
        tries = _beside_driver(Tries, living_nodes)
        watch = _Watch(tries, None)
        watched_reader = partial(_read_source, reader=reader, watch=watch)
        with DataContext.current(_data_context(_READ_BLOCK_BYTES)):
            dataset = _read(list(enumerate(sources)), watched_reader, num_cpus=1)
        return RayFlow(dataset, _Lifetime(tries))

    def run_graph(
        self,
        needs: Mapping[str, Collection[str]],
        work: Callable[[str], None],
        step: StepConfig,
    ) -> Iterator[UnitResult]:
        """See :class:`xner.engine.flow.Engine`."""
        # Not by options: a remote function made with GPUs ends its process after each call, and so
        # frees the device's memory, which an idle process would keep from the next one. Where
        # memory runs out Ray tries again without end, so it is we who count.
        unit = ray.remote(max_retries=-1, num_cpus=step.num_cpus, num_gpus=step.num_gpus)(_run_unit)
        there = ray.put(work)
        schedule = Schedule(needs)
        running: dict[ray.ObjectRef, str] = {}
        with _counted_tries(None) as watch:
            while True:
                # Those that wait for a free place are what an autoscaling cluster grows by.
                running |= {unit.remote(name, there, watch): name for name in schedule.ready()}
                if not running:
                    break
                (done,), _ = ray.wait(list(running))
                name = running.pop(done)
                try:
                    with _own_errors():
                        seconds = ray.get(done)
                except XnerError as error:
                    yield UnitResult(name, error=error)
                else:
                    schedule.finished(name)
                    yield UnitResult(name, seconds)
        yield from schedule.left()


class RayFlow:
    """Tables as blocks of a Ray dataset; what is held lies in the object store, or spilled.

    ``counting`` lasts as long as a flow that may be read, or read again where a node is lost.
    """

    def __init__(self, dataset: Dataset, counting: _Lifetime) -> None:
        self._dataset, self._counting = dataset, counting

    def _of(self, dataset: Dataset) -> RayFlow:
        return RayFlow(dataset, self._counting)

    def map(self, function: TableFunction) -> RayFlow:
        """See :class:`xner.engine.flow.Flow`."""
        return self._of(
            self._dataset.map_batches(
                partial(_carrying, function),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=1,
            )
        )

    def partition(self, column: str, num_tables: int) -> RayFlow:
        """See :class:`xner.engine.flow.Flow`."""
        assert self._dataset.context.target_max_block_size is None, "only of what is held"
        if num_tables == 1:
            one = self._of(self._dataset.repartition(1))
            return one.map(lambda table: table.sort_by(column))
        return self._of(self._dataset.sort(column, boundaries=range_borders(num_tables)))

    def held(self, report: Callable[[int], None] | None = None) -> RayFlow:
        """See :class:`xner.engine.flow.Flow`."""
        with _own_errors():
            held = self._dataset.materialize() if report is None else self._counted(report)
        # From here on a table is one block, however large it is: Ray would cut what a range or a
        # function gives at the size that is right for reading.
        held.context.target_max_block_size = None
        return self._of(held)

    def _counted(self, report: Callable[[int], None]) -> Dataset:
        """The dataset computed, while ``report`` is told of its rows."""
        # Never killed: what a lost node held is computed again, and counted.
        counter = _beside_driver(_Counter)
        counted = self.map(partial(_counted, counter=counter))
        holding = _begun(counted._dataset.materialize)
        seen, done = 0, False
        while not done:
            done = bool(wait([holding], timeout=1).done)
            now = ray.get(counter.total.remote())
            # One that was started again begins with nothing.
            report(max(0, now - seen))
            seen = now
        return holding.result()

    def __iter__(self) -> Iterator[pa.Table]:
        # A generator, which holds this flow for as long as it is read.
        yield from _batches(self._dataset)


def _begun(work: Callable[[], T]) -> Future[T]:
    """What ``work()`` will give.

    Its thread is a daemon, and not an executor's, for which Python waits at its end: one who
    interrupts must not wait until all is read.
    """
    result = Future[T]()

    def do() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    return result


class _Counter:
    """How many rows have been seen so far, for a driver that shows it."""

    def __init__(self) -> None:
        self._rows = 0

    def add(self, num_rows: int) -> None:
        self._rows += num_rows

    def total(self) -> int:
        return self._rows


def _run_unit(name: str, work: Callable[[str], None], watch: _Watch) -> float:
    """Does one unit's work; the seconds that it took."""

    def tried() -> None:
        if watch.begin("run", name):
            raise TransientError(f"{name}: given up, for it cost {_WHAT_LOST}")
        try:
            work(name)
        finally:
            watch.end("run", name)

    started = time.perf_counter()
    _carrying(tried)
    return time.perf_counter() - started


def _counted(table: pa.Table, counter: Any) -> pa.Table:
    ray.get(counter.add.remote(table.num_rows))
    return table


def _data_context(block_bytes: int) -> DataContext:
    context = DataContext.get_current().copy()
    context.target_max_block_size = block_bytes
    context.shuffle_input_batch_bytes = _SORT_BATCH_BYTES
    # Nodes may be waited for, and a shard may take its time: engine.shard_seconds is for those
    # that hang.
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return context


class _Sources(Datasource):
    """A read task a source."""

    def __init__(self, sources: Sequence[Any], reader: Callable[[Any], Iterable[pa.Table]]) -> None:
        super().__init__()
        self._sources, self._reader = sources, reader

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        reader = self._reader
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(lambda source=source: reader(source), unknown) for source in self._sources]


def _read(
    sources: Sequence[Any],
    reader: Callable[[Any], Iterable[pa.Table]],
    num_cpus: float,
    compute: TaskPoolStrategy | None = None,
) -> Dataset:
    return ray.data.read_datasource(
        _Sources(sources, reader),
        override_num_blocks=len(sources),
        num_cpus=num_cpus,
        compute=compute,
    )


def _batches(dataset: Dataset) -> Iterator[pa.Table]:
    """The blocks that have rows, as they come.

    Ray's own iter_batches tells the dashboard every five seconds what each block so far was: the
    more shards are done, the more that costs the driver.
    """
    with _own_errors():
        for bundle in dataset.iter_internal_ref_bundles():
            for block in bundle.blocks:
                table = BlockAccessor.for_block(ray.get(block.ref)).to_arrow()
                if table.num_rows:
                    yield table


def _parcels(
    sources: Sequence[Any],
    parcel: Callable[[Any], pa.Table],
    steps: Sequence[Step],
    watch: _Watch,
) -> Dataset:
    """A parcel of each source, taken through the steps."""
    size = math.ceil(len(sources) / _MAX_READ_TASKS)
    groups = [sources[start : start + size] for start in range(0, len(sources), size)]
    dataset = _read(
        groups,
        lambda group: (_carrying(parcel, source) for source in group),
        num_cpus=_TASK_CPUS,
        compute=_tasks_at_once(steps),
    )
    for together in _joined(steps):
        if together[0].pool is None:
            dataset = dataset.map_batches(
                _run_in_task, fn_args=(together, watch), **_as_tasks(steps)
            )
        else:
            dataset = _map_in_actors(dataset, together, together[0].pool, watch)
    return dataset


def _as_tasks(steps: Sequence[Step]) -> dict[str, Any]:
    return {
        "batch_size": 1,
        "batch_format": "pyarrow",
        "num_cpus": _TASK_CPUS,
        "compute": _tasks_at_once(steps),
    }


def _tasks_at_once(steps: Sequence[Step]) -> TaskPoolStrategy | None:
    """As many readers, and as many writers, as a pool may have actors.

    Readers run ahead of the models until the object store is half full. Without an end to their
    number they take every CPU: that which writers wait for, so that what is labelled is not
    written, and that which a new node brings, so that its GPU stays idle, for Ray Data adds an
    actor only when its share of the CPUs has room for a whole one.
    """
    pools = [step.pool for step in steps if step.pool]
    return TaskPoolStrategy(max(pool.max_size for pool in pools)) if pools else None


def _joined(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps, those that run in the same actors together."""
    groups: list[list[Step]] = []
    for step in steps:
        if step.joins:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def _pool_name(steps: Sequence[Step]) -> str:
    return "+".join(step.name for step in steps)


def _map_in_actors(
    dataset: Dataset, steps: Sequence[Step], pool: PoolConfig, watch: _Watch
) -> Dataset:
    gpus = {"num_gpus": pool.num_gpus} if pool.num_gpus else {}
    return dataset.map_batches(
        # Ray shows actors under the name of their class.
        type(_pool_name(steps), (_Actor,), {}),
        fn_constructor_args=(steps, watch),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=pool.num_cpus,
        compute=ActorPoolStrategy(min_size=pool.min_size, max_size=pool.max_size),
        **gpus,
    )


@dataclass(frozen=True)
class _Watch:
    """Who counts what shards and models cost, and the seconds that a step may take for a shard."""

    tries: Any
    seconds: float | None

    def begin(self, pool: str, shard: str) -> int:
        """Take note of a try on this node; see :meth:`xner.engine.tries.Tries.begin`."""
        node = ray.get_runtime_context().get_node_id()
        return int(ray.get(self.tries.begin.remote(pool, shard, node)))

    def end(self, pool: str, shard: str) -> None:
        """Take note that it came to its end; see :meth:`xner.engine.tries.Tries.end`."""
        ray.get(self.tries.end.remote(pool, shard))


def _beside_driver(kind: type, *arguments: Any) -> Any:
    """An actor on the driver's node, which no run survives anyway."""
    node = ray.get_runtime_context().get_node_id()
    return ray.remote(
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
    )(kind).remote(*arguments)


@contextmanager
def _counted_tries(seconds: float | None) -> Iterator[_Watch]:
    tries = _beside_driver(Tries, living_nodes)
    try:
        yield _Watch(tries, seconds)
    finally:
        _end(tries)


def _end(actor: Any) -> None:
    """End an actor; what Ray Data keeps has its handle, so it would live as long as the driver."""
    if ray.is_initialized():
        ray.kill(actor)


class _Lifetime:
    """Ends an actor with the last that holds this."""

    def __init__(self, actor: Any) -> None:
        # No actor outlives the driver.
        weakref.finalize(self, _end, actor).atexit = False


class _Actor:
    """Holds the models of its steps and takes one shard after the other through them."""

    def __init__(self, steps: Sequence[Step], watch: _Watch) -> None:
        self._pool, self._watch = _pool_name(steps), watch
        self._stages = _carrying(self._loaded, steps)

    def _loaded(self, steps: Sequence[Step]) -> list[tuple[str, TableFunction]]:
        """The stages by their names.

        Where they cannot be loaded for what may be the machine's fault, the process ends: Ray
        starts it again, on another node where it can, and gives it the shards that it had. An
        exception here would end the run.
        """
        tries, node = self._watch.tries, ray.get_runtime_context().get_node_id()
        ray.get(tries.loading.remote(self._pool, node))
        try:
            stages = load_steps(steps)
        except (TransientError, OSError, MemoryError, RuntimeError):
            seconds = ray.get(tries.load_failed.remote(self._pool, node))
            if seconds is None:
                raise
            _log.exception(
                "%s: not loaded on node %s; another process tries in %.0f s",
                self._pool,
                ray.util.get_node_ip_address(),
                seconds,
            )
            time.sleep(seconds)
            os._exit(1)
        ray.get(tries.loaded.remote(self._pool, node))
        return stages

    def __call__(self, parcel: pa.Table) -> pa.Table:
        (row,) = parcel.drop_columns("table").to_pylist()
        if row["error"] is not None:
            return parcel
        shard = row["name"]
        num_given_up = self._watch.begin(self._pool, shard)
        if num_given_up:
            why = _carrying(_given_up, shard, self._pool, num_given_up)
            return _parcel(shard, pa.table({}), why)
        try:
            for name, stage in self._stages:
                parcel = _run(parcel, name, stage, self._watch.seconds)
            return parcel
        except RuntimeError as error:
            if is_of_device(error):
                where = ray.util.get_node_ip_address()
                _log.exception(
                    "%s: %s failed on node %s; its process ends", shard, self._pool, where
                )
                os._exit(1)
            raise
        finally:
            self._watch.end(self._pool, shard)


def _given_up(shard: str, pool: str, num_given_up: int) -> str:
    """What is said of the shard. Raises XnerError where there have been too many."""
    message = _what_it_cost(shard, pool)
    if num_given_up > MAX_GIVEN_UP:
        raise XnerError(f"{num_given_up} shards were given up, the last of them {message}")
    return message


def _what_it_cost(what: object, pool: str) -> str:
    return f"{what}: given up, for it cost {pool} {_WHAT_LOST}"


def _run_in_task(parcel: pa.Table, steps: Sequence[Step], watch: _Watch) -> pa.Table:
    return _Actor(steps, watch)(parcel)


def _run(parcel: pa.Table, name: str, stage: TableFunction, limit: float | None) -> pa.Table:
    (row,) = parcel.drop_columns("table").to_pylist()
    started, before = time.perf_counter(), usage_of(stage)
    table = _carrying(run_step, name, stage, row["name"], _unpacked(parcel), limit)
    seconds = time.perf_counter() - started
    count_stage(name, seconds, usage_of(stage) - before)
    row["steps"].append(name)
    row["seconds"].append(seconds)
    return _packed(table, **row)


def _read_parcel(name: str, read: Callable[[str], pa.Table], watch: _Watch) -> pa.Table:
    num_given_up = watch.begin(_READER, name)
    if num_given_up:
        return _parcel(name, pa.table({}), _given_up(name, _READER, num_given_up))
    try:
        return _parcel(name, patiently(f"{name}: reading", read, name))
    except DataError as error:
        return _parcel(name, pa.table({}), str(error))
    finally:
        watch.end(_READER, name)


def _read_source(
    numbered: tuple[int, Any], reader: Callable[[Any], Iterable[pa.Table]], watch: _Watch
) -> Iterator[pa.Table]:
    number, source = numbered
    name = str(number)

    def begin() -> None:
        if watch.begin(_READER, name):
            raise DataError(_what_it_cost(source, _READER))

    _carrying(begin)
    try:
        yield from reader(source)
    finally:
        watch.end(_READER, name)


def _parcel(name: str, table: pa.Table, error: str | None = None) -> pa.Table:
    return _packed(table, name=name, steps=[], seconds=[], error=error)


def _commit_parcel(
    parcel: pa.Table, commit: Callable[[str, pa.Table], Statistics], watch: _Watch
) -> pa.Table:
    """Commits the shard; what is left of the parcel is its statistics, as JSON."""
    (row,) = parcel.drop_columns("table").to_pylist()
    record, shard = None, row["name"]
    if row["error"] is None and (num_given_up := watch.begin(_WRITER, shard)):
        row["error"] = _carrying(_given_up, shard, _WRITER, num_given_up)
    if row["error"] is None:
        try:
            what = f"{shard}: committing"
            statistics = _carrying(patiently, what, commit, shard, _unpacked(parcel))
        finally:
            watch.end(_WRITER, shard)
        record = json.dumps(statistics.to_dict())
    fields = [_PARCEL.field(name) for name in row]
    result = pa.Table.from_pylist([row], schema=pa.schema(fields))
    return result.append_column("statistics", pa.array([record], pa.string()))


def _result(row: dict[str, Any]) -> ShardResult:
    if row["error"] is not None:
        return ShardResult(row["name"], error=DataError(row["error"]))
    statistics = Statistics.from_dict(json.loads(row["statistics"]))
    return ShardResult(
        row["name"], statistics, dict(zip(row["steps"], row["seconds"], strict=True))
    )


def _packed(table: pa.Table, **row: Any) -> pa.Table:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    content = sink.getvalue()
    borders = pa.py_buffer(np.array([0, content.size], np.int64))
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, borders, content])
    columns = [
        column if field.name == "table" else pa.array([row[field.name]], field.type)
        for field in _PARCEL
    ]
    return pa.Table.from_arrays(columns, schema=_PARCEL)


def _unpacked(parcel: pa.Table) -> pa.Table:
    return pa.ipc.open_stream(parcel["table"][0].as_buffer()).read_all()


def _carrying(work: Callable[..., T], *arguments: Any) -> T:
    """``work(*arguments)``; an error meant for the user is marked so that the driver finds it.

    What Ray keeps of an exception in a worker is its text, wrapped in others.
    """
    try:
        return work(*arguments)
    except XnerError as error:
        kinds = [kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
        kind = kinds[0].__name__
        raise RuntimeError(_MARK + json.dumps([kind, str(error)]) + _MARK) from error


@contextmanager
def _own_errors() -> Iterator[None]:
    """Let through the error that a stage raised for the user, out of Ray's wrapping."""
    try:
        yield
    except ray.exceptions.RayError as error:
        carried = re.search(f"{_MARK}(.*?){_MARK}", str(error))
        if carried is None:
            raise
        kind, message = json.loads(carried.group(1))
        raise getattr(errors, kind)(message) from None
