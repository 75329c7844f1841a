"""Plots as SVG for the middle of a page: lines and letters have the colour of the page's text."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

from matplotlib import cycler, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Stands for the colour of the text, which matplotlib knows no name of.
INK = "#010203"
# Told apart in light and dark, and by people who see red and green alike.
COLOURS = ("#2f7fd6", "#dd8500", "#119e74", "#c95f9c", "#8a6fd8", "#b8472a", "#0aa3b8", "#8d8d2a")

_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xner",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "savefig.transparent": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


def drawn(draw: Callable[[Axes], None], ylabel: str, legend: bool = True) -> str:
    """What ``draw`` draws, with the labels below it; the same figures give the same text."""
    content = io.StringIO()
    with rc_context({**_SETTINGS, "axes.prop_cycle": cycler(color=COLOURS)}):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y", alpha=0.2)
        if legend:
            _set_legend(figure, axes)
        figure.savefig(content, format="svg", metadata={"Date": None})
    text = content.getvalue()
    # Inside a page neither the XML declaration nor the document type has a place.
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _set_legend(figure: Figure, axes: Axes) -> None:
    """The labels below the plot, which keeps its height however many they are."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) < 45 else 1
    figure.set_figheight(figure.get_figheight() + 0.22 * (len(labels) // columns))
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False)


def score_plot(counts: Mapping[str, Sequence[int]], what: str) -> str:
    """Bars for counts of scores in bins of equal width over [0, 1], stacked by name."""

    def draw(axes: Axes) -> None:
        bottom = [0] * len(next(iter(counts.values())))
        width = 1 / len(bottom)
        for name, of_bins in counts.items():
            places = [width * number for number in range(len(bottom))]
            axes.bar(places, of_bins, 0.92 * width, bottom=bottom, align="edge", label=name)
            bottom = [below + count for below, count in zip(bottom, of_bins, strict=True)]
        axes.set_xlim(0, 1)
        axes.set_xlabel(what)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")

    return drawn(draw, "mentions")


def reliability_plot(points: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Shares that are right against scores, in [0, 1]; what is calibrated is on the diagonal."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linestyle=":", label="calibrated")
        for name, of_name in points.items():
            scores, right = zip(*of_name, strict=True)
            axes.plot(scores, right, marker="o", label=name)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="score of the label")

    return drawn(draw, "share that is right")


def interval_plot(rows: Sequence[tuple[str, float, float, float]]) -> str:
    """Names with a value and the ends of its interval, one below the other."""

    def draw(axes: Axes) -> None:
        for place, (_, value, low, high) in enumerate(reversed(rows)):
            axes.plot([low, high], [place, place], color=COLOURS[0], alpha=0.45, linewidth=5)
            axes.plot([value], [place], marker="o", color=COLOURS[0])
        axes.set_yticks(range(len(rows)), [plain(name) for name, *_ in reversed(rows)])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.grid(axis="x", alpha=0.2)
        axes.set_xlabel("strict F1, with its 95 % interval")

    return drawn(draw, "", legend=False)


def plain(text: str) -> str:
    """A text that matplotlib takes for no formula, and for no label to hide."""
    return text.replace("$", r"\$").lstrip("_")
