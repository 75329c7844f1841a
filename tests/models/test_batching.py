from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from xner.models import batching
from xner.models.batching import Batch, Launched, TokenBudget, batches
from xner.models.usage import Usage

CPU = torch.device("cpu")


def collator(lengths: np.ndarray) -> Callable[[np.ndarray], Batch]:
    """Lays out rows of their own numbers, as long as `lengths` says."""

    def collate(rows: np.ndarray) -> Batch:
        mask = np.arange(lengths[rows].max()) < lengths[rows][:, None]
        return {
            "input_ids": torch.from_numpy(np.where(mask, rows[:, None], -1)),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        }

    return collate


def first_ids(batch: Batch) -> tuple[Tensor]:
    return (batch["input_ids"][:, 0],)


@pytest.mark.parametrize("budget", [1, 100, 4096])
def test_batching_rows_once_within_budget(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    plan = batches(lengths, budget, 16)
    assert sorted(np.concatenate(plan).tolist()) == list(range(500))
    widths = [int(lengths[rows].max()) for rows in plan]
    assert all(
        len(rows) * width <= budget or len(rows) == 1
        for rows, width in zip(plan, widths, strict=True)
    )
    assert widths == sorted(widths, reverse=True)


def test_batching_fills_the_budget() -> None:
    plan = batches(np.array([8, 8, 8, 8, 8]), 24, 1)
    assert [rows.tolist() for rows in plan] == [[0, 1, 2], [3, 4]]
    assert batches(np.array([], dtype=np.int64), 24, 1) == []


def cost_of(lengths: np.ndarray, plan: list[np.ndarray], batch_cost: int) -> int:
    return sum(len(rows) * int(lengths[rows].max()) + batch_cost for rows in plan)


def test_batching_cuts_where_all_batches_together_cost_the_least() -> None:
    # Two more cells are less than a batch, six more are not.
    plan = batches(np.array([10, 10, 9, 9, 8, 2, 2]), 64, 5)
    assert [rows.tolist() for rows in plan] == [[0, 1, 2, 3, 4], [5, 6]]
    generator = np.random.default_rng(1)
    for _ in range(50):
        lengths = np.sort(generator.integers(1, 20, 9))[::-1]
        batch_cost = int(generator.integers(0, 20))
        all_cuts = itertools.product([False, True], repeat=8)
        plans = [np.split(np.arange(9), np.flatnonzero(cuts) + 1) for cuts in all_cuts]
        costs = [
            cost_of(lengths, plan, batch_cost)
            for plan in plans
            if all(len(rows) * lengths[rows[0]] <= 40 for rows in plan)
        ]
        assert cost_of(lengths, batches(lengths, 40, batch_cost), batch_cost) == min(costs)


@pytest.mark.parametrize(("num_rows", "most_padding"), [(200, 0.07), (2000, 0.015)])
def test_batching_pads_little_however_few_the_rows_are(num_rows: int, most_padding: float) -> None:
    lengths = np.random.default_rng(1).integers(5, 60, num_rows)
    budget = TokenBudget(2048, CPU)
    list(budget.run(collator(lengths), first_ids, lengths))
    assert budget.usage.padding_share < most_padding


def test_batching_results_belong_to_their_rows_and_usage_counts() -> None:
    lengths = np.array([10, 31, 10, 30])
    budget = TokenBudget(64, CPU)
    masked = []

    def forward(batch: Batch) -> tuple[Tensor]:
        masked.append("attention_mask" in batch)
        return first_ids(batch)

    for rows, batch, (ids,) in budget.run(collator(lengths), forward, lengths):
        assert ids.tolist() == rows.tolist()
        assert batch["attention_mask"].sum() == lengths[rows].sum()
    # 31 and 30; 10 and 10. Only the first batch has anything to mask.
    assert masked == [True, False]
    usage = budget.usage
    assert (usage.tokens, usage.cells, usage.forwards) == (81, 82, 2)
    assert usage.seconds > 0
    assert usage.padding_share == pytest.approx(1 / 82)
    assert (usage + usage).cells == 164
    assert Usage().padding_share == 0


def test_batching_halves_after_out_of_memory_and_remembers() -> None:
    lengths = np.full(40, 8)
    tried: list[int] = []

    def forward(batch: Batch) -> tuple[Tensor]:
        tried.append(len(batch["input_ids"]))
        if tried[-1] > 5:
            raise torch.OutOfMemoryError
        return first_ids(batch)

    budget = TokenBudget(160, CPU)
    results = list(budget.run(collator(lengths), forward, lengths))
    assert sorted(np.concatenate([rows for rows, _, _ in results]).tolist()) == list(range(40))
    assert all(ids.tolist() == rows.tolist() for rows, _, (ids,) in results)
    # 20 rows fail, then 10, and from then on no batch of more than 5 is tried.
    assert tried == [20, 10] + [5] * 8
    assert budget.batch_tokens == 40
    tried.clear()
    list(budget.run(collator(lengths), forward, lengths))
    assert tried == [5] * 8


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("a bug")])
def test_batching_what_cannot_be_helped_is_raised(error: Exception) -> None:
    def forward(batch: Batch) -> tuple[Tensor]:
        raise error

    lengths = np.array([80, 80])
    with pytest.raises(type(error)):
        list(TokenBudget(64, CPU).run(collator(lengths), forward, lengths))


def test_batching_auto_finds_the_fastest_budget_on_large_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(batching.time, "perf_counter", lambda: now[0])

    def forward(batch: Batch) -> tuple[Tensor]:
        cells = batch["input_ids"].numel()
        # Faster the larger up to 1,024 cells; beyond, as where a cache overflows, slower.
        now[0] += 1 + cells / 1024 if cells <= 1024 else 4 * cells / 1024
        return first_ids(batch)

    lengths = np.full(20_000, 16)
    budget = TokenBudget("auto", CPU)
    list(budget.run(collator(lengths), forward, lengths[:10]))
    untried = budget.batch_tokens
    results = list(budget.run(collator(lengths), forward, lengths))
    assert budget.batch_tokens == 1024 != untried
    assert sum(len(rows) for rows, _, _ in results) == 20_000
    # What was tried is no part of the work.
    assert budget.usage.tokens == lengths.sum() + 160


def test_batching_auto_does_not_count_the_memory_of_another_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What a model before took at most; the device has a million.
    peak = [900_000]

    class Card:
        mem_get_info = staticmethod(lambda device: (1_000_000, 1_000_000))
        memory_reserved = staticmethod(lambda device: 0)
        max_memory_allocated = staticmethod(lambda device: peak[0])
        reset_peak_memory_stats = staticmethod(lambda device: peak.__setitem__(0, 0))
        empty_cache = staticmethod(lambda: None)

    def launch(self: TokenBudget, rows: np.ndarray, cells: int, *_: object) -> Launched:
        peak[0] = max(peak[0], 10 * cells)
        return Launched(rows, {}, (), cells, seconds=1.0)

    monkeypatch.setattr(torch, "cuda", Card)
    monkeypatch.setattr(TokenBudget, "_launch", launch)
    lengths = np.full(200_000, 16)
    budget = TokenBudget("auto", torch.device("cuda"))
    list(budget.run(collator(lengths), first_ids, lengths))
    # The first that takes more than half of what may be used is the last.
    assert budget.batch_tokens == 65_536
