"""A projection report as tables on the terminal."""

from __future__ import annotations

from typing import Any

from xner.evaluation.bootstrap import Comparison
from xner.evaluation.calibration import Reliability
from xner.evaluation.projection import ProjectionReport
from xner.evaluation.projection_errors import KINDS
from xner.report.scores import between, compared, rates
from xner.report.terminal import print_summary


def print_projection(title: str, report: ProjectionReport) -> None:
    """Print the scores, what limits them, the calibration, and the errors by kind."""
    scores = {
        "typed": (report.typed, report.typed_intervals["f1"]),
        "untyped": (report.untyped, report.untyped_intervals["f1"]),
        "ceiling, typed": (report.ceiling, None),
        "ceiling, untyped": (report.ceiling_untyped, None),
        "ceiling of the given mentions": (report.ceiling_given, None),
        "given mentions on the source side": (report.source, None),
        f"accepted pairs ({report.num_accepted:,})": (report.accepted, None),
    }
    print_summary(
        f"{title}: {report.num_pairs:,} pairs, {report.num_source_mentions:,} mentions projected, "
        f"{report.num_gold_mentions:,} in the gold ({report.inexpressible} cut words)",
        [
            {**rates(name, each.overall), "95 % of F1": between(interval)}
            for name, (each, interval) in scores.items()
        ],
    )
    groups = {
        "type": report.typed.labels,
        "words of the source mention": report.by_length,
        "the gold name against the source's": report.by_rendering,
    }
    for name, counts in groups.items():
        print_summary(f"By {name}", [rates(group, each) for group, each in counts.items()])
    calibration = report.calibration
    print_summary(
        "Labels by score (strict; expected calibration error "
        f"{calibration.expected_error:.3f}, untyped {calibration.expected_error_untyped:.3f})",
        [_reliability(f">= {each.low:g}", each) for each in calibration.above]
        + [
            _reliability(f"{each.low:.1f} to {each.high:.1f}", each)
            for each in calibration.bins
            if each.num_labels
        ],
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


def print_comparison(title: str, comparison: Comparison) -> None:
    """Print how much better one evaluation is than another, and how sure that is."""
    print_summary(
        title,
        [compared("typed", comparison.typed), compared("untyped", comparison.untyped)],
    )


def _reliability(name: str, labels: Reliability) -> dict[str, Any]:
    return {
        "score": name,
        "labels": labels.num_labels,
        "mean score": labels.mean_score,
        "right": labels.right,
        "right untyped": labels.right_untyped,
    }
