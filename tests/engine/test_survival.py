"""What a run survives, on both engines, with toy stages that fail, hang, crash and cannot load."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ray._private import auto_init_hook
from ray._private.state import actors
from ray.data import DataContext

from xner.config import EngineConfig, PoolConfig
from xner.engine.choose import engine_for
from xner.engine.distributed import _connect, _given_up
from xner.engine.flow import Engine, ShardResult, Step, TableFunction
from xner.engine.poison import guarded
from xner.engine.tries import MAX_GIVEN_UP
from xner.errors import ConfigError, DataError, TransientError, XnerError
from xner.shards.statistics import Statistics

POOL = PoolConfig(num_cpus=0.5)


@pytest.fixture(params=["inline", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("local_ray")
    return engine_for(EngineConfig(kind=request.param))


class Once:
    """Is false the first time that it is asked about a name, by whichever process, then true."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> bool:
        before = (self._folder / name).exists()
        (self._folder / name).touch()
        return before


def read(name: str) -> pa.Table:
    return pa.table({"x": list(range(int(name)))})


def commit(name: str, table: pa.Table) -> Statistics:
    return Statistics(rows=table.num_rows, status={"ok": table.num_rows})


def rows_of(results: list[ShardResult]) -> dict[str, int | None]:
    return {each.name: None if each.error else each.statistics.rows for each in results}


def test_survival_of_what_does_not_answer_for_a_moment(engine: Engine, tmp_path: Path) -> None:
    once = Once(tmp_path)

    def reading(name: str) -> pa.Table:
        if not once("read"):
            raise TransientError("busy")
        return read(name)

    def committing(name: str, table: pa.Table) -> Statistics:
        if not once("commit"):
            raise ConnectionResetError
        return commit(name, table)

    class Asking:
        def __init__(self) -> None:
            if not once("load"):
                raise TimeoutError

        def __call__(self, table: pa.Table) -> pa.Table:
            if not once("step"):
                raise ConnectionRefusedError
            return table

    steps = [Step("ask", Asking, (), POOL)]
    found = rows_of(list(engine.run_shards(["1", "2"], reading, steps, committing)))
    assert found == {"1": 1, "2": 2}
    assert {path.name for path in tmp_path.iterdir()} == {"read", "commit", "load", "step"}


def test_survival_of_a_step_that_does_not_answer_for_a_moment_about_tables(tmp_path: Path) -> None:
    once = Once(tmp_path)

    def loaded() -> TableFunction:
        if not once("load"):
            raise TimeoutError
        return asked

    def asked(table: pa.Table) -> pa.Table:
        if not once("step"):
            raise ConnectionRefusedError
        return table

    tables = [read("1"), read("2")]
    inline = engine_for(EngineConfig(kind="inline"))
    assert list(inline.run_tables(tables, [Step("ask", loaded)])) == tables
    assert {path.name for path in tmp_path.iterdir()} == {"load", "step"}


@pytest.mark.parametrize("error", [TransientError, TimeoutError, ConnectionError])
def test_survival_ends_where_nothing_answers(error: type[Exception]) -> None:
    calls = []

    def ask(table: pa.Table) -> pa.Table:
        calls.append(table.num_rows)
        raise error("nobody there")

    with pytest.raises(TransientError, match="nobody there"):
        list(
            engine_for(EngineConfig(kind="inline")).run_shards(
                ["1"], read, [Step("ask", lambda: ask)], commit
            )
        )
    assert len(calls) == 4


def test_survival_names_the_shard_and_the_step_of_a_bug(engine: Engine) -> None:
    def wrong(table: pa.Table) -> pa.Table:
        raise KeyError("nonsense")

    with pytest.raises(Exception, match="nonsense") as raised:
        list(engine.run_shards(["7"], read, [Step("err", lambda: wrong, (), POOL)], commit))
    told = str(raised.value) + "".join(getattr(raised.value, "__notes__", []))
    assert "in step err, on shard 7" in told


