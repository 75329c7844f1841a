from __future__ import annotations

from collections import Counter
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
from xner.training.aligner import (
    Names,
    make_task,
    train_aligner,
    with_negatives,
)

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


def test_aligner_single_layout_trains(aligner_recipe: Any) -> None:
    summary = train_aligner(aligner_recipe(layout="single", optimization={"max_steps": 25}))
    losses = [loss for _, loss in summary["curve"]]
    assert np.mean(losses[-5:]) < losses[0] / 2


def test_aligner_adds_names_that_are_not_in_the_text() -> None:
    examples = [BERLIN, ROME, PARIS] * 50
    names = Names.of(examples)
    mixed = with_negatives(examples, names, 0.5, (0, 0))
    added = Counter()
    for before, after in zip(examples, mixed, strict=True):
        asked = dict(zip(after.names, after.spans, strict=True))
        for name, spans in zip(before.names, before.spans, strict=True):
            assert asked.pop(name) == spans
        for name, spans in asked.items():
            assert spans == ()
            added[before.lang, name] += 1
    assert set(added) == {("de", "Berlin"), ("de", "Rome")}
    assert 30 <= sum(added.values()) <= 70


def test_aligner_adds_no_name_that_is_there_in_another_form() -> None:
    unmarked = AlignmentExample("Heute in Rom.", "de", (), (), "table")
    mixed = with_negatives([unmarked] * 50, Names.of([ROME, BERLIN]), 1.0, (0,))
    assert {name for example in mixed for name in example.names} == {"Berlin"}


def test_aligner_draws_other_names_in_another_epoch_and_the_same_in_the_same() -> None:
    cities = [
        AlignmentExample(f"Stadt {n}x.", "de", (f"City {n}",), (((6, 9),),), "table")
        for n in range(20)
    ]
    names = Names.of(cities)
    first, again, other = (with_negatives(cities, names, 0.5, (3, epoch)) for epoch in (1, 1, 2))
    assert first == again != other


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
    task = aligner.AlignerTask(whole.config, whole.encoder, whole.training, (example,))
    assert task.evaluate(task.make_model()) == {
        "dev_exact": 0.5,
        "dev_exact_present": 0.5,
        "dev_exact_absent": 0.5,
    }


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
