from __future__ import annotations

import math

import pytest
import torch

from xner.config import LossConfig
from xner.models.losses import disagreement, token_loss

ALL = [
    LossConfig(name="cross_entropy"),
    LossConfig(name="focal", gamma=2.0),
    LossConfig(name="focal", gamma=0.5),
    LossConfig(name="opposite_focal", gamma=2.0, form="shifted"),
    LossConfig(name="opposite_focal", gamma=0.7, form="detached"),
    LossConfig(name="opposite_focal", gamma=0.7, form="power"),
    LossConfig(name="gce", gamma=0.7),
]


def logits_for(p: float) -> torch.Tensor:
    """Logits of one token and two labels of which label 0 has probability p."""
    return torch.tensor([[math.log(p), math.log(1 - p)]], dtype=torch.float64)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9])
@pytest.mark.parametrize(
    ("config", "formula"),
    [
        (ALL[0], lambda p: -math.log(p)),
        (ALL[1], lambda p: -((1 - p) ** 2) * math.log(p)),
        (ALL[3], lambda p: -((1 + p) ** 2) * math.log(p)),
        (ALL[4], lambda p: -(p**0.7) * math.log(p)),
        (ALL[5], lambda p: -(p**0.7) * math.log(p)),
        (ALL[6], lambda p: (1 - p**0.7) / 0.7),
    ],
)
def test_losses_closed_forms(config: LossConfig, formula, p: float) -> None:
    loss = token_loss(logits_for(p), torch.tensor([0]), config)
    assert loss.item() == pytest.approx(formula(p), rel=1e-9)


@pytest.mark.parametrize("name", ["focal", "opposite_focal", "gce"])
def test_losses_gamma_zero_is_cross_entropy(name: str) -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    loss = token_loss(logits, labels, LossConfig(name=name, gamma=0.0))
    assert torch.allclose(loss, expected)


@pytest.mark.parametrize("config", [c for c in ALL if c.form != "detached"], ids=lambda c: c.name)
def test_losses_gradients_are_those_of_the_values(config: LossConfig) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([[0, 1, -100], [3, 2, 1]])
    assert torch.autograd.gradcheck(lambda x: token_loss(x, labels, config), (logits,))


def test_losses_detached_has_the_gradient_of_gce() -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = []
    for config in (
        LossConfig(name="opposite_focal", gamma=0.6, form="detached"),
        LossConfig(name="gce", gamma=0.6),
    ):
        generator.manual_seed(3)
        logits = torch.randn(50, 9, dtype=torch.float64, generator=generator, requires_grad=True)
        token_loss(logits, torch.arange(50) % 9, config).backward()
        gradients.append(logits.grad)
    assert torch.allclose(*gradients, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", ALL, ids=lambda c: f"{c.name}-{c.form}-{c.gamma}")
def test_losses_finite_at_the_ends(config: LossConfig, dtype: torch.dtype) -> None:
    logits = torch.tensor([[500.0, -500.0], [500.0, 0.0], [20.0, 0.0], [0.0, 0.0]], dtype=dtype)
    for label in (0, 1):
        x = logits.clone().requires_grad_()
        loss = token_loss(x, torch.full((4,), label), config)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(x.grad).all()


def test_losses_cross_entropy_pulls_however_wrong_the_model_is() -> None:
    logits = torch.tensor([[-500.0, 500.0]], requires_grad=True)
    token_loss(logits, torch.tensor([0]), ALL[0]).backward()
    assert logits.grad.tolist() == [[-1.0, 1.0]]


def test_losses_ignored_tokens_and_weights() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(4))
    labels = torch.tensor([[0, 1, -100], [2, -100, -100]])
    each = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 4), labels.reshape(-1), ignore_index=-100, reduction="none"
    ).reshape(2, 3)
    plain = token_loss(logits, labels, ALL[0])
    assert torch.allclose(plain, each.sum() / 3)
    by_row = token_loss(logits, labels, ALL[0], weights=torch.tensor([0.5, 2.0]))
    assert torch.allclose(by_row, (each[0].sum() * 0.5 + each[1].sum() * 2) / 3)
    by_token = token_loss(logits, labels, ALL[0], weights=torch.tensor([[1.0, 0, 9], [3, 9, 9]]))
    assert torch.allclose(by_token, (each[0, 0] + each[1, 0] * 3) / 3)


