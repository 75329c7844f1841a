"""Batches by token budget: rows of like length together, as many as fit.

A batch costs rows times its longest row, and something for itself. So rows are taken from the
longest down and cut where all batches together cost the least; in a large shard most have no
padding at all. A budget that proves too large for the device's memory is halved for good. On a GPU
the next batch is on its way before the last one's results are read, so that the device does not
wait while rows are laid out and results taken apart.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xner.config import BatchTokens
from xner.models.compiled import kernel
from xner.models.usage import Usage

# Budgets that are tried for `auto`, each twice the one before, and those for work that is too small
# to try any.
_TRIED_ON_CPU = (256, 512, 1024, 2048, 4096)
_TRIED_ON_GPU = (4096, 8192, 16_384, 32_768, 65_536, 131_072)
_UNTRIED_ON_CPU, _UNTRIED_ON_GPU = 2048, 16_384

# Trying takes about as long as this many sub-words of the largest budget tried: a small part of
# the work from here on.
_WORTH_TRYING = 100

# What another batch costs, in sub-words: on a GPU 2 ms for the kernels of 24 layers, on a CPU the
# weights, which are read and laid out once more. Measured there, of six and of twelve layers: 36 to
# 47 in FP32, about 100 in BF16.
_BATCH_ON_CPU, _BATCH_ON_GPU = 40, 512

_LEAST_GAIN = 1.03
_MEMORY_SHARE = 0.8

Batch = dict[str, Tensor]

logger = logging.getLogger(__name__)


def batches(lengths: np.ndarray, batch_tokens: int, batch_cost: int) -> list[np.ndarray]:
    """Indices of rows, a batch each: longest first, rows * longest row <= batch_tokens.

    A batch has at least one row, also where that row alone exceeds the budget. Of all cuts it is
    one that costs the least, padding included, where a batch costs ``batch_cost`` sub-words besides
    its own. Rows of equal length stay in their order: the same lengths give the same batches.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = _cheapest_ends(lengths[order].astype(np.int64), batch_tokens, batch_cost)
    found, start = [], 0
    while start < len(order):
        found.append(order[start : ends[start]])
        start = ends[start]
    return found


