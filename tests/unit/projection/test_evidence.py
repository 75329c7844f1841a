"""Candidate spans, what speaks for each, and their probabilities."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xner.config import EvidenceConfig
from xner.projection.decode import brackets
from xner.projection.evidence import (
    EVIDENCE,
    WITNESSES,
    Weighed,
    collect,
    weigh,
)
from xner.projection.quality import from_alignments, to_alignments
from xner.shards.schema import ALIGNMENT
from xner.shards.schema import EVIDENCE as EVIDENCE_STRUCT
from xner.text.chinese import whole_words
from xner.text.pairs import SentencePair
from xner.text.words import segment, words_in

SOURCE = "The Member States adopted it"


def pair_of(source: str, target: str, target_lang: str | None = None) -> SentencePair:
    words = segment(target)
    return SentencePair(
        source, segment(source), target, words, whole_words(target, words, target_lang)
    )


def span_of(text: str, part: str) -> tuple[int, int]:
    start = text.index(part)
    return start, start + len(part)


def links_of(pair: SentencePair, *linked: tuple[str, str, float]) -> np.ndarray:
    """Links between the words of parts of either side."""
    links = np.zeros((len(pair.source_words), len(pair.target_words)), np.float32)
    for source, target, value in linked:
        rows = words_in(*span_of(pair.source, source), pair.source_words)
        columns = words_in(*span_of(pair.target, target), pair.target_words)
        links[rows.start : rows.stop, columns.start : columns.stop] = value
    return links


def best_of(
    pair: SentencePair,
    name: str,
    links: np.ndarray,
    probabilities: np.ndarray | None = None,
    config: EvidenceConfig | None = None,
) -> tuple[str | None, float]:
    """The text of the best candidate and its probability."""
    rows = None if probabilities is None else probabilities[None]
    (evidence,) = collect(pair, [span_of(pair.source, name)], links, rows)
    ((weighed,),) = weigh([[evidence]], config or EvidenceConfig())
    found = weighed.best(1)
    return (pair.target[found[0].start : found[0].end], found[0].score) if found else (None, 0.0)


def test_evidence_takes_the_linked_words() -> None:
    pair = pair_of("They saw Munich and Vienna", "Sie sahen München und Wien")
    links = links_of(pair, ("Munich", "München", 0.9), ("Vienna", "Wien", 0.9))
    text, score = best_of(pair, "Vienna", links)
    assert text == "Wien"
    assert score > 0.9


def test_evidence_bridges_words_that_nothing_links() -> None:
    pair = pair_of("the Bank of England said", "sagte die Bank von England")
    links = links_of(pair, ("Bank", "Bank", 0.9), ("England", "England", 0.9), ("the", "die", 0.9))
    assert best_of(pair, "Bank of England", links)[0] == "Bank von England"


def test_evidence_of_words_linked_elsewhere_shortens_a_span() -> None:
    pair = pair_of(SOURCE, "Die Mitgliedstaaten billigten es")
    name = ("Member States", "Mitgliedstaaten", 0.8)
    stray = ("States", "billigten", 0.2)
    alone = best_of(pair, "Member States", links_of(pair, name, stray))
    told = best_of(
        pair, "Member States", links_of(pair, name, stray, ("adopted", "billigten", 0.8))
    )
    assert told[0] == "Mitgliedstaaten"
    assert told[1] > alone[1]


def test_evidence_finds_a_copy_that_no_link_shows() -> None:
    pair = pair_of("We met Kolinisau there", "Dort trafen wir Kolinisau")
    text, score = best_of(pair, "Kolinisau", links_of(pair))
    assert text == "Kolinisau"
    assert score > 0.5


def test_evidence_says_that_a_name_is_absent() -> None:
    pair = pair_of("We met Kolinisau there", "wir waren froh darüber")
    assert best_of(pair, "Kolinisau", links_of(pair)) == (None, 0.0)
    _, score = best_of(pair, "Kolinisau", links_of(pair, ("Kolinisau", "froh", 0.25)))
    assert score < 0.999


def test_evidence_of_the_entity_aligner_counts() -> None:
    pair = pair_of("We met Kolinisau there", "dort trafen wir Schmidt")
    likely = np.array([0.0, 0.0, 0.0, 0.95])
    assert best_of(pair, "Kolinisau", links_of(pair), likely)[0] == "Schmidt"
    assert best_of(pair, "Kolinisau", links_of(pair))[0] is None


@pytest.mark.parametrize(
    ("target", "linked", "expected"),
    [
        ("das Komitee ( CEN ) tagte", "Komitee ( CEN )", "Komitee ( CEN )"),
        ("das „ Komitee “ tagte", "Komitee", "Komitee"),
        ("das Komitee , das tagte", "Komitee", "Komitee"),
        ("die Struktur- und Sozialfonds", "Struktur-", "Struktur-"),
        ("das Komitee - und mehr", "Komitee -", "Komitee"),
        ("das Komitee ) tagte", "Komitee )", "Komitee"),
    ],
)
def test_evidence_marks_at_the_border(target: str, linked: str, expected: str) -> None:
    pair = pair_of("the Committee met", target)
    rest = [(word, 0.9) for word in ("das", "die", "tagte", "und") if word in target]
    others = [("the", word, value) for word, value in rest if word not in linked]
    links = links_of(pair, ("Committee", linked, 0.9), *others)
    assert best_of(pair, "Committee", links)[0] == expected


@pytest.mark.parametrize(
    ("target", "linked", "expected"),
    [
        # Both ways of telling the name are linked: with both brackets, or with neither.
        ("巴拉特（Barratt）说", "巴拉特（Barratt", "巴拉特（Barratt）"),
        ("die UNO (Vereinte Nationen) tagt", "UNO (Vereinte", "UNO (Vereinte Nationen)"),
        ("(in Bonn (Barratt) und", "Barratt", "Barratt"),
        # A bracket without a partner binds nothing.
        ("a) Barratt sprach", "Barratt", "Barratt"),
    ],
)
def test_evidence_no_span_has_one_bracket_of_two(target: str, linked: str, expected: str) -> None:
    pair = pair_of("Barratt spoke", target)
    links = links_of(pair, ("Barratt", linked, 0.9))
    assert best_of(pair, "Barratt", links)[0] == expected
    (evidence,) = collect(pair, [(0, 7)], links, None)
    pairs = [
        (words[0], words[-1])
        for opening, closing in brackets(target, pair.target_words)
        for words in [pair.target_words[opening : closing + 1]]
    ]
    for start, end in evidence.spans.tolist():
        for opening, closing in pairs:
            assert (start <= opening[0] < end) == (start <= closing[0] < end)


def test_evidence_agreement_outvotes_one_torn_link() -> None:
    clean = pair_of(SOURCE, "Die Mitgliedstaaten billigten es")
    torn = pair_of(SOURCE, "Das haben die Mitgliedstaaten umgesetzt")
    name = span_of(SOURCE, "Member States")
    (good,) = collect(
        clean, [name], links_of(clean, ("Member States", "Mitgliedstaaten", 0.9)), None
    )
    (bad,) = collect(
        torn, [name], links_of(torn, ("Member States", "Mitgliedstaaten umgesetzt", 0.9)), None
    )

    def chosen(weighed: Weighed) -> str:
        (best,) = weighed.best(1)
        return torn.target[best.start : best.end]

    ((alone,),) = weigh([[bad]], EvidenceConfig())
    assert chosen(alone) == "Mitgliedstaaten umgesetzt"
    *_, (heard,) = weigh([[good], [good], [good], [bad]], EvidenceConfig())
    assert chosen(heard) == "Mitgliedstaaten"


def test_evidence_is_kept_with_the_candidate() -> None:
    pair = pair_of(SOURCE, "Die Mitgliedstaaten billigten es")
    links = links_of(pair, ("Member States", "Mitgliedstaaten", 0.9))
    (evidence,) = collect(pair, [span_of(SOURCE, "Member States")], links, None)
    *_, (weighed,) = weigh([[evidence]] * 2, EvidenceConfig())
    (best,) = weighed.best(1)
    assert best.evidence is not None
    said = dict(zip(EVIDENCE_STRUCT.names, best.evidence, strict=True))
    assert said["links"] > 0.9
    assert said["aligner"] == 0
    assert said["capitals"] == 1
    # One other mention says the same, as one that is undecided would not.
    assert said["agreement"] == pytest.approx(0.5, abs=0.01)
    (kept,) = pa.array([to_alignments([[best]])], pa.list_(ALIGNMENT)).to_pylist()
    assert from_alignments(kept, 1) == [[best]]


def test_evidence_every_witness_has_a_weight_and_a_field() -> None:
    assert EVIDENCE_STRUCT.names == [*WITNESSES, "agreement"]
    assert list(EvidenceConfig.model_fields) == [*WITNESSES, "agreement", "absent"]


def test_evidence_a_mention_does_not_agree_with_itself() -> None:
    pair = pair_of(SOURCE, "Die Mitgliedstaaten billigten es")
    (evidence,) = collect(
        pair,
        [span_of(SOURCE, "Member States")],
        links_of(pair, ("Member States", "Mitgliedstaaten", 0.6)),
        None,
    )
    ((alone,),) = weigh([[evidence]], EvidenceConfig())
    ((unheard,),) = weigh([[evidence]], EvidenceConfig(agreement=0.0))
    np.testing.assert_allclose(alone.probabilities, unheard.probabilities)


def test_evidence_a_sentence_does_not_agree_with_itself() -> None:
    """Neither by a word that stands in it twice, nor by the name's other mention."""
    pair = pair_of("The Panel spoke", "Das Gremium sprach vor der Gruppe und die Gruppe ging")
    links = links_of(pair, ("Panel", "Gremium", 0.44))
    for column, (start, end) in enumerate(pair.target_words):
        if pair.target[start:end] == "Gruppe":
            links[1, column] = 0.34
    mention = span_of(pair.source, "Panel")
    once, twice = (collect(pair, [mention] * number, links, None) for number in (1, 2))
    for of_sentence in (once, twice):
        (heard,) = weigh([of_sentence], EvidenceConfig())
        assert not heard[0].agreement.any()
    # Another sentence is heard by both.
    *_, heard = weigh([once, twice], EvidenceConfig())
    assert all(each.agreement.max() > 0.2 for each in heard)


