"""Score projection on parallel gold: what the main job makes of entities that people marked.

Writes summary.json with scores, intervals, calibration and errors, and the projected pairs as
predictions.parquet, against which later evaluations can be tested (`compare`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xner.command_line import run_job
from xner.config import EvaluateProjectionConfig
from xner.evaluation.projection import evaluate
from xner.evaluation.projection_gold import GoldPair, inexpressible, read_gold
from xner.evaluation.projection_run import compare, project_gold, write_predictions
from xner.report.projection import print_projection
from xner.report.terminal import print_summary, write_summary
from xner.shards.storage import Folder


def main(config: EvaluateProjectionConfig) -> None:
    """Project, score, and test against another evaluation where one is named."""
    gold = _gold(config)
    table = project_gold(gold, config.aligner, config.quality, config.teacher)
    report = evaluate(gold, table, config.quality, config.bootstrap, config.num_examples)
    summary: dict[str, Any] = report.to_dict()
    if config.compare is not None:
        found = compare(Folder.at(config.compare), gold, table, config.bootstrap)
        summary["comparison"] = {"with": config.compare, **asdict(found)}
    output = Folder.at(config.output)
    write_predictions(output, gold, table)
    write_summary(output, summary)
    print_projection(f"evaluate_projection: {output}", report)
    if config.compare is not None:
        print_summary(
            f"F1 less that of {config.compare}",
            [
                {
                    "": name,
                    "difference": each.f1,
                    "95 %": f"{each.interval.low:+.4f} to {each.interval.high:+.4f}",
                    "p": each.p,
                }
                for name, each in (("typed", found.typed), ("untyped", found.untyped))
            ],
        )


def plan(config: EvaluateProjectionConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    gold = _gold(config)
    return {
        "pairs": str(len(gold)),
        "source mentions": str(sum(len(pair.source_mentions) for pair in gold)),
        "target mentions": str(sum(len(pair.target_mentions) for pair in gold)),
        "target mentions that cut words": str(sum(len(inexpressible(pair)) for pair in gold)),
        "projected": config.mentions if config.teacher is None else config.teacher.model,
        "aligner": config.aligner.model,
        "output": str(Folder.at(config.output)),
    }


def _gold(config: EvaluateProjectionConfig) -> list[GoldPair]:
    return read_gold(config.source, config.target, config.id_map, config.quality.labels)


if __name__ == "__main__":
    run_job(EvaluateProjectionConfig, main, plan)
