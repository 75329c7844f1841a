"""Label the source side of parallel text and project the labels onto the target side.

Reads pairs shards, writes one pseudo-labelled shard for each under the same name. Shards that are
already in the output folder are not computed again, so after a crash the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from xner.command_line import run_job
from xner.config import PoolConfig, ProjectConfig
from xner.engine.flow import ShardResult
from xner.engine.recipes import CorpusProjection
from xner.errors import DataError
from xner.report.terminal import print_summary, track, write_summary
from xner.shards.ledger import statistics_of
from xner.shards.statistics import Statistics


def main(config: ProjectConfig) -> None:
    """Run what is pending, then say what the output folder holds."""
    projection = CorpusProjection.plan(config)
    run = projection.run
    run.open()
    num_pending, num_done = len(run.pending(projection.pairs)), len(run.done())
    started = time.perf_counter()
    results: list[ShardResult] = []
    if num_pending:
        results += track(
            projection.run_pending(),
            description="project",
            total_shards=num_done + num_pending,
            already_done=num_done,
            statistics_of=lambda result: result.statistics,
        )
    else:
        print(f"{run.folder}: nothing to do, all {num_done} shards are there")
    seconds = time.perf_counter() - started
    broken = [result for result in results if result.error]
    computed = Statistics.total(result.statistics for result in results)
    total = Statistics.total(statistics_of(run.folder, name) for name in run.done())
    by_step: dict[str, float] = {}
    for result in results:
        for step, spent in result.seconds.items():
            by_step[step] = by_step.get(step, 0.0) + spent
    summary = {
        **total.to_dict(),
        "shards": len(run.done()),
        "broken_shards": {result.name: str(result.error) for result in broken},
        "this_run": {
            "shards": len(results) - len(broken),
            "rows": computed.rows,
            "seconds": seconds,
            "pairs_per_second": computed.rows / seconds if computed.rows else None,
            "seconds_by_step": by_step,
        },
    }
    write_summary(run.folder, summary)
    rows: dict[str, Any] = {"shards": len(run.done()), "pairs": total.rows}
    rows |= {f"pairs {status}": count for status, count in total.status.items()}
    rows |= {f"refused: {reason}": count for reason, count in total.reasons.items()}
    rows |= {f"mentions {label}": count for label, count in total.mentions.items()}
    if computed.rows:
        rows |= {"seconds": seconds, "pairs/s": computed.rows / seconds}
    print_summary(f"project_corpus: {run.folder}", rows)
    if broken:
        lines = "\n  ".join(str(result.error) for result in broken)
        raise DataError(f"{len(broken)} shards could not be read and have no output:\n  {lines}")


def plan(config: ProjectConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    projection = CorpusProjection.plan(config)
    teacher, aligner = config.teacher.pool, config.aligner.pool
    return {
        "shards pending": str(len(projection.run.pending(projection.pairs))),
        "shards done": str(len(projection.run.done())),
        "entity types": ", ".join(projection.labels),
        "teacher": f"{config.teacher.model}, {_resources(teacher)}",
        "aligner": f"{config.aligner.witnesses}, {_resources(aligner)}",
        "engine": config.engine.kind,
    }


def _resources(pool: PoolConfig) -> str:
    return f"{pool.min_size} to {pool.max_size} actors of {pool.num_cpus} CPU, {pool.num_gpus} GPU"


if __name__ == "__main__":
    run_job(ProjectConfig, main, plan)
