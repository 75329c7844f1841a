"""Word links from the similarity of an encoder's states: SimAlign (Jalili Sabet et al. 2020).

Source and target are read each for itself, and the states of their sub-words in one hidden layer
are compared. A link is where both sides find each other most similar, and two words are linked
where any of their sub-words are. Nothing is learned: the encoder must know both languages.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from xner.config import BatchTokens, LinksConfig
from xner.errors import ConfigError
from xner.models.batching import Batch, TokenBudget
from xner.models.encoder import (
    load_encoder,
    load_tokenizer,
    pick_device,
    pick_precision,
    window_length,
)
from xner.models.folders import resolve
from xner.models.subwords import links, offsets_of, ranges, split, template, windowed, words_of
from xner.models.tagger import collate
from xner.text.pairs import SentencePair
from xner.text.words import Span

# Both as in the paper.
ROUNDS = 2
DISCOUNT = 0.9
# Characters of the pairs whose states are held at once: up to 1 GiB with a large encoder and
# Chinese text, a third of that with German, and still many batches.
GROUP_CHARS = 1 << 18

Text = tuple[str, tuple[Span, ...]]


def argmax_links(similarity: np.ndarray) -> np.ndarray:
    """Where a row's largest cell is also its column's largest: bool [rows, columns].

    Of equally large cells the first counts.
    """
    linked = np.zeros(similarity.shape, dtype=bool)
    if similarity.size:
        columns = similarity.argmax(axis=1)
        rows = np.flatnonzero(similarity.argmax(axis=0)[columns] == np.arange(len(columns)))
        linked[rows, columns[rows]] = True
    return linked


def itermax_links(similarity: np.ndarray) -> np.ndarray:
    """argmax_links, and what it finds in a second round when the first's links count less.

    A cell whose row and column both have a link is out; one of which either has is discounted.
    So what is left over may join a link that is there; the program of its authors, unlike their
    paper, stops where either side has all its links. `similarity` is not negative.
    """
    linked = argmax_links(similarity)
    for _ in range(ROUNDS - 1):
        row, column = linked.any(axis=1, keepdims=True), linked.any(axis=0, keepdims=True)
        weight = np.where(row & column, 0.0, np.where(row | column, DISCOUNT, 1.0))
        linked |= argmax_links(similarity * weight) & (weight > 0)
    return linked


_MATCHINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "argmax": argmax_links,
    "itermax": itermax_links,
}


@dataclass(frozen=True)
class States:
    """States [states, width] of unit length of the sub-words that stand for a word of a text.

    Link i says that state `of[i]` stands for word `word[i]`; the text has `num_words`.
    """

    states: np.ndarray
    of: np.ndarray
    word: np.ndarray
    num_words: int


class SimilarityLinker:
    """An encoder on its device, and the layer whose states are compared."""

    # What the encoder knows, nobody says.
    languages = None

    def __init__(
        self,
        config: LinksConfig,
        device: str = "auto",
        precision: str = "auto",
        batch_tokens: BatchTokens = "auto",
    ) -> None:
        """The last three as in ModelConfig. Raises ConfigError for a layer that is not there."""
        assert config.model is not None
        folder = resolve(config.model, config.revision)
        self.tokenizer = load_tokenizer(folder)
        encoder = load_encoder(folder)
        num_layers = encoder.config.num_hidden_layers
        self.layer = round(num_layers * 2 / 3) if config.layer is None else config.layer
        if not 0 <= self.layer <= num_layers:
            raise ConfigError(
                f"links.layer = {self.layer}, but {folder} has the layers 0 (the embeddings) to "
                f"{num_layers}"
            )
        self.max_length = window_length(encoder, self.tokenizer, None)
        self.device = pick_device(device)
        self.encoder = encoder.to(self.device, pick_precision(precision, self.device)).eval()
        self.matching = _MATCHINGS[config.matching]
        self.budget = TokenBudget(batch_tokens, self.device)

    def links(self, pairs: Sequence[SentencePair]) -> list[np.ndarray]:
        """For each pair a float32 matrix [source words, target words]: 1 linked, 0 not.

        Texts longer than the encoder's limit are read in windows. Pairs are taken in groups sorted
        by length and source; equal texts of a group are computed once. A word that the tokenizer
        keeps nothing of has no link.
        """
        found: dict[int, np.ndarray] = {}
        for group in _groups(pairs):
            sides = [
                (
                    (pairs[number].source, tuple(pairs[number].source_words)),
                    (pairs[number].target, tuple(pairs[number].target_words)),
                )
                for number in group
            ]
            states = self._read(chain.from_iterable(sides))
            for number, (source, target) in zip(group, sides, strict=True):
                found[number] = self._matched(states[source], states[target])
        return [found[number] for number in range(len(pairs))]

    def _read(self, texts: Iterable[Text]) -> dict[Text, States]:
        distinct = list(dict.fromkeys(texts))
        subwords = split(self.tokenizer, [text for text, _ in distinct])
        words = words_of(subwords, [spans for _, spans in distinct])
        windows = windowed(subwords, template(self.tokenizer), self.max_length)
        states = np.zeros((len(subwords.ids), self.encoder.config.hidden_size), np.float32)

        def forward(batch: Batch) -> tuple[torch.Tensor]:
            layers = self.encoder(**batch, output_hidden_states=True).hidden_states
            return (torch.nn.functional.normalize(layers[self.layer].float(), dim=-1),)

        pad = functools.partial(collate, windows, pad_id=self.tokenizer.pad_token_id)
        for rows, batch, (unit,) in self.budget.run(pad, forward, windows.lengths):
            values = unit[batch["attention_mask"].numpy() == 1]
            place = ranges(windows.bounds[rows], windows.bounds[rows + 1])
            subword = windows.subword[place]
            best = (subword >= 0) & (windows.best[subword] == place)
            states[subword[best]] = values[best]

        link_bounds, linked_words = links(subwords, words)
        num_links = np.diff(link_bounds)
        found = {}
        for number, text in enumerate(distinct):
            first, last = subwords.bounds[number], subwords.bounds[number + 1]
            # Sub-words of no word (a lone boundary mark) would only draw links to themselves.
            own = num_links[first:last]
            found[text] = States(
                states=states[first:last][own > 0],
                of=np.repeat(np.arange(np.count_nonzero(own)), own[own > 0]),
                word=linked_words[link_bounds[first] : link_bounds[last]],
                num_words=len(text[1]),
            )
        return found

    def _matched(self, source: States, target: States) -> np.ndarray:
        # As in the authors' program: between 0 and 1, for the discount is meant for such.
        similarity = (1 + source.states @ target.states.T) / 2
        linked = self.matching(similarity)[np.ix_(source.of, target.of)]
        matrix = np.zeros((source.num_words, target.num_words), dtype=np.float32)
        rows, columns = np.nonzero(linked)
        matrix[source.word[rows], target.word[columns]] = 1
        return matrix


def _groups(pairs: Sequence[SentencePair]) -> Iterator[list[int]]:
    """The numbers of pairs of like length, in groups of about GROUP_CHARS characters."""
    order = sorted(
        range(len(pairs)),
        key=lambda number: (len(pairs[number].source), pairs[number].source, number),
    )
    chars = [len(pairs[number].source) + len(pairs[number].target) for number in order]
    group_of = offsets_of(chars)[:-1] // GROUP_CHARS
    bounds = np.flatnonzero(np.diff(group_of, prepend=-1, append=-1))
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield order[start:end]
