"""The study as tables, plots and a page.

A line or a bar is a system, all of a cell but its seed; the band and the whisker are one standard
deviation over the seeds to either side.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from xner.evaluation.study import AXES, Cell
from xner.evaluation.study_results import SIGNIFICANT, Comparison, SystemScore
from xner.report.document import Part, write_document
from xner.report.plots import INK, drawn, plain
from xner.report.terminal import print_summary

Rankings = Mapping[tuple[str, str], Sequence[SystemScore]]

# More lines than these cannot be told apart.
_MOST_SYSTEMS = 8
_MOST_ROWS = 12

_REFERENCES = {"transfer": "direct transfer", "supervised": "trained on gold"}
_REFERENCE_LINES = {"transfer": ":", "supervised": "--"}
_SHARED_TITLE = "What all students share"
_AXES_TITLE = "What each axis changes"
_AXES_NOTE = (
    "Pairs of models that differ in nothing else; the difference is the mean of the first less the "
    "second, in F1. p over models: Fisher's randomisation test on the pairs; less than six of them "
    "can show nothing. p over sentences: paired bootstrap of the difference. The larger one, after "
    f"Holm's correction for the rows of this table, must be below {SIGNIFICANT} for a difference "
    "to be called significant. Models share teachers, aligners and text, so a p near that should "
    "be read as no. Teachers and entity aligners are trained once: what another training of them "
    "would do to the axes encoder and aligner, no p here can say."
)
_RANKING_NOTE = (
    "Strict F1, mean and standard deviation over seeds of the student; teacher and aligner are "
    "trained once. Gain: over direct transfer of the same encoder. Share: of the F1 of the same "
    "encoder trained on target gold. p: paired bootstrap over sentences against the best student, "
    "after Holm's correction for the rows of the table; it speaks of these models, not of other "
    "seeds."
)
_SIZE_NOTE = (
    "The systems that are best at their best size; bands are one standard deviation over seeds, "
    "dashed lines are training on gold, dotted ones direct transfer."
)
_DOMAIN_NOTE = "The best systems, at the largest size; whiskers are one standard deviation."


def system_name(cell: Cell, axes: Sequence[str]) -> str:
    """A system in one line, by its values on some axes."""
    values = [cell.value(axis) for axis in axes]
    return ", ".join(filter(None, [_REFERENCES.get(cell.system), *values])) or cell.system


def differing_axes(scores: Sequence[SystemScore]) -> list[str]:
    """The axes in which systems differ, those aside that have no choice."""
    return [axis for axis in AXES if len({each.cell.value(axis) for each in scores} - {None}) > 1]


def ranking_rows(scores: Sequence[SystemScore]) -> list[dict[str, Any]]:
    """A ranking as records for a table, with the axes in which its systems differ."""
    axes = differing_axes(scores)
    return [
        {
            "rank": rank,
            "system": _REFERENCES.get(each.cell.system, each.cell.system),
            **{axis: each.cell.value(axis) for axis in axes},
            "sentences": round(each.sentences) or None,
            "seeds": each.num_seeds,
            "F1": each.mean,
            "std": each.std,
            "gain": each.gain,
            "share": each.share,
            "p": each.p,
        }
        for rank, each in enumerate(scores, start=1)
    ]


def shared_rows(scores: Sequence[SystemScore]) -> list[dict[str, Any]]:
    """The axes in which students do not differ as records for a table."""
    differ = differing_axes(scores)
    students = [each.cell for each in scores if each.cell.system == "student"]
    return [
        {"axis": axis, "value": students[0].value(axis)}
        for axis in AXES
        if students and axis not in differ
    ]


def comparison_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Comparisons along the axes as records for a table."""
    return [
        {
            "axis": each.axis,
            "first": each.value,
            "second": each.other,
            "pairs": each.num_pairs,
            "difference": each.difference,
            "p over models": each.p_models,
            "p over sentences": each.p_sentences,
            "p": each.p,
            "significant": "yes" if each.is_significant else "no",
        }
        for each in comparisons
    ]


def print_study(rankings: Rankings, comparisons: Sequence[Comparison]) -> None:
    """Print the best systems and the references of each gold set, and what each axis changes."""
    for (lang, gold), scores in rankings.items():
        shown = [
            row
            for row in ranking_rows(scores)
            if row["rank"] <= _MOST_ROWS or row["system"] != "student"
        ]
        print_summary(f"{lang}, {gold}: {len(shown)} of {len(scores)} systems", shown)
    if comparisons:
        print_summary(_AXES_TITLE, comparison_rows(comparisons))


def write_study(
    path: str,
    figures: Mapping[str, Any],
    rankings: Rankings,
    comparisons: Sequence[Comparison],
) -> None:
    """Write the page to any fsspec location."""
    parts = [Part("At a glance", figures=figures), *study_parts(rankings, comparisons)]
    write_document(path, "Study", parts)


