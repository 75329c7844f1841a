"""Where the names of an English sentence stand in its translation, known without an annotator.

Two witnesses are sure enough to train an aligner on. A name that stands letter for letter and once
on both sides is its own translation; so it is with most names of persons. A table of names by
language (a gazetteer) knows translations that look different; if both sides of a pair of sentences
have them, they are the same. Where text is scarce, a sentence with a known name carries any other
name of the same table. What counts as a name is found by truecasing (Lita et al. 2003): the form
that a word has inside sentences tells whether its capital at the beginning of one means anything.
"""

from __future__ import annotations

import csv
import io
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from xner.corpora.alignment_set import AlignmentExample
from xner.errors import DataError
from xner.shards.storage import parsed_json, read_file
from xner.text.occurrences import occurrences
from xner.text.words import Span, segment

# Lower-case words that may stand inside a name.
_CONNECTOR = re.compile("al|bin|d[aeiu]|de[lnr]|della|el|ibn|l[ae]|of|v[ao]n|y")

# Longer runs of capitals are headlines.
_MAX_NAME_WORDS = 8

_RUN = re.compile("[SC](?:c{0,2}C)*")
_FIRST_PERSON = re.compile(r"I(?:['\u2019].*)?")

# A CSV table's columns are called after the languages.
_COLUMN_PREFIX = "name_"
# Several names of one thing in one language.
_ALTERNATIVE = "|"

Names = dict[str, tuple[Span, ...]]


@dataclass(frozen=True)
class Casing:
    """How often each word, lower-cased, was written in which way inside English sentences."""

    capitalised: Mapping[str, int]
    lower: Mapping[str, int]

    @classmethod
    def of(cls, sentences: Iterable[str]) -> Casing:
        """Count words that follow a word or a comma; elsewhere a capital may mean nothing."""
        capitalised: Counter[str] = Counter()
        lower: Counter[str] = Counter()
        for sentence in sentences:
            words = [sentence[start:end] for start, end in segment(sentence)]
            for previous, word in pairwise(words):
                if _shows_case(previous):
                    (capitalised if word[0].isupper() else lower)[word.lower()] += 1
        return cls(capitalised, lower)

    def is_usually_capitalised(self, word: str) -> bool:
        """Whether the word has a capital more often than not."""
        return self.capitalised.get(word.lower(), 0) > self.lower.get(word.lower(), 0)

    def is_never_lower(self, word: str) -> bool:
        """Whether the word was not once written without a capital."""
        return word.lower() not in self.lower

    def may_be_name(self, word: str) -> bool:
        """Whether nothing that was seen says that the word is none."""
        return self.is_never_lower(word) or self.is_usually_capitalised(word)


@dataclass(frozen=True)
class Lexicon:
    """One table's English names with all their forms in one target language."""

    translations: Mapping[str, tuple[str, ...]]

    @cached_property
    def source_index(self) -> NameIndex:
        """For looking the English names up."""
        return NameIndex(self.translations)

    @cached_property
    def target_index(self) -> NameIndex:
        """For looking the target language's forms up."""
        return NameIndex({form for forms in self.translations.values() for form in forms})


