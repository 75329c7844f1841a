from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, BertTokenizerFast, pipeline
from transformers.models.bert.modeling_bert import BertIntermediate

from xner.config import LossConfig, ModelConfig, TaggedSourceConfig
from xner.corpora.tagged import TaggedSentence
from xner.errors import ConfigError
from xner.models.hmm import WordAlignerSettings
from xner.models.hmm import train as train_words
from xner.models.losses import IGNORED
from xner.models.tagger import Tagger
from xner.shards.schema import PSEUDO
from xner.shards.storage import Folder
from xner.text.mentions import Mention
from xner.text.words import segment
from xner.training.examples import mention_scores, word_weights
from xner.training.loop import DivergedError
from xner.training.runs import is_held_out
from xner.training.tagger import draw_counts, make_task, train_tagger


def test_tagger_learns_from_nothing(tagger_recipe: Any, tmp_path: Path) -> None:
    summary = train_tagger(tagger_recipe())
    assert summary["history"][-1]["loss"] < summary["history"][0]["loss"] / 4
    assert summary["metrics"]["dev_f1"] > 0.9
    assert summary == json.loads((tmp_path / "model" / "training.json").read_text())
    assert not (tmp_path / "model.training").exists()


def test_tagger_folder_works_in_a_pipeline(trained_tagger: Path) -> None:
    labelled = pipeline("token-classification", str(trained_tagger))
    found = labelled("gestern sah Herr Kalosen im Garten")
    assert found[0]["entity"] == "B-PER"
    assert found[0]["start"] == len("gestern sah Herr ")
    assert {entity["end"] <= len("gestern sah Herr Kalosen") for entity in found} == {True}


