from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from xner.config import TaggedSourceConfig
from xner.corpora.tagged import read_tagged
from xner.evaluation.scoring import Counts, Scores, score_mentions, score_tags
from xner.text.iob2 import decode, repair
from xner.text.mentions import Mention
from xner.text.words import join

COUNTS = st.builds(Counts, *[st.integers(0, 99)] * 3)
TAGS = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def assert_equal_to_seqeval(
    scores: Scores, gold: list[list[str]], predicted: list[list[str]]
) -> None:
    report = classification_report(
        gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    assert scores.labels.keys() == {name for name in report if not name.endswith(" avg")}
    for name, counts in [("micro avg", scores.overall), *scores.labels.items()]:
        expected = report[name]
        assert counts.precision == pytest.approx(expected["precision"], abs=1e-12)
        assert counts.recall == pytest.approx(expected["recall"], abs=1e-12)
        assert counts.f1 == pytest.approx(expected["f1-score"], abs=1e-12)
        assert counts.true_positives + counts.false_negatives == expected["support"]


def noisy(tags: list[str], generator: random.Random) -> list[str]:
    return [generator.choice(TAGS) if generator.random() < 0.3 else tag for tag in tags]


@pytest.mark.parametrize("repaired", [True, False])
def test_score_tags_equals_seqeval_on_random_sequences(repaired: bool) -> None:
    generator = random.Random(2)
    gold = [repair(generator.choices(TAGS, k=generator.randint(1, 20))) for _ in range(1000)]
    predicted = [noisy(tags, generator) for tags in gold]
    assert predicted != [repair(tags) for tags in predicted]
    if repaired:
        predicted = [repair(tags) for tags in predicted]
    scores = score_tags(gold, predicted)
    assert 0.1 < scores.overall.f1 < 0.9
    assert_equal_to_seqeval(scores, gold, predicted)


def test_score_tags_equals_seqeval_on_real_text(shared_data: Path) -> None:
    path = shared_data / "projection_gold/de-europarl.test.conll02"
    sentences = read_tagged(TaggedSourceConfig(path=str(path), lang="de"))
    gold = [list(sentence.tags) for sentence in sentences]
    generator = random.Random(3)
    predicted = [repair(noisy(tags, generator)) for tags in gold]
    scores = score_tags(gold, predicted)
    assert scores.overall.true_positives + scores.overall.false_negatives == 693
    assert_equal_to_seqeval(scores, gold, predicted)
    assert score_tags(gold, gold).overall == Counts(693, 0, 0)


def test_score_tags_agrees_with_score_mentions() -> None:
    generator = random.Random(4)
    gold = [repair(generator.choices(TAGS, k=9)) for _ in range(50)]
    predicted = [repair(noisy(tags, generator)) for tags in gold]
    _, words = join(["word"] * 9, "en")
    mentions = score_mentions(
        [decode(tags, words) for tags in gold], [decode(tags, words) for tags in predicted]
    )
    assert mentions == score_tags(gold, predicted)


def test_score_tags_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="2 gold sentences but 1 predicted"):
        score_tags([["O"], ["O"]], [["O"]])
    with pytest.raises(ValueError, match="sentence 1 has 2 gold tags but 1 predicted"):
        score_tags([["O"], ["O", "O"]], [["O"], ["O"]])


def test_score_mentions_counts_span_and_type() -> None:
    gold = [[Mention(0, 3, "PER"), Mention(5, 9, "LOC")], []]
    predicted = [[Mention(0, 3, "PER", 0.4), Mention(5, 9, "ORG")], [Mention(0, 3, "PER")]]
    scores = score_mentions(gold, predicted)
    assert scores.overall == Counts(1, 2, 1)
    assert scores.labels == {
        "LOC": Counts(0, 0, 1),
        "ORG": Counts(0, 1, 0),
        "PER": Counts(1, 1, 0),
    }
    assert score_mentions(gold, predicted, typed=False) == Scores(Counts(2, 1, 0))
    with pytest.raises(ValueError, match="1 gold sentences but 2 predicted"):
        score_mentions([[]], predicted)


def test_counts_have_the_known_rates() -> None:
    counts = Counts(3, 1, 2)
    assert (counts.precision, counts.recall) == (0.75, 0.6)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert (Counts().precision, Counts().recall, Counts().f1) == (0.0, 0.0, 0.0)


def test_scores_of_parts_add_to_the_scores_of_the_whole() -> None:
    generator = random.Random(5)
    gold = [repair(generator.choices(TAGS, k=9)) for _ in range(60)]
    predicted = [noisy(tags, generator) for tags in gold]
    parts = [score_tags(gold[i : i + 7], predicted[i : i + 7]) for i in range(0, 60, 7)]
    assert sum(parts, Scores()) == score_tags(gold, predicted)


@given(COUNTS, COUNTS, COUNTS)
def test_scores_addition_is_associative_and_has_a_zero(a: Counts, b: Counts, c: Counts) -> None:
    first, second, third = (
        Scores(counts, {label: counts})
        for counts, label in zip((a, b, c), ("PER", "LOC", "PER"), strict=True)
    )
    assert (first + second) + third == first + (second + third)
    assert first + Scores() == first


def test_scores_to_dict_is_plain_json() -> None:
    scores = score_tags([["B-PER", "O"]], [["B-PER", "B-LOC"]])
    values = json.loads(json.dumps(scores.to_dict()))
    assert values["f1"] == pytest.approx(2 / 3)
    assert values["labels"]["LOC"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "true_positives": 0,
        "false_positives": 1,
        "false_negatives": 0,
    }
