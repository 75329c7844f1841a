from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from xner.errors import ConfigError, TransientError
from xner.shards.lease import FOLDER, Clock, Holder, Lease
from xner.shards.ledger import Run
from xner.shards.storage import Folder

SECONDS = 60.0


class Hands:
    """A clock that passes when somebody sleeps; ``each_second`` is called as it does."""

    def __init__(self, each_second: object = None) -> None:
        self.time = 1_000_000.0
        self.each_second = each_second

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, monotonic=lambda: self.time, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if callable(self.each_second):
            self.each_second()


def lease(folder: Folder, hands: Hands) -> Lease:
    return Lease(folder, "project_corpus", SECONDS, hands.clock)


def held_by(folder: Folder, holder: Holder, number: int = 1, beat: int = 0) -> None:
    """A lease in the folder as a run that we cannot look into would have written it.

    By our clock it has run out; but of the two clocks theirs may be right.
    """
    record = {
        "holder": asdict(holder),
        "since": "2026-01-01T00:00:00+00:00",
        "renewed": str(beat),
        "expires": "1969-01-01T00:00:00+00:00",
    }
    (folder / FOLDER).publish(f"{number}.json", json.dumps(record).encode())


STRANGER = replace(Holder.here("project_corpus"), host="elsewhere", machine="another boot", pid=7)


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "local":
        return Folder.at(str(tmp_path / "out"))
    return Folder.at(f"memory://lease-{tmp_path.name}")


def test_lease_is_held_and_leaves_nothing_behind(folder: Folder) -> None:
    hands = Hands()
    with lease(folder, hands) as mine:
        mine.check()
        assert len((folder / FOLDER).names(".json")) == 1
        with pytest.raises(TransientError, match="held by another run: project_corpus of"):
            lease(folder, hands).take()
    assert (folder / FOLDER).names() == []
    with lease(folder, hands):
        pass


def test_lease_of_a_living_process_here_is_refused_at_once(folder: Folder) -> None:
    hands = Hands()
    held_by(folder, Holder.here("relabel"))
    with pytest.raises(TransientError, match=r"held by another run: relabel of .* process"):
        lease(folder, hands).take()
    assert hands.time == 1_000_000.0


def test_lease_of_a_dead_process_here_is_taken_over_at_once(folder: Folder) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    held_by(folder, replace(Holder.here("relabel"), pid=dead.pid))
    hands = Hands()
    lease(folder, hands).take()
    assert hands.time == 1_000_000.0
    assert (folder / FOLDER).names(".json") == ["2.json"]


@pytest.mark.parametrize("error", [None, PermissionError])
def test_lease_of_a_process_that_the_system_hides_is_watched(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, error: type[OSError] | None
) -> None:
    hands = Hands()
    mine = lease(folder, hands)
    hidden = Holder.here("relabel")
    held_by(folder, hidden)

    def raising(error: type[OSError] | None) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr("os.kill", lambda pid, signal: raising(error))
    monkeypatch.setattr("xner.shards.lease._state", lambda pid: raising(FileNotFoundError))
    assert hidden.lives is None
    mine.take()
    assert hands.time - 1_000_000.0 >= SECONDS


def test_lease_of_a_silent_stranger_runs_out(folder: Folder) -> None:
    hands = Hands()
    held_by(folder, STRANGER)
    lease(folder, hands).take()
    assert SECONDS <= hands.time - 1_000_000.0 < SECONDS + 5
    assert (folder / FOLDER).names(".json") == ["2.json"]


def test_lease_of_a_stranger_that_renews_is_refused_when_it_does(folder: Folder) -> None:
    beats = iter(range(1, 100))

    def renew() -> None:
        if (beat := next(beats)) >= 15:
            held_by(folder, STRANGER, beat=beat)

    hands = Hands(renew)
    held_by(folder, STRANGER)
    with pytest.raises(TransientError, match="on elsewhere, process 7"):
        lease(folder, hands).take()
    assert 14 <= hands.time - 1_000_000.0 < SECONDS / 2


def test_lease_that_was_taken_over_is_told_of(folder: Folder) -> None:
    hands = Hands()
    mine = lease(folder, hands)
    mine.take()
    mine.check()
    held_by(folder, STRANGER, number=2)
    hands.time += SECONDS + 1
    with pytest.raises(TransientError, match=r"no longer holds it: taken over by .*elsewhere"):
        mine.check()
    mine.release()
    assert (folder / FOLDER).names(".json") == ["1.json", "2.json"]


def test_lease_that_cannot_be_renewed_stops_the_run(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands()
    mine = lease(folder, hands)
    mine.take()

    def broken(self: Folder, name: str, content: bytes) -> None:
        raise OSError("the network is down")

    monkeypatch.setattr(Folder, "publish", broken)
    hands.time += SECONDS / 2
    mine.check()
    hands.time += SECONDS
    with pytest.raises(TransientError, match=r"could not be renewed for 60 s.*network is down"):
        mine.check()


def test_lease_that_nobody_can_read_counts_as_held(folder: Folder) -> None:
    hands = Hands()
    (folder / FOLDER).publish("3.json", b"{")
    lease(folder, hands).take()
    assert hands.time - 1_000_000.0 >= SECONDS
    assert (folder / FOLDER).names(".json") == ["4.json"]


def test_lease_leaves_nothing_of_a_renewal_that_was_killed(folder: Folder) -> None:
    held_by(folder, STRANGER)
    (folder / FOLDER).create("_tmp-0-1.json", b"{")
    with lease(folder, Hands()):
        pass
    left = folder.filesystem.find((folder / FOLDER).path(""))
    assert left == []


def test_lease_ignores_files_that_are_none(folder: Folder) -> None:
    (folder / FOLDER).publish("1 (conflicted copy).json", b"{}")
    hands = Hands()
    with lease(folder, hands) as mine:
        mine.check()
    assert hands.time == 1_000_000.0


HOLD = """
import sys
from xner.shards.ledger import Run
from xner.shards.storage import Folder

with Run(Folder.at(sys.argv[1]), "test", {}).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lease_between_real_processes(tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    run = Run(Folder.at(str(output)), "test", {})
    with pytest.raises(TransientError, match=f"process {first.pid}"), run.held():
        pass
    first.kill()
    first.wait()
    with run.held() as mine:
        mine.check()
    assert sorted(path.name for path in output.iterdir()) == ["run.json"]


def test_lease_one_of_many_at_once_gets_it(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    with ThreadPoolExecutor(4) as threads:
        for number in range(200):
            barrier = threading.Barrier(4)

            def create(name: str, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                return folder.create(name, b"mine")

            assert sum(threads.map(create, [f"{number}.json"] * 4)) == 1


def test_lease_a_stranger_s_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").write_bytes(b"somebody's")
    with (
        pytest.raises(ConfigError, match="not an output of this job"),
        Run(Folder.at(str(tmp_path)), "test", {}).held(),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]
