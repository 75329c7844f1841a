"""The pieces of `make measure-projection`, on made data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from xner.shards import schema
from xner.shards.storage import Folder


@pytest.fixture
def projection(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("projection")


def test_measure_projection_runs_valid_recipes(
    projection: ModuleType, steps_on_paper: Any, tmp_path: Path
) -> None:
    seconds = projection.run_jobs(steps_on_paper, tmp_path, tmp_path / "encoder")
    recipes = steps_on_paper.recipes
    assert list(recipes) == ["pairs", "links", "examples", "teacher", "aligner", "pseudo"]
    assert len(seconds) == len(recipes)
    # The links that teach the entity aligner align beside it.
    assert recipes["examples"].bitext.links == recipes["pseudo"].aligner.links
    assert recipes["pseudo"].aligner.links.model == str(projection.OUTPUT / "links")


def test_measure_projection_chooses_rows_by_pair_id(projection: ModuleType, tmp_path: Path) -> None:
    def row(pair_id: int, status: str, num_mentions: int = 1) -> dict[str, object]:
        mention = {"start": 3, "end": 7, "label": "LOC", "score": 1.0}
        placed = {"alignment_score": 1.0, "source_index": 0}
        empty = {field.name: None for field in schema.PSEUDO}
        return {
            **empty,
            "pair_id": f"{pair_id:02}",
            "corpus": "made",
            "source_lang": "en",
            "target_lang": "de",
            "source": "In Bonn.",
            "target": "Zu Bonn!",
            "source_mentions": [mention] * num_mentions,
            "mentions": [{**mention, **placed}] if status == "ok" else [],
            "status": status,
            "reason": None if status == "ok" else "unplaced_mention",
        }

    rows = [row(20, "ok", 0), *(row(i, "filtered") for i in range(19, 9, -1))]
    rows += [row(i, "ok") for i in range(9, -1, -1)] + [row(21, "filtered", 0)]
    for name, part in (("a", rows[::2]), ("b", rows[1::2])):
        table = pa.Table.from_pylist(part, schema=schema.PSEUDO)
        Folder.at(str(tmp_path / "pseudo")).publish_table(f"{name}.parquet", table)
    chosen = projection.chosen_rows(tmp_path / "pseudo")
    assert [int(each["pair_id"]) for each in chosen] == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13]
    assert {each["source"] for each in chosen} == {"In [Bonn/LOC]."}
    assert [each["target"] for each in chosen] == ["Zu [Bonn/LOC]!"] * 6 + ["Zu Bonn!"] * 4


def test_measure_projection_says_what_it_needs(
    projection: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "opus").mkdir()
    for arguments in ([], [str(tmp_path)]):
        with pytest.raises(SystemExit) as ended:
            projection.main(arguments)
        assert ended.value.code == 2
        message = capsys.readouterr().err
        assert "make measure-projection DATA=<folder>" in message
    assert f"There is no {tmp_path}/names/de.country.json." in message
    assert f"There is no {tmp_path}/opus." not in message


def test_measure_projection_knows_the_real_data(projection: ModuleType, shared_data: Path) -> None:
    assert [path for path in projection.needed_data() if not (shared_data / path).exists()] == []
