"""The quickstart from end to end, so small that its models learn little."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from xner.config import QuickstartConfig

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {"pairs": 60, "teacher_sentences": 1500, "aligner_examples": 250, "test_sentences": 60}


@pytest.mark.slow
def test_quickstart_goes_the_whole_way(tmp_path: Path) -> None:
    settings = [text for key, value in SMALL.items() for text in (f"--{key}", str(value))]
    done = subprocess.run(
        [
            *(sys.executable, "jobs/quickstart.py", "--output", str(tmp_path / "out"), *settings),
            *("--engine.kind", "inline"),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert set(summary["languages"]) == {"de", "es", "nl", "zh"}
    for scores in summary["languages"].values():
        assert {"alignment_exact", "projection_f1", "student_f1", "transfer_f1"} <= set(scores)
        # Little as they learned: the aligner reads all languages, the teacher English alone.
        assert scores["alignment_exact"] > 0.3
        assert scores["transfer_f1"] < summary["teacher_f1"]
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "Scores against exact gold" in page


def test_quickstart_says_what_it_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROJECT / "jobs")
    job = runpy.run_path(str(PROJECT / "jobs" / "quickstart.py"))
    told = job["plan"](QuickstartConfig(**SMALL, output=str(tmp_path / "out")))
    assert told["text"].startswith("60 pairs") and told["text"].endswith("en and de, es, nl, zh")
    assert told["output"] == str(tmp_path / "out")
    assert not (tmp_path / "out").exists()
