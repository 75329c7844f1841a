"""Encoders of well-known sizes with random weights: enough to measure how fast they are.

A forward costs the same whatever its weights are. All sizes are built as BERT, whose layers are
those of RoBERTa, XLM-R and MiniLM too. The vocabulary is learned from the text at hand: it is
smaller than the published ones, and looking embeddings up costs next to nothing either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertTokenizerFast

from xner.models.encoder import load_config
from xner.models.tiny import save_new_encoder


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
    pieces = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    pieces.train_from_iterator(texts, vocab_size=8000, min_frequency=1, show_progress=False)
    pieces.save_model(str(folder))
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
    return save_new_encoder(config, tokenizer, folder, seed)


def shape_of(folder: Path) -> Shape:
    """The shape that a model folder's config states."""
    config = load_config(folder)
    return Shape(
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
    )
