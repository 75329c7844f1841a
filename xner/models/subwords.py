"""Sub-words of raw text as flat arrays, their words, and the windows that hold long texts.

Text is tokenised as it is, with character offsets. A sub-word belongs to the word that holds its
last character, which survives sentencepiece's habit of counting the space before a word to it; a
lone word-boundary mark belongs to none. Where a sub-word spans several words (``).``, or Chinese
characters), the words that own no sub-word read the one that covers them. Nothing is truncated: a
text longer than a window is read in several that overlap, and each sub-word counts where it lies
farthest from a window's edge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from transformers import PreTrainedTokenizerFast

from xner.text.words import Span

# Sentencepiece's and byte-level BPE's marks for the start of a word.
BOUNDARY_MARKS = ("\u2581", "\u0120")

_CONTROLS = re.compile(r"\A[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]+")


@dataclass(frozen=True)
class Subwords:
    """Sub-words of many texts, one after another; text i has positions bounds[i]:bounds[i + 1].

    `ids`, and the characters `starts` to `ends` [positions] of the text that each stands for; a
    lone boundary mark stands for none (start = end).
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    bounds: np.ndarray


@dataclass(frozen=True)
class Words:
    """How the words of many texts and their sub-words (positions of Subwords) belong together.

    `of` [positions]: the word of its text that owns the sub-word, or -1. `read_at` [words of all
    texts]: the position that stands for the word, its first or, where it owns none, the one that
    covers it; -1 where the tokenizer keeps nothing of the word. Text i has the words
    bounds[i]:bounds[i + 1].
    """

    of: np.ndarray
    read_at: np.ndarray
    bounds: np.ndarray


@dataclass(frozen=True)
class Template:
    """The special tokens of a tokenizer: prefix A suffix, and prefix A between B suffix.

    `second_type` is the token type of B and of what follows it; all else has type 0.
    """

    prefix: tuple[int, ...]
    between: tuple[int, ...]
    suffix: tuple[int, ...]
    second_type: int


@dataclass(frozen=True)
class Sequences:
    """What an encoder reads, one after another; window i has positions bounds[i]:bounds[i + 1].

    `input_ids` [positions] with special tokens.
    """

    input_ids: np.ndarray
    bounds: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Positions of each window, for xner.models.batching."""
        return np.diff(self.bounds)


@dataclass(frozen=True)
class Windowed(Sequences):
    """Texts as windows.

    `subword` [positions]: which position of Subwords is read there, -1 for a special token;
    `text_index` [windows]; `best` [sub-words]: the position where the sub-word lies farthest from
    its window's edges.
    """

    subword: np.ndarray
    text_index: np.ndarray
    best: np.ndarray


def template(tokenizer: PreTrainedTokenizerFast) -> Template:
    """The tokenizer's own special tokens, read off what it does to a pair of texts.

    Raises ValueError for a tokenizer that puts nothing between a pair.
    """
    pair = tokenizer.backend_tokenizer.encode("a", "a")
    text = np.flatnonzero(np.array(pair.sequence_ids, dtype=object) == 0)
    second = np.flatnonzero(np.array(pair.sequence_ids, dtype=object) == 1)
    found = Template(
        prefix=tuple(pair.ids[: text[0]]),
        between=tuple(pair.ids[text[-1] + 1 : second[0]]),
        suffix=tuple(pair.ids[second[-1] + 1 :]),
        second_type=pair.type_ids[second[0]],
    )
    if not found.between:
        raise ValueError("the tokenizer puts no separator between a pair of texts")
    return found


def split(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Subwords:
    """Tokenise raw texts, without special tokens; a `</s>` that stands in a text is unknown."""
    backend = tokenizer.backend_tokenizer
    encodings = backend.encode_batch(list(map(_shown, texts)), add_special_tokens=False)
    bounds = offsets_of([len(encoding) for encoding in encodings])
    ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int64, bounds[-1])
    ids[np.isin(ids, tokenizer.all_special_ids)] = tokenizer.unk_token_id
    pairs = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
    starts, ends = np.fromiter(pairs, np.int64, 2 * bounds[-1]).reshape(-1, 2).T
    marks = [backend.token_to_id(mark) for mark in BOUNDARY_MARKS]
    is_mark = np.isin(ids, [mark for mark in marks if mark is not None])
    # Where a text itself has the letter, as Maltese has Ġ, that is what the sub-word stands for.
    for number, text in enumerate(texts):
        if any(mark in text for mark in BOUNDARY_MARKS):
            for place in range(bounds[number], bounds[number + 1]):
                is_mark[place] &= text[starts[place] : ends[place]] not in BOUNDARY_MARKS
    return Subwords(ids, starts.copy(), np.where(is_mark, starts, ends), bounds)


def _shown(text: str) -> str:
    """The text with spaces for the control characters that it begins with.

    Sentencepiece's normaliser takes them out, and all offsets would be off by as many.
    """
    return _CONTROLS.sub(lambda found: " " * len(found[0]), text, count=1)


def offsets_of(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Bounds of groups of the given sizes that lie one after another: 0, c0, c0 + c1, ..."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])


def ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The integers of all ranges [start, end), one range after another."""
    counts = ends - starts
    return np.arange(counts.sum()) + np.repeat(starts - offsets_of(counts)[:-1], counts)