def test_losses_nothing_counted_is_zero_with_a_gradient() -> None:
    logits = torch.randn(2, 4, requires_grad=True)
    loss = token_loss(logits, torch.full((2,), -100), ALL[0])
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


# Label 0 stands for itself and for labels 2 and 3 in the first row, for itself alone in the second.
PARTIAL = torch.eye(4, dtype=torch.bool).repeat(2, 1, 1)
PARTIAL[0, 0, 2:] = True


@pytest.mark.parametrize("config", ALL, ids=lambda c: f"{c.name}-{c.form}-{c.gamma}")
def test_losses_a_label_that_stands_for_several_has_their_summed_probability(
    config: LossConfig,
) -> None:
    p = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
    logits = p.log().expand(2, 2, 4)
    labels = torch.tensor([[0, 1], [0, -100]])
    loss = token_loss(logits, labels, config, stands_for=PARTIAL)
    plain = [token_loss(logits_for(q), torch.tensor([0]), config) for q in (0.6, 0.4, 0.1)]
    assert loss.item() == pytest.approx(sum(each.item() for each in plain) / 3, rel=1e-9)


@pytest.mark.parametrize("config", [c for c in ALL if c.form != "detached"], ids=lambda c: c.name)
def test_losses_gradients_of_labels_that_stand_for_several(config: LossConfig) -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([[0, 1, -100], [0, 2, 0]])
    assert torch.autograd.gradcheck(
        lambda x: token_loss(x, labels, config, stands_for=PARTIAL), (logits,)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", ALL, ids=lambda c: f"{c.name}-{c.form}-{c.gamma}")
def test_losses_of_several_labels_finite_at_the_ends(
    config: LossConfig, dtype: torch.dtype
) -> None:
    rows = [[500.0, -500, -500, -500], [-500.0, 500, -500, -500], [0.0, 0, 500, 0], [0.0] * 4]
    logits = torch.tensor([rows, rows], dtype=dtype, requires_grad=True)
    loss = token_loss(logits, torch.zeros(2, 4, dtype=torch.int64), config, stands_for=PARTIAL)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_losses_what_a_label_stands_for_is_left_to_the_model() -> None:
    logits = torch.randn(1, 1, 4, requires_grad=True)
    everything = torch.ones(1, 4, 4, dtype=torch.bool)
    token_loss(logits, torch.tensor([[0]]), ALL[0], stands_for=everything).backward()
    assert torch.allclose(logits.grad, torch.zeros(1, 1, 4), atol=1e-6)


def test_losses_disagreement_closed_form() -> None:
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64)
    logits = torch.stack([p.log(), torch.zeros(2, 2)], dim=1)
    q = p.mean(0)
    expected = sum((q * (q / each).log()).sum() for each in p) / 2
    labels = torch.tensor([0, -100])
    assert disagreement(logits, labels).item() == pytest.approx(expected.item(), rel=1e-9)


def test_losses_disagreement_of_equal_students_is_zero() -> None:
    one = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(6))
    logits = torch.stack([one, one]).requires_grad_()
    loss = disagreement(logits, torch.zeros(3, 4, dtype=torch.int64))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6


def test_losses_disagreement_draws_each_student_to_their_mean() -> None:
    """The gradient of KL(q || p) by the logits is p - q, as if q did not depend on them."""
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    disagreement(logits, torch.zeros(6, dtype=torch.int64)).backward()
    p = logits.detach().softmax(-1)
    assert torch.allclose(logits.grad, (p - p.mean(0)) / (2 * 6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_disagreement_finite_at_the_ends(dtype: torch.dtype) -> None:
    sure = torch.tensor([[500.0, -500.0], [-500.0, 500.0], [0.0, 0.0]], dtype=dtype)
    logits = torch.stack([sure, sure.flip(-1)]).requires_grad_()
    loss = disagreement(logits, torch.tensor([0, 1, 0]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert disagreement(logits, torch.full((3,), -100)).item() == 0
