from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from xner.config import IdMapConfig, TaggedSourceConfig
from xner.corpora import miniature
from xner.corpora.tagged import LABEL_MAPS
from xner.errors import ConfigError, DataError
from xner.evaluation.projection import ceiling
from xner.evaluation.projection_gold import (
    GoldPair,
    inexpressible,
    labelled_table,
    read_gold,
    require_parallel,
)
from xner.shards.schema import LABELLED
from xner.text.mentions import Mention

EN = "# sent_id = e1\nTom B-PER\nlives O\n\n# sent_id = e2\nRain O\nin O\nRome B-LOC\n"
DE = "# sent_id = d2\nRegen O\nin O\nRom B-LOC\n\n# sent_id = d1\nTom B-PER\nlebt O\n"
MAP = "de\tother\ten\nd1\tx\te1\nd2\ty\te2\n"


def read(folder: Path, en: str, de: str, id_map: str | None = None, **settings: Any):
    files = {"a.conll": en, "b.conll": de, "map.tsv": id_map}
    for name, content in files.items():
        if content is not None:
            (folder / name).write_text(content)
    return read_gold(
        TaggedSourceConfig(path=str(folder / "a.conll"), lang="en"),
        TaggedSourceConfig(path=str(folder / "b.conll"), lang="de"),
        None
        if id_map is None
        else IdMapConfig(path=str(folder / "map.tsv"), source_column="en", target_column="de"),
        **settings,
    )


def gold_pair(source: str, target: str, **mentions: tuple[Mention, ...]) -> GoldPair:
    empty: dict[str, Any] = {"source_mentions": (), "target_mentions": (), **mentions}
    return GoldPair("1", "en", "de", source, target, **empty)


def test_read_gold_joins_through_the_id_map_in_its_order(tmp_path: Path) -> None:
    first, second = read(tmp_path, EN, DE, MAP)
    assert first == GoldPair(
        "e1", "en", "de", "Tom lives", "Tom lebt", (Mention(0, 3, "PER"),), (Mention(0, 3, "PER"),)
    )
    assert (second.source, second.target) == ("Rain in Rome", "Regen in Rom")
    windows = MAP.replace("\n", "\r\n").rstrip()
    assert read(tmp_path, EN, DE, windows) == [first, second]


def test_read_gold_pairs_line_by_line_without_a_map(tmp_path: Path) -> None:
    pairs = read(tmp_path, "Tom B-PER\n\nRome B-LOC\n", "Tom B-PER\n\nRom B-LOC\n")
    assert [(p.pair_id, p.source, p.target) for p in pairs] == [
        ("1", "Tom", "Tom"),
        ("2", "Rome", "Rom"),
    ]


def test_read_gold_keeps_the_types_that_are_asked_for(tmp_path: Path) -> None:
    first, second = read(tmp_path, EN, DE, MAP, labels=["LOC"])
    assert first.source_mentions == first.target_mentions == ()
    assert second.source_mentions == (Mention(8, 12, "LOC"),)


@pytest.mark.parametrize(
    ("en", "de", "id_map", "message"),
    [
        (EN, DE + "\nmehr O\n", None, r"b\.conll: 3 sentences, but .*a\.conll has 2"),
        (EN, DE, MAP + "d3\tz\te3\n", r"a\.conll, .*1 sentence ids are in the map but not in .*e3"),
        (EN, DE, MAP[:20], r"a\.conll, .*1 sentence ids are in the file but not in the map.* e2"),
        (EN, DE, MAP + "d1\tx\te1\n", r"1 sentence ids are in the map more than once, such as e1"),
        (EN, DE, MAP + "d3\tz\n", r"map\.tsv:4: 2 columns, expected 3 as in line 1"),
        (EN.replace("# sent_id = e2\n", ""), DE, MAP, r"a\.conll: sentence 2 has no comment"),
        (EN.replace("e2", "e1"), DE, MAP, r"a\.conll: sentence 2 has the id of another, e1"),
    ],
)
def test_read_gold_refuses_sides_that_do_not_match(
    tmp_path: Path, en: str, de: str, id_map: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, en, de, id_map)


def test_read_gold_names_settings_that_must_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source_column is 'en', but the first line has de, fr"):
        read(tmp_path, EN, DE, "de\tfr\nd1\te1\n")
    with pytest.raises(ConfigError, match=r"no entity type that both have \(found LOC, PER and N"):
        read(tmp_path, EN, DE.replace("PER", "NAME").replace("LOC", "NAME"), MAP)


def test_labelled_table_is_what_the_main_job_has_after_its_first_stage(tmp_path: Path) -> None:
    table = labelled_table(read(tmp_path, EN, DE, MAP))
    assert table.schema.equals(LABELLED)
    row = table.to_pylist()[1]
    assert (row["pair_id"], row["source"], row["target"]) == ("e2", "Rain in Rome", "Regen in Rom")
    assert row["source_mentions"] == [{"start": 8, "end": 12, "label": "LOC", "score": 1.0}]
    assert row["length_ratio"] is None


