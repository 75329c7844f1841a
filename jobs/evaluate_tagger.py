"""Score taggers on tagged gold: what each finds, by two readings of its tags, and which is better.

Writes summary.json with scores, intervals and paired tests, and what each model said of each gold
as predictions/<model>/<gold>.parquet. A model is not run again where these are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xner.command_line import run_job
from xner.config import EvaluateTaggerConfig
from xner.evaluation.tagger_run import TaggerEvaluation
from xner.report.tagger import print_taggers
from xner.report.terminal import count_up, write_summary
from xner.shards.storage import Folder


def main(config: EvaluateTaggerConfig) -> None:
    """Run the models where they have not been run, and score what they say."""
    evaluation = TaggerEvaluation.plan(config)
    with count_up("evaluate_tagger", "sentences") as report:
        evaluation.predict_pending(report)
    reports = evaluation.reports()
    write_summary(
        Folder.at(config.output),
        {
            "models": {
                model.config.name: {
                    "model": model.config.model,
                    "label_map": model.config.label_map,
                    "labels": sorted(model.labels),
                    **model.identity,
                }
                for model in evaluation.models
            },
            "gold": {name: report.to_dict() for name, report in reports.items()},
        },
    )
    for name, of_gold in reports.items():
        print_taggers(name, of_gold)


def plan(config: EvaluateTaggerConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    evaluation = TaggerEvaluation.plan(config)
    rows = {
        f"gold {gold.config.name}": f"{len(gold.sentences):,} sentences, "
        f"{gold.num_entities:,} entities: {_listed(gold.labels)}"
        for gold in evaluation.gold
    }
    for model in evaluation.models:
        pending = evaluation.pending(model)
        rows[f"model {model.config.name}"] = _listed(model.labels)
        rows[f"model {model.config.name} to be run on"] = _listed(g.config.name for g in pending)
        for gold in evaluation.gold:
            # A type that the gold does not mark is no mistake; one that it lacks is.
            strange = model.labels - gold.labels - set(gold.config.not_annotated)
            if strange:
                rows[f"{model.config.name} knows, {gold.config.name} lacks"] = _listed(strange)
            if missed := gold.labels - model.labels:
                rows[f"{gold.config.name} has, {model.config.name} lacks"] = _listed(missed)
    return {**rows, "engine": config.engine.kind, "output": str(Folder.at(config.output))}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


if __name__ == "__main__":
    run_job(EvaluateTaggerConfig, main, plan)
