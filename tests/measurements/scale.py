"""`make measure-scale`: what a run costs its driver as the corpus grows.

``projection``: the main job itself on Ray, with models of random weights, over more and more shards
of a few pairs. ``simulation``: as many shards as a billion pairs have, taken by the same engine
through steps whose model is a fixed wait; only ``commit`` is made up, a file with nothing but
statistics. A shard is so small there, and the object store too, that the store holds some two
thousand of them, as a store of 16 GiB does of shards of 8 MB: reading must wait for the models.

Of each run: ``start_seconds`` and ``start_cpu_seconds`` until the first shard is committed, then,
for a shard, ``wall_seconds`` and ``driver_cpu_seconds``, and, at each of ``marks``, the driver's
resident memory and the largest actor's proportional share. ``memory_growth``: the last mark with
actors over that at a tenth of the run, or at 20 shards where those are more. A simulation is
stopped after ``LIMIT_SECONDS`` and says how far it came; what is left is then committed without the
engine, to half and to the end, for the seconds that it takes to list all, to find what is pending,
and to sum what the footers say.

Every run has a process and a Ray of its own. Neither needs data.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from steps import PROJECT

from xner.config import EngineConfig, PoolConfig, ProjectConfig
from xner.corpora import miniature
from xner.engine.flow import ShardResult, Step
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards import schema
from xner.shards.ledger import Run, total_statistics
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

OUTPUT = PROJECT / "runs" / "measure-scale"
SERIES = (20, 200, 2000)
NUM_SIMULATED = 30_000
LIMIT_SECONDS = 360
MARK_EVERY = 200
NUM_CPUS = 3
POOL = PoolConfig(num_cpus=1)
PAIRS_OF_A_SHARD = 4

# Ray keeps what is smaller than 100 KiB in the driver's own memory and not in the store.
SHARD_BYTES = 128 * 2**10
STORE_BYTES = 256 * 2**20
MODEL_SECONDS = 0.005

_MIB = 2**20
_log = logging.getLogger("xner.measure_scale")


def measure(series: Sequence[int], num_simulated: int, limit_seconds: float) -> dict[str, Any]:
    """All runs, one after the other; what ``summary.json`` holds."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as runs:
        models = runs.submit(make_models, OUTPUT / "models")
        models.result()
        return {
            "projection": [runs.submit(project, num, OUTPUT).result() for num in series],
            "simulation": runs.submit(simulate, num_simulated, limit_seconds).result(),
        }


# The main job, with tiny models


def make_models(folder: Path) -> None:
    """A teacher and an aligner of random weights."""
    from xner.models.aligner import new_network, save_aligner
    from xner.models.folders import AlignerSettings
    from xner.models.tagger import new_model, save_tagger
    from xner.models.tiny import new_encoder_folder

    texts = [text for each in miniature.sentences("train", 300) for text in each.texts.values()]
    encoder = new_encoder_folder(texts, folder / "encoder", seed=0)
    save_tagger(*new_model(encoder, miniature.LABELS), folder / "teacher")
    network, tokenizer = new_network(encoder, "packed")
    (folder / "aligner").mkdir()
    save_aligner(network, tokenizer, folder / "aligner", AlignerSettings(layout="packed"))


def make_pairs(folder: Folder, num_shards: int) -> None:
    """Shards of made pairs, all the same but for their names."""
    rows = [
        {
            **dict.fromkeys(schema.PAIRS.names, 0),
            "pair_id": f"{number:04}",
            "corpus": "made",
            "source_lang": "en",
            "target_lang": "de",
            "source": each.texts["en"],
            "target": each.texts["de"],
        }
        for number, each in enumerate(miniature.sentences("train", PAIRS_OF_A_SHARD))
    ]
    table = pa.Table.from_pylist(rows, schema=schema.PAIRS)
    for number in range(num_shards):
        folder.publish_table(shard_name(number), table)