def test_evidence_tells_names_apart_that_begin_alike() -> None:
    pair = pair_of("Austria won", "Österreich siegte")
    other = pair_of("Australia won", "Australien siegte")
    (evidence,) = collect(
        pair,
        [span_of(pair.source, "Austria")],
        links_of(pair, ("Austria", "Österreich", 0.9)),
        None,
    )
    linked = links_of(other, ("Australia", "Australien", 0.9))
    (another,) = collect(other, [span_of(other.source, "Australia")], linked, None)
    assert evidence.name != another.name


@pytest.mark.parametrize(
    ("name", "translation", "target"),
    [
        ("Saudi Arabia", "ซาอุดีอาระเบีย", "ซาอุดีอาระเบียชนะ"),
        ("Switzerland", "สวิตเซอร์แลนด์", "สวิตเซอร์แลนด์ชนะ"),
        ("Cristiano Ronaldo", "クリスティアーノ・ロナウド", "クリスティアーノ・ロナウドが勝った"),
        ("UNESCO", "联合国教育、科学及文化组织", "联合国教育、科学及文化组织说"),
    ],
)
def test_evidence_long_names_where_each_letter_is_a_word(
    name: str, translation: str, target: str
) -> None:
    pair = pair_of(f"{name} won", target)
    num_words = len(segment(name))
    links = links_of(pair, (name, translation, 1 / num_words))
    links[num_words:, len(segment(translation)) :] = 0.5
    assert best_of(pair, name, links)[0] == translation


