from __future__ import annotations

import re
import statistics
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest

from xner.corpora import miniature, miniature_language, miniature_names
from xner.corpora.miniature import LABELS, LANGUAGES, Noise, ParallelSentence, Split
from xner.shards.schema import ALIGNMENT_EXAMPLES
from xner.text.iob2 import decode
from xner.text.words import segment

TARGETS = LANGUAGES[1:]
NUM_SENTENCES = 2000


@cache
def made(split: Split, noise: Noise = miniature.CLEAN) -> list[ParallelSentence]:
    return list(miniature.sentences(split, NUM_SENTENCES, noise=noise))


def surfaces(pair: ParallelSentence, lang: str) -> list[str]:
    return [pair.texts[lang][mention.start : mention.end] for mention in pair.mentions[lang]]


def translations(lang: str, split: Split = "train") -> list[tuple[str, str, str]]:
    """(label, English name, its counterpart) of all mentions."""
    found = []
    for pair in made(split):
        english, counterparts = surfaces(pair, "en"), surfaces(pair, lang)
        for index, link in enumerate(pair.links[lang]):
            assert link is not None
            found.append((pair.mentions["en"][index].label, english[index], counterparts[link]))
    return found


def test_sentence_is_translated_with_all_mentions() -> None:
    pair = miniature.sentence("train", 119, "MiniatureNews", seed=7)
    assert pair.texts == {
        "en": "Last month, President Doferov met Judge Voni Palivic in New Badaburg.",
        "de": "Letzten Monat hat Präsidentin Doferov in Neu-Badaburg "
        "Richter Voni Palivic getroffen.",
        "es": "El mes pasado, la presidenta Doferov se reunió "
        "con el juez Voni Palivic en Nueva Badaburgo.",
        "nl": "Vorige maand heeft president Doferov in Nieuw-Badaburg "
        "rechter Voni Palivic ontmoet.",
        "zh": "上个月，多费罗夫总统在新巴达堡会见了沃尼·帕利维奇法官。",  # noqa: RUF001
    }
    assert surfaces(pair, "de") == ["Doferov", "Neu-Badaburg", "Voni Palivic"]
    assert surfaces(pair, "zh") == ["多费罗夫", "新巴达堡", "沃尼·帕利维奇"]
    assert pair.links["de"] == (0, 2, 1)
    assert pair.links["es"] == (0, 1, 2)
    assert [m.label for m in pair.mentions["en"]] == ["PER", "PER", "LOC"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_texts_hold_nothing_of_the_notation(split: Split) -> None:
    for pair in made(split):
        for lang, text in pair.texts.items():
            assert not re.search(r"[{}|^§/\n]|  |^\s|\s$", text), (lang, text)


def test_texts_begin_with_a_capital() -> None:
    for pair in made("train"):
        for lang in ("en", "de", "es", "nl"):
            first = next(letter for letter in pair.texts[lang] if letter.isalpha())
            assert first.isupper(), pair.texts[lang]


def test_links_are_one_to_one_and_keep_the_label() -> None:
    for pair in made("train"):
        for lang in TARGETS:
            links = pair.links[lang]
            assert sorted(links) == list(range(len(pair.mentions[lang])))
            for mention, link in zip(pair.mentions["en"], links, strict=True):
                assert pair.mentions[lang][link].label == mention.label


@pytest.mark.parametrize("lang", ["de", "es", "nl"])
def test_people_stay_as_they_are_in_latin_scripts(lang: str) -> None:
    # "Tomasens Buch" is the one inflection.
    people = [(en, other) for label, en, other in translations(lang) if label == "PER"]
    assert all(other in (en, f"{en}s") for en, other in people)
    assert any(other == f"{en}s" for en, other in people) == (lang == "de")


def test_people_are_transliterated_syllable_by_syllable() -> None:
    table = {**miniature_names.SYLLABLES, **miniature_names.FAMILY_ENDINGS, " ": "·"}
    # Endings before syllables: "-sen" is one ending, not "se" and a rest.
    endings = "|".join(f"{ending}$" for ending in miniature_names.FAMILY_ENDINGS)
    parts = re.compile(f"{endings}|{'|'.join(miniature_names.SYLLABLES)}| ")
    people = [(en, zh) for label, en, zh in translations("zh") if label == "PER"]
    assert len(people) > 500
    for en, zh in people:
        assert "".join(table[part] for part in parts.findall(en.lower())) == zh


@pytest.mark.parametrize("lang", TARGETS)
def test_towns_have_the_exonym_of_their_ending(lang: str) -> None:
    column = LANGUAGES.index(lang)
    real = {row[0] for row in miniature_names.CITIES + miniature_names.COUNTRIES}
    seen = Counter[str]()
    for label, en, other in translations(lang):
        for endings in miniature_names.TOWN_ENDINGS:
            if label == "LOC" and en.endswith(endings[0]) and en not in real:
                assert re.search(f"{endings[column]}s?$", other), (en, other)
                seen[endings[0]] += 1
    assert len(seen) == len(miniature_names.TOWN_ENDINGS)


@pytest.mark.parametrize("lang", TARGETS)
def test_real_places_have_the_names_of_the_table(lang: str) -> None:
    table = {
        row[0]: row[LANGUAGES.index(lang)].removeprefix("die ")
        for row in miniature_names.CITIES + miniature_names.COUNTRIES
    }
    real = [(en, other) for label, en, other in translations(lang) if en in table]
    assert len({en for en, _ in real}) > 60
    assert all(other in (table[en], f"{table[en]}s") for en, other in real)


@pytest.mark.parametrize("split", ["train", "test"])
def test_mention_borders_are_word_borders(split: Split) -> None:
    for pair in made(split):
        for lang, text in pair.texts.items():
            words = segment(text)
            starts, ends = {start for start, _ in words}, {end for _, end in words}
            for mention in pair.mentions[lang]:
                assert mention.start in starts and mention.end in ends, text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_mentions_are_in_text_order_and_apart(lang: str) -> None:
    for pair in made("train"):
        ends = [0]
        for mention in pair.mentions[lang]:
            assert ends[-1] <= mention.start
            ends.append(mention.end)
        assert ends[-1] <= len(pair.texts[lang])


@pytest.mark.parametrize("lang", LANGUAGES)
def test_names_of_the_splits_are_disjoint(lang: str) -> None:
    names: dict[str, dict[str, set[str]]] = {}
    for split in ("train", "test"):
        names[split] = defaultdict(set)
        for pair in made(split):
            for mention, surface in zip(pair.mentions[lang], surfaces(pair, lang), strict=True):
                names[split][mention.label].add(re.sub(r"\W", "", surface).casefold())
    for label in LABELS:
        assert len(names["test"][label]) > 100
        assert names["train"][label].isdisjoint(names["test"][label])


def test_a_fifth_of_the_stems_belongs_to_the_test_split() -> None:
    syllables = range(len(miniature_names.SYLLABLES))
    owners = Counter(miniature_names.stem_split((a, b)) for a in syllables for b in syllables)
    assert 0.15 < owners["test"] / owners.total() < 0.25


@pytest.mark.parametrize("lang", LANGUAGES)
def test_characters_of_the_test_split_occur_in_training(lang: str) -> None:
    train = {character for pair in made("train") for character in pair.texts[lang]}
    test = {character for pair in made("test") for character in pair.texts[lang]}
    assert test <= train


@pytest.mark.parametrize("lang", TARGETS)
def test_word_order_differs(lang: str) -> None:
    with_two = [pair for pair in made("train") if len(pair.mentions["en"]) > 1]
    crossed = [pair for pair in with_two if list(pair.links[lang]) != sorted(pair.links[lang])]
    assert len(crossed) / len(with_two) > 0.1
    assert any(
        pair.mentions[lang][0].label == pair.mentions[lang][1].label
        and pair.links[lang][:2] == (1, 0)
        for pair in crossed
    )


def test_articles_melt_into_prepositions() -> None:
    seen = {"de": Counter[str](), "es": Counter[str]()}
    for pair in made("train"):
        for lang, contractions in miniature_language.CONTRACTIONS.items():
            for parts, melted in contractions.items():
                assert f" {parts} " not in pair.texts[lang], pair.texts[lang]
                seen[lang][melted] += f" {melted} " in pair.texts[lang]
    assert seen["de"]["vom"] and seen["es"]["del"] and seen["es"]["al"]


def test_spanish_and_is_e_before_i() -> None:
    texts = " ".join(pair.texts["es"] for pair in made("train"))
    assert re.search(r" e [Ii]\w", texts)
    assert not re.search(r" y [Ii]\w", texts)


def test_adjectives_are_inflected() -> None:
    german = {other for _, en, other in translations("de") if en.endswith("vian")}
    assert german and all(other.endswith("wische") for other in german if other.islower())
    spanish = {other for _, en, other in translations("es") if en.endswith("vian")}
    assert {other[-1] for other in spanish} == {"o", "a"}


def test_entity_free_sentences_lengths_and_labels() -> None:
    pairs = made("train")
    num_mentions = Counter(len(pair.mentions["en"]) for pair in pairs)
    assert num_mentions.keys() == {0, 1, 2, 3, 4}
    assert 0.15 < num_mentions[0] / len(pairs) < 0.25
    assert 8 <= statistics.median(len(pair.texts["en"].split()) for pair in pairs) <= 14
    labels = Counter(mention.label for pair in pairs for mention in pair.mentions["en"])
    assert min(labels[label] for label in LABELS) > 0.12 * labels.total()
    assert any(len(set(surfaces(pair, "en"))) < len(surfaces(pair, "en")) for pair in pairs)


def test_sentences_are_varied() -> None:
    texts = [pair.texts["en"] for pair in miniature.sentences("train", 2000, seed=1)]
    assert len(set(texts)) > 0.95 * len(texts)
    other_seed = [pair.texts["en"] for pair in miniature.sentences("train", 2000, seed=2)]
    assert len(set(texts) & set(other_seed)) < 0.1 * len(texts)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_ordinary_words_are_few(lang: str) -> None:
    words = set()
    for pair in made("train"):
        inside = {i for m in pair.mentions[lang] for i in range(m.start, m.end)}
        text = pair.texts[lang]
        words |= {text[s:e].lower() for s, e in segment(text) if s not in inside}
    assert 150 < len(words) < 500


def test_sentence_depends_on_nothing_but_its_arguments() -> None:
    pairs = list(miniature.sentences("test", 6, seed=5))
    assert pairs[5] == miniature.sentence("test", 2, "MiniatureTalks", seed=5)
    talks = list(miniature.sentences("test", 3, seed=5, corpus="MiniatureTalks"))
    assert talks == pairs[1::2]
    assert pairs != list(miniature.sentences("train", 6, seed=5))


def test_sentence_is_the_same_in_another_process() -> None:
    # String hashes differ from process to process; nothing may hang on them.
    code = (
        "from xner.corpora.miniature import *\n"
        "print(ascii([p.texts for p in sentences('train', 20, noise=Noise(.2, .3, .2))]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_noise_changes_only_the_translations_it_meets() -> None:
    noisy = made("train", Noise(untranslated=0.1, missing=0.1, mismatched=0.1))
    for clean, pair in zip(made("train"), noisy, strict=True):
        assert pair.texts["en"] == clean.texts["en"]
        for lang in TARGETS:
            if pair.fates[lang] == "clean":
                assert pair.texts[lang] == clean.texts[lang]
                assert pair.links[lang] == clean.links[lang]
            else:
                assert pair.texts[lang] != clean.texts[lang]


def test_noise_has_its_shares() -> None:
    noisy = made("train", Noise(untranslated=0.2, missing=0.2, mismatched=0.1))
    fates = Counter(pair.fates[lang] for pair in noisy for lang in TARGETS)
    assert 0.18 < fates["untranslated"] / fates.total() < 0.22
    # A fifth of the sentences has no name that could be missing.
    assert 0.12 < fates["missing"] / fates.total() < 0.2
    assert 0.08 < fates["mismatched"] / fates.total() < 0.12


def test_untranslated_target_is_the_source_with_its_mentions() -> None:
    for pair in miniature.sentences("train", 50, noise=Noise(untranslated=1.0)):
        for lang in TARGETS:
            assert pair.texts[lang] == pair.texts["en"]
            assert pair.mentions[lang] == pair.mentions["en"]
            assert pair.links[lang] == tuple(range(len(pair.mentions["en"])))


def test_missing_name_is_not_in_the_target() -> None:
    clean = made("train")
    num_missing = 0
    for whole, pair in zip(clean, made("train", Noise(missing=1.0)), strict=True):
        for lang in TARGETS:
            if pair.fates[lang] != "missing":
                continue
            left_out = [i for i, link in enumerate(pair.links[lang]) if link is None]
            assert left_out
            num_missing += 1
            for index in left_out:
                link = whole.links[lang][index]
                assert link is not None
                assert surfaces(whole, lang)[link] not in pair.texts[lang]
            for index, link in enumerate(pair.links[lang]):
                if link is not None:
                    counterpart = whole.links[lang][index]
                    assert counterpart is not None
                    assert surfaces(pair, lang)[link].lower() == (
                        surfaces(whole, lang)[counterpart].lower()
                    )
    assert num_missing > 0.7 * len(clean) * len(TARGETS)


def test_mismatched_target_has_its_own_gold_and_no_link() -> None:
    num_names = 0
    for pair in miniature.sentences("train", 200, noise=Noise(mismatched=1.0)):
        for lang in TARGETS:
            assert set(pair.links[lang]) <= {None}
            num_names += len(pair.mentions[lang])
            assert set(surfaces(pair, "en")).isdisjoint(surfaces(pair, lang))
    assert num_names > 800


def test_noise_refuses_shares_beyond_one() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        Noise(untranslated=0.6, missing=0.5)
    with pytest.raises(ValueError, match="at least 0"):
        Noise(missing=-0.1)


def test_write_moses_has_the_opus_layout(tmp_path: Path) -> None:
    paths = miniature.write_moses(tmp_path / "a", 30, target_langs=("de", "zh"))
    assert [str(path.relative_to(tmp_path / "a")) for path in paths] == [
        "OPUS-MiniatureNews/v1/moses/de-en.txt.zip",
        "OPUS-MiniatureNews/v1/moses/en-zh.txt.zip",
        "OPUS-MiniatureTalks/v1/moses/de-en.txt.zip",
        "OPUS-MiniatureTalks/v1/moses/en-zh.txt.zip",
    ]
    with zipfile.ZipFile(paths[3]) as archive:
        assert archive.namelist() == ["MiniatureTalks.en-zh.en", "MiniatureTalks.en-zh.zh"]
        sides = [archive.read(member).decode().split("\n") for member in archive.namelist()]
    expected = list(miniature.sentences("train", 30, corpus="MiniatureTalks"))
    assert sides[0] == [*(pair.texts["en"] for pair in expected), ""]
    assert sides[1] == [*(pair.texts["zh"] for pair in expected), ""]


def test_write_moses_writes_the_same_bytes(tmp_path: Path) -> None:
    first = miniature.write_moses(tmp_path / "a", 20)
    second = miniature.write_moses(tmp_path / "b", 20)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    other = miniature.write_moses(tmp_path / "c", 20, seed=1)
    assert first[0].read_bytes() != other[0].read_bytes()


def test_alignment_examples_follow_the_schema() -> None:
    rows = list(miniature.alignment_examples("train", 200, "de", noise=Noise(missing=0.3)))
    table = pa.Table.from_pylist(rows, schema=ALIGNMENT_EXAMPLES)
    assert table.num_rows == 200 and table.to_pylist() == rows
    for row in rows:
        assert row["names"] and len(row["names"]) == len(set(row["names"])) == len(row["spans"])
    assert any(len(places) == 2 for row in rows for places in row["spans"])
    assert any(not places for row in rows for places in row["spans"])


def test_alignment_examples_point_at_the_translation() -> None:
    known = defaultdict(set)
    for _, en, other in translations("zh"):
        known[en].add(other)
    num_known = 0
    for row in miniature.alignment_examples("train", 300, "zh"):
        for name, places in zip(row["names"], row["spans"], strict=True):
            for place in places:
                if name in known:
                    num_known += 1
                    assert row["text"][place["start"] : place["end"]] in known[name]
    assert num_known > 300


@pytest.mark.parametrize("lang", LANGUAGES)
def test_write_tagged_gives_the_gold_back(lang: str, tmp_path: Path) -> None:
    path = tmp_path / "gold.conll"
    miniature.write_tagged(path, "test", lang, 60)
    blocks = path.read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")
    for block, pair in zip(blocks, miniature.sentences("test", 60), strict=True):
        tokens, tags = zip(*(line.split("\t") for line in block.split("\n")), strict=True)
        words = segment(pair.texts[lang])
        assert list(tokens) == [pair.texts[lang][start:end] for start, end in words]
        assert tuple(decode(tags, words)) == pair.mentions[lang]


def test_frames_have_the_same_slots_in_all_languages() -> None:
    frames = (
        *miniature_language.NEWS,
        *miniature_language.TALKS,
        *miniature_language.NEWS_WITHOUT_NAMES,
        *miniature_language.TALKS_WITHOUT_NAMES,
        miniature_language.DATELINE,
        miniature_language.SPEAKER,
    )
    for frame in frames:
        slots = [sorted(re.findall(r"\{(\w+)", template)) for template in frame]
        assert len(frame) == len(LANGUAGES)
        assert all(other == slots[0] for other in slots), frame[0]


def test_facts_are_complete() -> None:
    places = miniature_names.CITIES + miniature_names.COUNTRIES
    assert {len(row) for row in places} == {len(LANGUAGES)}
    assert {row[0] for row in places} >= miniature_names.TEST_PLACES
    countries = {row[0] for row in miniature_names.COUNTRIES}
    assert {row[0] for row in miniature_names.NATIONALITIES} <= countries
    # Names that take no genitive -s would make the German wrong.
    towns = [row[1] for row in miniature_names.CITIES + miniature_names.TOWN_ENDINGS]
    assert not [name for name in (*towns, *miniature_names.FAMILY_ENDINGS) if name[-1] in "sßxz"]


def test_inventions_are_no_real_places() -> None:
    assert {"boli", "polo"} <= miniature_names.RESERVED_STEMS
    real = {row[0] for row in miniature_names.COUNTRIES if row[0] in miniature_names.TEST_PLACES}
    train = {en for _, en, _ in translations("es")} | {es for _, _, es in translations("es")}
    assert real.isdisjoint(train)


def test_transliteration_can_be_read_back() -> None:
    characters = list(miniature_names.SYLLABLES.values())
    assert len(set(characters)) == len(characters)