def test_tagger_in_use_scores_as_in_training(
    trained_tagger: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    task = make_task(tagger_recipe(), Folder.at(str(tmp_path / "elsewhere")))
    sentences = task.dev
    tags = Tagger(ModelConfig(model=str(trained_tagger))).tag(
        [s.text for s in sentences], [s.words for s in sentences]
    )
    right = sum(list(s.tags) == found for s, found in zip(sentences, tags, strict=True))
    assert right / len(sentences) > 0.9


def test_tagger_goes_on_from_a_tagger_and_keeps_its_types(
    trained_tagger: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    fewer = tmp_path / "people.conll"
    fewer.write_text("Herr O\nKalosen B-PER\nkam O\n\n" * 40)
    recipe = tagger_recipe(
        encoder=str(trained_tagger),
        data=[{"path": str(fewer), "lang": "de"}],
        dev=[{"path": str(fewer), "lang": "de"}],
    )
    task = make_task(recipe, Folder.at(str(tmp_path / "run")))
    assert task.labels == ("LOC", "PER")
    there = Tagger(ModelConfig(model=str(trained_tagger), precision="fp32")).model.state_dict()
    for name, weight in task.make_model().state_dict().items():
        assert torch.equal(weight, there[name]), name


@pytest.fixture
def english_encoder(tmp_path: Path) -> Path:
    """An encoder whose vocabulary is one word."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Herr"]
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(words), num_hidden_layers=1, **size)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "english")
    vocab = {word: number for number, word in enumerate(words)}
    BertTokenizerFast(vocab=vocab, do_lower_case=False).save_pretrained(tmp_path / "english")
    return tmp_path / "english"


def test_tagger_learns_the_characters_of_a_script_that_the_encoder_does_not_know(
    english_encoder: Path, tagger_recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "chinese.conll"
    file.write_text("說 O\n張 B-PER\n\n看 O\n書 O\n\n" * 80)
    source = {"path": str(file), "lang": "zh"}
    optimization = {"batch_tokens": 64, "learning_rate": 1e-2}

    def recipe(**settings: Any) -> Any:
        sources = {"encoder": str(english_encoder), "data": [source], "dev": [source]}
        return tagger_recipe(**sources, optimization=optimization, **settings)

    blind = train_tagger(recipe(output=str(tmp_path / "blind")))
    assert "50 % of the sub-words of data are unknown to the encoder" in caplog.text
    assert "new_characters" in caplog.text
    # One of two sentences that look alike has a name.
    assert blind["metrics"]["dev_f1"] < 0.7

    seeing = train_tagger(recipe(new_characters=2))
    assert seeing["metrics"]["dev_f1"] == 1
    assert json.loads((tmp_path / "model" / "data.json").read_text())["new_characters"] == 4
    found = pipeline("token-classification", str(tmp_path / "model"))("說張")
    assert [(each["entity"], each["word"], each["start"]) for each in found] == [("B-PER", "張", 1)]


def test_tagger_begins_characters_as_the_words_that_they_translate(
    english_encoder: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    words = Folder.at(str(tmp_path / "words"))
    train_words([("Herr", "張")] * 20, ("en", "zh_TW"), WordAlignerSettings()).aligner.save(words)
    file = tmp_path / "chinese.conll"
    file.write_text("說 O\n張 B-PER\n\n" * 20)

    def recipe(lang: str) -> Any:
        return tagger_recipe(
            encoder=str(english_encoder),
            data=[{"path": str(file), "lang": lang}],
            new_characters=2,
            word_aligner=str(tmp_path / "words"),
        )

    run_folder = Folder.at(str(tmp_path / "run"))
    model = make_task(recipe("zh"), run_folder).make_model()
    embeddings = model.get_input_embeddings().weight.detach()
    # The vocabulary: five special ones, Herr, 張, 說.
    unknown, gentleman, linked, never_linked = embeddings[[1, 5, 6, 7]]
    share = (linked - unknown).norm() / (gentleman - unknown).norm()
    assert 0.9 < share < 1
    torch.testing.assert_close(linked, unknown + share * (gentleman - unknown))
    assert torch.equal(never_linked, unknown)

    with pytest.raises(ConfigError, match="is for en-zh_TW, but data is ja"):
        make_task(recipe("ja"), run_folder)
    with pytest.raises(ValidationError, match="word_aligner is for new_characters"):
        tagger_recipe(word_aligner=str(tmp_path / "words"))


def test_tagger_is_another_with_another_word_aligner(
    english_encoder: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    file = tmp_path / "chinese.conll"
    file.write_text("說 O\n張 B-PER\n\n" * 20)
    words = Folder.at(str(tmp_path / "words"))
    recipe = tagger_recipe(
        encoder=str(english_encoder),
        data=[{"path": str(file), "lang": "zh"}],
        new_characters=2,
        word_aligner=words.location,
        optimization={"epochs": 1},
    )
    with pytest.raises(ConfigError, match=r"no word_aligner\.json"):
        train_tagger(recipe)
    for number in (20, 21):
        train_words([("Herr", "張")] * number, ("en", "zh"), WordAlignerSettings()).aligner.save(
            words
        )
        if number == 20:
            train_tagger(recipe)
    with pytest.raises(ConfigError, match="word_aligner"):
        train_tagger(recipe)


def test_tagger_holds_a_text_out_wherever_it_stands(tagger_recipe: Any, tmp_path: Path) -> None:
    run_folder = Folder.at(str(tmp_path / "run"))
    recipe = tagger_recipe()
    once = make_task(recipe, run_folder)
    twice = make_task(recipe.model_copy(update={"data": [*recipe.data, *recipe.data]}), run_folder)
    assert {s.text for s in once.dev} == {s.text for s in twice.dev}
    assert len(twice.dev) == 2 * len(once.dev) > 0
    assert len(twice.windows.lengths) == 2 * len(once.windows.lengths)


def test_tagger_weights_rows_when_asked(tagger_recipe: Any, tmp_path: Path) -> None:
    run_folder = Folder.at(str(tmp_path / "run"))
    plain = make_task(tagger_recipe(), run_folder)
    weighted = make_task(tagger_recipe(loss=LossConfig(weighting="row")), run_folder)
    batch = plain.windows.collate(np.arange(4))
    assert "weights" not in batch
    halved = {**weighted.windows.collate(np.arange(4)), "weights": torch.full((4,), 0.5)}
    model = plain.make_model()
    loss, count = plain.loss(model, batch)
    half, same_count = weighted.loss(model, halved)
    assert half.item() == pytest.approx(loss.item() / 2, rel=1e-5)
    assert count == same_count == (batch["labels"] != IGNORED).sum()


def people_only(tagged_file: Path, folder: Path) -> dict[str, Any]:
    """The made sentences as a source that marks people and no places."""
    path = folder / "people.conll"
    path.write_text(tagged_file.read_text().replace("B-LOC", "O").replace(" kam", " fuhr"))
    return {"path": str(path), "lang": "de", "not_annotated": ["LOC"]}


def called_otherwise(tagged_file: Path, folder: Path) -> dict[str, Any]:
    """The made sentences as a source whose name for places is none of the model's."""
    path = folder / "otherwise.conll"
    path.write_text(tagged_file.read_text().replace("B-LOC", "B-MISC").replace(" kam", " fuhr"))
    return {"path": str(path), "lang": "de", "label_map": {"PER": "PER", "MISC": "?"}}


def test_tagger_batches_say_what_an_outside_tag_may_hide(
    tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    whole = {"path": str(tagged_file), "lang": "de"}
    run_folder = Folder.at(str(tmp_path / "run"))
    task = make_task(tagger_recipe(data=[whole, people_only(tagged_file, tmp_path)]), run_folder)
    windows = task.windows
    partial = windows.collate(np.array([0, len(windows.lengths) - 1]))["stands_for"]
    # O, B-LOC, I-LOC, B-PER, I-PER
    assert partial.tolist()[0] == np.eye(5, dtype=bool).tolist()
    assert partial[1, 0].tolist() == [True, True, True, False, False]
    assert partial[1, 1:].tolist() == np.eye(5, dtype=bool)[1:].tolist()
    assert "stands_for" not in make_task(tagger_recipe(), run_folder).windows.collate(np.arange(2))


def test_tagger_learns_a_type_in_spite_of_a_source_that_does_not_mark_it(
    tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    whole = {"path": str(tagged_file), "lang": "de"}
    partial = people_only(tagged_file, tmp_path)
    sources = {
        "partial": partial,
        "unknown": called_otherwise(tagged_file, tmp_path),
        "taken for whole": {**partial, "not_annotated": []},
    }
    recall = {}
    for name, source in sources.items():
        recipe = tagger_recipe(
            data=[{**whole, "max_sentences": 100}, source],
            dev=[whole],
            output=str(tmp_path / name),
        )
        recall[name] = train_tagger(recipe)["metrics"]["dev_recall"]
    assert recall["partial"] > 0.9
    assert recall["unknown"] > 0.9
    assert recall["taken for whole"] < 0.6


def test_tagger_does_not_count_mentions_of_types_that_the_dev_source_hides(
    trained_tagger: Path, tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    partial = people_only(tagged_file, tmp_path)
    sources = {
        "partial": partial,
        "unknown": called_otherwise(tagged_file, tmp_path),
        "whole": {**partial, "not_annotated": []},
    }
    precision = {}
    for name, source in sources.items():
        recipe = tagger_recipe(encoder=str(trained_tagger), dev=[source])
        task = make_task(recipe, Folder.at(str(tmp_path / "run")))
        precision[name] = task.evaluate(task.make_model().eval())["dev_precision"]
    assert precision["partial"] > 0.9
    assert precision["unknown"] > 0.9
    assert precision["whole"] < 0.6


def test_tagger_refuses_a_hidden_type_that_nothing_teaches(
    tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    source = {"path": str(tagged_file), "lang": "de", "not_annotated": ["MISC"]}
    with pytest.raises(ConfigError, match="not_annotated names MISC"):
        make_task(tagger_recipe(data=[source]), Folder.at(str(tmp_path / "run")))


def scored(tags: str, *scores: tuple[float, float], weight: float = 1.0) -> TaggedSentence:
    words = tuple((2 * index, 2 * index + 1) for index in range(len(tags.split())))
    text = " ".join("a" for _ in words)
    return TaggedSentence(text, words, tuple(tags.split()), "de", weight, scores=scores)


@pytest.mark.parametrize(
    ("weighting", "weights"),
    [
        ("row", [0.25, 0.25, 0.25, 0.25, 1, 1]),
        # Scores of words in mentions: 0.2, 0.6 and the gold's 1; their mean is 0.6.
        ("teacher", [1 / 3, 1, 1, 1, 1, 5 / 3]),
        # 0.5, 0.25 and 1, mean 7 / 12; the score of a mention that a label map dropped is none, and
        # so is that of one whose words are left out.
        ("alignment", [6 / 7, 3 / 7, 1, 1, 1, 12 / 7]),
    ],
)
def test_tagger_word_weights(weighting: Any, weights: list[float]) -> None:
    sentences = [
        scored("B-PER B-LOC O ?", (0.2, 0.5), (0.6, 0.25), *[(0.1, 0.1)] * 2, weight=0.25),
        scored("O B-LOC"),
    ]
    loss = LossConfig(weighting=weighting)
    scores = np.concatenate([mention_scores([each], loss) for each in sentences])
    found = word_weights(sentences, loss, scores.mean() if len(scores) else 0.0)
    assert found == pytest.approx(weights)


@pytest.fixture
def pseudo_shard(labelled_row: Any, tmp_path: Path) -> Path:
    """Two pseudo-labelled rows, whose mentions the teacher scored 1 / 2 and 1."""
    rows = [
        labelled_row(str(number), "Herr Tom kam", (Mention(5, 8, "PER", score), 1.0))
        for number, score in enumerate([0.5, 1.0])
    ]
    path = tmp_path / "pseudo.parquet"
    pq.write_table(pa.Table.from_pylist(rows, PSEUDO), path)
    return path


def test_tagger_weights_reach_the_words_they_are_of(
    pseudo_shard: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    recipe = tagger_recipe(
        data=[{"path": str(pseudo_shard), "format": "pseudo"}],
        loss={"weighting": "teacher"},
        optimization={"dev_share": 0.0},
    )
    task = make_task(recipe, Folder.at(str(tmp_path / "run")))
    batch = task.windows.collate(np.arange(2))
    counted = batch["labels"] != IGNORED
    assert batch["weights"].shape == batch["labels"].shape
    assert batch["weights"][counted].tolist() == pytest.approx([1, 2 / 3, 1, 1, 4 / 3, 1])


def test_tagger_draws_sentences_as_often_as_their_source_says() -> None:
    repeats = np.repeat([1.0, 2.5, 0.25], 100)
    first, again, second = (draw_counts(repeats, (0, epoch)) for epoch in (0, 0, 1))
    assert first.tolist() == again.tolist() != second.tolist()
    for counts in (first, second):
        assert abs(counts.sum() - 375) <= 1
        assert set(counts[:100]) == {1}
        assert set(counts[100:200]) == {2, 3}
        assert set(counts[200:]) == {0, 1}
    mean = np.mean([draw_counts(repeats, (0, epoch)) for epoch in range(400)], axis=0)
    assert mean == pytest.approx(repeats, abs=0.15)


def test_tagger_runs_of_a_soup_differ_in_what_is_drawn(
    tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    source = {"path": str(tagged_file), "lang": "de", "replacements": 1, "repeat": 1.5}
    recipe = tagger_recipe(data=[source])
    run_folder = tmp_path / "run"
    tasks = [make_task(recipe, Folder.at(str(run_folder)), 0)]
    encoder = {path: path.stat().st_mtime_ns for path in (run_folder / "encoder").iterdir()}
    tasks += [make_task(recipe, Folder.at(str(run_folder)), 1) for _ in range(2)]
    first, second, again = (task.windows.input_ids.tolist() for task in tasks)
    assert first != second == again
    first, second, again = (task.epoch(0).drawn.tolist() for task in tasks)
    assert first != second == again
    # The encoder is made but once, and what the runs are compared by is the same.
    assert tasks[0].dev == tasks[1].dev
    assert encoder == {path: path.stat().st_mtime_ns for path in encoder}


def test_tagger_mixes_sources(tagged_file: Path, tagger_recipe: Any, tmp_path: Path) -> None:
    people = {**people_only(tagged_file, tmp_path), "repeat": 0.25}
    whole = {"path": str(tagged_file), "lang": "de", "repeat": 2}
    recipe = tagger_recipe(data=[whole, people], optimization={"dev_share": 0.0})
    task = make_task(recipe, Folder.at(str(tmp_path / "run")))
    epochs = [task.epoch(number) for number in (0, 0, 1)]
    assert [len(epoch.lengths) for epoch in epochs] == [900, 900, 900]
    assert epochs[0].drawn.tolist() == epochs[1].drawn.tolist() != epochs[2].drawn.tolist()
    assert sorted(epochs[0].drawn)[:4] == [0, 0, 1, 1]
    batch = epochs[0].collate(np.array([899]))
    assert torch.equal(batch["input_ids"], task.windows.collate(epochs[0].drawn[899:])["input_ids"])
    with pytest.raises(ConfigError, match="an epoch would have no sentence"):
        few = {**whole, "repeat": 1e-3, "max_sentences": 100}
        make_task(tagger_recipe(data=[few]), Folder.at(str(tmp_path / "run")))


def test_tagger_learns_from_copies_with_other_mentions(
    tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    source = {"path": str(tagged_file), "lang": "de"}
    people = {**people_only(tagged_file, tmp_path), "repeat": 2}
    plain, copied = (
        make_task(
            tagger_recipe(
                data=[{**source, "replacements": number}, people], optimization={"dev_share": 0.2}
            ),
            Folder.at(str(tmp_path / "run")),
        )
        for number in (0, 2)
    )
    assert copied.dev == plain.dev and copied.about == plain.about
    assert plain.mixture is not None and copied.mixture is not None
    once, twice = (np.bincount(task.mixture.repeats.astype(int)) for task in (plain, copied))
    # Every sentence of the file has a mention.
    assert twice.tolist() == [0, 3 * once[1], once[2]]
    windows = np.split(copied.windows.input_ids, copied.windows.bounds[1:-1])
    texts = {tuple(window.tolist()) for window in windows}
    assert len(texts) > 2 * once[1]


@pytest.mark.parametrize("setting", ["repeat", "replacements"])
def test_tagger_dev_is_read_once(tagged_file: Path, tagger_recipe: Any, setting: str) -> None:
    with pytest.raises(ValidationError, match=f"{setting} is for sources that are trained on"):
        tagger_recipe(dev=[{"path": str(tagged_file), setting: 2}])


def test_tagger_names_the_types_that_the_tagger_it_goes_on_from_lacks(
    trained_tagger: Path, tmp_path: Path, tagger_recipe: Any
) -> None:
    (tmp_path / "other.conll").write_text("Herr O\nTom B-person\n\nnach O\nUlm B-LOC\n\n" * 9)
    settings = {"encoder": str(trained_tagger), "data": [{"path": str(tmp_path / "other.conll")}]}
    run_folder = Folder.at(str(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"data: person unknown to the tagger .* LOC, PER; map"):
        make_task(tagger_recipe(**settings, optimization={"dev_share": 0.0}), run_folder)
    recipe = tagger_recipe(**settings, optimization={"dev_share": 0.0}, replace_head=True)
    assert make_task(recipe, run_folder).labels == ("LOC", "person")


def test_tagger_names_the_labels_of_a_tagger_whose_head_cannot_be_kept(
    trained_tagger: Path, tmp_path: Path, tagger_recipe: Any
) -> None:
    shutil.copytree(trained_tagger, tmp_path / "iob1")
    config = tmp_path / "iob1" / "config.json"
    config.write_text(config.read_text().replace('"B-PER"', '"I-MISC"'))
    places = tmp_path / "places.conll"
    places.write_text("nach O\nUlm B-LOC\n\n" * 9)
    settings = {"encoder": str(tmp_path / "iob1"), "data": [{"path": str(places)}]}
    run_folder = Folder.at(str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="its labels are O, B-LOC, I-LOC, I-MISC, I-PER, not"):
        make_task(tagger_recipe(**settings, optimization={"dev_share": 0.0}), run_folder)
    recipe = tagger_recipe(**settings, optimization={"dev_share": 0.0}, replace_head=True)
    assert make_task(recipe, run_folder).labels == ("LOC",)


def test_tagger_folder_says_what_it_was_trained_and_selected_on(
    tagged_file: Path, trained_tagger: Path
) -> None:
    about = json.loads((trained_tagger / "data.json").read_text())
    (data,), (dev,) = about["data"], about["dev"]
    assert data["path"] == dev["path"] == str(tagged_file)
    assert data["sentences"] + dev["sentences"] == 400
    assert data["mentions"] == {label: data["sentences"] for label in ("LOC", "PER")}
    assert data["languages"] == ["de"]
    assert about["selected_on"] == {
        "paths": [],
        "held_out_share_of_data": 0.05,
        "sentences": dev["sentences"],
        "target_gold": [],
    }


def test_tagger_folder_says_what_share_was_held_out_where_max_dev_is_less(
    tagger_recipe: Any, tmp_path: Path
) -> None:
    recipe = tagger_recipe(optimization={"dev_share": 0.2, "max_dev": 10})
    about = make_task(recipe, Folder.at(str(tmp_path / "run"))).about
    assert about["selected_on"]["held_out_share_of_data"] == 10 / 400


def test_tagger_selects_on_target_gold_only_when_told_to(
    tagged_file: Path, pseudo_shard: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    gold, pseudo = ({"path": str(path), "lang": "de"} for path in (tagged_file, pseudo_shard))
    pseudo["format"] = "pseudo"
    run_folder = Folder.at(str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="dev: labels of people in de, of which data has pseudo"):
        make_task(tagger_recipe(data=[pseudo], dev=[gold]), run_folder)
    recipe = tagger_recipe(data=[pseudo], dev=[gold], select_on_target_gold=True)
    selected_on = make_task(recipe, run_folder).about["selected_on"]
    assert selected_on["target_gold"] == ["de"]
    assert selected_on["paths"] == [str(tagged_file)]
    region = {**gold, "lang": "de_AT"}
    with pytest.raises(ConfigError, match="dev: labels of people in de, of which data has pseudo"):
        make_task(tagger_recipe(data=[pseudo], dev=[region]), run_folder)
    # Neither another language nor pseudo-labels are target gold, nor what is trained on as well.
    for data, dev in (([pseudo], [{**gold, "lang": "en"}]), ([pseudo], [pseudo])):
        make_task(tagger_recipe(data=data, dev=dev), run_folder)
    about = make_task(tagger_recipe(data=[pseudo, gold], dev=[gold]), run_folder).about
    assert about["selected_on"]["target_gold"] == []


def test_tagger_is_not_selected_by_what_it_cannot_find(
    tagger_recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "dev.conll"
    run_folder = Folder.at(str(tmp_path / "run"))

    def task(tag: str, **settings: Any) -> Any:
        file.write_text(f"Herr O\nKalosen {tag}\n\n" * 4)
        dev = [{"path": str(file), "lang": "en"}]
        return make_task(tagger_recipe(dev=dev, **settings), run_folder)

    assert len(task("B-PER").dev) == 4
    with pytest.raises(ConfigError, match="dev: person unknown to the model, which knows LOC"):
        task("B-person")
    assert len(task("B-PER\n\nBonn B-place").dev) == 8
    assert "dev: place unknown to the model, which knows LOC, PER: they count" in caplog.text
    without = task("O")
    assert without.dev == () and without.about["selected_on"]["sentences"] == 0
    assert "not one entity in the 4 sentences" in caplog.text
    with pytest.raises(ConfigError, match="patience = 1 needs held-out examples"):
        task("O", optimization={"patience": 1})


def test_tagger_takes_the_last_epoch_where_nothing_held_out_can_be_found(
    tagger_recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A small sample: what is rare stands in the held-out part alone, or no mention does."""
    texts = [f"Herr Kalosen{number}" for number in range(40)]
    held_out = [text for text in texts if is_held_out(text, 0.2)]
    assert 0 < len(held_out) < 20
    for tag in ("B-MISC", "O"):
        sentences = [
            f"Herr O\n{text.split()[1]} {tag if text in held_out else 'B-PER'}\n" for text in texts
        ]
        (tmp_path / "few.conll").write_text("\n".join(sentences))
        recipe = tagger_recipe(data=[{"path": str(tmp_path / "few.conll"), "lang": "de"}])
        task = make_task(recipe, Folder.at(str(tmp_path / "run")))
        assert task.labels == ("PER",) and task.dev == ()
        assert f"not one entity in the {len(held_out)} sentences" in caplog.text
        # They were read, and nobody trained on them.
        (data,), (dev,) = task.about["data"], task.about["dev"]
        assert data["sentences"] + dev["sentences"] == len(texts)
        caplog.clear()


@pytest.mark.parametrize("numbers", [None, {"O": 0, "B-PER": 1}, {"B-PER": 0, "O": 1}])
def test_tagger_goes_on_from_one_whose_labels_are_numbered_one_way_alone(
    trained_tagger: Path, tagger_recipe: Any, tmp_path: Path, numbers: dict[str, int] | None
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(trained_tagger, folder)
    config = json.loads((folder / "config.json").read_text())
    config["label2id"] = numbers
    (folder / "config.json").write_text(json.dumps(config))
    run_folder = Folder.at(str(tmp_path / "run"))
    task, expected = (
        make_task(tagger_recipe(encoder=str(each)), run_folder) for each in (folder, trained_tagger)
    )
    np.testing.assert_array_equal(task.windows.labels, expected.windows.labels)
    assert task.make_model().config.label2id == expected.make_model().config.label2id


def test_tagger_refuses_a_type_without_a_name(tagger_recipe: Any, tagged_file: Path) -> None:
    source = {"path": str(tagged_file), "lang": "de", "label_map": {"PER": "", "LOC": "LOC"}}
    with pytest.raises(ValidationError, match=r"label_map\.PER"):
        tagger_recipe(data=[source])


def test_tagger_students_learn_from_each_other(tagger_recipe: Any, tmp_path: Path) -> None:
    recipe = tagger_recipe(loss={"agreement": 5.0, "agreement_warmup": 2})
    task = make_task(recipe, Folder.at(str(tmp_path / "run")))
    torch.manual_seed(0)
    students = task.make_model().eval()
    cold, warm = (task.epoch(number).collate(np.arange(8)) for number in (1, 2))
    assert "agreement" not in cold
    assert warm["agreement"] == 5
    # The encoders are the same, so all that they differ by is their heads.
    loss, count = task.loss(students, cold)
    more, same_count = task.loss(students, warm)
    assert count == same_count
    assert more.item() > loss.item() + 0.1
    (more - loss).backward()
    for student in (students.first, students.second):
        assert all(parameter.grad.abs().sum() > 0 for parameter in student.classifier.parameters())
    students.second.load_state_dict(students.first.state_dict())
    loss, more = (task.loss(students, batch)[0].item() for batch in (cold, warm))
    assert more == pytest.approx(loss, rel=1e-5)


def test_tagger_students_leave_a_plain_tagger(tagger_recipe: Any, tmp_path: Path) -> None:
    summary = train_tagger(tagger_recipe(loss={"agreement": 2.0}))
    assert summary["metrics"]["dev_f1"] > 0.9
    tagger = Tagger(ModelConfig(model=str(tmp_path / "model"), device="cpu", precision="fp32"))
    text = "gestern sah Herr Kalosen im Garten"
    assert tagger.tag([text], [segment(text)]) == [["O", "O", "O", "B-PER", "O", "O"]]


def test_tagger_students_need_an_epoch_to_agree_in(tagger_recipe: Any) -> None:
    with pytest.raises(ValidationError, match=r"agreement_warmup \(4\) leaves none of 4 epochs"):
        tagger_recipe(loss={"agreement": 1.0, "agreement_warmup": 4})


def test_tagger_without_entities_is_refused(tagger_recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "plain.conll").write_text("der O\nMann O\n\nein O\nZug O\n\n")
    recipe = tagger_recipe(data=[TaggedSourceConfig(path=str(tmp_path / "plain.conll"))])
    with pytest.raises(ConfigError, match="not one entity in its 2 sentences"):
        train_tagger(recipe)


def test_tagger_names_a_source_that_is_missing(tagger_recipe: Any, tmp_path: Path) -> None:
    recipe = tagger_recipe(data=[TaggedSourceConfig(path=str(tmp_path / "nowhere.conll"))])
    with pytest.raises(ConfigError, match=r"nowhere\.conll"):
        train_tagger(recipe)


def test_tagger_refuses_a_window_that_the_encoder_cannot_read(tagger_recipe: Any) -> None:
    with pytest.raises(ConfigError, match="max_length"):
        train_tagger(tagger_recipe(max_length=4096))


def test_tagger_that_diverges_names_the_sentences_of_the_step(tagger_recipe: Any) -> None:
    rash = {"learning_rate": 1e39, "warmup_share": 0.0}
    with pytest.raises(DivergedError, match=r"at step \d+;") as caught:
        train_tagger(tagger_recipe(optimization=rash))
    sentences = str(caught.value).splitlines()[1:]
    assert sentences
    assert all(re.match(r"\d+: .*(Herr|nach)", sentence) for sentence in sentences)


def test_tagger_gradient_checkpointing_computes_layers_twice_to_the_same_end(
    tagger_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    forward = BertIntermediate.forward

    def counting(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return forward(self, *arguments, **named)

    monkeypatch.setattr(BertIntermediate, "forward", counting)
    curves, counts = [], []
    for setting in (False, True):
        calls = 0
        few = {"max_steps": 10, "gradient_checkpointing": setting}
        recipe = tagger_recipe(optimization=few, output=str(tmp_path / str(setting)))
        curves.append([loss for _, loss in train_tagger(recipe)["curve"]])
        counts.append(calls)
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    assert counts[1] == counts[0] + 3 * 10


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="torch.compile needs a C compiler")
def test_tagger_compiled_takes_the_same_steps(tagger_recipe: Any, tmp_path: Path) -> None:
    few = {"max_steps": 4}
    plain = train_tagger(tagger_recipe(optimization=few, output=str(tmp_path / "plain")))
    few["compile"] = True
    compiled = train_tagger(tagger_recipe(optimization=few, output=str(tmp_path / "compiled")))
    assert [loss for _, loss in compiled["curve"]] == pytest.approx(
        [loss for _, loss in plain["curve"]], rel=1e-4
    )
    assert load_file(tmp_path / "plain" / "model.safetensors").keys() == (
        load_file(tmp_path / "compiled" / "model.safetensors").keys()
    )