def words_of(subwords: Subwords, words: Sequence[Sequence[Span]]) -> Words:
    """Assign sub-words to words; the words of a text are in order and do not overlap."""
    word_bounds = offsets_of([len(spans) for spans in words])
    num_words = int(word_bounds[-1])
    flat = np.fromiter(
        chain.from_iterable(chain.from_iterable(words)), np.int64, 2 * num_words
    ).reshape(-1, 2)

    # All texts on one axis of characters, so that one binary search serves them all.
    text_of = np.repeat(np.arange(len(words)), np.diff(subwords.bounds))
    word_text = np.repeat(np.arange(len(words)), np.diff(word_bounds))
    longest = max(int(subwords.ends.max(initial=0)), int(flat.max(initial=0))) + 1
    word_starts = flat[:, 0] + word_text * longest
    word_ends = flat[:, 1] + word_text * longest
    starts = subwords.starts + text_of * longest
    ends = subwords.ends + text_of * longest

    owner = np.searchsorted(word_starts, ends - 1, side="right") - 1
    owned = (owner >= 0) & (starts < ends)
    owned[owned] = ends[owned] - 1 < word_ends[owner[owned]]
    # A mark's end is its start, so `ends - 1` may lie in the word before: `owned` excludes it.
    of = np.where(owned, owner - word_bounds[text_of], -1)

    read_at = np.full(num_words, -1, dtype=np.int64)
    positions = np.flatnonzero(owned)[::-1]
    read_at[owner[positions]] = positions

    orphans = np.flatnonzero(read_at < 0)
    if len(orphans):
        # The first sub-word that ends after the orphan's start covers it, if it begins before its
        # end; ends never decrease within a text.
        solid = np.flatnonzero(starts < ends)
        first = np.searchsorted(ends[solid], word_starts[orphans], side="right")
        inside = first < len(solid)
        orphans, covering = orphans[inside], solid[first[inside]]
        covers = starts[covering] < word_ends[orphans]
        read_at[orphans[covers]] = covering[covers]
    return Words(of, read_at, word_bounds)


def links(subwords: Subwords, words: Words) -> tuple[np.ndarray, np.ndarray]:
    """The words of its text that each sub-word stands for: its owner, and those that read it.

    Sub-word i stands for linked[bounds[i]:bounds[i + 1]] of the returned (bounds, linked).
    """
    text_of = np.repeat(np.arange(len(words.bounds) - 1), np.diff(words.bounds))
    owned = np.flatnonzero(words.of >= 0)
    readers = np.flatnonzero(words.read_at >= 0)
    positions = np.concatenate([owned, words.read_at[readers]])
    linked = np.concatenate([words.of[owned], readers - words.bounds[text_of[readers]]])
    order = np.argsort(positions, kind="stable")
    return np.searchsorted(positions[order], np.arange(len(subwords.ids) + 1)), linked[order]


def windows(length: int, capacity: int, stride: int) -> list[tuple[int, int]]:
    """Ranges of at most `capacity` that cover `length` positions, one where one is enough.

    Neighbours share `stride` positions or more; an empty text has no window.
    """
    if not 0 <= stride < capacity:
        raise ValueError(f"a stride of {stride} needs windows longer than {capacity}")
    starts = range(0, max(length - stride, min(length, 1)), capacity - stride)
    # The last window is moved back to be full: context is better than a short remainder.
    return [
        (min(start, max(length - capacity, 0)), min(start + capacity, length)) for start in starts
    ]


def margins(length: int, start: int, end: int) -> np.ndarray:
    """Distance of each position of the window [start, end) of a text to the window's nearer edge.

    The text's own beginning and end are no edges: nothing is cut off there.
    """
    positions = np.arange(start, end)
    left = positions - start if start > 0 else np.full(end - start, length)
    right = end - 1 - positions if end < length else np.full(end - start, length)
    return np.minimum(left, right)


def windowed(
    subwords: Subwords, special: Template, max_length: int, stride: int | None = None
) -> Windowed:
    """Each text for itself in windows of at most `max_length` sub-words, special tokens included.

    `stride`: sub-words that neighbouring windows share, by default a quarter of the window. A text
    without sub-words has no window. Raises ValueError when the special tokens leave no room.
    """
    capacity = max_length - len(special.prefix) - len(special.suffix)
    if capacity < 1:
        raise ValueError(f"max_length = {max_length} leaves no room beside the special tokens")
    stride = capacity // 4 if stride is None else stride

    counts = np.diff(subwords.bounds)
    pieces = np.array(
        [
            (text, subwords.bounds[text] + start, subwords.bounds[text] + end)
            for text, count in enumerate(counts.tolist())
            for start, end in (
                [(0, count)] if 0 < count <= capacity else windows(count, capacity, stride)
            )
        ],
        dtype=np.int64,
    ).reshape(-1, 3)
    text_index, starts, ends = pieces.T
    bounds = offsets_of(ends - starts + len(special.prefix) + len(special.suffix))

    body = ranges(starts, ends)
    place = ranges(bounds[:-1] + len(special.prefix), bounds[1:] - len(special.suffix))
    input_ids = np.empty(bounds[-1], dtype=np.int64)
    for number, token in enumerate(special.prefix):
        input_ids[bounds[:-1] + number] = token
    for number, token in enumerate(special.suffix):
        input_ids[bounds[1:] - len(special.suffix) + number] = token
    input_ids[place] = subwords.ids[body]
    subword = np.full(bounds[-1], -1, dtype=np.int64)
    subword[place] = body

    # Where windows overlap, the last write wins: the position farthest from its window's edges.
    margin = np.concatenate(
        [
            margins(int(counts[text]), int(start - first), int(end - first))
            for text, start, end in pieces
            for first in [subwords.bounds[text]]
        ]
        or [np.empty(0, dtype=np.int64)]
    )
    order = np.argsort(margin, kind="stable")
    best = np.full(len(subwords.ids), -1, dtype=np.int64)
    best[body[order]] = place[order]
    return Windowed(input_ids, bounds, subword, text_index, best)
