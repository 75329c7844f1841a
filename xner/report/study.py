"""The study as tables, plots and a page.

A line or a bar is a system, all of a cell but its seed; the band and the whisker are one standard
deviation over the seeds to either side.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xner.evaluation.study import AXES, Cell
from xner.evaluation.study_results import SIGNIFICANT, Comparison, SystemScore
from xner.report.page import write_page
from xner.report.terminal import print_summary

Rankings = Mapping[tuple[str, str], Sequence[SystemScore]]

# More lines than these cannot be told apart.
_MOST_SYSTEMS = 8
_MOST_ROWS = 12

_REFERENCES = {"transfer": "direct transfer", "supervised": "trained on gold"}
_AXES_TITLE = "What each axis changes"
_AXES_NOTE = (
    "Pairs of models that differ in nothing else; the difference is the mean of the first less the "
    "second, in F1. p over models: Fisher's randomisation test on the pairs. p over sentences: "
    "paired bootstrap on the counts summed over the models of each side. The larger one, after "
    f"Holm's correction for the rows of this table, must be below {SIGNIFICANT} for a difference "
    "to be called significant. Models share teachers, aligners and text, so a p near that should "
    "be read as no."
)
_RANKING_NOTE = (
    "Strict F1, mean and standard deviation over seeds of the student; teacher and aligner are "
    "trained once. Gain: over direct transfer of the same encoder. Share: of the F1 of the same "
    "encoder trained on target gold. p: paired bootstrap over sentences against the first row, "
    "after Holm's correction for the rows of the table."
)
_SIZE_NOTE = (
    "The systems that are best at their best size, on all corpora where there is a choice; bands "
    "are one standard deviation over seeds, dashed lines the references."
)
_DOMAIN_NOTE = "The best systems, at the largest size; whiskers are one standard deviation."


def system_name(cell: Cell, *without: str) -> str:
    """A system in one line, but for the axes named."""
    if cell.system != "student":
        return f"{_REFERENCES[cell.system]}, {cell.encoder}"
    parts = [cell.value(axis) for axis in AXES if axis not in without]
    return ", ".join(filter(None, parts))


def ranking_rows(scores: Sequence[SystemScore]) -> list[dict[str, Any]]:
    """A ranking as records for a table, with the axes in which its systems differ."""
    axes = [axis for axis in AXES if len({each.cell.value(axis) for each in scores} - {None}) > 1]
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
    tables = {_AXES_TITLE: comparison_rows(comparisons)}
    notes = {_AXES_TITLE: _AXES_NOTE}
    plots = {}
    for (lang, gold), scores in rankings.items():
        for what, plot, note in (
            ("F1 against corpus size", size_plot, _SIZE_NOTE),
            ("F1 by domain", domain_plot, _DOMAIN_NOTE),
        ):
            drawn = plot(scores)
            if drawn is not None:
                plots[f"{what}: {lang}, {gold}"] = drawn
                notes[f"{what}: {lang}, {gold}"] = note
        tables[f"Ranking: {lang}, {gold}"] = ranking_rows(scores)
        notes[f"Ranking: {lang}, {gold}"] = _RANKING_NOTE
    write_page(path, "xner: study", figures, tables, plots=plots, notes=notes)


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

    def draw(axes: Axes) -> None:
        for cell, points in lines.items():
            ordered = sorted(points, key=lambda each: each.sentences)
            sizes = [each.sentences for each in ordered]
            means = [each.mean for each in ordered]
            (line,) = axes.plot(sizes, means, marker="o", label=_label(cell, "size", "domain"))
            axes.fill_between(
                sizes,
                [each.mean - (each.std or 0) for each in ordered],
                [each.mean + (each.std or 0) for each in ordered],
                color=line.get_color(),
                alpha=0.15,
                linewidth=0,
            )
        for number, each in enumerate(each for each in scores if each.cell.system != "student"):
            axes.axhline(each.mean, color=str(0.3 + 0.15 * (number % 4)), linestyle="--",
                         linewidth=1, label=_label(each.cell))  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("sentences trained on")

    return _svg(draw)


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
                label=_label(cell, "size", "domain"),
            )
        axes.set_xticks(range(len(domains)), [_plain(domain) for domain in domains])

    return _svg(draw)


def _grouped(
    scores: Sequence[SystemScore], key: Callable[[Cell], Hashable]
) -> dict[Any, list[SystemScore]]:
    """The systems that differ in one axis together, those with the best member first, not all."""
    groups: dict[Any, list[SystemScore]] = defaultdict(list)
    for each in sorted(scores, key=lambda each: -each.mean):
        groups[key(each.cell)].append(each)
    return dict(list(groups.items())[:_MOST_SYSTEMS])


def _svg(draw: Callable[[Axes], None]) -> str:
    """What ``draw`` draws, with the labels beside it; the same figures give the same text."""
    settings = {"svg.fonttype": "none", "svg.hashsalt": "xner", "font.size": 9}
    content = io.StringIO()
    with rc_context(settings):
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set_ylabel("strict F1")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(content, format="svg", metadata={"Date": None})
    text = content.getvalue()
    # Inside a page neither the XML declaration nor the document type has a place.
    return text[text.index("<svg") :]


def _label(cell: Cell, *without: str) -> str:
    return _plain(system_name(cell, *without))


def _plain(text: str) -> str:
    """A text that matplotlib takes for no formula, and for no label to hide."""
    return text.replace("$", r"\$").lstrip("_")
