"""The same recipes on both engines, with toy stages: what an engine promises, it keeps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.data._internal.block_batching import iter_batches
from ray.data._internal.stats import _StatsManager

from xner.config import EngineConfig, PoolConfig
from xner.engine.choose import engine_for
from xner.engine.flow import Engine, Step
from xner.errors import ConfigError, DataError
from xner.shards.statistics import Statistics


@pytest.fixture(params=["inline", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("local_ray")
    return engine_for(EngineConfig(kind=request.param))


def read_toy(name: str) -> pa.Table:
    if name == "broken":
        raise DataError("broken: not a readable Parquet shard")
    return pa.table({"x": pa.array(range(int(name)), pa.int64())})


class Add:
    def __init__(self, amount: int) -> None:
        self._amount = amount

    def __call__(self, table: pa.Table) -> pa.Table:
        values = table["x"].to_numpy() + self._amount
        process = pa.array([os.getpid()] * len(values), pa.int64())
        return pa.table({"x": values, "process": process})


class Sign:
    def __call__(self, table: pa.Table) -> pa.Table:
        return pa.table({"x": [*table["x"].to_pylist(), os.getpid()]})


def meet_in(folder: Path, number: int) -> int:
    """This process, after so many have come here."""
    (folder / str(os.getpid())).touch()
    while len(os.listdir(folder)) < number:
        time.sleep(0.05)
    return os.getpid()


class Sleep:
    def __call__(self, table: pa.Table) -> pa.Table:
        time.sleep(0.1)
        return table


class Refuse:
    def __call__(self, table: pa.Table) -> pa.Table:
        raise ConfigError("teacher.model: this will not do")


class Commit:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, table: pa.Table) -> Statistics:
        (self._folder / name).write_text(" ".join(map(str, table["x"].to_pylist())))
        return Statistics(rows=table.num_rows, status={"ok": table.num_rows})


STEPS = [
    Step("first", Add, (1,), PoolConfig(max_size=2, num_cpus=0.5)),
    Step("second", Add, (10,), PoolConfig(num_cpus=0.5)),
    Step("third", Add, (100,)),
]


def test_engines_take_every_shard_through_every_step(engine: Engine, tmp_path: Path) -> None:
    names = ["3", "1", "0", "7", "2"]
    results = list(engine.run_shards(names, read_toy, STEPS, Commit(tmp_path)))
    assert sorted(result.name for result in results) == sorted(names)
    for result in results:
        assert result.statistics == Statistics(
            rows=int(result.name), status={"ok": int(result.name)}
        )
        assert list(result.seconds) == ["first", "second", "third"]
        expected = " ".join(str(i + 111) for i in range(int(result.name)))
        assert (tmp_path / result.name).read_text() == expected


def test_distributed_processes_of_tasks_wait_for_more(local_ray: None, tmp_path: Path) -> None:
    """Also those beyond one a CPU, which Ray by itself would end after a second."""
    meet = ray.remote(num_cpus=0.5)(meet_in)
    processes = ray.get([meet.remote(tmp_path, 8) for _ in range(8)])
    time.sleep(4)
    for process in processes:
        os.kill(process, 0)


@pytest.mark.parametrize("joins", [True, False])
def test_distributed_joined_steps_share_their_actors(
    local_ray: None, tmp_path: Path, joins: bool
) -> None:
    pool = PoolConfig(num_cpus=0.5)
    steps = [Step("first", Sign, (), pool), Step("second", Sign, (), pool, joins=joins)]
    (result,) = engine_for(EngineConfig()).run_shards(["0"], read_toy, steps, Commit(tmp_path))
    assert list(result.seconds) == ["first", "second"]
    assert len(set((tmp_path / "0").read_text().split())) == (1 if joins else 2)


def test_engines_report_a_broken_shard_and_go_on(engine: Engine, tmp_path: Path) -> None:
    results = list(engine.run_shards(["1", "broken", "2"], read_toy, STEPS, Commit(tmp_path)))
    errors = {result.name: str(result.error) for result in results if result.error}
    assert errors == {"broken": "broken: not a readable Parquet shard"}
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


def test_engines_without_shards_do_nothing(engine: Engine, tmp_path: Path) -> None:
    assert list(engine.run_shards([], read_toy, STEPS, Commit(tmp_path))) == []


def test_engines_pass_a_stages_own_error_on(engine: Engine, tmp_path: Path) -> None:
    steps = [Step("refuse", Refuse)]
    with pytest.raises(ConfigError, match=r"^teacher\.model: this will not do$"):
        list(engine.run_shards(["1"], read_toy, steps, Commit(tmp_path)))


def test_engines_take_tables_through_every_step(engine: Engine) -> None:
    tables = [read_toy(name) for name in ("3", "0", "2")]
    found = [table["x"].to_pylist() for table in engine.run_tables(tables, STEPS)]
    assert sorted(found) == [[], [111, 112], [111, 112, 113]]
    assert list(engine.run_tables([], STEPS)) == []
    with pytest.raises(ConfigError, match=r"^teacher\.model: this will not do$"):
        list(engine.run_tables(tables, [Step("refuse", Refuse)]))


def numbers(source: int) -> Iterator[pa.Table]:
    generator = np.random.default_rng(source)
    for _ in range(3):
        values = generator.integers(-(2**63), 2**63, 500, dtype=np.int64)
        yield pa.table({"x": values, "source": pa.array([source] * 500, pa.int16())})


def only_even(table: pa.Table) -> pa.Table:
    return table.filter(pa.array(table["x"].to_numpy() % 2 == 0))


@pytest.mark.parametrize("num_tables", [1, 7])
def test_engines_partition_by_equal_ranges(
    engine: Engine, num_tables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A range is larger than what is read at once.
    monkeypatch.setattr("xner.engine.distributed._READ_BLOCK_BYTES", 2000)
    expected = np.concatenate([t["x"].to_numpy() for source in range(4) for t in numbers(source)])
    expected = np.sort(expected[expected % 2 == 0])
    reported: list[int] = []
    flow = engine.read(range(4), numbers).held(reported.append)
    parts = flow.map(only_even).partition("x", num_tables)
    tables = list(parts.held().map(lambda table: table))
    assert sum(reported) == 4 * 3 * 500
    found = [table["x"].to_numpy() for table in tables if table.num_rows]
    assert len(found) == num_tables
    assert (np.concatenate(sorted(found, key=lambda part: part[0])) == expected).all()
    for part in found:
        ranges = (part.astype(np.float64) + 2.0**63) * num_tables // 2.0**64
        assert len(set(ranges.tolist())) == 1
    # What is held can be read again.
    assert sum(table.num_rows for table in flow) == 4 * 3 * 500


def test_distributed_actors_hold_their_stage(local_ray: None, tmp_path: Path) -> None:
    class Slow:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, table: pa.Table) -> pa.Table:
            self.calls += 1
            time.sleep(0.05)
            return table.append_column("calls", pa.array([self.calls] * len(table), pa.int64()))

    seen = {}

    class Remember:
        def __call__(self, name: str, table: pa.Table) -> Statistics:
            (tmp_path / name).write_text(str(table["calls"].to_pylist()[0]))
            return Statistics(rows=1)

    steps = [Step("slow", Slow, (), PoolConfig(num_cpus=0.5))]
    names = [str(i) for i in range(1, 9)]
    for result in engine_for(EngineConfig()).run_shards(names, read_toy, steps, Remember()):
        seen[result.name] = int((tmp_path / result.name).read_text())
    assert sorted(seen.values()) == list(range(1, 9))


class Arrive:
    """One of ``expected`` actors, that works when all of them have come."""

    def __init__(self, folder: Path, expected: int) -> None:
        self._folder, self._expected = folder, expected
        (folder / str(os.getpid())).touch()

    def __call__(self, table: pa.Table) -> pa.Table:
        wait_for_actors(self._folder, self._expected)
        return table


def wait_for_actors(folder: Path, expected: int) -> None:
    until = time.monotonic() + 120
    while len(os.listdir(folder)) < expected:
        if time.monotonic() > until:
            raise ConfigError(f"{len(os.listdir(folder))} actors, and not {expected}")
        time.sleep(0.05)


def test_distributed_pool_grows_though_readers_would_take_every_cpu(
    local_ray: None, tmp_path: Path
) -> None:
    actors, shards = tmp_path / "actors", tmp_path / "shards"
    actors.mkdir()
    shards.mkdir()

    def read(name: str) -> pa.Table:
        if int(name) > 3:
            wait_for_actors(actors, 2)
        return read_toy(name)

    # Of the four CPUs the readers find more than half free, until the second actor has come.
    steps = [Step("arrive", Arrive, (actors, 2), PoolConfig(max_size=2, num_cpus=1.25))]
    names = [str(number) for number in range(20)]
    results = list(engine_for(EngineConfig()).run_shards(names, read, steps, Commit(shards)))
    assert sorted(result.name for result in results) == sorted(names)
    # More, where Ray has put another one in the place of one.
    assert len(os.listdir(actors)) >= 2


MORE_THAN_THE_STORE = """
import logging
import pyarrow as pa
import ray
from ray._private.internal_api import memory_summary
from xner.config import EngineConfig
from xner.engine.choose import engine_for

