"""What a word aligner counts of a text: words or their beginnings, and where a script has no spaces
units of letters, and single letters.

Where the script has no spaces, no cut is right everywhere: units of several letters (by a unigram
language model, Kudo 2018) mean something, but a name that was never seen is cut anywhere, and ends
where no unit does. Letters by themselves mean little, but a name ends between two of them. So such
a text is cut in both ways, and each is counted by itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, trainers

from xner.text.chinese import simplified
from xner.text.pairs import SentencePair
from xner.text.words import Span, folded, is_unspaced

# Of source and target; None where it is written with spaces.
Units = tuple[Tokenizer | None, Tokenizer | None]

# A side is cut into units where at least this share of its first words is single letters.
_MIN_UNSPACED = 0.3
_SAMPLE = 2000
_MAX_UNIT = 4
# With fewer letters of text a unit, it would be seen too rarely; with more, too little is cut
# together (Universal NER PUD alone, names placed by the longest run: 4: 39, 8: 43, 16: 34 % F1).
_MIN_LETTERS_PER_UNIT = 8
_UNKNOWN = "[UNK]"


@dataclass(frozen=True)
class Side:
    """One side of a sentence pair: what it is cut into, and where in it each word is."""

    keys: Sequence[str]
    unit_of: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Cut:
    """A way to cut both texts of a pair.

    Words are known by their first ``prefix`` letters, or whole if it is None. Single letters of
    scripts without spaces are put together to the units of their side, or not where ``by_letter``.
    """

    prefix: int | None
    units: Units
    by_letter: bool = False

    def sides(self, pair: SentencePair) -> tuple[Side, Side]:
        """Source and target of a pair."""
        return (
            self._side(pair.source, pair.source_words, self.units[0]),
            self._side(pair.target, pair.target_words, self.units[1]),
        )

    def _side(self, text: str, words: Sequence[Span], units: Tokenizer | None) -> Side:
        if units is None:
            keys = [self._key(text, word) for word in words]
            return Side(keys, np.arange(len(keys)))
        runs = _runs(text, words)
        unspaced = [run for run in runs if is_unspaced(text[run[0][0] : run[0][1]])]
        starts = iter([None] * len(unspaced) if self.by_letter else _starts(text, unspaced, units))
        keys, unit_of = [], []
        for run in runs:
            start, end = run[0]
            if not is_unspaced(text[start:end]):
                keys.append(self._key(text, run[0]))
                unit_of.append(len(keys) - 1)
                continue
            known = next(starts)
            # A cut between a letter and its marks is none.
            begins = [
                n for n, word in enumerate(run) if n == 0 or known is None or word[0] in known
            ]
            for first, last in itertools.pairwise([*begins, len(run)]):
                keys.append(simplified(text[run[first][0] : run[last - 1][1]]))
                unit_of += [len(keys) - 1] * (last - first)
        return Side(keys, np.array(unit_of, np.intp))

    def _key(self, text: str, word: Span) -> str:
        return folded(text[word[0] : word[1]])[: self.prefix]


def cuts(prefix: int, units: Units) -> tuple[Cut, ...]:
    """The ways in which a bitext is cut: by units and by letters where a side has units.

    Beginnings of words are for languages that inflect alike. Against a script without spaces words
    are known whole: names placed on Parallel UD zh had an F1 of 48.7, by five letters 47.3.
    """
    if units == (None, None):
        return (Cut(prefix, units),)
    return Cut(None, units), Cut(None, units, by_letter=True)


def _starts(text: str, runs: Sequence[Sequence[Span]], units: Tokenizer) -> list[set[int]]:
    """Where in the text the units of each run of letters begin."""
    texts = [simplified(text[run[0][0] : run[-1][1]]) for run in runs]
    found: list[set[int]] = []
    for run, encoding in zip(runs, units.encode_batch(texts), strict=True):
        start = run[0][0]
        starts: set[int] = set()
        for piece, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            # Letters that the vocabulary lacks come in one piece, however many they are.
            starts.update(range(start + first, start + (last if piece == 0 else first + 1)))
        found.append(starts)
    return found


def _runs(text: str, words: Sequence[Span]) -> list[list[Span]]:
    """The words, those together that are single letters without a space between them."""
    runs: list[list[Span]] = []
    grows = False
    for start, end in words:
        unspaced = is_unspaced(text[start:end])
        if unspaced and grows and runs[-1][-1][1] == start:
            runs[-1].append((start, end))
        else:
            runs.append([(start, end)])
        grows = unspaced
    return runs


def learn_units(sides: Iterable[tuple[str, Sequence[Span]]], size: int) -> Tokenizer | None:
    """A vocabulary of units for the texts of a side; None where it needs none.

    The trainer's probabilities vary from run to run by some hundredths. On real text we saw no cut
    change by it, but there is no promise: a trained folder keeps its units, a shard by itself not.
    """
    texts = iter(sides)
    sample = list(itertools.islice(texts, _SAMPLE))
    words = [text[start:end] for text, spans in sample for start, end in spans]
    if sum(map(is_unspaced, words)) <= _MIN_UNSPACED * len(words):
        return None
    runs = [
        simplified(text[run[0][0] : run[-1][1]])
        for text, spans in itertools.chain(sample, texts)
        for run in _runs(text, spans)
        if is_unspaced(text[run[0][0] : run[0][1]])
    ]
    num_letters = sum(map(len, runs))
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.train_from_iterator(
        runs,
        trainers.UnigramTrainer(
            # Every single letter must find room.
            vocab_size=max(
                min(size, num_letters // _MIN_LETTERS_PER_UNIT), len(set().union(*runs)) + 16
            ),
            max_piece_length=_MAX_UNIT,
            unk_token=_UNKNOWN,
            special_tokens=[_UNKNOWN],
            show_progress=False,
        ),
    )
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    return tokenizer_of([(piece, score) for piece, score in pieces if piece != _UNKNOWN])


def tokenizer_of(pieces: Iterable[tuple[str, float]]) -> Tokenizer:
    """A unigram model of pieces and log-probabilities."""
    return Tokenizer(models.Unigram([(_UNKNOWN, 0.0), *sorted(pieces)], unk_id=0))
