from __future__ import annotations

from pathlib import Path

import numpy as np

from xner.config import BootstrapConfig
from xner.evaluation.study import AXES, Cell
from xner.evaluation.study_results import Result, SystemScore, comparisons, rankings
from xner.report.study import (
    comparison_rows,
    domain_plot,
    ranking_rows,
    shared_rows,
    size_plot,
    system_name,
    write_study,
)

BOOTSTRAP = BootstrapConfig(samples=50)
HOSTILE = "models/<b>&$x$"
DOMAIN = "_News <b>&$y$"


def results(sizes: tuple[int | None, ...] = (10, None)) -> list[Result]:
    found = []
    for number, (size, domain, seed) in enumerate(
        (size, domain, seed) for size in sizes for domain in ("all", DOMAIN) for seed in (0, 1)
    ):
        cell = Cell("student", "de", HOSTILE, "hmm", "gce", "teacher", size, domain, seed)
        counts = np.tile([number + 1, 1, 1], (20, 1)).astype(np.int64)
        found.append(Result(cell, str(cell), "mini", counts, size or 1000, 1.0, 1.0))
    reference = Cell("transfer", "de", HOSTILE)
    found.append(Result(reference, "transfer", "mini", np.ones((20, 3), np.int64), 0, 1.0, 1.0))
    return found


def scores(*sizes: int | None) -> list[SystemScore]:
    return rankings(results(sizes or (10, None)), BOOTSTRAP)["de", "mini"]


def test_study_rows_show_the_axes_that_differ() -> None:
    best, *_, last = ranking_rows(scores())
    assert (best["rank"], best["size"], best["domain"], best["p"]) == (1, "all", DOMAIN, None)
    assert (last["system"], last["size"], last["seeds"]) == ("direct transfer", None, 1)
    assert "aligner" not in last
    assert [row["axis"] for row in shared_rows(scores())] == [
        "encoder", "teacher", "aligner", "loss", "initialisation",
    ]  # fmt: skip
    axes = comparison_rows(comparisons(results(), BOOTSTRAP))
    assert [row["axis"] for row in axes] == ["size", "domain"]
    assert [row["significant"] for row in axes] == ["no", "no"]


def test_study_names_a_system_by_its_axes() -> None:
    cell = Cell("student", "de", "xlm-r", "hmm", "gce", "teacher", 1000, "all", 0)
    assert system_name(cell, AXES) == "xlm-r, own, hmm, gce, teacher, 1,000, all"
    assert system_name(cell, ["encoder", "loss"]) == "xlm-r, gce"
    assert system_name(cell, []) == "student"
    assert system_name(Cell("supervised", "de", "xlm-r"), AXES) == "trained on gold, xlm-r"
    assert system_name(Cell("supervised", "de", "xlm-r"), ["loss"]) == "trained on gold"


def test_study_plots_where_there_is_something_to_compare() -> None:
    assert size_plot(scores(10)) is None
    plot = str(size_plot(scores(10, 1000, None)))
    # The sizes themselves stand at the axis, and what all systems share in no label.
    assert all(f">{size}<" in plot for size in ("10", "1,000"))
    assert "sentences trained on, of all corpora" in plot
    assert ">student<" in plot and ">direct transfer<" in plot and HOSTILE[:6] not in plot
    assert "<svg" in str(domain_plot(scores(10)))
    one_domain = [each for each in scores() if each.cell.domain != DOMAIN]
    assert domain_plot(one_domain) is None
    assert size_plot(scores()) == size_plot(scores())


def test_study_page_escapes_what_the_recipe_says(tmp_path: Path) -> None:
    path = tmp_path / "report" / "index.html"
    ranked = rankings(results(), BOOTSTRAP)
    write_study(str(path), {"cells": 9}, ranked, comparisons(results(), BOOTSTRAP))
    page = path.read_text()
    assert "<b>&" not in page
    assert ">models/&lt;b&gt;&amp;$x$" in page
    assert ">News &lt;b&gt;&amp;$y$<" in page  # in a plot
    assert page.count("<svg") == page.count("</svg>") == 2
    assert "<?xml" not in page and "<!DOCTYPE svg" not in page
