"""What a job that labels shards shows while it runs, and what it says at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from xner.engine.flow import ClusterSize, ShardResult
from xner.errors import DataError
from xner.report.terminal import print_summary, track, write_summary
from xner.shards.ledger import Run, statistics_of
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

RunPending = Callable[[Callable[[ClusterSize], None]], Iterable[ShardResult]]


def label_pending(job: str, run: Run, inputs: Folder, run_pending: RunPending) -> None:
    """Run what is pending, then say what the output folder holds, also in ``summary.json``.

    Raises DataError, after all is done that can be, when shards of ``inputs`` cannot be read.
    """
    run.open()
    num_pending, num_done = len(run.pending(inputs)), len(run.done())
    started = time.perf_counter()
    results: list[ShardResult] = []
    sizes: list[ClusterSize] = []
    if num_pending:
        results += track(
            run_pending(sizes.append),
            description=job,
            total_shards=num_done + num_pending,
            already_done=num_done,
            statistics_of=lambda result: result.statistics,
        )
    else:
        print(f"{run.folder}: nothing to do, all {num_done} shards are there")
    seconds = time.perf_counter() - started
    broken = [result for result in results if result.error]
    computed = Statistics.total(result.statistics for result in results)
    done = run.done()
    total = Statistics.total(statistics_of(run.folder, name) for name in done)
    by_step: dict[str, float] = {}
    for result in results:
        for step, spent in result.seconds.items():
            by_step[step] = by_step.get(step, 0.0) + spent
    summary = {
        **total.to_dict(),
        "shards": len(done),
        "broken_shards": {result.name: str(result.error) for result in broken},
        "this_run": {
            "shards": len(results) - len(broken),
            "rows": computed.rows,
            "seconds": seconds,
            "pairs_per_second": computed.rows / seconds if computed.rows else None,
            "seconds_by_step": by_step,
            "cluster": [asdict(size) for size in sizes],
        },
    }
    write_summary(run.folder, summary)
    rows: dict[str, Any] = {"shards": len(done), "pairs": total.rows}
    rows |= {f"pairs {status}": count for status, count in total.status.items()}
    rows |= {f"refused: {reason}": count for reason, count in total.reasons.items()}
    rows |= {f"mentions {label}": count for label, count in total.mentions.items()}
    if computed.rows:
        rows |= {"seconds": seconds, "pairs/s": computed.rows / seconds}
    if sizes:
        rows["nodes"] = _range(size.nodes for size in sizes)
        for step in sizes[0].actors:
            rows[f"actors of {step}"] = _range(size.actors[step] for size in sizes)
    print_summary(f"{job}: {run.folder}", rows)
    if broken:
        lines = "\n  ".join(str(result.error) for result in broken)
        raise DataError(f"{len(broken)} shards could not be read and have no output:\n  {lines}")


def _range(values: Iterable[int]) -> str:
    found = list(values)
    least, most = min(found), max(found)
    return str(most) if least == most else f"{least} to {most}"
