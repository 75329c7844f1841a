"""What makes bash or zsh complete the jobs' settings: ``python -m xner.completion SHELL > FILE``.

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

# Other scripts are completed as zsh has it.
_ZSH = f"""
_{_PROGRAM}_python() {{
  local name=${{words[2]:t:r}}
  if (( CURRENT > 2 && $+parameters[_shtab_{_PROGRAM}_${{name}}_options] )) &&
      [[ $words[2] == *jobs/$name.py ]]; then
    words[1,2]=({_PROGRAM} $name)
    _shtab_{_PROGRAM}
  else
    _python "$@"
  fi
}}
compdef _{_PROGRAM}_python python python3
"""

_CALLERS = {"bash": _BASH, "zsh": _ZSH}


def completion(jobs: Path, shell: str) -> str:
    """The script for a shell that completes ``python jobs/NAME.py`` for every job in a folder.

    ``shell`` is ``bash`` or ``zsh``. Raises ConfigError where there is no job.
    """
    parser = argparse.ArgumentParser(prog=_PROGRAM)
    commands = parser.add_subparsers()
    for path in sorted(jobs.glob("*.py")):
        job = job_parser(_record_of(path), None, with_values=True)
        if shell == "zsh":
            # What has no values of its own may be a file's name; bash takes it for one anyway.
            for action in job._actions:
                if action.nargs != 0 and action.choices is None:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
        # Without a help, shtab takes a command for a hidden one.
        commands.add_parser(path.stem, parents=[job], add_help=False, help=path.stem)
    if not commands.choices:
        raise ConfigError(f"{jobs}: no jobs (*.py) here; run this where xner's folder jobs is")
    return str(shtab.complete(parser, shell)) + _CALLERS[shell]


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
    line = argparse.ArgumentParser(
        prog="python -m xner.completion",
        description="Print what makes a shell complete the settings of the jobs in ./jobs.",
    )
    line.add_argument("shell", nargs="?", choices=list(_CALLERS), default="bash")
    try:
        print(completion(Path("jobs"), line.parse_args().shell))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