def test_survival_of_a_ray_that_starts_late(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [Exception("The current node timed out during startup. This could ...")] * 2
    started = []

    def start(**options: Any) -> None:
        started.append(options["num_cpus"])
        if errors:
            raise errors.pop()

    monkeypatch.setattr("ray.init", start)
    monkeypatch.setattr(auto_init_hook, "enable_auto_connect", True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _connect(EngineConfig(num_cpus=3), [])
    assert started == [3, 3, 3]
    # And nobody else starts one.
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    auto_init_hook.auto_init_ray()
    assert len(started) == 3
    # A container's limit, on a machine that has more.
    monkeypatch.setattr("ray._private.utils._get_docker_cpus", lambda: 5)
    _connect(EngineConfig(), [])
    assert started[3:] == [5]
    errors = [ValueError("no such option")]
    with pytest.raises(ValueError, match="no such option"):
        _connect(EngineConfig(num_cpus=3), [])
    assert len(started) == 5


@pytest.mark.parametrize("num_cpus", [0.5, 0.9, 1.0, 1.95])
def test_survival_of_pools_that_reserve_parts_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, num_cpus: float
) -> None:
    started = []
    monkeypatch.setattr("ray.init", lambda **options: started.append(options["num_cpus"]))
    monkeypatch.setattr(auto_init_hook, "enable_auto_connect", True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _connect(EngineConfig(num_cpus=1), [PoolConfig(min_size=2, max_size=2, num_cpus=num_cpus)])
    # With less than this over, what reads would wait for ever.
    assert started[0] - 2 * num_cpus >= 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "nonsense"])
def test_survival_names_the_setting_of_an_address_that_is_none(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "1")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")
    with pytest.raises(ConfigError, match=f"^engine.address: no Ray cluster at {address}: "):
        _connect(EngineConfig(address=address), [])
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"^RAY_ADDRESS: no Ray cluster at {address}: "):
        _connect(EngineConfig(), [])


class Refused:
    def __init__(self) -> None:
        raise ConfigError("teacher.model: no such model")


def test_survival_tells_at_once_of_settings_that_cannot_be(engine: Engine) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"^teacher\.model: no such model$"):
        list(engine.run_shards(["1"], read, [Step("refused", Refused, (), POOL)], commit))
    # At once, and not after as many restarts as Ray gives an actor.
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_survival_of_processes_that_die(local_ray: None, tmp_path: Path) -> None:
    """A model that is loaded at the second go, and shards that kill: one once, one always.

    The one has a process that crashes, the other one that hangs in C code.
    """
    once = Once(tmp_path)

    class Deadly:
        def __init__(self) -> None:
            if not once("load"):
                raise RuntimeError("CUDA error: device unavailable")

        def __call__(self, table: pa.Table) -> pa.Table:
            if table.num_rows == 3 and not once("crash"):
                os._exit(1)
            if table.num_rows == 4:
                # Holds the interpreter's lock for longer than the sun will shine.
                re.match(r"(a+)+$", "a" * 60 + "b")
            return table

    engine = engine_for(EngineConfig(shard_seconds=1))
    steps = [Step("deadly", Deadly, (), PoolConfig(num_cpus=0.5, max_size=2))]
    results = list(engine.run_shards(["1", "2", "3", "4"], read, steps, commit))
    assert rows_of(results) == {"1": 1, "2": 2, "3": 3, "4": None}
    (error,) = (str(result.error) for result in results if result.error)
    assert error.startswith("4: given up, for it cost deadly its process 3 times")


def test_survival_of_a_step_that_takes_its_time(
    local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataContext.get_current(), "execution_no_progress_timeout_s", 1)

    def slow(table: pa.Table) -> pa.Table:
        time.sleep(3)
        return table

    steps = [Step("slow", lambda: slow, (), POOL)]
    assert rows_of(list(engine_for(EngineConfig()).run_shards(["1"], read, steps, commit)))


class AcceleratorError(RuntimeError):
    """As torch calls it."""


class OutOfMemoryError(RuntimeError):
    """As torch calls it, of one row."""


