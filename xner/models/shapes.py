"""Encoders of well-known sizes with random weights: enough to measure how fast they are.

A forward costs the same whatever its weights are. All sizes are built as BERT, whose layers are
those of RoBERTa, XLM-R and MiniLM too. The vocabulary is learned from the text at hand: it is
smaller than the published ones, and looking embeddings up costs next to nothing either way.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertTokenizerFast, PreTrainedModel, PreTrainedTokenizerFast

from xner.models.batching import Batch, TokenBudget
from xner.models.encoder import load_config, save_weights, window_length
from xner.models.subwords import ranges
from xner.models.tagger import collate, encode
from xner.models.tiny import new_encoder
from xner.text.words import Span

# Of the ridge regression, a share of the mean square of a state's value; and what makes its
# answers, which lie about 0 and 1, logits.
_RIDGE, _SURE = 1e-4, 20.0


@dataclass(frozen=True)
class Shape:
    """Layers, width of the states, heads, and width of the feed-forward layers."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int

    @property
    def matrix_parameters(self) -> int:
        """Parameters of the layers' matrices."""
        attention = 4 * self.hidden_size**2
        return self.num_layers * (attention + 2 * self.hidden_size * self.intermediate_size)

    @property
    def operations_per_token(self) -> int:
        """Floating point operations to read a sub-word, without its share in attention.

        A product of each state with each other of the sentence adds less than a hundredth in
        sentences of usual length.
        """
        return 2 * self.matrix_parameters


#: Published sizes (Conneau et al. 2020; Wang et al. 2020), and one for tests.
SHAPES = {
    "tiny": Shape(2, 64, 4, 128),
    "minilm": Shape(6, 384, 12, 1536),
    "xlm-roberta-base": Shape(12, 768, 12, 3072),
    "xlm-roberta-large": Shape(24, 1024, 16, 4096),
}


def new_encoder_of(name: str, texts: Sequence[str], folder: Path, seed: int = 0) -> Path:
    """Write an encoder of a named shape with random weights, and a WordPiece of the texts."""
    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    trained = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    trained.train_from_iterator(texts, vocab_size=8000, min_frequency=1, show_progress=False)
    trained.save_model(str(folder))
    tokenizer = BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), do_lower_case=False, strip_accents=False
    )
    tokenizer.model_max_length = 512
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = new_encoder(config, seed)
    # Letters are nothing to random weights: what begins with a capital gets a common direction.
    embeddings = encoder.embeddings.word_embeddings.weight
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(config.hidden_size, generator=generator) * config.initializer_range
    with torch.no_grad():
        embeddings[[piece[:1].isupper() for piece in pieces]] += direction
    save_weights(encoder, tokenizer, folder)
    return folder


def fit_head(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    words: Sequence[Sequence[Span]],
    tags: Sequence[Sequence[str]],
) -> None:
    """Let a tagger of random weights find about what it is shown, by its head alone.

    The head becomes the ridge regression of the tags on the states of the words' first sub-words,
    scaled for sure decisions. What a model finds decides how much work there is after it.
    """
    encoded = encode(tokenizer, texts, words, window_length(model, tokenizer, None))
    states = np.zeros((len(encoded.input_ids), model.config.hidden_size), dtype=np.float32)
    pad = functools.partial(collate, encoded, pad_id=tokenizer.pad_token_id)
    budget = TokenBudget(2048, model.device)
    model.eval()

    def forward(batch: Batch) -> tuple[torch.Tensor]:
        return (model.base_model(**batch).last_hidden_state.float(),)

    for rows, batch, (found,) in budget.run(pad, forward, encoded.lengths):
        place = ranges(encoded.bounds[rows], encoded.bounds[rows + 1])
        states[place] = found[batch["attention_mask"].numpy() == 1]
    wanted = torch.tensor([model.config.label2id[tag] for tag in chain.from_iterable(tags)])
    is_read = encoded.read_at >= 0
    read = states[encoded.read_at[is_read]]
    known = torch.from_numpy(np.c_[read, np.ones(len(read))]).double()
    goal = torch.nn.functional.one_hot(wanted[is_read], model.config.num_labels).double()
    penalty = _RIDGE * len(known) * torch.eye(known.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(known.T @ known + penalty, known.T @ goal) * _SURE
    with torch.no_grad():
        model.classifier.weight.copy_(solution[:-1].T)
        model.classifier.bias.copy_(solution[-1])


def shape_of(folder: Path) -> Shape:
    """The shape that a model folder's config states."""
    config = load_config(folder)
    return Shape(
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
    )
