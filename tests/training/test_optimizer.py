from __future__ import annotations

from typing import Any

import pytest
import torch

from xner.config import OptimizationConfig
from xner.training.optimizer import learning_rate_share, make_optimizer, scale_and_clip


def test_optimizer_learning_rate_rises_then_falls_to_nearly_nothing() -> None:
    shares = [learning_rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[9] == 1.0 and max(shares) == 1.0
    assert shares[-1] == pytest.approx(1 / 90)
    assert learning_rate_share(103, 100, 0.1) == 0.0


def test_optimizer_decays_matrices_only(linear_task: Any) -> None:
    optimizer = make_optimizer(linear_task().make_model(), OptimizationConfig(weight_decay=0.3))
    for group in optimizer.param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] == 0.3) for p in group["params"])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_optimizer_scales_before_it_clips() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([30.0, 40.0])
    scale_and_clip([parameter], torch.tensor(0.01), max_norm=1.0)
    assert parameter.grad.tolist() == pytest.approx([0.3, 0.4])
    parameter.grad = torch.tensor([30.0, 40.0])
    scale_and_clip([parameter], torch.tensor(0.1), max_norm=1.0)
    assert parameter.grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-4)
