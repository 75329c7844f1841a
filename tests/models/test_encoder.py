from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, CanineTokenizer

from xner.errors import ConfigError
from xner.models import encoder


def test_encoder_tokenizer_without_its_own_truncation(copy: Path) -> None:
    path = copy / "tokenizer.json"
    content = json.loads(path.read_text())
    content["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    path.write_text(json.dumps(content))
    tokenizer = encoder.load_tokenizer(copy)
    assert len(tokenizer.backend_tokenizer.encode("in Berlin " * 50)) > 100


def test_encoder_tokenizer_without_offsets_is_refused(tmp_path: Path) -> None:
    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no character offsets"):
        encoder.load_tokenizer(tmp_path)


def test_encoder_tokenizer_broken_file(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="tokenizer cannot be loaded"):
        encoder.load_tokenizer(copy)


def test_encoder_weights_are_fp32_without_pooler(folder: Path, tmp_path: Path) -> None:
    original = AutoModel.from_pretrained(folder)
    original.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = encoder.load_encoder(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded.pooler is None
    assert loaded.config._attn_implementation == "sdpa"
    ids = torch.tensor([[5, 6, 7]])
    assert loaded(input_ids=ids).last_hidden_state.shape == (1, 3, 32)


def test_encoder_weights_incomplete(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 parameters: encoder.layer.0.output.dense"):
        encoder.load_encoder(copy)


def test_encoder_weights_truncated(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        encoder.load_encoder(copy)


def test_encoder_code_of_a_model_folder_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    classes = {name: "planted.X" for name in ("AutoConfig", "AutoModel", "AutoTokenizer")}
    record = {"model_type": "planted", "auto_map": classes}
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps(record))
    for read in (encoder.load_config, encoder.load_tokenizer):
        with pytest.raises(ConfigError):
            read(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_encoder_device_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("CUDA_VISIBLE_DEVICES", "RAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert encoder.pick_device("auto") == encoder.pick_device("cpu") == cpu
    with pytest.raises(ConfigError, match="no GPU"):
        encoder.pick_device("cuda")
    # A GPU that this process was given, as Ray gives one to an actor, and that torch cannot use.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert encoder.pick_device("auto") == cpu
    monkeypatch.setenv("RAY_JOB_ID", "ffffffff")
    with pytest.raises(ConfigError, match=r"GPU 1 is reserved for this process .* finds none"):
        encoder.pick_device("auto")
    assert encoder.pick_device("cpu") == cpu
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert encoder.pick_device("auto") == cpu
    assert encoder.pick_precision("fp32", cpu) == torch.float32
    assert encoder.pick_precision("bf16", cpu) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert encoder.pick_precision("auto", cpu) == torch.float32


def test_encoder_window_length(folder: Path) -> None:
    model, tokenizer = encoder.load_encoder(folder), encoder.load_tokenizer(folder)
    assert encoder.window_length(model, tokenizer, None) == 64
    assert encoder.window_length(model, tokenizer, 20) == 20
    with pytest.raises(ConfigError, match="max_length = 65, but this encoder reads at most 64"):
        encoder.window_length(model, tokenizer, 65)
    with pytest.raises(ConfigError, match="max_length = 2 leaves no room beside 2 special tokens"):
        encoder.window_length(model, tokenizer, 2)
    # The promise holds: the longest window passes through the model.
    model(input_ids=torch.full((1, 64), 5))


def test_dropout_is_the_setting_and_the_saved_config_keeps_its_own(bert_folder: Path) -> None:
    from xner.models.tagger import new_model

    def differs(dropout: float | None) -> bool:
        model, _ = new_model(bert_folder, ["X"], dropout)
        ids = torch.arange(5, 15)[None]
        model.train()
        assert model.config.hidden_dropout_prob == 0.1
        return not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)

    assert differs(None) and differs(0.5)
    assert not differs(0.0)