def test_evidence_unspaced_script() -> None:
    pair = pair_of("I love Beijing", "我爱北京")
    assert best_of(pair, "Beijing", links_of(pair, ("Beijing", "北京", 0.9)))[0] == "北京"


@pytest.mark.parametrize(
    ("target", "place"), [("我爱柏林", "柏林"), ("მიყვარს ბერლინი", "ბერლინი")]
)
def test_evidence_of_capitals_is_none_in_scripts_without(target: str, place: str) -> None:
    # Georgian is one of them, though Unicode has two cases of its letters.
    pair = pair_of("I love Berlin", target)
    links = links_of(pair, ("Berlin", place, 0.9))
    (evidence,) = collect(pair, [span_of(pair.source, "Berlin")], links, None)
    ((weighed,),) = weigh([[evidence]], EvidenceConfig())
    (best,) = weighed.best(1)
    assert best.evidence is not None
    assert dict(zip(EVIDENCE_STRUCT.names, best.evidence, strict=True))["capitals"] == 0.5


@pytest.mark.parametrize(("target_lang", "found"), [("zh", "堪薩斯州"), (None, "堪薩")])
def test_evidence_tears_no_whole_word(target_lang: str | None, found: str) -> None:
    pair = pair_of("She lives in Kansas", "她住在堪薩斯州", target_lang)
    links = links_of(pair, ("lives", "住", 0.9), ("in", "在", 0.9), ("Kansas", "堪薩", 0.9))
    assert best_of(pair, "Kansas", links)[0] == found


