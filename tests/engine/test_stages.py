"""What a stage adds to its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xner.config import AlignerConfig, LinksConfig
from xner.corpora import miniature
from xner.engine import stages
from xner.errors import ConfigError
from xner.models.folders import AlignerSettings
from xner.models.hmm import WordAlignerSettings, train
from xner.projection.decode import COPY
from xner.projection.evidence import EVIDENCE
from xner.shards import schema
from xner.shards.storage import Folder
from xner.text.words import segment

NUM_PAIRS = 150


def labelled(rows: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]], lang: str) -> pa.Table:
    """Sentences, their translations and the source mentions, as the first stage leaves them."""
    return pa.Table.from_pylist(
        [
            {
                "pair_id": str(number),
                "corpus": "made",
                "source_lang": "en",
                "target_lang": lang,
                "source": source,
                "target": target,
                "source_mentions": mentions,
            }
            for number, (source, target, mentions) in enumerate(rows)
        ],
        schema.LABELLED,
    )


def mention(source: str, name: str, after: int = 0) -> dict[str, Any]:
    start = source.index(name, after)
    return {"start": start, "end": start + len(name), "label": "LOC", "score": 1.0}


# What a shard may hold beside whole sentences; a name that stands twice is two mentions.
TWICE = "Rome is not like Rome"
ODD = [
    ("", "", []),
    ("Rome", "", [mention("Rome", "Rome")]),
    ("", "Rom", []),
    (" \t", "\u00a0", []),
    ("Yes", "Ja", []),
    (TWICE, "Rom ist nicht wie Rom", [mention(TWICE, "Rome"), mention(TWICE, "Rome", 1)]),
]


@pytest.fixture(scope="module")
def odd_and_whole() -> pa.Table:
    """Pairs of the miniature world with their gold mentions, and the odd ones."""
    whole = [
        (pair.texts["en"], pair.texts["de"], [asdict(each) for each in pair.mentions["en"]])
        for pair in miniature.sentences("train", NUM_PAIRS)
    ]
    return labelled([*whole, *ODD], "de")


@pytest.fixture(scope="module")
def word_aligner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of one for English and German."""
    folder = tmp_path_factory.mktemp("words")
    texts = [
        (pair.texts["en"], pair.texts["de"]) for pair in miniature.sentences("train", 400, seed=1)
    ]
    train(texts, ("en", "de"), WordAlignerSettings()).aligner.save(Folder.at(str(folder)))
    return str(folder)


