"""Parallel gold: sentences and their translations, entities marked by people on both sides.

Two tagged files become pairs, line by line or through a table of sentence ids. Whether the sides
belong together can be seen without knowing either language: a translation is about as long as its
original (Gale and Church 1993) and shares numbers and names with it. So each stretch of the gold
must fit its own translations clearly better than those of its neighbours, or where these are much
alike, as in a file sorted by length, than those far away; a side that slipped by a line, or was
shuffled, does not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xner.config import IdMapConfig, TaggedSourceConfig
from xner.corpora.tagged import TaggedSentence, read_tagged
from xner.errors import ConfigError, DataError
from xner.shards.schema import LABELLED, SOURCE_MENTION
from xner.shards.storage import read_file
from xner.text.iob2 import decode
from xner.text.mentions import Mention
from xner.text.words import segment

CORPUS = "gold"

# A stretch of so many pairs is tested by itself. In Europarl and PUD, t is above 8 in each that is
# parallel (above 6 by lengths alone), and below 3 in all that are shuffled or slipped.
_STRETCH = 50
_MIN_TESTED = 30
_MIN_T = 3.0
_MAX_SLIP = 10
_NUM_AFAR = 20


@dataclass(frozen=True, slots=True)
class GoldPair:
    """A sentence, its translation, and the gold mentions of both, in text order."""

    pair_id: str
    source_lang: str
    target_lang: str
    source: str
    target: str
    source_mentions: tuple[Mention, ...]
    target_mentions: tuple[Mention, ...]


def read_gold(
    source: TaggedSourceConfig,
    target: TaggedSourceConfig,
    id_map: IdMapConfig | None = None,
    labels: Sequence[str] | None = None,
    check_parallel: bool = True,
) -> list[GoldPair]:
    """The pairs of two tagged files: in the order of the id map, or line by line without one.

    Mentions of other types than ``labels`` are left out; None keeps all. Raises what
    :func:`read_tagged` does, ConfigError for columns that the id map lacks and for sides without a
    common type, and DataError, saying what was found where, when the sides are not parallel or,
    unless ``check_parallel`` is off, do not look it.
    """
    sides = read_tagged(source), read_tagged(target)
    if id_map is not None:
        rows = _read_id_map(id_map)
        sides = (
            _by_id(sides[0], [row[0] for row in rows], source.path, id_map.path),
            _by_id(sides[1], [row[1] for row in rows], target.path, id_map.path),
        )
    elif len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{target.path}: {len(sides[1])} sentences, but {source.path} has {len(sides[0])}; "
            "line-parallel gold has as many on both sides, other gold needs an id_map"
        )
    gold = [
        GoldPair(
            pair_id=one.sent_id or str(number),
            source_lang=one.lang,
            target_lang=other.lang,
            source=one.text,
            target=other.text,
            source_mentions=_mentions(one, labels),
            target_mentions=_mentions(other, labels),
        )
        for number, (one, other) in enumerate(zip(*sides, strict=True), start=1)
    ]
    types = {m.label for p in gold for m in p.source_mentions}, gold_labels(gold)
    if not types[0] & types[1]:
        found = " and ".join(", ".join(sorted(each)) or "none" for each in types)
        raise ConfigError(
            f"{source.path} and {target.path}: no entity type that both have (found {found}); "
            "name both sides' types alike with label_map"
        )
    if check_parallel:
        require_parallel(gold, f"{source.path} and {target.path}")
    return gold


def gold_labels(gold: Sequence[GoldPair]) -> set[str]:
    """The entity types of the target side."""
    return {mention.label for pair in gold for mention in pair.target_mentions}


def labelled_table(gold: Sequence[GoldPair]) -> pa.Table:
    """The pairs as the main job has them after its first stage, with the gold source mentions.

    Cleaning scores are null: nobody measured them.
    """
    columns: dict[str, list[Any]] = {
        "pair_id": [pair.pair_id for pair in gold],
        "corpus": [CORPUS] * len(gold),
        "source_lang": [pair.source_lang for pair in gold],
        "target_lang": [pair.target_lang for pair in gold],
        "source": [pair.source for pair in gold],
        "target": [pair.target for pair in gold],
        "source_mentions": mention_rows(pair.source_mentions for pair in gold),
    }
    unmeasured = {name: [None] * len(gold) for name in LABELLED.names if name not in columns}
    return pa.Table.from_pydict({**columns, **unmeasured}, schema=LABELLED)


def mention_rows(groups: Iterable[Iterable[Mention]]) -> list[list[dict[str, Any]]]:
    """Mentions as the values of a ``source_mentions`` column, one group a row."""
    return [
        [{name: getattr(mention, name) for name in SOURCE_MENTION.names} for mention in mentions]
        for mentions in groups
    ]


def inexpressible(pair: GoldPair) -> list[Mention]:
    """The target mentions with a border inside a word: no projector over words can produce them."""
    words = segment(pair.target)
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    return [m for m in pair.target_mentions if m.start not in starts or m.end not in ends]


def _mentions(sentence: TaggedSentence, labels: Sequence[str] | None) -> tuple[Mention, ...]:
    found = decode(sentence.tags, sentence.words)
    return tuple(m for m in found if labels is None or m.label in labels)


# The id map


def _read_id_map(config: IdMapConfig) -> list[tuple[str, str]]:
    """The source and target ids of each row."""
    try:
        lines = read_file(config.path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{config.path}: byte {error.start + 1} is not UTF-8") from error
    header = lines[0].rstrip("\r").split("\t")
    for key in ("source_column", "target_column"):
        if getattr(config, key) not in header:
            raise ConfigError(
                f"{config.path}: {key} is {getattr(config, key)!r}, but the first line has "
                f"{', '.join(header)}"
            )
    columns = header.index(config.source_column), header.index(config.target_column)
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split("\t")
        if len(cells) != len(header):
            raise DataError(
                f"{config.path}:{number}: {len(cells)} columns, expected {len(header)} "
                f"as in line 1: {line[:80]!r}"
            )
        rows.append((cells[columns[0]], cells[columns[1]]))
    return rows


def _by_id(
    sentences: Sequence[TaggedSentence], wanted: Sequence[str], path: str, map_path: str
) -> list[TaggedSentence]:
    """The sentences in the order of the map, which must name each of them exactly once."""
    by_id: dict[str, TaggedSentence] = {}
    for number, sentence in enumerate(sentences, start=1):
        if sentence.sent_id is None:
            raise DataError(f"{path}: sentence {number} has no comment `# sent_id = …`")
        if sentence.sent_id in by_id:
            raise DataError(f"{path}: sentence {number} has the id of another, {sentence.sent_id}")
        by_id[sentence.sent_id] = sentence
    problems = (
        ("in the map more than once", {each for each, n in Counter(wanted).items() if n > 1}),
        ("in the map but not in the file", set(wanted) - by_id.keys()),
        ("in the file but not in the map", by_id.keys() - set(wanted)),
    )
    for problem, ids in problems:
        if ids:
            raise DataError(
                f"{path}, {map_path}: {len(ids)} sentence ids are {problem}, such as {min(ids)}"
            )
    return [by_id[each] for each in wanted]


# Are the sides parallel?


@dataclass(frozen=True, slots=True)
class _Look:
    """What of a sentence its translation keeps: its length and its numbers and names."""

    num_chars: int
    anchors: frozenset[str]


def require_parallel(gold: Sequence[GoldPair], where: str) -> None:
    """Raise DataError, naming the first stretch of pairs whose sides do not belong together.

    Each pair is compared with those that its source makes with the translations up to ten lines
    away, and with twenty farther ones. In a stretch of fifty pairs the mean advantage over either
    must be three times its standard error, and no neighbour's translation better by as much. What
    cannot be told passes: fewer than thirty pairs, and a slip of a few pairs only. Very short
    sentences of one length are refused wherever they belong.
    """
    if len(gold) < _MIN_TESTED:
        return
    slips = [slip for slip in range(-_MAX_SLIP, _MAX_SLIP + 1) if slip]
    afar = np.linspace(_MAX_SLIP + 1, len(gold) - _MAX_SLIP - 1, _NUM_AFAR, dtype=int)
    fits = _fits(gold, [0, *slips, *afar.tolist()])
    near, far = fits[:, : 1 + len(slips)], np.delete(fits, range(1, 1 + len(slips)), axis=1)
    borders = list(range(0, max(1, len(gold) - _STRETCH + 1), _STRETCH))
    for first, end in zip(borders, [*borders[1:], len(gold)], strict=True):
        stretch = near[first:end]
        if _advantage(stretch, 0) >= _MIN_T:
            continue
        advantages = [_advantage(stretch, column) for column in range(1, 1 + len(slips))]
        best = int(np.argmax(advantages))
        if min(advantages[best], _t(stretch[:, 1 + best] - stretch[:, 0])) >= _MIN_T:
            verdict = f"have slipped: sentence n fits translation n{slips[best]:+d}"
        elif _advantage(far[first:end], 0) < _MIN_T:
            verdict = "are no translations of each other: shuffled, or from different texts"
        else:
            continue
        raise DataError(
            f"{where}: not parallel: by lengths, numbers and names, pairs {first + 1} to {end} "
            f"(from {gold[first].source[:40]!r} / {gold[first].target[:40]!r}) {verdict}; "
            "where they are known to be parallel, say check_parallel = false"
        )


def _fits(gold: Sequence[GoldPair], slips: Sequence[int]) -> npt.NDArray[np.float64]:
    """[num_pairs, num_slips]: how well source n fits translation n + slip, in a ring."""
    sources = [_look(pair.source) for pair in gold]
    targets = [_look(pair.target) for pair in gold]
    num_sources, num_targets = (sum(look.num_chars for look in side) for side in (sources, targets))
    usual = math.log(num_targets / num_sources)
    return np.array(
        [
            [_fit(source, targets[(n + slip) % len(gold)], usual) for slip in slips]
            for n, source in enumerate(sources)
        ]
    )


def _fit(source: _Look, target: _Look, usual_log_ratio: float) -> float:
    """Dice's coefficient of the anchors, less how far the lengths are from the usual ratio."""
    off = abs(math.log(target.num_chars / source.num_chars) - usual_log_ratio)
    num_anchors = len(source.anchors) + len(target.anchors)
    shared = 2 * len(source.anchors & target.anchors) / num_anchors if num_anchors else 0.0
    return shared - min(off, 1.0)


def _look(text: str) -> _Look:
    words = [text[start:end] for start, end in segment(text)]
    anchors = (
        word.casefold()
        for word in words
        if any(char.isdigit() for char in word) or (word[0].isupper() and len(word) > 1)
    )
    return _Look(len(text), frozenset(anchors))


def _advantage(fits: npt.NDArray[np.float64], column: int) -> float:
    """Student's t of the differences between one column and the mean of the others."""
    others = np.delete(fits, column, axis=1).mean(axis=1)
    return _t(fits[:, column] - others)


def _t(differences: npt.NDArray[np.float64]) -> float:
    """Student's t."""
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    mean = float(differences.mean())
    # Sentences that are all alike fit all translations: nothing speaks against them.
    return mean / error if error else math.copysign(math.inf, mean)
