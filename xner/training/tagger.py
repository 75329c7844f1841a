"""Training of taggers: the teacher on labelled English, the student on pseudo-labelled text.

Both are the same thing (Li, He and Xu 2021): an encoder with a linear layer over the tags, which
starts from a multilingual encoder or from a tagger that knows the types already. The best epoch is
the one with the highest strict F1 on held-out sentences, tagged as they would be in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from xner.config import LossConfig, ModelConfig, TaggedSourceConfig, TrainTaggerConfig
from xner.corpora.tagged import TaggedSentence, read_tagged
from xner.errors import ConfigError
from xner.models.encoder import load_config, load_tokenizer, window_length
from xner.models.losses import IGNORED, token_loss
from xner.models.tagger import Encoded, Tagger, collate, encode, label_ids, new_model, save_tagger
from xner.shards.storage import Folder
from xner.text.iob2 import OUTSIDE, chunks, split_tag, tags_of
from xner.training.encoders import TINY, Encoder, encoder_content, find_encoder
from xner.training.loop import Batch, Progress, log_progress
from xner.training.runs import (
    check_patience,
    content_of,
    fingerprint,
    fit,
    held_out,
)


@dataclass(frozen=True)
class Windows:
    """Encoded training sentences, the same in every epoch.

    ``weights`` is [windows] or None. ``meanings`` is None, or says which tags a tag may stand for
    in each of the label sets that the sources have, bool [sets, tags, tags]; ``label_set``
    [windows] is the number of a window's set.
    """

    encoded: Encoded
    labels: np.ndarray
    weights: np.ndarray | None
    meanings: np.ndarray | None
    label_set: np.ndarray
    pad_id: int

    @property
    def lengths(self) -> np.ndarray:
        return self.encoded.lengths

    def collate(self, rows: np.ndarray) -> Batch:
        batch = collate(self.encoded, rows, self.pad_id, labels=self.labels)
        if self.weights is not None:
            batch["weights"] = torch.from_numpy(self.weights[rows])
        if self.meanings is not None:
            batch["stands_for"] = torch.from_numpy(self.meanings[self.label_set[rows]])
        return batch


@dataclass(frozen=True)
class TaggerTask:
    """What a worker needs to train a tagger."""

    encoder: Encoder
    labels: tuple[str, ...]
    windows: Windows
    dev: tuple[TaggedSentence, ...]
    loss_config: LossConfig
    max_length: int
    batch_tokens: int
    dropout: float | None

    selection = "dev_f1"

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        with self.encoder.files() as folder:
            return load_tokenizer(folder)

    def make_model(self) -> nn.Module:
        with self.encoder.files() as folder:
            return new_model(folder, self.labels, self.dropout)[0]

    def epoch(self, number: int) -> Windows:
        return self.windows

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        counted = (batch["labels"] != IGNORED).sum()
        mean = token_loss(
            model(**inputs).logits,
            batch["labels"],
            self.loss_config,
            batch.get("weights"),
            batch.get("stands_for"),
        )
        return mean * counted, counted

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        if not self.dev:
            return {}
        config = ModelConfig(
            model="in training", max_length=self.max_length, batch_tokens=self.batch_tokens
        )
        tagger = Tagger(config, (model, self._tokenizer))
        predicted = tagger.tag([s.text for s in self.dev], [s.words for s in self.dev])
        # Whether a mention of a type that its source does not mark is right, nobody can tell.
        found = [
            {chunk for chunk in chunks(tags) if chunk[2] not in sentence.not_annotated}
            for tags, sentence in zip(predicted, self.dev, strict=True)
        ]
        gold = [set(chunks(sentence.tags)) for sentence in self.dev]
        right = sum(len(a & b) for a, b in zip(found, gold, strict=True))
        num_found, num_gold = sum(map(len, found)), sum(map(len, gold))
        return {
            "dev_f1": 2 * right / max(num_found + num_gold, 1),
            "dev_precision": right / max(num_found, 1),
            "dev_recall": right / max(num_gold, 1),
        }

    def save(self, model: nn.Module, folder: Path, metrics: Mapping[str, float]) -> None:
        save_tagger(model, self._tokenizer, folder)


def train_tagger(
    config: TrainTaggerConfig, report: Callable[[Progress], None] = log_progress
) -> dict[str, Any]:
    """Train as ``config`` says and write the model folder; the summary is that of ``fit``.

    With ``optimization.num_workers`` above 0 this process must be connected to Ray.

    Raises:
        ConfigError, DataError: as the readers and ``fit`` say.
    """
    inputs = {
        "encoder": encoder_content(config.encoder),
        "data": content_of([source.path for source in config.data]),
        "dev": content_of([source.path for source in config.dev]),
    }
    return fit(
        lambda run_folder: make_task(config, run_folder),
        config.optimization,
        output=config.output,
        job="train_tagger",
        fingerprint=fingerprint(config, inputs),
        report=report,
    )


def make_task(config: TrainTaggerConfig, run_folder: Folder) -> TaggerTask:
    """Read and encode the examples, once for all workers and epochs."""
    training = _read(config.data)
    if config.dev:
        dev = _read(config.dev)
    else:
        training, dev = held_out(training, config.optimization)
    check_patience(config.optimization, len(dev))
    labels = sorted({split_tag(t)[1] for s in training for t in s.tags if t != OUTSIDE})
    if not labels:
        raise ConfigError("data: not one entity in it; a tagger needs tags to learn from")

    encoder = find_encoder(
        config.encoder, (s.text for s in training), run_folder, config.optimization.seed
    )
    with encoder.files() as folder:
        if config.encoder != TINY:
            labels = _labels_kept(folder, labels)
        _check_not_annotated(training, labels)
        model, tokenizer = new_model(folder, labels)
    window_length(model, tokenizer, config.max_length)
    encoded = encode(
        tokenizer, [s.text for s in training], [s.words for s in training], config.max_length
    )
    weights = None
    if config.loss.weighting == "row":
        rows = np.array([s.weight for s in training], dtype=np.float32)
        weights = rows[encoded.text_index]
    tag_ids = model.config.label2id
    label_sets = sorted({s.not_annotated for s in training})
    number_of = {label_set: number for number, label_set in enumerate(label_sets)}
    return TaggerTask(
        encoder=encoder,
        labels=tuple(labels),
        windows=Windows(
            encoded=encoded,
            labels=label_ids(encoded, [s.tags for s in training], tag_ids),
            weights=weights,
            meanings=meanings(label_sets, tag_ids) if any(label_sets) else None,
            label_set=np.array([number_of[s.not_annotated] for s in training])[encoded.text_index],
            pad_id=tokenizer.pad_token_id,
        ),
        dev=tuple(dev),
        loss_config=config.loss,
        max_length=config.max_length,
        batch_tokens=config.optimization.forward_tokens or config.optimization.batch_tokens,
        dropout=config.dropout,
    )


def meanings(label_sets: Sequence[Sequence[str]], tag_ids: Mapping[str, int]) -> np.ndarray:
    """Which tags a tag may stand for, bool [sets, tags, tags], where these types are not marked.

    Every tag stands for itself; ``O`` also for the tags of the types in a label set.
    """
    found = np.tile(np.eye(len(tag_ids), dtype=bool), (len(label_sets), 1, 1))
    for number, label_set in enumerate(label_sets):
        hidden = [tag_ids[tag] for tag in tags_of(label_set)]
        found[number, tag_ids[OUTSIDE], hidden] = True
    return found


def _check_not_annotated(sentences: Sequence[TaggedSentence], labels: Sequence[str]) -> None:
    """Refuse hidden types that nothing teaches: to say `O` or one of them would be all the same."""
    hidden = {label for sentence in sentences for label in sentence.not_annotated}
    if unknown := sorted(hidden.difference(labels)):
        raise ConfigError(
            f"data: not_annotated names {', '.join(unknown)}, which no other source marks and the "
            f"model does not know ({', '.join(labels)})"
        )


def _read(sources: Sequence[TaggedSourceConfig]) -> list[TaggedSentence]:
    return [sentence for source in sources for sentence in read_tagged(source)]


def _labels_kept(folder: Path, labels: list[str]) -> list[str]:
    """The types of the tagger that training goes on from, where they cover those of the data."""
    tags = load_config(folder).id2label.values()
    known = list(dict.fromkeys(tag[2:] for tag in tags if tag.startswith("B-")))
    return known if set(labels) <= set(known) else labels
