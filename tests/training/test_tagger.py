from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import pipeline

from xner.config import LossConfig, ModelConfig, TaggedSourceConfig
from xner.errors import ConfigError
from xner.models.losses import IGNORED
from xner.models.tagger import Tagger
from xner.shards.storage import Folder
from xner.training.tagger import make_task, train_tagger


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
    trained_tagger: Path, tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    whole = {"path": str(tagged_file), "lang": "de"}
    people = people_only(tagged_file, tmp_path)
    recall = {}
    for name, not_annotated in (("partial", ["LOC"]), ("taken for whole", [])):
        recipe = tagger_recipe(
            data=[{**whole, "max_sentences": 100}, {**people, "not_annotated": not_annotated}],
            dev=[whole],
            output=str(tmp_path / name),
        )
        recall[name] = train_tagger(recipe)["metrics"]["dev_recall"]
    assert recall["partial"] > 0.9
    assert recall["taken for whole"] < 0.6


def test_tagger_does_not_count_mentions_of_types_that_the_dev_source_hides(
    trained_tagger: Path, tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    source = people_only(tagged_file, tmp_path)
    precision = {}
    for name, not_annotated in (("partial", ["LOC"]), ("whole", [])):
        recipe = tagger_recipe(
            encoder=str(trained_tagger), dev=[{**source, "not_annotated": not_annotated}]
        )
        task = make_task(recipe, Folder.at(str(tmp_path / "run")))
        precision[name] = task.evaluate(task.make_model().eval())["dev_precision"]
    assert precision["partial"] > 0.9
    assert precision["whole"] < 0.6


def test_tagger_refuses_a_hidden_type_that_nothing_teaches(
    tagged_file: Path, tagger_recipe: Any, tmp_path: Path
) -> None:
    source = {"path": str(tagged_file), "lang": "de", "not_annotated": ["MISC"]}
    with pytest.raises(ConfigError, match="not_annotated names MISC"):
        make_task(tagger_recipe(data=[source]), Folder.at(str(tmp_path / "run")))


def test_tagger_without_entities_is_refused(tagger_recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "plain.conll").write_text("der O\nMann O\n\nein O\nZug O\n\n")
    recipe = tagger_recipe(data=[TaggedSourceConfig(path=str(tmp_path / "plain.conll"))])
    with pytest.raises(ConfigError, match="not one entity"):
        train_tagger(recipe)


def test_tagger_names_a_source_that_is_missing(tagger_recipe: Any, tmp_path: Path) -> None:
    recipe = tagger_recipe(data=[TaggedSourceConfig(path=str(tmp_path / "nowhere.conll"))])
    with pytest.raises(ConfigError, match=r"nowhere\.conll"):
        train_tagger(recipe)


def test_tagger_refuses_a_window_that_the_encoder_cannot_read(tagger_recipe: Any) -> None:
    with pytest.raises(ConfigError, match="max_length"):
        train_tagger(tagger_recipe(max_length=4096))
