"""Teacher and student: a token classification model that reads raw text and word spans.

A word's tag is read at its first sub-word (Devlin et al. 2019). Its further sub-words are taught
that the mention goes on, so that whoever joins sub-words, as the pipeline of transformers does,
finds the same mentions. A folder holds a plain Hugging Face model, whose `id2label` are IOB2 tags.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from xner.config import ModelConfig
from xner.errors import ConfigError
from xner.models.batching import Batch, TokenBudget
from xner.models.characters import NO_NEW_CHARACTERS, NewCharacters, add_characters
from xner.models.encoder import (
    compiled,
    load_config,
    load_tokenizer,
    load_weights,
    pick_device,
    pick_precision,
    save_weights,
    window_length,
    with_dropout,
)
from xner.models.folders import require_tags, resolve
from xner.models.losses import IGNORED
from xner.models.subwords import (
    Sequences,
    Windowed,
    Words,
    ranges,
    split,
    template,
    windowed,
    words_of,
)
from xner.text import iob2
from xner.text.mentions import Mention
from xner.text.words import Span, segment


@dataclass(frozen=True)
class Encoded(Windowed):
    """Windows of many texts, and where the words of the texts are in them.

    `word_index` [positions]: the word of its text that the sub-word belongs to, or -1; `read_at`
    [words of all texts]: the position that a word's tag is read at, -1 where the tokenizer keeps
    nothing of the word, or nothing but a space that it counts to the next one; `word_bounds`
    [texts + 1]: text i has words word_bounds[i]:word_bounds[i + 1].
    """

    word_index: np.ndarray
    read_at: np.ndarray
    word_bounds: np.ndarray


def new_model(
    encoder: str | Path,
    labels: Sequence[str],
    dropout: float | None = None,
    new: NewCharacters = NO_NEW_CHARACTERS,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A token classification model in fp32 on the CPU, for entity types `labels` (O, B-X, I-X ...).

    `encoder` is a folder or hub name. A tagger with the same entity types keeps its head and the
    order of its labels; otherwise the head is new, initialised from torch's global random state.
    `dropout` is that of all its layers in training, by default what the encoder's config says.
    The characters of `new` become sub-words.
    """
    folder = resolve(encoder)
    tokenizer = load_tokenizer(folder)
    model = with_dropout(_pretrained(folder, labels), dropout)
    add_characters(model, tokenizer, new)
    return model, tokenizer


def _pretrained(folder: Path, labels: Sequence[str]) -> PreTrainedModel:
    tags = iob2.tags_of(labels)
    config = load_config(folder)
    goes_on = set(config.id2label.values()) == set(tags)
    old, missing = load_weights(AutoModelForTokenClassification, folder)
    # An encoder alone has no head, and a head for other types is of no use.
    inside = "" if goes_on else f"{old.base_model_prefix}."
    lacking = sorted(name for name in missing if name.startswith(inside))
    if lacking:
        raise ConfigError(
            f"{folder}: the weights lack {len(lacking)} parameters: {lacking[0]}, ..."
        )
    if goes_on:
        # Not every folder's other direction says the same, or anything.
        old.config.label2id = {tag: number for number, tag in config.id2label.items()}
        return old
    config.id2label = dict(enumerate(tags))
    config.label2id = {tag: number for number, tag in enumerate(tags)}
    model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32)
    model.base_model.load_state_dict(old.base_model.state_dict())
    return model


class Students(nn.Module):
    """Two taggers of one encoder that are trained together (Zhou and Chen 2021).

    They differ by their heads: the second's is new also where the first goes on from a tagger.
    Calls give the logits of both, [2, rows, positions, labels].
    """

    def __init__(self, first: PreTrainedModel, second: PreTrainedModel) -> None:
        super().__init__()
        for name, head in second.named_children():
            if name != second.base_model_prefix:
                for module in head.modules():
                    if isinstance(module, nn.Linear):
                        module.reset_parameters()
        self.first, self.second = first, second

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return torch.stack([self.first(**inputs).logits, self.second(**inputs).logits])


