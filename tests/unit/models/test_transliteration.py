from __future__ import annotations

import itertools

import numpy as np
import pytest

from xner.models.transliteration import Transliteration, names_in
from xner.models.word_counts import Counts
from xner.text.words import segment

# Syllables, and the letter that each sounds like.
SOUNDS = {
    "ba": "巴",
    "ko": "科",
    "ri": "里",
    "tu": "图",
    "le": "勒",
    "sa": "萨",
    "mi": "米",
    "no": "诺",
}
NAMES = ["".join(some) for some in itertools.permutations(SOUNDS, 3)]
# Every other one teaches; the others are new.
KNOWN, NEW = NAMES[::2], NAMES[1::2]


def sounds(name: str) -> str:
    return "".join(SOUNDS[name[i : i + 2]] for i in range(0, len(name), 2))


def counts(links: list[tuple[str, str, float]]) -> Counts:
    sources, targets = (
        {word: n for n, word in enumerate(dict.fromkeys(link[side] for link in links))}
        for side in (0, 1)
    )
    return Counts.of(
        sources,
        targets,
        np.array([sources[link[0]] for link in links], np.int32),
        np.array([targets[link[1]] for link in links], np.int32),
        np.array([link[2] for link in links], np.float32),
    )


def links_of(names: list[str]) -> list[tuple[str, str, float]]:
    return [(name, letter, 1.0) for name in names for letter in sounds(name)]


@pytest.fixture(scope="module")
def learned() -> Transliteration:
    # What is no name would teach otherwise: each syllable means the letter of another.
    wrong = dict(zip(SOUNDS, [*SOUNDS.values()][1:] + [*SOUNDS.values()][:1], strict=True))
    others = [(f"{syllable}ts", letter, 3.0) for syllable, letter in wrong.items()]
    spaced = [(name, "NATO", 3.0) for name in KNOWN]
    return Transliteration.learn(counts(links_of(KNOWN) + others + spaced), set(KNOWN))


def likeness(model: Transliteration, pairs: list[tuple[str, str]], names: set[str]) -> list[float]:
    numbers = np.arange(len(pairs), dtype=np.int32)
    sources, targets = zip(*pairs, strict=True)
    return model.likeness(sources, targets, numbers, numbers, names).tolist()


def test_transliteration_knows_names_that_it_never_saw(learned: Transliteration) -> None:
    draw = np.random.default_rng(0)
    right = likeness(learned, [(name, sounds(name)) for name in NEW], set(NEW))
    shuffled = draw.permutation(NEW).tolist()
    apart = [
        (name, sounds(other))
        for name, other in zip(NEW, shuffled, strict=True)
        if not set(sounds(name)) & set(sounds(other))
    ]
    assert len(apart) > 10
    assert min(right) > 0.05
    assert max(likeness(learned, apart, set(NEW))) == 0.0


def test_transliteration_of_a_part_of_a_name_is_like_it_too(learned: Transliteration) -> None:
    name = NEW[0]
    whole, part, more = likeness(
        learned,
        [(name, sounds(name)), (name, sounds(name)[:2]), (name, sounds(name) + "的")],
        {name},
    )
    assert part > 0.05
    # A letter that is not known says nothing for it.
    assert more < whole


def test_transliteration_says_nothing_of_other_words(learned: Transliteration) -> None:
    name = NEW[0]
    pairs = [(name, sounds(name)), (name, "nato"), ("xyzzy", sounds(name))]
    assert likeness(learned, pairs, set()) == [0.0] * 3
    assert likeness(learned, pairs, {name, "xyzzy"})[1:] == [0.0, 0.0]


def test_transliteration_closed_form() -> None:
    # One gram of one letter each: ^a, a$, ^a$ are all linked to 巴 alone, ^o and so on to 诺.
    model = Transliteration.learn(counts([("a", "巴", 1.0), ("o", "诺", 1.0)]), {"a", "o"})
    # Each of the three grams has a third of a count, one more is undecided, and p(letter) is 1/2.
    expected = (1 / 3 + 1 / 2) / (1 / 3 + 1) / (1 / 2)
    assert likeness(model, [("a", "巴")], {"a"}) == pytest.approx([(1 - 1 / expected) ** 3])


def test_transliteration_is_the_same_however_the_names_are_cut_into_parts(
    learned: Transliteration, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(name, sounds(other)) for name in NEW[:20] for other in NEW[:20]]
    whole = likeness(learned, pairs, set(NEW))
    monkeypatch.setattr("xner.models.transliteration._NAMES", 3)
    assert likeness(learned, pairs, set(NEW)) == pytest.approx(whole, abs=1e-6)


def test_transliteration_stored_and_read_is_the_same(learned: Transliteration) -> None:
    read = Transliteration.from_table(learned.to_table())
    pairs = [(name, sounds(name)) for name in NEW]
    assert likeness(read, pairs, set(NEW)) == pytest.approx(
        likeness(learned, pairs, set(NEW)), abs=1e-6
    )


def test_transliteration_of_nothing() -> None:
    for links, names in (([], set()), (links_of(KNOWN), set()), ([("a", "nato", 1.0)], {"a"})):
        model = Transliteration.learn(counts(links), names)
        assert likeness(model, [("a", "巴")], {"a"}) == [0.0]
        empty = np.empty(0, np.int32)
        assert model.likeness([], [], empty, empty, {"a"}).tolist() == []


def test_names_in_are_told_by_their_capitals() -> None:
    texts = ["According to Bonn it rains", "In Bonn the House is a house", "the House", "Cologne"]
    assert names_in((text, segment(text)) for text in texts) == {"bonn", "house"}
    assert names_in([]) == set()
