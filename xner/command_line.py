"""A job's command line: a TOML recipe, any setting overridden by ``--group.key value``.

The settings record says everything that is needed: names, types, defaults and descriptions. An
error names the file or the option that it came from, the key, and what would be right.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import signal
import sys
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from xner.errors import ConfigError, XnerError, without_credentials
from xner.report.terminal import configure_logging, print_summary
from xner.shards.storage import read_file

Settings = TypeVar("Settings", bound=BaseModel)

_HELP_WIDTH = 80

# How pydantic calls the types of a setting that may have one of several.
_TRIED = re.compile(r"constrained-\w+|literal\[.*\]")

# The variable, of this very name, that Ray sets for the entry point of a submitted job.
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def run_job(
    record: type[Settings],
    main: Callable[[Settings], None],
    plan: Callable[[Settings], Mapping[str, str]],
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Run a job from its command line and exit: 0, or the exit code of the error's class.

    ``plan`` answers for ``--dry-run`` what would be done, as names and values. A refused
    configuration or input ends in one message on standard error, a bug in its traceback.
    """
    parser = job_parser(record, sys.modules[main.__module__].__doc__)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_unknown(unknown[0], [f"--{leaf.key}" for leaf in _leaves(record)]))
    configure_logging(options.verbose)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    overrides = {
        option.removeprefix("--"): value
        for option, value in vars(options).items()
        if option.startswith("--") and value is not None
    }
    try:
        settings = load(record, options.recipe, overrides)
        _check_output(settings)
        if options.dry_run:
            recipe = tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
            print(without_credentials(recipe))
            print_summary("What would be done", plan(settings))
        else:
            main(settings)
    except XnerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _check_output(settings: BaseModel) -> None:
    """Refuse to write into the folder that a submitted job is started in."""
    output = getattr(settings, "output", None)
    is_submitted = _SUBMITTED in os.environ
    if (
        output is not None
        and is_submitted
        and "://" not in output
        and not Path(output).is_absolute()
    ):
        raise ConfigError(
            f"output = {output!r}: a submitted job runs in a folder of Ray's on one machine, which "
            "is thrown away with what is written there; name a URL or an absolute path"
        )


