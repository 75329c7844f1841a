from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from xner.config import QualityConfig
from xner.projection.decode import Candidate, candidates
from xner.projection.quality import (
    REASONS,
    ProjectedMention,
    Projection,
    from_alignments,
    project_row,
    share_of,
    to_alignments,
)
from xner.shards.schema import ALIGNMENT, STATUSES
from xner.text.mentions import Mention
from xner.text.words import segment

SOURCE = "Angela Merkel said in Bonn"
TARGET = "In Bonn sprach Angela Merkel ."
WORDS = [(0, 2), (3, 7), (8, 14), (15, 21), (22, 28), (29, 30)]
MERKEL = Mention(0, 13, "PER", 0.75)
BONN = Mention(22, 26, "LOC", 1.0)
TO_MERKEL = Candidate(15, 28, 0.5, "aligner")
TO_BONN = Candidate(3, 7, 1.0, "copy")


def _project(
    mentions: list[Mention], offered: list[list[Candidate]], **rules: object
) -> Projection:
    return project_row("pair", SOURCE, TARGET, WORDS, mentions, offered, QualityConfig(**rules))


def _status(pair_id: str, rules: QualityConfig) -> str:
    """Of a row without mentions."""
    return project_row(pair_id, SOURCE, TARGET, WORDS, [], [], rules).status


def test_project_row_labels_the_target():
    assert _project([MERKEL, BONN], [[TO_MERKEL], [TO_BONN]]) == Projection(
        mentions=(
            ProjectedMention(3, 7, "LOC", 1.0, 1.0, 1),
            ProjectedMention(15, 28, "PER", 0.75, 0.5, 0),
        ),
        tokens=("In", "Bonn", "sprach", "Angela", "Merkel", "."),
        ner_tags=("O", "B-LOC", "O", "B-PER", "I-PER", "O"),
        weight=(0.375 + 1.0) / 2,
        status="ok",
        reason=None,
    )


@pytest.mark.parametrize(
    ("mentions", "offered", "rules", "reason"),
    [
        ([MERKEL], [[TO_MERKEL]], {"min_teacher_score": 0.8}, "low_teacher_score"),
        ([MERKEL], [[TO_MERKEL]], {"min_teacher_score": 0.75}, None),
        ([MERKEL, BONN], [[], [TO_BONN]], {}, "unplaced_mention"),
        ([MERKEL, BONN], [[], [TO_BONN]], {"max_unplaced": 1}, None),
        ([MERKEL], [[TO_MERKEL]], {"min_alignment_score": 0.6}, "low_alignment_score"),
        ([BONN, MERKEL], [[TO_BONN], [TO_BONN]], {}, "contested_mention"),
        ([MERKEL], [[]], {"labels": ["LOC"], "keep_mention_free": 1.0}, None),
        ([MERKEL], [[]], {"labels": ["PER"], "keep_mention_free": 1.0}, "unplaced_mention"),
        ([], [], {"keep_mention_free": 0.0}, "mention_free"),
        ([], [], {"keep_mention_free": 1.0}, None),
    ],
)
def test_project_row_refuses_by_rule(mentions, offered, rules, reason):
    found = _project(mentions, offered, **rules)
    assert (found.status, found.reason) == ("filtered" if reason else "ok", reason)
    assert found.status in STATUSES and (reason is None or reason in REASONS)


def test_project_row_keeps_the_labels_of_a_refused_row():
    found = _project([MERKEL, BONN], [[], [TO_BONN]])
    assert found.status == "filtered"
    assert found.ner_tags == ("O", "B-LOC", "O", "O", "O", "O")
    assert found.weight == 0.5


@pytest.mark.parametrize(
    ("source", "labelled"),
    [
        ("Barratt spoke", ["巴拉特", "Barratt"]),
        # The source tells it twice too.
        ("Barratt (Bob) spoke", ["巴拉特（Barratt）"]),
    ],
)
def test_project_row_labels_twice_what_the_target_tells_twice(source: str, labelled: list[str]):
    target = "巴拉特（Barratt）说"
    mention = Mention(0, source.index(" spoke"), "PER", 0.5)
    offered = [[Candidate(0, 12, 0.75, "evidence")]]
    quality = QualityConfig()
    found = project_row("pair", source, target, segment(target), [mention], offered, quality)
    assert [target[m.start : m.end] for m in found.mentions] == labelled
    assert {(m.label, m.score, m.alignment_score, m.source_index) for m in found.mentions} == {
        ("PER", 0.5, 0.75, 0)
    }
    # It is one mention nevertheless.
    assert (found.status, found.weight) == ("ok", 0.375)
    assert found.ner_tags.count("B-PER") == len(labelled)


def test_project_row_projects_only_the_wanted_labels():
    found = _project([MERKEL, BONN], [[TO_MERKEL], [TO_BONN]], labels=["LOC"])
    assert found.mentions == (ProjectedMention(3, 7, "LOC", 1.0, 1.0, 1),)
    assert found.weight == 1.0


def test_project_row_of_a_mention_free_row_weighs_one():
    assert _project([], []).weight == 1.0


def test_project_row_without_words_is_an_error():
    found = project_row("pair", SOURCE, " ", [], [BONN], [[]], QualityConfig())
    assert (found.status, found.reason, found.tokens) == ("error", "no_text", ())


def test_project_row_refuses_lists_that_do_not_match():
    with pytest.raises(ValueError, match="2 mentions, 1 candidate lists"):
        _project([MERKEL, BONN], [[TO_MERKEL]])


def test_project_row_decides_the_same_from_the_stored_columns():
    scores = np.array([[0, 0, 0, 0.61, 0.93, 0], [0, 0.9, 0, 0, 0, 0], [0] * 6], np.float32)
    settings = {"threshold": 0.5, "max_gap": 1, "max_candidates": 3}
    decoded = candidates(scores, WORDS, TARGET, **settings)
    column = pa.array([to_alignments(decoded)], pa.list_(ALIGNMENT))
    stored = from_alignments(column.to_pylist()[0], 3)
    assert stored == decoded
    mentions = [MERKEL, BONN, Mention(30, 33, "ORG")]
    rules = {"min_alignment_score": decoded[0][0].score, "max_unplaced": 1}
    assert _project(mentions, stored, **rules) == _project(mentions, decoded, **rules)
    assert _project(mentions, stored, **rules).status == "ok"


def test_share_of_pairs_is_uniform():
    shares = np.sort([share_of(f"pair-{i}") for i in range(4000)])
    assert np.abs(shares - np.linspace(0, 1, 4000)).max() < 0.03


def test_mention_free_rows_are_kept_by_share_whatever_their_order():
    rules = QualityConfig(keep_mention_free=0.25)

    def kept(ids: list[str]) -> set[str]:
        return {
            i for i in ids if project_row(i, SOURCE, TARGET, WORDS, [], [], rules).status == "ok"
        }

    ids = [f"pair-{i}" for i in range(2000)]
    assert kept(ids) == kept(ids[::-1])
    assert 430 < len(kept(ids)) < 570
