"""Score projection on parallel gold: what the main job makes of entities that people marked.

Writes summary.json with scores, intervals, calibration and errors, and the projected pairs as
predictions.parquet, against which later evaluations can be tested (`compare`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import pyarrow as pa

from xner.command_line import run_job
from xner.config import EvaluateProjectionConfig
from xner.engine.recipes import aligner_found
from xner.evaluation.projection import evaluate
from xner.evaluation.projection_gold import GoldPair, inexpressible, read_gold
from xner.evaluation.projection_run import (
    compare,
    project_gold,
    read_predictions,
    write_predictions,
)
from xner.report.projection import print_comparison, print_projection
from xner.report.terminal import write_summary
from xner.shards.ledger import require_no_run
from xner.shards.storage import Folder


def main(config: EvaluateProjectionConfig) -> None:
    """Project, score, and test against another evaluation where one is named."""
    gold, other = _inputs(config)
    output = Folder.at(config.output)
    output.require_writable()
    table = project_gold(gold, config.aligner, config.quality, config.teacher)
    report = evaluate(gold, table, config.quality, config.bootstrap, config.num_examples)
    comparison = None if other is None else compare(gold, table, other, config.bootstrap)
    write_predictions(output, gold, table)
    found = None if comparison is None else {"with": config.compare, **asdict(comparison)}
    write_summary(output, {**report.to_dict(), "comparison": found})
    print_projection(f"evaluate_projection: {output}", report)
    if comparison is not None:
        print_comparison(f"F1 less that of {config.compare}", comparison)


def plan(config: EvaluateProjectionConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    gold, _ = _inputs(config)
    return {
        "pairs": str(len(gold)),
        "source mentions": str(sum(len(pair.source_mentions) for pair in gold)),
        "target mentions": str(sum(len(pair.target_mentions) for pair in gold)),
        "target mentions that cut words": str(sum(len(inexpressible(pair)) for pair in gold)),
        "projected": config.mentions if config.teacher is None else config.teacher.model,
        "aligner": config.aligner.witnesses,
        "output": str(Folder.at(config.output)),
    }


def _inputs(config: EvaluateProjectionConfig) -> tuple[list[GoldPair], pa.Table | None]:
    """The gold, and what another evaluation projected onto it.

    What is wrong with aligner or output is told here, before a teacher has labelled the gold.
    """
    require_no_run(Folder.at(config.output))
    aligner_found(config.aligner)
    gold = read_gold(
        config.source, config.target, config.id_map, config.quality.labels, config.check_parallel
    )
    if config.compare is None:
        return gold, None
    return gold, read_predictions(Folder.at(config.compare), gold)


if __name__ == "__main__":
    run_job(EvaluateProjectionConfig, main, plan)