ray.init(
    address="local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False,
    _node_ip_address="127.0.0.1", logging_level=logging.ERROR,
)

def read(number):
    yield pa.table({"x": pa.array([number] * 2**20, pa.int64()), "filler": [b"." * 12] * 2**20})

held = engine_for(EngineConfig()).read(range(12), read).held()
counts = pa.concat_tables(table.select(["x"]) for table in held)["x"].value_counts().to_pylist()
assert sorted((each["values"], each["counts"]) for each in counts) == [
    (number, 2**20) for number in range(12)
]
print(memory_summary(ray.get_runtime_context().gcs_address, stats_only=True))
"""


@pytest.mark.slow
def test_distributed_holds_more_than_the_object_store() -> None:
    """In a process of its own, whose Ray has a store for a third of what is held."""
    done = subprocess.run(
        [sys.executable, "-c", MORE_THAN_THE_STORE], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Spilled [1-9]\d+ MiB", done.stdout), done.stdout


class CountThreads:
    def __call__(self, table: pa.Table) -> pa.Table:
        # Here, for every process that runs a step imports this module.
        import torch

        from xner.models.hmm import num_threads

        return pa.table({"x": [num_threads(), torch.get_num_threads()]})


def test_distributed_actors_have_as_many_threads_as_cpus(local_ray: None, tmp_path: Path) -> None:
    steps = [Step("count", CountThreads, (), PoolConfig(num_cpus=2))]
    list(engine_for(EngineConfig()).run_shards(["1"], read_toy, steps, Commit(tmp_path)))
    # Ray leaves alone what the user has set.
    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    found = list(map(int, (tmp_path / "1").read_text().split()))
    assert found == [threads, min(threads, os.cpu_count() or 1)]


def test_distributed_reads_many_shards_in_few_tasks(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xner.engine.distributed._MAX_READ_TASKS", 3)
    names = [*map(str, range(6)), "broken", "7"]
    results = list(engine_for(EngineConfig()).run_shards(names, read_toy, STEPS, Commit(tmp_path)))
    # A parcel each, though three of them came out of one task.
    assert sorted(result.name for result in results) == sorted(names)
    assert [result.name for result in results if result.error] == ["broken"]
    for result in results:
        if result.error is None:
            assert result.statistics.rows == int(result.name)
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2", "3", "4", "5", "7"]


def test_distributed_driver_sends_nothing_that_grows_with_the_shards(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(iter_batches.BatchIterator, "UPDATE_METRICS_INTERVAL_S", 0)
    # It pickles what each block so far was.
    monkeypatch.setattr(_StatsManager, "update_iteration_metrics", lambda *it: told.append(it))
    results = list(
        engine_for(EngineConfig()).run_shards(["1", "2"], read_toy, [], Commit(tmp_path))
    )
    assert len(results) == 2
    assert told == []


def test_distributed_run_that_is_left_begins_no_more_shards(
    local_ray: None, tmp_path: Path
) -> None:
    names = [f"{number:03}" for number in range(200)]
    steps = [Step("slow", Sleep)]
    with closing(
        engine_for(EngineConfig()).run_shards(names, read_toy, steps, Commit(tmp_path))
    ) as run:
        next(run)
    time.sleep(2)
    num_done = len(os.listdir(tmp_path))
    time.sleep(2)
    assert len(os.listdir(tmp_path)) == num_done < 200
