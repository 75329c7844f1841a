"""Compare teachers, aligners, losses, initialisations, corpora and sizes by their target F1.

Every combination of `[grid]` in every language is a cell: one student, trained and scored. Beside
them stand the English teacher itself (direct transfer), students of word links alone where the
grid names them (word-alignment projection), and the same encoder trained on target gold where there
is some. What cells share (teachers, aligners, the projection of a corpus) is computed once. Each
step is one task on the cluster; killed and started again, only unfinished steps run.

Writes results.parquet (a row a cell and gold set), summary.json and report/index.html.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from xner.command_line import run_job
from xner.config import PoolConfig, StudyConfig
from xner.engine.choose import engine_for
from xner.evaluation import study
from xner.evaluation.study_results import SystemScore, comparisons, rankings, rows
from xner.evaluation.study_run import StudyRun, content_at
from xner.report.study import print_study, write_study
from xner.report.terminal import duration, print_summary, write_summary
from xner.shards.storage import Folder

_log = logging.getLogger("xner.run_study")

RESULTS = "results.parquet"


def main(config: StudyConfig) -> None:
    """Do the steps that are pending, then compare the cells."""
    run = _planned(config)
    started = time.monotonic()
    num_done = _do_pending(run)
    seconds = time.monotonic() - started
    _report(run, num_done, seconds)


def plan(config: StudyConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    run = _planned(config)
    cells, steps = run.study.cells, run.study.steps
    pending = run.pending()
    counts = {
        kind: run.study.num_of(kind) for kind in ("teacher", "words", "aligner", "projection")
    }
    return {
        "cells": str(len(cells)),
        "cells pending": str(sum(name in pending for name in cells)),
        "steps": str(len(steps)),
        "steps pending": str(len(pending)),
        "steps that cells share": str(run.study.num_shared),
        "of them": ", ".join(f"{count} {kind}" for kind, count in counts.items() if count),
        "a step takes": f"{config.step.num_cpus} CPU, {config.step.num_gpus} GPU",
        "engine": config.engine.kind,
    }


def _planned(config: StudyConfig) -> StudyRun:
    return StudyRun(config, study.plan(config, content_at))


def _do_pending(run: StudyRun) -> int:
    """Do what is pending and tell of it; how many steps that was. Raises what went wrong, last."""
    config, pending = run.config, run.pending()
    if not pending:
        return 0
    pool = PoolConfig(num_cpus=config.step.num_cpus, num_gpus=config.step.num_gpus)
    engine = engine_for(config.engine, [pool])
    total, done = len(run.study.steps), len(run.study.steps) - len(pending)
    _log.info("%d of %d steps to do, for %d cells", len(pending), total, len(run.study.cells))
    if not _log.isEnabledFor(logging.DEBUG):
        # What hundreds of trainings say of themselves would drown our lines.
        logging.getLogger("xner.training").setLevel(logging.WARNING)
    started = time.monotonic()
    failed = []
    for number, result in enumerate(engine.run_graph(pending, run, config.step), start=1):
        if result.error is not None:
            failed.append(result.error)
            _log.error("%s: %s", result.name, result.error)
        elapsed = time.monotonic() - started
        _log.info(
            "step %d/%d, %s in %s: %s elapsed, about %s left",
            done + number,
            total,
            result.name,
            duration(result.seconds),
            duration(elapsed),
            duration(elapsed / number * (len(pending) - number)),
        )
    if failed:
        kind = type(failed[0])
        lines = "\n  ".join(map(str, failed))
        raise kind(f"{len(failed)} steps have no result; the others need not run again:\n  {lines}")
    return len(pending)


def _report(run: StudyRun, num_done: int, seconds: float) -> None:
    """Write and print what the cells say."""
    config, output = run.config, Folder.at(run.config.output)
    results = run.results()
    ranked = rankings(results, config.bootstrap)
    compared = comparisons(results, config.bootstrap)
    output.publish_table(RESULTS, pa.Table.from_pylist(rows(results)))
    figures = {
        "cells": len(run.study.cells),
        "steps": len(run.study.steps),
        "steps shared by cells": run.study.num_shared,
        "gold sets": len(ranked),
        "hours of training and scoring": sum({r.cell: r.seconds for r in results}.values()) / 3600,
    }
    summary = {
        **{name.replace(" ", "_"): value for name, value in figures.items()},
        "this_run": {"steps": num_done, "seconds": seconds},
        "rankings": [
            {"lang": lang, "gold": gold, "systems": list(map(_plain, scores))}
            for (lang, gold), scores in ranked.items()
        ],
        "axes": [{**asdict(each), "significant": each.is_significant} for each in compared],
    }
    write_summary(output, summary)
    page = f"{output.location}/report/index.html"
    write_study(page, figures, ranked, compared)
    print_study(ranked, compared)
    print_summary(
        f"run_study: {output}",
        {**figures, "steps of this run": num_done, "seconds of this run": seconds, "report": page},
    )


def _plain(score: SystemScore) -> dict[str, Any]:
    """A system's score as JSON writes it, without the counts of each sentence."""
    values = {key: value for key, value in vars(score).items() if key not in ("counts", "gold")}
    return {**values, "cell": asdict(score.cell)}


if __name__ == "__main__":
    run_job(StudyConfig, main, plan)
