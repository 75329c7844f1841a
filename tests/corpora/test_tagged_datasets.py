"""Files of the `datasets` library, which loads torch with it."""

from __future__ import annotations

from pathlib import Path

import datasets

from xner.config import TaggedSourceConfig
from xner.corpora.tagged import read_tagged


def test_parquet_of_the_datasets_library_names_its_tags(tmp_path: Path) -> None:
    tags = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
    features = datasets.Features(
        id=datasets.Value("string"),
        tokens=datasets.Sequence(datasets.Value("string")),
        ner_tags=datasets.Sequence(tags),
    )
    rows = {"id": ["0", "1"], "tokens": [["Tom", "Roe"], ["lebt"]], "ner_tags": [[1, 2], [0]]}
    table = datasets.Dataset.from_dict(rows, features=features)
    table.to_parquet(tmp_path / "train-0.parquet")
    table.to_parquet(tmp_path / "train-1.parquet")
    for path, num_files in ((tmp_path, 2), (tmp_path / "train-1.parquet", 1)):
        sentences = read_tagged(TaggedSourceConfig(path=str(path), format="parquet"))
        assert [sentence.text for sentence in sentences] == ["Tom Roe", "lebt"] * num_files
        assert [sentence.tags for sentence in sentences][:2] == [("B-PER", "I-PER"), ("O",)]
    names = ["O", "B-X", "I-X"]
    other = TaggedSourceConfig(path=str(tmp_path), format="parquet", tag_names=names)
    assert read_tagged(other)[0].tags == ("B-X", "I-X")