def load(
    record: type[Settings], recipe: str | None, overrides: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a recipe file, with overrides (dotted key -> text) laid over them.

    Raises ConfigError, which lists every key that is unknown, missing or wrong.
    """
    values = _read_recipe(recipe) if recipe else {}
    fields = {field.key: field for field in _leaves(record)}
    overrides = overrides or {}
    for key, text in overrides.items():
        *groups, name = key.split(".")
        group = values
        for part in groups:
            group = group.setdefault(part, {})
            if not isinstance(group, dict):
                raise ConfigError(f"{recipe}: {part}: expected a table, found {group!r}")
        group[name] = fields[key].parse(text)
    try:
        return record.model_validate(values)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for problem in error.errors():
            key = _setting(problem["loc"])
            given = next((each for each in _prefixes(key) if each in overrides), None)
            place = f" {key.removeprefix(given)[1:]}".rstrip() if given else ""
            where = f"--{given}{place}" if given else f"{_origin(recipe, overrides, key)}: {key}"
            problems.setdefault(where.rstrip(": "), []).append(_explained(problem, key, record))
        lines = [f"{where}: {', or '.join(what)}" for where, what in problems.items()]
        raise ConfigError("\n  ".join(lines)) from None


def _origin(recipe: str | None, overrides: Iterable[str], group: str) -> str:
    """Where the settings of a group, or all of them, came from."""
    if recipe is None:
        return "command line"
    given = [f"--{key}" for key in overrides if not group or key.startswith(f"{group}.")]
    return f"{recipe} with {', '.join(given)}" if given else recipe


def _setting(location: Sequence[int | str]) -> str:
    """The key of what pydantic found wrong, without which of its types was tried."""
    return ".".join(str(part) for part in location if not _TRIED.fullmatch(str(part)))


def _prefixes(key: str) -> Iterator[str]:
    """The dotted key, its parent, and so on."""
    while key:
        yield key
        key = key.rpartition(".")[0]


def _read_recipe(recipe: str) -> dict[str, Any]:
    try:
        # Editors of Windows begin a file with a byte order mark.
        return tomllib.loads(read_file(recipe).decode("utf-8-sig"))
    # A number of too many digits is a bare ValueError.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{recipe}: not valid TOML: {error}") from error


def _explained(problem: Any, key: str, record: type[BaseModel]) -> str:
    """What is wrong with a key and what would be right, from pydantic's account of it."""
    kind = problem["type"]
    if kind == "extra_forbidden":
        parent, _, name = key.rpartition(".")
        siblings = _names_in(record, parent)
        near = difflib.get_close_matches(name, siblings, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown setting; {hint}known here: {', '.join(siblings)}"
    if kind == "missing":
        return "missing; it has no default"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return message
    return f"{message[0].lower()}{message[1:]}, found {problem['input']!r}"


def _names_in(record: type[BaseModel], dotted: str) -> list[str]:
    """The settings of the group that a dotted key names; list positions in it are skipped."""
    for part in filter(None, dotted.split(".")):
        if not part.isdigit():
            record = next(_records_in(record.model_fields[part].annotation))
    return list(record.model_fields)


def _records_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _records_in(argument)


@dataclass(frozen=True)
class _Leaf:
    """A single setting that has an option on the command line.

    ``group``: the optional group that it is in, if any.
    """

    key: str
    field: FieldInfo
    group: str | None = None

    @property
    def choices(self) -> list[Any]:
        """The annotation's alternatives, an optional type's None left out."""
        annotation: Any = self.field.annotation
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            return [a for a in typing.get_args(annotation) if a is not type(None)]
        return [annotation]

    def parse(self, text: str) -> Any:
        """The text of an option as pydantic will take it; it converts plain numbers itself."""
        optional = self.choices != [self.field.annotation]
        if optional and text.lower() == "none":
            return None
        if {typing.get_origin(choice) for choice in self.choices} & {list, dict}:
            if text.lstrip().startswith(("[", "{")):
                try:
                    return json.loads(text)
                except (ValueError, RecursionError) as error:
                    raise ConfigError(f"--{self.key}: not valid JSON: {error}") from error
            return [part.strip() for part in text.split(",") if part.strip()]
        return text

    @property
    def values(self) -> list[str]:
        """All values that the setting can have, where they are few; else none."""
        if self.choices == [bool]:
            return ["true", "false"]
        literals = [c for c in self.choices if typing.get_origin(c) is typing.Literal]
        return [str(value) for literal in literals for value in typing.get_args(literal)]

    @property
    def help(self) -> str:
        """Description, allowed values and default, for ``--help``."""
        parts = [self.field.description or ""]
        # Beside few words any number may be allowed.
        if self.values and len(self.choices) == 1 and self.choices != [bool]:
            parts.append(f"One of: {', '.join(self.values)}.")
        default = self.field.default
        if default is not PydanticUndefined and default is not None:
            if isinstance(default, list):
                default = json.dumps(default, default=lambda each: each.model_dump(mode="json"))
            parts.append(f"Default: {default}.")
        elif self.field.is_required():
            parts.append(f"Required where {self.group} is set." if self.group else "Required.")
        return " ".join(filter(None, parts)).replace("%", "%%")


def _leaves(record: type[BaseModel], prefix: str = "", group: str | None = None) -> Iterator[_Leaf]:
    for name, field in record.model_fields.items():
        leaf = _Leaf(f"{prefix}{name}", field, group)
        # An optional group is a group: it is there as soon as one of its settings is.
        choice, *others = leaf.choices
        if not others and isinstance(choice, type) and issubclass(choice, BaseModel):
            is_optional = choice is not field.annotation
            yield from _leaves(choice, f"{leaf.key}.", leaf.key if is_optional else group)
        else:
            yield leaf


def _unknown(argument: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(argument.partition("=")[0], known, 1)
    return f"unknown argument {argument}" + (f"; did you mean {near[0]}?" if near else "")


def job_parser(
    record: type[BaseModel], description: str | None, *, with_values: bool = False
) -> argparse.ArgumentParser:
    """The parser of a job's command line, with an option for each setting of its record.

    ``with_values``: it knows the values of those that have few, which is for completion; what is
    wrong with a value is otherwise pydantic's to say, for recipes and command lines alike.
    """
    parser = argparse.ArgumentParser(
        usage="%(prog)s [RECIPE] [--GROUP.SETTING VALUE ...] [--dry-run] [--verbose]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipe", nargs="?", help="TOML recipe; any fsspec location.")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Print the settings and what would be done.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="Show every log line.")
    groups: dict[str, Any] = {}
    for leaf in _leaves(record):
        group, _, _ = leaf.key.rpartition(".")
        if group not in groups:
            groups[group] = parser.add_argument_group(f"settings: {group or 'general'}")
        groups[group].add_argument(
            f"--{leaf.key}",
            dest=f"--{leaf.key}",
            metavar="VALUE",
            help=leaf.help,
            choices=(leaf.values or None) if with_values else None,
        )
    told: dict[type[BaseModel], str] = {}
    for key, entry in _tables(record):
        what = f"as in [[{told[entry]}]]" if entry in told else _table_help(entry)
        parser.add_argument_group(f"settings: each table of [[{key}]]", what)
        told.setdefault(entry, key)
    return parser


def _tables(record: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The settings that are lists of tables, in those of such a list too, and a table's record."""
    for leaf in _leaves(record):
        if any(typing.get_origin(choice) is list for choice in leaf.choices):
            for entry in _records_in(leaf.field.annotation):
                yield leaf.key, entry
                yield from ((f"{leaf.key}.{key}", inner) for key, inner in _tables(entry))


def _table_help(entry: type[BaseModel]) -> str:
    """The settings of a table, as lines that stand below each other as those of options do."""
    settings = [
        textwrap.fill(
            leaf.help.replace("%%", "%"),
            _HELP_WIDTH,
            initial_indent=f"  {leaf.key:<21} ",
            subsequent_indent=" " * 24,
        )
        for leaf in _leaves(entry)
    ]
    return "\n".join(["in the recipe; on the command line all of them, as JSON", *settings])
