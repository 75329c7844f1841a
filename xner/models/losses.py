"""Losses of the tagger for clean and for noisy labels, on log-probabilities.

With p the probability of the given label and sg its detached copy: cross entropy -log p; focal
-(1-p)^g log p (Lin et al. 2017); opposite focal, which trusts what the model already believes
(Li, He and Xu 2021; the forms are ours): `shifted` -(1+p)^g log p, `detached` -sg(p^g) log p,
`power` -p^g log p; and generalised cross entropy (1-p^q)/q (Zhang and Sabuncu 2018), whose gradient
`detached` has for g = q.

A label may stand for several: where a corpus does not mark a type, its `O` is O or any tag of that
type. p is then their summed probability, the marginal likelihood of training from sets with
different types (Greenberg et al. 2018, with a CRF; here each token by itself).

Beside the label there is what other students say (Zhou and Chen 2021): noise takes longer to learn
than what is regular, and two students do not learn the same noise first.
"""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor

from xner.config import LossConfig

IGNORED = -100


def cross_entropy(log_p: Tensor) -> Tensor:
    """-log p."""
    return -log_p


def focal(log_p: Tensor, gamma: float) -> Tensor:
    """-(1-p)^gamma log p: the well known count less."""
    # 1 - p as -expm1(log p): exact also where p rounds to 1, and kept off 0, where a power below 1
    # has no gradient.
    rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -(rest**gamma) * log_p


def opposite_focal(log_p: Tensor, gamma: float, form: str) -> Tensor:
    """The opposite weights: what the model disbelieves, likely noise, counts less."""
    if form == "shifted":
        return -torch.exp(gamma * torch.log1p(log_p.exp())) * log_p
    weight = torch.exp(gamma * log_p)
    if form == "detached":
        return -weight.detach() * log_p
    if form == "power":
        return -weight * log_p
    raise ValueError(f"no form {form!r} of opposite_focal")


def gce(log_p: Tensor, q: float) -> Tensor:
    """(1-p^q)/q; its limit for q = 0 is cross entropy."""
    return -log_p if q == 0 else -torch.expm1(q * log_p) / q


def token_loss(
    logits: Tensor,
    labels: Tensor,
    config: LossConfig,
    weights: Tensor | None = None,
    stands_for: Tensor | None = None,
) -> Tensor:
    """Mean loss over the counted tokens (labels other than -100): a scalar, at least in float32.

    `logits` [..., labels], `labels` [...]; `weights`, [rows] or of labels' shape, multiply each
    token's loss. `stands_for`, bool [rows, labels, labels], says which labels each label of a row
    may stand for; by default itself alone. The mean divides by the number of counted tokens, not by
    their weights; without any counted token it is 0 and has a gradient of zeros.
    """
    counted = labels != IGNORED
    given = labels[counted]
    log_probabilities = _log_softmax(logits[counted])
    if stands_for is None:
        log_p = log_probabilities.gather(-1, given.unsqueeze(-1)).squeeze(-1)
    else:
        meant = stands_for[counted.nonzero()[:, 0], given]
        log_p = log_probabilities.masked_fill(~meant, -torch.inf).logsumexp(-1)
    if config.name == "cross_entropy":
        losses = cross_entropy(log_p)
    elif config.name == "focal":
        losses = focal(log_p, config.gamma)
    elif config.name == "opposite_focal":
        losses = opposite_focal(log_p, config.gamma, config.form)
    elif config.name == "gce":
        losses = gce(log_p, config.gamma)
    else:
        assert_never(config.name)
    if weights is not None:
        shape = weights.shape + (1,) * (labels.dim() - weights.dim())
        losses = losses * weights.reshape(shape).expand(labels.shape)[counted]
    return losses.sum() / counted.sum().clamp_min(1)


def disagreement(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over students and counted tokens of KL(q || p), q the students' mean p, detached.

    `logits` [students, ..., labels], `labels` [...]; a scalar, at least in float32, and 0 without
    any counted token.
    """
    counted = labels != IGNORED
    log_p = _log_softmax(logits[:, counted])
    log_q = (log_p.logsumexp(0) - math.log(len(log_p))).detach()
    divergence = (log_q.exp() * (log_q - log_p)).sum(-1).mean(0)
    return divergence.sum() / counted.sum().clamp_min(1)


def _log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities over the last dimension, at least in float32."""
    narrow = logits.dtype in (torch.bfloat16, torch.float16)
    return (logits.float() if narrow else logits).log_softmax(-1)
