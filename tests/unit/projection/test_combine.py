from __future__ import annotations

import pytest

from xner.projection.combine import REASONS, Combination, combine, is_open
from xner.projection.quality import ProjectedMention, Projection
from xner.text.mentions import Mention
from xner.text.words import segment

TEXT = "Angela Merkel besucht Paris oft"
WORDS = segment(TEXT)
MERKEL = ProjectedMention(0, 13, "PER", 0.5, 0.5, 0)


def row(*mentions: ProjectedMention, status: str = "ok", reason: str | None = None) -> Projection:
    tags = ["B-PER", "I-PER", "O", "O", "O"] if MERKEL in mentions else ["O"] * 5
    return Projection(mentions, tuple(TEXT.split()), tuple(tags), 0.25, status, reason)


def say(name: str, label: str, score: float = 0.75) -> Mention:
    start = TEXT.index(name)
    return Mention(start, start + len(name), label, score)


@pytest.mark.parametrize(
    ("how", "before", "found", "tags", "reason"),
    [
        ("agreement", row(MERKEL), [say("Angela Merkel", "PER")], "B-PER I-PER O O O", None),
        ("agreement", row(MERKEL), [say("Merkel", "PER")], "B-PER I-PER O O O", "disagrees"),
        ("agreement", row(MERKEL), [say("Angela Merkel", "ORG")], "B-PER I-PER O O O", "disagrees"),
        ("agreement", row(MERKEL), [], "B-PER I-PER O O O", "disagrees"),
        ("agreement", row(MERKEL), [say("Angela Merkel", "PER", 0.1)], "B-PER I-PER O O O", "low"),
        ("agreement", row(), [], "O O O O O", None),
        ("agreement", row(), [say("Paris", "LOC")], "O O O O O", "disagrees"),
        ("student", row(MERKEL), [say("Paris", "LOC")], "O O O B-LOC O", None),
        ("student", row(MERKEL), [say("Paris", "LOC", 0.1)], "O O O B-LOC O", "low"),
        ("student", row(MERKEL), [], "O O O O O", "disagrees"),
        ("student", row(), [], "O O O O O", None),
        ("union", row(MERKEL), [say("Paris", "LOC")], "B-PER I-PER O B-LOC O", None),
        ("union", row(MERKEL), [say("Merkel besucht", "ORG")], "B-PER I-PER O O O", None),
        ("union", row(MERKEL), [], "B-PER I-PER O O O", None),
        ("union", row(), [say("Paris", "LOC", 0.1)], "O O O B-LOC O", "low"),
    ],
)
def test_combine(
    how: Combination, before: Projection, found: list[Mention], tags: str, reason: str | None
) -> None:
    after = combine(before, found, WORDS, how, 0.5)
    assert after.ner_tags == tuple(tags.split())
    assert after.status == ("filtered" if reason else "ok")
    if reason:
        assert after.reason in REASONS
        assert reason in after.reason
    else:
        assert after.reason is None


@pytest.mark.parametrize(
    ("reason", "found", "status", "why"),
    [
        ("unplaced_mention", [say("Paris", "LOC")], "ok", None),
        ("unplaced_mention", [], "filtered", "student_disagrees"),
        ("mention_free", [say("Paris", "LOC")], "ok", None),
        ("mention_free", [], "filtered", "mention_free"),
    ],
)
def test_combine_student_decides_again_on_refused_rows(
    reason: str, found: list[Mention], status: str, why: str | None
) -> None:
    before = row(status="filtered", reason=reason)
    after = combine(before, found, WORDS, "student", 0.5)
    assert (after.status, after.reason) == (status, why)


def test_combine_keeps_the_provenance_of_what_both_find() -> None:
    found = [say("Angela Merkel", "PER", 0.9), say("Paris", "LOC", 0.75)]
    for how in ("student", "union"):
        after = combine(row(MERKEL), found, WORDS, how, 0.5)
        assert after.mentions == (MERKEL, ProjectedMention(22, 27, "LOC", 0.75, None, None))
        assert after.weight == pytest.approx((0.5 * 0.5 + 0.75) / 2)


def test_combine_asks_about_refused_rows_only_where_the_student_decides() -> None:
    assert [is_open("filtered", how) for how in ("agreement", "student", "union")] == [
        False,
        True,
        False,
    ]
    assert not is_open("error", "student")
    assert is_open("ok", "agreement")
