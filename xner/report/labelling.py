"""What a job that labels shards shows while it runs, and what it says at its end."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from xner.engine.flow import ClusterSize, ShardResult
from xner.errors import DataError
from xner.report.terminal import print_summary, track, write_summary
from xner.shards.lease import Lease
from xner.shards.ledger import Run, input_shards, total_statistics
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

RunPending = Callable[[Callable[[ClusterSize], None]], Iterable[ShardResult]]

_log = logging.getLogger(__name__)


def label_pending(job: str, run: Run, inputs: Folder, run_pending: RunPending) -> None:
    """Run what is pending, then say what the output folder holds, also in ``summary.json``.

    Raises DataError, after all is done that can be, when shards of ``inputs`` cannot be read or
    were given up, TransientError when another run holds the folder, or took it over, and
    ConfigError when what was committed is not in it: it is another folder on another machine.
    """
    with run.held() as lease:
        broken = _label(job, run, inputs, run_pending, lease)
    if broken:
        lines = "\n  ".join(broken.values())
        raise DataError(f"{len(broken)} shards have no output:\n  {lines}")


def _label(
    job: str,
    run: Run,
    inputs: Folder,
    run_pending: RunPending,
    lease: Lease,
) -> dict[str, str]:
    """Do all of it in a folder that is held; what is wrong with the shards that are broken."""
    done = run.done()
    num_done, num_pending = len(done), len(set(input_shards(inputs)).difference(done))
    started = time.perf_counter()
    # Sums, not the results: of these there may be tens of thousands.
    computed, by_step = Statistics(), Counter[str]()
    committed: set[str] = set()
    broken: dict[str, str] = {}
    sizes: list[ClusterSize] = []
    if num_pending:
        results = track(
            run_pending(sizes.append),
            description=job,
            total_shards=num_done + num_pending,
            already_done=num_done,
            statistics_of=lambda result: result.statistics,
        )
        try:
            for result in results:
                lease.check()
                by_step.update(result.seconds)
                if result.error:
                    broken[result.name] = str(result.error)
                else:
                    run.check_found(result.name)
                    committed.add(result.name)
                    computed += result.statistics
        except (KeyboardInterrupt, SystemExit):
            _log.warning(
                "%s: stopped with %d of %d shards committed; the same command goes on",
                run.folder,
                num_done + len(committed),
                num_done + num_pending,
            )
            raise
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
        for pool in sizes[0].actors:
            rows[f"actors of {pool}"] = _range(size.actors[pool] for size in sizes)
    print_summary(f"{job}: {run.folder}", rows)
    return broken


def _range(values: Iterable[int]) -> str:
    found = list(values)
    least, most = min(found), max(found)
    return str(most) if least == most else f"{least} to {most}"
