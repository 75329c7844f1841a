from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xner.config import LinksConfig
from xner.errors import ConfigError
from xner.models import hmm, hmm_kernels
from xner.models.hmm import HmmLinker, WordAligner, WordAlignerSettings, train
from xner.models.transliteration import Transliteration
from xner.models.word_links import word_linker
from xner.shards.storage import Folder
from xner.text.pairs import SentencePair
from xner.text.words import segment

# Words that share no letters with their translations.
DICTIONARY = {
    "house": "kivu",
    "garden": "tolpa",
    "river": "mizzo",
    "stone": "qurt",
    "bread": "bafo",
    "water": "zelk",
    "horse": "wupp",
    "child": "jyx",
    "winter": "fonk",
    "summer": "gluk",
    "night": "vrim",
    "bird": "pask",
}
# Sixty words of two letters, of which no two share one.
CHINESE = {f"{n}word": chr(0x4E00 + 2 * n) + chr(0x4E01 + 2 * n) for n in range(60)}


def pair(source: str, target: str) -> SentencePair:
    return SentencePair(source, segment(source), target, segment(target))


def bitext(num_pairs: int, dictionary: dict[str, str], between: str = " ") -> list[tuple[str, str]]:
    """Sentences of three to six known words; the translation turns their order round."""
    draw = random.Random(1)
    found = []
    for _ in range(num_pairs):
        words = draw.sample(list(dictionary), draw.randint(3, 6))
        found.append((" ".join(words), between.join(dictionary[word] for word in words[::-1])))
    return found


def best(matrix: np.ndarray) -> list[int]:
    """The target word that each source word is linked to."""
    return matrix.argmax(axis=1).tolist()


def linked(source: str, target: str, matrix: np.ndarray) -> dict[str, str]:
    """The source words and what they are linked to by more than one half."""
    texts = [[text[start:end] for start, end in segment(text)] for text in (source, target)]
    return {
        word: "".join(t for t, sure in zip(texts[1], row, strict=True) if sure > 0.5)
        for word, row in zip(texts[0], matrix, strict=True)
    }


@pytest.fixture(scope="module")
def trained() -> WordAligner:
    return train(bitext(300, DICTIONARY), ("en", "xx"), WordAlignerSettings()).aligner


@pytest.mark.parametrize(("num_words", "num_states"), [(1, 1), (3, 1), (1, 3), (4, 3), (3, 4)])
def test_hmm_forward_backward_is_the_sum_over_all_alignments(
    num_words: int, num_states: int
) -> None:
    random_ = np.random.default_rng(num_words * 10 + num_states)
    emissions = random_.random((num_words, num_states))
    null = random_.random(num_words)
    jumps = random_.random(hmm_kernels.NUM_JUMPS)
    p_null = 0.2

    def widths(start: int) -> np.ndarray:
        row = jumps[hmm_kernels.MAX_JUMP + np.arange(num_states) - start]
        return row / row.sum()

    posteriors = np.zeros((num_words, num_states))
    expected = np.zeros(hmm_kernels.NUM_JUMPS)
    total = 0.0
    steps = list(itertools.product(range(num_states), (False, True)))
    for path in itertools.product(steps, repeat=num_words):
        p = widths(-1)[path[0][0]]
        for j, (state, skips) in enumerate(path):
            if j and skips:
                p *= state == path[j - 1][0]
            elif j:
                p *= widths(path[j - 1][0])[state]
            p *= p_null * null[j] if skips else (1 - p_null) * emissions[j, state]
        total += p
        for j, (state, skips) in enumerate(path):
            if not skips:
                posteriors[j, state] += p
                if j:
                    expected[hmm_kernels.MAX_JUMP + state - path[j - 1][0]] += p

    found, found_jumps = np.empty_like(emissions), np.ones_like(expected)
    hmm_kernels.forward_backward(emissions, null, p_null, jumps, found, found_jumps)
    np.testing.assert_allclose(found, posteriors / total, rtol=1e-9)
    # They are added to what is there.
    np.testing.assert_allclose(found_jumps - 1, expected / total, rtol=1e-6, atol=1e-12)


