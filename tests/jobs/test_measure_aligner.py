"""The pieces of `make measure-aligner`, on made gold and hand-worked links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xner.corpora.alignment_epoch import origin_weights
from xner.corpora.alignment_set import AlignmentExample
from xner.evaluation.projection_gold import GoldPair
from xner.models.eflomal import EflomalLinker
from xner.text.mentions import Mention

# The mention is the first two of three source words; the target has seven words.
OWN = range(2)


@pytest.fixture
def aligner(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("aligner")


@pytest.fixture
def rules(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("projection_rules")


def matrix(*rows: str) -> np.ndarray:
    """Links as they are drawn: a row a source word, x for a link."""
    return np.array([[cell == "x" for cell in row] for row in rows])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("forward, longest run", range(4, 7)),
        ("reverse, longest run", range(1, 3)),
        ("intersection, longest run", range(1, 2)),
        ("union, longest run", range(1, 7)),
        ("forward, first to last", range(1, 7)),
        ("reverse, first to last", range(1, 6)),
        ("intersection, first to last", range(1, 6)),
    ],
)
def test_rules_by_hand(rules: ModuleType, name: str, expected: range) -> None:
    links = rules.Directions(
        forward=matrix(".x.....", "....xxx", "x......"),
        reverse=matrix(".xx....", ".....x.", "x......"),
    )
    assert rules.RULES[name](links, OWN, [False] * 7) == expected


def test_rules_are_seven(rules: ModuleType) -> None:
    assert len(rules.RULES) == 7


@pytest.mark.parametrize(
    ("row", "marks", "expected"),
    [
        # A gap of one word is bridged, one of two is not; the first of two equal runs counts.
        ("x.x....", "", range(0, 3)),
        ("x.x.x..", "", range(0, 5)),
        ("x..x...", "", range(0, 1)),
        ("x..xx..", "", range(3, 5)),
        ("xx..xx.", "", range(0, 2)),
        # A mark is no word of a name, but a name may go on behind it.
        ("xxx....", "x......", range(1, 3)),
        ("x.xx...", "...x...", range(0, 3)),
        ("xxx....", ".x.....", range(0, 3)),
        ("xx.....", "xx.....", range(0)),
        (".......", "", range(0)),
    ],
)
def test_rules_bridge_gaps_and_skip_marks(
    rules: ModuleType, row: str, marks: str, expected: range
) -> None:
    links = rules.Directions(matrix(row, "......."), matrix(".......", "......."))
    is_mark = [mark == "x" for mark in marks.ljust(7)]
    assert rules.RULES["forward, longest run"](links, OWN, is_mark) == expected


def test_rules_first_to_last_skips_marks_at_the_borders(rules: ModuleType) -> None:
    links = rules.Directions(matrix("x.x..xx"), matrix("......."))
    marks = [True, *[False] * 5, True]
    assert rules.RULES["forward, first to last"](links, range(1), marks) == range(2, 6)


@pytest.fixture
def gold() -> list[GoldPair]:
    """Two pairs; the gold mention of the second has an article that forward links leave out."""
    return [
        GoldPair(
            pair_id="1",
            source_lang="en",
            target_lang="de",
            source="In New York.",
            target="Heute in New York.",
            source_mentions=(Mention(3, 11, "LOC"),),
            target_mentions=(Mention(9, 17, "LOC"),),
        ),
        GoldPair(
            pair_id="2",
            source_lang="en",
            target_lang="de",
            source="UNO here",
            target="hier die UNO",
            source_mentions=(Mention(0, 3, "ORG"),),
            target_mentions=(Mention(5, 12, "ORG"),),
        ),
    ]


def test_best_rule_is_that_of_the_highest_score(
    aligner: ModuleType, rules: ModuleType, gold: list[GoldPair]
) -> None:
    # Of "In New York ." and "Heute in New York ."; the full stop is linked to York as well.
    first = matrix(".x...", "..x..", "...xx", "....x")
    links = [
        rules.Directions(first, first),
        rules.Directions(matrix("..x", "x.."), matrix(".xx", "x..")),
    ]
    scores = aligner.best_rule(gold, links)
    assert scores.keys() == {"best", *rules.RULES}
    reverse = {name for name in rules.RULES if name.startswith(("reverse", "union"))}
    assert {name for name in rules.RULES if scores[name] == 1} == reverse
    assert {scores[name] for name in rules.RULES if name not in reverse} == {0.5}
    assert scores["best"] == 1


def test_rule_that_finds_nothing_leaves_the_mention_out(
    aligner: ModuleType, rules: ModuleType, gold: list[GoldPair]
) -> None:
    nothing = np.zeros((4, 5), dtype=bool)
    table = aligner.by_rule(
        gold[:1], [rules.Directions(nothing, nothing)], rules.RULES["union, longest run"]
    )
    assert table["alignments"].to_pylist() == table["mentions"].to_pylist() == [[]]
    assert table["reason"].to_pylist() == ["unplaced_mention"]


def test_eflomal_links_learn_from_the_shards_and_are_those_of_the_gold(
    aligner: ModuleType,
    gold: list[GoldPair],
    monkeypatch: pytest.MonkeyPatch,
    pairs: Path,
) -> None:
    monkeypatch.setattr(aligner, "OUTPUT", pairs.parent)
    read = []

    class Linker(EflomalLinker):
        def __init__(self, config: object) -> None:
            pass

        def directions(self, pairs):  # type: ignore[no-untyped-def]
            read.extend(pairs)
            shapes = [(len(pair.source_words), len(pair.target_words)) for pair in pairs]
            return [(np.ones(shape, bool), np.zeros(shape, bool)) for shape in shapes]

    monkeypatch.setattr(aligner, "EflomalLinker", Linker)
    links = aligner.eflomal_links(gold, "de")
    assert [each.forward.shape for each in links] == [(4, 5), (2, 3)]
    assert all(each.forward.all() and not each.reverse.any() for each in links)
    assert [pair.source for pair in read[:2]] == [pair.source for pair in gold]
    assert len(read) > 2


def test_measure_aligner_trains_by_valid_recipes(
    aligner: ModuleType, steps_on_paper: Any, tmp_path: Path
) -> None:
    seconds = aligner.train(steps_on_paper, tmp_path, tmp_path / "encoder")
    recipes = steps_on_paper.recipes
    assert seconds.keys() == recipes.keys()
    of_each = [
        AlignmentExample("Bonn", "de", ("Bonn",), (((0, 4),),), source)
        for source in aligner.SOURCES
    ]
    for source in aligner.SOURCES:
        weights = origin_weights(of_each, recipes[f"source-{source}"].mix)
        assert {name for name, weight in weights.items() if weight} == {source}
    assert len(set(origin_weights(of_each, recipes["source-all"].mix).values())) == 1


def test_sure_labels_counts_spans_whatever_their_type(
    aligner: ModuleType, gold: list[GoldPair]
) -> None:
    def mention(start: int, end: int, score: float) -> dict[str, object]:
        return {"start": start, "end": end, "label": "MISC", "alignment_score": score}

    table = pa.table(
        {
            "mentions": [
                [mention(9, 17, 0.9), mention(0, 5, 0.99), mention(9, 12, 0.89)],
                [mention(5, 12, 1.0), mention(9, 17, 0.95)],
            ]
        }
    )
    assert aligner.sure_labels(gold, table) == {"labels": 4, "right": 0.5}
    unsure = pa.table({"mentions": [[mention(9, 17, 0.5)]]})
    assert aligner.sure_labels(gold[:1], unsure) == {"labels": 0, "right": 0.0}


def test_measure_aligner_says_what_it_needs(
    aligner: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "opus").mkdir()
    for arguments in ([], [str(tmp_path)]):
        with pytest.raises(SystemExit) as ended:
            aligner.main(arguments)
        assert ended.value.code == 2
        message = capsys.readouterr().err
        assert "make measure-aligner DATA=<folder>" in message
    assert f"There is no {tmp_path}/projection_gold/zh_pud_sent_id_map.tsv." in message
    assert f"There is no {tmp_path}/opus." not in message


def test_measure_aligner_knows_the_real_data(aligner: ModuleType, shared_data: Path) -> None:
    assert [path for path in aligner.needed_data() if not (shared_data / path).exists()] == []
    assert len(aligner.europarl(shared_data, "es")) == 799
    assert len(aligner.pud(shared_data)) == 1000
