"""Training of entity aligners on examples of names and where they stand in a text.

What an epoch shows of the examples is told in ``xner.corpora.alignment_epoch``. The best epoch is
the one that places most held-out names exactly, decoded as they would be in use; a name that is not
there is right when nothing is found for it. On the same held-out examples a calibration is
fitted that makes a score the probability that the span is right.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from xner.config import AlignerConfig, TrainAlignerConfig
from xner.corpora.alignment_epoch import (
    Names,
    augmented,
    mixed,
    origin_weights,
    with_negatives,
)
from xner.corpora.alignment_set import AlignmentExample, read_examples
from xner.errors import ConfigError
from xner.models.aligner import (
    Aligner,
    Encoded,
    alignment_loss,
    collate,
    encode_requests,
    names_without_row,
    new_network,
    pair_mask,
    save_aligner,
    targets,
)
from xner.models.encoder import window_length
from xner.models.folders import AlignerSettings, encoder_content
from xner.projection.calibration import IDENTITY, calibration_error, fit_calibration
from xner.projection.decode import Candidate, candidates
from xner.shards.ledger import content_of
from xner.shards.storage import Folder
from xner.text.chinese import whole_words
from xner.text.words import Span, segment
from xner.training.encoders import Encoder, find_encoder
from xner.training.loop import Batch, Progress, log_progress
from xner.training.runs import (
    check_patience,
    fingerprint,
    fit,
    held_out,
)

logger = logging.getLogger(__name__)

# Held-out spans with this score and above are counted for the run's summary.
_SURE = 0.9


@dataclass(frozen=True)
class Forwards:
    """One epoch's rows: a name and a text each, or all names of a text."""

    encoded: Encoded
    targets: list[np.ndarray]
    pad_id: int

    @cached_property
    def lengths(self) -> np.ndarray:
        return self.encoded.lengths

    def collate(self, rows: np.ndarray) -> Batch:
        return collate(self.encoded, rows, self.pad_id, targets=self.targets)


@dataclass(frozen=True)
class AlignerTask:
    """What a worker needs to train an aligner.

    Examples travel as they are, and every worker encodes them once an epoch: the names that are
    not there are others each time.
    """

    config: TrainAlignerConfig
    encoder: Encoder
    training: tuple[AlignmentExample, ...]
    dev: tuple[AlignmentExample, ...]
    weights: Mapping[str, float]

    selection = "dev_exact"

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        return self.encoder.tokenizer()

    @cached_property
    def _names(self) -> Names:
        return Names.of(self.training)

    def make_model(self) -> nn.Module:
        with self.encoder.files() as folder:
            return new_network(folder, self.config.layout)[0]

    def epoch(self, number: int) -> Forwards:
        config = self.config
        seed = config.optimization.seed, number
        asked = with_negatives(
            mixed(self.training, self.weights, (*seed, 1)),
            self._names,
            config.negatives,
            config.negatives_mix,
            seed,
        )
        asked = augmented(asked, self._names, config.augmentation, (*seed, 2))
        pairs = [(example.names, example.text) for example in asked]
        encoded = encode_requests(self._tokenizer, pairs, config.layout, config.max_length)
        if not len(encoded.lengths):
            raise ConfigError(
                f"max_length = {config.max_length}: not one name of the examples fits beside a text"
            )
        left_out = names_without_row(encoded, pairs)
        if left_out and not number:
            logger.warning(
                "%d of %d names do not fit into a window of %d sub-words beside their text: they "
                "are not trained on",
                len(left_out),
                sum(len(example.names) for example in asked),
                config.max_length,
            )
        marks = targets(encoded, [example.spans for example in asked])
        return Forwards(encoded, marks, self._tokenizer.pad_token_id)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        counted = pair_mask(batch).sum()
        return alignment_loss(model(batch), batch) * counted, counted

    def describe(self, batch: Batch) -> list[str]:
        return self._tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        if not self.dev:
            return {}
        decoding = AlignerConfig(model="in training", batch_tokens=self._batch_tokens)
        settings = AlignerSettings(layout=self.config.layout, max_length=self.config.max_length)
        aligner = Aligner(decoding, (model, self._tokenizer, settings))
        found = HeldOut.of(aligner, decoding, self.dev)
        metrics = {f"dev_{name}": share for name, share in found.exact_shares().items()}
        return {**metrics, **calibrated(*found.scored())}

    def save(self, model: nn.Module, folder: Path, metrics: Mapping[str, float]) -> None:
        settings = AlignerSettings(
            layout=self.config.layout,
            max_length=self.config.max_length,
            score_scale=metrics.get("score_scale", IDENTITY.scale),
            score_bias=metrics.get("score_bias", IDENTITY.bias),
        )
        save_aligner(model, self._tokenizer, folder, settings)

    @property
    def _batch_tokens(self) -> int:
        optimization = self.config.optimization
        return optimization.forward_tokens or optimization.batch_tokens