@pytest.mark.parametrize("error", [AcceleratorError, OutOfMemoryError])
def test_survival_of_a_device_that_fails(
    local_ray: None, tmp_path: Path, error: type[RuntimeError]
) -> None:
    once = Once(tmp_path)

    class Failing:
        def __init__(self) -> None:
            self._has_failed = False

        def __call__(self, table: pa.Table) -> pa.Table:
            # What torch raises once, it raises in every later call of the process.
            self._has_failed = self._has_failed or not once("step")
            if self._has_failed:
                raise error("CUDA error: unspecified launch failure")
            return table

    steps = [guarded(Step("fail", Failing, (), POOL))]
    results = list(engine_for(EngineConfig()).run_shards(["1", "20"], read, steps, commit))
    assert rows_of(results) == {"1": 1, "20": 20}


@pytest.mark.slow
def test_survival_ends_where_no_process_can_load_a_model(local_ray: None) -> None:
    class Broken:
        def __init__(self) -> None:
            raise OSError("no space left on device")

    engine = engine_for(EngineConfig())
    with pytest.raises(Exception, match="no space left on device"):
        list(engine.run_shards(["1"], read, [Step("broken", Broken, (), POOL)], commit))


def test_survival_gives_up_some_shards_but_not_all() -> None:
    assert "en-de/0.parquet: given up" in _given_up("en-de/0.parquet", "label", MAX_GIVEN_UP)
    with pytest.raises(XnerError, match=r"4 shards were given up, .* en-de/0\.parquet"):
        _given_up("en-de/0.parquet", "label", MAX_GIVEN_UP + 1)


def test_survival_is_counted_for_as_long_as_a_run_lasts(local_ray: None) -> None:
    engine = engine_for(EngineConfig())
    steps = [Step("nothing", lambda: lambda table: table)]
    list(engine.run_tables([read("1")], steps))
    results = engine.run_shards(["1", "2"], read, steps, commit)
    next(iter(results))
    # A run that is left in the middle.
    del results
    assert alive("Tries", 0) == []


def test_survival_is_counted_for_as_long_as_a_flow_lasts(local_ray: None) -> None:
    assert alive("Tries", 0) == []
    held = engine_for(EngineConfig()).read(["1"], lambda name: [read(name)]).held()
    assert len(alive("Tries", 1)) == 1
    assert len(list(held.partition("x", 1))) == 1
    del held
    assert alive("Tries", 0) == []


def counters() -> list[dict[str, Any]]:
    found = actors().values()
    return [each for each in found if each["ActorClassName"] == "_Counter"]


def alive(kind: str, num: int) -> list[dict[str, Any]]:
    """The actors of a class once there are so many, or after ten seconds: their ends take time."""
    for _ in range(100):
        found = actors(actor_state_name="ALIVE").values()
        left = [each for each in found if each["ActorClassName"] == kind]
        if len(left) == num:
            break
        time.sleep(0.1)
    return left


def test_survival_of_who_counts_what_is_read(local_ray: None, tmp_path: Path) -> None:
    lost, reported = tmp_path / "lost", list[int]()
    # Those of earlier tests may not have ended yet.
    before = {each["ActorID"] for each in counters()}

    def reader(source: int) -> Iterator[pa.Table]:
        # One is counted before the counter is lost, the others after.
        while source and not lost.exists():
            time.sleep(0.05)
        yield read("3")

    def report(num_rows: int) -> None:
        reported.append(num_rows)
        if num_rows and not lost.exists():
            try:
                (counter,) = (each for each in counters() if each["ActorID"] not in before)
                os.kill(counter["Pid"], signal.SIGKILL)
            finally:
                # Or the readers would wait, and hold what later tests want.
                lost.touch()

    held = engine_for(EngineConfig()).read(range(3), reader).held(report)
    assert sum(table.num_rows for table in held) == 9
    assert lost.exists() and min(reported) >= 0


def test_survival_one_who_interrupts_waits_for_no_thread(local_ray: None, tmp_path: Path) -> None:
    stop, before = tmp_path / "stop", set(threading.enumerate())

    def reader(source: int) -> Iterator[pa.Table]:
        yield read("3")
        while not stop.exists():
            time.sleep(0.05)

    def interrupt(num_rows: int) -> None:
        raise KeyboardInterrupt

    flow = engine_for(EngineConfig()).read([0], reader)
    with pytest.raises(KeyboardInterrupt):
        flow.held(interrupt)
    # Python waits at its end for all but daemons.
    left = [each for each in set(threading.enumerate()) - before if not each.daemon]
    stop.touch()
    assert not left


