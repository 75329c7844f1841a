"""The table of thresholds says what deciding every row again would say."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pytest

from xner.config import QualityConfig
from xner.projection.decode import Candidate
from xner.projection.quality import project_row, to_alignments
from xner.projection.thresholds import Outcome, Thresholds
from xner.shards.schema import ALIGNMENT, SOURCE_MENTION
from xner.text.mentions import Mention

TEXT = "w " * 12
WORDS = [(2 * word, 2 * word + 1) for word in range(12)]
OWN = QualityConfig(min_teacher_score=0.333, min_alignment_score=0.5, max_unplaced=1)

Row = tuple[str, list[Mention], list[list[Candidate]]]


def _score(draw: random.Random) -> float:
    # Thresholds themselves among them, and scores that several candidates have.
    return draw.choice([0.0, 0.25, 0.5, 0.75, 1.0, draw.randrange(4097) / 4096])


def _rows(count: int, seed: int = 0) -> list[Row]:
    """Mentions that want the same places, want nothing, and have equal candidates."""
    draw = random.Random(seed)
    rows: list[Row] = []
    for number in range(count):
        mentions, offered = [], []
        for index in range(draw.choice([0, 1, 1, 2, 3, 5])):
            mentions.append(
                Mention(4 * index, 4 * index + 3, draw.choice(["PER", "LOC"]), _score(draw))
            )
            found = {}
            for _ in range(draw.choice([0, 1, 2, 3])):
                word = draw.randrange(6)
                span = 2 * word, 2 * (word + draw.choice([1, 1, 2, 3])) - 1
                found[span] = Candidate(*span, _score(draw), "evidence")
            best_first = sorted(found.values(), key=lambda each: -each.score)
            offered.append(draw.choice(offered) if offered and draw.random() < 0.3 else best_first)
        rows.append((f"pair-{number}", mentions, offered))
    return rows


def _table(rows: list[Row], text: str = TEXT) -> pa.Table:
    mentions = [
        [{name: getattr(each, name) for name in ("start", "end", "label", "score")} for each in m]
        for _, m, _ in rows
    ]
    return pa.table(
        {
            "pair_id": [pair_id for pair_id, _, _ in rows],
            "source": pa.array([TEXT] * len(rows), pa.string()),
            "target": pa.array([text] * len(rows), pa.string()),
            "source_mentions": pa.array(mentions, pa.list_(SOURCE_MENTION)),
            "alignments": pa.array(
                [to_alignments(offered) for *_, offered in rows], pa.list_(ALIGNMENT)
            ),
            "status": ["ok"] * len(rows),
        }
    )


def _decided(rows: list[Row], quality: QualityConfig, text: str = TEXT) -> Outcome:
    """Row by row, as the main job decides."""
    reasons: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for pair_id, mentions, offered in rows:
        projection = project_row(pair_id, TEXT, text, WORDS, mentions, offered, quality)
        reasons[projection.reason or projection.status] += 1
        if projection.status == "ok":
            labels.update(mention.label for mention in projection.mentions)
    return Outcome(reasons, labels)


@pytest.mark.parametrize("labels", [None, ["LOC"]])
def test_thresholds_leave_what_deciding_again_leaves(labels: list[str] | None) -> None:
    rows = _rows(150)
    own = OWN.model_copy(update={"labels": labels})
    thresholds = Thresholds.of(_table(rows), own)
    draw = random.Random(1)
    seen: Counter[str] = Counter()
    for _ in range(40):
        changed = {
            "min_teacher_score": draw.choice([0.0, 0.25, 0.333, 0.5, 0.9, 1.0]),
            "min_alignment_score": draw.choice([0.0, 0.25, 0.26, 0.5, 0.75, 1.0]),
            "max_unplaced": draw.choice([0, 1, 2, 3]),
            "keep_mention_free": draw.choice([0.0, 0.5, 0.77, 1.0]),
        }
        expected = _decided(rows, own.model_copy(update=changed))
        found = thresholds.outcome(own.model_copy(update=changed))
        assert +Counter(found.rows) == +Counter(expected.rows), changed
        assert +Counter(found.labels) == +Counter(expected.labels), changed
        seen.update(expected.rows)
    assert set(seen) == set(found.rows)  # every reason was put to the test


def test_thresholds_count_both_labels_of_a_name_that_is_told_twice() -> None:
    text = "w ( w ) w ( w ) w w w w "
    rows = [(name, mentions[:1], offered[:1]) for name, mentions, offered in _rows(150)]
    # Two that want the same place, of which the less sure is told twice elsewhere.
    rows.append((
        "pair",
        [Mention(0, 1, "LOC", 1.0), Mention(2, 3, "PER", 0.5)],
        [
            [Candidate(0, 1, 0.75, "")],
            [Candidate(0, 1, 0.5, ""), Candidate(8, 15, 0.265625, "")],
        ],
    ))  # fmt: skip
    thresholds = Thresholds.of(_table(rows, text), OWN)
    for least in (0.0, 0.25, 0.26, 0.27, 0.5, 0.75, 1.0):
        quality = OWN.model_copy(update={"min_alignment_score": least})
        expected = _decided(rows, quality, text)
        assert +Counter(thresholds.outcome(quality).labels) == +Counter(expected.labels)
    alone = Thresholds.of(_table(rows[-1:], text), OWN)
    few = OWN.model_copy(update={"min_alignment_score": 0.25})
    assert alone.outcome(few).labels == {"LOC": 1, "PER": 2}


def test_thresholds_of_parts_add_up() -> None:
    rows = _rows(90)
    whole = Thresholds.of(_table(rows), OWN)
    parts = [Thresholds.of(_table(part), OWN) for part in (rows[:1], rows[1:40], rows[40:])]
    assert sum(parts[1:], start=parts[0]).outcome(OWN) == whole.outcome(OWN)


def test_thresholds_of_no_rows_leave_nothing() -> None:
    empty = Thresholds.of(_table([]), OWN)
    assert set(empty.outcome(OWN).rows.values()) == {0} and not empty.labels


def test_thresholds_leave_out_rows_in_error() -> None:
    rows = _rows(30)
    table = _table(rows)
    null = pa.nulls(30, pa.list_(ALIGNMENT))
    failed = table.set_column(5, "status", pa.array(["error"] * 30))
    failed = failed.set_column(4, "alignments", null)
    both = Thresholds.of(pa.concat_tables([table, failed]), OWN)
    assert both.outcome(OWN) == Thresholds.of(table, OWN).outcome(OWN)


def test_thresholds_that_are_not_on_the_grid_are_refused() -> None:
    with pytest.raises(ValueError):
        Thresholds.of(_table(_rows(3)), OWN).outcome(QualityConfig(min_teacher_score=0.123))
