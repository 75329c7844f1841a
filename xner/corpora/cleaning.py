"""Cleaning of bitext: every pair is scored, then accepted or refused by a named rule.

Scores are kept, so that a threshold can be chosen again without reading the corpus again; the idea
is OpusFilter's (Aulamo et al. 2020). All scores but the language's come from one look-up a
character in a table of Unicode scripts and general categories, summed over the sentences by numpy.

Length is counted in Latin letters' worth, because one Han character says what three or four
letters say: English has 3.3 (NTREX), 3.4 (Tatoeba) and 4.1 (WMT-News) characters for each Han
character of the Chinese side, and the middle is taken. The weights of kana and Hangul come from
the same thought, but are not measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex

from xner.config import CleaningConfig, PrepareConfig
from xner.corpora.bitext import Block
from xner.corpora.opus import Archive
from xner.errors import ConfigError
from xner.shards.schema import PAIRS
from xner.text.languages import language_of

# Position 0 stands for an accepted pair. The reader refuses what is no text; the rules of this
# module follow in the order in which they are asked; `duplicate` is found in the whole corpus.
REASONS = (
    "",
    "invalid_utf8",
    "nul_byte",
    "line_too_long",
    "missing_language",
    "empty",
    "too_long",
    "identical",
    "length_ratio",
    "symbols",
    "script",
    "language",
    "duplicate",
)

CLEANED = pa.schema(
    [
        *PAIRS,
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        # Equal pairs have equal keys in whatever corpus; see xner.corpora.sampling.
        pa.field("key", pa.int64(), nullable=False),
    ]
)

# Added to lengths before they are compared: short sentences may differ much, or be half digits,
# and be good translations ("How so?" and "Warum?", "I'm 19." and "Ich bin 19.").
_OFFSET = 10.0

_WEIGHTS = {"Han": 3.625, "Hangul": 2.0, "Hiragana": 2.0, "Katakana": 2.0}

_LANGUAGES = {
    ("Latin",): "af an ast br ca ceb co cs cy da de en eo es et eu fi fo fr fy ga gd gl ha haw hr "
    "ht hu id ig io is it jv la lb lt lv mg mi ms mt nb nds nl nn no oc pl pt rm ro rw sk sl sm sn "
    "so sq su sv sw tl tr vi war xh yo zu",
    ("Cyrillic",): "ba be bg ce cv ky mk mn os ru sah tg tt uk",
    ("Cyrillic", "Latin"): "az bs kk sh sr tk uz",
    ("Arabic",): "ar arz ckb fa ps pnb sd ug ur",
    ("Han",): "cmn lzh wuu yue zh",
    ("Han", "Hiragana", "Katakana"): "ja",
    ("Hangul", "Han"): "ko",
    ("Greek",): "el",
    ("Hebrew",): "he yi",
    ("Devanagari",): "hi mr ne sa",
    ("Bengali",): "as bn",
    ("Armenian",): "hy",
    ("Ethiopic",): "am ti",
    ("Georgian",): "ka",
    ("Gujarati",): "gu",
    ("Gurmukhi",): "pa",
    ("Kannada",): "kn",
    ("Khmer",): "km",
    ("Lao",): "lo",
    ("Malayalam",): "ml",
    ("Myanmar",): "my",
    ("Oriya",): "or",
    ("Sinhala",): "si",
    ("Tamil",): "ta",
    ("Telugu",): "te",
    ("Thai",): "th",
    ("Tibetan",): "bo dz",
}
SCRIPTS = {lang: scripts for scripts, langs in _LANGUAGES.items() for lang in langs.split()}

# A character's entry packs what it adds to four sums: letters, letters of a foreign script and
# symbols in 15 bits each, and above them its weight beyond 1 in sixteenths.
_BITS = 15
_MAX_CHARS = (1 << _BITS) - 1
_WEIGHT_UNIT = 16

# Enough sentences for numpy, few enough for the processor's cache.
_SLICE_CHARS = 1 << 18

# Below this, in Latin letters' worth, the identifier guesses.
_MIN_IDENTIFIED_LENGTH = 25

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """The measurements of n pairs, each an array of n; NaN where a measure does not apply.

    ``shortest_chars``, ``longest_chars``: characters of the shorter and of the longer side, of
    which a side of nothing but space has none. ``length_ratio``: longer over shorter side in
    Latin letters' worth, ten added to both. ``symbol_share``: characters that are neither letters
    nor space, among those and the letters' worth and ten, on the worse side. ``script_share``:
    letters' worth in a script of the language, on the worse side of those that have letters.
    ``identical``: both sides are the same but for space around them. ``language_score``:
    probability of the declared language, on the worse side; only of pairs that the other rules
    accept.
    """

    shortest_chars: npt.NDArray[np.int32]
    longest_chars: npt.NDArray[np.int32]
    length_ratio: Floats
    symbol_share: Floats
    script_share: Floats
    language_score: Floats
    identical: npt.NDArray[np.bool_]


def score(
    source: Sequence[str],
    target: Sequence[str],
    source_lang: str,
    target_lang: str,
    config: CleaningConfig,
) -> Scores:
    """Measure pairs. Raises ConfigError when the language is asked for and cannot be identified."""
    sides = _count(source, source_lang), _count(target, target_lang)
    chars = np.stack([side.chars for side in sides])
    lengths = np.stack([side.length for side in sides]) + _OFFSET
    scores = Scores(
        shortest_chars=chars.min(axis=0),
        longest_chars=chars.max(axis=0),
        length_ratio=(lengths.max(axis=0) / lengths.min(axis=0)).astype(np.float32),
        symbol_share=np.fmax(sides[0].symbol_share, sides[1].symbol_share),
        script_share=np.fmin(sides[0].script_share, sides[1].script_share),
        language_score=np.full(len(source), np.nan, np.float32),
        identical=np.fromiter(
            (a == b or a.strip() == b.strip() for a, b in zip(source, target, strict=True)),
            np.bool_,
            len(source),
        ),
    )
    if config.identify_language:
        accepted = np.flatnonzero(accept(scores, config) == 0).tolist()
        for texts, lang, side in zip(
            (source, target), (source_lang, target_lang), sides, strict=True
        ):
            for index in accepted:
                if side.length[index] >= _MIN_IDENTIFIED_LENGTH:
                    found = _language_probability(texts[index], lang)
                    scores.language_score[index] = np.fmin(scores.language_score[index], found)
    return scores


def accept(scores: Scores, config: CleaningConfig) -> npt.NDArray[np.int8]:
    """For each pair the position in REASONS of the first rule that refuses it; 0 if none does."""
    refusals = {
        "empty": scores.shortest_chars == 0,
        "too_long": scores.longest_chars > config.max_chars,
        "identical": scores.identical & (not config.allow_identical),
        "length_ratio": scores.length_ratio > config.max_length_ratio,
        "symbols": scores.symbol_share > config.max_symbol_share,
        "script": scores.script_share < config.min_script_share,
        "language": scores.language_score < config.min_language_score,
    }
    codes = np.zeros(len(scores.identical), np.int8)
    for reason in reversed(refusals):
        codes[refusals[reason]] = REASONS.index(reason)
    return codes


def clean(block: Block, archive: Archive, config: PrepareConfig) -> pa.Table:
    """The pairs of a block with scores, verdict and key, one row each, as ``CLEANED``.

    ``status`` is ``error`` for what the reader refused and ``filtered`` for what a rule did.
    """
    langs = archive.source_lang, archive.target_lang
    scores = score(block.source, block.target, *langs, config.cleaning)
    codes = accept(scores, config.cleaning)
    unread = np.zeros(len(block), np.bool_)
    for index, reason in block.refused.items():
        codes[index] = REASONS.index(reason)
        unread[index] = True

    # No text has a NUL, so it tells where one ends.
    pairs = [f"{a}\0{b}".encode() for a, b in zip(block.source, block.target, strict=True)]
    ids = _hashes((archive.corpus, *langs), pairs, size=16)
    keys = _hashes((str(config.sampling.seed), *langs), pairs, size=8)
    measures = {
        name: pa.array(getattr(scores, name), mask=unread | np.isnan(getattr(scores, name)))
        for name in PAIRS.names
        if hasattr(scores, name)
    }
    reasons = pa.array(REASONS).take(pa.array(codes, mask=codes == 0))
    statuses = pa.array(["ok", "filtered", "error"]).take(pa.array((codes > 0) * 1 + unread))
    columns = {
        "pair_id": _hexadecimal(ids, size=16),
        "corpus": pa.repeat(archive.corpus, len(block)),
        "source_lang": pa.repeat(archive.source_lang, len(block)),
        "target_lang": pa.repeat(archive.target_lang, len(block)),
        "source": pa.array(block.source, pa.string()),
        "target": pa.array(block.target, pa.string()),
        **measures,
        "status": statuses,
        "reason": reasons,
        "key": np.frombuffer(keys, "<i8"),
    }
    return pa.table(columns, schema=CLEANED)


def _hashes(context: Sequence[str], pairs: list[bytes], size: int) -> bytes:
    prefix = "".join(f"{part}\0" for part in context).encode()
    return b"".join([blake2b(prefix + pair, digest_size=size).digest() for pair in pairs])


def _hexadecimal(digests: bytes, size: int) -> pa.StringArray:
    num_digests = len(digests) // size
    ends = np.arange(0, 2 * len(digests) + 1, 2 * size, dtype=np.int32)
    text = pa.py_buffer(digests.hex().encode())
    return pa.StringArray.from_buffers(num_digests, pa.py_buffer(ends), text)


# One side


@dataclass(frozen=True)
class _Side:
    chars: npt.NDArray[np.int32]
    length: npt.NDArray[np.float64]
    symbol_share: Floats
    script_share: Floats


def _count(texts: Sequence[str], lang: str) -> _Side:
    chars = np.fromiter(map(len, texts), np.int64, len(texts))
    if chars.max(initial=0) > _MAX_CHARS:
        texts = [text[:_MAX_CHARS] for text in texts]
    sums = _sums(texts, np.minimum(chars, _MAX_CHARS), _entries(lang))
    letters, foreign, symbols = (
        ((sums >> np.uint64(_BITS * i)) & np.uint64(_MAX_CHARS)).astype(np.float64)
        for i in range(3)
    )
    extra = (sums >> np.uint64(_BITS * 3)).astype(np.float64) / _WEIGHT_UNIT
    symbol_share = symbols / (letters + extra + symbols + _OFFSET)
    with np.errstate(invalid="ignore", divide="ignore"):
        script_share = 1 - foreign / (letters + extra)
    if _scripts(lang) is None:
        script_share[:] = np.nan
    return _Side(
        chars=np.where(letters + symbols > 0, chars, 0).astype(np.int32),
        length=chars + extra,
        symbol_share=symbol_share.astype(np.float32),
        script_share=script_share.astype(np.float32),
    )


def _sums(
    texts: Sequence[str], chars: npt.NDArray[np.int64], entries: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Per text the sum of its characters' entries."""
    sums = np.zeros(len(texts), np.uint64)
    for start, end in _slices(chars):
        # The line end that follows each text adds nothing, and leaves no text empty.
        joined = "\n".join(texts[start:end]) + "\n"
        points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        starts = np.zeros(end - start, np.int64)
        np.cumsum(chars[start : end - 1] + 1, out=starts[1:])
        sums[start:end] = np.add.reduceat(entries[points], starts)
    return sums


