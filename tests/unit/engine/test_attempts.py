from __future__ import annotations

import gc

import pyarrow as pa
import pytest

from xner.engine.attempts import load_steps, run_step
from xner.engine.flow import Step


def _make(num_objects: int):
    def stage(table: pa.Table) -> pa.Table:
        found = [[number] for number in range(num_objects)]
        return table.append_column("found", pa.array(found))

    return stage


@pytest.fixture
def collections():
    """The generations that Python has looked through for cycles, as they come."""
    before, seen = gc.get_threshold(), []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)
    gc.set_threshold(*before)


def test_attempts_steps_are_loaded_with_their_arguments_and_seldom_searched_for_cycles(collections):
    ((name, stage),) = load_steps([Step("find", _make, (15_000,))])
    gc.collect()
    collections.clear()
    table = run_step(name, stage, "a", pa.table({"row": range(15_000)}), None)
    assert len(collections) < 15_000 / 2 / 700
    assert name == "find" and table["found"][14_999].as_py() == [14_999]
