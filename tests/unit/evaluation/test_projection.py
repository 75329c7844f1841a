from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from xner.config import QualityConfig
from xner.evaluation.projection import ProjectionReport, ceiling, evaluate
from xner.evaluation.projection_errors import KINDS, counterparts
from xner.evaluation.projection_gold import GoldPair, labelled_table
from xner.evaluation.scoring import Counts
from xner.projection.decode import Candidate
from xner.projection.quality import from_alignments, project_row, to_alignments
from xner.shards.schema import PROJECTED_MENTION, PSEUDO
from xner.text.iob2 import tags_of
from xner.text.mentions import Mention
from xner.text.words import segment

LABELS = ["LOC", "ORG", "PER"]


def marked(text: str) -> tuple[str, tuple[Mention, ...]]:
    """The text without its marks, and the mentions that ``[Bonn/LOC]`` marks in it."""
    plain, mentions = "", []
    for piece in text.replace("]", "[").split("["):
        name, slash, label = piece.partition("/")
        if slash:
            mentions.append(Mention(len(plain), len(plain) + len(name), label))
        plain += name
    return plain, tuple(mentions)


def gold_pair(source: str, target: str, pair_id: str = "1") -> GoldPair:
    (source, source_mentions), (target, target_mentions) = marked(source), marked(target)
    return GoldPair(pair_id, "en", "de", source, target, source_mentions, target_mentions)


Found = Sequence[Sequence[tuple[str, float]]]


def projected(gold: Sequence[GoldPair], found: Sequence[Found], quality: QualityConfig) -> pa.Table:
    """The table that the main job makes of candidates given as words of the target and scores."""
    rows = []
    for pair, row, of_mentions in zip(gold, labelled_table(gold).to_pylist(), found, strict=True):
        alignments = to_alignments(
            [
                [
                    Candidate(pair.target.index(text), pair.target.index(text) + len(text), s, "x")
                    for text, s in candidates
                ]
                for candidates in of_mentions
            ]
        )
        mentions = [Mention(**mention) for mention in row["source_mentions"]]
        made = project_row(
            pair.pair_id,
            pair.source,
            pair.target,
            segment(pair.target),
            mentions,
            from_alignments(alignments, len(mentions)),
            quality,
        )
        rows.append(
            {
                **row,
                "alignments": alignments,
                "mentions": [
                    {name: getattr(m, name) for name in PROJECTED_MENTION.names}
                    for m in made.mentions
                ],
                "tokens": made.tokens,
                "ner_tags": [tags_of(LABELS).index(tag) for tag in made.ner_tags],
                "weight": made.weight,
                "status": made.status,
                "reason": made.reason,
            }
        )
    return pa.Table.from_pylist(rows, schema=PSEUDO)


def report(
    gold: Sequence[GoldPair],
    found: Sequence[Found],
    quality: QualityConfig | None = None,
    **more: Any,
) -> ProjectionReport:
    quality = quality or QualityConfig()
    return evaluate(gold, projected(gold, found, quality), quality, **more)


# Each pair holds one thing that can happen to a mention, except the last two.
CASES: dict[str, tuple[str, str, Found]] = {
    "right": ("[Tom/PER] slept .", "[Tom/PER] schlief .", [[("Tom", 1.0)]]),
    "wrong_type": ("[Bonn/ORG] says", "[Bonn/LOC] sagt", [[("Bonn", 0.9)]]),
    "too_long": ("the [Rhine/LOC] is", "[Rhein/LOC] ist , der", [[("Rhein ist", 0.8)]]),
    "too_short": ("in [New York/LOC]", "in [New York/LOC]", [[("York", 0.7)]]),
    "shifted": ("[Bad Ems/LOC] is", "[Bad Ems/LOC] ist", [[("Ems ist", 0.6)]]),
    "wrong_place": ("[Spain/LOC] won .", "es gewann [Spanien/LOC] .", [[("gewann", 0.95)]]),
    "spurious": ("[Rome/LOC] falls", "die Stadt", [[("Stadt", 0.55)]]),
    "no_candidate": ("[Peru/LOC] won", "[Peru/LOC] siegte", [[]]),
    "below_threshold": ("[Cuba/LOC] won", "[Kuba/LOC] siegte", [[("Kuba", 0.4)]]),
    "contested": (
        "[EU/ORG] and [Ann/PER]",
        "[EU/ORG] und [Ann/PER]",
        [[("EU", 1.0)], [("EU", 0.9), ("Ann", 0.2)]],
    ),
    "no_source": ("he left", "[Max/PER] ging", []),
}
GOLD = [gold_pair(source, target, name) for name, (source, target, _) in CASES.items()]
FOUND = [found for *_, found in CASES.values()]