def _slices(chars: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    ends = np.cumsum(chars + 1)
    start = 0
    while start < len(chars):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + _SLICE_CHARS, side="right")))
        yield start, end
        start = end


def _scripts(lang: str) -> tuple[str, ...] | None:
    return SCRIPTS.get(language_of(lang))


@lru_cache(maxsize=8)
def _entries(lang: str) -> npt.NDArray[np.uint64]:
    """The packed entry of every code point, for text in this language."""
    letters, symbols, script = _unicode()
    expected = _scripts(lang) or tuple(script)
    foreign = letters.copy()
    for name in expected:
        foreign &= ~script[name]
    # Marks and letters that all scripts share are at home everywhere.
    foreign &= np.logical_or.reduce(list(script.values()))
    extra = np.zeros(len(letters), np.uint64)
    for name, weight in _WEIGHTS.items():
        extra[letters & script[name]] = round((weight - 1) * _WEIGHT_UNIT)
    entries = letters.astype(np.uint64)
    for position, summand in enumerate((foreign, symbols, extra), start=1):
        entries |= summand.astype(np.uint64) << np.uint64(_BITS * position)
    return entries


Mask = npt.NDArray[np.bool_]


@lru_cache(maxsize=1)
def _unicode() -> tuple[Mask, Mask, dict[str, Mask]]:
    """Over all code points: letters and marks; symbols; and per script those that are its own."""
    every = "".join(map(chr, range(sys.maxunicode + 1)))

    def matching(pattern: str) -> Mask:
        mask = np.zeros(len(every), np.bool_)
        for found in regex.finditer(f"{pattern}+", every):
            mask[found.start() : found.end()] = True
        return mask

    names = sorted({name for names in _LANGUAGES for name in names})
    letters = matching(r"[\p{L}\p{M}]")
    # Format characters, such as joiners and soft hyphens, are no more visible than space.
    symbols = ~letters & ~matching(r"[\p{White_Space}\p{Cf}\p{Cc}]")
    return letters, symbols, {name: matching(rf"\p{{Script={name}}}") for name in names}


# The language


def _language_probability(text: str, lang: str) -> float:
    """NaN when the identifier does not know the language."""
    return float(dict(_identifier().rank(text)).get(language_of(lang), np.nan))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ConfigError(
            "cleaning.identify_language: needs py3langid: pip install -e '.[langid]'"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
