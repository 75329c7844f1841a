"""Training of word aligners: a sample of the pairs drawn, counted, and written as a folder.

The folder is whole once its settings are there. The same call again has nothing to do then, and
starts anew before.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from xner.config import TrainWordAlignerConfig
from xner.corpora.sampling import Threshold
from xner.errors import ConfigError
from xner.models.hmm import SETTINGS_FILE, Round, Training, WordAlignerSettings, train
from xner.shards.ledger import SHARD, SUMMARY_FILE, Run
from xner.shards.schema import PAIRS, language_pairs
from xner.shards.storage import Folder, files_at

_COLUMNS = pa.schema(
    [PAIRS.field(name) for name in ("pair_id", "source", "target", "source_lang", "target_lang")]
)

_log = logging.getLogger(__name__)


def train_word_aligner(
    config: TrainWordAlignerConfig, report: Callable[[int], None] = lambda num_pairs: None
) -> dict[str, Any]:
    """Draw the sample, count, and write the folder, or see that it is done; its summary.

    ``report`` is called with a number of pairs as they are read. Raises ConfigError where the
    shards are of several language pairs, without a pair, or not those of the folder's run.
    """
    languages, texts = _sample(config, report)
    settings = WordAlignerSettings(**config.model_dump(include={"prefix", "units", "rounds"}))
    output = Folder.at(config.output)
    fingerprint = {"languages": languages, "pairs": _digest(texts), "settings": asdict(settings)}
    Run(output, "train_word_aligner", fingerprint).open()
    if output.exists(SETTINGS_FILE):
        _log.info("%s: trained already on these pairs; nothing to do", output)
    else:
        rounds: list[Round] = []

        def note(done: Round) -> None:
            rounds.append(done)
            _log.info(
                "%s, round %d: %.1f %% of the target words linked, %.1f s",
                done.model,
                done.number,
                100 * done.linked,
                done.seconds,
            )

        _log.info("%s: learning from %d pairs", "-".join(languages), len(texts))
        started = time.monotonic()
        training = train(texts, languages, settings, note)
        output.publish_json(SUMMARY_FILE, _summary(training, rounds, time.monotonic() - started))
        training.aligner.save(output)
    return output.require_record(SUMMARY_FILE)


def shards(paths: Sequence[str]) -> list[tuple[Folder, str]]:
    """The pairs shards at ``paths``, each as its folder and name."""
    return [
        (folder, name)
        for folder, names in (files_at(path, SHARD) for path in paths)
        for name in names
    ]


def _sample(
    config: TrainWordAlignerConfig, report: Callable[[int], None]
) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """The languages, and the texts of the pairs whose hashes are smallest, smallest first.

    So the sample and its order depend neither on the order of the shards nor on their cut. Memory
    is that of twice the sample and a shard, however many pairs there are.
    Raises ConfigError where the shards are of several language pairs, or without a pair.
    """
    threshold = Threshold(config.max_pairs)
    kept: dict[int, tuple[str, str]] = {}
    languages: tuple[str, str] | None = None
    for folder, name in shards(config.pairs):
        table = folder.read_table(name, _COLUMNS)
        for found in language_pairs(table):
            if found != (languages or found):
                raise ConfigError(
                    f"pairs: {folder}/{name} is {'-'.join(found)}, others are "
                    f"{'-'.join(languages or found)}; train one word aligner a language pair, "
                    f"each on the folder of its pairs"
                )
            languages = found
        keys = np.array(
            [_key(pair_id, config.seed) for pair_id in table["pair_id"].to_pylist()], np.int64
        )
        admitted = np.flatnonzero(threshold.admit(keys))
        some = table.select(["source", "target"]).take(pa.array(admitted))
        kept.update(zip(keys[admitted].tolist(), _texts(some), strict=True))
        # What was admitted early is mostly none of the smallest by now.
        if len(kept) > 2 * config.max_pairs:
            kept = _smallest(kept, threshold)
        report(table.num_rows)
    if languages is None:
        raise ConfigError(f"pairs: {', '.join(config.pairs)}: the shards hold no pairs")
    kept = _smallest(kept, threshold)
    return languages, [kept[key] for key in sorted(kept)]


def _smallest(kept: dict[int, tuple[str, str]], threshold: Threshold) -> dict[int, tuple[str, str]]:
    """The pairs that are in the sample as far as the threshold can tell."""
    bound = threshold.bound()
    return {key: pair for key, pair in kept.items() if bound is None or key <= bound}


def _texts(table: pa.Table) -> Iterator[tuple[str, str]]:
    yield from zip(table["source"].to_pylist(), table["target"].to_pylist(), strict=True)


def _key(pair_id: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed} {pair_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _digest(texts: Sequence[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for pair in texts:
        for text in pair:
            content = text.encode()
            digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()


def _summary(training: Training, rounds: Sequence[Round], seconds: float) -> dict[str, Any]:
    counts = training.aligner.learned[0].counts
    return {
        "pairs": training.num_pairs,
        "pairs_too_long": training.num_too_long,
        "pairs_without_words": training.num_empty,
        "source_words": len(counts.source_words),
        "target_words": len(counts.target_words),
        "word_pairs_that_share_a_sentence": training.num_word_pairs,
        "word_pairs_kept": len(counts.values),
        "seconds": round(seconds, 2),
        "rounds": [
            {
                "model": each.model,
                "round": each.number,
                "target words linked": round(each.linked, 4),
                "seconds": round(each.seconds, 2),
            }
            for each in rounds
        ],
    }
