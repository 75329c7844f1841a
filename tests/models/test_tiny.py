from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from xner.models.encoder import load_encoder, load_tokenizer
from xner.models.folders import content_hash, resolve
from xner.models.subwords import Template, split, template
from xner.models.tiny import MAX_LENGTH, new_encoder_folder

TEXTS = ["Angela Merkel was in Berlin.", "安格拉·默克尔在柏林。", "Zuid-Holland, España!"] * 5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_encoder_folder(TEXTS, tmp_path_factory.mktemp("tiny"), seed=1)


def test_tiny_is_a_folder_like_any(tiny: Path) -> None:
    encoder = load_encoder(resolve(tiny))
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 1_500_000
    assert template(load_tokenizer(tiny)) == Template((2,), (3,), (3,), 1)
    model = AutoModelForTokenClassification.from_pretrained(tiny, num_labels=5)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert tokenizer.model_max_length == MAX_LENGTH
    inputs = tokenizer(["Merkel in Berlin", "柏林"], padding=True, return_tensors="pt")
    assert model(**inputs).logits.shape == (*inputs["input_ids"].shape, 5)


def test_tiny_same_seed_same_files(tiny: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert content_hash(new_encoder_folder(TEXTS, tmp_path / "a", 1)) == content_hash(tiny)
    assert content_hash(new_encoder_folder(TEXTS, tmp_path / "b", 2)) != content_hash(tiny)
    assert torch.equal(torch.rand(3), expected), "the global random state was touched"


@pytest.mark.parametrize("text", ["Überraschung ಕನ್ನಡ 🙂 Ωμέγα 丂", "a\u0000b\ufffd", "é è"])
def test_tiny_knows_every_character(tiny: Path, text: str) -> None:
    tokenizer = load_tokenizer(tiny)
    found = split(tokenizer, [text])
    assert tokenizer.unk_token_id not in found.ids
    covered = {
        character
        for start, end in zip(found.starts, found.ends, strict=True)
        for character in range(start, end)
    }
    # All but what BERT's pre-tokenizer takes for a space.
    assert covered >= {i for i, character in enumerate(text) if not character.isspace()}


def test_tiny_name_is_the_same_alone_and_in_a_sentence(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    alone = split(tokenizer, ["Qxanthia"]).ids.tolist()
    for text in ["in Qxanthia.", "(Qxanthia)", "在Qxanthia。", "Qxanthia-Holland", "«Qxanthia»"]:
        inside = split(tokenizer, [text]).ids.tolist()
        assert any(inside[i : i + len(alone)] == alone for i in range(len(inside))), text


def test_tiny_no_subword_crosses_chinese_words(tiny: Path) -> None:
    found = split(load_tokenizer(tiny), ["安格拉在柏林"])
    assert all(found.ends - found.starts <= 1)
