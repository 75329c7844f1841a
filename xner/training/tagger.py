"""Training of taggers: the teacher on labelled English, the student on pseudo-labelled text.

Both are the same thing (Li, He and Xu 2021): an encoder with a linear layer over the tags, which
starts from a multilingual encoder or from a tagger that knows the types already. The best epoch is
the one with the highest strict F1 on held-out sentences, tagged as they would be in use.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from xner.config import LossConfig, ModelConfig, TaggedSourceConfig, TrainTaggerConfig
from xner.corpora.tagged import Mapper, TaggedSentence, in_turn, read_tagged
from xner.errors import ConfigError, without_credentials
from xner.models.characters import (
    NO_NEW_CHARACTERS,
    NewCharacters,
    unknown_characters,
    unknown_share,
)
from xner.models.encoder import load_config, window_length
from xner.models.folders import TINY, encoder_content
from xner.models.losses import IGNORED, disagreement, token_loss
from xner.models.tagger import Students, Tagger, new_model, save_tagger
from xner.shards.ledger import DATA_FILE, content_of
from xner.shards.storage import Folder
from xner.text.iob2 import OUTSIDE, UNKNOWN, chunks, split_tag, tags_of
from xner.text.languages import language_of
from xner.training.encoders import Encoder, find_encoder
from xner.training.examples import (
    EncodedPart,
    Example,
    Part,
    PartEncoder,
    Survey,
    Surveyor,
    Windows,
    encoded,
    is_gold,
    mean_score,
    parts_of,
    split,
    surveyed,
)
from xner.training.loop import Batch, Progress, log_progress
from xner.training.runs import (
    check_left,
    check_patience,
    fingerprint,
    fit,
    held_out_share,
)

# Share of unknown sub-words from which it is worth a line: an encoder knows its own languages.
_MUCH_UNKNOWN = 0.05

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochWindows:
    """The windows that one epoch has, ``drawn`` of all, and what agreement of students counts."""

    windows: Windows
    drawn: np.ndarray
    agreement: float = 0.0

    @cached_property
    def lengths(self) -> np.ndarray:
        return self.windows.lengths[self.drawn]

    def collate(self, rows: np.ndarray) -> Batch:
        batch = self.windows.collate(self.drawn[rows])
        if self.agreement:
            batch["agreement"] = torch.tensor(self.agreement)
        return batch


@dataclass(frozen=True)
class Mixture:
    """How often an epoch has each training sentence, on average: ``repeats`` [sentences]."""

    repeats: np.ndarray
    seed: int

    def draw(self, windows: Windows, epoch: int) -> np.ndarray:
        """The numbers of an epoch's windows; the windows of a sentence stay together."""
        counts = draw_counts(self.repeats, (self.seed, epoch))[windows.sentence]
        return np.repeat(np.arange(len(counts)), counts)


