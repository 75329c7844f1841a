from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from xner.config import BootstrapConfig, GoldConfig
from xner.corpora.tagged import LABEL_MAPS, read_tagged
from xner.evaluation.bootstrap import intervals
from xner.evaluation.scoring import Counts, Scores
from xner.evaluation.tagging import comparable, evaluate
from xner.text.iob2 import repair

FEW = BootstrapConfig(samples=20)
TAGS = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]

_UNER = {"token_column": 1, "tag_column": 2}
_GERMEVAL = {**_UNER, "label_map": LABEL_MAPS["germeval"]}
REAL = {
    "projection_gold/de-europarl.test.conll02": ({"lang": "de"}, 693),
    "projection_gold/es-europarl.test.conll02": ({"lang": "es"}, 697),
    "projection_gold/en-europarl.test.conll02": ({"lang": "en"}, 702),
    "ner/de/test.tsv": ({"lang": "de", **_GERMEVAL}, 5192),
    "ner/zh/zh_gsdsimp-ud-test.iob2": ({"lang": "zh", **_UNER}, 763),
    "ner/en/en_ewt-ud-test.iob2": ({"lang": "en", **_UNER}, 1088),
}

Tags = Sequence[Sequence[str]]


def conlleval(gold: Tags, predicted: Tags) -> dict[str, Counts]:
    """Counts by type as the script of CoNLL-2000 makes them: in one pass over the words.

    It holds both sides' chunks open at once: one is right when both sides open it at the same word
    with the same type, and close it at the same word.
    """
    right, wanted, found = Counter[str](), Counter[str](), Counter[str]()
    for tags, others in zip(gold, predicted, strict=True):
        last, other_last = "O", "O"
        both = ""
        for tag, other in zip([*tags, "O"], [*others, "O"], strict=True):
            ends, other_ends = closes(last, tag), closes(other_last, other)
            if both and (ends or other_ends):
                right[both] += ends and other_ends
                both = ""
            starts, other_starts = opens(last, tag), opens(other_last, other)
            wanted[tag[2:]] += starts
            found[other[2:]] += other_starts
            if starts and other_starts and tag[2:] == other[2:]:
                both = tag[2:]
            last, other_last = tag, other
    return {
        label: Counts(right[label], found[label] - right[label], wanted[label] - right[label])
        for label in sorted({*+wanted, *+found})
    }


def opens(last: str, tag: str) -> bool:
    return tag[0] == "B" or (tag[0] == "I" and (last == "O" or last[2:] != tag[2:]))


def closes(last: str, tag: str) -> bool:
    return last != "O" and (tag[0] in "BO" or tag[2:] != last[2:])


def seqeval(gold: Tags, predicted: Tags, **mode: Any) -> dict[str, dict[str, float]]:
    sides = ([list(tags) for tags in side] for side in (gold, predicted))
    return classification_report(*sides, output_dict=True, zero_division=0, **mode)


def assert_equal_to_seqeval(scores: Scores, expected: dict[str, dict[str, float]]) -> None:
    rows = {"micro avg": scores.overall, **scores.labels}
    assert rows.keys() == expected.keys() - {"macro avg", "weighted avg"}
    for name, counts in rows.items():
        rates = [counts.precision, counts.recall, counts.f1, counts.num_gold]
        assert rates == pytest.approx(list(expected[name].values()), abs=1e-12)
    assert scores.macro_f1 == pytest.approx(expected["macro avg"]["f1-score"], abs=1e-12)


def assert_equal_to_both(gold: Tags, predicted: Tags) -> None:
    report = evaluate(gold, predicted, FEW)
    strict, lenient = report.strict.scores, report.lenient.scores
    assert_equal_to_seqeval(strict, seqeval(gold, predicted, mode="strict", scheme=IOB2))
    assert lenient.labels == conlleval(gold, predicted)
    # seqeval's own default mode is a port of conlleval.
    assert_equal_to_seqeval(lenient, seqeval(gold, predicted))
    assert lenient.overall.true_positives > strict.overall.true_positives > 0
    assert report.num_invalid > 0


def disturbed(gold: Tags, share: float, generator: random.Random) -> list[list[str]]:
    """The gold with some tags replaced by others, whether they fit or not."""
    tags = sorted({tag for each in gold for tag in each})
    return [
        [generator.choice(tags) if generator.random() < share else tag for tag in each]
        for each in gold
    ]


