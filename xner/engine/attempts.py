"""How often, and how long, work on a shard is tried: the same on every engine.

A location or a service that does not answer is asked again after about 1, 4 and 16 seconds, on top
of what the libraries below do. A step that takes longer than it may has hung, perhaps in C code
that no exception reaches, so its process ends, and says where every thread stood.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import pyarrow as pa
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from xner.engine.flow import Step, TableFunction
from xner.errors import TransientError, XnerError

_T = TypeVar("_T")

_TRANSIENT = (TransientError, TimeoutError, ConnectionError)
_ATTEMPTS = 4
_WAIT = wait_exponential(multiplier=1, exp_base=4)

# The process ends so long after it has said which shard it was, which needs Python to be running.
_LAST_WORDS_SECONDS = 1.0

# Python looks for cycles after so many new objects, and now and then through all there are, which
# beside torch are half a million. By itself it begins at 700: a shard's words and spans, which have
# no cycles, cost a sixth of what the host does beside the models.
_OBJECTS_BETWEEN_COLLECTIONS = 20_000

_log = logging.getLogger(__name__)


def patiently(what: str, work: Callable[..., _T], *arguments: Any) -> _T:
    """``work(*arguments)``, tried again where it may succeed later; ``what`` it is, for messages.

    Raises what the last try raises, a TransientError for a time-out or a lost connection.
    """

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0
        _log.warning("%s: tried again in %.0f s: %s: %s", what, pause, type(error).__name__, error)

    tried = Retrying(
        retry=retry_if_exception_type(_TRANSIENT),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=_WAIT,
        before_sleep=tell,
        reraise=True,
    )
    try:
        return tried(work, *arguments)
    except (TimeoutError, ConnectionError) as error:
        raise TransientError(f"{what}: {type(error).__name__}: {error}") from error


def load_steps(steps: Sequence[Step]) -> list[tuple[str, TableFunction]]:
    """The stages of the steps by their names, loaded patiently, in a process set up to run them."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    return [
        (step.name, patiently(f"{step.name}: loading", step.make, *step.arguments))
        for step in steps
    ]


def run_step(
    step: str, stage: TableFunction, shard: str, table: pa.Table, seconds: float | None
) -> pa.Table:
    """What a step makes of a shard's table; each try within the time limit, if there is one.

    An exception that is none of ours has a note that names the step and the shard.
    """
    what = f"{shard}: {step}"

    def run() -> pa.Table:
        with time_limit(seconds, what):
            return stage(table)

    try:
        return patiently(what, run)
    except XnerError:
        raise
    except Exception as error:
        error.add_note(f"in step {step}, on shard {shard}")
        raise


@contextmanager
def time_limit(seconds: float | None, what: str) -> Iterator[None]:
    """End this process when the block takes longer, with every thread's traceback on stderr."""
    if seconds is None:
        yield
        return
    limit = _Limit(seconds, what)
    limit.begin()
    outer = _running.set(limit)
    try:
        yield
    finally:
        _running.reset(outer)
        limit.end()


def renew_time_limit() -> None:
    """Begin the time limit of the block anew, where there is one; for work that is done again."""
    limit = _running.get()
    if limit is not None:
        limit.end()
        limit.begin()


class _Limit:
    """The end of this process, so many seconds after it begins."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._message = (
            f"{what}: takes more than {seconds:g} s (engine.shard_seconds): its process ends"
        )
        self._last_words: threading.Timer | None = None

    def begin(self) -> None:
        message = f"error: {self._message}"
        self._last_words = threading.Timer(self._seconds, lambda: print(message, file=sys.stderr))
        self._last_words.daemon = True
        self._last_words.start()
        # Its thread needs no Python, so it gets through where C code holds the interpreter's lock.
        faulthandler.dump_traceback_later(self._seconds + _LAST_WORDS_SECONDS, exit=True, file=2)

    def end(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._last_words is not None:
            self._last_words.cancel()


_running: ContextVar[_Limit | None] = ContextVar("running time limit", default=None)