def test_hmm_word_pairs_number_each_pair_of_words_once() -> None:
    draw = np.random.default_rng(0)
    lengths = draw.integers(0, 40, (300, 2))
    starts = [np.concatenate([[0], np.cumsum(side)]) for side in lengths.T]
    words = [draw.integers(0, 400, side[-1]).astype(np.int32) for side in starts]
    cells = np.concatenate([[0], np.cumsum(lengths.prod(axis=1))])
    slots, source, target = hmm_kernels.word_pairs(words[0], starts[0], words[1], starts[1], cells)
    given = [
        (int(e), int(f))
        for s in range(300)
        for e in words[0][starts[0][s] : starts[0][s + 1]]
        for f in words[1][starts[1][s] : starts[1][s + 1]]
    ]
    # Far more than the table holds at first.
    assert len(source) == len(set(given)) > 20_000
    assert list(zip(source[slots].tolist(), target[slots].tolist(), strict=True)) == given


def test_hmm_learns_a_dictionary_from_a_shard_alone() -> None:
    pairs = [pair(*texts) for texts in bitext(300, DICTIONARY)]
    for given, matrix in zip(pairs, HmmLinker(LinksConfig()).links(pairs), strict=True):
        num_words = len(given.source_words)
        assert matrix.shape == (num_words, num_words)
        assert matrix.dtype == np.float32
        assert matrix.min() >= 0 and matrix.max() <= 1.000001
        assert best(matrix) == list(range(num_words))[::-1]


def test_hmm_links_are_never_more_than_one_a_word(trained: WordAligner, tmp_path: Path) -> None:
    trained.save(Folder.at(str(tmp_path)))
    pairs = [pair("house garden river", "mizzo tolpa kivu")]
    (matrix,) = word_linker(LinksConfig(model=str(tmp_path), adapt=False)).links(pairs)
    # Each direction's posteriors are distributions over the other side and the null state.
    assert (matrix.sum(axis=0) + matrix.sum(axis=1) < 2.2).all()
    assert linked(pairs[0].source, pairs[0].target, matrix) == {
        "house": "kivu",
        "garden": "tolpa",
        "river": "mizzo",
    }


@pytest.mark.parametrize("adapt", [True, False])
def test_hmm_links_unknown_names_by_spelling(
    trained: WordAligner, tmp_path: Path, adapt: bool
) -> None:
    trained.save(Folder.at(str(tmp_path)))
    given = pair("Karpathy house Stoltenberg river", "mizzo Stoltenbergs kivu Karpathi")
    config = LinksConfig(model=str(tmp_path), adapt=adapt)
    (matrix,) = HmmLinker(config).links([given])
    assert linked(given.source, given.target, matrix) == {
        "Karpathy": "Karpathi",
        "house": "kivu",
        "Stoltenberg": "Stoltenbergs",
        "river": "mizzo",
    }


def test_hmm_adapts_to_the_words_of_a_shard(trained: WordAligner, tmp_path: Path) -> None:
    trained.save(Folder.at(str(tmp_path)))
    # Two words that nothing tells apart, but that other pairs show one at a time.
    known = list(DICTIONARY.items())
    shard = [pair("merchant spider", "ogof uzz")]
    shard += [pair(f"merchant {e}", f"{f} ogof") for e, f in known]
    shard += [pair(f"{e} spider", f"uzz {f}") for e, f in known]
    adapted = HmmLinker(LinksConfig(model=str(tmp_path))).links(shard)[0]
    not_adapted = HmmLinker(LinksConfig(model=str(tmp_path), adapt=False)).links(shard)[0]
    assert best(adapted) == [0, 1]
    assert adapted.max(axis=1).min() > 0.6
    assert not_adapted.max(axis=1).min() < 0.6


def test_hmm_cuts_scripts_without_spaces_into_units(tmp_path: Path) -> None:
    texts = bitext(160, CHINESE, between="")
    trained = train([(zh, en) for en, zh in texts], ("zh", "en"), WordAlignerSettings()).aligner
    assert trained.units[0] is not None and trained.units[1] is None
    trained.save(Folder.at(str(tmp_path)))
    # Both ways round, with a model and without.
    for linker, pairs in (
        (HmmLinker(LinksConfig(model=str(tmp_path))), [pair(zh, en) for en, zh in texts]),
        (HmmLinker(LinksConfig()), [pair(en, zh) for en, zh in texts]),
    ):
        right = total = 0
        for given, matrix in zip(pairs, linker.links(pairs), strict=True):
            assert matrix.shape == (len(given.source_words), len(given.target_words))
            if given.target.isascii():
                found = linked(given.target, given.source, matrix.T)
            else:
                found = linked(given.source, given.target, matrix)
            right += sum(CHINESE[word] == translation for word, translation in found.items())
            total += len(found)
        assert right / total > 0.95


