"""`ray job submit`, as the README says it, to a Ray with its token on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli_w

from xner.config import ProjectConfig
from xner.shards.storage import Folder

PROJECT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).parent / "ray"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a head's dashboard, and the environment that holds its token."""
    port = free_port()
    # Left to themselves, two Rays of a machine want the same ports, and the agent that starts jobs
    # goes without its own. A folder of pytest's has too long a name for sockets.
    temporary = tempfile.TemporaryDirectory(prefix="xner-", ignore_cleanup_errors=True)
    ports = ["port", "dashboard-agent-listen-port", "metrics-export-port", "ray-client-server-port"]
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    subprocess.run(
        [RAY, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True
    )
    head = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", "--num-cpus=3", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--dashboard-port={port}"),
            *(f"--{name}={free_port()}" for name in ports),
            f"--temp-dir={temporary.name}",
        ],
        env=environment,
        stdout=(tmp_path / "head.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api/version", timeout=5)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert head.poll() is None, (tmp_path / "head.log").read_text()
                time.sleep(0.5)
        yield address, environment
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        temporary.cleanup()


def submit(
    address: str, environment: dict[str, str], recipe: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(RAY, "job", "submit", "--address", address, "--working-dir", ".", "--"),
            *("python", "jobs/project_corpus.py", str(recipe), *options),
        ],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_submit_runs_the_main_job_on_the_cluster(
    dashboard: tuple[str, dict[str, str]],
    project_config: Callable[..., ProjectConfig],
    pairs: Path,
    tmp_path: Path,
) -> None:
    address, environment = dashboard
    config = project_config(tmp_path / "out", engine={"kind": "ray"})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))

    refused = submit(address, {**environment, "RAY_AUTH_MODE": "disabled"}, recipe)
    assert refused.returncode != 0
    assert "401" in refused.stdout + refused.stderr or "token" in refused.stdout + refused.stderr

    for _ in range(10):
        done = submit(address, environment, recipe)
        # The dashboard answers some seconds before the agent that starts jobs is there.
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pairs ok" in done.stdout
    assert "succeeded" in done.stdout
    thrown_away = submit(address, environment, recipe, "--output", "out")
    assert "output = 'out': a submitted job runs in" in thrown_away.stdout + thrown_away.stderr
    made = Folder.at(str(tmp_path / "out")).names(".parquet")
    assert made == Folder.at(str(pairs)).names(".parquet")