def test_evaluate_imports_neither_ray_nor_torch() -> None:
    code = "import sys, xner.evaluation.projection; print({'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_evaluate_scores_spans_and_types() -> None:
    found = report(GOLD, FOUND)
    assert (found.num_pairs, found.num_source_mentions, found.num_gold_mentions) == (11, 11, 11)
    assert found.typed.overall == Counts(2, 6, 9)
    assert found.untyped.overall == Counts(3, 5, 8)
    assert found.typed.labels == {
        "LOC": Counts(0, 5, 7),
        "ORG": Counts(1, 1, 0),
        "PER": Counts(1, 0, 2),
    }
    assert found.counts.sum(axis=0).tolist() == [2, 6, 9]
    interval = found.typed_intervals["f1"]
    assert interval.low < found.typed.overall.f1 < interval.high


def test_evaluate_gives_every_error_one_kind() -> None:
    errors = report(GOLD, FOUND).errors
    assert {kind: (e.false_positives, e.false_negatives) for kind, e in errors.items()} == {
        **{kind: (1, 1) for kind in KINDS if kind in CASES},
        "spurious": (1, 0),
        **{kind: (0, 1) for kind in ("no_candidate", "below_threshold", "contested", "no_source")},
    }
    assert list(errors) == list(KINDS)
    for kind, group in errors.items():
        assert [example.pair_id for example in group.examples] == [kind]


def test_evaluate_examples_say_what_happened() -> None:
    errors = report(GOLD, FOUND).errors
    told = {
        kind: (e.name, e.label, e.gold, e.gold_label, e.predicted, e.score and round(e.score, 4))
        for kind, (e,) in ((kind, group.examples) for kind, group in errors.items())
    }
    assert told == {
        "wrong_type": ("Bonn", "ORG", "Bonn", "LOC", "Bonn", 0.9),
        "too_long": ("Rhine", "LOC", "Rhein", "LOC", "Rhein ist", 0.8),
        "too_short": ("New York", "LOC", "New York", "LOC", "York", 0.7),
        "shifted": ("Bad Ems", "LOC", "Bad Ems", "LOC", "Ems ist", 0.6),
        "wrong_place": ("Spain", "LOC", "Spanien", "LOC", "gewann", 0.95),
        "spurious": ("Rome", "LOC", None, None, "Stadt", 0.55),
        "no_candidate": ("Peru", "LOC", "Peru", "LOC", None, None),
        "below_threshold": ("Cuba", "LOC", "Kuba", "LOC", None, 0.4),
        "contested": ("Ann", "PER", "Ann", "PER", None, 0.9),
        "no_source": (None, None, "Max", "PER", None, None),
    }
    assert errors["shifted"].examples[0].target == "Bad Ems ist"
    two = report(GOLD * 3, FOUND * 3, num_examples=2).errors["spurious"]
    assert (two.false_positives, len(two.examples)) == (3, 2)


def test_evaluate_counts_the_words_at_wrong_borders() -> None:
    found = report(GOLD, FOUND)
    assert found.added_words == {"ist": 2}
    assert found.lost_words == {"new": 1, "bad": 1}


def test_evaluate_groups_by_length_and_rendering() -> None:
    found = report(GOLD, FOUND)
    # The mention of another type has no counterpart, nor has its gold one.
    assert found.by_length == {
        "1": Counts(2, 4, 5),
        "2": Counts(0, 2, 2),
        "no counterpart": Counts(0, 0, 2),
    }
    assert found.by_rendering == {
        "copied": Counts(2, 2, 4),
        "nearly copied": Counts(0, 2, 2),
        "translated": Counts(0, 0, 1),
        "no counterpart": Counts(0, 2, 2),
    }
    for groups in (found.by_length, found.by_rendering):
        assert sum(groups.values(), Counts()) == found.typed.overall