class NameIndex:
    """Finds any of many names in a text; the cost does not depend on how many there are."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        lengths: dict[str, set[int]] = defaultdict(set)
        for name in self._names:
            start, end = segment(name)[0]
            lengths[name[start:end]].add(len(name))
        self._lengths = {word: sorted(group, reverse=True) for word, group in lengths.items()}

    def find(self, text: str, words: Sequence[Span]) -> dict[str, list[Span]]:
        """Places of the names found at word borders; leftmost, then longest, without overlap."""
        found: dict[str, list[Span]] = {}
        ends: set[int] = set()
        free_from = 0
        for start, end in words:
            lengths = self._lengths.get(text[start:end])
            if lengths is None or start < free_from:
                continue
            ends = ends or {end for _, end in words}
            for stop in (start + length for length in lengths):
                if stop in ends and text[start:stop] in self._names:
                    found.setdefault(text[start:stop], []).append((start, stop))
                    free_from = stop
                    break
        return found


def verbatim_names(
    source: str,
    target: str,
    source_words: Sequence[Span],
    target_words: Sequence[Span],
    casing: Casing,
) -> Names:
    """Names of the source that stand verbatim in the target; each exactly once on both sides.

    Of a run of capitalised words the longest parts that have a copy are taken: of "President
    Barack Obama" the name without the title. A capital that opens a sentence counts where the word
    has it inside sentences too, or has never been seen without: "In Berlin" is no name.
    """
    codes = "".join(_codes(source, source_words))
    found: Names = {}
    for run in _RUN.finditer(codes):
        if run.end() - run.start() > _MAX_NAME_WORDS:
            continue
        free = [run.span()]
        while free:
            first, end = free.pop()
            for a, b in _parts(first, end):
                name = source[source_words[a][0] : source_words[b - 1][1]]
                if name not in target:
                    continue
                words = [source[s:e] for s, e in source_words[a:b]]
                if not _is_name(words, codes[a:b], (a, b) != run.span(), casing):
                    continue
                places = occurrences(name, target, target_words)
                if len(places) == 1 and len(occurrences(name, source, source_words)) == 1:
                    found[name] = (places[0],)
                    free += [(first, a), (b, end)]
                    break
    return found


def capitalised_names(source: str, source_words: Sequence[Span], casing: Casing) -> list[Span]:
    """The names of an English sentence by its capitals alone, as character spans in text order.

    Of a run of capitalised words the longest part that may be a name; names that stand more than
    once, be it inside a longer one, are left out.
    """
    codes = "".join(_codes(source, source_words))
    found: list[Span] = []
    for run in _RUN.finditer(codes):
        if run.end() - run.start() > _MAX_NAME_WORDS:
            continue
        for a, b in _parts(*run.span()):
            words = [source[s:e] for s, e in source_words[a:b]]
            if _is_name(words, codes[a:b], (a, b) != run.span(), casing):
                found.append((source_words[a][0], source_words[b - 1][1]))
                break
    return [
        (start, end)
        for start, end in found
        if len(occurrences(source[start:end], source, source_words)) == 1
    ]


def _codes(text: str, words: Sequence[Span]) -> Iterator[str]:
    """A letter a word: S opens a sentence with a capital, C has one elsewhere, c may connect."""
    previous = ""
    for start, end in words:
        word = text[start:end]
        if word[0].isupper() and not _FIRST_PERSON.fullmatch(word):
            yield "C" if _shows_case(previous) else "S"
        else:
            yield "c" if _CONNECTOR.fullmatch(word) else "."
        previous = word


def _shows_case(previous: str) -> bool:
    """Whether a capital after this word means something; after a full stop or quote it may not."""
    return previous == "," or previous[:1].isalnum()


def _is_name(words: Sequence[str], codes: str, is_part: bool, casing: Casing) -> bool:
    if codes[0] == "c" or codes[-1] == "c":
        return False
    if len(words) == 1:
        word = words[0]
        # A word that is a noun as well is seldom a name when it is torn from a longer one.
        is_sure = not is_part or casing.is_never_lower(word)
        return len(word) > 1 and is_sure and casing.is_usually_capitalised(word)
    opens_with_name = codes[0] == "C" or casing.may_be_name(words[0])
    return opens_with_name and any(map(casing.may_be_name, words))


def _parts(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Sub-ranges of a range, the longest first."""
    for length in range(end - first, 0, -1):
        for start in range(first, end - length + 1):
            yield start, start + length


def table_names(
    source: str,
    target: str,
    source_words: Sequence[Span],
    target_words: Sequence[Span],
    lexicon: Lexicon,
) -> Names:
    """Names of the table that stand on both sides, equally often, with all their places."""
    in_source = lexicon.source_index.find(source, source_words)
    if not in_source:
        return {}
    in_target = lexicon.target_index.find(target, target_words)
    found: Names = {}
    for name, source_places in in_source.items():
        forms = lexicon.translations[name]
        places = sorted(place for form in forms for place in in_target.get(form, ()))
        if len(places) == len(source_places):
            found[name] = tuple(places)
    return found


def example_of(
    source: str, target: str, target_lang: str, casing: Casing, lexicons: Sequence[Lexicon]
) -> AlignmentExample | None:
    """All that is known of the names of a pair of sentences; None when that is nothing.

    Where names claim the same place the longest has it; of equally long ones none does. The
    origin is ``table`` as soon as one name comes from a table, else ``verbatim``.
    """
    source_words, target_words = segment(source), segment(target)
    by_table: Names = {}
    for lexicon in lexicons:
        by_table |= table_names(source, target, source_words, target_words, lexicon)
    names = verbatim_names(source, target, source_words, target_words, casing) | by_table
    kept = {
        name: places
        for name, places in names.items()
        if not any(
            len(other) >= len(name) and other != name and _collide(places, others)
            for other, others in names.items()
        )
    }
    if not kept:
        return None
    return AlignmentExample(
        text=target,
        lang=target_lang,
        names=tuple(kept),
        spans=tuple(kept.values()),
        origin="table" if by_table.keys() & kept.keys() else "verbatim",
    )


