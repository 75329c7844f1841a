"""The miniature world: made parallel sentences in five languages with exact gold, for everything
that must run without a download.

A grammar (:mod:`xner.corpora.miniature_language`) and its names
(:mod:`xner.corpora.miniature_names`) make a sentence and its translations at once, so every
mention and its counterpart are known, not found. Names of the test split never occur in the
training split; their translations follow from rules that the training split shows. Sentence i of a
corpus depends on nothing but seed, split, corpus and i.
"""

from __future__ import annotations

import random
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count as counted
from pathlib import Path
from typing import Any, Literal

from xner.corpora import miniature_language as language
from xner.corpora import miniature_names as names
from xner.corpora.miniature_language import LANGUAGES
from xner.corpora.miniature_names import Split
from xner.text.iob2 import encode
from xner.text.mentions import Mention
from xner.text.words import segment

__all__ = [
    "CORPORA",
    "LABELS",
    "LANGUAGES",
    "VERSION",
    "Corpus",
    "Fate",
    "Noise",
    "ParallelSentence",
    "Split",
    "alignment_examples",
    "sentence",
    "sentences",
    "write_moses",
    "write_tagged",
]

LABELS = ("PER", "LOC", "ORG", "MISC")
SOURCE_LANG = "en"
VERSION = "v1"

Corpus = Literal["MiniatureNews", "MiniatureTalks"]
CORPORA: tuple[Corpus, ...] = ("MiniatureNews", "MiniatureTalks")

# What became of a translation.
Fate = Literal["clean", "untranslated", "missing", "mismatched"]

_SHARE_WITHOUT_NAMES = 0.2
_SHARE_FRAMED = 0.15
# Nothing tells a model that has never read about it what Prague is called elsewhere.
_SHARE_REAL = 0.1

_LABEL_OF_KIND = {
    "PER": "PER",
    "TOWN": "LOC",
    "LAND": "LOC",
    "ORG": "ORG",
    "UNI": "ORG",
    "ACRO": "ORG",
    "NAT": "MISC",
    "TONGUE": "MISC",
    "EVENT": "MISC",
    "PACT": "MISC",
}
_FRAMES = {
    "MiniatureNews": (language.NEWS, language.NEWS_WITHOUT_NAMES, language.DATELINE),
    "MiniatureTalks": (language.TALKS, language.TALKS_WITHOUT_NAMES, language.SPEAKER),
}
_ARTICLES = {
    "en": ("the",),
    "de": ("der", "die", "das"),
    "es": ("el", "la"),
    "nl": ("de", "het"),
    "zh": (),
}


@dataclass(frozen=True, slots=True)
class Noise:
    """Shares of the translations that are not faithful; drawn for each target language alone.

    ``untranslated``: the target is the English sentence. ``missing``: it leaves one name out (a
    sentence without a name, or whose names must all be there, stays clean). ``mismatched``: it is
    a translation of some other sentence. The gold says what is really there.
    """

    untranslated: float = 0.0
    missing: float = 0.0
    mismatched: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.untranslated, self.missing, self.mismatched)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(f"shares must be at least 0 and sum to at most 1, got {shares}")


CLEAN = Noise()


@dataclass(frozen=True, slots=True)
class ParallelSentence:
    """A sentence in all languages.

    ``texts`` and ``mentions`` (in text order) by language; by target language, ``links`` gives for
    each English mention the index of its counterpart among the target's mentions, None where there
    is none, and ``fates`` says what the noise did.
    """

    corpus: Corpus
    texts: Mapping[str, str]
    mentions: Mapping[str, tuple[Mention, ...]]
    links: Mapping[str, tuple[int | None, ...]]
    fates: Mapping[str, Fate]


