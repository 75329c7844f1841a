from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerFast

from xner.models.characters import NewCharacters, add_to_tokenizer, unknown_characters
from xner.models.encoder import load_tokenizer
from xner.models.hmm import Learned, WordAligner, WordAlignerSettings
from xner.models.hmm_kernels import NUM_JUMPS
from xner.models.subwords import split
from xner.models.tagger import new_model, save_tagger
from xner.models.translated_characters import translated
from xner.models.word_counts import Counts
from xner.models.word_units import Units, tokenizer_of

TEXTS = ["张三 lives in ሰላም ", "李三 saw ሰላ", "三三"]
COUNTS = Counter("".join(TEXTS))


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
    assert unknown_characters(tokenizer, COUNTS, 2) == ("ላ", "ሰ", "三")
    assert unknown_characters(tokenizer, COUNTS, 4) == ("三",)
    assert set("ሰላም张三李") <= set(unknown_characters(tokenizer, COUNTS, 1))


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
    after = new_model(folder, ["PER"], new=NewCharacters(("三",)))
    after[0].classifier.load_state_dict(before[0].classifier.state_dict())
    old_ids, old = logits(*before, "in 三")
    new_ids, new = logits(*after, "in 三")
    assert old_ids != new_ids and before[1].unk_token_id in old_ids
    torch.testing.assert_close(new, old)


def test_characters_are_learned_each_for_itself(folder: Path) -> None:
    model, tokenizer = new_model(folder, ["PER"], new=NewCharacters(("三", "李")))
    ids, _ = logits(model, tokenizer, "三")
    model(input_ids=torch.tensor([ids])).logits.sum().backward()
    moved = model.get_input_embeddings().weight.grad.abs().sum(-1)
    learned, other = tokenizer.convert_tokens_to_ids(["三", "李"])
    assert moved[learned] > 0 == moved[other]


def test_characters_are_in_the_folder(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = new_model(folder, ["PER"], new=NewCharacters(("三",)))
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
    assert unknown_characters(load_tokenizer(tmp_path), {"三": 2}, 1) == ()


def test_characters_take_the_free_places_of_a_padded_vocabulary(
    bert_folder: Path, tmp_path: Path
) -> None:
    model, tokenizer = new_model(bert_folder, ["PER"])
    model.resize_token_embeddings(len(tokenizer) + 8, mean_resizing=False)
    save_tagger(model, tokenizer, tmp_path)
    padded, tokenizer = new_model(tmp_path, ["PER"], new=NewCharacters(("三", "李")))
    embeddings = padded.get_input_embeddings().weight.detach().numpy()
    assert len(embeddings) == len(tokenizer) + 6
    for number in tokenizer.convert_tokens_to_ids(["三", "李"]):
        np.testing.assert_array_equal(embeddings[number], embeddings[tokenizer.unk_token_id])


def aligner(links: dict[str, dict[str, float]], units: Units = (None, None)) -> WordAligner:
    """One that has counted how often each source word is linked to each target word."""
    targets = sorted({target for counts in links.values() for target in counts})
    entries = [
        (number, targets.index(target), count)
        for number, counts in enumerate(links.values())
        for target, count in counts.items()
    ]
    source, target, counts = np.array(entries).T
    words = [{word: number for number, word in enumerate(side)} for side in (links, targets)]
    learned = Learned(
        np.zeros((2, NUM_JUMPS)),
        Counts.of(*words, source.astype(np.int32), target.astype(np.int32), counts),
    )
    return WordAligner(WordAlignerSettings(), ("en", "zh"), units, (learned,), None)


def test_characters_begin_as_the_words_that_they_translate(folder: Path) -> None:
    model, tokenizer = new_model(folder, ["PER"])
    # A letter of Maltese, which marks a word's start in other vocabularies than these.
    tokenizer.add_tokens(["Ġ"])
    model.resize_token_embeddings(len(tokenizer))
    of_tokens = model.get_input_embeddings().weight.detach()

    def embedding(text: str) -> torch.Tensor:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        return of_tokens[ids].mean(0)

    characters = ["三", "李", "書", "語"]
    words = aligner({"in": {"三": 3.0}, "europ": {"三李": 2.0, "书": 1.0}, "ine": {"李": 0.5}})
    begin = translated(characters, model, tokenizer, words)
    # Of a word, no more than five letters are known; the vocabulary's first that begins so.
    known = "▁Europ" if "▁Europ" in tokenizer.get_vocab() else "Europ"
    europe = of_tokens[tokenizer.convert_tokens_to_ids(known)]
    unknown = of_tokens[tokenizer.unk_token_id]
    expected = [
        (3.0 * embedding("in") + 1.0 * europe + 0.5 * unknown) / 4.5,
        (1.0 * europe + 0.5 * embedding("ine") + 0.5 * unknown) / 2.0,
        (1.0 * europe + 0.5 * unknown) / 1.5,  # the traditional form of what was linked
        unknown,
    ]
    torch.testing.assert_close(begin, torch.stack(expected))

    new = NewCharacters(tuple(characters), begin)
    changed, tokenizer = new_model(folder, ["PER"], new=new)
    ids = tokenizer.convert_tokens_to_ids(characters)
    torch.testing.assert_close(changed.get_input_embeddings().weight[ids], begin)


def test_characters_begin_as_whole_words_where_an_aligner_has_units(folder: Path) -> None:
    model, tokenizer = new_model(folder, ["PER"])
    of_tokens = model.get_input_embeddings().weight.detach()
    # The vocabulary's first word that begins with five such letters is none of it.
    links = {"europine": {"三": 0.5}}
    begin = translated(
        ["三"], model, tokenizer, aligner(links, (None, tokenizer_of([("三", -1.0)])))
    )
    ids = tokenizer("europine", add_special_tokens=False)["input_ids"]
    expected = (of_tokens[ids].mean(0) + of_tokens[tokenizer.unk_token_id]) / 2
    torch.testing.assert_close(begin, expected[None])
