from __future__ import annotations

import collections
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from xner.config import CleaningConfig, OpusConfig, PrepareConfig, SamplingConfig
from xner.corpora import cleaning
from xner.corpora.bitext import Block, read_bitext
from xner.corpora.cleaning import CLEANED, REASONS, SCRIPTS, accept, clean, score
from xner.corpora.opus import CATALOGUE, Archive, locate
from xner.errors import ConfigError
from xner.shards.schema import PAIRS, STATUSES
from xner.text.languages import language_of

ARCHIVE = Archive("Tatoeba", "en", "de", "unused.zip")


def _recipe(seed: int = 0, **rules: object) -> PrepareConfig:
    return PrepareConfig(
        target_langs=["de"],
        opus=OpusConfig(corpora=["Tatoeba"]),
        cleaning=CleaningConfig(**rules),
        sampling=SamplingConfig(seed=seed),
        output="unused",
    )


def _reason(source: str, target: str, langs: tuple[str, str] = ("en", "de"), **rules) -> str:
    config = CleaningConfig(**rules)
    return REASONS[accept(score([source], [target], *langs, config), config)[0]]


GOOD = [
    ("Hi.", "Grüß Gott!", "de"),
    ("How so?", "Warum?", "de"),
    ("Go.", "Verschwinde!", "de"),
    ("I'm 19.", "Ich bin 19.", "de"),
    ("It's 3:30.", "3点半了。", "zh"),
    ("7", "8", "de"),
    ("OK?", "Oké?", "nl"),
    ("Tom owes Mary thirty dollars.", "Tom欠Mary三十元。", "zh"),
    ("In 2015 it was $64.6 billion, up from 73.1.", "2015年为646亿美元低于731亿美元。", "zh"),
    ("The speed limit commission met.", "Die Geschwindigkeitsbegrenzungskommission tagte.", "de"),
    ("A dog.", "ओ कुत्ता।", "hi"),
    ("We saw it.", "私たちはそれを見た。", "ja"),
    ("I live in Seoul.", "나는 서울에 산다.", "ko"),
    ("Where is it?", "Где это?", "ru"),
    ("Where is it?", "Gde je to?", "sr"),
    ("A strange tongue.", "Ⲟⲩⲁⲥⲡⲉ ⲛⲃⲣⲣⲉ.", "cop"),
]


@pytest.mark.parametrize(("source", "target", "lang"), GOOD)
def test_cleaning_accepts_good_pairs(source: str, target: str, lang: str) -> None:
    assert _reason(source, target, ("en", lang)) == ""


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("", "Hallo.", "empty"),
        ("Hello.", " \u00a0\u200b\t", "empty"),
        ("Hello there. " * 80, "Hallo du da. " * 70, "too_long"),
        ("Help me, Tom.", " Help me, Tom.\t", "identical"),
        ("Yes.", "Das ist ein Satz, der mit dem anderen gar nichts zu tun hat.", "length_ratio"),
        ("1 | 22 | 333 | 4444 | 55555", "1 | 22 | 333 | 4444 | 55.555", "symbols"),
        ("She lives in Boston.", "Она живёт в Бостоне.", "script"),
        ("Она живёт в Бостоне.", "Sie lebt in Boston.", "script"),
    ],
)
def test_cleaning_refuses_by_the_rule(source: str, target: str, reason: str) -> None:
    assert _reason(source, target) == reason
    assert _reason(source, target, max_chars=1) == ("empty" if reason == "empty" else "too_long")


def test_cleaning_names_the_first_rule_that_refuses() -> None:
    config = CleaningConfig(max_chars=20)
    source = ["", "x" * 21, "+" * 20, "+" * 20, "+" * 20]
    target = ["", "x" * 21, "+" * 20, "ж" * 19, "-" * 20]
    codes = accept(score(source, target, "en", "de", config), config)
    assert [REASONS[code] for code in codes] == [
        "empty",
        "too_long",
        "identical",
        "symbols",
        "symbols",
    ]


