"""What a job that labels shards shows while it runs, and what it says at its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from xner.engine.flow import ShardResult
from xner.errors import DataError
from xner.report.terminal import print_summary, track, write_summary
from xner.shards.ledger import Run, input_shards, total_statistics
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder


def label_pending(
    job: str, run: Run, inputs: Folder, run_pending: Callable[[], Iterable[ShardResult]]
) -> None:
    """Run what is pending, then say what the output folder holds, also in ``summary.json``.

    Raises DataError, after all is done that can be, when shards of ``inputs`` cannot be read.
    """
    run.open()
    done = run.done()
    num_done, num_pending = len(done), len(set(input_shards(inputs)).difference(done))
    started = time.perf_counter()
    # Sums, not the results: of these there may be tens of thousands.
    computed, by_step = Statistics(), Counter[str]()
    committed: set[str] = set()
    broken: dict[str, str] = {}
    if num_pending:
        for result in track(
            run_pending(),
            description=job,
            total_shards=num_done + num_pending,
            already_done=num_done,
            statistics_of=lambda result: result.statistics,
        ):
            by_step.update(result.seconds)
            if result.error:
                broken[result.name] = str(result.error)
            else:
                committed.add(result.name)
                computed += result.statistics
    else:
        print(f"{run.folder}: nothing to do, all {num_done} shards are there")
    seconds = time.perf_counter() - started
    done = run.done()
    others = [name for name in done if name not in committed]
    total = computed + total_statistics(run.folder, others)
    summary = {
        **total.to_dict(),
        "shards": len(done),
        "broken_shards": broken,
        "this_run": {
            "shards": len(committed),
            "rows": computed.rows,
            "seconds": seconds,
            "pairs_per_second": computed.rows / seconds if computed.rows else None,
            "seconds_by_step": dict(by_step),
        },
    }
    write_summary(run.folder, summary)
    rows: dict[str, Any] = {"shards": len(done), "pairs": total.rows}
    rows |= {f"pairs {status}": count for status, count in total.status.items()}
    rows |= {f"refused: {reason}": count for reason, count in total.reasons.items()}
    rows |= {f"mentions {label}": count for label, count in total.mentions.items()}
    if computed.rows:
        rows |= {"seconds": seconds, "pairs/s": computed.rows / seconds}
    print_summary(f"{job}: {run.folder}", rows)
    if broken:
        lines = "\n  ".join(broken.values())
        raise DataError(f"{len(broken)} shards could not be read and have no output:\n  {lines}")