def study_parts(rankings: Rankings, comparisons: Sequence[Comparison]) -> list[Part]:
    """The parts of a page that tell of a study."""
    parts = []
    for (lang, gold), scores in rankings.items():
        on, rows = f"{lang}, {gold}", ranking_rows(scores)
        for what, plot, note in (
            ("F1 against corpus size", size_plot(scores), _SIZE_NOTE),
            ("F1 by domain", domain_plot(scores), _DOMAIN_NOTE),
        ):
            if plot is not None:
                parts.append(Part(f"{what}: {on}", note, plot=plot, rows=rows))
        parts.append(Part(f"Ranking: {on}", _RANKING_NOTE, rows=rows))
    everything = [each for scores in rankings.values() for each in scores]
    return [
        *parts,
        Part(_SHARED_TITLE, rows=shared_rows(everything)),
        Part(_AXES_TITLE, _AXES_NOTE, rows=comparison_rows(comparisons)),
    ]


def size_plot(scores: Sequence[SystemScore]) -> str | None:
    """F1 against the sentences trained on, as SVG; None where there is one size only."""
    students = [each for each in scores if each.cell.system == "student"]
    domains = {each.cell.domain for each in students}
    domain = "all" if "all" in domains else next(iter(sorted(map(str, domains))), None)
    lines = _grouped(
        [each for each in students if each.cell.domain == domain],
        lambda cell: replace(cell, size=None, seed=None),
    )
    if not any(len(points) > 1 for points in lines.values()):
        return None
    named = [axis for axis in differing_axes(scores) if axis not in ("size", "domain")]
    num_sentences: dict[int | None, list[float]] = defaultdict(list)
    for each in itertools.chain.from_iterable(lines.values()):
        num_sentences[each.cell.size].append(each.sentences)

    def draw(axes: Axes) -> None:
        for cell, points in lines.items():
            ordered = sorted(points, key=lambda each: each.sentences)
            sizes = [each.sentences for each in ordered]
            means = [each.mean for each in ordered]
            (line,) = axes.plot(sizes, means, marker="o", label=_label(cell, named))
            axes.fill_between(
                sizes,
                [each.mean - (each.std or 0) for each in ordered],
                [each.mean + (each.std or 0) for each in ordered],
                color=line.get_color(),
                alpha=0.15,
                linewidth=0,
            )
        for number, each in enumerate(each for each in scores if each.cell.system != "student"):
            axes.axhline(
                each.mean,
                color=INK,
                alpha=0.9 - 0.2 * (number // 2 % 4),
                linestyle=_REFERENCE_LINES[each.cell.system],
                linewidth=1.2,
                label=_label(each.cell, named),
            )
        axes.set_xscale("log")
        ticks = sorted({round(fmean(each)) for each in num_sentences.values()})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        of = "all corpora" if domain == "all" else plain(str(domain))
        axes.set_xlabel("sentences trained on" + (f", of {of}" if len(domains) > 1 else ""))

    return drawn(draw, "strict F1")


def domain_plot(scores: Sequence[SystemScore]) -> str | None:
    """F1 by domain at the largest size, as SVG; None where there is one domain only."""
    students = [each for each in scores if each.cell.system == "student"]
    largest = max(
        ({each.cell.size for each in students}),
        key=lambda size: float("inf") if size is None else size,
        default=None,
    )
    bars = _grouped(
        [each for each in students if each.cell.size == largest],
        lambda cell: replace(cell, domain=None, seed=None),
    )
    domains = sorted({str(each.cell.domain) for group in bars.values() for each in group})
    if len(domains) < 2:
        return None
    named = [axis for axis in differing_axes(students) if axis not in ("size", "domain")]

    def draw(axes: Axes) -> None:
        width = 0.8 / len(bars)
        for number, (cell, group) in enumerate(bars.items()):
            by_domain = {each.cell.domain: each for each in group}
            there = [place for place, domain in enumerate(domains) if domain in by_domain]
            found = [by_domain[domains[place]] for place in there]
            axes.bar(
                [place + width * (number + 0.5) - 0.4 for place in there],
                [each.mean for each in found],
                width,
                yerr=[each.std or 0 for each in found],
                ecolor=INK,
                label=_label(cell, named),
            )
        axes.set_xticks(range(len(domains)), [plain(domain) for domain in domains])

    return drawn(draw, "strict F1")


def _grouped(
    scores: Sequence[SystemScore], key: Callable[[Cell], Hashable]
) -> dict[Any, list[SystemScore]]:
    """The systems that differ in one axis together, those with the best member first, not all."""
    groups: dict[Any, list[SystemScore]] = defaultdict(list)
    for each in sorted(scores, key=lambda each: -each.mean):
        groups[key(each.cell)].append(each)
    return dict(list(groups.items())[:_MOST_SYSTEMS])


def _label(cell: Cell, axes: Sequence[str]) -> str:
    return plain(system_name(cell, axes))
