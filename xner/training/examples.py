"""What a tagger learns from: sentences that are read and encoded a part at a time.

Sources may have more sentences than memory holds. So each part is read twice, here or by Ray's
tasks: first its sentences are surveyed (types, languages, what is held out), then, when it is known
what the model tells apart and which characters it knows, they are encoded. What stays are numbers:
six bytes a sub-word, ten where the loss is weighted, and some twenty a sentence.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from xner.config import LossConfig, TaggedSourceConfig
from xner.corpora.mention_replacement import with_replacements
from xner.corpora.tagged import Mapper, Result, TaggedPart, TaggedSentence, tagged_parts
from xner.models.subwords import Sequences, offsets_of, ranges
from xner.models.tagger import at_positions, collate, encode, label_ids
from xner.text.iob2 import OUTSIDE, UNKNOWN, tags_of
from xner.training.encoders import Encoder
from xner.training.loop import Batch
from xner.training.runs import is_held_out

logger = logging.getLogger(__name__)

_LOG_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence, and the source that it was read from."""

    sentence: TaggedSentence
    source: TaggedSourceConfig


def is_gold(source: TaggedSourceConfig) -> bool:
    """Whether people labelled it."""
    return source.format != "pseudo"


@dataclass(frozen=True)
class Part:
    """Part of the source that has this number in the recipe."""

    source: int
    sentences: TaggedPart


def parts_of(sources: Sequence[TaggedSourceConfig], each: Mapper) -> list[Part]:
    """All sources in parts, in order; raises what ``tagged_parts`` does."""
    return [
        Part(number, found)
        for number, source in enumerate(sources)
        for found in tagged_parts(source, each)
    ]


# The first time: what is there


@dataclass
class Survey:
    """What sentences have: those ``held_out``, whole, and of the others these figures.

    ``mentions`` by type; ``characters`` of the texts; ``scores``, how many words in mentions there
    are, and the sum of what the loss would weight them by.
    """

    held_out: list[TaggedSentence] = field(default_factory=list)
    num_sentences: int = 0
    languages: set[str] = field(default_factory=set)
    mentions: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    scores: tuple[int, float] = (0, 0.0)

    @classmethod
    def of(cls, sentences: Sequence[TaggedSentence]) -> Survey:
        """Of sentences of which none is held out, what does not cost much."""
        return cls(
            num_sentences=len(sentences),
            languages={sentence.lang for sentence in sentences},
            mentions=Counter(tag[2:] for s in sentences for tag in s.tags if tag.startswith("B-")),
        )

    def add(self, other: Survey) -> None:
        self.held_out += other.held_out
        self.num_sentences += other.num_sentences
        self.languages |= other.languages
        self.mentions += other.mentions
        self.characters += other.characters
        self.scores = (self.scores[0] + other.scores[0], self.scores[1] + other.scores[1])


def mean_score(surveys: Sequence[Survey]) -> float:
    """The mean over all words in mentions of what the loss would weight them by; 0 without any."""
    counts, sums = zip(*(survey.scores for survey in surveys), strict=True)
    return sum(sums) / max(sum(counts), 1)


@dataclass(frozen=True)
class Surveyor:
    """Surveys a part: ``share`` of the texts are held out; characters are counted if wanted."""

    share: float
    with_characters: bool
    loss: LossConfig

    def __call__(self, part: Part) -> Survey:
        held_out, kept = split(part, self.share)
        survey = Survey.of(kept)
        survey.held_out = held_out
        if self.with_characters:
            for sentence in kept:
                survey.characters.update(sentence.text)
        scores = mention_scores(kept, self.loss)
        survey.scores = (len(scores), float(scores.sum()))
        return survey


def surveyed(parts: Sequence[Part], surveyor: Surveyor, each: Mapper) -> list[Survey]:
    """What each source has; the sources are those that the parts are of, in order."""
    surveys = [Survey() for _ in range(1 + max(part.source for part in parts))]
    found = _told("examples read", each(surveyor, parts), len(parts))
    for part, survey in zip(parts, found, strict=True):
        surveys[part.source].add(survey)
    return surveys


def split(part: Part, share: float) -> tuple[list[TaggedSentence], list[TaggedSentence]]:
    """The sentences of a part that are held out, and the others."""
    sides: tuple[list[TaggedSentence], list[TaggedSentence]] = ([], [])
    for sentence in part.sentences.read():
        sides[not is_held_out(sentence.text, share)].append(sentence)
    return sides


# The second time: numbers


@dataclass(frozen=True)
class EncodedPart:
    """The windows of a part's sentences, one after another.

    ``labels`` and ``weights`` (None for 1) are [positions], like ``input_ids``; ``lengths`` and
    ``sentence``, the number of the window's sentence among those of the part, are [windows].
    """

    input_ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None
    lengths: np.ndarray
    sentence: np.ndarray
    num_sentences: int


@dataclass(frozen=True)
class PartEncoder:
    """Encodes what is not held out of a part, and copies of it with other mentions.

    ``mean_score`` is that of all words in mentions; ``replacements`` [sources]: how many copies.
    """

    encoder: Encoder
    characters: tuple[str, ...]
    tag_ids: Mapping[str, int]
    max_length: int
    share: float
    loss: LossConfig
    mean_score: float
    replacements: tuple[int, ...]
    seed: int

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        return self.encoder.tokenizer(self.characters)

    def __call__(self, part: Part) -> EncodedPart:
        kept = with_replacements(
            split(part, self.share)[1], self.replacements[part.source], self.seed
        )
        texts, words = [s.text for s in kept], [s.words for s in kept]
        windows = encode(self._tokenizer, texts, words, self.max_length)
        weights = word_weights(kept, self.loss, self.mean_score)
        return EncodedPart(
            input_ids=windows.input_ids.astype(np.int32),
            labels=label_ids(windows, [s.tags for s in kept], self.tag_ids).astype(np.int16),
            weights=None if weights is None else at_positions(windows, weights, 0.0),
            lengths=windows.lengths.astype(np.int32),
            sentence=windows.text_index.astype(np.int32),
            num_sentences=len(kept),
        )