def project(num_shards: int, output: Path) -> dict[str, Any]:
    """The main job over so many shards."""
    configure_logging()
    from xner.engine.recipes import CorpusProjection

    pairs = output / f"pairs-{num_shards}"
    make_pairs(Folder.at(str(pairs)), num_shards)
    config = ProjectConfig.model_validate(
        {
            "pairs": str(pairs),
            "output": str(output / f"pseudo-{num_shards}"),
            "teacher": {"model": str(output / "models" / "teacher"), "pool": POOL},
            "aligner": {"model": str(output / "models" / "aligner"), "pool": POOL},
            "engine": {"num_cpus": NUM_CPUS},
        }
    )
    projection = CorpusProjection.plan(config)
    projection.run.open()
    return followed("projection", projection.run_pending(), num_shards)


# A billion pairs, simulated


class Wait:
    """Stands for a model: a step that takes a fixed time."""

    def __call__(self, table: pa.Table) -> pa.Table:
        time.sleep(MODEL_SECONDS)
        return table


def read_content(content: bytes, name: str) -> pa.Table:
    """A shard of one row and the simulation's size."""
    return pa.table({"name": [name], "content": [content]})


def commit_statistics(run: Run, name: str, table: pa.Table) -> Statistics:
    """Commit a file that has a footer and no rows."""
    statistics = Statistics(PAIRS_OF_A_SHARD, {"ok": PAIRS_OF_A_SHARD}, {}, {"LOC": 1})
    run.commit(name, pa.table({}), statistics)
    return statistics


