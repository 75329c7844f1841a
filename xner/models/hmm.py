"""A statistical word aligner: what a bitext itself says of which word translates which.

IBM model 1 and then a hidden Markov model (Vogel, Ney and Tillmann 1996, with the null states of
Och and Ney 2003) in both directions, which learn from the links that both believe in: the product
of their posteriors is counted (Liang, Taskar and Klein 2006). Words are known by their first few
letters, so that inflected forms teach each other. A pair of words that are spelled alike, or sound
alike by what was learned (:mod:`xner.models.transliteration`), starts with a larger count than
others, so that names are linked which were never seen before. Texts in scripts without spaces are
cut in two ways (:mod:`xner.models.word_units`): each has a model of its own, and of their links the
mean counts. The letters of a unit share its links.

What was counted in a large bitext is kept (:class:`WordAligner`), and added to the counts of the
text whose words are to be linked.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import time
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from anyascii import anyascii
from tokenizers import Tokenizer

from xner.config import LinksConfig
from xner.errors import ConfigError, DataError
from xner.models import hmm_kernels as kernels
from xner.models.transliteration import Transliteration, names_in
from xner.models.word_counts import COUNTS, Counts, Floats, Ids
from xner.models.word_units import Cut, Side, Units, cuts, learn_units
from xner.shards.storage import Folder
from xner.text.pairs import SentencePair
from xner.text.words import Span, segment

SETTINGS_FILE = "word_aligner.json"
# One for each way in which the text is cut (`cuts`).
COUNTS_FILES = ("counts.parquet", "counts-letters.parquet")
UNITS_FILES = ("units-source.json", "units-target.json")
TRANSLITERATION_FILE = "transliteration.parquet"
FORMAT_VERSION = 2

_log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

# What every pair of words that share a sentence starts with, what spelling adds to it, and what a
# likeness of sounds: a third of that or three times as much costs less than a point of F1 on
# Parallel UD zh.
_BASE_COUNT = 0.001
_MIN_DICE = 0.4
_SOUND_COUNT = 0.3
_P_NULL = 0.1
_MODEL1, _HMM = "IBM model 1", "HMM"
_MODEL1_ROUNDS = 4
# A shard adds to what was learned before.
_ADAPTING_MODEL1_ROUNDS, _ADAPTING_ROUNDS = 1, 2

# Expected counts below this are not worth keeping.
_MIN_COUNT = 0.01
# Longer sentence pairs teach little for the time that they take.
MAX_TRAINING_CELLS = 40_000
# Cells whose posteriors are in memory at a time, for each thread. The cut decides the order of
# sums, so it must not depend on the machine.
_SLICE_CELLS = 1 << 19


@dataclass(frozen=True)
class WordAlignerSettings:
    """What decides a word aligner, beside its text; see TrainWordAlignerConfig."""

    prefix: int = 5
    units: int = 16_000
    rounds: int = 3


@dataclass(frozen=True)
class Round:
    """One pass over the bitext: the model of it, and how many target words both directions link."""

    model: str
    number: int
    linked: float
    seconds: float


@dataclass(frozen=True, eq=False)
class _Bitext:
    """Sentence pairs as the kernels want them, and the distinct pairs of words in them.

    ``source`` and ``target`` are word ids by ``*_words``; the rest is told in
    :mod:`xner.models.hmm_kernels`.
    """

    source_words: Mapping[str, int]
    target_words: Mapping[str, int]
    source: Ids
    source_starts: npt.NDArray[np.int64]
    target: Ids
    target_starts: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    slots: Ids
    pair_source: Ids
    pair_target: Ids

    @classmethod
    def of(cls, sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> _Bitext:
        """From the words of both sides of each pair."""
        vocabularies: tuple[dict[str, int], dict[str, int]] = ({}, {})
        ids, lengths = (array("i"), array("i")), (array("q"), array("q"))
        for sentence in sentences:
            for side, words in enumerate(sentence):
                known = vocabularies[side]
                ids[side].extend([known.setdefault(word, len(known)) for word in words])
                lengths[side].append(len(words))
        source, target = (np.array(each, np.int32) for each in ids)
        counts = [np.array(each, np.int64) for each in lengths]
        starts = [np.concatenate([[0], np.cumsum(each)]).astype(np.int64) for each in counts]
        cells = np.concatenate([[0], np.cumsum(counts[0] * counts[1])]).astype(np.int64)
        found = kernels.word_pairs(source, starts[0], target, starts[1], cells)
        return cls(*vocabularies, source, starts[0], target, starts[1], cells, *found)

    def __len__(self) -> int:
        return len(self.cells) - 1

    @property
    def pairs(self) -> tuple[Mapping[str, int], Mapping[str, int], Ids, Ids]:
        """The words of both sides, and the two words of each pair."""
        return self.source_words, self.target_words, self.pair_source, self.pair_target

    def slices(self) -> Iterator[tuple[int, int]]:
        """Ranges of sentences whose cells are in memory at a time."""
        first = 0
        while first < len(self):
            limit = self.cells[first] + _SLICE_CELLS
            last = max(int(np.searchsorted(self.cells, limit, side="right")) - 1, first + 1)
            yield first, last
            first = last


@dataclass(frozen=True)
class _Sounds:
    """How names sound, and which source words are names."""

    model: Transliteration
    names: Collection[str]


class _Model:
    """The probabilities of a bitext's pairs of words, and of jumps, in both directions.

    ``priors`` are added to the counts of the bitext; ``jumps`` [2, NUM_JUMPS], forward and
    backward, come with them. ``sounds`` tell which words sound like which names.
    """

    def __init__(
        self,
        bitext: _Bitext,
        priors: Sequence[Counts] = (),
        jumps: npt.NDArray[np.float64] | None = None,
        sounds: _Sounds | None = None,
    ) -> None:
        self._bitext = bitext
        self._threads = num_threads()
        self._base = _spelling(bitext, self._threads)
        for prior in priors:
            self._base += prior.of_pairs(*bitext.pairs)
        if sounds is not None:
            likeness = sounds.model.likeness(*bitext.pairs, sounds.names)
            self._base += np.float32(_SOUND_COUNT) * likeness
        self._target_null = _shares(bitext.target, len(bitext.target_words))
        self._source_null = _shares(bitext.source, len(bitext.source_words))
        if jumps is None:
            self.jumps = np.full((2, kernels.NUM_JUMPS), 1 / kernels.NUM_JUMPS)
            self._forward = self._backward = np.ones(len(self._base), np.float32)
        else:
            self.jumps = jumps
            nothing = np.zeros(len(self._base))
            self._maximize(nothing, nothing)

    def learn(
        self,
        model1_rounds: int,
        rounds: int,
        by_letter: bool = False,
        report: Callable[[Round], None] | None = None,
    ) -> None:
        """Rounds of IBM model 1, each direction by itself, and of the HMM, by agreement."""
        for model, ordered, number in ((_MODEL1, False, model1_rounds), (_HMM, True, rounds)):
            for n in range(1, number + 1):
                started = time.monotonic()
                forward, backward, jumps, links = self._expect(ordered)
                self._maximize(forward, backward)
                if ordered:
                    self.jumps = _smoothed(jumps, self.jumps)
                if report:
                    linked = links / max(len(self._bitext.target), 1)
                    name = f"{model}, by letter" if by_letter else model
                    report(Round(name, n, linked, time.monotonic() - started))

    def counts(self) -> Counts:
        """What the HMM with these probabilities links, both directions agreeing."""
        counts = self._expect(True)[0]
        kept = np.flatnonzero(counts > _MIN_COUNT)
        bitext = self._bitext
        return Counts.of(
            bitext.source_words,
            bitext.target_words,
            bitext.pair_source[kept],
            bitext.pair_target[kept],
            counts[kept],
        )

    def links(self) -> Iterator[Floats]:
        """Of each sentence pair, [source words, target words]: the mean of both directions."""
        bitext = self._bitext
        for first, last, forward, backward, _ in self._posteriors(True):
            mean: Floats = (forward + backward) / np.float32(2)
            for sentence in range(first, last):
                start, end = bitext.cells[sentence : sentence + 2] - bitext.cells[first]
                num_source = np.diff(bitext.source_starts[sentence : sentence + 2])[0]
                yield mean[start:end].reshape(num_source, -1)

    def _expect(
        self, ordered: bool
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], float]:
        """Counts of pairs of words, forward and backward, counts of jumps, and the sum of links."""
        forward = np.zeros(len(self._base))
        backward = forward if ordered else np.zeros(len(self._base))
        jumps, links = np.zeros_like(self.jumps), 0.0
        cells, slots = self._bitext.cells, self._bitext.slots
        for first, last, *posteriors, some_jumps in self._posteriors(ordered):
            mine = slots[cells[first] : cells[last]]
            links += kernels.add_counts(mine, *posteriors, ordered, forward, backward)
            jumps += some_jumps
        return forward, backward, jumps, links

    def _posteriors(
        self, ordered: bool
    ) -> Iterator[tuple[int, int, Floats, Floats, npt.NDArray[np.float64]]]:
        """By slices: first and last sentence, the cells forward and backward, expected jumps."""
        bitext = self._bitext

        def of_slice(sentences: tuple[int, int]) -> tuple[Any, ...]:
            first, last = sentences
            forward = np.empty(bitext.cells[last] - bitext.cells[first], np.float32)
            backward = np.empty_like(forward)
            jumps = np.zeros_like(self.jumps)
            kernels.link_posteriors(
                bitext.source,
                bitext.source_starts,
                bitext.target,
                bitext.target_starts,
                bitext.cells,
                bitext.slots,
                self._forward,
                self._backward,
                self._target_null,
                self._source_null,
                _P_NULL,
                self.jumps,
                ordered,
                first,
                last,
                forward,
                backward,
                jumps,
            )
            return first, last, forward, backward, jumps

        return _in_order(of_slice, bitext.slices(), self._threads)

    def _maximize(self, forward: npt.NDArray[Any], backward: npt.NDArray[Any]) -> None:
        bitext = self._bitext
        self._forward = kernels.normalize(
            forward, self._base, bitext.pair_source, len(bitext.source_words)
        )
        self._backward = kernels.normalize(
            backward, self._base, bitext.pair_target, len(bitext.target_words)
        )


def _shares(words: Ids, size: int) -> Floats:
    return (np.bincount(words, minlength=size) / max(len(words), 1)).astype(np.float32)


def _smoothed(
    jumps: npt.NDArray[np.float64], before: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Counts of jumps as probabilities; those of before where none was counted."""
    total = jumps.sum(axis=1, keepdims=True)
    jumps = jumps + 1e-3 * total / kernels.NUM_JUMPS
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, jumps / jumps.sum(axis=1, keepdims=True), before)