def test_evidence_of_a_mention_without_a_word() -> None:
    pair = pair_of("one  two", "eins zwei")
    (evidence,) = collect(pair, [(3, 5)], np.ones((2, 2), np.float32), None)
    assert len(evidence.spans) == len(evidence.witnesses) == len(evidence.phrases)
    ((weighed,),) = weigh([[evidence]], EvidenceConfig())
    assert weighed.probabilities.sum() <= 1


def test_evidence_of_an_empty_target() -> None:
    pair = pair_of("Berlin", "")
    (evidence,) = collect(pair, [(0, 6)], np.zeros((1, 0), np.float32), np.zeros((1, 0)))
    ((weighed,),) = weigh([[evidence]], EvidenceConfig())
    assert weighed.best(3) == []


TEXTS = st.text("abAB .,()-„“北京é'", max_size=24)


@given(source=TEXTS, target=TEXTS, lang=st.sampled_from(["de", "zh"]), data=st.data())
def test_evidence_is_sound_for_any_text(
    source: str, target: str, lang: str, data: st.DataObject
) -> None:
    pair = pair_of(source, target, lang)
    shape = len(pair.source_words), len(pair.target_words)
    seed = data.draw(st.integers(0, 2**32 - 1))
    links = np.random.default_rng(seed).random(shape).astype(np.float32)
    start = data.draw(st.integers(0, max(len(source) - 1, 0)))
    end = data.draw(st.integers(start + 1, start + 8))
    (evidence,) = collect(pair, [(start, end)], links, None)
    assert evidence.witnesses.shape == (len(evidence.spans), len(WITNESSES))
    assert ((evidence.witnesses >= -1e-6) & (evidence.witnesses <= 1 + 1e-6)).all()
    ((weighed,),) = weigh([[evidence]], EvidenceConfig())
    assert np.isfinite(weighed.probabilities).all()
    assert weighed.probabilities.sum() <= 1 + 1e-6
    starts = {s for s, _ in pair.target_words}
    ends = {e for _, e in pair.target_words}
    for candidate in weighed.best(5):
        assert candidate.start in starts
        assert candidate.end in ends
        assert candidate.start < candidate.end
        assert candidate.method == EVIDENCE