def simulate(num_shards: int, limit_seconds: float) -> dict[str, Any]:
    """The engine over so many shards, as long as the limit allows; then the ledger over all."""
    configure_logging()
    import ray

    from xner.engine.choose import engine_for

    with tempfile.TemporaryDirectory(dir=OUTPUT) as made:
        inputs, run = Folder(f"{made}/in"), Run(Folder(f"{made}/out"), "simulation", {})
        names = [shard_name(number) for number in range(num_shards)]
        for name in names:
            path = Path(inputs.path(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        run.open()
        # No worker of Ray's can import what a spawned process takes for its main module.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        ray.init(
            address="local",
            num_cpus=NUM_CPUS,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            logging_level=logging.ERROR,
        )
        results = engine_for(EngineConfig(), [POOL, POOL]).run_shards(
            names,
            partial(read_content, bytes(SHARD_BYTES)),
            [Step("label", Wait, (), POOL), Step("align", Wait, (), POOL)],
            partial(commit_statistics, run),
        )
        with closing(results):
            figures = followed("simulation", results, num_shards, limit_seconds)
        return {**figures, "ledger": ledger_seconds(run, inputs, names)}


def ledger_seconds(run: Run, inputs: Folder, names: Sequence[str]) -> dict[str, float]:
    """What it takes to list, to go on with half of all, and to sum up all."""
    done = set(run.done())
    commit_all(run, [name for name in names[: len(names) // 2] if name not in done])
    list_seconds, listed = timed(lambda: inputs.names(".parquet"))
    resume_seconds, pending = timed(lambda: run.pending(inputs))
    commit_all(run, pending)
    summary_seconds, total = timed(lambda: total_statistics(run.folder, names))
    if len(listed) != len(names) or total.rows != PAIRS_OF_A_SHARD * len(names):
        raise RuntimeError(f"listed {len(listed)} shards and summed up {total}")
    return {
        "list_seconds": list_seconds,
        "resume_seconds": resume_seconds,
        "summary_seconds": summary_seconds,
    }


def commit_all(run: Run, names: Sequence[str]) -> None:
    """Commit shards without an engine, side by side, for each waits for the disk."""
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: commit_statistics(run, name, pa.table({})), names))


def timed(work: Any) -> tuple[float, Any]:
    """The seconds that a call takes, and what it returns."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


# What is measured of both


def followed(
    what: str, results: Iterable[ShardResult], num_shards: int, limit_seconds: float = float("inf")
) -> dict[str, Any]:
    """Take the results until all are there or time is up; the figures of this process."""
    marks: list[dict[str, float]] = []
    started, cpu_before = time.perf_counter(), cpu_seconds()
    number = 0
    for number, result in enumerate(results, start=1):
        if result.error is not None:
            raise result.error
        seconds = time.perf_counter() - started
        is_over = seconds > limit_seconds or number == num_shards
        if number in (1, 20) or number % MARK_EVERY == 0 or is_over:
            marks.append(
                {
                    "shards": number,
                    "seconds": seconds,
                    "cpu_seconds": cpu_seconds() - cpu_before,
                    "driver_mib": psutil.Process().memory_info().rss / _MIB,
                    "actor_mib": actor_mib(),
                }
            )
            _log.info("%s: %d of %d shards in %.0f seconds", what, number, num_shards, seconds)
        if is_over:
            break
    first, last = marks[0], marks[-1]
    # Where the results come to their end, the actors may be gone.
    with_actors = [mark for mark in marks if mark["actor_mib"]]
    late = with_actors[-1]
    warm = next(
        (mark for mark in with_actors if mark["shards"] >= max(number // 10, 20)), with_actors[-1]
    )
    num_after = max(number - 1, 1)
    return {
        "shards": num_shards,
        "committed": number,
        "start_seconds": first["seconds"],
        "start_cpu_seconds": first["cpu_seconds"],
        "wall_seconds": (last["seconds"] - first["seconds"]) / num_after,
        "driver_cpu_seconds": (last["cpu_seconds"] - first["cpu_seconds"]) / num_after,
        "driver_mib": late["driver_mib"],
        "actor_mib": late["actor_mib"],
        "memory_growth": {
            each: late[f"{each}_mib"] / warm[f"{each}_mib"] for each in ("driver", "actor")
        },
        "marks": marks,
    }


def cpu_seconds() -> float:
    """Processor time of this process, all its threads."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def actor_mib() -> float:
    """The proportional share of memory of the largest actor below this process."""
    shares = [0.0]
    for process in psutil.Process().children(recursive=True):
        try:
            if "ray::MapWorker" in " ".join(process.cmdline()):
                shares.append(process.memory_full_info().pss / _MIB)
        except psutil.Error:
            # It ended meanwhile.
            continue
    return max(shares)


def shard_name(number: int) -> str:
    """A name such as prepare_corpus gives."""
    return f"en-de/{number:06}.parquet"


def show(summary: Mapping[str, Any]) -> None:
    """Print a table a run."""
    for what, figures in [
        *(("projection", each) for each in summary["projection"]),
        ("simulation", summary["simulation"]),
    ]:
        print_summary(
            f"measure-scale: {what}, {figures['shards']} shards",
            {
                "committed": figures["committed"],
                "seconds to the first shard": figures["start_seconds"],
                "CPU seconds of the driver until then": figures["start_cpu_seconds"],
                "then, milliseconds a shard": 1000 * figures["wall_seconds"],
                "CPU milliseconds of the driver a shard": 1000 * figures["driver_cpu_seconds"],
                "MiB of the driver": figures["driver_mib"],
                "MiB of the largest actor": figures["actor_mib"],
                "growth of the driver": figures["memory_growth"]["driver"],
                "growth of the actor": figures["memory_growth"]["actor"],
                **{key.replace("_", " "): each for key, each in figures.get("ledger", {}).items()},
            },
        )


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write summary.json."""
    parser = argparse.ArgumentParser(description="What a run costs as the corpus grows.")
    parser.add_argument("--series", type=int, nargs="*", default=SERIES, help="shards, main job")
    parser.add_argument("--simulated", type=int, default=NUM_SIMULATED, help="shards, simulation")
    parser.add_argument("--limit-seconds", type=float, default=LIMIT_SECONDS)
    options = parser.parse_args(arguments)
    configure_logging()
    summary = measure(options.series, options.simulated, options.limit_seconds)
    write_summary(Folder.at(str(OUTPUT)), summary)
    show(summary)


if __name__ == "__main__":
    main(sys.argv[1:])
