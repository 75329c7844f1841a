"""Training of entity aligners on examples of names and where they stand in a text.

As in the paper (Li, He and Xu 2021), names that do not occur in the text are asked for too, so that
the aligner learns to find nothing. They are names of other examples of the same language, drawn
anew in every epoch. The best epoch is the one that places most held-out names exactly, decoded as
they would be in use; a name that is not there is right when nothing is found for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from xner.config import AlignerConfig, TrainAlignerConfig
from xner.corpora.alignment_set import AlignmentExample, read_examples
from xner.errors import ConfigError
from xner.models.aligner import (
    Aligner,
    AlignerSettings,
    Encoded,
    alignment_loss,
    collate,
    encode_requests,
    new_network,
    pair_mask,
    save_aligner,
    targets,
)
from xner.models.encoder import load_tokenizer, window_length
from xner.projection.decode import candidates
from xner.shards.storage import Folder
from xner.text.words import segment
from xner.training.encoders import Encoder, encoder_content, find_encoder
from xner.training.loop import Batch, Progress, log_progress
from xner.training.runs import content_of, fingerprint, fit, is_held_out

# A drawn name that is or may be in the text after all is replaced, but not for ever.
_DRAWS = 5


@dataclass(frozen=True)
class Names:
    """The distinct names of each language, and every form in which a name was seen in a text."""

    by_lang: dict[str, tuple[str, ...]]
    forms: dict[tuple[str, str], frozenset[str]]

    @classmethod
    def of(cls, examples: Iterable[AlignmentExample]) -> Names:
        forms: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for example in examples:
            for name, spans in zip(example.names, example.spans, strict=True):
                seen = {name, *(example.text[start:end] for start, end in spans)}
                forms[example.lang, name] |= seen
        by_lang: defaultdict[str, list[str]] = defaultdict(list)
        for lang, name in sorted(forms):
            by_lang[lang].append(name)
        return cls(
            {lang: tuple(names) for lang, names in by_lang.items()},
            {key: frozenset(seen) for key, seen in forms.items()},
        )

    def draw(self, example: AlignmentExample, generator: np.random.Generator) -> str | None:
        """A name that stands in the text in none of its known forms; None where none was found."""
        names = self.by_lang.get(example.lang, ())
        for _ in range(_DRAWS if names else 0):
            name = names[generator.integers(len(names))]
            forms = self.forms[example.lang, name]
            if name not in example.names and not any(form in example.text for form in forms):
                return name
        return None


def with_negatives(
    examples: Sequence[AlignmentExample], names: Names, share: float, seed: Sequence[int]
) -> list[AlignmentExample]:
    """The examples with names added that are not in the text, and all names in random order.

    For each name of an example one is added with probability ``share``; an example without a name
    counts as having one. The same arguments give the same examples.
    """
    generator = np.random.default_rng(seed)
    mixed = []
    for example in examples:
        added = dict.fromkeys(
            drawn
            for _ in range(generator.binomial(max(len(example.names), 1), share))
            if (drawn := names.draw(example, generator)) is not None
        )
        asked = [*zip(example.names, example.spans, strict=True), *((name, ()) for name in added)]
        order = generator.permutation(len(asked))
        mixed.append(
            replace(
                example,
                names=tuple(asked[index][0] for index in order),
                spans=tuple(asked[index][1] for index in order),
            )
        )
    return mixed


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

    selection = "dev_exact"

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        with self.encoder.files() as folder:
            return load_tokenizer(folder)

    @cached_property
    def _names(self) -> Names:
        return Names.of(self.training)

    def make_model(self) -> nn.Module:
        with self.encoder.files() as folder:
            return new_network(folder, self.config.layout)[0]

    def epoch(self, number: int) -> Forwards:
        seed = (self.config.optimization.seed, number)
        asked = with_negatives(self.training, self._names, self.config.negatives, seed)
        encoded = encode_requests(
            self._tokenizer,
            [(example.names, example.text) for example in asked],
            self.config.layout,
            self.config.max_length,
        )
        marks = targets(encoded, [example.spans for example in asked])
        return Forwards(encoded, marks, self._tokenizer.pad_token_id)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        counted = pair_mask(batch).sum()
        return alignment_loss(model(batch), batch) * counted, counted

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        if not self.dev:
            return {}
        decoding = AlignerConfig(model="in training", batch_tokens=self._batch_tokens)
        aligner = Aligner(decoding, (model, self._tokenizer, self._settings))
        shares = exact_shares(aligner, decoding, self.dev)
        return {f"dev_{name}": share for name, share in shares.items()}

    def save(self, model: nn.Module, folder: Path) -> None:
        save_aligner(model, self._tokenizer, folder, self._settings)

    @property
    def _settings(self) -> AlignerSettings:
        return AlignerSettings(layout=self.config.layout, max_length=self.config.max_length)

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
    inputs = {
        "encoder": encoder_content(config.encoder),
        "examples": content_of(config.examples),
    }
    return fit(
        lambda run_folder: make_task(config, run_folder),
        config.optimization,
        output=config.output,
        job="train_aligner",
        fingerprint=fingerprint(config, inputs),
        report=report,
    )


def make_task(config: TrainAlignerConfig, run_folder: Folder) -> AlignerTask:
    """Read the examples and hold some out."""
    optimization = config.optimization
    examples = [example for path in config.examples for example in read_examples(path)]
    dev = [e for e in examples if is_held_out(e.text, optimization.dev_share)]
    training = [e for e in examples if not is_held_out(e.text, optimization.dev_share)]
    if not training:
        raise ConfigError("optimization.dev_share leaves no example to train on; lower it")
    texts = (text for example in training for text in (example.text, *example.names))
    encoder = find_encoder(config.encoder, texts, run_folder, optimization.seed)
    with encoder.files() as folder:
        network, tokenizer = new_network(folder, config.layout)
    window_length(network.encoder, tokenizer, config.max_length)
    # Held-out texts are asked for absent names too, the same ones at every evaluation.
    seed = (optimization.seed, optimization.epochs)
    asked = with_negatives(dev, Names.of(examples), config.negatives, seed)
    return AlignerTask(config, encoder, tuple(training), tuple(asked))


def exact_shares(
    aligner: Aligner, decoding: AlignerConfig, examples: Sequence[AlignmentExample]
) -> dict[str, float]:
    """Shares of names whose best candidate is exactly right, as fractions.

    ``exact``: of all names; ``exact_present``: of those that stand in the text; ``exact_absent``:
    of those that do not, for which nothing must be found.
    """
    words = [segment(example.text) for example in examples]
    matrices = aligner.align(
        [(e.names, e.text, spans) for e, spans in zip(examples, words, strict=True)]
    )
    placed, refused = [], []
    for example, spans, matrix in zip(examples, words, matrices, strict=True):
        found = candidates(
            matrix,
            spans,
            example.text,
            threshold=decoding.threshold,
            max_gap=decoding.max_gap,
            max_candidates=1,
        )
        for best, gold in zip(found, example.spans, strict=True):
            if gold:
                placed.append(bool(best) and (best[0].start, best[0].end) in gold)
            else:
                refused.append(not best)
    return {
        "exact": _share(placed + refused),
        "exact_present": _share(placed),
        "exact_absent": _share(refused),
    }


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(len(right), 1)
