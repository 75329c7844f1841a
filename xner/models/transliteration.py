"""How names sound in a script without spaces: which of its letters stand for which of a name's.

A name that a bitext has once or never is linked to anything in its sentence. But names are
translated by their sound, by always the same letters: 克 for a c or a k, 斯 for an s. Each letter
of the translation comes from a few letters in a row of the name; which, IBM model 1 tells (Brown et
al. 1993), on pairs of names and letters that a word aligner has linked. That transliteration which
is learned without any list of names helps word alignment is shown by Sajjad, Fraser and Schmid
(2011), who find the pairs by other means. Words that are no names would teach what letters mean
instead, and are left out; they are told from names by their capitals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from anyascii import anyascii
from scipy.sparse import csr_array

from xner.models.word_counts import Counts, Floats, Ids
from xner.text.words import Span, folded, is_unspaced, segment

# Letters in a row that may be heard as one.
_GRAMS = (2, 3)
_ROUNDS = 8
# A link that the aligner doubts so much teaches nothing, and a name counts no more than so often.
_MIN_COUNT, _MAX_COUNT = 0.1, 3.0
# As if so many more letters of any kind had been seen with each gram.
_UNDECIDED = 1.0
# Names whose sounds are in memory at a time.
_NAMES = 256


@dataclass(frozen=True, eq=False)
class Transliteration:
    """Expected counts of grams of names, the edges marked, with letters that they sound like."""

    counts: Counts

    @classmethod
    def learn(cls, links: Counts, names: Collection[str]) -> Transliteration:
        """From counts of words with letters; only source words in ``names`` count.

        A count is of one word and one letter of the other script, as when the target is cut by its
        letters (see xner.models.word_units).
        """
        source, target, values = links.entries()
        source_words, target_words = list(links.source_words), list(links.target_words)
        is_name = np.array([word in names for word in source_words], bool)
        is_letter = np.array([is_unspaced(word[0]) for word in target_words], bool)
        kept = is_name[source] & is_letter[target] & (values > _MIN_COUNT)
        source, target, values = source[kept], target[kept], values[kept].clip(max=_MAX_COUNT)
        grams: dict[str, int] = {}
        of_name = {
            int(name): [grams.setdefault(gram, len(grams)) for gram in _grams(source_words[name])]
            for name in np.unique(source)
        }
        # One cell for each gram of the name of each link.
        lengths = np.array([len(of_name[name]) for name in source.tolist()], np.int64)
        gram = np.array([g for name in source.tolist() for g in of_name[name]], np.int64)
        link = np.repeat(np.arange(len(source)), lengths)
        size = len(target_words)
        pairs, pair = np.unique(gram * size + target[link], return_inverse=True)
        pair_gram, pair_letter = pairs // max(size, 1), pairs % max(size, 1)
        frequency = np.bincount(target, values, size) / max(values.sum(), 1e-6)
        shares = np.ones(len(pairs))
        for _ in range(_ROUNDS):
            heard = shares[pair]
            total = np.bincount(link, heard, len(source))
            counts = np.bincount(pair, heard / total[link] * values[link], len(pairs))
            of_gram = np.bincount(pair_gram, counts, len(grams))
            shares = (counts + _UNDECIDED * frequency[pair_letter]) / (
                of_gram[pair_gram] + _UNDECIDED
            )
        return cls(
            Counts.of(
                grams,
                links.target_words,
                pair_gram.astype(np.int32),
                pair_letter.astype(np.int32),
                counts.astype(np.float32),
            )
        )

    def likeness(
        self,
        source_words: Iterable[str],
        target_words: Iterable[str],
        pair_source: Ids,
        pair_target: Ids,
        names: Collection[str],
    ) -> Floats:
        """How much more a target word sounds like a name than by chance, [pairs], in [0, 1).

        The pairs are numbers of words. With r the geometric mean over the target's letters of
        p(letter | name) / p(letter), it is (1 - 1/r) cubed; 0 where r is below 1, where the source
        word is not in ``names``, and where the target is written with spaces. p(letter | name) is
        the mean over the name's grams.
        """
        found = np.zeros(len(pair_source), np.float32)
        source_words = list(source_words)
        letters, lengths = self._letters_of(target_words)
        is_name = np.array([word in names for word in source_words], bool)
        asked = np.flatnonzero(is_name[pair_source] & (lengths[pair_target] > 0))
        asked = asked[np.argsort(pair_source[asked], kind="stable")]
        wanted, place = np.unique(pair_source[asked], return_inverse=True)
        for first in range(0, len(wanted), _NAMES):
            some = wanted[first : first + _NAMES].tolist()
            logs = self._log_lifts([source_words[name] for name in some])
            mine = slice(*np.searchsorted(place, [first, first + _NAMES]))
            target = pair_target[asked[mine]]
            mean = logs[place[mine, None] - first, letters[target]].sum(1) / lengths[target]
            found[asked[mine]] = (1 - np.exp(-mean.clip(min=0))) ** 3
        return found

    def to_table(self) -> pa.Table:
        """As it is stored."""
        return self.counts.to_table()

    @classmethod
    def from_table(cls, table: pa.Table) -> Transliteration:
        """What :meth:`to_table` made."""
        return cls(Counts.from_table(table))

    @cached_property
    def _matrix(self) -> csr_array:
        """The counts, [grams, letters]."""
        counts = self.counts
        shape = (len(counts.source_words), len(counts.target_words))
        return csr_array((counts.values.astype(np.float64), counts.columns, counts.rows), shape)

    @cached_property
    def _frequency(self) -> npt.NDArray[np.float64]:
        """p(letter), [letters]."""
        of_letter = self._matrix.sum(axis=0)
        found: npt.NDArray[np.float64] = of_letter / max(of_letter.sum(), 1e-6)
        return found

    def _log_lifts(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """log p(letter | name) / p(letter), [names, letters + 1]; the last is of no letter, 0."""
        weights, of_gram = np.zeros(len(names)), self._matrix.sum(axis=1)
        rows, columns, values = [], [], []
        for row, name in enumerate(names):
            grams = _grams(name)
            for gram in grams:
                known = self.counts.source_words.get(gram)
                total = _UNDECIDED if known is None else of_gram[known] + _UNDECIDED
                weights[row] += _UNDECIDED / total / len(grams)
                if known is not None:
                    rows.append(row)
                    columns.append(known)
                    values.append(1 / total / len(grams))
        of_names = csr_array((values, (rows, columns)), (len(names), len(of_gram)))
        seen = (of_names @ self._matrix).toarray()
        frequency = self._frequency
        with np.errstate(divide="ignore", invalid="ignore"):
            lifts = np.where(frequency > 0, seen / frequency + weights[:, None], 1.0)
        return np.pad(np.log(lifts), ((0, 0), (0, 1)))

    def _letters_of(
        self, words: Iterable[str]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Numbers of each word's letters, [words, longest], padded, and how many it has, [words].

        A letter that is not known is as likely as by chance; a word that is written with spaces
        has none.
        """
        nothing = len(self.counts.target_words)
        found = [
            [self.counts.target_words.get(word[start:end], nothing) for start, end in segment(word)]
            if is_unspaced(word[0])
            else []
            for word in words
        ]
        lengths = np.array([len(letters) for letters in found], np.int64)
        padded = np.full((len(found), max(lengths, default=0)), nothing, np.int64)
        for row, letters in enumerate(found):
            padded[row, : len(letters)] = letters
        return padded, lengths


def names_in(texts: Iterable[tuple[str, Sequence[Span]]]) -> set[str]:
    """The words, folded, that are written with a capital at least every other time.

    ``texts`` come with the spans of their words. The first word of a text does not count, for it
    has a capital anyway.
    """
    capital, every = Counter[str](), Counter[str]()
    for text, words in texts:
        for start, end in words[1:]:
            word = folded(text[start:end])
            every[word] += 1
            if text[start].isupper():
                capital[word] += 1
    return {word for word, count in capital.items() if 2 * count >= every[word]}


def _grams(name: str) -> list[str]:
    """Letters in a row, romanised and with the edges marked."""
    text = f"^{anyascii(name).lower() or name}$"
    return [text[i : i + n] for n in _GRAMS for i in range(len(text) - n + 1)]
