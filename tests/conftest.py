"""Fixtures that every test may use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("XNER_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set XNER_DATA)")
    return folder


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