def test_evaluate_equals_seqeval_and_conlleval_on_random_tags() -> None:
    generator = random.Random(7)
    drawn = [generator.choices(TAGS, k=generator.randint(1, 20)) for _ in range(1000)]
    gold = [repair(tags) for tags in drawn]
    assert_equal_to_both(gold, disturbed(gold, 0.3, generator))
    # Tags that have nothing to do with the gold, its own invalid ones, and types it does not know.
    others = [generator.choices([*TAGS, "B-MISC", "I-MISC"], k=len(tags)) for tags in gold]
    assert_equal_to_both(gold, others)
    assert evaluate(drawn, others, FEW).lenient.scores.labels == conlleval(drawn, others)


@pytest.mark.parametrize("name", REAL)
def test_evaluate_equals_seqeval_and_conlleval_on_real_gold(shared_data: Path, name: str) -> None:
    settings, num_entities = REAL[name]
    config = GoldConfig(name="gold", path=str(shared_data / name), **settings)
    gold = [sentence.tags for sentence in read_tagged(config)]
    whole = evaluate(gold, gold, FEW)
    assert whole.strict.scores.overall == Counts(num_entities, 0, 0)
    assert whole.lenient.scores == whole.strict.scores
    assert_equal_to_both(gold, disturbed(gold, 0.1, random.Random(8)))


def test_conlleval_by_hand() -> None:
    # An I- after O or after another type begins an entity; one after its own type never does.
    gold = [["B-PER", "I-PER", "O", "B-LOC", "B-LOC"], ["B-LOC"]]
    predicted = [["I-PER", "I-PER", "O", "I-LOC", "I-LOC"], ["I-PER"]]
    expected = {"LOC": Counts(0, 1, 3), "PER": Counts(1, 1, 0)}
    assert conlleval(gold, predicted) == expected
    report = evaluate(gold, predicted, FEW)
    assert report.lenient.scores.labels == expected
    assert report.strict.scores.overall == Counts(0, 0, 4)
    assert (report.num_sentences, report.num_words, report.num_entities) == (2, 6, 4)
    assert report.num_invalid == 3


def test_evaluate_report_has_intervals_of_the_same_counts() -> None:
    generator = random.Random(9)
    gold = [repair(generator.choices(TAGS, k=9)) for _ in range(80)]
    report = evaluate(gold, disturbed(gold, 0.3, generator), FEW)
    for each in (report.strict, report.lenient):
        overall = each.scores.overall
        assert each.counts.shape == (80, 3)
        assert each.counts.sum(axis=0).tolist() == [
            overall.true_positives,
            overall.false_positives,
            overall.false_negatives,
        ]
        assert each.intervals == intervals(each.counts, FEW)
        assert each.intervals["f1"].low < overall.f1 < each.intervals["f1"].high
    values = json.loads(json.dumps(report.to_dict()))
    assert values["strict"]["f1"] == report.strict.scores.overall.f1
    assert values["lenient"]["intervals"]["f1"]["low"] == report.lenient.intervals["f1"].low
    assert "counts" not in values["strict"]


def test_evaluate_tells_of_types_that_the_gold_does_not_have() -> None:
    report = evaluate([["B-PER", "O", "O"]], [["B-PER", "B-MISC", "I-LOC"]], FEW)
    assert report.labels_not_in_gold == {"LOC": 1, "MISC": 1}
    assert report.to_dict()["labels_not_in_gold"] == {"LOC": 1, "MISC": 1}
    assert report.lenient.scores.overall == Counts(1, 2, 0)


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        ([["O"], ["O"]], [["O"]], "2 gold sentences but 1 predicted"),
        ([["O", "O"]], [["O"]], "sentence 0 has 2 gold tags but 1 predicted"),
        ([], [], "no sentences"),
        ([["O", "O"]], [["O", "S-PER"]], "'S-PER' is not a tag; expected O, B-TYPE, I-TYPE"),
        ([["O", "B-"]], [["O", "O"]], "'B-' is not a tag"),
    ],
)
def test_evaluate_refuses_what_cannot_be_compared(
    gold: Tags, predicted: Tags, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(gold, predicted, FEW)


def test_comparable_writes_the_types_as_the_gold_does() -> None:
    predicted = [["B-person", "I-person", "O", "I-date"], [], ["B-misc"]]
    label_map = {"person": "PER", "date": "O", "misc": "MISC"}
    assert comparable(predicted, label_map) == [["B-PER", "I-PER", "O", "O"], [], ["B-MISC"]]
    assert comparable(predicted, label_map, ["MISC"])[2] == ["O"]
    assert comparable(predicted, {}) == predicted
    assert comparable(predicted, {}, ["date"]) == [
        ["B-person", "I-person", "O", "O"],
        [],
        ["B-misc"],
    ]
    with pytest.raises(ValueError, match="'date' is not a tag"):
        comparable([["date"]], {})
