"""Who works on an output folder: a lease that its holder renews, so that one run does so at a time.

Two runs under one fingerprint would write the same shards, so nothing could be mixed; but they
would pay twice, and each would take the other's temporary files for those of a dead run.

The lease is a file ``_lease/N.json``. Whoever creates the next number holds the folder, and a
holder that sees a higher one has lost it (fencing, as of Gray and Cheriton's leases, 1989). So all
that is asked of a store is to create a file only if there is none of that name. Whether a holder
is gone is seen by watching: one that does not renew for the lease's length by the watcher's own
clock is dead, and no two clocks need agree (as in the leader election of Kubernetes). One that
ran in a process of this machine which is no more need not be watched.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xner.errors import TransientError, XnerError
from xner.shards.storage import Folder

FOLDER = "_lease"
SECONDS = 60.0
"""How long a lease holds without being renewed."""

_RENEWALS = 4  # In the length of a lease: some may fail.

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clock:
    """What tells the time, and passes it."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Holder:
    """The run that holds a folder.

    ``machine`` and ``started`` tell its process from every other, after a restart too, and None
    where the system does not say; ``submission``: its id as a job of Ray.
    """

    job: str
    user: str
    host: str
    pid: int
    machine: str | None
    started: int | None
    submission: str | None

    @classmethod
    def here(cls, job: str) -> Holder:
        """The run in this process."""
        pid, started = os.getpid(), None
        with contextlib.suppress(OSError):
            _, started = _state(pid)
        return cls(
            job=job,
            user=_user(),
            host=socket.gethostname(),
            pid=pid,
            machine=_machine(),
            started=started,
            submission=_submission(),
        )

    @property
    def lives(self) -> bool | None:
        """Whether its process is there; None where that cannot be told from here."""
        if self.started is None or self.machine is None or self.machine != _machine():
            return None
        try:
            state, started = _state(self.pid)
        except OSError:
            # The system may hide what others run (hidepid, in proc(5)), but not that it is there.
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
            except PermissionError:
                pass
            return None
        return state not in "ZX" and started == self.started

    def __str__(self) -> str:
        submitted = f" ({self.submission})" if self.submission else ""
        return f"{self.job} of {self.user} on {self.host}, process {self.pid}{submitted}"


@dataclass(frozen=True)
class _Found:
    """A lease as it stands in the folder; ``holder`` is None while it is being written."""

    number: int
    content: bytes
    holder: Holder | None = None
    since: str = "?"

    def __str__(self) -> str:
        return f"{self.holder or 'an unknown run'}, since {self.since}"


