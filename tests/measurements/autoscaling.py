"""A pool of GPU nodes that grows from nothing with the queue and is gone again when idle.

Ray's autoscaler (v2, the one of KubeRay) and its own provider of made-up machines: each node that
it launches is a real raylet on this machine with a GPU that is only a number. The run's stages
sleep. What is printed, and written as `sizes.json` into the output folder, is the log of sizes that
a labelling job keeps in its `summary.json`, gone on with until the nodes are gone.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FakeMultiNodeProvider,
)

from xner.config import EngineConfig, PoolConfig
from xner.engine.distributed import RayEngine
from xner.engine.flow import ClusterSize, Step
from xner.engine.sizes import cluster_size, watched
from xner.report.terminal import print_summary
from xner.shards.statistics import Statistics

_MAX_NODES = 2
_LEAVE_SECONDS = 180
_COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--shards", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a shard takes in a step")
    parser.add_argument("--idle-seconds", type=float, default=10.0, help="until an idle node goes")
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.address is None:
        # The driver is a process of its own: Ray reads the token's settings when it is imported.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        with autoscaling_head(options.idle_seconds) as address:
            command = [sys.executable, __file__, *sys.argv[1:], "--address", address]
            sys.exit(subprocess.run(command).returncode)
    sizes = [asdict(size) for size in measure(options.address, options.shards, options.seconds)]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "sizes.json").write_text(json.dumps(sizes, indent=1))
    actors = [{f"actors of {step}": n for step, n in size.pop("actors").items()} for size in sizes]
    print_summary("sizes over time", [{**a, **b} for a, b in zip(sizes, actors, strict=True)])


def measure(address: str, num_shards: int, seconds: float) -> list[ClusterSize]:
    """The sizes during a run, and after it until no GPU node is left, three minutes at most."""
    pools = [PoolConfig(max_size=_MAX_NODES, num_cpus=1, num_gpus=1), PoolConfig(num_cpus=0.5)]
    engine = RayEngine(EngineConfig(address=address), pools)
    steps = [
        Step("label", Sleep, (seconds,), pools[0]),
        Step("align", Sleep, (seconds / 10,), pools[1]),
    ]
    sizes: list[ClusterSize] = []
    started = time.monotonic()
    names = [f"{number}.parquet" for number in range(num_shards)]
    results = list(engine.run_shards(names, read, steps, commit, sizes.append))
    assert sorted(result.name for result in results) == sorted(names)
    ran = time.monotonic() - started
    after: list[ClusterSize] = []
    with watched(["label", "align"], after.append):
        while cluster_size([]).gpus and time.monotonic() - started < ran + _LEAVE_SECONDS:
            time.sleep(0.5)
    # The watch looks every other second, and may have missed the last change.
    after.append(cluster_size(["label", "align"], time.monotonic() - started - ran))
    ray.shutdown()
    return sizes + [replace(size, seconds=ran + size.seconds) for size in after[1:]]


class Sleep:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, table: pa.Table) -> pa.Table:
        time.sleep(self._seconds)
        return table


def read(name: str) -> pa.Table:
    return pa.table({"x": [1]})


def commit(name: str, table: pa.Table) -> Statistics:
    return Statistics(rows=1, status={"ok": 1})


class MadeUpNodes(FakeMultiNodeProvider):  # type: ignore[misc]
    """Ray's own, but for memory: it starts no node of a kind that has a share of that."""

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: dict[str, float], labels: Any
    ) -> None:
        rest = {name: amount for name, amount in resources.items() if name != "memory"}
        super()._create_node_with_resources_and_labels(node_config, tags, count, rest, labels)


@contextmanager
def autoscaling_head(idle_seconds: float) -> Iterator[str]:
    """The address of a head without GPUs whose autoscaler can add up to two nodes of one GPU."""
    address = f"{own_address()}:{free_port()}"
    config = {
        "cluster_name": "made-up",
        "max_workers": _MAX_NODES,
        "idle_timeout_minutes": idle_seconds / 60,
        "provider": {
            # As an external one: under its own name Ray looks for defaults that its wheel lacks.
            "type": "external",
            "module": f"{Path(__file__).stem}.{MadeUpNodes.__name__}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
        },
        # What an external provider gets no defaults for.
        **{key: [] for key in _COMMANDS},
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        "cluster_synced_files": [],
        "upscaling_speed": 1.0,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "gpu": {
                # Ray Data asks for some memory as well, once it has seen what comes out of a step.
                "resources": {"CPU": 1, "GPU": 1, "memory": 10**9, "object_store_memory": 10**8},
                "node_config": {},
                "min_workers": 0,
                "max_workers": _MAX_NODES,
            },
        },
    }
    # A short path: the names of the sockets below it may have a hundred characters.
    with tempfile.TemporaryDirectory(prefix="xner-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "autoscaling.json").write_text(json.dumps(config))
        host, _, port = address.rpartition(":")
        head = subprocess.Popen(
            [
                *(Path(sys.executable).parent / "ray", "start", "--head", "--block"),
                *(f"--node-ip-address={host}", f"--port={port}", "--num-cpus=2", "--num-gpus=0"),
                *("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"),
                *(
                    f"--autoscaling-config={folder}/autoscaling.json",
                    "--object-store-memory=100000000",
                ),
            ],
            env={
                **os.environ,
                # The head's autoscaler imports the provider.
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
                ),
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "RAY_FAKE_CLUSTER": "1",
                "RAY_raylet_start_wait_time_s": "120",
                "RAY_enable_autoscaler_v2": "1",
                "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            },
            stdout=(Path(folder) / "head.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        try:
            # Its port is open long before it takes a driver, on a busy machine.
            while "Ray runtime started" not in (said := (Path(folder) / "head.log").read_text()):
                if head.poll() is not None:
                    sys.exit(said)
                time.sleep(0.2)
            yield address
        finally:
            end(head.pid, folder)


def end(pid: int, folder: str) -> None:
    """End a head and all raylets below it: the provider's are no children of the head's."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).terminate()
    for _ in range(2):
        for process in psutil.process_iter(["cmdline"]):
            if any(folder in part for part in process.info["cmdline"] or ()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(1)


def own_address() -> str:
    return str(ray.util.get_node_ip_address())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