def draw_counts(repeats: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """Whole numbers with these means, int [sentences], whose sum is that of the means, rounded.

    Systematic sampling in a random order: each number is its mean rounded up or down.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(repeats))
    borders = np.floor(np.append(0.0, np.cumsum(repeats[order])) + generator.random())
    counts = np.empty(len(repeats), dtype=np.int64)
    counts[order] = np.diff(borders)
    return counts


@dataclass(frozen=True)
class TaggerTask:
    """What a worker needs to train a tagger."""

    encoder: Encoder
    labels: tuple[str, ...]
    new: NewCharacters
    windows: Windows
    dev: tuple[TaggedSentence, ...]
    loss_config: LossConfig
    max_length: int
    batch_tokens: int
    dropout: float | None
    mixture: Mixture | None
    about: Mapping[str, Any]

    selection = "dev_f1"

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        return self.encoder.tokenizer(self.new.characters)

    def make_model(self) -> nn.Module:
        with self.encoder.files() as folder:
            return self._new_tagger(folder)

    def _new_tagger(self, folder: Path) -> PreTrainedModel:
        return new_model(folder, self.labels, self.dropout, self.new)[0]

    def epoch(self, number: int) -> EpochWindows:
        if self.mixture is None:
            return EpochWindows(self.windows, np.arange(len(self.windows.lengths)))
        return EpochWindows(self.windows, self.mixture.draw(self.windows, number))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        counted = (batch["labels"] != IGNORED).sum()
        return self._mean_loss(model(**_inputs(batch)).logits, batch) * counted, counted

    def _mean_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return token_loss(
            logits,
            batch["labels"],
            self.loss_config,
            batch.get("weights"),
            batch.get("stands_for"),
        )

    def describe(self, batch: Batch) -> list[str]:
        return self._tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        if not self.dev:
            return {}
        config = ModelConfig(
            model="in training", max_length=self.max_length, batch_tokens=self.batch_tokens
        )
        tagger = Tagger(config, (model, self._tokenizer))
        predicted = tagger.tag([s.text for s in self.dev], [s.words for s in self.dev])
        found = [
            _that_can_be_judged(tags, sentence)
            for tags, sentence in zip(predicted, self.dev, strict=True)
        ]
        gold = [set(sentence.mentions()) for sentence in self.dev]
        right = sum(len(a & b) for a, b in zip(found, gold, strict=True))
        num_found, num_gold = sum(map(len, found)), sum(map(len, gold))
        return {
            "dev_f1": 2 * right / max(num_found + num_gold, 1),
            "dev_precision": right / max(num_found, 1),
            "dev_recall": right / max(num_gold, 1),
        }

    def save(self, model: nn.Module, folder: Path, metrics: Mapping[str, float]) -> None:
        save_tagger(model, self._tokenizer, folder)
        (folder / DATA_FILE).write_text(json.dumps(self.about, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class StudentsTask(TaggerTask):
    """Two students that learn from the same labels and from each other; the first is kept.

    The loss is the mean of theirs plus, after some epochs, ``loss.agreement`` times their
    disagreement (Zhou and Chen 2021; what is random in a student are its head and its dropout).
    """

    def make_model(self) -> nn.Module:
        with self.encoder.files() as folder:
            return Students(self._new_tagger(folder), self._new_tagger(folder))

    def epoch(self, number: int) -> EpochWindows:
        agreement = self.loss_config.agreement
        is_warm = number >= self.loss_config.agreement_warmup
        return replace(super().epoch(number), agreement=agreement if is_warm else 0.0)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(**_inputs(batch))
        mean = sum(self._mean_loss(of_student, batch) for of_student in logits) / len(logits)
        if "agreement" in batch:
            mean = mean + batch["agreement"] * disagreement(logits, batch["labels"])
        counted = (batch["labels"] != IGNORED).sum()
        return mean * counted, counted

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return super().evaluate(model.first)

    def save(self, model: nn.Module, folder: Path, metrics: Mapping[str, float]) -> None:
        super().save(model.first, folder, metrics)


def _that_can_be_judged(
    predicted: Sequence[str], sentence: TaggedSentence
) -> set[tuple[int, int, str]]:
    """The predicted mentions, but of types that the source does not mark, or in unknown words."""
    return {
        (first, last, label)
        for first, last, label in chunks(predicted)
        if label not in sentence.not_annotated and UNKNOWN not in sentence.tags[first:last]
    }


def _inputs(batch: Batch) -> Batch:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def train_tagger(
    config: TrainTaggerConfig, report: Callable[[Progress], None] = log_progress
) -> dict[str, Any]:
    """Train as ``config`` says and write the model folder; the summary is that of ``fit``.

    With ``optimization.num_workers`` above 0 this process must be connected to Ray.

    Raises:
        ConfigError, DataError: as the readers and ``fit`` say.
    """
    return fit(
        partial(make_task, config),
        config.optimization,
        output=config.output,
        job="train_tagger",
        fingerprint=fingerprint_of(config),
        report=report,
    )


def fingerprint_of(config: TrainTaggerConfig) -> dict[str, Any]:
    """What decides the weights of a run. Raises ConfigError for what is not there."""
    inputs = {
        "encoder": encoder_content(config.encoder),
        "data": content_of([source.path for source in config.data]),
        "dev": content_of([source.path for source in config.dev]),
    }
    if config.word_aligner is not None:
        from xner.models.hmm import content_hash

        inputs["word_aligner"] = content_hash(Folder.at(config.word_aligner))
    # What a licence says of the weights does not change them.
    return fingerprint(config.model_copy(update={"license": None}), inputs)


def make_task(config: TrainTaggerConfig, run_folder: Folder, run: int = 0) -> TaggerTask:
    """Read and encode the examples, once for all workers and epochs of run ``run`` of a soup.

    With ``optimization.num_workers`` above 0, Ray's tasks do.
    """
    each: Mapper = in_turn
    if config.optimization.num_workers:
        from xner.training.distributed import map_on_ray

        each = map_on_ray
    parts = parts_of(config.data, each)
    share = 0.0
    if not config.dev:
        num_sentences = sum(part.sentences.num_sentences for part in parts)
        share = held_out_share(num_sentences, config.optimization)
    surveys = surveyed(parts, Surveyor(share, config.new_characters is not None, config.loss), each)
    num_training = sum(survey.num_sentences for survey in surveys)
    check_left(num_training)
    dev = _dev(config, surveys)
    labels = sorted(set().union(*(survey.mentions for survey in surveys)))
    if not labels:
        cause = "a tagger needs tags to learn from"
        if any(source.format == "pseudo" for source in config.data):
            cause += "; the shards' summary.json tells how many were found, and why refused"
        raise ConfigError(f"data: not one entity in its {num_training} sentences; {cause}")

    texts = (sentence.text for part in parts for sentence in split(part, share)[1])
    encoder = find_encoder(config.encoder, texts, run_folder, config.optimization.seed)
    with encoder.files() as folder:
        if config.encoder != TINY:
            labels = _labels_kept(folder, labels, config)
        _check_not_annotated(config.data, labels)
        compared = _can_be_scored(dev, labels, is_given=bool(config.dev))
        model, tokenizer = new_model(folder, labels)
    check_patience(config.optimization, len(compared))
    window_length(model, tokenizer, config.max_length)
    new = _new_characters(model, tokenizer, surveys, config)
    seed = config.optimization.of_run(run).seed
    part_encoder = PartEncoder(
        encoder=encoder,
        characters=new.characters,
        tag_ids=model.config.label2id,
        max_length=config.max_length,
        share=share,
        loss=config.loss,
        mean_score=mean_score(surveys),
        replacements=tuple(source.replacements for source in config.data),
        seed=seed,
    )
    encoded_parts = encoded(parts, part_encoder, each)
    hidden = [tuple(sorted(set(config.data[part.source].not_annotated))) for part in parts]
    windows = Windows.joined(encoded_parts, hidden, model.config.label2id, tokenizer.pad_token_id)
    _tell_of_unknown(unknown_share(tokenizer, windows.input_ids))
    kind = StudentsTask if config.loss.agreement else TaggerTask
    return kind(
        encoder=encoder,
        labels=tuple(labels),
        new=new,
        windows=windows,
        dev=tuple(example.sentence for example in compared),
        loss_config=config.loss,
        max_length=config.max_length,
        batch_tokens=config.optimization.forward_tokens or config.optimization.batch_tokens,
        dropout=config.dropout,
        mixture=_mixture(config, parts, encoded_parts, seed),
        about=_about(config, labels, surveys, dev, compared, share)
        | {"new_characters": len(new.characters)},
    )


def _dev(config: TrainTaggerConfig, surveys: Sequence[Survey]) -> list[Example]:
    """What epochs are compared by: the recipe's ``dev``, or what is held out of its ``data``."""
    if config.dev:
        dev = [Example(s, source) for source in config.dev for s in read_tagged(source)]
        _check_dev(config, surveys, dev)
        return dev
    return [
        Example(sentence, source)
        for source, survey in zip(config.data, surveys, strict=True)
        for sentence in survey.held_out
    ]


def _can_be_scored(
    dev: Sequence[Example], labels: Sequence[str], is_given: bool
) -> Sequence[Example]:
    """The selection data; nothing where the model knows no type of it: every epoch would score 0.

    Raises ConfigError where the recipe's own ``dev`` (``is_given``) has only such types.
    """
    tags = {tag for each in dev for tag in each.sentence.tags}
    types = {split_tag(tag)[1] for tag in tags - {OUTSIDE, UNKNOWN}}
    unknown = sorted(types.difference(labels))
    message = f"dev: {', '.join(unknown)} unknown to the model, which knows {', '.join(labels)}"
    if types.isdisjoint(labels):
        if types and is_given:
            raise ConfigError(f"{message}; map the types (label_map)")
        if dev:
            logger.warning(
                "not one entity in the %d sentences that epochs are compared by is of a type that "
                "the model knows: the last is taken",
                len(dev),
            )
        return []
    if unknown:
        logger.warning("%s: they count as missed", message)
    return dev


def _new_characters(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    surveys: Sequence[Survey],
    config: TrainTaggerConfig,
) -> NewCharacters:
    """The characters that become sub-words: none unless the recipe wants it.

    Raises ConfigError for a word aligner that is none, or is not for a language of the sentences.
    """
    if config.new_characters is None:
        return NO_NEW_CHARACTERS
    counts = sum((survey.characters for survey in surveys), Counter[str]())
    characters = unknown_characters(tokenizer, counts, config.new_characters)
    if not characters:
        return NO_NEW_CHARACTERS
    logger.info("%d characters that the encoder does not know become sub-words", len(characters))
    if config.word_aligner is None:
        return NewCharacters(characters)
    # Brings numba along.
    from xner.models.hmm import WordAligner
    from xner.models.translated_characters import translated

    aligner = WordAligner.load(Folder.at(config.word_aligner))
    found = sorted({language_of(lang) for survey in surveys for lang in survey.languages})
    if language_of(aligner.languages[1]) not in found:
        raise ConfigError(
            f"word_aligner: {config.word_aligner} is for {'-'.join(aligner.languages)}, but data "
            f"is {', '.join(found)}"
        )
    return NewCharacters(characters, translated(characters, model, tokenizer, aligner))


def _tell_of_unknown(share: float) -> None:
    """Say what of the text the encoder cannot read: names in it are learned badly."""
    if share > _MUCH_UNKNOWN:
        logger.warning(
            "%.0f %% of the sub-words of data are unknown to the encoder: names in them can hardly "
            "be learned; let it learn their characters (new_characters = 3), or take an encoder "
            "of the language",
            100 * share,
        )


def _check_not_annotated(sources: Sequence[TaggedSourceConfig], labels: Sequence[str]) -> None:
    """Refuse hidden types that nothing teaches: to say `O` or one of them would be all the same."""
    hidden = {label for source in sources for label in source.not_annotated}
    if unknown := sorted(hidden.difference(labels)):
        raise ConfigError(
            f"data: not_annotated names {', '.join(unknown)}, which no other source marks and the "
            f"model does not know ({', '.join(labels)})"
        )


def _mixture(
    config: TrainTaggerConfig,
    parts: Sequence[Part],
    encoded_parts: Sequence[EncodedPart],
    seed: int,
) -> Mixture | None:
    """How the sources are mixed; None where an epoch has every sentence once."""
    of_parts = [config.data[part.source].repeat for part in parts]
    repeats = np.repeat(of_parts, [part.num_sentences for part in encoded_parts])
    if (repeats == 1).all():
        return None
    if repeats.sum() < 1:
        raise ConfigError("data: with these values of repeat, an epoch would have no sentence")
    return Mixture(repeats, seed)


def _target_gold(
    config: TrainTaggerConfig, surveys: Sequence[Survey], dev: Sequence[Example]
) -> set[str]:
    """The languages that people labelled for the selection, and for the training only a teacher."""
    pseudo, gold = (
        {
            language_of(lang)
            for source, survey in zip(config.data, surveys, strict=True)
            if is_gold(source) is wanted
            for lang in survey.languages
        }
        for wanted in (False, True)
    )
    return {language_of(e.sentence.lang) for e in dev if is_gold(e.source)} & (pseudo - gold)


def _check_dev(
    config: TrainTaggerConfig, surveys: Sequence[Survey], dev: Sequence[Example]
) -> None:
    """Refuse a selection on gold that nobody is supposed to have, unless the recipe wants it."""
    languages = _target_gold(config, surveys, dev)
    if languages and not config.select_on_target_gold:
        raise ConfigError(
            f"dev: labels of people in {', '.join(sorted(languages))}, of which data has "
            "pseudo-labels alone; without target-language labels one selects on another language "
            "or on held-out pseudo-labels (no dev), or says select_on_target_gold = true"
        )


def _about(
    config: TrainTaggerConfig,
    labels: Sequence[str],
    surveys: Sequence[Survey],
    dev: Sequence[Example],
    compared: Sequence[Example],
    share: float,
) -> dict[str, Any]:
    """What was trained and selected on, for the record in the model folder.

    ``dev`` was not trained on, and epochs are ``compared`` by it or by nothing; ``share`` of the
    data was held out for it where the recipe has none.
    """
    return {
        "types": list(labels),
        "data": list(map(_counts, config.data, surveys)),
        "dev": [
            _counts(source, Survey.of([e.sentence for e in dev if e.source is source]))
            for source in config.dev or config.data
        ],
        "selected_on": {
            "paths": [without_credentials(s.path) for s in config.dev],
            "held_out_share_of_data": None if config.dev else share,
            "sentences": len(compared),
            "target_gold": sorted(_target_gold(config, surveys, compared)),
        },
    }


def _counts(source: TaggedSourceConfig, survey: Survey) -> dict[str, Any]:
    """What was read of a source: languages, sentences, and mentions by type."""
    return {
        "path": without_credentials(source.path),
        "languages": sorted(survey.languages),
        "sentences": survey.num_sentences,
        "mentions": dict(sorted(survey.mentions.items())),
    }


def _labels_kept(folder: Path, labels: list[str], config: TrainTaggerConfig) -> list[str]:
    """The types of the tagger that training goes on from; those of the data where it is none.

    Raises ConfigError for a tagger that does not know all types of the data, or whose labels are
    not all tags of its types, unless the recipe gives its head up.
    """
    tags = [str(tag) for tag in load_config(folder).id2label.values()]
    known = list(dict.fromkeys(tag[2:] for tag in tags if tag.startswith(("B-", "I-"))))
    unknown = sorted(set(labels).difference(known))
    # A tagger of CoNLL's 2003 set in its own scheme, IOB1, may have no B-PER.
    is_whole = set(tags) == set(tags_of(known))
    if known and not config.replace_head:
        if unknown:
            raise ConfigError(
                f"data: {', '.join(unknown)} unknown to the tagger {config.encoder}, which knows "
                f"{', '.join(known)}; map the types (label_map), or give up what it knows "
                "(replace_head = true)"
            )
        if not is_whole:
            raise ConfigError(
                f"encoder {config.encoder}: its labels are {', '.join(tags)}, not "
                f"{', '.join(tags_of(known))}: what it knows cannot be kept; give it up "
                "(replace_head = true)"
            )
    return known if is_whole and not unknown else labels
