from __future__ import annotations

import numpy as np
import pytest
import torch

from xner.models.batching import TokenBudget, batches


@pytest.mark.parametrize("multiple_of", [1, 8])
@pytest.mark.parametrize("budget", [1, 100, 4096])
def test_batching_rows_once_within_budget(budget: int, multiple_of: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    plan = batches(lengths, budget, multiple_of)
    assert sorted(np.concatenate(plan).tolist()) == list(range(500))
    widths = [-(-int(lengths[rows].max()) // multiple_of) * multiple_of for rows in plan]
    assert all(
        len(rows) * width <= budget or len(rows) == 1
        for rows, width in zip(plan, widths, strict=True)
    )
    assert widths == sorted(widths, reverse=True)


def test_batching_fills_the_budget() -> None:
    plan = batches(np.array([8, 8, 8, 8, 8]), 24)
    assert [rows.tolist() for rows in plan] == [[0, 1, 2], [3, 4]]
    assert batches(np.array([], dtype=np.int64), 24) == []


def test_batching_halves_after_out_of_memory_and_remembers() -> None:
    lengths = np.full(40, 8)
    tried: list[int] = []

    def forward(rows: np.ndarray) -> int:
        tried.append(len(rows))
        if len(rows) > 5:
            raise torch.OutOfMemoryError
        return int(rows.sum())

    budget = TokenBudget(160)
    results = list(budget.run(forward, lengths))
    assert sorted(np.concatenate([rows for rows, _ in results]).tolist()) == list(range(40))
    assert all(result == rows.sum() for rows, result in results)
    # 20 rows fail, then 10, and from then on no batch of more than 5 is tried.
    assert tried == [20, 10] + [5] * 8
    assert budget.batch_tokens == 40
    tried.clear()
    list(budget.run(forward, lengths))
    assert tried == [5] * 8


def test_batching_single_row_that_does_not_fit_raises() -> None:
    def forward(rows: np.ndarray) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        list(TokenBudget(64).run(forward, np.array([8, 8])))


def test_batching_other_errors_are_not_swallowed() -> None:
    def forward(rows: np.ndarray) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(TokenBudget(64).run(forward, np.array([8, 8])))
