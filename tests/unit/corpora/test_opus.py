from __future__ import annotations

import logging
from pathlib import Path

import pytest

from xner.config import BitextConfig, OpusConfig, PrepareConfig
from xner.corpora.opus import CATALOGUE, Archive, archives, locate
from xner.errors import ConfigError, TransientError


def _store(root: Path, *archives: str) -> OpusConfig:
    """An empty OPUS store; ``Tatoeba/v1/de-en`` is one archive."""
    for archive in archives:
        corpus, version, pair = archive.split("/")
        path = root / f"OPUS-{corpus}" / version / "moses" / f"{pair}.txt.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return OpusConfig(root=str(root))


def _recipe(opus: OpusConfig, corpora: list[str], targets: list[str], **more: object):
    return PrepareConfig(
        target_langs=targets,
        opus=OpusConfig(root=opus.root, corpora=corpora),
        output="unused",
        **more,
    )


@pytest.mark.parametrize("spelled", ["Ted2013", "TED2013", "ted2013", "TED-2013"])
def test_opus_locate_takes_any_spelling_of_a_name(tmp_path: Path, spelled: str) -> None:
    opus = _store(tmp_path, "TED2013/v1.1/de-en")
    assert locate(opus, spelled, "en", "de") == Archive(
        "TED2013", "en", "de", f"{tmp_path}/OPUS-TED2013/v1.1/moses/de-en.txt.zip"
    )


@pytest.mark.parametrize(
    ("archive", "target"),
    [
        ("WikiMatrix/v1/en-zh", "zh"),
        ("OpenSubtitles/v2018/en-zh_cn", "zh"),
        ("OpenSubtitles/v2024/en-zh_CN", "zh"),
        ("OpenSubtitles/v2024/en-zh_TW", "zh_tw"),
        ("Tatoeba/v2023-04-12/cmn-en", "zh"),
        ("OpenSubtitles/v2018/en-pt_br", "pt_BR"),
    ],
)
def test_opus_locate_finds_a_language_under_the_code_of_the_corpus(
    tmp_path: Path, archive: str, target: str
) -> None:
    corpus, version, pair = archive.split("/")
    found = locate(_store(tmp_path, archive), f"{corpus}/{version}", "en", target)
    assert found.path.endswith(f"{pair}.txt.zip")
    assert found.target_lang == target


def test_opus_locate_prefers_the_usual_version(tmp_path: Path) -> None:
    opus = _store(tmp_path, "Europarl/v7/de-en", "Europarl/v8/de-en")
    assert "/v8/" in locate(opus, "Europarl", "en", "de").path
    assert "/v7/" in locate(opus, "Europarl/v7", "en", "de").path


def test_opus_locate_takes_the_only_version_of_a_mirror_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opus = _store(tmp_path, "Tatoeba/manythings/de-en")
    with caplog.at_level(logging.INFO):
        assert "/manythings/" in locate(opus, "tatoeba", "en", "de").path
    assert "Tatoeba has version manythings" in caplog.text


def test_opus_locate_asks_which_of_several_unusual_versions(tmp_path: Path) -> None:
    opus = _store(tmp_path, "Tatoeba/a/de-en", "Tatoeba/b/de-en")
    with pytest.raises(ConfigError, match="name one: Tatoeba/a, Tatoeba/b"):
        locate(opus, "Tatoeba", "en", "de")


def test_opus_locate_takes_the_newest_version_of_a_corpus_it_does_not_know(tmp_path: Path) -> None:
    opus = _store(tmp_path, "QED/v2/de-en", "QED/v10/de-en", "QED/v9.1/de-en")
    assert locate(opus, "qed", "en", "de") == Archive(
        "QED", "en", "de", f"{tmp_path}/OPUS-QED/v10/moses/de-en.txt.zip"
    )


def test_opus_locate_names_the_nearest_corpus(tmp_path: Path) -> None:
    opus = _store(tmp_path, "Tatoeba/v1/de-en", "NTREX/v1/de-en")
    with pytest.raises(ConfigError, match=r"no corpus Tatobea; did you mean Tatoeba\?.*NTREX"):
        locate(opus, "Tatobea", "en", "de")


def test_opus_locate_names_the_versions_there_are(tmp_path: Path) -> None:
    opus = _store(tmp_path, "Europarl/v7/de-en", "Europarl/v8/de-en")
    with pytest.raises(ConfigError, match=r"no version v9 of Europarl \(it has v7, v8\)"):
        locate(opus, "Europarl/v9", "en", "de")


def test_opus_locate_names_the_pairs_there_are(tmp_path: Path) -> None:
    opus = _store(tmp_path, "WMT-News/v2019/de-en", "WMT-News/v2019/en-zh", "WMT-News/v2019/de-fr")
    with pytest.raises(ConfigError, match=r"has no en-nl; it has de-en, en-zh$"):
        locate(opus, "WMT-News", "en", "nl")


@pytest.mark.parametrize("root", ["https://object.pouta.csc.fi", "{tmp_path}"])
def test_opus_locate_says_that_jw300_is_withdrawn(tmp_path: Path, root: str) -> None:
    opus = OpusConfig(root=root.format(tmp_path=tmp_path))
    with pytest.raises(ConfigError, match=r"no longer distributes JW300.*`bitexts`"):
        locate(opus, "jw300", "en", "de")


def test_opus_locate_takes_jw300_from_a_mirror_that_has_it(tmp_path: Path) -> None:
    assert locate(_store(tmp_path, "JW300/v1c/de-en"), "JW300", "en", "de").corpus == "JW300"