@kernel("int64[::1](int64[::1], int64, int64)")
def _cheapest_ends(lengths: np.ndarray, budget: int, batch_cost: int) -> np.ndarray:
    """Where a batch that begins at a row ends, if it and all after it are to cost the least.

    ``lengths`` descend. By dynamic programming from the last row to the first.
    """
    num_rows = len(lengths)
    ends = np.empty(num_rows, np.int64)
    cost_from = np.zeros(num_rows + 1, np.int64)
    for start in range(num_rows - 1, -1, -1):
        longest = max(lengths[start], 1)
        most = max(1, budget // longest)
        for end in range(start + 1, min(num_rows, start + most) + 1):
            cost = (end - start) * longest + batch_cost + cost_from[end]
            # Of equal costs the larger batch: then a budget is filled before another is begun.
            if end == start + 1 or cost <= cost_from[start]:
                cost_from[start], ends[start] = cost, end
    return ends


def split_by_budget(rows: np.ndarray, lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Cut rows that are sorted longest first into runs that fit the budget, or of one row."""
    start = 0
    while start < len(rows):
        longest = int(lengths[rows[start]])
        run = rows[start : start + max(1, budget // max(longest, 1))]
        yield run
        start += len(run)


@dataclass(frozen=True)
class Launched:
    """A forward whose results may not be there yet.

    ``events``: its start and end on a GPU; ``seconds``: its time where it is done already.
    """

    rows: np.ndarray
    batch: Batch
    results: tuple[Tensor, ...]
    cells: int
    events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
    seconds: float = 0.0

    def wait(self) -> tuple[tuple[np.ndarray, ...], float]:
        """The results, and the seconds that the device took."""
        seconds = self.seconds
        if self.events is not None:
            start, end = self.events
            end.synchronize()
            seconds = start.elapsed_time(end) / 1000
        return tuple(result.numpy() for result in self.results), seconds


class TokenBudget:
    """A budget in sub-words (rows times the longest row) that learns what the device can do.

    ``usage``: what all forwards so far have cost.
    """

    def __init__(self, batch_tokens: BatchTokens, device: torch.device) -> None:
        self.device = device
        self.usage = Usage()
        self._is_gpu = device.type == "cuda"
        self._is_open = batch_tokens == "auto"
        untried = _UNTRIED_ON_GPU if self._is_gpu else _UNTRIED_ON_CPU
        self._batch_cost = _BATCH_ON_GPU if self._is_gpu else _BATCH_ON_CPU
        self.batch_tokens = untried if batch_tokens == "auto" else batch_tokens

    def run(
        self,
        collate: Callable[[np.ndarray], Batch],
        forward: Callable[[Batch], tuple[Tensor, ...]],
        lengths: np.ndarray,
    ) -> Iterator[tuple[np.ndarray, Batch, tuple[np.ndarray, ...]]]:
        """Yield (rows, collate(rows), results) for batches that together hold every row once.

        ``collate`` lays rows out on the CPU, ``forward`` gets that on the device and returns
        tensors there, which come back as arrays. ``lengths`` [rows] in sub-words.

        On torch.OutOfMemoryError the batch is split in two, and the smaller budget holds for all
        later batches and calls; a single row that does not fit raises.
        """
        if self._is_open and lengths.sum() > _WORTH_TRYING * self.batch_tokens:
            self._find_budget(collate, forward, lengths)
        pending = batches(lengths, self.batch_tokens, self._batch_cost)[::-1]
        launched: deque[Launched] = deque()
        while pending or launched:
            if pending and len(launched) < (2 if self._is_gpu else 1):
                rows = pending.pop()
                cells = len(rows) * int(lengths[rows].max())
                if cells > self.batch_tokens and len(rows) > 1:
                    pending += _halves(rows)
                    continue
                try:
                    launched.append(self._launch(rows, cells, collate(rows), forward))
                    continue
                except torch.OutOfMemoryError:
                    if len(rows) == 1:
                        raise
                # Outside of the handler: its traceback would keep the failed tensors alive.
                self._halve(cells)
                pending += _halves(rows)
            else:
                oldest = launched.popleft()
                results, seconds = oldest.wait()
                tokens = int(lengths[oldest.rows].sum())
                self.usage += Usage(tokens, oldest.cells, seconds, 1)
                yield oldest.rows, oldest.batch, results

    def _launch(
        self,
        rows: np.ndarray,
        cells: int,
        batch: Batch,
        forward: Callable[[Batch], tuple[Tensor, ...]],
    ) -> Launched:
        if cells == int(batch["attention_mask"].sum()):
            # Nothing is padded: attention has faster kernels where it has nothing to mask.
            inputs = {name: values for name, values in batch.items() if name != "attention_mask"}
        else:
            inputs = batch
        with torch.inference_mode():
            if not self._is_gpu:
                started = time.perf_counter()
                results = forward(inputs)
                return Launched(rows, batch, results, cells, seconds=time.perf_counter() - started)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            there = {
                name: values.pin_memory().to(self.device, non_blocking=True)
                for name, values in inputs.items()
            }
            start.record()
            on_device = forward(there)
            results = tuple(
                torch.empty(result.shape, dtype=result.dtype, pin_memory=True).copy_(
                    result, non_blocking=True
                )
                for result in on_device
            )
            end.record()
            return Launched(rows, batch, results, cells, (start, end))

    def _halve(self, cells: int) -> None:
        self.batch_tokens = cells // 2
        logger.warning("out of memory: batch_tokens is now %d", self.batch_tokens)
        if self._is_gpu:
            torch.cuda.empty_cache()

    def _find_budget(
        self,
        collate: Callable[[np.ndarray], Batch],
        forward: Callable[[Batch], tuple[Tensor, ...]],
        lengths: np.ndarray,
    ) -> None:
        """Set the largest budget that is still faster than half of it, on rows of middle length.

        Each is tried twice and the better time counts: the first forward of a shape also pays for
        memory and kernels that later ones find there.
        """
        self._is_open = False
        middle = int(np.argsort(lengths, kind="stable")[len(lengths) // 2])
        length = int(lengths[middle])
        best_rate, found = 0.0, self.batch_tokens
        tried = _TRIED_ON_GPU if self._is_gpu else _TRIED_ON_CPU
        for budget in tried:
            rows = np.full(max(1, budget // length), middle)
            batch, cells = collate(rows), len(rows) * length
            if self._is_gpu:
                torch.cuda.reset_peak_memory_stats(self.device)
            try:
                seconds = min(self._launch(rows, cells, batch, forward).wait()[1] for _ in range(2))
            except torch.OutOfMemoryError:
                break
            if cells / seconds < _LEAST_GAIN * best_rate:
                break
            best_rate, found = cells / seconds, budget
            if self._is_gpu and not _fits_twice(self.device):
                break
        if self._is_gpu:
            torch.cuda.empty_cache()
        self.batch_tokens = found
        logger.info("batch_tokens = %d, %d sub-words/s", found, best_rate)


def _fits_twice(device: torch.device) -> bool:
    """Whether twice the memory used at most since the peak was reset is within what may be used."""
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device)
    peak = torch.cuda.max_memory_allocated(device)
    return 2 * peak < _MEMORY_SHARE * (free + held)


def _halves(rows: np.ndarray) -> list[np.ndarray]:
    middle = (len(rows) + 1) // 2
    return [rows[middle:], rows[:middle]]