def train_aligner(
    config: TrainAlignerConfig, report: Callable[[Progress], None] = log_progress
) -> dict[str, Any]:
    """Train as ``config`` says and write the model folder; the summary is that of ``fit``.

    With ``optimization.num_workers`` above 0 this process must be connected to Ray.

    Raises:
        ConfigError, DataError: as ``read_examples`` and ``fit`` say.
    """
    return fit(
        partial(make_task, config),
        config.optimization,
        output=config.output,
        job="train_aligner",
        fingerprint=fingerprint_of(config),
        report=report,
    )


def fingerprint_of(config: TrainAlignerConfig) -> dict[str, Any]:
    """What decides the weights of a run. Raises ConfigError for what is not there."""
    inputs = {
        "encoder": encoder_content(config.encoder),
        "examples": content_of(config.examples),
    }
    return fingerprint(config, inputs)


def make_task(config: TrainAlignerConfig, run_folder: Folder, run: int = 0) -> AlignerTask:
    """Read the examples and hold some out; the same ones for all runs of a soup."""
    optimization = config.optimization
    examples = [example for path in config.examples for example in read_examples(path)]
    if not examples:
        raise ConfigError(f"examples: not one example in {', '.join(config.examples)}")
    weights = origin_weights(examples, config.mix)
    examples = [example for example in examples if weights[example.origin]]
    training, dev = held_out(examples, optimization)
    check_patience(optimization, len(dev))
    texts = (text for example in training for text in (example.text, *example.names))
    encoder = find_encoder(config.encoder, texts, run_folder, optimization.seed)
    with encoder.files() as folder:
        network, tokenizer = new_network(folder, config.layout)
    window_length(network.encoder, tokenizer, config.max_length)
    # Held-out texts are asked for absent names too, the same ones at every evaluation.
    seed = (optimization.seed, optimization.epochs)
    asked = with_negatives(dev, Names.of(examples), config.negatives, config.negatives_mix, seed)
    config = config.model_copy(update={"optimization": optimization.of_run(run)})
    return AlignerTask(config, encoder, tuple(training), tuple(asked), weights)


@dataclass(frozen=True)
class HeldOut:
    """Held-out examples, their words, and the probabilities that the aligner gives these."""

    examples: Sequence[AlignmentExample]
    words: Sequence[Sequence[Span]]
    matrices: Sequence[np.ndarray]
    decoding: AlignerConfig

    @classmethod
    def of(
        cls, aligner: Aligner, decoding: AlignerConfig, examples: Sequence[AlignmentExample]
    ) -> HeldOut:
        words = [whole_words(e.text, segment(e.text), e.lang) for e in examples]
        matrices = aligner.align(
            [(e.names, e.text, spans) for e, spans in zip(examples, words, strict=True)]
        )
        return cls(examples, words, matrices, decoding)

    def best(self) -> Iterator[tuple[Candidate | None, Sequence[Span]]]:
        """For each name its best candidate, if any, and where the name stands."""
        for example, words, matrix in zip(self.examples, self.words, self.matrices, strict=True):
            found = candidates(
                matrix,
                words,
                example.text,
                threshold=self.decoding.threshold,
                max_gap=self.decoding.max_gap,
                max_candidates=1,
            )
            for ranked, gold in zip(found, example.spans, strict=True):
                yield (ranked[0] if ranked else None), gold

    def scored(self) -> tuple[list[float], list[bool]]:
        """The scores of the spans that are found, and whether each is exactly right."""
        pairs = [(best, gold) for best, gold in self.best() if best is not None]
        return [best.score for best, _ in pairs], [
            (best.start, best.end) in gold for best, gold in pairs
        ]

    def exact_shares(self) -> dict[str, float]:
        """Shares of names whose best candidate is exactly right, as fractions.

        ``exact``: of all names; ``exact_present``: of those that stand in the text;
        ``exact_absent``: of those that do not, for which nothing must be found. The last two are
        left out where there is no such name.
        """
        placed, refused = [], []
        for best, gold in self.best():
            if gold:
                placed.append(best is not None and (best.start, best.end) in gold)
            else:
                refused.append(best is None)
        shares = {"exact": _share(placed + refused)}
        if placed:
            shares["exact_present"] = _share(placed)
        if refused:
            shares["exact_absent"] = _share(refused)
        return shares


def calibrated(scores: Sequence[float], right: Sequence[bool]) -> dict[str, float]:
    """The calibration that fits one half of the spans, and what it does on the other half.

    ``score_scale`` and ``score_bias``; ``dev_ece_before`` and ``dev_ece``, the expected calibration
    error without and with it; ``dev_sure``, the share of the spans that score 0.9 or more, and
    ``dev_sure_right``, the share of right ones among these (left out where there is none).
    """
    calibration = fit_calibration(scores[0::2], right[0::2])
    scores, right = scores[1::2], right[1::2]
    after = list(map(calibration, scores))
    sure = [is_right for score, is_right in zip(after, right, strict=True) if score >= _SURE]
    figures = {
        "score_scale": calibration.scale,
        "score_bias": calibration.bias,
        "dev_ece_before": calibration_error(scores, right),
        "dev_ece": calibration_error(after, right),
        "dev_sure": len(sure) / max(len(after), 1),
    }
    return {**figures, "dev_sure_right": _share(sure)} if sure else figures


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(len(right), 1)
