from __future__ import annotations

import random
from dataclasses import replace

import pytest

from xner.corpora.alignment_set import AlignmentExample, ExamplePool, to_table
from xner.shards.schema import ALIGNMENT_EXAMPLES


def _example(text: str, *names: str) -> AlignmentExample:
    return AlignmentExample(text, "de", names, tuple(((0, 1),) for _ in names), "verbatim")


EXAMPLES = [_example(f"{i} Tom", "Tom") for i in range(100)]
EXAMPLES += [_example(f"{i} Tom in {i % 7}", "Tom", f"Ort {i % 7}") for i in range(60)]


def _chosen(examples: list[AlignmentExample], limit: int | None = None, seed: int = 0):
    pool = ExamplePool(limit, max_per_name=5, seed=seed)
    for example in examples:
        pool.add(example)
    return pool.chosen()


def test_pool_keeps_so_many_of_a_name():
    chosen = _chosen(EXAMPLES)
    assert len(chosen) == 5 + 7 * 5
    assert sum(example.names == ("Tom",) for example in chosen) == 5


@pytest.mark.parametrize("limit", [None, 8])
def test_pool_does_not_depend_on_order_or_repetition(limit: int | None):
    shuffled = EXAMPLES * 2
    random.Random(3).shuffle(shuffled)
    assert _chosen(shuffled, limit) == _chosen(EXAMPLES, limit)
    assert limit is None or len(_chosen(EXAMPLES, limit)) == limit


def test_pool_with_another_seed_keeps_others():
    assert set(_chosen(EXAMPLES, seed=1)) != set(_chosen(EXAMPLES, seed=0))


def test_pool_keeps_a_text_once():
    chosen = _chosen([_example("Tom in Bonn", "Bonn"), _example("Tom in Bonn", "Tom", "Bonn")])
    assert len(chosen) == 1


def test_pool_keeps_a_text_once_an_origin():
    verbatim = _example("Tom in Bonn", "Bonn")
    linked = replace(_example("Tom in Bonn", "Tom", "Bonn"), origin="bitext")
    chosen = _chosen([verbatim, linked, replace(linked, names=("Tom in", "Bonn"))])
    assert sorted(each.origin for each in chosen) == ["bitext", "verbatim"]
    assert verbatim in chosen


def test_to_table_has_the_schema_and_the_content():
    example = AlignmentExample("Bonn Bonn", "de", ("Bonn", "Rome"), (((0, 4), (5, 9)), ()), "table")
    table = to_table([example])
    assert table.schema == ALIGNMENT_EXAMPLES
    assert table.to_pylist() == [
        {
            "text": "Bonn Bonn",
            "lang": "de",
            "names": ["Bonn", "Rome"],
            "spans": [[{"start": 0, "end": 4}, {"start": 5, "end": 9}], []],
            "origin": "table",
        }
    ]


def test_alignment_example_needs_spans_for_each_name():
    with pytest.raises(ValueError, match="1 names, 2 lists"):
        AlignmentExample("a", "de", ("a",), ((), ()), "table")
