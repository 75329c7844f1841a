"""Imports run downward only, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# A package may import from those on its own floor only itself, and anything from the floors below.
FLOORS = [
    {"errors"},
    {"text"},
    {"config"},
    {"shards"},
    {"corpora"},
    {"models", "projection"},
    {"engine", "training"},
    {"evaluation"},
    {"report"},
    {"command_line"},
    {"completion"},
    {"jobs"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}

ALLOWED = {
    "ray": {
        "xner/engine/distributed.py",
        "xner/engine/metrics.py",
        "xner/engine/nodes.py",
        "xner/engine/sizes.py",
        "xner/training",
    },
    "torch": {"xner/models", "xner/training"},
    "transformers": {"xner/models", "xner/training"},
}

SOURCES = sorted(
    path
    for folder in ("xner", "jobs")
    for path in (PROJECT / folder).rglob("*.py")
    if path != PROJECT / "xner" / "__init__.py"
)


def imported(path: Path) -> set[str]:
    """The dotted names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(module: str) -> str | None:
    """The part of the house that a dotted module name lies in."""
    first, *rest = module.split(".")
    return rest[0] if first == "xner" and rest else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_layers_imports_run_downward(path: Path) -> None:
    parts = path.relative_to(PROJECT).parts
    mine = "jobs" if parts[0] == "jobs" else parts[1].removesuffix(".py")
    for module in imported(path):
        other = part_of(module)
        if other in FLOOR_OF and other != mine:
            assert FLOOR_OF[other] < FLOOR_OF[mine], f"{mine} imports {module}"


@pytest.mark.parametrize("library", sorted(ALLOWED))
def test_layers_heavy_libraries_stay_in_their_rooms(library: str) -> None:
    for path in SOURCES:
        if any(module.split(".")[0] == library for module in imported(path)):
            place = path.relative_to(PROJECT).as_posix()
            assert place.startswith(tuple(ALLOWED[library])), f"{place} imports {library}"


# It trains in its own process.
NEED_ALL = {"quickstart.py"}


def test_layers_jobs_answer_without_loading_what_computes() -> None:
    """`--help`, a wrong recipe and a driver that only hands out work wait for no torch."""
    jobs = [str(path) for path in (PROJECT / "jobs").glob("*.py") if path.name not in NEED_ALL]
    assert len(jobs) > 10
    load = f"import runpy, sys; [runpy.run_path(path) for path in {jobs}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=True)
    assert {"ray", "torch", "transformers"}.isdisjoint(done.stdout.split())


def test_layers_unit_tests_need_neither_ray_nor_torch() -> None:
    """Whatever the tests of this folder import, anywhere in them, loads none of the two."""
    lines = {
        ast.unparse(node)
        for path in (PROJECT / "tests" / "unit").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        or (isinstance(node, ast.ImportFrom) and node.module != "__future__")
    }
    load = "\n".join([*sorted(lines), "import sys", "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=True)
    assert {"ray", "torch", "transformers"}.isdisjoint(done.stdout.split())


# What a word of Chinese is, only a dictionary knows.
NEEDED_BY_TEXT = {"chinese.py": {"opencc", "rjieba"}}


def test_layers_text_needs_the_standard_library_only() -> None:
    for path in (PROJECT / "xner" / "text").glob("*.py"):
        may = {*sys.stdlib_module_names, "xner", *NEEDED_BY_TEXT.get(path.name, ())}
        for module in imported(path):
            assert module.split(".")[0] in may, f"{path}: {module}"
