"""The pieces of `make measure-pipeline`, on made data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from xner.corpora import miniature
from xner.shards.storage import Folder
from xner.text.mentions import Mention


def test_measure_pipeline_compares_by_span_and_type(
    measurement: Callable[[str], ModuleType],
) -> None:
    ours = [[Mention(0, 3, "PER", 0.5), Mention(5, 8, "LOC")], [], [Mention(0, 2, "ORG")]]
    found = [[Mention(5, 8, "LOC"), Mention(0, 3, "PER")], [], [Mention(0, 2, "PER")]]
    figures = measurement("pipeline").compared(found, ours, ours)
    assert figures["mentions"] == 3
    assert figures["sentences as xner has them"] == 2
    assert figures["F1 against xner"] == figures["F1 on gold"] == pytest.approx(200 / 3)


def test_measure_pipeline_runs_a_model_in_every_way(
    measurement: Callable[[str], ModuleType],
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = measurement("pipeline")
    monkeypatch.setattr(pipeline, "OUTPUT", tmp_path / "out")
    (tmp_path / "ner" / "de").mkdir(parents=True)
    rows = [
        "".join(f"{n}\t{token}\tO\tO\n" for n, token in enumerate(each.texts["de"].split(), 1))
        for each in miniature.sentences("train", 20)
    ]
    (tmp_path / "ner" / "de" / "test.tsv").write_text("\n".join(rows))
    pipeline.main(str(models / "teacher"), tmp_path)
    summary = Folder.at(str(tmp_path / "out")).read_json("summary.json")
    assert [row["who"] for row in summary["rows"]] == ["xner", *pipeline.STRATEGIES]
    first = summary["rows"][0]
    assert (first["sentences as xner has them"], first["F1 against xner"]) == (20, 100.0)
    assert first["mentions"] > 0