def test_evaluate_calibrates_by_both_scores() -> None:
    gold = [gold_pair("[Tom/PER] and [Bonn/ORG]", "[Tom/PER] und [Bonn/LOC]")]
    table = projected(gold, [[[("Tom", 0.9)], [("Bonn", 0.8)]]], QualityConfig())
    rows = table.to_pylist()
    rows[0]["mentions"][0]["score"] = 0.5
    found = evaluate(gold, pa.Table.from_pylist(rows, schema=PSEUDO)).calibration
    assert [(b.num_labels, b.right, b.right_untyped) for b in (found.bins[4], found.bins[8])] == [
        (1, 1.0, 1.0),
        (1, 0.0, 1.0),
    ]
    assert found.bins[4].mean_score == pytest.approx(0.45)


def test_evaluate_scores_the_accepted_pairs_by_themselves() -> None:
    found = report(GOLD, FOUND)
    accepted = {
        "right",
        "wrong_type",
        "too_long",
        "too_short",
        "shifted",
        "wrong_place",
        "spurious",
    }
    kept = found.num_accepted
    # Whether the pair without a source mention is kept depends on its id.
    assert kept in (len(accepted), len(accepted) + 1)
    assert found.accepted.overall == Counts(1, 6, 5 + kept - len(accepted))


def test_evaluate_projects_only_the_types_asked_for() -> None:
    gold = [gold_pair("[Tom/PER] in [Rome/LOC]", "[Tom/PER] in Rom")]
    found: list[Found] = [[[("Tom", 1.0)], [("Rom", 1.0)]]]
    assert report(gold, found).typed.overall == Counts(1, 1, 0)
    some = report(gold, found, QualityConfig(labels=["PER"]))
    assert some.typed.overall == Counts(1, 0, 0)
    assert some.num_source_mentions == 1
    assert some.ceiling_given.overall == Counts(1, 0, 0)
    assert some.source.overall == Counts(1, 0, 1)


def test_evaluate_refuses_rows_of_other_pairs() -> None:
    table = projected(GOLD, FOUND, QualityConfig())
    with pytest.raises(ValueError, match="11 rows for 10 gold pairs"):
        evaluate(GOLD[1:], table)
    with pytest.raises(ValueError, match="row 0 is not the gold pair no_source"):
        evaluate(GOLD[::-1], table)


def test_evaluate_is_right_about_gold_without_a_mention() -> None:
    gold = [gold_pair("he left", "er ging")]
    found = report(gold, [[]])
    assert found.typed.overall == found.ceiling.overall == Counts()
    assert (found.errors, found.by_length, found.by_rendering) == ({}, {}, {})


def test_report_to_dict_is_plain_json() -> None:
    values = json.loads(json.dumps(report(GOLD, FOUND).to_dict(), allow_nan=False))
    assert values["typed"]["true_positives"] == 2
    assert set(values["typed"]["intervals"]["f1"]) == {"low", "high"}
    assert values["errors"]["too_long"]["examples"][0]["gold"] == "Rhein"
    assert values["ceiling"]["labels"]["PER"]["false_negatives"] == 1


def test_ceiling_counts_what_both_sides_have() -> None:
    pair = gold_pair(
        "[Tom/PER] , [Ann/PER] in [Rome/LOC]", "[Tom/PER] in [Rom/LOC] und [Bonn/LOC] , [EU/ORG]"
    )
    sides = [pair.source_mentions], [pair.target_mentions]
    found = ceiling(*sides)
    assert found.overall == Counts(2, 1, 2)
    assert found.labels == {
        "LOC": Counts(1, 0, 1),
        "ORG": Counts(0, 0, 1),
        "PER": Counts(1, 1, 0),
    }
    untyped = ceiling(*sides, typed=False)
    assert (untyped.overall, untyped.labels) == (Counts(3, 0, 1), {})


def test_counterparts_are_similar_names_first_then_similar_places() -> None:
    pair = gold_pair(
        "[Tom/PER] and [Rome/LOC] and [Bonn/LOC] and [Peking/LOC]",
        "[Tom/ORG] sah [Bonn/LOC] , [X/LOC] und [Y/LOC] und [Rom/LOC]",
    )
    # Peking stands late in the source, and so does Y among what is left.
    assert counterparts(pair, dict(enumerate(pair.source_mentions))) == {1: 4, 2: 1, 3: 3}
