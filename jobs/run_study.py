"""Compare teachers, aligners, losses, initialisations, corpora and sizes by their target F1.

Every combination of `[grid]` in every language is a cell: one student, trained and scored. Beside
them stand the English teacher itself (direct transfer), students of word links alone where the
grid names them (word-alignment projection), and the same encoder trained on target gold where there
is some. What cells share (teachers, aligners, the projection of a corpus) is computed once. Each
step is one task on the cluster; killed and started again, only unfinished steps run. Where some
fail, the report is of the cells that have a result, and the job ends with what went wrong.

Writes results.parquet (a row a cell and gold set), summary.json and report/index.html.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from xner.command_line import run_job
from xner.config import PoolConfig, StudyConfig
from xner.engine.choose import engine_for
from xner.engine.flow import UnitResult
from xner.errors import XnerError
from xner.evaluation.study_results import Result, SystemScore, comparisons, rankings, rows
from xner.evaluation.study_run import StudyRun
from xner.report.study import print_study, write_study
from xner.report.terminal import duration, print_summary, write_summary
from xner.shards.storage import Folder

_log = logging.getLogger("xner.run_study")

RESULTS = "results.parquet"


def main(config: StudyConfig) -> None:
    """Do the steps that are pending, then compare the cells. Raises what went wrong, last."""
    run = StudyRun.plan(config)
    started = time.monotonic()
    done, failed = _do_pending(run)
    seconds = time.monotonic() - started
    if results := run.results():
        _report(run, results, len(done), seconds)
    if failed:
        raise _summed(run, failed)


def plan(config: StudyConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    run = StudyRun.plan(config)
    cells, steps = run.study.cells, run.study.steps
    pending = run.pending()
    counts = {
        kind: run.study.num_of(kind) for kind in ("teacher", "words", "aligner", "projection")
    }
    return {
        "cells": str(len(cells)),
        "cells pending": str(sum(name in pending for name in cells.values())),
        "steps": str(len(steps)),
        "steps pending": str(len(pending)),
        "steps that cells share": str(run.study.num_shared),
        "of them": ", ".join(f"{count} {kind}" for kind, count in counts.items() if count),
        "a step takes": f"{config.step.num_cpus} CPU, {config.step.num_gpus} GPU",
        "engine": config.engine.kind,
    }


def _do_pending(run: StudyRun) -> tuple[list[UnitResult], list[UnitResult]]:
    """Do what is pending and tell of it; the steps that have a result, and those that have none."""
    config, pending = run.config, run.pending()
    done: list[UnitResult] = []
    failed: list[UnitResult] = []
    if not pending:
        return done, failed
    pool = PoolConfig(num_cpus=config.step.num_cpus, num_gpus=config.step.num_gpus)
    engine = engine_for(config.engine, [pool])
    total = len(run.study.steps)
    _log.info("%d of %d steps to do, for %d cells", len(pending), total, len(run.study.cells))
    if not _log.isEnabledFor(logging.DEBUG):
        # What hundreds of trainings say of themselves would drown our lines.
        logging.getLogger("xner.training").setLevel(logging.WARNING)
    started = time.monotonic()
    for number, result in enumerate(engine.run_graph(pending, run, config.step), start=1):
        title = run.study.steps[result.name].title
        if result.error is not None:
            failed.append(result)
            if result.was_run:
                _log.error("%s: %s", title, result.error)
            continue
        done.append(result)
        elapsed = time.monotonic() - started
        _log.info(
            "step %d/%d, %s, in %s: %s elapsed, about %s left",
            total - len(pending) + number,
            total,
            title,
            duration(result.seconds),
            duration(elapsed),
            duration(elapsed / number * (len(pending) - number)),
        )
    return done, failed


def _summed(run: StudyRun, failed: Sequence[UnitResult]) -> XnerError:
    """One error for all steps without a result, of the kind of the first."""
    causes = [result for result in failed if result.was_run]
    lines = [f"{run.study.steps[each.name].title} ({each.name}): {each.error}" for each in causes]
    what = f"{len(causes)} steps failed"
    if not_run := len(failed) - len(causes):
        what += f", {not_run} that need them were not run"
    first = causes[0].error
    assert first is not None
    return type(first)("\n  ".join([f"{what}; the same command goes on with these alone:", *lines]))


def _report(run: StudyRun, results: Sequence[Result], num_done: int, seconds: float) -> None:
    """Write and print what the cells say."""
    config, output = run.config, Folder.at(run.config.output)
    ranked = rankings(results, config.bootstrap)
    compared = comparisons(results, config.bootstrap)
    output.publish_table(RESULTS, pa.Table.from_pylist(rows(results)))
    with_result = {result.cell for result in results}
    training = {result.step: result.training_seconds for result in results}
    scoring = {(result.step, result.gold): result.scoring_seconds for result in results}
    figures = {
        "cells": len(run.study.cells),
        "cells without a result": len(run.study.cells) - len(with_result),
        "steps": len(run.study.steps),
        "steps shared by cells": run.study.num_shared,
        "gold sets": len(ranked),
        "hours of training and scoring": (sum(training.values()) + sum(scoring.values())) / 3600,
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
    """A system's score as JSON writes it, in the record of its gold set."""
    return {key: value for key, value in asdict(score).items() if key != "gold"}


if __name__ == "__main__":
    run_job(StudyConfig, main, plan)