def test_opus_locate_needs_a_version_where_it_cannot_look(tmp_path: Path) -> None:
    opus = OpusConfig(root="https://object.pouta.csc.fi")
    with pytest.raises(ConfigError, match=r"Europarll .*did you mean Europarl\?.*`Europarll/v1`"):
        locate(opus, "Europarll", "en", "de")


def test_opus_locate_tells_an_unreachable_store_from_a_missing_pair() -> None:
    with pytest.raises(TransientError, match="does not answer"):
        locate(OpusConfig(root="http://127.0.0.1:9"), "Europarl", "en", "de")


def test_opus_locate_names_an_unknown_kind_of_location() -> None:
    with pytest.raises(ConfigError, match="nowhere://"):
        locate(OpusConfig(root="nowhere://opus"), "Europarl", "en", "de")


def test_opus_archives_are_in_recipe_order_per_language(tmp_path: Path) -> None:
    opus = _store(tmp_path, "B/v1/de-en", "B/v1/en-nl", "A/v1/de-en", "A/v1/en-nl")
    own = tmp_path / "own.tmx.gz"
    own.touch()
    recipe = _recipe(
        opus,
        ["B/v1", "A/v1"],
        ["nl", "de"],
        bitexts=[BitextConfig(corpus="own", target_lang="nl", path=str(own))],
    )
    found = [(archive.target_lang, archive.corpus) for archive in archives(recipe)]
    assert found == [("nl", "B"), ("nl", "A"), ("nl", "own"), ("de", "B"), ("de", "A")]


def test_opus_archives_pass_over_a_language_that_a_corpus_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opus = _store(tmp_path, "Tatoeba/v1/de-en", "Tatoeba/v1/en-nl", "WMT-News/v2019/de-en")
    found = archives(_recipe(opus, ["Tatoeba", "WMT-News"], ["de", "nl"]))
    assert [(a.corpus, a.target_lang) for a in found] == [
        ("Tatoeba", "de"),
        ("WMT-News", "de"),
        ("Tatoeba", "nl"),
    ]
    assert "WMT-News/v2019 has no en-nl" in caplog.text


def test_opus_archives_refuse_a_corpus_without_any_of_the_languages(tmp_path: Path) -> None:
    opus = _store(tmp_path, "Tatoeba/v1/de-en", "WMT-News/v2019/en-zh")
    with pytest.raises(ConfigError, match="WMT-News/v2019 has no en-de"):
        archives(_recipe(opus, ["Tatoeba", "WMT-News"], ["de"]))


def test_opus_archives_refuse_a_language_without_any_corpus(tmp_path: Path) -> None:
    opus = _store(tmp_path, "Tatoeba/v1/de-en")
    with pytest.raises(ConfigError, match="target_langs: no corpus of this recipe has nl"):
        archives(_recipe(opus, ["Tatoeba"], ["de", "nl"]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.zip", "moses"), ("a.tmx", "tmx"), ("a.tmx.gz", "tmx"), ("a.en-de.tmx.zip", "tmx")],
)
def test_opus_archives_tell_the_format_of_a_bitext_by_its_name(
    tmp_path: Path, name: str, expected: str
) -> None:
    (tmp_path / name).touch()
    bitext = BitextConfig(corpus="own", target_lang="de", path=str(tmp_path / name))
    (found,) = archives(_recipe(OpusConfig(), [], ["de"], bitexts=[bitext]))
    assert (found.format, found.path) == (expected, str(tmp_path / name))


@pytest.mark.parametrize(
    ("bitext", "message"),
    [
        ({"path": "a.en"}, r"bitexts\[0\].path: .*a.en is neither .zip nor .tmx.*`target_path`"),
        ({"path": "gone.zip"}, r"bitexts\[0\].path: there is no .*gone.zip"),
        ({"path": "a.en", "target_path": "a.de"}, r"bitexts\[0\].target_path: there is no .*a.de"),
        ({"path": "a.en", "target_lang": "nl"}, r"bitexts\[0\].target_lang: nl is not among"),
    ],
)
def test_opus_archives_check_bitexts(tmp_path: Path, bitext: dict, message: str) -> None:
    (tmp_path / "a.en").touch()
    paths = {key: str(tmp_path / path) for key, path in bitext.items() if "path" in key}
    record = BitextConfig(**{"corpus": "own", "target_lang": "de", **bitext, **paths})
    with pytest.raises(ConfigError, match=message):
        archives(_recipe(OpusConfig(), [], ["de"], bitexts=[record]))


def test_opus_catalogue_names_the_corpora_of_the_paper() -> None:
    assert set(CATALOGUE) == {
        "TED2013",
        "OpenSubtitles",
        "WikiMatrix",
        "UNPC",
        "Europarl",
        "WMT-News",
        "News-Commentary",
        "JW300",
        "Tatoeba",
    }


def test_opus_archives_of_the_local_mirror(shared_data: Path) -> None:
    opus = OpusConfig(root=str(shared_data / "opus"))
    recipe = _recipe(opus, ["Tatoeba", "WMT-News"], ["de", "es", "nl", "zh"])
    assert [f"{a.corpus} {a.target_lang}" for a in archives(recipe)] == [
        "Tatoeba de",
        "WMT-News de",
        "Tatoeba es",
        "WMT-News es",
        "Tatoeba nl",
        "Tatoeba zh",
        "WMT-News zh",
    ]
