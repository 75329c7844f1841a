"""A projection report as tables on the terminal."""

from __future__ import annotations

from typing import Any

from xner.evaluation.calibration import Reliability
from xner.evaluation.projection import ProjectionReport
from xner.evaluation.projection_errors import KINDS
from xner.evaluation.scoring import Counts
from xner.report.terminal import print_summary


def print_projection(title: str, report: ProjectionReport) -> None:
    """Print the scores, what limits them, the calibration, and the errors by kind."""
    main = [
        {**_rates("typed", report.typed.overall), "95 % of F1": _f1_interval(report, "typed")},
        {
            **_rates("untyped", report.untyped.overall),
            "95 % of F1": _f1_interval(report, "untyped"),
        },
        _rates("ceiling, typed", report.ceiling.overall),
        _rates("ceiling, untyped", report.ceiling_untyped.overall),
        _rates("ceiling of the given mentions", report.ceiling_given.overall),
        _rates("given mentions on the source side", report.source.overall),
        _rates(f"accepted pairs ({report.num_accepted:,})", report.accepted.overall),
    ]
    print_summary(
        f"{title}: {report.num_pairs:,} pairs, {report.num_source_mentions:,} mentions projected, "
        f"{report.num_gold_mentions:,} in the gold ({report.inexpressible} cut words)",
        [{**row, "95 % of F1": row.get("95 % of F1", "")} for row in main],
    )
    groups = {
        "type": report.typed.labels,
        "words of the source mention": report.by_length,
        "the gold name against the source's": report.by_rendering,
    }
    for name, counts in groups.items():
        print_summary(f"By {name}", [_rates(group, each) for group, each in counts.items()])
    calibration = report.calibration
    print_summary(
        "Labels by score (strict; expected calibration error "
        f"{calibration.expected_error:.3f}, untyped {calibration.expected_error_untyped:.3f})",
        [_reliability(f">= {each.low:g}", each) for each in calibration.above]
        + [_reliability(f"{each.low:.1f} to {each.high:.1f}", each) for each in calibration.bins],
    )
    if report.errors:
        print_summary(
            "Errors",
            [
                {
                    "kind": kind,
                    "wrong": group.false_positives,
                    "missed": group.false_negatives,
                    "what it is": KINDS[kind],
                }
                for kind, group in report.errors.items()
            ],
        )
    for what, words in (("too many", report.added_words), ("lacking", report.lost_words)):
        if words:
            print(f"words {what} at borders:", ", ".join(f"{w} {n}" for w, n in words.items()))


def _rates(name: str, counts: Counts) -> dict[str, Any]:
    found = counts.true_positives
    return {
        "": name,
        "precision": counts.precision,
        "recall": counts.recall,
        "F1": counts.f1,
        "right": found,
        "wrong": counts.false_positives,
        "missed": counts.false_negatives,
    }


def _f1_interval(report: ProjectionReport, which: str) -> str:
    found = (report.typed_intervals if which == "typed" else report.untyped_intervals)["f1"]
    return f"{found.low:.4f} to {found.high:.4f}"


def _reliability(name: str, labels: Reliability) -> dict[str, Any]:
    return {
        "score": name,
        "labels": labels.num_labels,
        "mean score": labels.mean_score,
        "right": labels.right,
        "right untyped": labels.right_untyped,
    }
