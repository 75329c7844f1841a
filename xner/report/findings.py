"""What other jobs found, told by the summary.json of their folders, as parts of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xner.errors import ConfigError, DataError
from xner.evaluation.bootstrap import Interval
from xner.evaluation.projection_errors import KINDS
from xner.evaluation.study import Cell
from xner.evaluation.study_results import Comparison, SystemScore
from xner.report.document import Part
from xner.report.plots import interval_plot, reliability_plot
from xner.report.scores import between
from xner.report.study import study_parts
from xner.shards.ledger import SUMMARY_FILE
from xner.shards.storage import Folder

Summary = Mapping[str, Any]

_TAGGER_NOTE = (
    "Strict: a mention counts when both borders and the type are right (seqeval, IOB2). Intervals "
    "are of 95 %, by resampling of sentences."
)
_COMPARED_NOTE = (
    "Strict F1 of one model less that of another, on the same resamples of sentences; each test by "
    "itself, not corrected for the number of them."
)
_PROJECTION_NOTE = (
    "Projected mentions against the gold of the translation, strict. The ceiling is what a perfect "
    "projector would reach: the two sides of a gold do not mark the same."
)
_CALIBRATION_NOTE = (
    "Whether a label's score, the teacher's times the alignment's, is the share of such labels "
    "that is right."
)
_MADE_NOTE = (
    "Names at test time are unknown to all models. Direct transfer is the English teacher, asked "
    "in the other language."
)


def findings(location: str) -> list[Part]:
    """The parts of a page that tell of the output folder of one job.

    Raises ConfigError for a folder of another job, DataError for a summary that cannot be read.
    """
    folder = Folder.at(location)
    summary = folder.read_record(SUMMARY_FILE)
    if summary is None:
        raise ConfigError(f"results: {folder}: no {SUMMARY_FILE} here")
    for keys, tell in _JOBS.items():
        if keys <= summary.keys():
            try:
                return tell(summary, folder.name)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(
                    f"{folder}/{SUMMARY_FILE}: not as this version of xner writes it: {error!r}"
                ) from error
    raise ConfigError(
        f"results: {folder}: its {SUMMARY_FILE} is of no job that the report knows; expected "
        "evaluate_tagger, evaluate_projection, run_study or quickstart"
    )


def _tagger(summary: Summary, _: str) -> list[Part]:
    parts = []
    for gold, report in summary["gold"].items():
        rows = [
            {"model": model, "type": label, **_rates(counts)}
            for model, each in report["models"].items()
            for label, counts in [("all", each["strict"]), *each["strict"]["labels"].items()]
        ]
        plot = interval_plot(
            [
                (model, each["strict"]["f1"], *_ends(each["strict"]["intervals"]["f1"]))
                for model, each in report["models"].items()
            ]
        )
        parts.append(Part(f"Students and teachers: {gold}", _TAGGER_NOTE, plot=plot, rows=rows))
        compared = [
            {
                "model": each["model"],
                "other": each["other"],
                "difference": each["strict"]["f1"],
                "95 %": between(Interval(**each["strict"]["interval"])),
                "p": each["strict"]["p"],
            }
            for each in report["comparisons"]
        ]
        if compared:
            parts.append(Part(f"Paired tests: {gold}", _COMPARED_NOTE, rows=compared))
    return parts


def _projection(summary: Summary, name: str) -> list[Part]:
    typed, calibration = summary["typed"], summary["calibration"]
    bins = [each for each in calibration["bins"] if each["num_labels"]]
    scores = [
        {"type": label, **_rates(counts)}
        for label, counts in [("all", typed), *typed["labels"].items()]
    ]
    scores.append({"type": "all, ceiling", **_rates(summary["ceiling"])})
    scores.append({"type": "all, accepted pairs", **_rates(summary["accepted"])})
    points = {
        "span and type": [(each["mean_score"], each["right"]) for each in bins],
        "span": [(each["mean_score"], each["right_untyped"]) for each in bins],
    }
    # Where nothing was placed there is nothing to draw.
    plot = reliability_plot(points) if bins else None
    error = calibration["expected_error"]
    return [
        Part(f"Projection on gold: {name}", _PROJECTION_NOTE, rows=scores),
        Part(
            f"Calibration: {name}",
            f"{_CALIBRATION_NOTE} Expected calibration error: {error:.3f}.",
            plot=plot,
            rows=[
                {
                    "scores": f"{each['low']:.1f} to {each['high']:.1f}",
                    "labels": each["num_labels"],
                    "mean score": each["mean_score"],
                    "right": each["right"],
                    "right but for the type": each["right_untyped"],
                }
                for each in bins
            ],
        ),
        Part(
            f"Errors of projection: {name}",
            rows=[
                {
                    "kind": kind,
                    "wrong": group["false_positives"],
                    "missed": group["false_negatives"],
                    "what it is": KINDS.get(kind, ""),
                }
                for kind, group in summary["errors"].items()
            ],
        ),
    ]


def _study(summary: Summary, _: str) -> list[Part]:
    rankings = {
        (ranked["lang"], ranked["gold"]): [
            SystemScore(**{**score, "gold": ranked["gold"], "cell": Cell(**score["cell"])})
            for score in ranked["systems"]
        ]
        for ranked in summary["rankings"]
    }
    compared = [
        Comparison(**{key: value for key, value in axis.items() if key != "significant"})
        for axis in summary["axes"]
    ]
    return study_parts(rankings, compared)


def _quickstart(summary: Summary, _: str) -> list[Part]:
    names = {
        "alignment_exact": "names placed exactly",
        "pairs_accepted": "pairs accepted",
        "projection_f1": "F1 of projected labels",
        "student_f1": "F1 of the student",
        "transfer_f1": "direct transfer",
    }
    rows = [
        {"language": lang, **{name: scores[key] for key, name in names.items()}}
        for lang, scores in summary["languages"].items()
    ]
    note = f"{_MADE_NOTE} F1 of the teacher in English: {summary['teacher_f1']:.4f}."
    return [Part("Scores against exact gold", note, rows=rows)]


_JOBS = {
    frozenset({"models", "gold"}): _tagger,
    frozenset({"typed", "calibration"}): _projection,
    frozenset({"rankings", "axes"}): _study,
    frozenset({"languages", "teacher_f1"}): _quickstart,
}


def _rates(counts: Summary) -> dict[str, Any]:
    interval = counts.get("intervals", {}).get("f1")
    return {
        "F1": counts["f1"],
        "95 % of F1": between(Interval(**interval) if interval else None),
        "precision": counts["precision"],
        "recall": counts["recall"],
        "right": counts["true_positives"],
        "wrong": counts["false_positives"],
        "missed": counts["false_negatives"],
    }


def _ends(interval: Summary) -> tuple[float, float]:
    return interval["low"], interval["high"]
