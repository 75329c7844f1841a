"""The evaluation job on made gold, with two taggers of random weights: most they find is wrong."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tomli_w
import torch
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from xner.config import EngineConfig, EvaluateTaggerConfig, ModelConfig, TaggedSourceConfig
from xner.corpora import miniature
from xner.corpora.tagged import TaggedSentence, read_tagged
from xner.errors import ConfigError, DataError
from xner.evaluation import tagger_run
from xner.evaluation.tagger_run import TaggerEvaluation, predict
from xner.models.tagger import Tagger, new_model, save_tagger
from xner.text.iob2 import repair

PROJECT = Path(__file__).resolve().parents[2]
NUM_SENTENCES = 40
OWN_LABELS = {"person": "PER", "place": "LOC", "date": "O"}
INLINE = EngineConfig(kind="inline")


@pytest.fixture(scope="session")
def other_tagger(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger with types of its own; its wide weights make it commit itself to many tags."""
    torch.manual_seed(5)
    model, tokenizer = new_model(models / "encoder", list(OWN_LABELS))
    torch.nn.init.normal_(model.classifier.weight, std=3.0)
    folder = tmp_path_factory.mktemp("other")
    save_tagger(model, tokenizer, folder)
    return folder


@pytest.fixture
def made(models: Path, other_tagger: Path, tmp_path: Path) -> Callable[..., EvaluateTaggerConfig]:
    """The settings of an evaluation of both taggers on German and on Dutch."""
    for lang in ("de", "nl"):
        miniature.write_tagged(tmp_path / f"{lang}.conll", "test", lang, NUM_SENTENCES)

    def config(**settings: Any) -> EvaluateTaggerConfig:
        values = {
            "models": [
                {"name": "one", "model": str(models / "teacher"), "precision": "fp32"},
                {
                    "name": "the other",
                    "model": str(other_tagger),
                    "precision": "fp32",
                    "label_map": OWN_LABELS,
                },
            ],
            "gold": [gold(tmp_path, "de"), gold(tmp_path, "nl")],
            "bootstrap": {"samples": 50},
            "output": str(tmp_path / "out"),
            "engine": {"kind": "inline"},
        }
        return EvaluateTaggerConfig.model_validate({**values, **settings})

    return config


def gold(folder: Path, lang: str, **settings: Any) -> dict[str, Any]:
    return {"name": lang, "path": str(folder / f"{lang}.conll"), "lang": lang, **settings}


def job(step: str, config: EvaluateTaggerConfig) -> Any:
    return runpy.run_path(str(PROJECT / "jobs" / "evaluate_tagger.py"))[step](config)


