"""Rows that a stage cannot take: found by halving, marked, and left out, so that the shard goes on.

One sentence in a hundred million that makes a tokenizer or a model raise must neither end a run nor
cost its shard. The rows that raise are found by bisection and become ``error`` rows. What a stage
says of a row may depend on the others of its shard (word links, agreement), so the rest is run
once more without them: the outcome is that of a shard that never had them. A stage that raises for
many rows is broken, not poisoned, and its exception ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from xner.engine.attempts import renew_time_limit
from xner.engine.flow import Step, TableFunction
from xner.errors import XnerError
from xner.models.usage import Usage, usage_of
from xner.shards.schema import PSEUDO

REASON = "stage_error"
"""The ``reason`` of a row on which a step raised."""

_ERROR = PSEUDO.field("error")

# What an erroneous row has in the place of labels.
_UNLABELLED: dict[str, Any] = {
    "mentions": [],
    "tokens": [],
    "ner_tags": [],
    "weight": 0.0,
    "status": "error",
    "reason": REASON,
}

_log = logging.getLogger(__name__)


def guarded(step: Step) -> Step:
    """The same step, which marks the rows that it cannot take."""
    return replace(step, make=partial(Guarded, step.name, step.make))


class Guarded:
    """A stage that is given the rows without an ``error``, and marks those on which it raises.

    The column says "step: class of the exception"; a table without it has no marked row. As many
    rows come out as went in, in their order, the marked ones without labels. An XnerError, an
    OSError, a lack of memory and the failure of an accelerator are no row's fault and are passed
    on, and so is an exception that all rows raise, or more than three of them and one in a hundred.
    """

    def __init__(self, name: str, make: Callable[..., TableFunction], *arguments: Any) -> None:
        self._name, self._stage = name, make(*arguments)

    @property
    def usage(self) -> Usage:
        """What the stage's models have computed so far."""
        return usage_of(self._stage)

    def __call__(self, table: pa.Table) -> pa.Table:
        errors: list[str | None] = [None] * table.num_rows
        rows = table
        if _ERROR.name in table.column_names:
            errors = table[_ERROR.name].to_pylist()
            rows = table.drop_columns(_ERROR.name)
        sound = [number for number, error in enumerate(errors) if error is None]
        if len(sound) < len(errors):
            rows = rows.take(_numbers(sound))
        try:
            result = self._ask(rows)
        # What Rust code raises when it panics is no Exception.
        except BaseException as error:
            if not rows.num_rows or not _is_of_rows(error):
                raise
            poisoned = self._poisoned(rows, error)
            result = self._without(poisoned, rows, error)
            for number, raised in poisoned.items():
                errors[sound[number]] = f"{self._name}: {type(raised).__name__}"
        return _conserved(result, table, errors)

    def _ask(self, rows: pa.Table) -> pa.Table:
        """What the stage makes of the rows; a search may take longer than it may for a shard."""
        renew_time_limit()
        return self._stage(rows)

    def _poisoned(self, rows: pa.Table, error: BaseException) -> dict[int, BaseException]:
        """The rows that raise by themselves, by number. Raises ``error`` where they are many."""
        most = min(max(3, rows.num_rows // 100), rows.num_rows - 1)
        found: dict[int, BaseException] = {}
        raising = [(0, rows.num_rows, error)]
        while raising:
            start, end, raised = raising.pop()
            if end - start == 1:
                found[start] = raised
                if len(found) > most:
                    _give_up(error, f"{len(found)} or more of {rows.num_rows} rows raise this")
                continue
            middle = (start + end) // 2
            for part in ((middle, end), (start, middle)):
                caught = self._caught(rows.slice(part[0], part[1] - part[0]))
                if caught is not None:
                    raising.append((*part, caught))
        return found

    def _caught(self, rows: pa.Table) -> BaseException | None:
        """What the stage raises for these rows."""
        try:
            self._ask(rows)
        except BaseException as error:
            if not _is_of_rows(error):
                raise
            # What its frames hold, on a device too, is not kept for as many as there may be.
            return error.with_traceback(None)
        return None

    def _without(
        self, poisoned: Mapping[int, BaseException], rows: pa.Table, error: BaseException
    ) -> pa.Table:
        """The result of the rows that are not poisoned. Raises ``error`` where there is none."""
        rest = rows.take(_numbers(set(range(rows.num_rows)).difference(poisoned)))
        try:
            result = self._ask(rest)
        except BaseException as again:
            if not _is_of_rows(again):
                raise
            _give_up(error, f"no row raises this by itself, but {rest.num_rows} together do")
        _log.warning(
            "%s: %d of %d rows raise an exception and are marked as errors: pairs %s",
            self._name,
            len(poisoned),
            rows.num_rows,
            ", ".join(rows["pair_id"].take(_numbers(poisoned)).to_pylist()),
            exc_info=error,
        )
        return result


def _is_of_rows(error: BaseException) -> bool:
    """Whether rows may be to blame, and not the settings, the machine, or who interrupts."""
    if isinstance(error, XnerError | OSError | MemoryError) or is_of_device(error):
        return False
    return isinstance(error, Exception) or "PanicException" in _class_names(error)


def is_of_device(error: BaseException) -> bool:
    """Whether an accelerator is what fails, so that another process may do what this one cannot.

    After an AcceleratorError every later call of this process that uses it fails, too. Its memory
    may be full of what another process holds: a stage halves its batches before it says so.
    """
    return not _class_names(error).isdisjoint(("AcceleratorError", "OutOfMemoryError"))


def _class_names(error: BaseException) -> set[str]:
    return {each.__name__ for each in type(error).__mro__}


def _give_up(error: BaseException, why: str) -> NoReturn:
    error.add_note(f"{why}: not they are to blame, but the step or its model.")
    if isinstance(error, Exception):
        raise error
    raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _numbers(rows: Iterable[int]) -> pa.Array:
    """Ascending. Typed, for of an empty list pyarrow does not see that it would hold numbers."""
    return pa.array(sorted(rows), pa.int64())


def _conserved(result: pa.Table, table: pa.Table, errors: Sequence[str | None]) -> pa.Table:
    """The rows of ``result`` at the places without an error, those of ``table`` at the others."""
    sound = [number for number, error in enumerate(errors) if error is None]
    marked = [number for number, error in enumerate(errors) if error is not None]
    if result.num_rows != len(sound):
        raise RuntimeError(f"{len(sound)} rows in, {result.num_rows} rows out")
    if not marked:
        return result
    if _ERROR.name not in result.column_names:
        result = result.append_column(_ERROR, pa.nulls(len(sound), _ERROR.type))
    lost = table.take(_numbers(marked))
    columns = []
    for field in result.schema:
        if field.name == _ERROR.name:
            column = pa.array([errors[number] for number in marked], field.type)
        elif field.name in table.column_names and field.name not in _UNLABELLED:
            column = lost[field.name]
        else:
            column = pa.array([_UNLABELLED.get(field.name, [])] * len(marked), field.type)
        columns.append(column)
    both = pa.concat_tables([result, pa.Table.from_arrays(columns, schema=result.schema)])
    return both.take(np.argsort([*sound, *marked]))
