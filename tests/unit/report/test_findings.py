"""What other jobs write into their summary.json is what the report reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xner.config import BootstrapConfig
from xner.errors import ConfigError, DataError
from xner.evaluation.bootstrap import Difference, Interval
from xner.evaluation.calibration import calibrate
from xner.evaluation.scoring import score_mentions
from xner.evaluation.study import Cell
from xner.evaluation.study_results import Result, comparisons, rankings
from xner.evaluation.tagger_run import GoldReport, TaggerComparison
from xner.evaluation.tagging import evaluate
from xner.report.document import render_document
from xner.report.findings import findings
from xner.report.terminal import write_summary
from xner.shards.storage import Folder
from xner.text.mentions import Mention

BOOTSTRAP = BootstrapConfig(samples=50)
TAGS = [["B-PER", "O"], ["O", "B-LOC"], ["B-PER", "I-PER"]]


def summary(folder: Path, **values: Any) -> str:
    write_summary(Folder.at(str(folder)), values)
    return str(folder)


def text_of(location: str) -> str:
    return render_document("t", findings(location))


def test_findings_of_evaluate_tagger(tmp_path: Path) -> None:
    right, wrong = evaluate(TAGS, TAGS, BOOTSTRAP), evaluate(TAGS, [["O", "O"]] * 3, BOOTSTRAP)
    difference = Difference(1.0, Interval(0.5, 1.0), 0.04)
    report = GoldReport(
        {"student": right, "teacher": wrong},
        [TaggerComparison("student", "teacher", difference, difference)],
    )
    page = text_of(summary(tmp_path, models={}, gold={"GermEval": report.to_dict()}))
    assert "Students and teachers: GermEval" in page and page.count("<svg") == 1
    assert "0.5000 to 1.0000" in page and ">LOC<" in page
    assert "Paired tests: GermEval" in page and ">0.04<" in page


def test_findings_of_evaluate_projection(tmp_path: Path) -> None:
    mentions = [[Mention(0, 4, "PER")], [Mention(5, 9, "LOC")]]
    scores = score_mentions(mentions, [mentions[0], []])
    typed = {**scores.to_dict(), "intervals": {"f1": asdict(Interval(0.25, 0.75))}}
    found = summary(
        tmp_path / "eval-de",
        typed=typed,
        ceiling=scores.to_dict(),
        accepted={"pairs": 1, **scores.to_dict()},
        calibration=asdict(calibrate([(0.9, True, True), (0.8, False, True)])),
        errors={"no_candidate": {"false_positives": 0, "false_negatives": 7}},
    )
    page = text_of(found)
    assert "Calibration: eval-de" in page and page.count("<svg") == 1
    assert "0.8 to 0.9" in page and "0.2500 to 0.7500" in page
    assert "the aligner found no place" in page


def test_findings_of_a_projection_that_placed_nothing(tmp_path: Path) -> None:
    scores = score_mentions([[Mention(0, 4, "PER")]], [[]])
    found = summary(
        tmp_path,
        typed={**scores.to_dict(), "intervals": {"f1": asdict(Interval(0.0, 0.0))}},
        ceiling=scores.to_dict(),
        accepted={"pairs": 1, **scores.to_dict()},
        calibration=asdict(calibrate([])),
        errors={"no_candidate": {"false_positives": 0, "false_negatives": 1}},
    )
    assert "<svg" not in text_of(found)


def test_findings_of_run_study(tmp_path: Path) -> None:
    results = [
        Result(
            Cell("student", "de", "xlm-r", "hmm", "gce", "teacher", size, "all", seed),
            f"score-{size}-{seed}",
            "mini",
            np.tile([number + 1, 1, 1], (20, 1)),
            size,
            training_seconds=1.0,
            scoring_seconds=1.0,
        )
        for number, size in enumerate((10, 100))
        for seed in (0, 1)
    ]
    ranked, compared = rankings(results, BOOTSTRAP), comparisons(results, BOOTSTRAP)
    found = summary(
        tmp_path,
        rankings=[
            {"lang": lang, "gold": gold, "systems": [asdict(score) for score in scores]}
            for (lang, gold), scores in ranked.items()
        ],
        axes=[{**asdict(each), "significant": each.is_significant} for each in compared],
    )
    page = text_of(found)
    assert "F1 against corpus size: de, mini" in page and page.count("<svg") == 1
    assert "What each axis changes" in page and ">size<" in page


def test_findings_of_the_quickstart(tmp_path: Path) -> None:
    names = ("alignment_exact", "pairs_accepted", "projection_f1", "student_f1", "transfer_f1")
    scores = {name: number / 8 for number, name in enumerate(names)}
    page = text_of(summary(tmp_path, languages={"de": scores}, teacher_f1=0.875))
    assert "in English: 0.8750" in page and ">0.375<" in page and "F1 of the student" in page


def test_findings_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no summary\.json here"):
        findings(str(tmp_path))
    with pytest.raises(ConfigError, match="of no job that the report knows"):
        findings(summary(tmp_path / "a", rows=1))
    with pytest.raises(DataError, match=r"summary\.json: not as this version of xner writes it"):
        findings(summary(tmp_path / "b", models={}, gold={"x": {}}))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "summary.json").write_text(json.dumps([1]))
    with pytest.raises(DataError, match="expected a JSON object"):
        findings(str(tmp_path / "c"))
