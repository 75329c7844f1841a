from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    XLMRobertaConfig,
    XLMRobertaForTokenClassification,
    XLMRobertaModel,
)

from xner.config import OptimizationConfig
from xner.errors import ConfigError
from xner.shards.storage import Folder
from xner.training.optimizer import (
    layers_above,
    learning_rate_share,
    make_optimizer,
    scale_and_clip,
)
from xner.training.tagger import make_task


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


def test_optimizer_gives_each_layer_its_learning_rate(tagger_recipe: Any, tmp_path: Any) -> None:
    model = make_task(tagger_recipe(), Folder.at(str(tmp_path))).make_model()
    optimizer = make_optimizer(model, OptimizationConfig(layer_decay=0.5, weight_decay=0.3))
    names = {parameter: name for name, parameter in model.named_parameters()}
    shares = {
        names[parameter]: group["lr_share"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert shares.keys() == set(names.values())
    for name, share in shares.items():
        layer = re.search(r"encoder\.layer\.(\d)\.", name)
        if layer:
            assert share == 0.5 ** (3 - int(layer[1])), name
        else:
            assert share == (0.5**4 if ".embeddings." in name else 1.0), name
    for group in optimizer.param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] == 0.3) for p in group["params"])


def test_optimizer_finds_the_layers_of_every_encoder_of_a_network() -> None:
    """Families name their layers differently; a network may hold an encoder, or two."""
    small = {"vocab_size": 50, "num_attention_heads": 2, "max_position_embeddings": 32}
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, **small}
    distil = {"dim": 8, "hidden_dim": 8, "n_layers": 2, "n_heads": 2, **small}
    encoders = [
        XLMRobertaModel(XLMRobertaConfig(**sizes)),
        DebertaV2Model(DebertaV2Config(**sizes)),
        ModernBertModel(ModernBertConfig(**sizes, pad_token_id=0, global_attn_every_n_layers=2)),
        DistilBertModel(DistilBertConfig(**distil)),
    ]
    for encoder in encoders:
        above = layers_above(nn.ModuleDict({"encoder": encoder, "head": nn.Linear(8, 1)}))
        assert above["head.weight"] == 0
        assert sorted(set(above.values())) == [0, 1, 2, 3]
        assert {above[name] for name in above if "word_emb" in name or "tok_emb" in name} == {3}
        embeddings = [name for name in above if "embeddings.weight" in name]
        assert all(above[name] == 3 for name in embeddings)
    # XLM-R's tagger makes its head before its encoder.
    tagger = XLMRobertaForTokenClassification(XLMRobertaConfig(**sizes))
    above = layers_above(tagger)
    assert above["classifier.weight"] == above["classifier.bias"] == 0
    assert above["roberta.embeddings.word_embeddings.weight"] == 3
    assert above["roberta.encoder.layer.1.output.dense.weight"] == 1
    above = layers_above(nn.ModuleList(encoders[:2]))
    for number, encoder in enumerate(encoders[:2]):
        alone = layers_above(encoder)
        assert all(above[f"{number}.{name}"] == alone[name] for name in alone)


def test_optimizer_refuses_layer_decay_without_layers(linear_task: Any) -> None:
    with pytest.raises(ConfigError, match="layer_decay"):
        make_optimizer(linear_task().make_model(), OptimizationConfig(layer_decay=0.9))