def _collide(first: Iterable[Span], second: Sequence[Span]) -> bool:
    return any(a < d and c < b for a, b in first for c, d in second)


def carrier_examples(
    example: AlignmentExample, lexicons: Sequence[Lexicon], num_copies: int, seed: int
) -> Iterator[AlignmentExample]:
    """The example with the names of the tables exchanged for others of the same table.

    Nothing when it has no name of a table. The choice depends on the example and the seed alone.
    """
    tables = {
        name: lexicon
        for lexicon in lexicons
        for name in example.names
        if name in lexicon.translations
    }
    if not tables:
        return
    choose = random.Random(f"{seed} {example.text}")
    for _ in range(num_copies):
        others: dict[str, tuple[str, str]] = {}
        for name, lexicon in tables.items():
            other = choose.choice(list(lexicon.translations))
            form = choose.choice(lexicon.translations[other])
            # A second place of the same name would make the example wrong.
            is_new = form not in example.text and all(
                other != o and form not in f and f not in form for o, f in others.values()
            )
            if is_new and other not in example.names:
                others[name] = other, form
        if others:
            yield replace(exchanged(example, others), origin="carrier")


def exchanged(example: AlignmentExample, others: Mapping[str, tuple[str, str]]) -> AlignmentExample:
    """The example with names exchanged: ``others`` says by which name and which form of it.

    The new form is put at every place of the old name; no two places may overlap.
    """
    places = sorted((span, index) for index, spans in enumerate(example.spans) for span in spans)
    spans: list[list[Span]] = [[] for _ in example.names]
    text, done = "", 0
    for (start, end), index in places:
        text += example.text[done:start]
        _, form = others.get(example.names[index], ("", example.text[start:end]))
        spans[index].append((len(text), len(text) + len(form)))
        text += form
        done = end
    return replace(
        example,
        text=text + example.text[done:],
        names=tuple(others.get(name, (name, ""))[0] for name in example.names),
        spans=tuple(tuple(each) for each in spans),
    )


def read_lexicon(location: str, source_lang: str, target_lang: str) -> Lexicon:
    """A table of names, from any fsspec location.

    Either CSV with a header and a column ``name_<language>`` a language, several names of one
    thing parted by ``|``; or a JSON object a language, code -> name, where ``location`` has
    ``{lang}`` in the language's place (``names/{lang}.country.json``). Things without a name in one
    of the two languages are left out. Raises ConfigError when there is no such table, DataError for
    one that is neither.
    """
    if "{lang}" in location:
        source, target = (_read_json(location, lang) for lang in (source_lang, target_lang))
        pairs = [(source[code], target[code]) for code in source if code in target]
    else:
        pairs = list(_read_csv(location, source_lang, target_lang))
    translations: dict[str, dict[str, None]] = defaultdict(dict)
    for names, forms in pairs:
        for name in filter(None, map(str.strip, names.split(_ALTERNATIVE))):
            for form in filter(None, map(str.strip, forms.split(_ALTERNATIVE))):
                translations[name][form] = None
    return Lexicon({name: tuple(forms) for name, forms in translations.items()})


def _read_json(location: str, lang: str) -> dict[str, str]:
    path = location.replace("{lang}", lang)
    try:
        value = parsed_json(_read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise DataError(f"{path}: expected an object of codes and names")
    return value


def _read_csv(location: str, *langs: str) -> Iterator[tuple[str, str]]:
    # Strict: a quote that is never closed would take all rows after it for one name.
    reader = csv.DictReader(io.StringIO(_read_text(location), newline=""), strict=True)
    source, target = (f"{_COLUMN_PREFIX}{lang}" for lang in langs)
    num_lines = 0
    try:
        header = reader.fieldnames or []
        for column in (source, target):
            if column not in header:
                raise DataError(
                    f"{location}: line 1: no column {column!r}, found {', '.join(header)}"
                )
        num_lines = reader.line_num
        for row in reader:
            num_lines = reader.line_num
            if row[source] is None or row[target] is None:
                raise DataError(
                    f"{location}: line {num_lines}: expected {len(header)} fields, found fewer"
                )
            yield row[source], row[target]
    except csv.Error as error:
        raise DataError(f"{location}: line {num_lines + 1}: not valid CSV: {error}") from error


def _read_text(path: str) -> str:
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: not valid UTF-8") from error
