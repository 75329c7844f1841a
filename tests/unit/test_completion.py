"""What bash and zsh offer at a Tab, asked of real ones."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
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
        completion(tmp_path, "bash")


# Notes what compadd is given and would show, and where a line is done; a Tab may ask several times.
_ZSH = r"""
autoload -Uz compinit && compinit -u -D
PS1= RPS1=
compadd() {
  local -a shown
  if [[ " $* " != *" -"[OAD]" "* ]]; then
    builtin compadd -O shown "$@"
    print -rl -- $shown >> $OFFERED
  fi
  builtin compadd "$@"
}
_done() { print end >> $OFFERED; BUFFER= }
zle -N _done
bindkey "^X" _done
bindkey "^I" complete-word
eval "$(<$SCRIPT)"
print ready >> $OFFERED
"""


class Zsh:
    """An interactive zsh with the completion that the README puts into it."""

    def __init__(self, program: str, folder: Path) -> None:
        self.offered_file = folder / "offered"
        script = folder / "completion.zsh"
        with script.open("w") as file:
            command = [sys.executable, "-m", "xner.completion", "zsh"]
            subprocess.run(command, cwd=PROJECT, stdout=file, check=True)
        (folder / "start").write_text(_ZSH)
        self.terminal, end = pty.openpty()
        given = {"OFFERED": str(self.offered_file), "SCRIPT": str(script), "TERM": "dumb"}
        self.process = subprocess.Popen(
            [program, "-f", "-i"],
            cwd=PROJECT,
            env=os.environ | given,
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(end)
        self._type(f"source {folder / 'start'}\n", until="ready")

    def _type(self, keys: str, until: str) -> list[str]:
        self.offered_file.write_text("")
        os.write(self.terminal, keys.encode())
        for _ in range(1200):
            found = self.offered_file.read_text().splitlines()
            if until in found:
                return found[: found.index(until)]
            time.sleep(0.05)
        raise AssertionError(f"zsh did not answer {keys!r}")

    def offered(self, line: str) -> set[str]:
        return {word for word in self._type(f"{line}\t\x18", until="end") if word}


@pytest.fixture(scope="module")
def zsh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zsh]:
    program = shutil.which("zsh")
    if program is None:
        pytest.skip("zsh is not installed")
    shell = Zsh(program, tmp_path_factory.mktemp("zsh"))
    yield shell
    shell.process.kill()
    shell.process.wait()
    os.close(shell.terminal)


@pytest.mark.parametrize("python", ["python", "python3", ".venv/bin/python"])
def test_completion_of_zsh_offers_the_settings_of_the_job(zsh: Zsh, python: str) -> None:
    settings = zsh.offered(f"{python} jobs/export.py jobs/recipes/export.toml --")
    assert {f"--{name}" for name in ExportConfig.model_fields} < settings
    assert "--dry-run" in settings and "--teacher.model" not in settings
    pools = zsh.offered(f"{python} jobs/project_corpus.py --teacher.pool.m")
    assert pools == {"--teacher.pool.min_size", "--teacher.pool.max_size"}


def test_completion_of_zsh_offers_values_and_files(zsh: Zsh) -> None:
    start = "python jobs/export.py --output out"
    assert zsh.offered(f"{start} --format ") == {
        "datasets", "conll", "spacy", "jsonl", "label-studio",
    }  # fmt: skip
    assert zsh.offered("python jobs/export.py jobs/recipes/exp") == {"export.toml"}
    assert zsh.offered("python jobs/export.py --pseudo READ") == {"README.md"}
    assert "--pseudo" not in zsh.offered("python setup.py --")
