"""The API documentation is made from the docstrings without a warning, as `make docs` makes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# What imports torch and Ray is left to `make docs`: it takes a minute.
LIGHT = ("config", "corpora", "errors", "projection", "shards", "text")


@pytest.mark.slow
def test_docs_are_made_without_a_warning(tmp_path: Path) -> None:
    names = [f"xner.{name}" for name in LIGHT]
    made = subprocess.run(
        [sys.executable, "-m", "pdoc", *names, "--output-directory", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert "Warn" not in made.stdout + made.stderr
    pages = {page.stem for page in (tmp_path / "xner" / "corpora").glob("*.html")}
    modules = {path.stem for path in (PROJECT / "xner" / "corpora").glob("*.py")}
    assert modules - {"__init__"} <= pages
