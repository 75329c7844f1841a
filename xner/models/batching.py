"""Batches by token budget: rows of like length together, as many as fit.

A batch costs rows times its longest row, so rows are taken from the longest down and a batch is
closed when one more row would exceed the budget; sorted so, little of it is padding. A budget that
proves too large for the device's memory is halved for good.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")

logger = logging.getLogger(__name__)


def padded_length(length: int, multiple_of: int) -> int:
    """`length` rounded up: tensor cores and vector units like even shapes."""
    return -(-length // multiple_of) * multiple_of


def batches(lengths: np.ndarray, batch_tokens: int, multiple_of: int = 8) -> list[np.ndarray]:
    """Indices of rows, a batch each: longest first, rows * padded longest row <= batch_tokens.

    A batch has at least one row, also where that row alone exceeds the budget. Rows of equal length
    stay in their order, so that the same lengths give the same batches.
    """
    order = np.argsort(-lengths, kind="stable")
    return list(split_by_budget(order, lengths, batch_tokens, multiple_of))


def split_by_budget(
    rows: np.ndarray, lengths: np.ndarray, budget: int, multiple_of: int = 1
) -> Iterator[np.ndarray]:
    """Cut rows that are sorted longest first into runs that fit the budget, or of one row."""
    start = 0
    while start < len(rows):
        longest = padded_length(int(lengths[rows[start]]), multiple_of)
        end = start + max(1, budget // max(longest, 1))
        yield rows[start:end]
        start = end


@dataclass(frozen=True)
class Usage:
    """What was put through a model: sub-words, those computed with padding, time, forwards."""

    tokens: int = 0
    cells: int = 0
    seconds: float = 0.0
    forwards: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens + other.tokens,
            self.cells + other.cells,
            self.seconds + other.seconds,
            self.forwards + other.forwards,
        )


class TokenBudget:
    """A budget in sub-words (rows times the longest row) that learns what the device can hold."""

    def __init__(self, batch_tokens: int, multiple_of: int = 8) -> None:
        self.batch_tokens = batch_tokens
        self.multiple_of = multiple_of
        self.usage = Usage()

    def run(
        self, forward: Callable[[np.ndarray], T], lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, T]]:
        """Yield (rows, forward(rows)) for batches that together hold every row once.

        On torch.OutOfMemoryError the batch is split in two, and the smaller budget holds for all
        later batches and calls; a single row that does not fit raises.
        """
        pending = batches(lengths, self.batch_tokens, self.multiple_of)[::-1]
        while pending:
            rows = pending.pop()
            cells = len(rows) * padded_length(int(lengths[rows].max()), self.multiple_of)
            if cells > self.batch_tokens and len(rows) > 1:
                pending += self._halves(rows)
                continue
            started = time.perf_counter()
            try:
                result = forward(rows)
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
            else:
                seconds = time.perf_counter() - started
                self.usage += Usage(int(lengths[rows].sum()), cells, seconds, 1)
                yield rows, result
                continue
            # Outside of the handler: its traceback would keep the failed batch's tensors alive.
            self.batch_tokens = cells // 2
            logger.warning("out of memory: batch_tokens is now %d", self.batch_tokens)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            pending += self._halves(rows)

    @staticmethod
    def _halves(rows: np.ndarray) -> list[np.ndarray]:
        middle = (len(rows) + 1) // 2
        return [rows[middle:], rows[:middle]]