def test_cleaning_thresholds_are_the_recipes() -> None:
    assert _reason("Help me, Tom.", "Help me, Tom.", allow_identical=True) == ""
    assert _reason("Yes.", "Aber ja doch, gewiss.", max_length_ratio=1.5) == "length_ratio"
    assert _reason("I'm 19.", "Ich bin 19.", max_symbol_share=0.1) == "symbols"
    assert _reason("Tom owes Mary.", "Tom欠Mary。", ("en", "zh"), min_script_share=0.9) == "script"
    assert _reason("Она живёт.", "Sie lebt.", min_script_share=0) == ""


def test_cleaning_scores_are_what_they_say() -> None:
    scores = score(["abcde 12.", "abc"], ["汉汉汉 a", "  "], "en", "zh", CleaningConfig())
    assert scores.shortest_chars.tolist() == [5, 0]
    assert scores.longest_chars.tolist() == [9, 3]
    chinese = 3 * 3.625 + 2
    assert scores.length_ratio[0] == pytest.approx((chinese + 10) / (9 + 10))
    assert scores.symbol_share[0] == pytest.approx(3 / (5 + 3 + 10))
    assert scores.script_share[0] == pytest.approx(1 - 1 / (3 * 3.625 + 1))
    assert np.isnan(scores.language_score).all()


def test_cleaning_counts_every_sentence_of_a_block_alone() -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("abc жя汉字,. 12\x85\u2028"))
    texts = ["".join(rng.choice(letters, rng.integers(0, 4_000))) for _ in range(400)]
    others = texts[::-1]
    config = CleaningConfig()
    together = score(texts, others, "en", "zh", config)
    for index in range(0, 400, 23):
        alone = score([texts[index]], [others[index]], "en", "zh", config)
        for name in ("longest_chars", "length_ratio", "symbol_share", "script_share"):
            np.testing.assert_array_equal(getattr(together, name)[index], getattr(alone, name)[0])


def test_cleaning_sums_do_not_overflow_on_long_texts() -> None:
    scores = score(["汉" * 40_000], ["." * 100_000], "zh", "en", CleaningConfig())
    assert scores.longest_chars[0] == 100_000
    assert scores.script_share[0] == 1
    assert scores.symbol_share[0] > 0.99


def test_cleaning_of_no_pairs_is_no_scores() -> None:
    assert len(accept(score([], [], "en", "de", CleaningConfig()), CleaningConfig())) == 0


def test_cleaning_skips_the_script_of_an_unknown_language() -> None:
    scores = score(["Hello", "12"], ["ⲟⲩⲁ", "12!"], "xx", "yy", CleaningConfig())
    assert np.isnan(scores.script_share).all()
    # A side without letters says nothing; the other side still counts.
    assert score(["12"], ["жя"], "en", "de", CleaningConfig()).script_share[0] == 0


def test_cleaning_knows_the_scripts_of_the_catalogue() -> None:
    for corpus in CATALOGUE.values():
        for code in (corpus.languages or "").split():
            assert language_of(code) in SCRIPTS, code


# The language


def test_cleaning_identifies_the_language() -> None:
    pytest.importorskip("py3langid")
    english = "The committee will meet again on Tuesday to discuss the new proposal."
    german = "Der Ausschuss trifft sich am Dienstag wieder, um den Vorschlag zu besprechen."
    config = CleaningConfig(identify_language=True)
    scores = score(
        [english, english, "Hi there.", english, english],
        [german, english.replace("Tuesday", "Monday"), "Hallo ihr.", "", german * 20],
        "en",
        "de",
        config,
    )
    assert [REASONS[code] for code in accept(scores, config)] == [
        "",
        "language",
        "",
        "empty",
        "too_long",
    ]
    assert scores.language_score[0] > 0.9
    # Too short to tell, and already refused by another rule.
    assert np.isnan(scores.language_score[2:]).all()


