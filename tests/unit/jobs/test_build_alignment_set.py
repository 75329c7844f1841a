from __future__ import annotations

import json
import runpy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xner.config import BuildAlignmentSetConfig
from xner.errors import ConfigError
from xner.shards.schema import ALIGNMENT_EXAMPLES, PAIRS

JOB = Path(__file__).parents[3] / "jobs" / "build_alignment_set.py"
main = runpy.run_path(str(JOB))["main"]

PAIRS_OF = {
    "de": [
        ("We met Obama in Germany.", "Wir trafen Obama in Deutschland."),
        ("He slept.", "Er schlief."),
        ("They left Hamburg in May.", "Sie verließen Hamburg im Mai."),
    ],
    "zh": [("from Germany", "从德国")],
}
TABLE = "name_en,name_de,name_zh\nGermany,Deutschland,德国\nSpain,Spanien,西班牙\n"


def _write_shards(folder: Path, rows_per_shard: int) -> list[str]:
    folders = []
    for lang, pairs in PAIRS_OF.items():
        (folder / f"en-{lang}").mkdir(parents=True)
        folders.append(str(folder / f"en-{lang}"))
        rows = [
            {"pair_id": source, "corpus": "C", "source_lang": "en", "target_lang": lang}
            | {"source": source, "target": target}
            for source, target in pairs
        ]
        for start in range(0, len(rows), rows_per_shard):
            table = pa.Table.from_pylist(rows[start : start + rows_per_shard], schema=PAIRS)
            pq.write_table(table, folder / f"en-{lang}" / f"part-{start}.parquet")
    return folders


def _build(tmp_path: Path, rows_per_shard: int) -> dict[str, pa.Table]:
    (tmp_path / "names.csv").write_text(TABLE)
    output = tmp_path / f"out-{rows_per_shard}"
    main(
        BuildAlignmentSetConfig(
            pairs=_write_shards(tmp_path / f"pairs-{rows_per_shard}", rows_per_shard),
            tables=[str(tmp_path / "names.csv")],
            carriers=4,
            output=str(output),
        )
    )
    return {lang: pq.read_table(output / f"part-{lang}.parquet") for lang in PAIRS_OF}


def test_build_alignment_set_writes_examples_and_their_counts(tmp_path: Path):
    tables = _build(tmp_path, rows_per_shard=2)
    examples = tables["de"].to_pylist() + tables["zh"].to_pylist()
    assert all(table.schema.equals(ALIGNMENT_EXAMPLES) for table in tables.values())
    for example in examples:
        for places in example["spans"]:
            assert len({example["text"][p["start"] : p["end"]] for p in places}) == 1
    assert {e["text"]: e["origin"] for e in examples} == {
        "Wir trafen Obama in Deutschland.": "table",
        "Wir trafen Obama in Spanien.": "carrier",
        "Sie verließen Hamburg im Mai.": "verbatim",
        "从德国": "table",
        "从西班牙": "carrier",
    }
    summary = json.loads((tmp_path / "out-2" / "summary.json").read_text())["languages"]
    assert summary["de"] == {
        **{"pairs": 3, "examples": 3, "names": 5},
        **{"verbatim": 1, "table": 1, "carrier": 1, "anchor": 0},
    }


def test_build_alignment_set_does_not_depend_on_how_shards_are_cut(tmp_path: Path):
    assert _build(tmp_path, rows_per_shard=1) == _build(tmp_path, rows_per_shard=3)


def test_build_alignment_set_without_shards_says_so(tmp_path: Path):
    config = BuildAlignmentSetConfig(pairs=[str(tmp_path)], output=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="no shards"):
        main(config)
