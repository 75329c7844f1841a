from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerFast

from xner.models.characters import add_to_tokenizer, unknown_characters
from xner.models.encoder import load_tokenizer
from xner.models.subwords import split
from xner.models.tagger import new_model, save_tagger

TEXTS = ["张三 lives in ሰላም ", "李三 saw ሰላ", "三三"]


@pytest.fixture(params=["bert", "xlmr"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"{request.param}_folder")


def logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str
) -> tuple[list[int], torch.Tensor]:
    ids = tokenizer(text)["input_ids"]
    with torch.no_grad():
        return ids, model.eval()(input_ids=torch.tensor([ids])).logits


def test_characters_that_are_unknown_and_frequent(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert unknown_characters(tokenizer, TEXTS, 2) == ("ላ", "ሰ", "三")
    assert unknown_characters(tokenizer, TEXTS, 4) == ("三",)
    assert set("ሰላም张三李") <= set(unknown_characters(tokenizer, TEXTS, 1))


def test_characters_stand_at_their_places(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = "in ሰላም 张三, 三in"
    add_to_tokenizer(tokenizer, ["ሰ", "ላ", "三"])
    subwords = split(tokenizer, [text])
    read = [
        (tokenizer.convert_ids_to_tokens(number), text[start:end])
        for number, start, end in zip(
            subwords.ids.tolist(), subwords.starts.tolist(), subwords.ends.tolist(), strict=True
        )
    ]
    added = [(token, place) for token, place in read if token in ("ሰ", "ላ", "三")]
    assert added == [(each, each) for each in "ሰላ三三"]
    unknown = [place.strip() for token, place in read if token == tokenizer.unk_token]
    assert unknown == ["ም", "张"]
    assert "".join(place for _, place in read).replace(" ", "") == text.replace(" ", "")


def test_characters_compute_at_first_what_an_unknown_one_does(folder: Path) -> None:
    before = new_model(folder, ["PER"])
    torch.manual_seed(0)
    after = new_model(folder, ["PER"], characters=["三"])
    after[0].classifier.load_state_dict(before[0].classifier.state_dict())
    old_ids, old = logits(*before, "in 三")
    new_ids, new = logits(*after, "in 三")
    assert old_ids != new_ids and before[1].unk_token_id in old_ids
    torch.testing.assert_close(new, old)


def test_characters_are_learned_each_for_itself(folder: Path) -> None:
    model, tokenizer = new_model(folder, ["PER"], characters=["三", "李"])
    ids, _ = logits(model, tokenizer, "三")
    model(input_ids=torch.tensor([ids])).logits.sum().backward()
    moved = model.get_input_embeddings().weight.grad.abs().sum(-1)
    learned, other = tokenizer.convert_tokens_to_ids(["三", "李"])
    assert moved[learned] > 0 == moved[other]


def test_characters_are_in_the_folder(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = new_model(folder, ["PER"], characters=["三"])
    save_tagger(model, tokenizer, tmp_path)
    again, missing = AutoModelForTokenClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not missing["missing_keys"] and again.config.vocab_size == len(tokenizer)
    ids, expected = logits(model, tokenizer, "三 in 三")
    same_ids, found = logits(again, load_tokenizer(tmp_path), "三 in 三")
    assert same_ids == ids
    torch.testing.assert_close(found, expected)
    # Who goes on from it adds nothing twice.
    assert unknown_characters(load_tokenizer(tmp_path), ["三三"], 1) == ()


def test_characters_take_the_free_places_of_a_padded_vocabulary(
    bert_folder: Path, tmp_path: Path
) -> None:
    model, tokenizer = new_model(bert_folder, ["PER"])
    model.resize_token_embeddings(len(tokenizer) + 8, mean_resizing=False)
    save_tagger(model, tokenizer, tmp_path)
    padded, tokenizer = new_model(tmp_path, ["PER"], characters=["三", "李"])
    embeddings = padded.get_input_embeddings().weight.detach().numpy()
    assert len(embeddings) == len(tokenizer) + 6
    for number in tokenizer.convert_tokens_to_ids(["三", "李"]):
        np.testing.assert_array_equal(embeddings[number], embeddings[tokenizer.unk_token_id])