def test_cleaning_says_how_to_install_the_identifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    cleaning._identifier.cache_clear()
    text = "A sentence that is long enough to be identified."
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[langid\]'"):
        score([text], [text + "."], "en", "de", CleaningConfig(identify_language=True))


# The table


def test_cleaning_conserves_rows() -> None:
    block = Block(
        first_line=1,
        source=["One.", "Two.", "caf\ufffd", "Four."],
        target=["Eins.", "Two.", "Café", ""],
        refused={2: "invalid_utf8", 3: "missing_language"},
    )
    table = clean(block, ARCHIVE, _recipe())
    assert table.schema == CLEANED
    assert table["source"].to_pylist() == block.source
    assert table["target"].to_pylist() == block.target
    assert table["status"].to_pylist() == ["ok", "filtered", "error", "error"]
    assert table["reason"].to_pylist() == [None, "identical", "invalid_utf8", "missing_language"]
    assert table["symbol_share"].null_count == 2
    assert table["language_score"].null_count == 4
    assert set(table["corpus"].to_pylist()) == {"Tatoeba"}
    assert set(table["status"].to_pylist()) <= set(STATUSES)
    table.select(PAIRS.names).cast(PAIRS).validate(full=True)
    table.validate(full=True)


def test_cleaning_reasons_are_closed_and_distinct() -> None:
    assert len(set(REASONS)) == len(REASONS)
    assert REASONS[0] == ""
    assert "duplicate" in REASONS


def _clean(source: str, target: str, archive: Archive = ARCHIVE, seed: int = 0) -> dict:
    table = clean(Block(1, [source], [target], {}), archive, _recipe(seed))
    return table.to_pylist()[0]


def test_cleaning_hashes_are_stable() -> None:
    row = _clean("One.", "Eins.")
    identity = blake2b(b"Tatoeba\0en\0de\0One.\0Eins.", digest_size=16).hexdigest()
    assert row["pair_id"] == identity
    key = blake2b(b"0\0en\0de\0One.\0Eins.", digest_size=8).digest()
    assert row["key"] == int.from_bytes(key, "little", signed=True)


def test_cleaning_identity_tells_corpora_apart_and_the_key_does_not() -> None:
    here = _clean("One.", "Eins.")
    there = _clean("One.", "Eins.", Archive("WMT-News", "en", "de", "unused.zip"))
    assert here["pair_id"] != there["pair_id"]
    assert here["key"] == there["key"]


def test_cleaning_key_depends_on_seed_languages_and_both_texts() -> None:
    dutch = Archive("Tatoeba", "en", "nl", "unused.zip")
    rows = [
        _clean("ab", "c"),
        _clean("a", "bc"),
        _clean("ab", "c", seed=1),
        _clean("ab", "c", dutch),
    ]
    assert len({row["key"] for row in rows}) == 4
    # Another seed draws another sample of the same pairs.
    assert rows[0]["pair_id"] == rows[2]["pair_id"]
    assert len({row["pair_id"] for row in rows}) == 3


@pytest.mark.parametrize(
    ("corpus", "lang", "expected"),
    [
        ("Tatoeba", "zh", {}),
        ("WMT-News", "zh", {"too_long": 10, "length_ratio": 1, "symbols": 1, "script": 1}),
        ("WMT-News", "es", {"identical": 21, "symbols": 1}),
        ("Tatoeba", "nl", {"identical": 17}),
    ],
)
def test_cleaning_refuses_few_pairs_of_clean_corpora(
    shared_data: Path, corpus: str, lang: str, expected: dict[str, int]
) -> None:
    archive = locate(OpusConfig(root=str(shared_data / "opus")), corpus, "en", lang)
    refused: collections.Counter[str] = collections.Counter()
    for block in read_bitext(archive):
        refused.update(clean(block, archive, _recipe())["reason"].drop_null().to_pylist())
    assert refused == expected