def test_hmm_links_unknown_names_by_their_sound(tmp_path: Path) -> None:
    # Names of three syllables, each a letter; of half of them nothing is known but their sounds.
    syllables = dict(
        zip(("ba", "ko", "ri", "tu", "le", "sa", "mi", "no"), "巴科里图勒萨米诺", strict=True)
    )
    names = {
        "".join(some).capitalize(): "".join(syllables[each] for each in some)
        for some in itertools.permutations(syllables, 3)
    }
    known = dict(list(names.items())[::2])
    draw = random.Random(2)

    def sentence(names: dict[str, str]) -> SentencePair:
        """Two names that share no letter, in the same order or in the other."""
        name = draw.choice(list(names))
        others = [other for other in names if not {*names[other]} & {*names[name]}]
        both = [name, draw.choice(others)]
        word = draw.choice(list(CHINESE))
        translated = "".join(names[name] for name in draw.sample(both, 2))
        return pair(f"{word} {' '.join(both)}", translated + CHINESE[word])

    texts = [(each.source, each.target) for each in (sentence(known) for _ in range(600))]
    aligner = train(texts, ("en", "zh"), WordAlignerSettings()).aligner
    assert aligner.transliteration is not None and len(aligner.learned) == 2
    aligner.save(Folder.at(str(tmp_path / "with")))
    # The same, but that it knows no sounds.
    silent = Transliteration.learn(aligner.learned[1].counts, set())
    replace(aligner, transliteration=silent).save(Folder.at(str(tmp_path / "without")))
    asked = [sentence({k: v for k, v in names.items() if k not in known}) for _ in range(100)]

    def right(folder: str) -> float:
        """The share of the letters of names that are linked to the right one."""
        linker = HmmLinker(LinksConfig(model=str(tmp_path / folder), adapt=False))
        found = []
        for each, matrix in zip(asked, linker.links(asked), strict=True):
            first = each.target.index(names[each.source.split()[1]])
            found.append(matrix[:, first : first + 3].argmax(axis=0) == 1)
        return float(np.mean(found))

    assert right("with") > right("without") + 0.1


def test_hmm_units_of_a_single_sentence() -> None:
    given = pair("house", "房子")
    (matrix,) = HmmLinker(LinksConfig()).links([given])
    assert matrix.shape == (1, 2)
    assert matrix.min() > 0.2


def test_hmm_does_not_depend_on_threads_or_on_the_shard_before(
    trained: WordAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hmm, "_SLICE_CELLS", 100)
    trained.save(Folder.at(str(tmp_path)))
    shard = [pair(*texts) for texts in bitext(200, DICTIONARY)[50:]]
    other = [pair("merchant spider", "ogof uzz")] * 5
    found = []
    for threads, before in (("1", []), ("2", []), ("2", other)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        linker = HmmLinker(LinksConfig(model=str(tmp_path)))
        linker.links(before)
        found.append(linker.links(shard))
    for links in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], links, strict=True))


