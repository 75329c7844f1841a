"""Loops that numpy cannot do, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for one signature, in numba's notation.

    That happens when its module is imported, or it is taken from numba's cache, and processes that
    start at once cannot mix up two versions of it there. It releases the interpreter lock.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except (RuntimeError, OSError):
            # Neither beside its file nor in the user's cache folder can anything be written, or
            # the disk is full.
            return numba.njit(signature, nogil=True)(function)

    return compiled