def encode(
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    words: Sequence[Sequence[Span]],
    max_length: int,
    stride: int | None = None,
) -> Encoded:
    """Tokenise texts into windows of at most `max_length` sub-words, special tokens included.

    `stride`: sub-words that neighbouring windows share, by default a quarter of the window. A text
    without sub-words has no window.
    """
    subwords = split(tokenizer, texts)
    owners = words_of(subwords, words)
    found = windowed(subwords, template(tokenizer), max_length, stride)
    # One more element, so that -1, a position or sub-word that is not there, reads -1.
    word_index = np.append(owners.of, -1)[found.subword]
    read_at = np.append(found.best, -1)[owners.read_at]
    read_at[_mere_space(owners, texts, words)] = -1
    return Encoded(
        input_ids=found.input_ids,
        subword=found.subword,
        bounds=found.bounds,
        text_index=found.text_index,
        best=found.best,
        word_index=word_index,
        read_at=read_at,
        word_bounds=owners.bounds,
    )


def _mere_space(owners: Words, texts: Sequence[str], words: Sequence[Sequence[Span]]) -> list[int]:
    """The words of all texts that are nothing but space and read what the next word reads.

    Sentencepiece counts a space to the sub-word after it, which says nothing of the space.
    """
    shared = np.flatnonzero(np.diff(owners.read_at) == 0)
    text_of = np.searchsorted(owners.bounds, shared, side="right") - 1
    numbers = shared - owners.bounds[text_of]
    return [
        index
        for index, text, number in zip(
            shared.tolist(), text_of.tolist(), numbers.tolist(), strict=True
        )
        if texts[text][slice(*words[text][number])].isspace()
    ]


def label_ids(
    encoded: Encoded, tags: Sequence[Sequence[str]], label2id: Mapping[str, int]
) -> np.ndarray:
    """Training labels [positions]: what a model should say at each, -100 where nothing is taught.

    A word's tag where it is read; at its further sub-words, and at a lone boundary mark inside a
    mention, that the mention goes on. Nothing is taught at special tokens, in words whose tag is
    ``?``, and where a sub-word lies nearer to its window's edge than elsewhere.
    """
    ids = {**label2id, iob2.UNKNOWN: IGNORED}
    flat = np.fromiter((ids[tag] for tag in chain.from_iterable(tags)), np.int64)
    _check_length(encoded, flat)
    is_unknown = flat == IGNORED
    flat[is_unknown] = label2id[iob2.OUTSIDE]
    names = {number: tag for tag, number in label2id.items()}
    going_on = np.array([label2id[iob2.inside(names[number])] for number in range(len(names))])
    positions, words = _taught(encoded)
    wanted = going_on[flat[words]]
    begins = (encoded.word_index[positions] < 0) & (wanted != flat[words])
    wanted[begins] = label2id[iob2.OUTSIDE]
    found = np.full(len(encoded.input_ids), IGNORED, dtype=np.int64)
    found[positions] = wanted
    found = _where_read(encoded, flat, found)
    found[at_positions(encoded, is_unknown, False)] = IGNORED
    return found


def at_positions(encoded: Encoded, of_words: np.ndarray, filler: float) -> np.ndarray:
    """What is said of each word [words of all texts] at all positions [positions] that teach it.

    Where several words are read at one position it is the first's; where none is, `filler`.
    """
    _check_length(encoded, of_words)
    found = np.full(len(encoded.input_ids), filler, dtype=of_words.dtype)
    positions, words = _taught(encoded)
    found[positions] = of_words[words]
    return _where_read(encoded, of_words, found)