def test_survival_nobody_counts_what_is_not_shown(local_ray: None) -> None:
    before = len(counters())
    flow = engine_for(EngineConfig()).read(["1", "2"], lambda source: iter([read(source)]))
    assert sum(table.num_rows for table in flow.held()) == 3
    assert len(counters()) == before


HANGING = """
import re, time
import pyarrow as pa
from xner.config import EngineConfig
from xner.engine.choose import engine_for
from xner.engine.flow import Step
from xner.shards.statistics import Statistics
def commit(name, table):
    print("committed", name, flush=True)
    return Statistics()
def hang(table):
    if table.num_rows:
        {hang}
    return table
engine = engine_for(EngineConfig(kind="inline", shard_seconds=0.5))
read = lambda name: pa.table({{"x": list(range(int(name)))}})
list(engine.run_shards(["0", "1"], read, [Step("hang", lambda: hang)], commit))
"""


@pytest.mark.parametrize(
    ("hang", "says_which"),
    [("time.sleep(100)", True), ('re.match(r"(a+)+$", "a" * 60 + "b")', False)],
    ids=["waits", "holds the lock"],
)
def test_survival_inline_ends_a_process_that_hangs(hang: str, says_which: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING.format(hang=hang)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.split() == ["committed", "0"]
    assert "in hang" in done.stderr
    assert ("error: 1: hang: takes more than 0.5 s" in done.stderr) == says_which


SEARCHING = """
import time
import pyarrow as pa
from xner.config import EngineConfig
from xner.engine.choose import engine_for
from xner.engine.flow import Step
from xner.engine.poison import guarded
from xner.shards.statistics import Statistics
calls = []
def slow(table):
    calls.append(table.num_rows)
    time.sleep(100 if len(calls) == {hanging_call} else 0.5)
    if "3" in table["pair_id"].to_pylist():
        raise KeyError(3)
    return table
def commit(name, table):
    print("committed", table["error"].null_count, flush=True)
    return Statistics()
engine = engine_for(EngineConfig(kind="inline", shard_seconds=1))
read = lambda name: pa.table({{"pair_id": [str(number) for number in range(8)]}})
list(engine.run_shards(["0"], read, [guarded(Step("slow", lambda: slow))], commit))
"""


@pytest.mark.parametrize(("hanging_call", "survives"), [(0, True), (3, False)])
def test_survival_inline_limits_each_call_of_a_search_for_bad_rows(
    hanging_call: int, survives: bool
) -> None:
    script = SEARCHING.format(hanging_call=hanging_call)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == (0 if survives else 1), done.stderr
    assert done.stdout == ("committed 7\n" if survives else "")
    assert ("error: 0: slow: takes more than 1 s" in done.stderr) != survives


def test_survival_of_files_that_kill_who_reads_or_writes_them(local_ray: None) -> None:
    def reading(name: str) -> pa.Table:
        if name == "2":
            os._exit(1)
        return read(name)

    def committing(name: str, table: pa.Table) -> Statistics:
        if name == "3":
            os._exit(1)
        return commit(name, table)

    results = engine_for(EngineConfig()).run_shards(["1", "2", "3"], reading, [], committing)
    found = {each.name: str(each.error) for each in results if each.error}
    assert found.keys() == {"2", "3"}
    assert found["2"].startswith("2: given up, for it cost the reader its process 3 times")
    assert found["3"].startswith("3: given up, for it cost the writer its process 3 times")


def test_survival_of_archives_that_kill_who_reads_them_is_none(local_ray: None) -> None:
    def reading(source: str) -> Iterator[pa.Table]:
        yield read(source)
        if source == "2":
            os._exit(1)

    flow = engine_for(EngineConfig()).read(["1", "2"], reading)
    with pytest.raises(DataError, match="2: given up, for it cost the reader its process 3 times"):
        flow.held()


def test_survival_of_a_table_that_kills_is_none(local_ray: None) -> None:
    def crash(table: pa.Table) -> pa.Table:
        os._exit(1)

    steps = [Step("crash", lambda: crash, (), POOL)]
    with pytest.raises(DataError, match="table 0: given up, for it cost crash its process 3 times"):
        list(engine_for(EngineConfig()).run_tables([read("1")], steps))
