"""`make chaos`: the main job on a cluster where everything dies, against a run in peace.

Several real raylets of this machine are the cluster, each with a GPU that is only a number; the
models have random weights. While the job runs, nodes are removed without a word or after a notice,
as spot machines are, and others added; actors and the processes of tasks are killed, and the job
itself is, and then run again: each with SIGKILL, at moments that a seed draws. At the end the
output must be that of an undisturbed run, and nothing else must be left of the dead.

Of each file it is also seen whether it was written more than once (``rewritten``): by a commit that
was killed between the file's appearance and its report, and then tried again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tomli_w
from ray._private.node import Node
from ray.cluster_utils import Cluster
from scale import make_models
from steps import PROJECT
from tenacity import Retrying, stop_after_attempt, wait_fixed

from xner.corpora import miniature
from xner.report.terminal import print_summary, write_summary
from xner.shards import schema
from xner.shards.storage import Folder

_PAIRS_OF_A_SHARD = 40
_NUM_NODES = 2
_NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 * 2**20}

# Killed in this proportion: processes die more often than machines.
_KINDS = ("actor", "task", "node", "driver", "notice", "actor", "task", "node", "driver", "actor")

# A kill comes this long after the run has come so far, and waits no longer for it to do so.
_PAUSE_SECONDS = 3.0
_PATIENCE_SECONDS = 120.0

# Between the notice that a machine will be taken and its end; clouds give 30 seconds and more.
_NOTICE_SECONDS = 5


def main(arguments: Sequence[str]) -> None:
    """Run in peace, run in chaos, compare, print and write ``summary.json``; exit 1 if it fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="folder; what is there is removed")
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--shards", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    make_models(output / "models")
    make_pairs(Folder.at(str(output / "pairs")), options.shards)
    calm = Job(output, "calm", {"kind": "inline"})
    calm.start()
    calm.finish()
    started = time.monotonic()
    with cluster() as (nodes, address):
        chaos = Chaos(nodes, Job(output, "chaos", {"address": address}), options.seed)
        chaos.run(options.kills, options.shards)
    summary = {
        "kills": chaos.kills.total(),
        "kills_by_kind": dict(chaos.kills),
        "driver_runs": chaos.job.runs,
        "driver_failures": chaos.job.failures,
        "seconds": time.monotonic() - started,
        **compared(*(Folder.at(str(output / each)) for each in ("pairs", "calm", "chaos"))),
        "rewritten": chaos.rewritten,
    }
    write_summary(Folder.at(str(output)), summary)
    print_summary("chaos", {key.replace("_", " "): str(value) for key, value in summary.items()})
    held = summary["identical"] and summary["each_shard_once"] and not summary["left_behind"]
    sys.exit(0 if held and summary["rows_in"] == summary["rows_out"] else 1)


def make_pairs(folder: Folder, num_shards: int) -> None:
    """Shards of made pairs, each of other sentences."""
    made = miniature.sentences("train", num_shards * _PAIRS_OF_A_SHARD)
    rows = [
        {
            **dict.fromkeys(schema.PAIRS.names),
            **{"pair_id": f"{number:06}", "corpus": "made"},
            **{"source_lang": "en", "source": each.texts["en"]},
            **{"target_lang": "de", "target": each.texts["de"]},
        }
        for number, each in enumerate(made)
    ]
    for number in range(num_shards):
        part = rows[number * _PAIRS_OF_A_SHARD : (number + 1) * _PAIRS_OF_A_SHARD]
        table = schema.PAIRS.empty_table().from_pylist(part, schema=schema.PAIRS)
        folder.publish_table(f"en-de/{number:06}.parquet", table)


def plan(num_kills: int, seed: int) -> list[str]:
    """The kinds of the kills, in a drawn order."""
    kinds = [_KINDS[number % len(_KINDS)] for number in range(num_kills)]
    random.Random(seed).shuffle(kinds)
    return kinds


class Job:
    """`project_corpus` as a process of its own, which may be run more than once.

    ``runs``: how often it was started, ``failures``: how often it ended by itself, and not well.
    """

    def __init__(self, folder: Path, name: str, engine: dict[str, Any]) -> None:
        pool = {"num_cpus": 0.5, "num_gpus": 0.5, "max_size": 2}
        model = {"precision": "fp32", "device": "cpu", "batch_tokens": 2048, "pool": pool}
        recipe = {
            "pairs": str(folder / "pairs"),
            "output": str(folder / name),
            "teacher": {**model, "model": str(folder / "models" / "teacher")},
            "aligner": {**model, "model": str(folder / "models" / "aligner"), "threshold": 0.004},
            "quality": {"min_teacher_score": 0.1, "min_alignment_score": 0.0, "max_unplaced": 2},
            "engine": engine,
        }
        self.output = folder / name
        self._recipe = folder / f"{name}.toml"
        self._recipe.write_text(tomli_w.dumps(recipe))
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.runs, self.failures = 0, 0

    def start(self) -> None:
        """Run it, from the start or on where it was."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
        environment.pop("RAY_ADDRESS", None)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, PROJECT / "jobs" / "project_corpus.py", self._recipe],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.runs += 1

    def kill(self) -> None:
        """Kill it and run it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.start()

    def poll(self) -> bool:
        """Whether it has come to its end; one that failed is run again."""
        assert self._process is not None
        code = self._process.poll()
        if code:
            self.failures += 1
            if self.failures > 3:
                sys.exit(f"{self._log}: the job fails again and again:\n{self._log.read_text()}")
            self.start()
        return code == 0

    def finish(self) -> None:
        """Wait for its end."""
        while not self.poll():
            time.sleep(0.2)

    @property
    def written(self) -> dict[str, int]:
        """The shards that it has committed, and when."""
        # Not the temporary files, which are gone a moment later.
        paths = self.output.rglob("[!_]*.parquet")
        return {path.name: path.stat().st_mtime_ns for path in paths}