def sentences(
    split: Split,
    count: int,
    seed: int = 0,
    noise: Noise = CLEAN,
    corpus: Corpus | None = None,
) -> Iterator[ParallelSentence]:
    """The first ``count`` sentences of a corpus, or of both in turn."""
    for index in range(count):
        if corpus is not None:
            yield sentence(split, index, corpus, seed, noise)
        else:
            turn = index % len(CORPORA)
            yield sentence(split, index // len(CORPORA), CORPORA[turn], seed, noise)


def sentence(
    split: Split, index: int, corpus: Corpus, seed: int = 0, noise: Noise = CLEAN
) -> ParallelSentence:
    """One sentence; the same arguments always give the same one.

    Noise changes single translations and nothing else: the sentence and all other translations are
    those of the clean world.
    """
    key = f"{seed}/{split}/{corpus}/{index}"
    scene = _scene(random.Random(key), split, corpus)
    source = _render(scene, SOURCE_LANG)
    sides = {SOURCE_LANG: source}
    fates: dict[str, Fate] = {}
    for lang in LANGUAGES[1:]:
        sides[lang], fates[lang] = _translated(scene, source, lang, noise, split, f"{key}/{lang}")
    links = {}
    for lang in LANGUAGES[1:]:
        position = {role: index for index, role in enumerate(sides[lang].roles)}
        explained = fates[lang] != "mismatched"
        links[lang] = tuple(position.get(role) if explained else None for role in source.roles)
    return ParallelSentence(
        corpus=corpus,
        texts={lang: side.text for lang, side in sides.items()},
        mentions={lang: side.mentions for lang, side in sides.items()},
        links=links,
        fates=fates,
    )


def alignment_examples(
    split: Split, count: int, lang: str, seed: int = 0, noise: Noise = CLEAN
) -> Iterator[dict[str, Any]]:
    """``count`` rows of the schema ALIGNMENT_EXAMPLES, from sentences that have names.

    A name that occurs twice is listed once, with both its spans; one that a translation leaves out
    has none.
    """
    found = 0
    for index in counted():
        if found == count:
            return
        turn = index % len(CORPORA)
        pair = sentence(split, index // len(CORPORA), CORPORA[turn], seed, noise)
        spans: dict[str, list[dict[str, int]]] = {}
        for mention, link in zip(pair.mentions[SOURCE_LANG], pair.links[lang], strict=True):
            places = spans.setdefault(pair.texts[SOURCE_LANG][mention.start : mention.end], [])
            if link is not None:
                place = pair.mentions[lang][link]
                places.append({"start": place.start, "end": place.end})
        if spans:
            found += 1
            yield {
                "text": pair.texts[lang],
                "lang": lang,
                "names": list(spans),
                "spans": list(spans.values()),
                "origin": "miniature",
            }


def write_moses(
    folder: Path,
    count: int,
    seed: int = 0,
    noise: Noise = CLEAN,
    target_langs: Sequence[str] = LANGUAGES[1:],
    split: Split = "train",
) -> list[Path]:
    """Writes the corpora as a location of OPUS archives, ``count`` pairs an archive.

    The archives lie at ``OPUS-{corpus}/v1/moses/{a}-{b}.txt.zip`` under ``folder``, as in the OPUS
    object store, with the same bytes every time. Returns their paths.
    """
    paths = []
    for corpus in CORPORA:
        pairs = list(sentences(split, count, seed, noise, corpus))
        for lang in target_langs:
            pair_name = "-".join(sorted((SOURCE_LANG, lang)))
            path = folder / f"OPUS-{corpus}" / VERSION / "moses" / f"{pair_name}.txt.zip"
            path.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for side in sorted((SOURCE_LANG, lang)):
                    # A fixed date: two runs write the same archive.
                    member = zipfile.ZipInfo(f"{corpus}.{pair_name}.{side}")
                    member.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(member, "".join(f"{pair.texts[side]}\n" for pair in pairs))
            paths.append(path)
    return paths


def write_tagged(path: Path, split: Split, lang: str, count: int, seed: int = 0) -> None:
    """Writes the clean sentences of one language as CoNLL text: word, tab, IOB2 tag."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for pair in sentences(split, count, seed):
            text = pair.texts[lang]
            words = segment(text)
            for (start, end), tag in zip(words, encode(pair.mentions[lang], words), strict=True):
                file.write(f"{text[start:end]}\t{tag}\n")
            file.write("\n")


@dataclass(frozen=True, slots=True)
class _Noun:
    """A name or word: a form per language, or per ``language:code`` where it is inflected."""

    forms: Mapping[str, str]
    articles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Entity:
    """What fills a slot; two entities of a sentence share no root, and so no part of a name."""

    label: str
    roots: frozenset[str]
    name: _Noun
    stand_in: _Noun
    title: tuple[str, ...] = ()
    is_feminine: bool = False


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a sentence says, in no language yet."""

    templates: Mapping[str, str]
    entities: Mapping[str, _Entity]
    fillers: Mapping[str, Mapping[str, str]]


# A slot and how often it occurred before: what a mention is called in all languages alike.
_Role = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Side:
    text: str
    mentions: tuple[Mention, ...]
    roles: tuple[_Role, ...]


def _translated(
    scene: _Scene, source: _Side, lang: str, noise: Noise, split: Split, key: str
) -> tuple[_Side, Fate]:
    rng = random.Random(key)
    draw = rng.random()
    if draw < noise.untranslated:
        return source, "untranslated"
    draw -= noise.untranslated
    if draw < noise.missing:
        pieces = _pieces(scene.templates[lang])
        fixed = {slot for _, slot, form in pieces if form == "bare"}
        if optional := [slot for slot in scene.entities if slot not in fixed]:
            return _render(scene, lang, absent=rng.choice(optional)), "missing"
    elif draw - noise.missing < noise.mismatched:
        return _render(_other_scene(rng, split, scene), lang), "mismatched"
    return _render(scene, lang), "clean"


def _other_scene(rng: random.Random, split: Split, scene: _Scene) -> _Scene:
    """A scene that has no name of this one."""
    roots = _roots(scene)
    while True:
        other = _scene(rng, split, rng.choice(CORPORA))
        if other.templates != scene.templates and not roots & _roots(other):
            return other


def _roots(scene: _Scene) -> frozenset[str]:
    return frozenset().union(*(entity.roots for entity in scene.entities.values()))


_SLOT = re.compile(r"\{(\w+?)(\d*)(?::(\w+))?\}")


@cache
def _pieces(template: str) -> tuple[tuple[str, str, str], ...]:
    """The template as (text before, slot, form); the last piece has no slot."""
    pieces, position = [], 0
    for match in _SLOT.finditer(template):
        slot = match[1] + match[2]
        pieces.append((template[position : match.start()], slot, match[3] or ""))
        position = match.end()
    return (*pieces, (template[position:], "", ""))


def _slots(template: str) -> list[str]:
    return [slot for _, slot, _ in _pieces(template) if slot]


def _scene(rng: random.Random, split: Split, corpus: Corpus) -> _Scene:
    with_names, without_names, around = _FRAMES[corpus]
    frames = without_names if rng.random() < _SHARE_WITHOUT_NAMES else with_names
    frame = rng.choice(frames)
    num_names = sum(slot.isupper() for slot in _slots(frame[0]))
    framed = rng.random() < _SHARE_FRAMED and frames is with_names and num_names <= 2
    # ^ marks where a sentence begins, and so a capital letter.
    outer = around if framed else ("§",) * len(LANGUAGES)
    templates = tuple(o.replace("§", f"^{f}") for o, f in zip(outer, frame, strict=True))

    entities: dict[str, _Entity] = {}
    fillers: dict[str, Mapping[str, str]] = {}
    used: set[str] = set()
    for slot in dict.fromkeys(_slots(templates[0])):
        kind = slot.rstrip("0123456789")
        if kind in language.FILLERS:
            others = [entry for other, entry in fillers.items() if other.startswith(kind)]
            fillers[slot] = rng.choice([e for e in language.FILLERS[kind] if e not in others])
            continue
        entity = _entity(rng, kind, split)
        while entity.roots & used:
            entity = _entity(rng, kind, split)
        used |= entity.roots
        entities[slot] = entity
    return _Scene(dict(zip(LANGUAGES, templates, strict=True)), entities, fillers)


def _render(scene: _Scene, lang: str, absent: str = "") -> _Side:
    """The scene in one language; the entity in slot ``absent`` is spoken of without its name."""
    text = ""
    found: list[tuple[int, int, str, _Role]] = []
    occurrences: dict[str, int] = {}
    woman = "PER" in scene.entities and scene.entities["PER"].is_feminine
    for before, slot, form in _pieces(scene.templates[lang]):
        text += before
        if slot in scene.fillers:
            entry = scene.fillers[slot]
            form = form or ("f" if woman else "")
            text += entry.get(f"{lang}:{form}", entry[lang])
            continue
        if not slot:
            continue
        entity = scene.entities[slot]
        noun = entity.stand_in if slot == absent else entity.name
        article, surface = _inflected(noun, lang, form)
        title, after = "", ""
        if form == "title" and slot != absent:
            article, title, after = _titled(entity, lang)
        text = _with_article(text, lang, article, title or surface)
        text += title
        if slot != absent:
            role = (slot, occurrences.get(slot, 0))
            occurrences[slot] = role[1] + 1
            found.append((len(text), len(text) + len(surface), entity.label, role))
        text += surface + after
    return _finished(text, found)


def _finished(text: str, found: Sequence[tuple[int, int, str, _Role]]) -> _Side:
    """Takes the mark of the sentence's beginning out and writes its first letter large."""
    mark = text.index("^")
    first = next(i for i in range(mark + 1, len(text)) if text[i].isalnum())
    text = text[:mark] + text[mark + 1 : first] + text[first].upper() + text[first + 1 :]
    mentions = tuple(
        Mention(start - (start > mark), end - (end > mark), label) for start, end, label, _ in found
    )
    return _Side(text, mentions, tuple(role for *_, role in found))


def _inflected(noun: _Noun, lang: str, form: str) -> tuple[str, str]:
    """What stands before the noun (an article, a German preposition of the form), and the noun."""
    article = noun.articles[lang]
    surface = noun.forms.get(f"{lang}:{form}", noun.forms[lang])
    if lang != "de":
        return ("" if form == "bare" else article), surface
    if form == "s":
        return "", noun.forms.get("de:s", f"{surface}s")
    if form == "to":
        return (f"in {_declined(article, 'acc')}" if article else "nach"), surface
    if form == "gen" and not article:
        return "von", surface
    return ("" if form == "bare" else _declined(article, form)), surface


def _declined(article: str, case: str) -> str:
    return language.DECLENSION.get(article, {}).get(case, article)


def _titled(entity: _Entity, lang: str) -> tuple[str, str, str]:
    """Article, title before and title after a person's name."""
    title = entity.title[LANGUAGES.index(lang)]
    if lang == "zh":
        return "", "", title
    man, _, woman = title.partition("/")
    article = ("la" if entity.is_feminine else "el") if lang == "es" else ""
    return article, f"{(entity.is_feminine and woman) or man} ", ""


def _with_article(text: str, lang: str, article: str, following: str) -> str:
    """The text with the article after it, melted into a preposition where the language does so."""
    if lang == "es" and not article and text.endswith(" y ") and following[0] in "Ii":
        return f"{text[:-2]}e "
    if not article:
        return text
    text += article
    for parts, melted in language.CONTRACTIONS.get(lang, {}).items():
        if match := re.search(rf"\b{parts}$", text, re.IGNORECASE):
            capital = melted.capitalize() if match[0][0].isupper() else melted
            return f"{text[: match.start()]}{capital} "
    return f"{text} "


def _entity(rng: random.Random, kind: str, split: Split) -> _Entity:
    if kind == "PER":
        return _person(rng, split)
    label = _LABEL_OF_KIND[kind]
    if kind in names.NAME_PATTERNS:
        return _patterned(rng, kind, split, label)
    if kind == "TOWN":
        root, forms = _town(rng, split)
    elif kind == "LAND":
        root, forms = _country(rng, split)
    elif kind == "ACRO":
        root = _acronym(rng, split)
        forms = (root,) * len(LANGUAGES)
    else:
        root, adjective, tongue = _nationality(rng, split)
        forms = tongue if kind == "TONGUE" else adjective
    name = _noun(forms, inflects=kind == "NAT")
    return _Entity(label, frozenset({root}), name, _stand_in(kind))


@cache
def _stand_in(kind: str) -> _Noun:
    noun = _noun(names.STAND_INS[kind], inflects=kind == "NAT")
    if kind not in names.STAND_IN_GENITIVES:
        return noun
    return _Noun({**noun.forms, "de:s": names.STAND_IN_GENITIVES[kind]}, noun.articles)


def _noun(cells: Sequence[str], inflects: bool = False) -> _Noun:
    """A noun from its forms in the order of LANGUAGES, each perhaps with its article before it.

    An adjective (``inflects``) also has its endings: ``alemán/alemana`` is masculine and feminine.
    """
    forms, articles = {}, {}
    for lang, cell in zip(LANGUAGES, cells, strict=True):
        first, _, rest = cell.partition(" ")
        articles[lang] = first if first in _ARTICLES[lang] else ""
        forms[lang] = rest if articles[lang] else cell
    if inflects:
        forms["de:e"] = f"{forms['de']}e"
        forms["es"], _, forms["es:f"] = forms["es"].partition("/")
        # A closed long vowel is written with two letters, an open one with one: Portugees, -gese.
        forms["nl:e"] = re.sub("ees$", "es", forms["nl"]) + "e"
    return _Noun(forms, articles)


def _stem(rng: random.Random, split: Split) -> tuple[str, str]:
    """Two syllables that belong to the split, in Latin letters and in Chinese characters."""
    syllables = tuple(names.SYLLABLES)
    while True:
        drawn = (rng.randrange(len(syllables)), rng.randrange(len(syllables)))
        latin = "".join(syllables[index] for index in drawn)
        if names.stem_split(drawn) == split and latin not in names.RESERVED_STEMS:
            return latin, "".join(names.SYLLABLES[syllables[index]] for index in drawn)


def _family_name(rng: random.Random, split: Split) -> tuple[str, tuple[str, ...]]:
    stem, han = _stem(rng, split)
    ending = rng.choice(tuple(names.FAMILY_ENDINGS))
    latin = f"{stem}{ending}".capitalize()
    return stem, (latin,) * 4 + (han + names.FAMILY_ENDINGS[ending],)


def _person(rng: random.Random, split: Split) -> _Entity:
    stem, family = _family_name(rng, split)
    given, given_han = _stem(rng, split)
    forms = family
    if rng.random() < 0.75:
        forms = (f"{given.capitalize()} {family[0]}",) * 4 + (f"{given_han}·{family[4]}",)
    return _Entity(
        label="PER",
        roots=frozenset({stem, given}),
        name=_noun(forms),
        stand_in=_stand_in("PER"),
        title=rng.choice(language.TITLES),
        is_feminine=given.endswith("a"),
    )


def _town(rng: random.Random, split: Split, short: bool = False) -> tuple[str, tuple[str, ...]]:
    if not short and rng.random() < _SHARE_REAL:
        return _real(rng, names.CITIES, split)
    stem, han = _stem(rng, split)
    endings = rng.choice(names.TOWN_ENDINGS)
    forms = _ended(stem, han, endings)
    if not short and rng.random() < 0.15:
        forms = _filled(names.NEW_TOWN, forms)
    return stem, forms


def _ended(stem: str, han: str, endings: Sequence[str]) -> tuple[str, ...]:
    return (*(f"{stem}{ending}".capitalize() for ending in endings[:4]), han + endings[4])


def _country(rng: random.Random, split: Split) -> tuple[str, tuple[str, ...]]:
    if rng.random() < _SHARE_REAL:
        return _real(rng, names.COUNTRIES, split)
    stem, han = _stem(rng, split)
    endings, _ = rng.choice(names.COUNTRY_ENDINGS)
    forms = _ended(stem, han, endings)
    if rng.random() < 0.15:
        parted = _filled(rng.choice(names.PARTED_COUNTRIES), forms)
        # German joins the parts in one word with one capital.
        forms = (parted[0], parted[1].capitalize(), *parted[2:])
    return stem, forms


def _nationality(rng: random.Random, split: Split) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Root, adjective and language."""
    if rng.random() < _SHARE_REAL:
        table = _of_split(names.NATIONALITIES, split)
        country, *adjective, tongue_han = rng.choice(table)
        root = country
    else:
        root, han = _stem(rng, split)
        _, endings = rng.choice(names.COUNTRY_ENDINGS)
        en, de, es, nl = (f"{root}{ending}" for ending in endings[:4])
        feminine = f"{root}{endings[2].partition('/')[2]}"
        adjective = [
            en.capitalize(),
            de,
            f"{es.partition('/')[0]}/{feminine}",
            nl.capitalize(),
            han + endings[4],
        ]
        tongue_han = f"{han}{endings[4]}语"
    en, de, es, nl, _ = adjective
    tongue = (en, de.capitalize(), es.partition("/")[0], nl, tongue_han)
    return root, tuple(adjective), tongue


def _patterned(rng: random.Random, kind: str, split: Split, label: str) -> _Entity:
    """A name made of another name: a bank of a town, the prize of a family."""
    if kind == "ORG" and rng.random() < 0.25:
        return _entity(rng, "ACRO", split)
    source, patterns, stand_in = rng.choice(names.NAME_PATTERNS[kind])
    if source == "name":
        root, forms = _family_name(rng, split)
    else:
        root, forms = _town(rng, split, short=source != "town")
    if source == "English town":
        forms = (forms[0],) * 4 + (forms[4],)
    return _Entity(label, frozenset({root}), _noun(_filled(patterns, forms)), _noun(stand_in))


def _filled(patterns: Sequence[str], forms: Sequence[str]) -> tuple[str, ...]:
    return tuple(pattern.format(form) for pattern, form in zip(patterns, forms, strict=True))


def _acronym(rng: random.Random, split: Split) -> str:
    letters = names.ACRONYM_LETTERS
    while True:
        drawn = tuple(rng.randrange(len(letters)) for _ in range(3))
        if names.stem_split(drawn) == split:
            return "".join(letters[index] for index in drawn)


def _real(
    rng: random.Random, table: tuple[tuple[str, ...], ...], split: Split
) -> tuple[str, tuple[str, ...]]:
    row = rng.choice(_of_split(table, split))
    return row[0], row


@cache
def _of_split(table: tuple[tuple[str, ...], ...], split: Split) -> tuple[tuple[str, ...], ...]:
    return tuple(row for row in table if names.place_split(row[0]) == split)