class Lease:
    """Holds a folder from entry to exit; see the module. Its thread renews it meanwhile."""

    def __init__(
        self, folder: Folder, job: str, seconds: float = SECONDS, clock: Clock | None = None
    ) -> None:
        self._output, self._folder = folder, folder / FOLDER
        self._holder = Holder.here(job)
        self._seconds = seconds
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._number = 0
        self._since, self._renewed = "", 0.0
        self._lost: str | None = None

    def __enter__(self) -> Lease:
        self.take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        self.release()

    def take(self) -> None:
        """Take the folder, where need be after its last holder's lease has run out.

        Raises TransientError, which names the holder, as soon as that one shows that it lives.
        """
        seen, since = None, 0.0
        while True:
            found = self._found()
            latest = found[-1] if found else None
            if latest is not None:
                if seen is None or seen.number != latest.number:
                    seen, since = latest, self._clock.monotonic()
                    is_gone = self._is_gone(latest)
                    if not is_gone:
                        _log.info(
                            "output %s: held by %s; if it is dead, this run goes on in %.0f s",
                            self._output,
                            latest,
                            self._seconds,
                        )
                elif seen.content != latest.content:
                    raise self._held(latest)
                else:
                    is_gone = self._clock.monotonic() - since >= self._seconds
                if not is_gone:
                    self._clock.sleep(min(1.0, self._seconds / 10))
                    continue
            if self._created({each.number for each in found}):
                break
        for each in found:
            self._remove(each.number)
        # What their renewals left half-written when they were killed.
        self._folder.remove_leftovers()
        if latest is not None:
            _log.info("output %s: taken over from %s", self._output, latest)

    def _is_gone(self, found: _Found) -> bool:
        """Whether it is plain at once that a holder is gone. Raises TransientError if it lives."""
        lives = found.holder.lives if found.holder is not None else None
        if lives:
            raise self._held(found)
        return lives is False

    def _held(self, found: _Found) -> TransientError:
        return TransientError(
            f"output {self._output}: held by another run: {found}. Wait for its end or stop it; "
            f"of one that dies, the lease runs out after {self._seconds:.0f} s"
        )

    def _created(self, before: set[int]) -> bool:
        """Create the lease that follows on those ``before``; False if another run was quicker."""
        number = max(before, default=0) + 1
        self._since = _text(self._clock.now())
        self._renewed = self._clock.monotonic()
        try:
            if not self._folder.create(f"{number}.json", self._record()):
                return False
        except FileNotFoundError:
            # A run that ends has removed the folder after we made it.
            return False
        if {each.number for each in self._found()} - before != {number}:
            # The one that stood there was released meanwhile, and another run began anew.
            self._remove(number)
            return False
        self._number = number
        return True

    def renew(self) -> None:
        """Renew the lease, or find that it is lost. Raises what the store raises."""
        with self._lock:
            if self._lost is not None or self._end.is_set():
                return
            started = self._clock.monotonic()
            found = self._found()
            latest = found[-1] if found else None
            if latest is None or latest.number != self._number:
                by = f"taken over by {latest}" if latest else f"{FOLDER} was removed"
                self._lost = (
                    f"output {self._output}: this run no longer holds it: {by}. What is "
                    "committed stays"
                )
                return
            self._folder.publish(f"{self._number}.json", self._record())
            self._renewed = started

    def check(self) -> None:
        """Raise TransientError when the lease is lost, or could not be renewed in time."""
        if self._clock.monotonic() - self._renewed > self._seconds:
            try:
                self.renew()
            except (OSError, XnerError) as error:
                raise TransientError(
                    f"output {self._output}: its lease could not be renewed for "
                    f"{self._seconds:.0f} s, so that another run may hold it: {error}"
                ) from error
        if self._lost is not None:
            raise TransientError(self._lost)

    def release(self) -> None:
        """Let the next run in. A store that fails is not told of: the lease runs out by itself."""
        with self._lock, contextlib.suppress(OSError, XnerError):
            if self._lost is None:
                self._remove(self._number)
                self._folder.remove_if_empty()

    def _keep(self) -> None:
        pause = self._seconds / _RENEWALS
        while not self._end.wait(pause):
            pause = self._seconds / _RENEWALS
            try:
                self.renew()
            # Whatever a store raises: the thread must go on, and check() tells the run in time.
            except Exception as error:
                _log.warning("output %s: lease not renewed: %s", self._output, error)
                pause = min(1.0, pause)

    def _record(self) -> bytes:
        now = self._clock.now()
        record = {
            "holder": asdict(self._holder),
            "since": self._since,
            "renewed": _text(now),
            "expires": _text(now + self._seconds),
        }
        return json.dumps(record, indent=2).encode()

    def _found(self) -> list[_Found]:
        """The leases that stand in the folder, by their numbers."""
        names = [name.removesuffix(".json") for name in self._folder.names(".json")]
        found = []
        # Tools that keep folders alike leave copies there, under names of their own.
        for number in sorted(int(name) for name in names if name.isdecimal()):
            with contextlib.suppress(FileNotFoundError):
                found.append(_parsed(number, self._folder.read(f"{number}.json")))
        return found

    def _remove(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._folder.remove(f"{number}.json")


def _parsed(number: int, content: bytes) -> _Found:
    try:
        record = json.loads(content)
        return _Found(number, content, Holder(**record["holder"]), record["since"])
    except (ValueError, TypeError, KeyError):
        return _Found(number, content)


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _user() -> str:
    try:
        return getpass.getuser()
    # In a container a user may have a number and no name.
    except (KeyError, OSError):
        return str(os.getuid())


def _machine() -> str | None:
    """This boot of this machine, and the space in which its process ids count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _state(pid: int) -> tuple[str, int]:
    """Of a process of this machine its state, and when it was started, in the kernel's ticks.

    See proc(5): the name, in parentheses, may hold anything; the state is the next field, and the
    start the twentieth. Raises OSError where the system does not say.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _submission() -> str | None:
    """The id under which `ray job submit` started this process."""
    config: Any = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    submission: str | None = config.get("metadata", {}).get("job_submission_id")
    return submission
