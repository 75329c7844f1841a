"""What this machine can do at best, to hold what a model does against."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.profiler

from xner.models.encoder import pick_device, pick_precision
from xner.models.shapes import Shape

_ROWS = 2048


@dataclass(frozen=True)
class Machine:
    """A device and the precision that models run in on it."""

    device: str
    precision: str
    num_threads: int
    torch_version: str


def machine(device: str, precision: str, num_threads: int | None) -> Machine:
    """The machine as a run finds it; a number of threads is set, for torch and for word links."""
    if num_threads is not None:
        torch.set_num_threads(num_threads)
        os.environ["OMP_NUM_THREADS"] = str(num_threads)
    found = pick_device(device)
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else "cpu"
    kind = pick_precision(precision, found)
    return Machine(
        name, str(kind).removeprefix("torch."), torch.get_num_threads(), torch.__version__
    )


def product_peak(shape: Shape, device: str, precision: str, repetitions: int = 20) -> float:
    """Operations a second of the best of some matrix products, of the sizes that the model has."""
    there = pick_device(device)
    kind = pick_precision(precision, there)
    is_gpu = there.type == "cuda"
    sizes = [(_ROWS * 8 if is_gpu else _ROWS, shape.hidden_size, shape.intermediate_size)]
    if is_gpu:
        # Encoders' products are too narrow for a GPU's best.
        sizes.append((8192, 8192, 8192))
    return max(_product_rate(size, there, kind, repetitions) for size in sizes)


def _product_rate(
    size: tuple[int, int, int], device: torch.device, kind: torch.dtype, repetitions: int
) -> float:
    rows, inner, columns = size
    left = torch.randn(rows, inner, device=device).to(kind)
    right = torch.randn(inner, columns, device=device).to(kind)
    best = float("inf")
    for _ in range(repetitions):
        started = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * rows * inner * columns / best


def profiled(run: Callable[[], object], folder: Path) -> None:
    """Write `trace.json` (for chrome://tracing or Perfetto) and `operators.txt` of one run."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.profiler.profile() as profile:
        run()
    profile.export_chrome_trace(str(folder / "trace.json"))
    by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    table = profile.key_averages().table(sort_by=by, row_limit=30)
    (folder / "operators.txt").write_text(table)