def summary_of(config: EvaluateTaggerConfig) -> dict[str, Any]:
    return json.loads((Path(config.output) / "summary.json").read_text())


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which model was run on how many sentences, as it happens."""
    seen: list[tuple[str, int]] = []
    run = tagger_run._predicted

    def counted(model: Any, sentences: Sequence[TaggedSentence], *more: Any) -> Any:
        seen.append((model.name, len(sentences)))
        return run(model, sentences, *more)

    monkeypatch.setattr(tagger_run, "_predicted", counted)
    return seen


def test_evaluate_tagger_scores_what_it_keeps(
    made: Callable[..., EvaluateTaggerConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = made()
    job("main", config)
    summary = summary_of(config)
    assert summary["models"]["the other"]["labels"] == ["LOC", "PER"]
    assert len(summary["models"]["one"]["content"]) == 64
    for lang in ("de", "nl"):
        source = TaggedSourceConfig.model_validate({"path": str(tmp_path / f"{lang}.conll")})
        sentences = read_tagged(source)
        of_gold = summary["gold"][lang]
        for name in ("one", "the other"):
            rows = pq.read_table(tmp_path / "out" / "predictions" / name / f"{lang}.parquet")
            assert rows["text"].to_pylist() == [s.text for s in sentences]
            tags = rows["tags"].to_pylist()
            assert tags == [list(s.tags) for s in sentences]
            for row in rows.to_pylist():
                words = [row["text"][word["start"] : word["end"]] for word in row["words"]]
                assert words == row["tokens"]
                assert len(words) == len(row["predicted"]) == len(row["scores"])
            predicted = rows["predicted"].to_pylist()
            if name == "the other":
                assert any("B-person" in each or "I-person" in each for each in predicted)
                as_gold = {f"{p}-{a}": f"{p}-{b}" for a, b in OWN_LABELS.items() for p in "BI"}
                as_gold |= {"O": "O", "B-date": "O", "I-date": "O"}
                predicted = [[as_gold[tag] for tag in each] for each in predicted]
            scores = of_gold["models"][name]
            strict = f1_score(tags, predicted, mode="strict", scheme=IOB2, zero_division=0)
            assert scores["strict"]["f1"] == pytest.approx(strict, abs=1e-12)
            lenient = f1_score(tags, predicted, zero_division=0)
            assert scores["lenient"]["f1"] == pytest.approx(lenient, abs=1e-12)
            assert scores["labels_not_in_gold"] == {}
            assert scores["entities"] == sum(tag[0] == "B" for each in tags for tag in each)
        (test,) = of_gold["comparisons"]
        assert (test["model"], test["other"]) == ("one", "the other")
        one, other = (of_gold["models"][name]["lenient"]["f1"] for name in ("one", "the other"))
        assert test["lenient"]["f1"] == pytest.approx(one - other)
        assert one != other
    shown = capsys.readouterr().out
    assert f"de: {NUM_SENTENCES} sentences" in shown and "one - the other" in shown


def test_evaluate_tagger_runs_a_model_once(
    made: Callable[..., EvaluateTaggerConfig], tmp_path: Path, runs: list[tuple[str, int]]
) -> None:
    whole = made()
    job("main", made(models=whole.models[:1], gold=whole.gold[:1]))
    job("main", whole)
    both = 2 * NUM_SENTENCES
    assert runs == [("one", NUM_SENTENCES), ("one", NUM_SENTENCES), ("the other", both)]
    before = summary_of(whole)
    runs.clear()

    # Scored otherwise, the same predictions do.
    other_map = {**OWN_LABELS, "date": "MISC"}
    mapped = whole.models[1].model_copy(update={"label_map": other_map, "batch_tokens": 100})
    again = made(models=[whole.models[0], mapped], bootstrap={"samples": 60, "seed": 1})
    job("main", again)
    assert runs == []
    was, now = (s["gold"]["de"]["models"] for s in (before, summary_of(whole)))
    assert was["one"]["strict"]["labels"] == now["one"]["strict"]["labels"]
    was, now = (each["the other"]["lenient"]["false_positives"] for each in (was, now))
    assert now > was

    # Another gold under the same name, and another window, are other predictions.
    miniature.write_tagged(tmp_path / "nl.conll", "test", "nl", NUM_SENTENCES + 1)
    job("main", whole)
    assert runs == [("one", NUM_SENTENCES + 1), ("the other", NUM_SENTENCES + 1)]
    runs.clear()
    shorter = whole.models[0].model_copy(update={"max_length": 12})
    job("main", made(models=[shorter]))
    assert runs == [("one", both + 1)]


def test_evaluate_tagger_leaves_out_what_the_gold_does_not_mark(
    made: Callable[..., EvaluateTaggerConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    three = {"PER": "PER", "LOC": "LOC", "ORG": "ORG", "MISC": "O"}
    (only,) = made().models[1:]
    # The types of the random tagger are renamed so that it finds many of MISC.
    only = only.model_copy(update={"label_map": {"person": "MISC", "place": "LOC", "date": "O"}})
    unfair = made(models=[only], gold=[gold(tmp_path, "de", label_map=three)])
    rows = job("plan", unfair)
    assert rows["the other knows, de lacks"] == "MISC"
    assert rows["de has, the other lacks"] == "ORG, PER"
    job("main", unfair)
    of_model = summary_of(unfair)["gold"]["de"]["models"]["the other"]
    num_misc = of_model["labels_not_in_gold"]["MISC"]
    assert num_misc > 0
    assert f"counted as wrong: MISC {num_misc}" in capsys.readouterr().out

    fair = made(
        models=[only],
        gold=[gold(tmp_path, "de", label_map=three, not_annotated=["MISC"])],
    )
    assert "the other knows, de lacks" not in job("plan", fair)
    job("main", fair)
    scores = summary_of(fair)["gold"]["de"]["models"]["the other"]
    assert scores["labels_not_in_gold"] == {}
    wrong = of_model["lenient"]["false_positives"] - num_misc
    assert scores["lenient"]["false_positives"] == wrong
    assert scores["lenient"]["true_positives"] == of_model["lenient"]["true_positives"]


def test_predict_loses_no_word_of_a_sentence_longer_than_the_window(
    models: Path, made: Callable[..., EvaluateTaggerConfig]
) -> None:
    sentences = read_tagged(made().gold[0])
    text = " ".join(sentence.text for sentence in sentences)
    words, start = [], 0
    for sentence in sentences:
        words += [(start + first, start + last) for first, last in sentence.words]
        start += len(sentence.text) + 1
    tags = [tag for sentence in sentences for tag in sentence.tags]
    long = TaggedSentence(text, tuple(words), tuple(tags), "de")
    model = ModelConfig(model=str(models / "teacher"), precision="fp32", max_length=16)
    assert len(Tagger(model).tokenizer(text)["input_ids"]) > 20 * 16
    assert len(predict(model, [long], INLINE)[0]) == len(words)
    # A word that no window holds would be O with a score of 1; this model is sure of nothing.
    [scores] = tagger_run._predicted(model, [long], INLINE)["scores"].to_pylist()
    assert len(scores) == len(words) and max(scores) < 1


def test_predict_gives_the_tags_that_the_model_chose(
    other_tagger: Path, made: Callable[..., EvaluateTaggerConfig]
) -> None:
    sentences = read_tagged(made().gold[0])
    model = ModelConfig(model=str(other_tagger), precision="fp32")
    predicted = predict(model, sentences, INLINE)
    repaired = Tagger(model).tag([s.text for s in sentences], [s.words for s in sentences])
    assert [repair(tags) for tags in predicted] == repaired != predicted
    assert predict(model, [], INLINE) == []


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_predict_on_ray_equals_inline(
    other_tagger: Path,
    made: Callable[..., EvaluateTaggerConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tagger_run, "_AT_ONCE", 7)
    sentences = read_tagged(made().gold[0])
    pool = {"min_size": 2, "max_size": 2, "num_cpus": 0.5}
    model = ModelConfig.model_validate(
        {"model": str(other_tagger), "precision": "fp32", "pool": pool}
    )
    assert predict(model, sentences, EngineConfig()) == predict(model, sentences, INLINE)


@pytest.mark.slow
def test_evaluate_tagger_from_the_command_line(
    made: Callable[..., EvaluateTaggerConfig], tmp_path: Path
) -> None:
    config = made()
    assert job("plan", config)["model the other to be run on"] == "de, nl"
    assert not (tmp_path / "out").exists()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
    command = [sys.executable, "jobs/evaluate_tagger.py", str(recipe)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "by type" in done.stdout
    assert (tmp_path / "out" / "summary.json").exists()


def test_evaluate_tagger_refuses_a_wrong_number_of_entities(
    made: Callable[..., EvaluateTaggerConfig], tmp_path: Path
) -> None:
    right = TaggerEvaluation.plan(made()).gold[0].num_entities
    assert right > 0
    job("plan", made(gold=[gold(tmp_path, "de", num_entities=right)]))
    wrong = made(gold=[gold(tmp_path, "de", num_entities=right + 1)])
    with pytest.raises(DataError, match=rf"gold de: .*{right} entities, but num_entities is"):
        job("main", wrong)
    assert not (tmp_path / "out").exists()


def test_evaluate_tagger_names_file_and_line_of_a_bad_tag(
    made: Callable[..., EvaluateTaggerConfig], tmp_path: Path
) -> None:
    (tmp_path / "bad.conll").write_text("Anna\tB-PER\nlacht\tX-PER\n")
    with pytest.raises(DataError, match=r"bad\.conll:2: 'X-PER' is not a tag"):
        job("main", made(gold=[{"name": "bad", "path": str(tmp_path / "bad.conll")}]))


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"person": "PER", "place": "LOC"}, "the other: label_map does not name date; the model"),
        ({**OWN_LABELS, "dates": "O"}, "the other: label_map names dates; the model knows person"),
    ],
)
def test_evaluate_tagger_refuses_a_map_of_other_types(
    made: Callable[..., EvaluateTaggerConfig], label_map: dict[str, str], message: str
) -> None:
    model = made().models[1].model_copy(update={"label_map": label_map})
    with pytest.raises(ConfigError, match=message):
        job("plan", made(models=[model]))


def test_evaluate_tagger_does_not_write_into_the_folder_of_a_run(
    made: Callable[..., EvaluateTaggerConfig], tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "run.json").write_text('{"job": "project_corpus"}')
    for step in ("plan", "main"):
        with pytest.raises(ConfigError, match="shards: belongs to a run of project_corpus"):
            job(step, made(output=str(tmp_path / "shards")))


def test_evaluate_tagger_runs_no_model_for_what_it_cannot_write(
    made: Callable[..., EvaluateTaggerConfig], runs: list[tuple[str, int]], read_only: None
) -> None:
    with pytest.raises(ConfigError, match="no permission"):
        job("main", made())
    assert runs == []


def test_evaluate_tagger_refuses_a_model_that_is_none(
    made: Callable[..., EvaluateTaggerConfig], models: Path, tmp_path: Path
) -> None:
    for model, message in (
        (tmp_path / "nowhere", "no such folder"),
        (models / "packed", "the labels of a tagger are IOB2"),
    ):
        with pytest.raises(ConfigError, match=message):
            job("plan", made(models=[{"name": "none", "model": str(model)}]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": []}, "at least 1 item"),
        ({"gold": [{"name": "a", "path": "x"}] * 2}, "gold: two are named 'a'"),
        ({"models": [{"name": "m", "model": "x"}] * 2}, "models: two are named 'm'"),
        ({"gold": [{"name": "../a", "path": "x"}]}, "expected a name that begins with a letter"),
        ({"gold": [{"name": "a", "path": "x", "max_sentences": 5}]}, "gold a: max_sentences"),
        ({"gold": [{"name": "a", "path": "x", "repeat": 2}]}, "gold a: repeat is for"),
        (
            {"gold": [{"name": "a", "path": "x", "label_map": {"PER": "PER", "MISC": "?"}}]},
            "gold a: label_map: \\? is for sources that are trained on",
        ),
        (
            {"models": [{"name": "m", "model": "x", "label_map": {"MISC": "?"}}]},
            "model m: label_map: \\? is for sources",
        ),
        ({"gold": [{"name": "a", "path": "x", "num_entites": 5}]}, "num_entites"),
    ],
)
def test_evaluate_tagger_refuses_settings_that_contradict(
    made: Callable[..., EvaluateTaggerConfig], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(**settings)
