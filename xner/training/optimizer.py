"""What an optimizer step does: groups of parameters, the learning rate, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xner.config import OptimizationConfig


def learning_rate_share(step: int, num_steps: int, warmup_share: float) -> float:
    """Share of the full learning rate at a step, counted from 0: linear up, linear down to 0."""
    warmup = math.ceil(warmup_share * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup))


def make_optimizer(model: nn.Module, optimization: OptimizationConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) that decays matrices, not biases and norms."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.ndim > 1],
            "weight_decay": optimization.weight_decay,
        },
        {
            "params": [parameter for parameter in parameters if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=optimization.learning_rate, fused=True
    )


def scale_and_clip(parameters: list[nn.Parameter], scale: Tensor, max_norm: float) -> Tensor:
    """Multiply the gradients by ``scale`` and then shorten them to ``max_norm``, in one pass.

    The norm between the two, a scalar.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients) * scale
    torch._foreach_mul_(gradients, scale * torch.clamp(max_norm / (norm + 1e-6), max=1.0))
    return norm


class AveragedWeights:
    """The exponential moving average of a model's weights over the steps.

    The decay rises to its full value, min(decay, (1 + t) / (10 + t)) at step t from 0, so that the
    first weights do not count for more than a short run gives them.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = [p.data for p in model.parameters() if p.requires_grad]
        self._averages = [weight.clone() for weight in self._weights]
        self._decay = decay

    def update(self, step: int) -> None:
        """Take in the weights that step ``step`` (from 0) has made."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages as its weights for the time of the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        held = [weight.clone() for weight in self._weights]
        torch._foreach_copy_(self._weights, self._averages)
        torch._foreach_copy_(self._averages, held)
