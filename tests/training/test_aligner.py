from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xner.config import AlignerConfig
from xner.corpora.alignment_set import AlignmentExample, read_examples
from xner.errors import ConfigError, DataError
from xner.models.aligner import Aligner
from xner.shards.schema import ALIGNMENT_EXAMPLES
from xner.shards.storage import Folder
from xner.text.words import segment
from xner.training import aligner
from xner.training.aligner import HeldOut, calibrated, make_task, train_aligner

BERLIN = AlignmentExample("Sie wohnt in Berlin.", "de", ("Berlin",), (((13, 19),),), "table")
ROME = AlignmentExample("Rom ist alt.", "de", ("Rome",), (((0, 3),),), "table")
PARIS = AlignmentExample("Il aime Paris.", "fr", ("Paris",), (((8, 13),),), "table")


def test_aligner_learns_from_nothing(aligner_recipe: Any, tmp_path: Path) -> None:
    summary = train_aligner(aligner_recipe())
    assert summary["history"][-1]["loss"] < summary["history"][0]["loss"] / 5
    assert summary["metrics"]["dev_exact"] > 0.6
    text = "gestern kam Solmika im Garten"
    loaded = Aligner(AlignerConfig(model=str(tmp_path / "aligner"), precision="fp32"))
    (scores,) = loaded.align([(["Solmika"], text, segment(text))])
    assert scores.argmax() == 2


def test_aligner_single_layout_has_a_name_a_row(aligner_recipe: Any, tmp_path: Path) -> None:
    run_folder = Folder.at(str(tmp_path / "run"))
    single = make_task(aligner_recipe(layout="single", negatives=0.0), run_folder)
    packed = make_task(aligner_recipe(layout="packed", negatives=0.0), run_folder)
    num_names = sum(len(example.names) for example in single.training)
    assert len(single.epoch(0).lengths) == num_names
    assert len(packed.epoch(0).lengths) == len(packed.training)
    batch = single.epoch(0).collate(np.arange(6))
    loss, count = single.loss(single.make_model(), batch)
    assert count == batch["target_mask"].sum()
    assert 0.3 < (loss / count).item() < 1.5


def test_aligner_folder_has_the_calibration_of_the_best_epoch(
    aligner_recipe: Any, tmp_path: Path
) -> None:
    summary = train_aligner(aligner_recipe(optimization={"dev_share": 0.4}))
    metrics = summary["metrics"]
    best = summary["history"][summary["best_epoch"] - 1]
    written = json.loads((tmp_path / "aligner" / "aligner.json").read_text())
    for key in ("score_scale", "score_bias"):
        assert written[key] == metrics[key] == best[key] not in (0.0, 1.0)
    assert metrics["dev_ece"] < metrics["dev_ece_before"]


def test_aligner_calibration_is_fitted_and_judged_on_different_spans() -> None:
    """Even spans: half of them right at score 0.95. Odd ones: all right."""
    scores, right = [0.95] * 400, [True, True, False, True] * 100
    figures = calibrated(scores, right)
    assert figures["dev_ece_before"] == pytest.approx(0.05)
    assert figures["dev_ece"] > 0.4
    assert figures["dev_sure"] == 0 and "dev_sure_right" not in figures
    figures = calibrated(scores, [True] * 400)
    assert figures["dev_ece"] < figures["dev_ece_before"]
    assert (figures["dev_sure"], figures["dev_sure_right"]) == (1.0, 1.0)


def test_aligner_held_out_names_are_scored_as_decoded() -> None:
    text = "Anna sah Berlin."
    matrix = np.array([[0.0, 0.0, 0.95, 0.0], [0.6, 0.0, 0.0, 0.0], [0, 0, 0, 0]], dtype=np.float32)
    example = AlignmentExample(text, "de", ("Berlin", "Sah", "Rom"), (((9, 15),), (), ()), "table")
    found = HeldOut([example], [segment(text)], [matrix], AlignerConfig(model="none"))
    scores, right = found.scored()
    assert scores == pytest.approx([0.95, 0.6], abs=1e-3) and right == [True, False]
    assert found.exact_shares() == {"exact": 2 / 3, "exact_present": 1.0, "exact_absent": 0.5}
    # Without negatives nothing can be said of them: 0 would say that none was refused.
    there = replace(example, names=("Berlin",), spans=(((9, 15),),))
    found = HeldOut([there], [segment(text)], [matrix[:1]], AlignerConfig(model="none"))
    assert found.exact_shares() == {"exact": 1.0, "exact_present": 1.0}


def test_aligner_epoch_mixes_negates_and_varies_as_the_recipe_says(
    aligner_recipe: Any, tmp_path: Path
) -> None:
    recipe = aligner_recipe(negatives=0.0, augmentation={"case": 1.0})
    task = make_task(recipe, Folder.at(str(tmp_path / "run")))
    plain = make_task(aligner_recipe(negatives=0.0), Folder.at(str(tmp_path / "run")))
    again, other = task.epoch(1), task.epoch(2)
    assert np.array_equal(task.epoch(1).encoded.input_ids, again.encoded.input_ids)
    assert not np.array_equal(other.encoded.input_ids, again.encoded.input_ids)
    assert not np.array_equal(plain.epoch(1).encoded.input_ids, again.encoded.input_ids)


