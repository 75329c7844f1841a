from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from xner.config import LinksConfig
from xner.errors import ConfigError
from xner.models import similarity as module
from xner.models.encoder import load_tokenizer
from xner.models.similarity import SimilarityLinker, argmax_links, itermax_links
from xner.models.word_links import word_linker
from xner.text.pairs import SentencePair
from xner.text.words import segment

ENGLISH = "Angela Merkel met Barack Obama in Berlin."
GERMAN = "Angela Merkel traf Barack Obama in Berlin."
CHINESE = "安格拉·默克尔在柏林会见了奥巴马。"


def pair(source: str, target: str) -> SentencePair:
    return SentencePair(source, segment(source), target, segment(target))


def linker(folder: Path, batch_tokens: int = 8192, **settings: object) -> SimilarityLinker:
    config = LinksConfig(kind="similarity", model=str(folder), **settings)
    return SimilarityLinker(config, "cpu", "fp32", batch_tokens)


def cells(matrix: np.ndarray) -> list[tuple[int, int]]:
    return [tuple(cell) for cell in np.argwhere(matrix).tolist()]


def test_similarity_argmax_by_hand() -> None:
    table = np.array([[0.9, 0.2, 0.3], [0.8, 0.1, 0.4], [0.1, 0.3, 0.2]])
    # Row 1 prefers column 0, which prefers row 0; column 2 prefers row 1: no link of either.
    assert cells(argmax_links(table)) == [(0, 0), (2, 1)]


def test_similarity_argmax_takes_the_first_of_equals() -> None:
    assert cells(argmax_links(np.ones((2, 3)))) == [(0, 0)]


def test_similarity_itermax_links_what_is_left() -> None:
    table = np.array([[0.9, 0.2, 0.3], [0.8, 0.1, 0.4], [0.1, 0.3, 0.2]])
    # (0, 0) and (2, 1) are out of the second round. Row 1 keeps 0.8 * 0.9 for column 0, which
    # has nothing better; column 2 keeps 0.3 * 0.9 and 0.2 * 0.9, and 0.4 of the unlinked row 1,
    # which prefers column 0.
    assert cells(itermax_links(table)) == [(0, 0), (1, 0), (2, 1)]


def test_similarity_itermax_discount_decides() -> None:
    # Row 1 would rather have the linked column 0, but 0.50 * 0.9 < 0.46: it takes column 1.
    table = np.array([[0.9, 0.48], [0.50, 0.46]])
    assert cells(argmax_links(table)) == [(0, 0)]
    assert cells(itermax_links(table)) == [(0, 0), (1, 1)]
    # And 0.53 * 0.9 > 0.46: it joins column 0.
    table[1, 0] = 0.53
    assert cells(itermax_links(table)) == [(0, 0), (1, 0)]


def reference(table: np.ndarray, rounds: int) -> set[tuple[int, int]]:
    """Cell by cell, as the paper words it."""
    num_rows, num_columns = table.shape
    linked: set[tuple[int, int]] = set()
    for _ in range(rounds):
        weighed = {}
        for i in range(num_rows):
            for j in range(num_columns):
                ends = any(i == a for a, _ in linked) + any(j == b for _, b in linked)
                weighed[i, j] = table[i, j] * (1.0, 0.9, 0.0)[ends]
        linked |= {
            (i, j)
            for (i, j), value in weighed.items()
            if value > 0
            and all(value > weighed[i, k] for k in range(num_columns) if k != j)
            and all(value > weighed[k, j] for k in range(num_rows) if k != i)
        }
    return linked


@pytest.mark.parametrize("seed", range(40))
def test_similarity_matchings_are_the_papers(seed: int) -> None:
    random = np.random.default_rng(seed)
    table = random.uniform(0.01, 1, size=random.integers(1, 12, size=2))
    assert set(cells(argmax_links(table))) == reference(table, 1)
    assert set(cells(itermax_links(table))) == reference(table, 2)
    assert np.array_equal(argmax_links(table.T), argmax_links(table).T)
    assert np.array_equal(itermax_links(table.T), itermax_links(table).T)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_similarity_matchings_of_nothing(shape: tuple[int, int]) -> None:
    assert argmax_links(np.zeros(shape)).shape == shape
    assert itermax_links(np.zeros(shape)).shape == shape


@pytest.mark.parametrize("matching", ["argmax", "itermax"])
@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_similarity_equal_sentences_link_diagonally(folder: Path, text: str, matching: str) -> None:
    (matrix,) = linker(folder, matching=matching).links([pair(text, text)])
    assert matrix.dtype == np.float32
    linked, diagonal = matrix == 1, np.eye(len(matrix), dtype=bool)
    assert linked[diagonal].all()
    # What several words read is one state: they are linked with one another, and with no more.
    shared = linked & ~diagonal
    assert np.array_equal(shared, shared.T)
    if text == ENGLISH:
        assert not shared.any()


