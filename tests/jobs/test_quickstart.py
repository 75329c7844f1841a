"""The quickstart from end to end, so small that its models learn little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {"pairs": 60, "teacher_sentences": 1500, "aligner_examples": 600, "test_sentences": 60}


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
        assert all(0 <= score <= 1 for score in scores.values())
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "Scores against exact gold" in page