@pytest.fixture(scope="module")
def entity_aligner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of one with random weights."""
    import torch

    from xner.models.aligner import new_network, save_aligner
    from xner.models.tiny import new_encoder_folder

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("aligner")
    texts = [text for pair in miniature.sentences("train", 200) for text in pair.texts.values()]
    network, tokenizer = new_network(
        new_encoder_folder(texts, folder / "encoder", seed=0), "packed"
    )
    (folder / "packed").mkdir()
    save_aligner(network, tokenizer, folder / "packed", AlignerSettings(layout="packed"))
    return str(folder / "packed")


def placed_right(table: pa.Table) -> float:
    """The share of the gold mentions whose best candidate is their counterpart."""
    right = []
    found = table["alignments"].to_pylist()[:NUM_PAIRS]
    for pair, offered in zip(miniature.sentences("train", NUM_PAIRS), found, strict=True):
        best = {each["source_index"]: (each["start"], each["end"]) for each in offered[::-1]}
        gold = pair.mentions["de"]
        right += [
            link is not None and best.get(index) == (gold[link].start, gold[link].end)
            for index, link in enumerate(pair.links["de"])
        ]
    return sum(right) / len(right)


@pytest.mark.parametrize(
    ("links", "has_aligner", "exact_match", "least"),
    [
        ("of the shard", False, False, 0.85),
        ("trained", False, False, 0.85),
        ("adapted", False, False, 0.85),
        ("adapted", True, False, 0.85),
        ("adapted", False, True, 0.85),
        (None, False, True, 0.4),
        (None, True, True, 0.4),
    ],
)
def test_align_places_mentions_of_every_row(
    odd_and_whole: pa.Table,
    word_aligner: str,
    entity_aligner: str,
    links: str | None,
    has_aligner: bool,
    exact_match: bool,
    least: float,
) -> None:
    model = None if links == "of the shard" else word_aligner
    config = AlignerConfig(
        model=entity_aligner if has_aligner else None,
        links=None if links is None else LinksConfig(model=model, adapt=links != "trained"),
        exact_match=exact_match,
        precision="fp32",
    )
    align = stages.Align(config)
    table = align(odd_and_whole)
    assert table.schema.equals(schema.ALIGNED)
    assert table.drop_columns("alignments").equals(odd_and_whole)
    methods = ({EVIDENCE} if links else set()) | ({COPY} if exact_match else set())
    for row in table.to_pylist():
        words = segment(row["target"])
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        for each in row["alignments"]:
            assert 0 <= each["source_index"] < len(row["source_mentions"])
            assert each["start"] in starts and each["end"] in ends and each["start"] < each["end"]
            assert 0 < each["score"] <= 1
            assert each["method"] in methods or (has_aligner and not links)
        for index in range(len(row["source_mentions"])):
            scores = [a["score"] for a in row["alignments"] if a["source_index"] == index]
            assert scores == sorted(scores, reverse=True)
            assert len(scores) <= config.max_candidates
            # Of all the places in a sentence, a mention has one.
            assert not links or sum(scores) <= 1.001
    assert placed_right(table) >= least
    assert stages.Align(config)(odd_and_whole).equals(table)
    # Nothing is kept from shard to shard.
    assert align(odd_and_whole).equals(table)
    assert align(odd_and_whole.slice(0, 0)).num_rows == 0


def test_align_places_a_name_that_stands_twice_at_both_places(word_aligner: str) -> None:
    align = stages.Align(AlignerConfig(links=LinksConfig(model=word_aligner), exact_match=True))
    source, target = "Milaford is not like Milaford", "Milafurt ist nicht wie Milafurt"
    mentions = [mention(source, "Milaford"), mention(source, "Milaford", 1)]
    [found] = align(labelled([(source, target, mentions)], "de"))["alignments"].to_pylist()
    best = {each["source_index"]: each["start"] for each in found[::-1]}
    assert best == {0: 0, 1: target.rindex("Milafurt")}


def test_align_links_words_on_the_device_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []
    monkeypatch.setattr(stages, "word_linker", lambda *settings: made.append(settings))
    links = LinksConfig(kind="similarity", model="an encoder")
    stages.Align(AlignerConfig(links=links, device="cpu", precision="bf16", batch_tokens=77))
    assert made == [(links, "cpu", "bf16", 77)]


@pytest.mark.parametrize("lang", ["de", "de_AT"])
def test_align_takes_the_languages_of_its_word_aligner(word_aligner: str, lang: str) -> None:
    align = stages.Align(AlignerConfig(links=LinksConfig(model=word_aligner)))
    assert align(labelled(ODD, lang)).num_rows == len(ODD)


def test_align_refuses_other_languages_than_those_of_its_word_aligner(word_aligner: str) -> None:
    align = stages.Align(AlignerConfig(links=LinksConfig(model=word_aligner)))
    spanish, both = labelled(ODD, "es"), [labelled(ODD, lang) for lang in ("es", "de")]
    with pytest.raises(ConfigError, match=r"a word aligner for en-de, but the pairs are en-es;"):
        align(spanish)
    with pytest.raises(ConfigError, match=r"en-de, but the pairs are en-de, en-es; train one word"):
        align(pa.concat_tables(both))
    # What was trained on nothing takes all.
    untrained = stages.Align(AlignerConfig(links=LinksConfig()))
    assert untrained(pa.concat_tables(both)).num_rows == 2 * len(ODD)


@pytest.mark.parametrize(("bias", "score"), [(0.0, 0.9), (-np.log(9), 0.5)])
def test_stages_calibrate_as_the_folder_of_the_aligner_says(
    monkeypatch: pytest.MonkeyPatch, bias: float, score: float
) -> None:
    class FirstWord:
        settings = AlignerSettings(layout="packed", score_bias=bias)

        def __init__(self, config: AlignerConfig) -> None:
            pass

        def align(self, requests: Any) -> list[np.ndarray]:
            return [np.array([[0.9, 0, 0]], dtype=np.float32) for _ in requests]

    monkeypatch.setattr("xner.models.aligner.Aligner", FirstWord)
    row = {
        "pair_id": "1",
        "corpus": "made",
        "source_lang": "en",
        "target_lang": "de",
        "source": "Rome is old",
        "target": "Rom ist alt",
        "source_mentions": [{"start": 0, "end": 4, "label": "LOC", "score": 1.0}],
    }
    table = stages.Align(AlignerConfig(model="made"))(pa.Table.from_pylist([row], schema.LABELLED))
    [[found]] = table["alignments"].to_pylist()
    assert (found["start"], found["end"]) == (0, 3)
    assert found["score"] == pytest.approx(score, abs=1e-3)


class KansasHalf:
    """An entity aligner and a word linker that know two letters of a name of three."""

    settings = AlignerSettings(layout="packed")
    languages = None

    def __init__(self, *settings: Any) -> None:
        pass

    def align(self, requests: Any) -> list[np.ndarray]:
        return [
            np.array([[float(text[start] in "堪薩") for start, _ in words]], dtype=np.float32)
            for _, text, words in requests
        ]

    def links(self, pairs: Any) -> list[np.ndarray]:
        (pair,) = pairs
        letters = [pair.target[start] for start, _ in pair.target_words]
        return [
            np.array([[c == "在" for c in letters], [c in "堪薩" for c in letters]], np.float32)
        ]


@pytest.mark.parametrize("by_links", [False, True])
@pytest.mark.parametrize(
    ("lang", "whole_words", "found"),
    [("zh", True, "堪薩斯州"), ("zh", False, "堪薩"), ("ja", True, "堪薩")],
)
def test_align_tears_no_word_of_chinese(
    monkeypatch: pytest.MonkeyPatch, by_links: bool, lang: str, whole_words: bool, found: str
) -> None:
    monkeypatch.setattr("xner.models.aligner.Aligner", KansasHalf)
    monkeypatch.setattr(stages, "word_linker", KansasHalf)
    config = AlignerConfig(
        model=None if by_links else "made",
        links=LinksConfig() if by_links else None,
        whole_words=whole_words,
    )
    source, target = "in Kansas", "在堪薩斯州"
    table = labelled([(source, target, [mention(source, "Kansas")])], lang)
    [[best, *_]] = stages.Align(config)(table)["alignments"].to_pylist()
    assert target[best["start"] : best["end"]] == found
