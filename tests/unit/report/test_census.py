from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from xner.config import QualityConfig
from xner.projection.decode import Candidate
from xner.report.census import NUM_BINS, Census
from xner.shards.schema import PSEUDO
from xner.shards.statistics import Statistics
from xner.text.mentions import Mention

ANNA, BONN = Mention(0, 4, "PER", 0.75), Mention(16, 20, "LOC", 1.0)
TO_ANNA, TO_BONN = Candidate(0, 4, 0.5, "copy"), Candidate(17, 21, 0.25, "copy")


@pytest.fixture(scope="module")
def table(pseudo_row: Callable[..., dict[str, Any]]) -> pa.Table:
    rows = [
        pseudo_row("a", [ANNA], [[TO_ANNA]]),
        pseudo_row("b", [ANNA, BONN], [[TO_ANNA], [TO_BONN]], target_lang="nl"),
        pseudo_row("c", [BONN], [[]], corpus="Talks"),
        pseudo_row("d", [ANNA], [[TO_ANNA]], target=""),
    ]
    return pa.Table.from_pylist(rows, schema=PSEUDO)


def test_census_counts_rows_labels_and_scores(table: pa.Table) -> None:
    census = Census.of(table, QualityConfig())
    german = ("en", "de", "News", "ok", None)
    dutch = ("en", "nl", "News", "filtered", "low_alignment_score")
    assert census.rows == {
        german: 1,
        dutch: 1,
        ("en", "de", "Talks", "filtered", "unplaced_mention"): 1,
        ("en", "de", "News", "error", "no_text"): 1,
    }
    assert census.labels == {(german, "PER"): 1, (dutch, "PER"): 1}
    assert census.found[dutch, "LOC"] == census.found[german, "PER"] == 1
    assert (census.num_rows, census.num_ok, census.num_labels) == (4, 1, 1)
    assert census.refused()["error", "no_text"] == 1 and census.refused().total() == 3
    assert census.scores["alignment"].sum(axis=1).tolist() == [1, 1]
    assert census.scores["teacher"][:, NUM_BINS - 1].tolist() == [0, 2]
    assert census.statistics == Statistics.of(table)


def test_census_of_parts_adds_up(table: pa.Table) -> None:
    whole = Census.of(table, QualityConfig())
    total = sum((Census.of(table[i : i + 1], QualityConfig()) for i in range(4)), start=Census())
    assert total.rows == whole.rows and total.labels == whole.labels
    assert (total.scores["teacher"] == whole.scores["teacher"]).all()
    assert total.thresholds is not None and whole.thresholds is not None
    assert total.thresholds.outcome(QualityConfig()) == whole.thresholds.outcome(QualityConfig())


def test_census_at_the_own_thresholds_is_what_the_shards_say(table: pa.Table) -> None:
    census = Census.of(table, QualityConfig())
    assert census.thresholds is not None
    outcome = census.thresholds.outcome(QualityConfig())
    assert outcome.rows["ok"] == census.num_ok
    assert sum(outcome.labels.values()) == census.num_labels


def test_census_knows_mentions_of_a_student_alone(pseudo_row: Callable[..., Any]) -> None:
    found = {"start": 0, "end": 4, "label": "PER", "score": 0.5}
    alone = {**found, "alignment_score": None, "source_index": None}
    table = pa.Table.from_pylist([{**pseudo_row("a"), "mentions": [alone]}], schema=PSEUDO)
    census = Census.of(table, None)
    assert census.scores["alignment"].sum() == 0 and census.labels.total() == 1
    assert census.thresholds is None
