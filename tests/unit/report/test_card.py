from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from xner.config import TrainTaggerConfig
from xner.report.card import tagger_card, write_tagger_card

SUMMARY = {"steps": 40, "epochs": 3, "best_epoch": 2, "metrics": {"dev_f1": 0.51234}}
MADE = {
    "job": "project_corpus",
    "fingerprint": "abc123",
    "teacher": {"content": "feed", "max_length": None},
    "aligner": {"content": "beef", "settings": {"threshold": 0.25, "links": {"kind": "hmm"}}},
    "quality": {"min_teacher_score": 0.5, "labels": ["PER", "LOC"]},
}


def recipe(**settings: Any) -> TrainTaggerConfig:
    data = [
        {"path": "s3://me:secret@host/pseudo/en-de", "format": "pseudo"},
        {
            "path": "wiki|gold.conll",
            "label_map": {"person": "PER", "misc": "O", "work": "?"},
            "not_annotated": ["LOC"],
            "repeat": 0.5,
        },
    ]
    return TrainTaggerConfig.model_validate(
        {"encoder": "some/encoder", "data": data, "output": "models/student-de", **settings}
    )


def about(**selected_on: Any) -> dict[str, Any]:
    return {
        "types": ["LOC", "PER"],
        "data": [
            {"path": "a", "languages": ["zh_CN"], "sentences": 12345, "mentions": {"PER": 67890}},
            {"path": "b", "languages": ["de", "en"], "sentences": 2, "mentions": {}},
        ],
        "dev": [],
        "selected_on": {
            "paths": [],
            "held_out_share_of_data": 0.05,
            "sentences": 100,
            "target_gold": [],
            **selected_on,
        },
    }


def card_of(
    config: TrainTaggerConfig,
    summary: dict[str, Any],
    about: dict[str, Any],
    made: dict[str, Any],
) -> str:
    return tagger_card(config, summary, about, made, "simple")


def test_card_header_is_what_the_hub_reads() -> None:
    data = ModelCard(card_of(recipe(license="mit"), SUMMARY, about(), {})).data
    assert data.language == ["de", "en", "zh"]
    assert data.license == "mit"
    assert data.base_model == "some/encoder"
    assert data.pipeline_tag == "token-classification"


def test_card_header_knows_no_base_model_and_no_licence_that_nobody_named(tmp_path: Path) -> None:
    for encoder in ("tiny", str(tmp_path)):
        card = card_of(recipe(encoder=encoder), SUMMARY, about(), {})
        header = yaml.safe_load(card.split("---\n")[1])
        assert "base_model" not in header
        assert header["license"] == "unknown"
        assert "what the data and the encoder allow" in card


def test_card_says_where_labels_are_from() -> None:
    card = card_of(recipe(), SUMMARY, about(), {"s3://me:secret@host/pseudo/en-de": MADE})
    assert "| `a` | projected | zh_CN | 12,345 | PER 67,890 |\n" in card
    assert "| `b` | given | de, en | 2 |" in card
    assert (
        "* `b`: types mapped: misc → O, person → PER; learned nothing from the words of work; does "
        "not mark LOC; 0.5 times in an epoch." in card
    )
    assert "### Pseudo-labels of `s3://host/pseudo/en-de`" in card
    for line in (
        "| teacher content | feed |",
        "| aligner content | beef |",
        "| aligner settings.links.kind | hmm |",
        "| quality min_teacher_score | 0.5 |",
        "| quality labels | PER, LOC |",
        "| run | abc123 |",
        "| loss.name | cross_entropy |",
        "| optimization.epochs | 3 |",
        "| best epoch, done | 2 |",
        "| dev_f1 | 0.5123 |",
    ):
        assert line in card, line
    assert "secret" not in card
    assert "sharding" not in card
    assert "max_length | None" not in card


def test_card_tells_what_the_model_was_selected_on() -> None:
    held_out = card_of(recipe(), SUMMARY, about(held_out_share_of_data=0.002), {})
    where = "a held-out share of the data above (0.2 %)"
    assert f"epoch 2, the best of 3 on 100 sentences of {where}" in held_out
    assert "Chosen by labels of people" not in held_out
    gold = about(paths=["dev.conll"], held_out_share_of_data=None, target_gold=["de"])
    card = card_of(recipe(), SUMMARY, gold, {})
    assert "100 sentences of `dev.conll`" in card
    assert "**Chosen by labels of people in the target language (de)**" in card
    unscored = card_of(recipe(), SUMMARY, about(sentences=0), {})
    assert "There was nothing to compare epochs by: the model is that of the last" in unscored


def test_card_tells_that_the_weights_are_a_mean() -> None:
    averaged = recipe(optimization={"keep_best": 5}, dropout=0.2)
    card = card_of(averaged, {**SUMMARY, "epochs": 8}, about(), {})
    assert "the mean of the weights of the best 5 of 8 epochs on 100 sentences" in card
    assert "The scores are its own" in card
    assert "| dropout | 0.2 |" in card
    card = card_of(averaged, SUMMARY, about(sentences=0), {})
    assert "the model is the mean of the weights of the last 3 of 3 epochs" in card


def test_card_tells_of_a_soup() -> None:
    soup = {"steps": 120, "epochs": 9, "metrics": {"dev_f1": 0.6}, "runs": [SUMMARY] * 3}
    config = recipe(optimization={"soup": 3})
    card = card_of(config, soup, about(), {})
    mean = "the mean of the weights of 3 runs from one start"
    assert f"The model is {mean}, the best epoch of each on 100 sentences" in card
    assert "| optimization.soup | 3 |" in card
    assert "| epochs, done | 9 |" in card
    averaged = recipe(optimization={"soup": 3, "keep_best": 2})
    assert f"{mean}, the best 2 epochs of each on" in card_of(averaged, soup, about(), {})
    assert f"{mean}, the last epoch of each." in card_of(config, soup, about(sentences=0), {})


def test_card_finds_who_made_the_shards(tmp_path: Path) -> None:
    (tmp_path / "pseudo" / "en-de").mkdir(parents=True)
    (tmp_path / "pseudo" / "run.json").write_text(json.dumps(MADE))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "data.json").write_text(json.dumps(about()))
    config = recipe(output=str(tmp_path / "model"))
    pseudo = config.data[0].model_copy(update={"path": str(tmp_path / "pseudo" / "en-de")})
    write_tagger_card(config.model_copy(update={"data": [pseudo, config.data[1]]}), SUMMARY)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| teacher content | feed |" in card
    assert "# model\n" in card


@pytest.mark.parametrize(
    ("model", "strategy"),
    [
        ({"type": "WordPiece", "continuing_subword_prefix": "##"}, "first"),
        ({"type": "BPE", "continuing_subword_prefix": ""}, "simple"),
        ({"type": "Unigram"}, "simple"),
    ],
)
def test_card_names_the_strategy_that_suits_the_tokenizer(
    tmp_path: Path, model: dict[str, str], strategy: str
) -> None:
    (tmp_path / "data.json").write_text(json.dumps(about()))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    config = recipe(output=str(tmp_path))
    write_tagger_card(config.model_copy(update={"data": [config.data[1]] * 2}), SUMMARY)
    assert f'aggregation_strategy="{strategy}"\n)' in (tmp_path / "README.md").read_text()
