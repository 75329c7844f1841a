"""What bash offers at a Tab, asked of a real bash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xner.completion import completion
from xner.config import ExportConfig
from xner.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made as the README says."""
    path = tmp_path_factory.mktemp("completion") / "completion.bash"
    with path.open("w") as file:
        subprocess.run(
            [sys.executable, "-m", "xner.completion"], cwd=PROJECT, stdout=file, check=True
        )
    return path


def offered(script: Path, line: str) -> list[str]:
    """What is offered for the last word of a line, by the function that bash would call."""
    program, *_ = line.split(" ")
    asked = f"""
        source {script}
        specification=$(complete -p {program.rpartition("/")[2]})
        [[ $specification =~ -F\\ ([^ ]+) ]]
        COMP_WORDS=({line.removesuffix(" ")}{' ""' if line.endswith(" ") else ""})
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        ${{BASH_REMATCH[1]}}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    shell = ["bash", "--norc", "-c", asked]
    done = subprocess.run(shell, cwd=PROJECT, capture_output=True, text=True, check=True)
    # Without a completion of the shell's own, compopt complains that there is none to change.
    assert done.stderr.replace("compopt: not currently executing completion function", "") == ""
    return done.stdout.split()


@pytest.mark.parametrize("python", ["python", "python3", ".venv/bin/python"])
def test_completion_offers_the_settings_of_the_job(script: Path, python: str) -> None:
    settings = offered(script, f"{python} jobs/export.py jobs/recipes/export.toml --")
    assert {f"--{name}" for name in ExportConfig.model_fields} < set(settings)
    assert "--dry-run" in settings and "--teacher.model" not in settings
    pools = offered(script, f"{python} jobs/project_corpus.py --teacher.pool.m")
    assert pools == ["--teacher.pool.min_size", "--teacher.pool.max_size"]


def test_completion_offers_the_values_of_a_setting(script: Path) -> None:
    start = "python jobs/export.py --output out"
    assert offered(script, f"{start} --format ") == [
        "datasets", "conll", "spacy", "jsonl", "label-studio",
    ]  # fmt: skip
    assert offered(script, f"{start} --public t") == ["true"]
    assert offered(script, "python ./jobs/project_corpus.py --engine.kind ") == ["ray", "inline"]


def test_completion_leaves_files_and_other_scripts_to_the_shell(script: Path) -> None:
    for line in ("jobs/export.py ", "jobs/export.py --pseudo ", "jobs/ex", "other.py --", "-m py"):
        assert offered(script, f"python {line}") == []
    # Where nothing is offered, bash takes file names.
    assert "-o default -F _xner_python python" in script.read_text()


def test_completion_without_jobs_says_where_to_run_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no jobs"):
        completion(tmp_path)
