"""Units that need each other, on the plain loop."""

from __future__ import annotations

from xner.config import StepConfig
from xner.engine.flow import Schedule
from xner.engine.inline import InlineEngine
from xner.errors import DataError

NEEDS = {"student": ["corpus", "teacher"], "corpus": ["teacher"], "teacher": [], "other": ["done"]}


def test_schedule_names_units_once_what_they_need_is_there() -> None:
    schedule = Schedule(NEEDS)
    # What is no unit was done before.
    assert schedule.ready() == ["teacher", "other"]
    assert schedule.ready() == []
    schedule.finished("teacher")
    assert schedule.ready() == ["corpus"]
    schedule.finished("corpus")
    assert schedule.ready() == ["student"]
    assert list(schedule.left()) == []


def test_graph_inline_does_every_unit_once_in_an_order_that_works() -> None:
    order: list[str] = []
    results = list(InlineEngine().run_graph(NEEDS, order.append, StepConfig()))
    assert order == [each.name for each in results] == ["teacher", "other", "corpus", "student"]
    assert all(each.error is None for each in results)


def test_graph_inline_reports_what_failed_and_what_needed_it() -> None:
    order: list[str] = []

    def work(name: str) -> None:
        order.append(name)
        if name == "corpus":
            raise DataError("torn")

    errors = {r.name: r.error for r in InlineEngine().run_graph(NEEDS, work, StepConfig())}
    assert order == ["teacher", "other", "corpus"]
    assert (errors["teacher"], errors["other"]) == (None, None)
    assert isinstance(errors["corpus"], DataError)
    assert str(errors["student"]) == "student: not run, for it needs corpus"