def encoded(parts: Sequence[Part], encoder: PartEncoder, each: Mapper) -> list[EncodedPart]:
    """All parts, encoded."""
    return list(_told("examples encoded", each(encoder, parts), len(parts)))


def mention_scores(sentences: Sequence[TaggedSentence], loss: LossConfig) -> np.ndarray:
    """What the loss weights words in mentions by, one number a word; empty where it does not."""
    if loss.weighting not in _SCORES:
        return np.empty(0)
    return _word_scores(sentences, loss)[_inside(sentences)]


def word_weights(
    sentences: Sequence[TaggedSentence], loss: LossConfig, mean_score: float
) -> np.ndarray | None:
    """What the loss of each word of all sentences is multiplied by, float32; None for 1.

    Scores are of mentions alone: they are divided by their mean over all words in mentions,
    ``mean_score``, so that doubtful mentions count less than sure ones, and mentions as a whole no
    less than what is outside. Otherwise a low score would teach the student to overlook names.
    """
    if loss.weighting == "none":
        return None
    if loss.weighting == "row":
        each = np.array([s.weight for s in sentences], np.float32)
        return np.repeat(each, np.array([len(s.words) for s in sentences], np.int64))
    scores = _word_scores(sentences, loss) / max(mean_score, 1e-6)
    return np.where(_inside(sentences), scores, 1.0).astype(np.float32)


def _inside(sentences: Sequence[TaggedSentence]) -> np.ndarray:
    """Whether each word of all sentences is in a mention."""
    return np.array([tag not in (OUTSIDE, UNKNOWN) for s in sentences for tag in s.tags], bool)


# Where a word's scores have what this weighting asks for.
_SCORES = {"teacher": 0, "alignment": 1}


def _word_scores(sentences: Sequence[TaggedSentence], loss: LossConfig) -> np.ndarray:
    which = _SCORES[loss.weighting]
    return np.array(
        [score[which] for s in sentences for score in s.scores or [(1.0, 1.0)] * len(s.words)],
        np.float64,
    )


@dataclass(frozen=True)
class Windows(Sequences):
    """Encoded training sentences, the same in every epoch.

    ``labels`` is [positions], ``weights`` too or None; ``sentence`` [windows] is the number of a
    window's sentence. ``meanings`` is None, or says which tags a tag may stand for in each of the
    label sets that the sources have, bool [sets, tags, tags]; ``label_set`` [windows] is the number
    of a window's set.
    """

    labels: np.ndarray
    weights: np.ndarray | None
    sentence: np.ndarray
    meanings: np.ndarray | None
    label_set: np.ndarray
    pad_id: int

    @classmethod
    def joined(
        cls,
        parts: Sequence[EncodedPart],
        hidden: Sequence[tuple[str, ...]],
        tag_ids: Mapping[str, int],
        pad_id: int,
    ) -> Windows:
        """The windows of all parts; ``hidden``: the types that each part's source does not mark."""
        label_sets = sorted(set(hidden))
        counts = [len(part.lengths) for part in parts]
        offsets = offsets_of([part.num_sentences for part in parts])[:-1]
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(
            input_ids=np.concatenate([part.input_ids for part in parts]),
            bounds=offsets_of(np.concatenate([part.lengths for part in parts])),
            labels=np.concatenate([part.labels for part in parts]),
            weights=np.concatenate(weights) if weights else None,
            sentence=np.concatenate([part.sentence for part in parts]) + np.repeat(offsets, counts),
            meanings=meanings(label_sets, tag_ids) if any(label_sets) else None,
            label_set=np.repeat(np.array(list(map(label_sets.index, hidden)), np.int16), counts),
            pad_id=pad_id,
        )

    def collate(self, rows: np.ndarray) -> Batch:
        batch = collate(self, rows, self.pad_id, labels=self.labels)
        if self.weights is not None:
            mask = batch["attention_mask"].bool()
            weights = torch.zeros(mask.shape)
            place = ranges(self.bounds[rows], self.bounds[rows + 1])
            weights[mask] = torch.from_numpy(self.weights[place])
            batch["weights"] = weights
        if self.meanings is not None:
            batch["stands_for"] = torch.from_numpy(self.meanings[self.label_set[rows]])
        return batch


def meanings(label_sets: Sequence[Sequence[str]], tag_ids: Mapping[str, int]) -> np.ndarray:
    """Which tags a tag may stand for, bool [sets, tags, tags], where these types are not marked.

    Every tag stands for itself; ``O`` also for the tags of the types in a label set.
    """
    found = np.tile(np.eye(len(tag_ids), dtype=bool), (len(label_sets), 1, 1))
    for number, label_set in enumerate(label_sets):
        hidden = [tag_ids[tag] for tag in tags_of(label_set)]
        found[number, tag_ids[OUTSIDE], hidden] = True
    return found


# Progress


def _told(what: str, results: Iterable[Result], total: int) -> Iterator[Result]:
    """The results as they come; how far they are goes to the log now and then."""
    last = time.monotonic()
    for number, result in enumerate(results, 1):
        yield result
        if time.monotonic() - last > _LOG_SECONDS:
            last = time.monotonic()
            logger.info("%s: %d of %d parts", what, number, total)
