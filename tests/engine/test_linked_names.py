"""Training examples from bitext alone, on pairs of the miniature world."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from xner.config import LinkedNamesConfig, LinksConfig
from xner.corpora import miniature
from xner.corpora.alignment_set import AlignmentExample
from xner.corpora.names import Casing
from xner.engine.linked_names import LinkedNames
from xner.errors import ConfigError
from xner.models.hmm import WordAlignerSettings, train
from xner.shards.schema import PAIRS
from xner.shards.storage import Folder

SENTENCES = list(miniature.sentences("train", 300))


def shard(texts: list[tuple[str, str]], lang: str = "de") -> pa.Table:
    """As the job reads it."""
    sources, targets = zip(*texts, strict=True) if texts else ((), ())
    columns = {"source": sources, "target": targets}
    langs = {"source_lang": ["en"] * len(texts), "target_lang": [lang] * len(texts)}
    return pa.Table.from_pydict(
        columns | langs, pa.schema([PAIRS.field(name) for name in columns | langs])
    )


TEXTS = [(each.texts["en"], each.texts["de"]) for each in SENTENCES]
CASING = Casing.of(source for source, _ in TEXTS)


def names(min_score: float, texts: list[tuple[str, str]]) -> list[AlignmentExample]:
    return list(LinkedNames(LinkedNamesConfig(min_score=min_score)).examples(shard(texts), CASING))


def counterparts() -> dict[str, dict[str, tuple[int, int]]]:
    """By target text, where the counterpart of each name stands."""
    return {
        each.texts["de"]: {
            each.texts["en"][mention.start : mention.end]: (
                each.mentions["de"][link].start,
                each.mentions["de"][link].end,
            )
            for mention, link in zip(each.mentions["en"], each.links["de"], strict=True)
            if link is not None
        }
        for each in SENTENCES
    }


def test_linked_names_stand_at_the_right_places() -> None:
    gold = counterparts()
    examples = names(0.9, TEXTS)
    assert {(each.lang, each.origin) for each in examples} == {("de", "bitext")}
    right = [
        gold[each.text][name] == place
        for each in examples
        for name, (place,) in zip(each.names, each.spans, strict=True)
        # Capitals find more than the gold marks: titles and days of the week.
        if name in gold[each.text]
    ]
    assert len(right) > 200
    assert sum(right) / len(right) > 0.95
    for each in examples:
        places = sorted(place for (place,) in each.spans)
        assert all(a[1] <= b[0] for a, b in pairwise(places))
    assert names(0.9, TEXTS) == examples


def test_linked_names_below_the_score_are_left_out() -> None:
    found = [
        {
            (each.text, name, place)
            for each in names(score, TEXTS)
            for name, (place,) in zip(each.names, each.spans, strict=True)
        }
        for score in (1.0, 0.9, 0.3)
    ]
    assert found[0] < found[1] < found[2]


def test_linked_names_of_nothing_are_none() -> None:
    assert names(0.9, []) == []
    assert names(0.9, [("", ""), ("Milaford", ""), ("", "Milafurt"), ("yes", "ja")]) == []


def test_linked_names_leave_out_one_that_stands_twice() -> None:
    pair = ("from Milaford to Milaford with Goseski", "von Milafurt zu Milafurt mit Goseski")
    examples = [each for each in names(0.5, [*TEXTS, pair]) if each.text == pair[1]]
    assert [each.names for each in examples] == [("Goseski",)]


def test_linked_names_refuse_other_languages_than_those_of_the_word_aligner(
    tmp_path: Path,
) -> None:
    train(TEXTS[:50], ("en", "de"), WordAlignerSettings()).aligner.save(Folder.at(str(tmp_path)))
    linked = LinkedNames(LinkedNamesConfig(links=LinksConfig(model=str(tmp_path))))
    assert list(linked.examples(shard(TEXTS[:50]), CASING))
    with pytest.raises(ConfigError, match=r"for en-de, but the pairs are en-es;.*pairs/en-es"):
        list(linked.examples(shard(TEXTS[:50], "es"), CASING))