def test_inexpressible_are_mentions_with_a_border_inside_a_word() -> None:
    mentions = (Mention(0, 2, "ORG"), Mention(0, 10, "ORG"), Mention(11, 14, "LOC"))
    pair = gold_pair("", "EU-Bericht Rom", target_mentions=mentions)
    assert inexpressible(pair) == [mentions[0]]


# Parallel or not


def miniature_gold(count: int) -> list[GoldPair]:
    return [gold_pair(s.texts["en"], s.texts["de"]) for s in miniature.sentences("test", count)]


def with_targets(gold: list[GoldPair], targets: list[str]) -> list[GoldPair]:
    return [gold_pair(pair.source, target) for pair, target in zip(gold, targets, strict=True)]


def test_require_parallel_accepts_what_is_parallel() -> None:
    for count in (29, 30, 99, 149, 300):
        require_parallel(miniature_gold(count), "here")
    require_parallel([gold_pair("( Applause )", "( Beifall )")] * 60, "here")


def test_require_parallel_refuses_shuffled_sides() -> None:
    gold = miniature_gold(300)
    targets = [pair.target for pair in gold]
    random.Random(0).shuffle(targets)
    with pytest.raises(DataError, match=r"here: not parallel: .*pairs 1 to 50 .*shuffled"):
        require_parallel(with_targets(gold, targets), "here")
    require_parallel(with_targets(gold, targets)[:29], "here")


def test_require_parallel_accepts_what_is_sorted_by_length() -> None:
    """Neighbours of one length fit each other's translations as well as their own."""
    gold = [
        gold_pair("we saw it" + " again" * (number // 20), "sahen es" + " wieder" * (number // 20))
        for number in range(400)
    ]
    require_parallel(gold, "here")
    targets = [pair.target for pair in gold]
    with pytest.raises(DataError, match="not parallel"):
        require_parallel(with_targets(gold, targets[::-1]), "here")


@pytest.mark.parametrize(("first", "stretch"), [(0, "1 to 50"), (100, "101 to 150")])
def test_require_parallel_says_where_sides_slipped(first: int, stretch: str) -> None:
    gold = miniature_gold(300)
    targets = [pair.target for pair in gold]
    slipped = [*targets[:first], "Neu .", *targets[first:-1]]
    with pytest.raises(DataError, match=rf"pairs {stretch} .*fits translation n\+1"):
        require_parallel(with_targets(gold, slipped), "here")


# Real gold

COLUMNS = {"token_column": 1, "tag_column": 2}


def europarl(data: Path, lang: str) -> list[GoldPair]:
    source, target = (
        TaggedSourceConfig(
            path=str(data / f"projection_gold/{side}-europarl.test.conll02"),
            lang=side,
            label_map=LABEL_MAPS["europarl"],
        )
        for side in ("en", lang)
    )
    return read_gold(source, target)


def pud(data: Path, with_map: bool = True, **settings: Any) -> list[GoldPair]:
    source, target = (
        TaggedSourceConfig(
            path=str(data / f"projection_gold/{side}_pud-ud-test.iob2"),
            lang=side,
            label_map=LABEL_MAPS["uner"],
            **COLUMNS,
        )
        for side in ("en", "zh")
    )
    id_map = IdMapConfig(
        path=str(data / "projection_gold/zh_pud_sent_id_map.tsv"),
        source_column="uner_en_sent_id",
        target_column="uner_zh_sent_id",
    )
    return read_gold(source, target, id_map if with_map else None, **settings)


@pytest.mark.parametrize(
    ("lang", "num_pairs", "num_mentions", "typed", "untyped"),
    [
        ("de", 799, (702, 693), 0.953, 0.984),
        ("es", 799, (702, 697), 0.972, 0.988),
        ("zh", 1000, (1075, 1139), 0.803, 0.854),
    ],
)
def test_real_gold_has_the_known_numbers_and_ceilings(
    shared_data: Path,
    lang: str,
    num_pairs: int,
    num_mentions: tuple[int, int],
    typed: float,
    untyped: float,
) -> None:
    gold = pud(shared_data) if lang == "zh" else europarl(shared_data, lang)
    sides = [p.source_mentions for p in gold], [p.target_mentions for p in gold]
    assert len(gold) == num_pairs
    assert tuple(sum(map(len, side)) for side in sides) == num_mentions
    assert ceiling(*sides).overall.f1 == pytest.approx(typed, abs=5e-4)
    assert ceiling(*sides, typed=False).overall.f1 == pytest.approx(untyped, abs=5e-4)
    assert not any(map(inexpressible, gold))


def test_real_gold_in_another_order_is_refused(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"zh_pud.*pairs 401 to 450 .*shuffled"):
        pud(shared_data, with_map=False)
    assert len(pud(shared_data, with_map=False, check_parallel=False)) == 1000