def _taught(encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """Each sub-word's best position, and its word among those of all texts.

    A lone boundary mark goes with the word that follows it, and is left out where none does.
    """
    text = np.repeat(encoded.text_index, encoded.lengths)[encoded.best]
    owner = encoded.word_index[encoded.best]
    last = len(owner) - 1
    owned_next = np.where(owner >= 0, np.arange(len(owner)), last)
    owned_next = np.minimum.accumulate(owned_next[::-1])[::-1]
    has_word = (owner[owned_next] >= 0) & (text[owned_next] == text)
    words = encoded.word_bounds[text] + owner[owned_next]
    return encoded.best[has_word], words[has_word]


def _where_read(encoded: Encoded, of_words: np.ndarray, found: np.ndarray) -> np.ndarray:
    """`found` [positions], with what is said of each word where the word is read."""
    readable = np.flatnonzero(encoded.read_at >= 0)[::-1]
    found[encoded.read_at[readable]] = of_words[readable]
    return found


def _check_length(encoded: Encoded, of_words: np.ndarray) -> None:
    if len(of_words) != len(encoded.read_at):
        raise ValueError(f"{len(of_words)} values for {len(encoded.read_at)} words")


def collate(
    encoded: Sequences,
    indices: np.ndarray,
    pad_id: int,
    labels: np.ndarray | None = None,
) -> Batch:
    """Windows `indices` padded to one length: `input_ids`, `attention_mask` [rows, positions].

    With `labels` [positions of `encoded`, from label_ids] also `labels` [rows, positions], -100 in
    the padding.
    """
    starts, ends = encoded.bounds[indices], encoded.bounds[np.asarray(indices) + 1]
    mask = np.arange((ends - starts).max()) < (ends - starts)[:, None]
    source = ranges(starts, ends)

    def padded(values: np.ndarray, filler: int) -> torch.Tensor:
        table = np.full(mask.shape, filler, dtype=np.int64)
        table[mask] = values[source]
        return torch.from_numpy(table)

    batch = {
        "input_ids": padded(encoded.input_ids, pad_id),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    if labels is not None:
        batch["labels"] = padded(labels, IGNORED)
    return batch


def save_tagger(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: str | Path
) -> None:
    """Write a folder that Tagger and transformers' pipeline("token-classification") read."""
    save_weights(model, tokenizer, Path(folder))


class Tagger:
    """A trained tagger on its device. Raises ConfigError for a model whose labels are not IOB2."""

    def __init__(
        self,
        config: ModelConfig,
        loaded: tuple[PreTrainedModel, PreTrainedTokenizerFast] | None = None,
    ) -> None:
        """`loaded`: model and tokenizer that are in memory already, taken as and where they are."""
        model, self.tokenizer = loaded or self._load(config)
        self.device = model.device
        self.model = compiled(model.eval(), config.compile)
        self.tags = [model.config.id2label[number] for number in range(model.config.num_labels)]
        self._outside = self.tags.index(iob2.OUTSIDE)
        self.max_length = window_length(model, self.tokenizer, config.max_length)
        self.budget = TokenBudget(config.batch_tokens, self.device)
        self._is_inside = np.array([tag.startswith("I-") for tag in self.tags])
        # The tag of a further word that is read at the same sub-word: the mention goes on.
        self._going_on = np.array(
            [
                self.tags.index(iob2.inside(tag)) if iob2.inside(tag) in self.tags else number
                for number, tag in enumerate(self.tags)
            ]
        )

    @staticmethod
    def _load(config: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        folder = resolve(config.model, config.revision)
        tokenizer = load_tokenizer(folder)
        model, missing = load_weights(AutoModelForTokenClassification, folder)
        labels = model.config.id2label
        require_tags([str(labels.get(n)) for n in range(model.config.num_labels)], folder)
        if missing:
            raise ConfigError(
                f"{folder}: not a token classification model: it lacks {min(missing)}"
            )
        device = pick_device(config.device)
        return model.to(device, pick_precision(config.precision, device)), tokenizer

    def label(self, texts: Sequence[str]) -> list[list[Mention]]:
        """The mentions of each text, over xner.text.words.segment; equal texts computed once.

        A mention's score is the mean over its words of the probability of the chosen tag.
        """
        distinct = list(dict.fromkeys(texts))
        words = [segment(text) for text in distinct]
        ids, scores, bounds = self._predict(distinct, words)
        is_inside = np.append(ids != self._outside, False)
        # Most texts have no mention, and cost nothing more.
        has_mention = np.logical_or.reduceat(is_inside, bounds[:-1]) & (np.diff(bounds) > 0)
        found: dict[str, list[Mention]] = {}
        for index in np.flatnonzero(has_mention).tolist():
            part = slice(bounds[index], bounds[index + 1])
            tags = iob2.repair(self.tags[number] for number in ids[part].tolist())
            found[distinct[index]] = iob2.decode(tags, words[index], scores[part].tolist())
        return [list(found.get(text, ())) for text in texts]

    def tag(self, texts: Sequence[str], words: Sequence[Sequence[Span]]) -> list[list[str]]:
        """One valid IOB2 tag for each given word of each text."""
        return [iob2.repair(tags) for tags in self.predict(texts, words)[0]]

    def predict(
        self, texts: Sequence[str], words: Sequence[Sequence[Span]]
    ) -> tuple[list[list[str]], list[list[float]]]:
        """The tag that the model chose for each given word of each text, and its probability.

        A model chooses word by word, so the tags need not be valid IOB2.
        """
        ids, scores, bounds = self._predict(texts, words)
        all_tags = [self.tags[number] for number in ids.tolist()]
        all_scores = scores.tolist()
        slices = [slice(start, end) for start, end in pairwise(bounds.tolist())]
        return [all_tags[part] for part in slices], [all_scores[part] for part in slices]

    def _predict(
        self, texts: Sequence[str], words: Sequence[Sequence[Span]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of the tag and its probability [words of all texts]; bounds [texts + 1]."""
        encoded = encode(self.tokenizer, texts, words, self.max_length)
        # Of a word that is read nowhere nothing is known but what stands around it.
        chosen = np.full(len(encoded.input_ids) + 1, self._outside, dtype=np.int64)
        scores = np.ones(len(encoded.input_ids) + 1, dtype=np.float32)

        def forward(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            best = self.model(**batch).logits.float().softmax(-1).max(-1)
            return best.indices, best.values

        pad = functools.partial(collate, encoded, pad_id=self.tokenizer.pad_token_id)
        for rows, batch, (ids, values) in self.budget.run(pad, forward, encoded.lengths):
            place = ranges(encoded.bounds[rows], encoded.bounds[rows + 1])
            is_read = batch["attention_mask"].numpy() == 1
            chosen[place] = ids[is_read]
            scores[place] = values[is_read]

        word_ids, word_scores = chosen[encoded.read_at], scores[encoded.read_at]
        again = np.zeros(len(word_ids), dtype=bool)
        again[1:] = (np.diff(encoded.read_at) == 0) & (encoded.read_at[1:] >= 0)
        word_ids[again] = self._going_on[word_ids[again]]

        # Where a mention goes on behind a word that is read nowhere, the word is in it.
        read, unread = np.flatnonzero(encoded.read_at >= 0), np.flatnonzero(encoded.read_at < 0)
        place = np.searchsorted(read, unread)
        between = (place > 0) & (place < len(read))
        unread, before, after = unread[between], read[place[between] - 1], read[place[between]]
        text = np.searchsorted(encoded.word_bounds, np.stack([before, after]), side="right")
        goes_on = (text[0] == text[1]) & (self._going_on[word_ids[before]] == word_ids[after])
        goes_on &= self._is_inside[word_ids[after]]
        word_ids[unread[goes_on]] = word_ids[after[goes_on]]
        word_scores[unread[goes_on]] = word_scores[after[goes_on]]
        return word_ids, word_scores, encoded.word_bounds