def _spelling(bitext: _Bitext, threads: int) -> Floats:
    """The count that each pair of words starts with."""
    source, target = _bigrams(bitext.source_words), _bigrams(bitext.target_words)
    num_pairs = len(bitext.pair_source)

    def of_slice(first: int) -> Floats:
        pairs = slice(first, first + _SLICE_CELLS)
        alike = kernels.dice(bitext.pair_source[pairs], bitext.pair_target[pairs], *source, *target)
        return np.where(alike > _MIN_DICE, _BASE_COUNT + alike**3, _BASE_COUNT).astype(np.float32)

    found = _in_order(of_slice, range(0, num_pairs, _SLICE_CELLS), threads)
    return np.concatenate([np.empty(0, np.float32), *found])


def _bigrams(words: Iterable[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every word's pairs of neighbouring letters, its edges marked, and where each word begins.

    Letters of all scripts are romanised, so that a name is spelled alike in each.
    """
    bigrams, starts = array("q"), array("q", [0])
    for word in words:
        letters = [0, *map(ord, anyascii(word).lower() or word), 0]
        bigrams.extend(sorted(a << 21 | b for a, b in itertools.pairwise(letters)))
        starts.append(len(bigrams))
    return np.array(bigrams, np.int64), np.array(starts, np.int64)


def _in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], threads: int
) -> Iterator[Result]:
    """What map gives, computed on some threads, which run ahead by two tasks each at most."""
    if threads == 1:
        yield from map(function, tasks)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Any] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def num_threads() -> int:
    """The threads that are ours: OMP_NUM_THREADS, which Ray sets for an actor, or all cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if re.fullmatch(r"[1-9]\d*", wanted) else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class Learned:
    """What a bitext taught when it was cut in one way: ``jumps`` is [2, NUM_JUMPS], forward and
    backward."""

    jumps: npt.NDArray[np.float64]
    counts: Counts


@dataclass(frozen=True, eq=False)
class WordAligner:
    """What a bitext taught, as a folder keeps it.

    ``languages`` are those of source and target; ``units`` are for the sides in scripts without
    spaces; ``learned`` has one entry for each of ``cuts``. ``transliteration`` is from a source
    that is written with spaces to a target that is not, None for others.
    """

    settings: WordAlignerSettings
    languages: tuple[str, str]
    units: Units
    learned: tuple[Learned, ...]
    transliteration: Transliteration | None

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """How a text is cut: the first into whole words or units."""
        return cuts(self.settings.prefix, self.units)

    def save(self, folder: Folder) -> None:
        """Write the folder's files; the settings, without which it is no word aligner, last."""
        for name, learned in zip(COUNTS_FILES, self.learned, strict=False):
            folder.publish_table(name, learned.counts.to_table())
        for name, units in zip(UNITS_FILES, self.units, strict=True):
            if units is not None:
                folder.publish(name, units.to_str(pretty=True).encode())
        if self.transliteration is not None:
            folder.publish_table(TRANSLITERATION_FILE, self.transliteration.to_table())
        folder.publish_json(
            SETTINGS_FILE,
            {
                "format_version": FORMAT_VERSION,
                "languages": list(self.languages),
                **asdict(self.settings),
                "unspaced": [units is not None for units in self.units],
                "jumps": [learned.jumps.tolist() for learned in self.learned],
            },
        )

    @classmethod
    def load(cls, folder: Folder) -> WordAligner:
        """Read a folder that :meth:`save` wrote. Raises ConfigError where it is none, or broken."""
        record = _read_record(folder)
        try:
            source, target = (
                Tokenizer.from_str(folder.read(name).decode()) if unspaced else None
                for name, unspaced in zip(UNITS_FILES, record["unspaced"], strict=True)
            )
            settings, units = _settings(record), (source, target)
            jumps = np.array(record["jumps"], np.float64)
            expected = (len(cuts(settings.prefix, units)), 2, kernels.NUM_JUMPS)
            if jumps.shape != expected:
                raise ValueError(f"jumps are {jumps.shape}, not {expected}")
            return cls(
                settings,
                languages_of(folder),
                units,
                tuple(
                    Learned(own, Counts.from_table(folder.read_table(name, COUNTS)))
                    for name, own in zip(COUNTS_FILES, jumps, strict=False)
                ),
                Transliteration.from_table(folder.read_table(TRANSLITERATION_FILE, COUNTS))
                if _is_transliterated(units)
                else None,
            )
        # tokenizers raises a bare Exception for what it cannot read.
        except Exception as error:
            raise ConfigError(f"{folder}: this word aligner is broken: {error}") from error


def _is_transliterated(units: Units) -> bool:
    """Whether names are written in letters on the source side, and by their sounds on the other."""
    return units[0] is None and units[1] is not None


def _settings(record: Mapping[str, Any]) -> WordAlignerSettings:
    return WordAlignerSettings(
        **{each.name: record[each.name] for each in fields(WordAlignerSettings)}
    )


def _read_record(folder: Folder) -> dict[str, Any]:
    try:
        record = folder.read_json(SETTINGS_FILE)
    except DataError as error:
        raise ConfigError(str(error)) from error
    if record is None:
        raise ConfigError(
            f"{folder}: no {SETTINGS_FILE}, so this is not a word aligner; "
            "train_word_aligner makes one"
        )
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"{folder}/{SETTINGS_FILE}: format_version {version}, but this xner reads "
            f"{FORMAT_VERSION}; train_word_aligner makes such a one, in another folder"
        )
    wanted = {
        "languages",
        "unspaced",
        "jumps",
        *(each.name for each in fields(WordAlignerSettings)),
    }
    if missing := wanted - record.keys():
        raise ConfigError(f"{folder}/{SETTINGS_FILE}: lacks {', '.join(sorted(missing))}")
    return dict(record)


def languages_of(folder: Folder) -> tuple[str, str]:
    """Source and target language of a word aligner. Raises ConfigError for another folder."""
    languages = _read_record(folder)["languages"]
    if not isinstance(languages, list) or [type(lang) for lang in languages] != [str, str]:
        raise ConfigError(f"{folder}/{SETTINGS_FILE}: languages: expected two codes")
    return languages[0], languages[1]


def content_hash(folder: Folder) -> str:
    """sha256 (hex) over names and contents of the files that decide the links.

    Raises ConfigError for a folder that is no word aligner.
    """
    _read_record(folder)
    digest = hashlib.sha256()
    for name in (SETTINGS_FILE, *COUNTS_FILES, *UNITS_FILES, TRANSLITERATION_FILE):
        if folder.exists(name):
            content = hashlib.sha256(folder.read(name)).digest()
            digest.update(len(name).to_bytes(4) + name.encode() + content)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Sizes:
    """How much text there was to learn from.

    ``num_empty`` pairs without a word on one side and ``num_too_long`` ones were left out;
    ``num_word_pairs`` different pairs of words shared a sentence.
    """

    num_pairs: int
    num_empty: int
    num_too_long: int
    num_word_pairs: int


@dataclass(frozen=True, eq=False)
class Training(_Sizes):
    """A trained word aligner, and what it was trained on.

    Where the text is cut in two ways, the sizes are of the first.
    """

    aligner: WordAligner


def train(
    texts: Sequence[tuple[str, str]],
    languages: tuple[str, str],
    settings: WordAlignerSettings,
    report: Callable[[Round], None] | None = None,
) -> Training:
    """Learn from sentences and their translations; ``report`` is called after every round."""

    def side(number: int) -> Iterator[tuple[str, Sequence[Span]]]:
        return ((pair[number], segment(pair[number])) for pair in texts)

    def segmented() -> Iterator[SentencePair]:
        for source, target in texts:
            yield SentencePair(source, segment(source), target, segment(target))

    units = learn_units(side(0), settings.units), learn_units(side(1), settings.units)
    learned, sizes = zip(
        *(_learn(segmented(), cut, settings, report) for cut in cuts(settings.prefix, units)),
        strict=True,
    )
    transliteration = None
    if _is_transliterated(units):
        transliteration = Transliteration.learn(learned[-1].counts, names_in(side(0)))
    aligner = WordAligner(settings, languages, units, learned, transliteration)
    return Training(**asdict(sizes[0]), aligner=aligner)


def _learn(
    pairs: Iterable[SentencePair],
    cut: Cut,
    settings: WordAlignerSettings,
    report: Callable[[Round], None] | None,
) -> tuple[Learned, _Sizes]:
    """What the pairs teach when they are cut in one way."""
    num_empty = num_too_long = 0

    def sentences() -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        nonlocal num_empty, num_too_long
        for pair in pairs:
            source, target = cut.sides(pair)
            num_cells = len(source.keys) * len(target.keys)
            if 0 < num_cells <= MAX_TRAINING_CELLS:
                yield source.keys, target.keys
            num_empty += num_cells == 0
            num_too_long += num_cells > MAX_TRAINING_CELLS

    bitext = _Bitext.of(sentences())
    model = _Model(bitext)
    model.learn(_MODEL1_ROUNDS, settings.rounds, cut.by_letter, report)
    sizes = _Sizes(len(bitext), num_empty, num_too_long, len(bitext.pair_source))
    return Learned(model.jumps, model.counts()), sizes


class HmmLinker:
    """Links words by what a trained word aligner knows and by what a shard's own pairs show."""

    def __init__(self, config: LinksConfig) -> None:
        self._aligner = None if config.model is None else WordAligner.load(Folder.at(config.model))
        self._adapt = config.adapt

    @property
    def languages(self) -> tuple[str, str] | None:
        """Those of the word aligner; None without one."""
        return None if self._aligner is None else self._aligner.languages

    def links(self, pairs: Sequence[SentencePair]) -> list[Floats]:
        """A matrix [source words, target words] of posteriors for each pair.

        With a word aligner the pairs adapt it, unless told otherwise; without one they are all
        there is to learn from.
        """
        aligner = self._aligner
        if aligner is None:
            settings = WordAlignerSettings()
            units = (
                learn_units(((pair.source, pair.source_words) for pair in pairs), settings.units),
                learn_units(((pair.target, pair.target_words) for pair in pairs), settings.units),
            )
            rounds = (_MODEL1_ROUNDS, settings.rounds)
            found = [_links(pairs, cut, rounds) for cut in cuts(settings.prefix, units)]
        else:
            rounds = (_ADAPTING_MODEL1_ROUNDS, _ADAPTING_ROUNDS) if self._adapt else (0, 0)
            sounds = None
            if aligner.transliteration is not None:
                names = names_in((pair.source, pair.source_words) for pair in pairs)
                sounds = _Sounds(aligner.transliteration, names)
            found = [
                _links(pairs, cut, rounds, learned, sounds)
                for cut, learned in zip(aligner.cuts, aligner.learned, strict=True)
            ]
        return [np.mean(matrices, axis=0) for matrices in zip(*found, strict=True)]


def _links(
    pairs: Sequence[SentencePair],
    cut: Cut,
    rounds: tuple[int, int],
    learned: Learned | None = None,
    sounds: _Sounds | None = None,
) -> list[Floats]:
    """The links of each pair's words, by one way of cutting them."""
    priors, jumps = ([], None) if learned is None else ([learned.counts], learned.jumps)
    sides = [cut.sides(pair) for pair in pairs]
    cells = np.array([len(source.keys) * len(target.keys) for source, target in sides], int)
    links = [
        np.zeros((len(pair.source_words), len(pair.target_words)), np.float32) for pair in pairs
    ]

    def fill(model: _Model, which: Iterable[int]) -> None:
        for n, matrix in zip(which, model.links(), strict=True):
            links[n] = matrix[np.ix_(sides[n][0].unit_of, sides[n][1].unit_of)]

    short = np.flatnonzero((cells > 0) & (cells <= MAX_TRAINING_CELLS)).tolist()
    model = _Model(_bitext_of(sides, short), priors, jumps, sounds)
    model.learn(*rounds)
    fill(model, short)
    # The long ones are too large to be held together, and only use what the others taught.
    long = np.flatnonzero(cells > MAX_TRAINING_CELLS).tolist()
    if len(long) and rounds != (0, 0):
        priors = [*priors, model.counts()]
    for n in long:
        fill(_Model(_bitext_of(sides, [n]), priors, model.jumps, sounds), [n])
    return links


def _bitext_of(sides: Sequence[tuple[Side, Side]], which: Iterable[int]) -> _Bitext:
    return _Bitext.of((sides[n][0].keys, sides[n][1].keys) for n in which)