def test_hmm_slices_only_change_the_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [pair(*texts) for texts in bitext(100, DICTIONARY)]
    whole = HmmLinker(LinksConfig()).links(pairs)
    monkeypatch.setattr(hmm, "_SLICE_CELLS", 1)
    for a, b in zip(whole, HmmLinker(LinksConfig()).links(pairs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_hmm_training_again_writes_the_same_bytes(tmp_path: Path) -> None:
    hashes = set()
    for name in ("a", "b"):
        folder = Folder.at(str(tmp_path / name))
        train(bitext(200, DICTIONARY), ("en", "xx"), WordAlignerSettings()).aligner.save(folder)
        hashes.add(hmm.content_hash(folder))
    assert len(hashes) == 1
    text = folder.read(hmm.SETTINGS_FILE).decode()
    folder.publish(hmm.SETTINGS_FILE, text.replace('"prefix": 5', '"prefix": 4').encode())
    assert hmm.content_hash(folder) not in hashes


def test_hmm_saved_and_loaded_equals_trained(trained: WordAligner, tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    trained.save(folder)
    loaded = WordAligner.load(folder)
    assert loaded.settings == trained.settings
    assert loaded.languages == hmm.languages_of(folder) == ("en", "xx")
    assert loaded.transliteration is None and len(loaded.learned) == len(loaded.cuts) == 1
    (mine,), (own,) = loaded.learned, trained.learned
    assert np.array_equal(mine.jumps, own.jumps)
    assert mine.counts.to_table().equals(own.counts.to_table())
    assert mine.counts.to_table().num_rows >= len(DICTIONARY)


def test_hmm_empty_sides_and_single_words(trained: WordAligner, tmp_path: Path) -> None:
    trained.save(Folder.at(str(tmp_path)))
    shard = [pair("", ""), pair("house", ""), pair("", "kivu fonk"), pair("house", "kivu")]
    for config in (LinksConfig(), LinksConfig(model=str(tmp_path))):
        assert HmmLinker(config).links([]) == []
        links = HmmLinker(config).links(shard)
        assert [matrix.shape for matrix in links] == [(0, 0), (1, 0), (0, 2), (1, 1)]
        assert HmmLinker(config).links(shard[:3])[1].shape == (1, 0)
    assert links[3][0, 0] > 0.8


def test_hmm_long_pairs_are_linked_but_not_learned_from(
    trained: WordAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.save(Folder.at(str(tmp_path)))
    long = bitext(1, DICTIONARY)[0]
    shard = [pair(*texts) for texts in (("house bird", "pask kivu"), long)]
    without = HmmLinker(LinksConfig(model=str(tmp_path))).links(shard[:1])
    monkeypatch.setattr(hmm, "MAX_TRAINING_CELLS", 8)
    links = HmmLinker(LinksConfig(model=str(tmp_path))).links(shard)
    assert np.array_equal(links[0], without[0])
    assert best(links[1]) == list(range(len(links[1])))[::-1]
    training = train([long, ("house", ""), ("house", "kivu")], ("en", "xx"), WordAlignerSettings())
    assert (training.num_pairs, training.num_too_long, training.num_empty) == (1, 1, 1)


def test_hmm_very_long_pairs_are_linked_without_regard_to_order(trained: WordAligner) -> None:
    words = list(DICTIONARY) * 50
    given = pair(" ".join(words), " ".join(DICTIONARY[word] for word in words))
    assert len(words) ** 2 > hmm_kernels.MAX_HMM_CELLS
    (matrix,) = HmmLinker(LinksConfig()).links([given])
    assert matrix.shape == (600, 600)
    assert np.isfinite(matrix).all()


def test_hmm_refuses_a_folder_that_is_none(trained: WordAligner, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a word aligner"):
        HmmLinker(LinksConfig(model=str(tmp_path / "nothing")))
    folder = Folder.at(str(tmp_path / "model"))
    trained.save(folder)
    whole = folder.read(hmm.COUNTS_FILES[0])
    folder.publish(hmm.COUNTS_FILES[0], whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"broken: .*counts\.parquet"):
        WordAligner.load(folder)
    folder.remove(hmm.COUNTS_FILES[0])
    with pytest.raises(ConfigError, match=r"broken: .*counts\.parquet: no such file"):
        WordAligner.load(folder)
    record = folder.read_json(hmm.SETTINGS_FILE)
    for changed, message in (
        ([], "format_version None"),
        ({**record, "format_version": 99}, "format_version 99"),
        ({**record, "format_version": 1}, "format_version 1, but this xner reads 2; train_word_"),
        ({key: record[key] for key in record if key != "jumps"}, "lacks jumps"),
        ({**record, "jumps": [[1.0]]}, "jumps are"),
        ({**record, "unspaced": [True, False]}, "units-source"),
    ):
        folder.publish_json(hmm.SETTINGS_FILE, changed)
        with pytest.raises(ConfigError, match=message):
            WordAligner.load(folder)
    folder.publish(hmm.SETTINGS_FILE, json.dumps(record).encode()[:-3])
    with pytest.raises(ConfigError, match="not valid JSON"):
        WordAligner.load(folder)


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("3", 3), ("", None), ("all", None)])
def test_hmm_threads_are_those_of_the_actor(
    monkeypatch: pytest.MonkeyPatch, value: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    found = hmm.num_threads()
    assert found == threads if threads else found >= 1
