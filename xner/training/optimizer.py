"""What an optimizer step does: groups of parameters, the learning rate, and averaged weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from xner.config import OptimizationConfig
from xner.errors import ConfigError
from xner.models.encoder import encoders_in, layers_of


def learning_rate_share(step: int, num_steps: int, warmup_share: float) -> float:
    """Share of the full learning rate at a step, counted from 0: linear up, linear down to 0."""
    warmup = math.ceil(warmup_share * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup))


def layers_above(network: nn.Module) -> dict[str, int]:
    """How many layers lie above each parameter, by its name.

    In each of the network's encoders the layers are the longest list of modules. Above the last of
    them is the head, which counts as one; above embeddings, and what else comes before the first,
    are all layers. What comes after them, and what is in no encoder, is the head.

    Raises ConfigError for a network without such layers.
    """
    above = dict.fromkeys((name for name, _ in network.named_parameters()), 0)
    num_layers = 0
    for prefix, encoder in encoders_in(network).items():
        path, layers = layers_of(encoder)
        num_layers = len(layers)
        if not num_layers:
            continue
        # A head may have been made before the encoder that it stands on, as XLM-R's are.
        body = "" if encoder.base_model is encoder else f"{encoder.base_model_prefix}."
        embeddings = _embeddings_of(encoder)
        is_before = True
        for name, _ in encoder.named_parameters():
            if name.startswith(path):
                above[prefix + name] = num_layers - int(name.removeprefix(path).split(".")[0])
                is_before = False
            elif name.startswith(body) and (is_before or name in embeddings):
                above[prefix + name] = num_layers + 1
    if not num_layers:
        raise ConfigError("optimization.layer_decay: the model has no layers; leave it at 1")
    return above


def _embeddings_of(encoder: nn.Module) -> set[str]:
    """The names of the weights of its embeddings; DeBERTa makes some after its layers."""
    return {
        f"{name}.weight"
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Embedding)
    }


def make_optimizer(model: nn.Module, optimization: OptimizationConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) that decays matrices, not biases and norms.

    A group's `lr_share` is what its learning rate is to the full one: ``layer_decay`` to the power
    of the layers above it (Howard and Ruder 2018; Clark et al. 2020).
    """
    layer_decay = optimization.layer_decay
    above = layers_above(model) if layer_decay != 1.0 else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[above.get(name, 0), parameter.ndim > 1].append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": optimization.weight_decay if is_matrix else 0.0,
                "lr_share": layer_decay**num_above,
            }
            for (num_above, is_matrix), parameters in groups.items()
        ],
        lr=optimization.learning_rate,
        fused=True,
    )


def scale_and_clip(parameters: list[nn.Parameter], scale: Tensor, max_norm: float) -> Tensor:
    """Multiply the gradients by ``scale`` and then shorten them to ``max_norm``, in one pass.

    The norm between the two, a scalar.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = whole(torch.nn.utils.get_total_norm(gradients)) * scale
    torch._foreach_mul_(gradients, scale * torch.clamp(max_norm / (norm + 1e-6), max=1.0))
    return norm


def whole(value: Tensor) -> Tensor:
    """The tensor itself, also where workers hold it in parts; then all have to ask for it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


class AveragedWeights:
    """The exponential moving average of a model's weights over the steps.

    The decay rises to its full value, min(decay, (1 + t) / (10 + t)) at step t from 0, so that the
    first weights do not count for more than a short run gives them.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = [p for p in model.parameters() if p.requires_grad]
        self._averages = [weight.detach().clone() for weight in self._weights]
        self._decay = decay

    @torch.no_grad()
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

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._averages, strict=True):
            held = weight.clone()
            weight.copy_(average)
            average.copy_(held)