def test_aligner_runs_of_a_soup_differ_in_what_is_drawn(
    aligner_recipe: Any, tmp_path: Path
) -> None:
    recipe = aligner_recipe(negatives=0.5)
    tasks = [make_task(recipe, Folder.at(str(tmp_path / "run")), run) for run in (0, 1, 1)]
    first, second, again = (task.epoch(0).encoded.input_ids.tolist() for task in tasks)
    assert first != second == again
    assert tasks[0].dev == tasks[1].dev


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": {"anchor": 1.0}}, r"mix\.anchor: no example is of this origin.* have made"),
        ({"mix": {"made": 0.0}}, "mix: every weight is 0"),
        ({"optimization": {"dev_share": 1.0, "max_dev": 10**6}}, "no example to train on"),
        ({"optimization": {"dev_share": 0.0, "patience": 2}}, "patience = 2 needs held-out"),
    ],
)
def test_aligner_settings_that_leave_nothing(
    aligner_recipe: Any, settings: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_aligner(aligner_recipe(**settings))


def test_aligner_without_examples(aligner_recipe: Any, tmp_path: Path) -> None:
    pq.write_table(ALIGNMENT_EXAMPLES.empty_table(), tmp_path / "none.parquet")
    with pytest.raises(ConfigError, match=r"examples: not one example in .*none\.parquet"):
        train_aligner(aligner_recipe(examples=[str(tmp_path / "none.parquet")]))


def test_aligner_says_how_many_names_do_not_fit(
    aligner_recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = "Kalomi " * 30
    rows = [
        {"text": f"Zug {n} kam", "lang": "de", "names": names, "spans": spans, "origin": "made"}
        for n, (names, spans) in enumerate(
            [(["Zug"], [[{"start": 0, "end": 3}]])] * 9 + [([long], [[]])]
        )
    ]

    def recipe(rows: Any) -> Any:
        pq.write_table(pa.Table.from_pylist(rows, ALIGNMENT_EXAMPLES), tmp_path / "long.parquet")
        return aligner_recipe(
            examples=[str(tmp_path / "long.parquet")],
            negatives=0.0,
            max_length=24,
            optimization={"dev_share": 0.0},
        )

    task = make_task(recipe(rows), Folder.at(str(tmp_path / "run")))
    assert len(task.epoch(0).lengths) == 9
    assert "1 of 10 names do not fit into a window of 24 sub-words" in caplog.text
    with pytest.raises(ConfigError, match="max_length = 24: not one name"):
        train_aligner(recipe(rows[-1:]))


def test_aligner_holds_out_no_more_than_it_may(aligner_recipe: Any, tmp_path: Path) -> None:
    recipe = aligner_recipe(optimization={"dev_share": 0.5, "max_dev": 60})
    task = make_task(recipe, Folder.at(str(tmp_path / "run")))
    assert 40 < len(task.dev) < 80
    assert len(task.dev) + len(task.training) == 600


def test_aligner_single_layout_trains(aligner_recipe: Any) -> None:
    summary = train_aligner(aligner_recipe(layout="single", optimization={"max_steps": 25}))
    losses = [loss for _, loss in summary["curve"]]
    assert np.mean(losses[-5:]) < losses[0] / 2


def test_aligner_asks_held_out_texts_for_absent_names_too(
    aligner_recipe: Any, tmp_path: Path
) -> None:
    recipe = aligner_recipe(negatives=0.5)
    task = make_task(recipe, Folder.at(str(tmp_path / "run")))
    absent = sum(not spans for example in task.dev for spans in example.spans)
    assert 0.15 < absent / sum(len(example.names) for example in task.dev) < 0.5
    assert task.dev == make_task(recipe, Folder.at(str(tmp_path / "run"))).dev
    assert not {e.text for e in task.dev} & {e.text for e in task.training}


def test_aligner_counts_an_absent_name_as_right_when_nothing_is_found(
    aligner_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Marks:
        """Finds every name at the last word that has a letter."""

        def __init__(self, *_: Any) -> None:
            pass

        def align(self, requests: Any) -> list[np.ndarray]:
            matrices = []
            for names, _, words in requests:
                scores = np.zeros((len(names), len(words)), dtype=np.float32)
                scores[[name != "Nobody" for name in names], -2] = 0.9
                matrices.append(scores)
            return matrices

    monkeypatch.setattr(aligner, "Aligner", Marks)
    example = AlignmentExample(
        "Sie wohnt in Berlin.",
        "de",
        ("Berlin", "Nobody", "Rome", "Sie"),
        (((13, 19),), (), (), ((0, 3),)),
        "table",
    )
    whole = make_task(aligner_recipe(), Folder.at(str(tmp_path / "run")))
    task = aligner.AlignerTask(
        whole.config, whole.encoder, whole.training, (example,), whole.weights
    )
    metrics = task.evaluate(task.make_model())
    assert {name: metrics[name] for name in metrics if "exact" in name} == {
        "dev_exact": 0.5,
        "dev_exact_present": 0.5,
        "dev_exact_absent": 0.5,
    }
    assert metrics["score_scale"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spans": [[{"start": 0, "end": 99}]]}, r"row 0: 'Rome' at \[0, 99\).* 12 characters"),
        ({"spans": []}, "row 0: 1 names and 0 lists of spans"),
    ],
)
def test_aligner_names_the_row_of_a_broken_example(
    tmp_path: Path, change: Any, message: str
) -> None:
    row = {"text": "Rom ist alt.", "lang": "de", "names": ["Rome"], "origin": "made", **change}
    pq.write_table(pa.Table.from_pylist([row], ALIGNMENT_EXAMPLES), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet: {message}"):
        read_examples(str(tmp_path))


def test_aligner_reads_a_file_and_a_folder_alike(examples_folder: Path) -> None:
    there = read_examples(str(examples_folder))
    assert there == read_examples(str(examples_folder / "part-0.parquet"))
    assert len(there) == 600


def test_aligner_names_examples_that_are_missing(aligner_recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        train_aligner(aligner_recipe(examples=[str(tmp_path / "nowhere")]))
