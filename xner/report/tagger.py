"""The scores of taggers as tables on the terminal."""

from __future__ import annotations

from xner.evaluation.tagger_run import GoldReport
from xner.report.scores import between, compared, rates
from xner.report.terminal import print_summary


def print_taggers(gold: str, report: GoldReport) -> None:
    """Print how the models do on one gold set, overall, by type, and against each other."""
    first = next(iter(report.models.values()))
    print_summary(
        f"{gold}: {first.num_sentences:,} sentences, {first.num_words:,} words, "
        f"{first.num_entities:,} entities",
        [
            {
                **rates(f"{name}, {reading}", found.scores.overall),
                "95 % of F1": between(found.intervals["f1"]),
                "macro F1": found.scores.macro_f1,
            }
            for name, each in report.models.items()
            for reading, found in (("strict", each.strict), ("lenient", each.lenient))
        ],
    )
    print_summary(
        f"{gold}: by type, strict",
        [
            rates(f"{label}, {name}", each.strict.scores.labels[label])
            for label in sorted({t for r in report.models.values() for t in r.strict.scores.labels})
            for name, each in report.models.items()
            if label in each.strict.scores.labels
        ],
    )
    if report.comparisons:
        print_summary(
            f"{gold}: strict F1 of one model less that of another, each test by itself",
            [compared(f"{c.model} - {c.other}", c.strict) for c in report.comparisons],
        )
    for name, each in report.models.items():
        if each.labels_not_in_gold:
            found = ", ".join(f"{label} {num}" for label, num in each.labels_not_in_gold.items())
            print(
                f"{name} finds what {gold} does not have, counted as wrong: {found}. Where the "
                "gold does not mark them: not_annotated of the gold; where it calls them "
                "otherwise: label_map of the model."
            )
