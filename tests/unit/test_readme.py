"""Every command of the README works as it is written, or names the test that runs its like."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from xner.config import PrepareConfig, ProjectConfig, TrainAlignerConfig, TrainTaggerConfig

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text()
JOBS = {path.stem for path in (PROJECT / "jobs").glob("*.py")}

JOB_RECORDS = (PrepareConfig, ProjectConfig, TrainAlignerConfig, TrainTaggerConfig)

#: Commands that are too long, or change the machine: the test that does the same, or why none does.
ELSEWHERE = {
    "python3 -m venv .venv": "make setup, by which this very test runs",
    ".venv/bin/pip install 'torch<2.14' --index-url https://download.pytorch.org/whl/cpu": (
        "needs a network"
    ),
    ". .venv/bin/activate": "of the shell",
    ".venv/bin/python -m xner.completion bash > .venv/completion.bash": (
        "tests/unit/test_completion.py"
    ),
    ". .venv/completion.bash": "tests/unit/test_completion.py",
    "export RAY_AUTH_MODE=token": "tests/jobs/test_submit.py",
    "ray get-auth-token --generate": "tests/jobs/test_submit.py",
    "ray start --head": "tests/jobs/test_submit.py",
    "ray job submit --address http://127.0.0.1:8265 --working-dir . -- "
    "python jobs/project_corpus.py s3://BUCKET/recipes/project_corpus.toml": (
        "tests/jobs/test_submit.py"
    ),
    ".venv/bin/python jobs/prepare_corpus.py jobs/recipes/prepare_corpus.toml --dry-run": (
        "asks OPUS; tests/jobs/test_prepare_corpus.py"
    ),
}


def commands(text: str) -> list[str]:
    """The commands of the ``sh`` blocks, without comments, a continued line as one."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\\\n\s*", "", block) for block in blocks]
    plain = [re.sub(r"\s+#.*", "", line) for block in lines for line in block.splitlines()]
    return list(dict.fromkeys(filter(None, plain)))


COMMANDS = commands(README)


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in ELSEWHERE])
def test_readme_command_works(command: str) -> None:
    program, *arguments = command.split()
    if program == "make":
        if shutil.which("make") is None:
            pytest.skip("no make here")
        # Names the recipe of the target without running it.
        run = ["make", "--dry-run", *arguments]
    else:
        assert program == ".venv/bin/python" and arguments[-1] == "--help", f"untested: {command}"
        run = [sys.executable, *arguments]
    done = subprocess.run(run, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readme_commands_tested_elsewhere_are_in_it() -> None:
    assert set(ELSEWHERE) <= set(COMMANDS)
    named = re.findall(r"tests/[\w/]+\.py", " ".join(ELSEWHERE.values()))
    assert named and all((PROJECT / test).is_file() for test in named)


def test_readme_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    sources = [path.read_text() for path in (PROJECT / "tests").rglob("test_*.py")]
    there = {
        name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    }
    assert len(named) > 10 and named <= there


def test_readme_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", README))
    assert named and named <= targets


def test_readme_of_the_cluster_names_files_that_exist() -> None:
    # Its commands need a cluster; what they ship from here must be here.
    blocks = " ".join(commands((PROJECT / "cluster" / "README.md").read_text()))
    named = re.findall(r"\b(?:cluster|jobs)/[\w./-]+\b", blocks.replace("/BUCKET/", "/"))
    assert named and not [path for path in named if not (PROJECT / path).is_file()]


def test_readme_table_of_jobs_is_that_of_the_folder() -> None:
    table = README.partition("| job |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == JOBS


def test_readme_settings_exist() -> None:
    groups = "teacher|aligner|loss|optimization|sampling|opus|quality|cleaning|engine"
    named = re.findall(rf"`((?:{groups})\.[a-z_.]+)", README)
    known = {name for record in JOB_RECORDS for name in settings(record)}
    assert named and set(named) <= known


def settings(record: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings of a record, and of the groups in it."""
    for name, field in record.model_fields.items():
        yield f"{prefix}{name}"
        for each in (field.annotation, *get_args(field.annotation)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from settings(each, f"{prefix}{name}.")


def test_readme_quotes_errors_as_they_are() -> None:
    table = README.partition("| the message says |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    quoted = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    source = "".join(path.read_text() for path in sorted((PROJECT / "xner").rglob("*.py")))
    # A message may be written as several strings, one a line.
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    assert len(quoted) >= len(cells) > 10
    assert [text for text in quoted if text not in source and text != "401"] == []