@contextmanager
def cluster() -> Iterator[tuple[Cluster, str]]:
    """A head without GPUs, on which drivers and tasks run, and nodes with a made-up GPU each."""
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "object_store_memory": 200 * 2**20},
    )
    try:
        for _ in range(_NUM_NODES):
            add_node(nodes)
        yield nodes, nodes.address
    finally:
        nodes.shutdown()


def add_node(nodes: Cluster) -> None:
    """Add a node; on a busy machine a raylet may need more time than Ray gives it to start."""
    repeated = Retrying(stop=stop_after_attempt(5), wait=wait_fixed(5), reraise=True)
    repeated(nodes.add_node, **_NODE)


def give_notice(node: Node, address: str) -> None:
    """Tell the cluster that a node will be taken, as its autoscaler does for spot machines."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address]
    command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "preempted", "--deadline-remaining-seconds"]
    subprocess.run([*command, str(_NOTICE_SECONDS)], check=True, capture_output=True)


@dataclass
class Chaos:
    """Kills while a job runs; ``kills`` counts them by kind, ``rewritten`` names shards."""

    nodes: Cluster
    job: Job
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    rewritten: list[str] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)

    def run(self, num_kills: int, num_shards: int) -> None:
        """Start the job, kill so often, spread over its shards, and wait for its end."""
        draw = random.Random(self.seed)
        self.job.start()
        for number, kind in enumerate(plan(num_kills, self.seed)):
            goal = number * num_shards // (num_kills + 4)
            self._wait(lambda goal=goal: len(self._seen) >= goal, _PATIENCE_SECONDS)
            self._wait(lambda: False, draw.uniform(0, _PAUSE_SECONDS))
            while not self._kill(kind, draw):
                if self.job.poll():
                    sys.exit(f"all is done after {self.kills.total()} kills: give it more --shards")
                self._look()
                time.sleep(0.05)
            self.kills[kind] += 1
            print(f"{self.kills.total()}: {kind}, at {len(self._seen)} shards", file=sys.stderr)
        while not self.job.poll():
            self._look()
            time.sleep(0.1)
        self._look()

    def _kill(self, kind: str, draw: random.Random) -> bool:
        """Kill one of the kind; False where there is none at the moment, or nothing left to do."""
        if self.job.poll():
            return False
        if kind == "driver":
            self.job.kill()
        elif kind in ("node", "notice"):
            node = draw.choice(sorted(self.nodes.worker_nodes, key=lambda each: each.unique_id))
            if kind == "notice":
                give_notice(node, self.nodes.address)
                self._wait(lambda: False, _NOTICE_SECONDS)
            self.nodes.remove_node(node, allow_graceful=False)
            add_node(self.nodes)
        else:
            found = self._processes(kind)
            if not found:
                return False
            try:
                draw.choice(found).kill()
            except psutil.NoSuchProcess:
                return False
        return True

    def _processes(self, kind: str) -> list[psutil.Process]:
        """The cluster's processes that hold a model, or read, project and commit."""
        found = []
        for node in [self.nodes.head_node, *self.nodes.worker_nodes]:
            (raylet,) = (process for name, process in node.live_processes() if name == "raylet")
            for process in psutil.Process(raylet.pid).children():
                try:
                    title = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                is_actor = title.startswith("ray::MapWorker")
                is_task = not is_actor and title.startswith(("ray::Map", "ray::Read"))
                if is_actor if kind == "actor" else is_task:
                    found.append(process)
        return found

    def _wait(self, is_over: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not is_over():
            self._look()
            time.sleep(0.05)

    def _look(self) -> None:
        """See what has been committed, and whether anything was committed again."""
        for name, written in self.job.written.items():
            if self._seen.setdefault(name, written) != written:
                self.rewritten.append(name)
                self._seen[name] = written


def compared(pairs: Folder, calm: Folder, chaos: Folder) -> dict[str, Any]:
    """What became of the rows, and what else the folder holds."""
    names = pairs.names(".parquet")
    made = {name: chaos.read_table(name, schema.PSEUDO) for name in chaos.names(".parquet")}
    given = [pairs.read_table(name, schema.PAIRS) for name in names]
    ids = Counter(each for table in made.values() for each in table["pair_id"].to_pylist())
    home = Path(chaos.location)
    expected = {"run.json", "summary.json", *names, *{str(Path(name).parent) for name in names}}
    there = {path.relative_to(home).as_posix() for path in home.rglob("*")}
    return {
        "identical": sorted(made) == names
        and all(made[name].equals(calm.read_table(name, schema.PSEUDO)) for name in names)
        and all(chaos.read(name) == calm.read(name) for name in names),
        "rows_in": sum(table.num_rows for table in given),
        "rows_out": ids.total(),
        "mentions": sum(len(row) for table in made.values() for row in table["mentions"]),
        "shards": len(made),
        "each_shard_once": sorted(made) == names and set(ids.values()) == {1},
        "left_behind": sorted(there - expected),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
