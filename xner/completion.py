"""What makes a shell complete the jobs' settings: ``python -m xner.completion > FILE``.

The file is static, so a Tab costs nothing; importing a job, which imports torch and Ray, would take
seconds. It is written by shtab, of one parser that has each job as a command. A shell completes by
a command's name, and that of a job is ``python``: a function of ours tells jobs from other scripts.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

import shtab
from pydantic import BaseModel

from xner import config
from xner.command_line import job_parser
from xner.errors import ConfigError

_PROGRAM = "xner"

# The words stay where they are: the interpreter takes the program's place, and the script, the
# job's. Nothing found means file names, for values of settings and for other scripts.
_BASH = f"""
_{_PROGRAM}_python() {{
  COMPREPLY=()
  local name=${{COMP_WORDS[1]##*/}}
  name=${{name%.py}}
  if (( COMP_CWORD > 1 )) && [[ ${{COMP_WORDS[1]}} == *jobs/$name.py &&
      " ${{_shtab_{_PROGRAM}_subparsers[*]}} " == *" $name "* ]]; then
    COMP_WORDS[1]=$name
    _shtab_{_PROGRAM}
  fi
}}
complete -o bashdefault -o default -F _{_PROGRAM}_python python python3
"""


def completion(jobs: Path) -> str:
    """The script for bash that completes ``python jobs/NAME.py`` for every job in a folder.

    Raises ConfigError where there is no job.
    """
    parser = argparse.ArgumentParser(prog=_PROGRAM)
    commands = parser.add_subparsers()
    for path in sorted(jobs.glob("*.py")):
        job = job_parser(_record_of(path), None, with_values=True)
        # Without a help, shtab takes a command for a hidden one.
        commands.add_parser(path.stem, parents=[job], add_help=False, help=path.stem)
    if not commands.choices:
        raise ConfigError(f"{jobs}: no jobs (*.py) here; run this where xner's folder jobs is")
    return str(shtab.complete(parser, "bash")) + _BASH


def _record_of(job: Path) -> type[BaseModel]:
    """The settings of a job: what the call at its end gives to ``run_job``."""
    (call,) = (
        node
        for node in ast.walk(ast.parse(job.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "run_job"
    )
    record: type[BaseModel] = getattr(config, ast.unparse(call.args[0]))
    return record


if __name__ == "__main__":
    try:
        print(completion(Path("jobs")))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