def by_hand(folder: Path, source: str, target: str, layer: int) -> np.ndarray:
    """Mutual argmax over transformers' own output, for short texts without shared sub-words."""
    tokenizer, model = load_tokenizer(folder), AutoModel.from_pretrained(folder).eval()
    states, words = [], []
    for text in (source, target):
        batch = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        offsets = batch.pop("offset_mapping")[0].tolist()
        with torch.inference_mode():
            output = model(
                batch["input_ids"], batch["attention_mask"], output_hidden_states=True
            ).hidden_states[layer][0]
        owner = [
            next((n for n, (a, b) in enumerate(segment(text)) if a < end <= b), None)
            if start < end and text[start:end].strip()
            else None
            for start, end in offsets
        ]
        kept = [position for position, word in enumerate(owner) if word is not None]
        states.append(output[kept])
        words.append([owner[position] for position in kept])
    cosine = torch.nn.functional.cosine_similarity(
        states[0][:, None], states[1][None], dim=-1
    ).numpy()
    matrix = np.zeros((len(segment(source)), len(segment(target))))
    for i in range(len(cosine)):
        for j in range(len(cosine[0])):
            if cosine[i].argmax() == j and cosine[:, j].argmax() == i:
                matrix[words[0][i], words[1][j]] = 1
    return matrix


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_similarity_reads_the_layer_of_transformers(bert_folder: Path, layer: int) -> None:
    (matrix,) = linker(bert_folder, layer=layer, matching="argmax").links([pair(ENGLISH, GERMAN)])
    assert matrix.tolist() == by_hand(bert_folder, ENGLISH, GERMAN, layer).tolist()
    assert matrix.any()


def test_similarity_layer_by_default_and_out_of_range(bert_folder: Path) -> None:
    assert linker(bert_folder).layer == 1
    for layer in (-1, 3):
        with pytest.raises(ConfigError, match=rf"links\.layer = {layer}.*0 \(.*to 2"):
            linker(bert_folder, layer=layer)


def test_similarity_reads_relative_positions(deberta_folder: Path) -> None:
    (matrix,) = linker(deberta_folder, matching="argmax").links([pair(ENGLISH, ENGLISH)])
    assert np.diagonal(matrix).all()


def test_similarity_long_sentences_are_read_to_the_end(folder: Path) -> None:
    text = " ".join([ENGLISH, "Siemens (Munich), Bayer and BASF are German companies."] * 10)
    link = linker(folder)
    assert len(link.tokenizer(text).input_ids) > 3 * link.max_length
    (matrix,) = link.links([pair(text, text)])
    assert np.diagonal(matrix).all()


def test_similarity_long_sentence_reads_each_window_with_its_context(bert_folder: Path) -> None:
    """A word far behind the encoder's limit has the state that its own window gives it."""
    link = linker(bert_folder)
    text = " ".join([ENGLISH] * 9)
    key = (text, tuple(segment(text)))
    states = link._read([key])[key]
    tokenizer = load_tokenizer(bert_folder)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert len(states.states) == len(ids)
    last = [tokenizer.cls_token_id, *ids[-62:], tokenizer.sep_token_id]
    model = AutoModel.from_pretrained(bert_folder).eval()
    with torch.inference_mode():
        output = model(torch.tensor([last]), output_hidden_states=True).hidden_states[1][0, 1:-1]
    expected = torch.nn.functional.normalize(output, dim=-1).numpy()
    assert np.allclose(states.states[-20:], expected[-20:], atol=1e-5)


PAIRS = [
    pair(ENGLISH, GERMAN),
    pair("The European Parliament sits in Strasbourg.", "Das Europäische Parlament tagt."),
    pair(ENGLISH, CHINESE),
    pair("Bayer", ""),
    pair("", ""),
    pair(" ".join([ENGLISH] * 9), " ".join([GERMAN] * 8)),
    pair(ENGLISH, GERMAN),
    pair("   ", GERMAN),
]


def test_similarity_batches_and_groups_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [linker(folder).links([one])[0] for one in PAIRS]
    assert sum(matrix.any() for matrix in expected) == 5
    for batch_tokens, group_chars in [(8192, 1 << 18), (64, 1 << 18), (8192, 50), (1, 1)]:
        monkeypatch.setattr(module, "GROUP_CHARS", group_chars)
        found = linker(folder, batch_tokens).links(PAIRS)
        for matrix, wanted, one in zip(found, expected, PAIRS, strict=True):
            assert matrix.shape == (len(one.source_words), len(one.target_words))
            assert np.array_equal(matrix, wanted)


def test_similarity_computes_equal_texts_once(bert_folder: Path) -> None:
    link = linker(bert_folder)
    rows = 0
    run = link.budget.run

    def counted(collate, forward, lengths):  # type: ignore[no-untyped-def]
        nonlocal rows
        rows += len(lengths)
        return run(collate, forward, lengths)

    link.budget.run = counted  # type: ignore[method-assign]
    link.links([pair(ENGLISH, GERMAN), pair(ENGLISH, CHINESE), pair(GERMAN, ENGLISH)])
    assert rows == 3


def test_similarity_pairs_keep_their_own_words(bert_folder: Path) -> None:
    """Equal texts with other words are not the same."""
    whole = SentencePair(ENGLISH, [(0, len(ENGLISH))], GERMAN, segment(GERMAN))
    one, other = linker(bert_folder).links([whole, pair(ENGLISH, GERMAN)])
    assert one.shape == (1, other.shape[1])
    assert np.array_equal(one[0], other.max(axis=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_similarity_runs_as_it_is_told(bert_folder: Path, dtype: torch.dtype) -> None:
    config = LinksConfig(kind="similarity", model=str(bert_folder))
    linker = word_linker(config, "cpu", {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype], 77)
    assert isinstance(linker, SimilarityLinker)
    assert (linker.encoder.dtype, linker.encoder.device.type) == (dtype, "cpu")
    assert linker.budget.batch_tokens == 77
