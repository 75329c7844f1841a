"""Fixtures that every test may use."""

from __future__ import annotations

import errno
import logging
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import tenacity
from hypothesis import settings

PROJECT = Path(__file__).resolve().parent.parent

# How long an example takes, other processes of the machine decide.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Two Rays that start at once on two cores need longer than Ray gives them.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
# By itself Ray lets its workers wait for whoever wants the cores: here, for the other tests.
os.environ.setdefault("RAY_worker_niceness", "0")
# A Ray of a whole session would spend minutes on a look at all its logs ten times a second, and on
# figures of its processes every five.
os.environ.setdefault("RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "0")
os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
# A worker of Ray Train waits with each checkpoint, and at the end, until its controller looks at it
# again: by itself every two seconds.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("XNER_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set XNER_DATA)")
    return folder


@pytest.fixture(scope="session")
def pseudo_row() -> Callable[..., dict[str, Any]]:
    """Makes a row of the ``pseudo`` schema: a pair with mentions and their candidates, projected.

    Columns by name replace what comes out.
    """
    from dataclasses import asdict

    from xner.config import QualityConfig
    from xner.projection.quality import project_row, to_alignments
    from xner.text.words import segment

    def row(
        pair_id: str,
        mentions: Sequence[Any] = (),
        candidates: Sequence[Sequence[Any]] = (),
        source: str = "Anna met Bob in Bonn .",
        target: str = "Anna traf Bob in Bonn .",
        quality: QualityConfig | None = None,
        **columns: Any,
    ) -> dict[str, Any]:
        rules = quality or QualityConfig()
        done = project_row(pair_id, source, target, segment(target), mentions, candidates, rules)
        return {
            "pair_id": pair_id,
            "corpus": "News",
            "source_lang": "en",
            "target_lang": "de",
            "source": source,
            "target": target,
            "source_mentions": [asdict(each) for each in mentions],
            "alignments": to_alignments(candidates),
            "mentions": [asdict(each) for each in done.mentions],
            "weight": done.weight,
            "status": done.status,
            "reason": done.reason,
            **columns,
        }

    return row


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what starts a cluster of its own, unless asked for."""
    if os.environ.get("XNER_TEST_CLUSTER"):
        return
    skipped = pytest.mark.skip(reason="a cluster of its own: set XNER_TEST_CLUSTER=1")
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(skipped)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what a test that runs a job's command line does to this process's logging."""
    names = ("", "xner", "ray", "transformers", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray on this machine that all tests share; its workers import what tests define."""
    import ray

    from xner.config import EngineConfig
    from xner.engine.distributed import connect

    connect(EngineConfig(num_cpus=4))
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are repeated as often as ever, but at once."""
    for module in ("xner.shards.remote", "xner.engine.attempts"):
        monkeypatch.setattr(f"{module}._WAIT", tenacity.wait_none())


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of this machine can be read and not written; root, who may run this, may do both."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refused)


class Faults:
    """A WSGI server's bad days: a share of the requests, drawn by a seed, ends in each way.

    ``busy``: 503 SlowDown, ``failed``: 500, ``cut``: the connection closes before an answer,
    ``lost``: the request is done, and its answer breaks off; ``slow``: it takes 50 ms longer.
    """

    _STATUS: ClassVar = {
        "busy": ("503 Slow Down", "SlowDown"),
        "failed": ("500 Internal Server Error", "InternalError"),
    }

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self.set()

    def set(
        self,
        only: Callable[[dict[str, Any]], bool] = lambda _: True,
        seed: int = 0,
        **shares: float,
    ) -> None:
        """Begin anew, with these shares of the requests for which ``only`` holds."""
        self._only, self._shares, self._random = only, shares, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.requests: list[str] = []

    @property
    def num_faults(self) -> int:
        """How many requests ended badly."""
        return self.counts.total() - self.counts["well"] - self.counts["slow"]

    def _draw(self, environ: dict[str, Any]) -> str:
        with self._lock:
            query = environ["QUERY_STRING"]
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{query}")
            point, kind = self._random.random() if self._only(environ) else 1.0, "well"
            for each, share in self._shares.items():
                if 0 <= point < share:
                    kind = each
                point -= share
            self.counts[kind] += 1
            return kind

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        kind = self._draw(environ)
        if kind in self._STATUS:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, code = self._STATUS[kind]
            content = f"<Error><Code>{code}</Code><Message>later</Message></Error>".encode()
            start(
                status, [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))]
            )
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]
        if kind == "cut":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        if kind == "slow":
            time.sleep(0.05)
        answer = self._app(environ, start)
        return self._broken_off(environ, b"".join(answer)) if kind == "lost" else answer

    @staticmethod
    def _broken_off(environ: dict[str, Any], whole: bytes) -> Iterator[bytes]:
        if len(whole) > 1:
            yield whole[: len(whole) // 2]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


@contextmanager
def _served(app: Callable[..., Iterable[bytes]]) -> Iterator[tuple[str, Faults]]:
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    faults = Faults(app)
    server = make_server("127.0.0.1", 0, faults, threaded=True)
    server.log = lambda *_: None
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", faults
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[..., Iterable[bytes]]], tuple[str, Faults]]]:
    """Serves a WSGI application for the time of the test: its URL, and the faults to be set."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(_served(app))


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[tuple[str, Faults]]:
    from moto.server import DomainDispatcherApplication, create_backend_app

    with _served(DomainDispatcherApplication(create_backend_app)) as served:
        yield served


@pytest.fixture
def s3(_s3_server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """A server that speaks S3, found by the usual variables, with an empty bucket ``bucket``."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    url, faults = _s3_server
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    # botocore waits for seconds before it repeats a request.
    monkeypatch.setattr("botocore.retryhandler.delay_exponential", lambda *_, **__: 0.01)
    faults.set()
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("bucket")
    faults.set()
    yield faults
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()
