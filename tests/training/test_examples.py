"""Examples that are read and encoded a part at a time, here and by Ray's tasks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xner.config import LossConfig
from xner.corpora.tagged import TaggedPart
from xner.errors import DataError
from xner.shards.schema import PSEUDO
from xner.shards.storage import Folder
from xner.text.iob2 import tags_of
from xner.text.mentions import Mention
from xner.training import distributed
from xner.training.encoders import Encoder
from xner.training.examples import Part, PartEncoder, Surveyor, Windows
from xner.training.tagger import TaggerTask, make_task


def write_shards(folder: Path, labelled_row: Any, num_shards: int, rows_each: int) -> None:
    """Pseudo-labelled shards of names that differ, of which a third has nothing accepted."""
    folder.mkdir()
    for shard in range(num_shards):
        rows = []
        for number in range(rows_each):
            text = f"Herr Kalo{chr(97 + shard)}{number} sah 三 Bonn {'x ' * (number % 7)}kam"
            score, place = 0.5 + 0.1 * (number % 5), text.index("Bonn")
            row = labelled_row(
                f"{shard}-{number}",
                text,
                (Mention(len("Herr "), text.index(" sah"), "PER", score), score / 2),
                (Mention(place, place + 4, "LOC", 0.9), 0.45),
                weight=0.5,
                status="filtered" if shard % 3 == 1 or number % 4 == 3 else "ok",
            )
            rows.append(row)
        pq.write_table(pa.Table.from_pylist(rows, PSEUDO), folder / f"part-{shard}.parquet")


def assert_same(found: TaggerTask, wanted: TaggerTask) -> None:
    for field in fields(Windows):
        ours, theirs = (getattr(task.windows, field.name) for task in (found, wanted))
        np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
    assert found.dev == wanted.dev
    assert found.about == wanted.about
    assert found.labels == wanted.labels
    assert found.new.characters == wanted.new.characters


@pytest.fixture
def recipe(tagged_file: Path, labelled_row: Any, tagger_recipe: Any, tmp_path: Path) -> Any:
    """Three sources: a file, shards, and a sample of shards that are taken to mark no places."""
    write_shards(tmp_path / "shards", labelled_row, 6, 40)

    def made(**settings: Any) -> Any:
        pseudo = {"path": str(tmp_path / "shards"), "format": "pseudo"}
        people = {"label_map": {"PER": "PER", "LOC": "O"}, "not_annotated": ["LOC"]}
        file = {"path": str(tagged_file), "lang": "de", "max_sentences": 50, "repeat": 0.5}
        return tagger_recipe(
            **{
                "data": [file, pseudo, {**pseudo, **people, "max_sentences": 30}],
                "loss": {"weighting": "teacher"},
                "new_characters": 2,
                **settings,
            }
        )

    return made


def test_examples_of_all_sources_lie_one_after_another(recipe: Any, tmp_path: Path) -> None:
    task = make_task(recipe(optimization={"dev_share": 0.0}), Folder.at(str(tmp_path / "run")))
    windows = task.windows
    # 6 shards of 40 rows, of which 2 have none that is accepted, and the others 3 of 4.
    sizes = [50, 4 * 30, 30]
    assert [each["sentences"] for each in task.about["data"]] == sizes
    # Every sentence is one window.
    assert windows.sentence.tolist() == list(range(sum(sizes)))
    assert windows.label_set.tolist() == np.repeat([0, 0, 1], sizes).tolist()
    assert task.mixture is not None
    assert task.mixture.repeats.tolist() == np.repeat([0.5, 1, 1], sizes).tolist()
    assert task.about["data"][1]["mentions"] == {"LOC": 120, "PER": 120}
    assert task.about["data"][2]["mentions"] == {"PER": 30}


@pytest.mark.parametrize("weighting", ["none", "row", "teacher"])
def test_examples_of_a_part_that_is_held_out_whole(trained_tagger: Path, weighting: Any) -> None:
    nothing = Part(0, TaggedPart(0, list))
    loss = LossConfig(weighting=weighting)
    found = Surveyor(0.5, True, loss)(nothing)
    assert (found.num_sentences, found.scores) == (0, (0, 0.0))
    tag_ids = {tag: number for number, tag in enumerate(tags_of(["LOC", "PER"]))}
    encoder = PartEncoder(Encoder(str(trained_tagger)), (), tag_ids, 64, 0.5, loss, 0.0, (0,), 0)
    encoded = encoder(nothing)
    assert len(encoded.input_ids) == len(encoded.labels) == len(encoded.lengths) == 0
    assert (encoded.weights is None) == (weighting == "none")


@pytest.fixture
def two_at_once(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six tasks, so that the others wait, and few processes start."""
    monkeypatch.setattr(distributed, "_TASKS_AT_ONCE", 2)


def test_examples_read_by_ray_are_those_read_here(
    two_at_once: None, recipe: Any, tmp_path: Path
) -> None:
    run_folder = Folder.at(str(tmp_path / "run"))
    here = make_task(recipe(), run_folder)
    there = make_task(recipe(optimization={"num_workers": 1}), run_folder)
    assert len(here.dev) > 10
    assert here.windows.weights is not None and len(np.unique(here.windows.weights)) > 4
    assert_same(there, here)


def test_examples_read_by_ray_name_the_row_that_is_bad(
    two_at_once: None, recipe: Any, tmp_path: Path
) -> None:
    shard = tmp_path / "shards" / "part-3.parquet"
    table = pq.read_table(shard)
    rows = table.to_pylist()
    rows[8]["tokens"] = ["Herr"]
    pq.write_table(pa.Table.from_pylist(rows, PSEUDO), shard)
    with pytest.raises(DataError, match=r"part-3\.parquet: row 3-8: `tokens` are not the words"):
        make_task(recipe(optimization={"num_workers": 1}), Folder.at(str(tmp_path / "run")))
