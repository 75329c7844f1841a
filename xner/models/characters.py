"""Characters that an encoder has never seen get sub-words of their own, to be learned in training.

An encoder reads a character that its vocabulary lacks as unknown, and all such characters alike:
names in a script that it was not trained on are then told apart by their neighbours alone. A
sub-word for each, whose embedding the training learns, is the simplest of the vocabulary
augmentations that Chau, Lin and Smith (2020) and Wang et al. (2020) describe. The new embeddings
begin as copies of the unknown one's, so that the encoder at first computes what it did before, or
as :mod:`xner.models.translated_characters` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True, eq=False)
class NewCharacters:
    """Characters that become sub-words.

    ``embeddings`` [characters, width] is what theirs begin as; None for copies of the unknown one.
    """

    characters: tuple[str, ...] = ()
    embeddings: Tensor | None = None


NO_NEW_CHARACTERS = NewCharacters()


def unknown_characters(
    tokenizer: PreTrainedTokenizerFast, counts: Mapping[str, int], min_count: int
) -> tuple[str, ...]:
    """The characters that the tokenizer reads as unknown and that are so often there, in order.

    A byte-level tokenizer knows all of them.
    """
    frequent = sorted(each for each, count in counts.items() if count >= min_count)
    encodings = tokenizer.backend_tokenizer.encode_batch(frequent, add_special_tokens=False)
    return tuple(
        character
        for character, encoding in zip(frequent, encodings, strict=True)
        if tokenizer.unk_token_id in encoding.ids
    )


def unknown_share(tokenizer: PreTrainedTokenizerFast, subwords: np.ndarray) -> float:
    """Share of the sub-words (ids, of any shape) that are the unknown one."""
    return float(np.mean(subwords == tokenizer.unk_token_id)) if subwords.size else 0.0


def add_to_tokenizer(tokenizer: PreTrainedTokenizerFast, characters: Sequence[str]) -> None:
    """Make each character a sub-word, wherever it stands; those after it begin anew."""
    # As they stand in the text: a normalizer may put spaces around a character, or fold its case.
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in characters])


def add_characters(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, new: NewCharacters
) -> None:
    """Make each character a sub-word of model and tokenizer, both changed in place."""
    if not new.characters:
        return
    add_to_tokenizer(tokenizer, new.characters)
    # Some vocabularies are padded: there is room without growth.
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        begin = embeddings[tokenizer.unk_token_id].clone()
        if new.embeddings is not None:
            begin = new.embeddings
        embeddings[tokenizer.convert_tokens_to_ids(list(new.characters))] = begin
