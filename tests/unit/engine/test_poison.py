"""Rows on which a stage raises: found, marked and conserved; a stage that is broken is no row's."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pyarrow as pa
import pytest

from xner.engine.flow import Step
from xner.engine.poison import Guarded, guarded
from xner.errors import ConfigError
from xner.projection.quality import REASONS
from xner.shards import schema


class Label:
    """Raises for some sources; what it says of a row depends on all rows that it is given."""

    def __init__(self, raises: Callable[[list[str]], BaseException | None]) -> None:
        self._raises = raises
        self.calls: list[int] = []

    def __call__(self, table: pa.Table) -> pa.Table:
        sources = table["source"].to_pylist()
        self.calls.append(len(sources))
        error = self._raises(sources)
        if error is not None:
            raise error
        mention = {"start": 0, "end": len(sources), "label": "LOC", "score": 1.0}
        column = pa.array([[mention]] * len(sources), schema.LABELLED.field("source_mentions").type)
        return table.append_column(schema.LABELLED.field("source_mentions"), column)


def pairs(num_rows: int) -> pa.Table:
    texts = ("pair_id", "corpus", "source_lang", "target_lang", "source", "target")
    rows = [dict.fromkeys(texts, str(number)) for number in range(num_rows)]
    return pa.Table.from_pylist(rows, schema=schema.PAIRS)


def raising_for(bad: Collection[int]) -> Label:
    wanted = {str(number) for number in bad}
    return Label(lambda sources: KeyError("x") if wanted & set(sources) else None)


@pytest.mark.parametrize("bad", [[0], [99], [50, 51], [0, 49, 99], [3, 4, 5]])
def test_poison_marks_rows_and_leaves_the_rest_as_without_them(bad: list[int]) -> None:
    stage = raising_for(bad)
    table = pairs(100)
    found = Guarded("label", lambda: stage)(table)
    assert found.column_names == [*schema.LABELLED.names, "error"]
    assert found.select(schema.PAIRS.names).equals(table)
    for number, row in enumerate(found.to_pylist()):
        if number in bad:
            assert (row["error"], row["source_mentions"]) == ("label: KeyError", [])
        else:
            # The rows that were there when its labels were made: all but the bad ones.
            assert row["error"] is None and row["source_mentions"][0]["end"] == 100 - len(bad)
    # Halving, not one by one.
    assert len(stage.calls) <= 2 + 2 * 7 * len(bad)


def test_poison_is_not_looked_for_where_nothing_raises() -> None:
    stage = raising_for([])
    found = Guarded("label", lambda: stage)(pairs(5))
    assert found.schema.equals(schema.LABELLED) and stage.calls == [5]
    assert Guarded("label", lambda: stage)(pairs(0)).num_rows == 0


def test_poison_of_one_step_is_kept_from_the_next() -> None:
    first = Guarded("label", lambda: raising_for([1]))(pairs(4))
    seen: list[list[str]] = []

    def align(table: pa.Table) -> pa.Table:
        assert table.schema.equals(schema.LABELLED)
        seen.append(table["pair_id"].to_pylist())
        if "3" in seen[-1]:
            raise ValueError("three")
        nothing = pa.array([[]] * table.num_rows, schema.ALIGNED.field("alignments").type)
        return table.append_column(schema.ALIGNED.field("alignments"), nothing)

    found = Guarded("align", lambda: align)(first)
    assert seen[0] == ["0", "2", "3"] and seen[-1] == ["0", "2"]
    assert found["error"].to_pylist() == [None, "label: KeyError", None, "align: ValueError"]
    assert found["pair_id"].to_pylist() == ["0", "1", "2", "3"]
    # What was found before a row was given up is kept, what was not is empty.
    assert [len(each) for each in found["source_mentions"].to_pylist()] == [1, 0, 1, 1]
    assert found["alignments"].to_pylist() == [[]] * 4


def test_poisoned_rows_of_a_whole_shard_have_no_label() -> None:
    label = {"start": 0, "end": 1, "label": "LOC", "score": 1.0}
    row = {
        **pairs(1).to_pylist()[0],
        **{"source_mentions": [label], "alignments": [], "mentions": [label], "tokens": ["0"]},
        **{"ner_tags": [1], "weight": 1.0, "status": "ok"},
    }
    rows = [row | {"source": source, "pair_id": source} for source in "abc"]
    table = schema.with_tag_names(
        pa.Table.from_pylist(rows, schema=schema.PSEUDO), ["O", "B-LOC", "I-LOC"]
    )

    def relabel(rows: pa.Table) -> pa.Table:
        if "b" in rows["source"].to_pylist():
            raise IndexError
        return rows.append_column("error", pa.nulls(rows.num_rows, pa.string()))

    found = Guarded("relabel", lambda: relabel)(table)
    assert found.schema.equals(table.schema, check_metadata=False)
    assert found.num_rows == 3
    assert found.take([0, 2]).equals(table.take([0, 2]))
    after = found.to_pylist()[1]
    assert (after["status"], after["error"]) == ("error", "relabel: IndexError")
    assert after["reason"] in REASONS
    assert (after["mentions"], after["tokens"], after["ner_tags"]) == ([], [], [])
    assert after["weight"] == 0
    assert after["source_mentions"] == rows[1]["source_mentions"]


@pytest.mark.parametrize(
    ("num_rows", "num_bad", "is_poison"),
    [
        *((2, 1, True), (2, 2, False), (1, 1, False), (100, 3, True), (100, 4, False)),
        *((1000, 10, True), (1000, 11, False), (1000, 1000, False)),
    ],
)
def test_poison_is_a_bug_where_many_rows_raise(
    num_rows: int, num_bad: int, is_poison: bool
) -> None:
    stage = raising_for([i * num_rows // num_bad for i in range(num_bad)])
    if is_poison:
        found = Guarded("label", lambda: stage)(pairs(num_rows))
        assert found["error"].null_count == num_rows - num_bad
    else:
        with pytest.raises(KeyError) as raised:
            Guarded("label", lambda: stage)(pairs(num_rows))
        assert f"of {num_rows} rows raise this" in " ".join(raised.value.__notes__)
        # A broken stage costs no more than a few shards' time.
        assert sum(stage.calls) <= 10 * num_rows


def test_poison_of_many_rows_together_is_a_bug() -> None:
    stage = Label(lambda sources: KeyError("x") if {"1", "8"} <= set(sources) else None)
    with pytest.raises(KeyError) as raised:
        Guarded("label", lambda: stage)(pairs(10))
    assert "no row raises this by itself, but 10 together do" in " ".join(raised.value.__notes__)


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


class AcceleratorError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    "error",
    [
        *(ConfigError("x"), MemoryError(), OutOfMemoryError(), ConnectionResetError()),
        *(TimeoutError(), FileNotFoundError(), KeyboardInterrupt(), SystemExit()),
        AcceleratorError("CUDA error: unspecified launch failure"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_poison_is_not_what_no_row_is_to_blame_for(error: BaseException) -> None:
    stage = Label(lambda sources: error if "1" in sources else None)
    with pytest.raises(type(error)):
        Guarded("label", lambda: stage)(pairs(10))
    assert stage.calls == [10]


def test_poison_is_what_makes_a_library_in_rust_panic() -> None:
    # pyo3's PanicException, of a tokenizer for one, is a BaseException.
    panic = type("PanicException", (BaseException,), {})
    stage = Label(lambda sources: panic("called `Option::unwrap()`") if "1" in sources else None)
    found = Guarded("label", lambda: stage)(pairs(10))
    assert found["error"].to_pylist()[1] == "label: PanicException"
    with pytest.raises(RuntimeError, match="PanicException: called"):
        Guarded("label", lambda: stage)(pairs(2).slice(1))


def test_poison_refuses_a_stage_that_loses_rows() -> None:
    step = guarded(Step("label", lambda: lambda table: table.slice(1)))
    with pytest.raises(RuntimeError, match="5 rows in, 4 rows out"):
        step.make(*step.arguments)(pairs(5))


def test_poison_is_not_looked_for_in_a_table_without_rows() -> None:
    stage = Label(lambda sources: RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"))
    with pytest.raises(RuntimeError, match="CUBLAS"):
        Guarded("label", lambda: stage)(pairs(0))
    assert stage.calls == [0]


def test_poison_may_have_left_no_row_for_the_next_step() -> None:
    table = pairs(2).append_column("error", pa.array(["align: KeyError"] * 2))
    found = Guarded("label", lambda: raising_for([]))(table)
    assert found["error"].equals(table["error"])
    assert found["source_mentions"].to_pylist() == [[], []]
