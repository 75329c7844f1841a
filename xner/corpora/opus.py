"""The catalogue of OPUS: what its corpora are called, and where their archives lie.

OPUS (Tiedemann 2012, https://opus.nlpl.eu) keeps one Moses archive a language pair at
``{root}/OPUS-{Corpus}/{version}/moses/{a}-{b}.txt.zip``, the two languages in alphabetical order
of the corpus's own codes. Those codes differ between corpora and versions: Chinese is ``zh`` in
WikiMatrix, ``zh_cn`` in OpenSubtitles v2018, ``zh_CN`` in v2024 and ``cmn`` in Tatoeba. Which one
it is, is asked of the location itself. Names, versions and languages are those of the release
files in https://github.com/Helsinki-NLP/OPUS.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from posixpath import basename
from typing import Literal

from xner.config import BitextConfig, OpusConfig, PrepareConfig
from xner.errors import ConfigError, without_credentials
from xner.shards.remote import ask
from xner.shards.storage import Folder

logger = logging.getLogger(__name__)

Format = Literal["moses", "tmx", "text"]


@dataclass(frozen=True)
class Archive:
    """One file (or two, side by side) that holds the bitext of one language pair."""

    corpus: str
    source_lang: str
    target_lang: str
    path: str
    target_path: str | None = None
    format: Format = "moses"


@dataclass(frozen=True)
class Corpus:
    """What is known of a corpus; ``languages`` are its own codes, None where they are too many."""

    name: str
    version: str
    licence: str
    languages: str | None = None
    withdrawn: bool = False


_TED2013 = "ar de en es fa fr it nl pl pt ro ru sl tr zh"
_SUBTITLES = (
    "af ar bg bn br bs ca cs da de el en eo es et eu fa fi fr gl he hi hr hu hy id is it ja ka kk "
    "ko lt lv mk ml ms nl no pl pt pt_br ro ru si sk sl sq sr sv ta te th tl tr uk ur vi zh_cn "
    "zh_tw"
)
_UNITED_NATIONS = "ar en es fr ru zh"
_EUROPARL = "bg cs da de el en es et fi fr hu it lt lv nl pl pt ro sk sl sv"
_WMT_NEWS = "cs de en es et fi fr gu hi hu it kk lt lv ro ru tr zh"
_COMMENTARY = "ar cs de en es fr hi id it ja kk nl pt ru zh"

CATALOGUE: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus("TED2013", "v1.1", "TED talks: CC BY-NC-ND", _TED2013),
        Corpus("OpenSubtitles", "v2018", "none stated; link to opensubtitles.org", _SUBTITLES),
        Corpus("WikiMatrix", "v1", "Wikipedia: CC BY-SA"),
        Corpus("UNPC", "v1.0", "free with the UN named as its source", _UNITED_NATIONS),
        Corpus("Europarl", "v8", "free of known copyright restrictions", _EUROPARL),
        Corpus("WMT-News", "v2019", "research use", _WMT_NEWS),
        Corpus("News-Commentary", "v16", "research use", _COMMENTARY),
        Corpus("JW300", "v1c", "jw.org forbids redistribution", withdrawn=True),
        Corpus("Tatoeba", "v2023-04-12", "CC BY 2.0 FR"),
    )
}

# Other codes for the same language, the likeliest first.
_SPELLINGS = {
    "zh": ("zh", "zh_cn", "zh_CN", "cmn", "zh_zh"),
    "zh_cn": ("zh_cn", "zh_CN"),
    "zh_tw": ("zh_tw", "zh_TW"),
    "pt_br": ("pt_br", "pt_BR"),
    "fa": ("fa", "pes"),
    "no": ("no", "nb"),
    "nb": ("nb", "no"),
    "he": ("he", "iw"),
    "id": ("id", "in"),
}


def spellings(lang: str) -> tuple[str, ...]:
    """The codes that corpora use for a language, the likeliest first."""
    return tuple(dict.fromkeys((lang, *_SPELLINGS.get(lang.lower(), ()))))


def locate(config: OpusConfig, corpus_spec: str, source_lang: str, target_lang: str) -> Archive:
    """The archive of one language pair of ``corpus_spec``: ``Name`` or ``Name/version``.

    Case and hyphens of the name do not matter. Raises ConfigError when there is no such corpus,
    version or language pair, and says which there are as far as the location can be listed;
    TransientError when the location cannot be reached.
    """
    wanted, _, version = corpus_spec.partition("/")
    root = Folder.at(config.root).location
    corpus = _catalogued(wanted)
    listable = _can_be_listed(root)
    name = corpus.name if corpus else _as_spelled(root, wanted)
    versions = _children(f"{root}/OPUS-{name}") if listable else None
    if corpus and corpus.withdrawn and not versions:
        raise ConfigError(
            f"opus.corpora: OPUS no longer distributes {name} ({corpus.licence}); "
            "if you have a copy, name it under `bitexts`"
        )
    if versions == [] or (versions is None and corpus is None and not version):
        raise ConfigError(_unknown_corpus(root, wanted))
    version = _version(root, name, version, versions, corpus.version if corpus else None)

    folder = f"{root}/OPUS-{name}/{version}/moses"
    for source_code in spellings(source_lang):
        for target_code in spellings(target_lang):
            first, second = sorted((source_code, target_code))
            path = f"{folder}/{first}-{second}.txt.zip"
            if _exists(path, "opus.root"):
                return Archive(name, source_lang, target_lang, path)
    raise _MissingPairError(
        f"opus.corpora: {name}/{version} has no {source_lang}-{target_lang}; "
        + _known_pairs(folder, source_lang, corpus)
    )


def archives(config: PrepareConfig) -> list[Archive]:
    """All archives of a run: per target language, OPUS corpora and then bitexts in their order.

    A corpus that lacks one of several target languages is passed over with a warning in the log;
    one that lacks them all, and a language that no corpus has, is a ConfigError.
    """
    for index, bitext in enumerate(config.bitexts):
        _check_bitext(f"bitexts[{index}]", bitext, config.target_langs)
    located: dict[str, list[Archive]] = {target: [] for target in config.target_langs}
    for spec in config.opus.corpora:
        missing: list[_MissingPairError] = []
        for target in config.target_langs:
            try:
                located[target].append(locate(config.opus, spec, config.source_lang, target))
            except _MissingPairError as error:
                missing.append(error)
        if len(missing) == len(config.target_langs):
            raise missing[0]
        for reason in missing:
            logger.warning("%s; passed over for this language", reason)
    for bitext in config.bitexts:
        located[bitext.target_lang].append(
            Archive(
                bitext.corpus,
                config.source_lang,
                bitext.target_lang,
                Folder.at(bitext.path).location,
                bitext.target_path and Folder.at(bitext.target_path).location,
                _bitext_format(bitext),
            )
        )
    for target, found in located.items():
        if not found:
            raise ConfigError(f"target_langs: no corpus of this recipe has {target}")
    return [archive for found in located.values() for archive in found]


class _MissingPairError(ConfigError):
    """The corpus is there, this language pair is not."""


def _can_be_listed(url: str) -> bool:
    """A web server can be asked for a file, but not for the names in a folder."""
    return not url.startswith(("http://", "https://"))


def _children(url: str) -> list[str]:
    """Names in a folder, sorted; none when there is no such folder."""
    return sorted(basename(info["name"].rstrip("/")) for info in Folder.at(url).children())


def _exists(url: str, key: str) -> bool:
    parent, _, name = url.rpartition("/")
    folder = Folder.at(parent or ("/" if url.startswith("/") else "."))
    filesystem, path = folder.filesystem, folder.path(name)
    try:
        ask(f"{key}: {url}", filesystem, lambda: filesystem.info(path))
    except FileNotFoundError:
        return False
    return True


def _corpora(root: str) -> list[str]:
    names = _children(root)
    return [name.removeprefix("OPUS-") for name in names if name.startswith("OPUS-")]


def _as_spelled(root: str, wanted: str) -> str:
    """The name of a corpus as the location spells it, or as it was given."""
    names = _corpora(root) if _can_be_listed(root) else []
    return next((name for name in names if _folded(name) == _folded(wanted)), wanted)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _catalogued(wanted: str) -> Corpus | None:
    return next((c for name, c in CATALOGUE.items() if _folded(name) == _folded(wanted)), None)


def _unknown_corpus(root: str, wanted: str) -> str:
    listed = _corpora(root) if _can_be_listed(root) else None
    names = sorted(CATALOGUE) if listed is None else listed
    by_folded = {_folded(name): name for name in {*CATALOGUE, *names}}
    near = get_close_matches(_folded(wanted), by_folded, n=1, cutoff=0.5)
    # A name of the catalogue that this location lacks is its own nearest name.
    hint = f"; did you mean {by_folded[near[0]]}?" if near and near[0] != _folded(wanted) else ""
    if listed is None:
        return (
            f"opus.corpora: {wanted} is not in the catalogue{hint} (it has {_enumerated(names)}); "
            f"any other OPUS corpus needs its version: `{wanted}/v1`"
        )
    return f"opus.corpora: {root} has no corpus {wanted}{hint} (it has {_enumerated(names)})"


def _version(
    root: str, name: str, wanted: str, versions: list[str] | None, default: str | None
) -> str:
    if versions is None:
        # `locate` asks for the file itself, and has refused a name without version or default.
        return wanted or str(default)
    if wanted:
        if wanted not in versions:
            raise ConfigError(
                f"opus.corpora: {root} has no version {wanted} of {name} "
                f"(it has {_enumerated(versions)})"
            )
        return wanted
    if default in versions:
        return str(default)
    if default is not None and len(versions) > 1:
        raise ConfigError(
            f"opus.corpora: {root} has {name} not in its usual version {default} but in "
            f"several others; name one: {_enumerated([f'{name}/{v}' for v in versions])}"
        )
    newest = max(versions, key=_natural)
    if default is not None:
        _tell_version(root, name, newest, default)
    return newest


@cache
def _tell_version(root: str, name: str, version: str, default: str) -> None:
    """Say once, and not for every language, that another version than the usual one is read."""
    root = without_credentials(root)
    logger.info("%s: %s has version %s, not the usual %s", root, name, version, default)


def _natural(version: str) -> list[tuple[int, str]]:
    """Sort key by which v10 follows v9."""
    parts = re.split(r"(\d+)", version)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _known_pairs(folder: str, source_lang: str, corpus: Corpus | None) -> str:
    if _can_be_listed(folder):
        files = _children(folder)
        pairs = [name.removesuffix(".txt.zip") for name in files if name.endswith(".txt.zip")]
        with_source = [p for p in pairs if set(p.split("-")) & set(spellings(source_lang))]
        return f"it has {_enumerated(with_source or pairs)}"
    if corpus and corpus.languages:
        return f"its languages are {corpus.languages} (looked in {folder})"
    return f"looked in {folder}"


def _check_bitext(key: str, bitext: BitextConfig, target_langs: Sequence[str]) -> None:
    if bitext.target_lang not in target_langs:
        raise ConfigError(
            f"{key}.target_lang: {bitext.target_lang} is not among target_langs "
            f"({_enumerated(target_langs)})"
        )
    _bitext_format(bitext, key)
    for field, path in (("path", bitext.path), ("target_path", bitext.target_path)):
        if path is not None and not _exists(path, f"{key}.{field}"):
            raise ConfigError(f"{key}.{field}: there is no {path}")


def _bitext_format(bitext: BitextConfig, key: str = "bitexts") -> Format:
    if bitext.target_path is not None:
        return "text"
    suffixes = basename(bitext.path).lower().split(".")[1:]
    if "tmx" in suffixes:
        return "tmx"
    if suffixes[-1:] == ["zip"]:
        return "moses"
    raise ConfigError(
        f"{key}.path: {bitext.path} is neither .zip nor .tmx (.tmx.gz, .tmx.zip); "
        "a text file of one side needs `target_path`, the other side"
    )


def _enumerated(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
