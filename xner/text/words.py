"""Reversible word segmentation: a raw text as character spans, in any script.

The words of a text are spans of it, so nothing is normalised and every label on words can be
taken back to characters. What a word is depends on each character's script and not on a language:
runs of letters and digits where words are written apart, single characters in the scripts that
write without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese), every symbol for itself.

Inside a run the habits of the CoNLL corpora hold: ``Bonn-Berlin``, ``O'Brien``, ``AT&T``,
``U.S.``, ``3.14`` are one word, the English possessive ``'s`` is its own word, and so is an elided
article before a capital (``dell'|Unione``). Where habits differ the finer cut is taken: a mention
may cover several words, but never a part of one.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from xner.text.languages import language_of

Span = tuple[int, int]

UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "km", "my"})

# Blocks whose letters are words one by one; their digits and marks are treated as elsewhere.
_UNSPACED_BLOCKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x312F),  # iteration marks, kana, bopomofo
    (0x31A0, 0x31FF),  # bopomofo and kana extensions
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),  # Burmese extensions
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),  # Han compatibility
    (0xFF66, 0xFF9F),  # half-width kana
    (0x1AFF0, 0x1B16F),  # kana extensions
)
_HAN_PLANES = "\U00020000-\U0003ffff"

# Invisible characters that live inside words: soft hyphen, the Mongolian vowel separator, the
# joiners (Persian, Indic scripts, emoji) and the word joiner.
_INVISIBLE = (0x00AD, 0x180E, 0x200C, 0x200D, 0x2060)


def _is_mark(code: int) -> bool:
    return unicodedata.category(chr(code))[0] == "M"


def _ranges(code_points: Iterable[int]) -> str:
    """Ascending code points as the inside of a character class."""
    runs: list[list[int]] = []
    for code in code_points:
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in runs)


def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The pattern of a word, and that of a letter or digit of a spaced script."""
    # re has no script or category classes, so they are spelled out from unicodedata. Every
    # repetition is possessive: one pass, whatever the text.
    unspaced = _HAN_PLANES + _ranges(
        code
        for first, last in _UNSPACED_BLOCKS
        for code in range(first, last + 1)
        if chr(code).isalnum() and not chr(code).isdecimal()
    )
    marks = _ranges(code for code in range(0x10000) if code in _INVISIBLE or _is_mark(code))
    astral_marks = _ranges(
        code
        for block in (range(0x10000, 0x20000), range(0xE0100, 0xE01F0))
        for code in block
        if _is_mark(code)
    )
    # The look-ahead keeps the long list of rare marks from being searched at every word's end.
    mark = rf"(?:[{marks}]|(?=[\U00010000-\U0010ffff])[{astral_marks}])"
    alnum = rf"[^\W_{unspaced}]"
    letter = rf"[^\W\d_{unspaced}]"

    run = rf"(?:{alnum}++|{mark}++)++"
    initials = rf"{letter}{mark}*+(?:\.{letter}{mark}*+(?!{alnum}))++\.?"
    possessive = rf"['\u2019][sS](?!{alnum})"
    elision = r"(?<=[a-z])['\u2019](?=[A-Z\u00c0-\u00d6\u00d8-\u00de\u0152])"
    connector = (
        # Ampersand, middle dot and the Hebrew abbreviation signs join letters only.
        rf"(?:[-_\u2010\u2011]|(?<!\d)[&\u00b7\u05f3\u05f4](?!\d)|(?<=\d)[.,\u066b\u066c](?=\d)"
        rf"|(?!{possessive}|{elision})['\u2019])(?={alnum})"
    )
    unit = rf"(?:{initials}|{run})"
    # What most words are, found without asking what may join or follow them: all scripts before
    # Thai are spaced, and one range is sooner tried than many.
    plain = rf"[^\W_\u0e00-\U0010ffff]++(?=\s)|[{unspaced}](?=[{unspaced}])"
    word = re.compile(
        rf"{plain}"
        rf"|{unit}(?:{connector}{unit})*+(?:{elision})?"
        rf"|{possessive}"
        # Any other character with its marks; a zero width joiner chains emoji into one.
        rf"|\S{mark}*+(?:(?<=\u200d)[^\w\s]{mark}*+)*+"
    )
    return word, re.compile(alnum)


_WORD, _SPACED_ALNUM = _patterns()


def segment(text: str) -> list[Span]:
    """The words of a text as half-open character spans, in text order.

    Spans never overlap and never cover whitespace; every other character is covered. Fragments of
    ill-formed text (lone surrogates, stray marks) are words like any symbol.
    """
    return [match.span() for match in _WORD.finditer(text)]


def is_unspaced(word: str) -> bool:
    """Whether a word of :func:`segment` is a single letter of a script without spaces."""
    return word[0].isalnum() and not _SPACED_ALNUM.match(word[0])


def is_cased(letter: str) -> bool:
    """Whether a letter is of a script whose capitals open names.

    Those of Georgian open no word: there a letter is its own title case.
    """
    return letter.lower() != letter.title()


def folded(word: str) -> str:
    """What spellings of a word share that differ by case, or by how accents are encoded."""
    return unicodedata.normalize("NFC", word).lower()


def join(tokens: Sequence[str], lang: str) -> tuple[str, list[Span]]:
    """A raw text made of the tokens exactly as they are, and the span of each in it.

    One space stands between two tokens. In the unspaced languages there is none, except where it
    keeps two letters or digits of a spaced script apart (``Windows 10``, but ``A股``).
    ``lang`` is a language code; what follows an underscore (``zh_CN``) is ignored.
    Raises ValueError for an empty token.
    """
    unspaced = language_of(lang) in UNSPACED_LANGUAGES
    pieces: list[str] = []
    spans: list[Span] = []
    position = 0
    previous = ""
    for index, token in enumerate(tokens):
        if not token:
            raise ValueError(f"token {index} is empty")
        if index and not (unspaced and _may_touch(previous, token)):
            pieces.append(" ")
            position += 1
        pieces.append(token)
        spans.append((position, position + len(token)))
        position += len(token)
        previous = token
    return "".join(pieces), spans


def _may_touch(left: str, right: str) -> bool:
    return not (_SPACED_ALNUM.match(left[-1]) and _SPACED_ALNUM.match(right[0]))


def words_in(start: int, end: int, words: Sequence[Span]) -> range:
    """Indices of the words that share a character with ``[start, end)``; words in text order."""
    first = bisect_right(words, start, key=lambda word: word[1])
    return range(first, bisect_left(words, end, lo=first, key=lambda word: word[0]))
