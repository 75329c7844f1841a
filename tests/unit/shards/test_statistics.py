from __future__ import annotations

import json

import pyarrow as pa
import pytest

from xner.shards.schema import PSEUDO
from xner.shards.statistics import Statistics


def _row(status: str, reason: str | None, labels: list[str]) -> dict:
    mentions = [
        {"start": 0, "end": 1, "label": x, "score": 1.0, "alignment_score": 1.0, "source_index": 0}
        for x in labels
    ]
    texts = dict.fromkeys(
        ("pair_id", "corpus", "source_lang", "target_lang", "source", "target"), "x"
    )
    return {**texts, "mentions": mentions, "status": status, "reason": reason}


ROWS = [
    _row("ok", None, ["PER", "LOC"]),
    _row("ok", None, []),
    _row("filtered", "unplaced_mention", ["ORG"]),
    _row("error", "no_text", []),
    _row("ok", None, ["PER"]),
]


def _statistics(rows: list[dict]) -> Statistics:
    return Statistics.of(pa.Table.from_pylist(rows, schema=PSEUDO))


def test_statistics_of_a_table_counts_only_accepted_mentions():
    found = _statistics(ROWS)
    assert found.rows == 5
    assert found.status == {"error": 1, "filtered": 1, "ok": 3}
    assert found.reasons == {"no_text": 1, "unplaced_mention": 1}
    assert found.mentions == {"LOC": 1, "PER": 2}
    assert (found.num_mentions, found.num_refused) == (3, 2)


def test_statistics_of_an_empty_table_are_the_neutral_element():
    assert _statistics([]) == Statistics()


@pytest.mark.parametrize("cut", range(len(ROWS) + 1))
def test_statistics_of_parts_add_up_to_those_of_the_whole(cut: int):
    parts = [_statistics(ROWS[:cut]), _statistics(ROWS[cut:])]
    assert Statistics.total(parts) == _statistics(ROWS)


def test_statistics_survive_json():
    found = _statistics(ROWS)
    assert Statistics.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_statistics_refuse_unknown_keys():
    with pytest.raises(ValueError, match="expected"):
        Statistics.from_dict({"rows": 1})
