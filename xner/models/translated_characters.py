"""What new characters begin as where a word aligner knows them: as the words that they translate.

The encoder then knows at once what a text in that script is about. Tran (2020, "From English to
foreign languages") begins whole vocabularies so, from the probabilities of a word aligner. It is
for scripts in which a character means something, as the Chinese.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from xner.models.hmm import WordAligner
from xner.models.subwords import BOUNDARY_MARKS
from xner.models.word_counts import Counts
from xner.text.chinese import simplified

# How often a character is linked to the unknown sub-word, so to say, before anything is counted.
_UNKNOWN_COUNT = 0.5


def translated(
    characters: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    aligner: WordAligner,
) -> Tensor:
    """Embeddings [characters, width]: the mean of those of the source words that each is linked to.

    Words weigh as often as the aligner counted a link, and the unknown sub-word half a time, so
    that a character that was never linked begins as unknown. ``model`` and ``tokenizer`` are still
    without the characters.
    """
    embeddings = model.get_input_embeddings().weight.detach().numpy()
    counts, prefix = aligner.learned[0].counts, aligner.cuts[0].prefix
    words = np.stack(
        [
            embeddings[subwords].mean(0)
            for subwords in _subwords_of(list(counts.source_words), tokenizer, prefix)
        ]
    )
    links = _links(characters, counts)
    unknown = embeddings[tokenizer.unk_token_id]
    totals = links.sum(axis=1)[:, None] + _UNKNOWN_COUNT
    return torch.tensor((links @ words + _UNKNOWN_COUNT * unknown) / totals, dtype=torch.float32)


def _links(characters: Sequence[str], counts: Counts) -> csr_array:
    """How often each character is linked to each source word, [characters, source words].

    The links of a target word are shared by its letters.
    """
    numbers_of = defaultdict(list)
    for number, character in enumerate(characters):
        numbers_of[simplified(character).lower()].append(number)
    found = [
        (1 / len(letters), number, word)
        for letters, word in counts.target_words.items()
        for letter in letters
        for number in numbers_of.get(letter, ())
    ]
    shares, numbers, words = np.array(found).reshape(-1, 3).T
    num_sources, num_targets = len(counts.source_words), len(counts.target_words)
    places = (numbers.astype(np.int64), words.astype(np.int64))
    of_letters = csr_array((shares, places), (len(characters), num_targets))
    of_words = csr_array((counts.values, counts.columns, counts.rows), (num_sources, num_targets))
    return of_letters @ of_words.T


def _subwords_of(
    words: Sequence[str], tokenizer: PreTrainedTokenizerFast, prefix: int | None
) -> list[list[int]]:
    """The sub-words that stand for each word, known by its first ``prefix`` letters, or whole.

    That is the vocabulary's first word that begins so, for vocabularies begin with what is
    frequent, or else how the letters are cut.
    """
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    two = tokenizer.backend_tokenizer.encode("a a", add_special_tokens=False).tokens
    marks = [mark for mark in BOUNDARY_MARKS if any(token.startswith(mark) for token in two)]
    marked = [
        (token[len(mark) :], number)
        for token, number in vocabulary
        for mark in marks
        if token.startswith(mark)
    ]
    whole: dict[str, int] = {}
    # WordPiece marks what goes on instead.
    for token, number in marked or vocabulary:
        if not token.startswith("##"):
            whole.setdefault(token.lower()[:prefix], number)
    encodings = tokenizer.backend_tokenizer.encode_batch(list(words), add_special_tokens=False)
    unknown = [tokenizer.unk_token_id]
    return [
        [whole[word]] if word in whole else encoding.ids or unknown
        for word, encoding in zip(words, encodings, strict=True)
    ]
