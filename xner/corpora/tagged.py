"""Tagged text for training and scoring, from other people's files and from our own shards.

Files come in the formats of :mod:`xner.corpora.tagged_formats`. Whatever the format, the tag scheme
is found from the whole file, and tags come out as IOB2; tokens are kept as they are and joined to a
raw text, on which the words are spans, where the file has none. Types are renamed as the settings
say, and a sample is the same each time.

An ``I-X`` that continues nothing is the habit of IOB1 in a file that IOB1 fits as a whole. In any
other it is an error, which names the place, unless the settings allow to repair it.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from xner.config import TaggedSourceConfig
from xner.corpora.tagged_formats import FORMATS, FileSentence
from xner.errors import ConfigError, DataError
from xner.shards.ledger import SHARD
from xner.shards.schema import PSEUDO
from xner.shards.storage import Folder, files_at
from xner.text.iob2 import (
    OUTSIDE,
    UNKNOWN,
    chunks,
    detect_scheme,
    encode,
    renamed,
    repair,
    split_tag,
    to_iob2,
)
from xner.text.languages import language_of
from xner.text.mentions import Mention
from xner.text.words import Span, join, segment, words_in

_log = logging.getLogger(__name__)

_FOUR = {"PER": "PER", "LOC": "LOC", "ORG": "ORG", "MISC": "MISC"}
_THREE = {"PER": "PER", "LOC": "LOC", "ORG": "ORG"}

#: What the types of well-known sets are in CoNLL's four; documentation, and values to copy. A set
#: of three types teaches a model that MISC does not exist, so do not mix the two without thought.
LABEL_MAPS: dict[str, dict[str, str]] = {
    "conll": _FOUR,
    "europarl": _FOUR,
    "wikigold": _FOUR,
    "btc": _THREE,
    "uner": _THREE,
    "wikiann": _THREE,
    "masakhaner": {**_THREE, "DATE": "O"},
    # Works and products are MISC in CoNLL's guide. A group is a band, a team, a party.
    "wnut17": {
        "person": "PER",
        "location": "LOC",
        "corporation": "ORG",
        "group": "ORG",
        "creative-work": "MISC",
        "product": "MISC",
    },
    "multiconer": {
        "PER": "PER",
        "LOC": "LOC",
        "GRP": "ORG",
        "CORP": "ORG",
        "PROD": "MISC",
        "CW": "MISC",
    },
    # The second version, with finer types. What is medical is seldom a name.
    "multiconer2": {
        fine: coarse
        for coarse, types in {
            "PER": "Scientist Artist Athlete Politician Cleric SportsManager OtherPER",
            "LOC": "Facility HumanSettlement Station OtherLOC",
            "ORG": "MusicalGRP SportsGRP PublicCorp PrivateCorp CarManufacturer "
            "AerospaceManufacturer ORG",
            "MISC": "VisualWork MusicalWork WrittenWork ArtWork Software "
            "Clothing Vehicle Food Drink OtherPROD",
            "O": "Medication/Vaccine MedicalProcedure AnatomicalStructure Symptom Disease",
        }.items()
        for fine in types.split()
    },
    # `LOCderiv` derives from a name ("deutsch"), `LOCpart` has one inside ("deutschlandweit").
    "germeval": {
        "PER": "PER",
        "LOC": "LOC",
        "ORG": "ORG",
        "OTH": "MISC",
        "PERderiv": "O",
        "LOCderiv": "O",
        "ORGderiv": "O",
        "OTHderiv": "O",
        "PERpart": "O",
        "LOCpart": "O",
        "ORGpart": "O",
        "OTHpart": "O",
    },
}

# The settings that choose rows of shards, by the column that they look at.
_SETTINGS = {"corpus": "corpora", "target_lang": "lang"}
_PSEUDO_COLUMNS = pa.schema(
    [
        PSEUDO.field(name)
        for name in ("pair_id", "target", "target_lang", "mentions", "tokens", "weight")
    ]
)


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """A raw text, its words as spans of it, and the IOB2 tag of each word.

    A tag is ``?`` where the settings say that a type's words teach nothing (``label_map``).
    ``weight`` is the row's in pseudo-labelled text and 1 in text that people labelled. ``sent_id``
    is what a comment ``# sent_id = …`` above the sentence names, as in Universal Dependencies.
    ``not_annotated`` are the types that an ``O`` may hide, because its source does not mark them.
    ``scores`` of pseudo-labelled text are the teacher's and the aligner's score of the mention that
    each word is in; 1 where there is none to score.
    """

    text: str
    words: tuple[Span, ...]
    tags: tuple[str, ...]
    lang: str
    weight: float = 1.0
    sent_id: str | None = None
    not_annotated: tuple[str, ...] = ()
    scores: tuple[tuple[float, float], ...] = ()

    def mentions(self) -> list[tuple[int, int, str]]:
        """Each as first word, word after the last, type; none has words that teach nothing."""
        return list(chunks([OUTSIDE if tag == UNKNOWN else tag for tag in self.tags]))


Item = TypeVar("Item")
Result = TypeVar("Result")


class Mapper(Protocol):
    """What calls a function for each item, here or on a cluster; results come in the items' order.

    A function that is sent to other machines is pickled, as are the items.
    """

    def __call__(
        self, function: Callable[[Item], Result], items: Sequence[Item], /
    ) -> Iterable[Result]: ...


def in_turn(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """One call after the other, in this process."""
    return map(function, items)


@dataclass(frozen=True)
class TaggedPart:
    """Sentences of a source that are read at once: all of a file, or what is wanted of a shard.

    ``read`` gives as many as ``num_sentences`` says, at every call the same.
    """

    num_sentences: int
    read: Callable[[], list[TaggedSentence]]


def read_tagged(config: TaggedSourceConfig) -> list[TaggedSentence]:
    """The sentences of a source in order, or a sample of ``config.max_sentences`` of them.

    A larger sample contains the smaller ones. Raises ConfigError when the source does not exist,
    a column is out of range, ``label_map`` misses a type of the source, or ``not_annotated`` names
    one that it has; DataError, with file and line, when its content is not what the format asks
    for.
    """
    return list(chain.from_iterable(part.read() for part in tagged_parts(config)))


def tagged_parts(config: TaggedSourceConfig, each: Mapper = in_turn) -> list[TaggedPart]:
    """The parts of a source in order, which together have what ``read_tagged`` gives.

    Files are read now, shards when the part is: of these, ``each`` reads but the columns that
    decide which rows are wanted. Raises what ``read_tagged`` does, of shards as they are read.
    """
    parts = _parts_of_shards(config, each) if config.format == "pseudo" else [_read_file(config)]
    if not any(part.num_sentences for part in parts):
        wanted = list(chain.from_iterable(_wanted(config).values()))
        of = f" of {', '.join(wanted)}" if wanted else ""
        raise DataError(f"{config.path}: no sentences{of}")
    return parts


def _with_not_annotated(
    sentences: list[TaggedSentence], config: TaggedSourceConfig
) -> list[TaggedSentence]:
    not_annotated = tuple(sorted(set(config.not_annotated)))
    if not not_annotated:
        return sentences
    tags = {tag for sentence in sentences for tag in sentence.tags}
    marked = {split_tag(tag)[1] for tag in tags - {UNKNOWN}}
    if wrong := sorted(marked.intersection(not_annotated)):
        raise ConfigError(
            f"{config.path}: not_annotated names {', '.join(wrong)}, which the source marks "
            "(label_map applied)"
        )
    return [replace(sentence, not_annotated=not_annotated) for sentence in sentences]


def _sample(num_all: int, num_wanted: int | None) -> npt.NDArray[np.int64]:
    """Numbers of a fixed sample of so many rows, ascending: those with the least of random keys."""
    if num_wanted is None or num_wanted >= num_all:
        return np.arange(num_all)
    # A list for a seed: then the keys are those of Python's own generator.
    keys = np.random.RandomState([0]).random_sample(num_all)
    return np.sort(np.argsort(keys, kind="stable")[:num_wanted])


def _read_file(config: TaggedSourceConfig) -> TaggedPart:
    found = FORMATS[config.format](config)
    try:
        scheme = detect_scheme(sentence.tags for sentence in found)
    except ValueError as error:
        raise DataError(f"{config.path}: {error}") from error

    tagged = []
    num_repaired = 0
    for sentence in found:
        try:
            if config.repair_tags and scheme == "iob2":
                tags = repair(sentence.tags)
                num_repaired += sum(map(operator.ne, sentence.tags, tags))
            else:
                tags = to_iob2(sentence.tags, scheme)
        except ValueError as error:
            hint = "; repair_tags = true reads it as B-" if scheme == "iob2" else ""
            raise DataError(
                f"{sentence.where}: in the sentence that begins here, {error}{hint}"
            ) from error
        if (placed := _placed(sentence, tags, config.text_lang)) is not None:
            tagged.append(placed)
    if num_repaired:
        _log.warning("%s: %d I- tags that continue nothing read as B-", config.path, num_repaired)
    mapped = _with_not_annotated(_mapped(tagged, config), config)
    sample = [mapped[index] for index in _sample(len(mapped), config.max_sentences)]
    return TaggedPart(len(sample), partial(list, sample))


def _placed(sentence: FileSentence, tags: list[str], lang: str) -> TaggedSentence | None:
    """The sentence with its words as spans of a raw text; None if there is no word in it."""
    if sentence.text is not None:
        text, words = sentence.text, segment(sentence.text)
    else:
        # Some corpora have rows whose token was lost; outside of mentions they say nothing.
        for index, (token, tag) in enumerate(zip(sentence.tokens, tags, strict=True)):
            if not token and tag != OUTSIDE:
                raise DataError(
                    f"{sentence.where}: in the sentence that begins here, position {index}: "
                    f"the tag {tag} on an empty token"
                )
        tags = [tag for token, tag in zip(sentence.tokens, tags, strict=True) if token]
        text, words = join([token for token in sentence.tokens if token], lang)
    if not words:
        return None
    return TaggedSentence(text, tuple(words), tuple(tags), lang, sent_id=sentence.sent_id)


def _mapped(sentences: list[TaggedSentence], config: TaggedSourceConfig) -> list[TaggedSentence]:
    """The sentences with their types as ``config.label_map`` names them; an empty map keeps all."""
    if not config.label_map:
        return sentences
    tags = {tag for sentence in sentences for tag in sentence.tags}
    unmapped = {split_tag(tag)[1] for tag in tags - {OUTSIDE}} - config.label_map.keys()
    if unmapped:
        raise ConfigError(
            f"{config.path}: label_map does not name {', '.join(sorted(unmapped))}; "
            f"map each type to one of the model, to {OUTSIDE} to drop it, or to {UNKNOWN} for the "
            "loss to leave its words out"
        )
    mapped = {tag: renamed(tag, config.label_map) for tag in tags}
    return [replace(s, tags=tuple(mapped[tag] for tag in s.tags)) for s in sentences]


def _parts_of_shards(config: TaggedSourceConfig, each: Mapper) -> list[TaggedPart]:
    folder, names = files_at(config.path, SHARD)
    wanted = _wanted(config)
    found = list(each(partial(_accepted, folder, wanted), names))
    accepted = [rows for rows, _ in found]
    for column, values in wanted.items():
        there = set[str]().union(*(values_there[column] for _, values_there in found))
        # Of a corpus that is there all rows may have been refused.
        if missing := sorted(set(values) - {_kind(column, value) for value in there}):
            _log.warning(
                "%s: %s: no rows of %s; it has %s",
                config.path,
                _SETTINGS[column],
                ", ".join(missing),
                ", ".join(sorted(there)),
            )
    bounds = np.cumsum([0, *map(len, accepted)])
    chosen = _sample(int(bounds[-1]), config.max_sentences)
    borders = np.searchsorted(chosen, bounds)
    parts = []
    for number, (name, rows) in enumerate(zip(names, accepted, strict=True)):
        taken = rows[chosen[borders[number] : borders[number + 1]] - bounds[number]]
        if len(taken):
            parts.append(TaggedPart(len(taken), partial(_read_shard, config, folder, name, taken)))
    return parts


def _wanted(config: TaggedSourceConfig) -> dict[str, list[str]]:
    """By which columns rows of shards are chosen, and which values of each are wanted."""
    wanted: dict[str, list[str]] = {}
    if config.format == "pseudo":
        if config.corpora:
            wanted["corpus"] = config.corpora
        if config.lang is not None:
            wanted["target_lang"] = [language_of(config.lang)]
    return wanted


def _kind(column: str, value: str) -> str:
    """What of a column's value decides: of a language not the country."""
    return language_of(value) if column == "target_lang" else value


def _accepted(
    folder: Folder, wanted: Mapping[str, Sequence[str]], name: str
) -> tuple[npt.NDArray[np.int64], dict[str, set[str]]]:
    """The numbers of a shard's rows whose status is ``ok`` and whose values are wanted.

    And the values of all rows, by column.
    """
    columns = ["status", *wanted]
    table = folder.read_table(name, pa.schema([PSEUDO.field(column) for column in columns]))
    accepted = pc.equal(table["status"], "ok")
    there: dict[str, set[str]] = {}
    for column, values in wanted.items():
        there[column] = set(table[column].unique().drop_null().to_pylist())
        chosen = [value for value in there[column] if _kind(column, value) in values]
        is_wanted = pc.is_in(table[column], pa.array(chosen, pa.string()))
        accepted = pc.and_(accepted, is_wanted)
    return np.flatnonzero(accepted.to_numpy()), there


def _read_shard(
    config: TaggedSourceConfig, folder: Folder, name: str, rows: npt.NDArray[np.int64]
) -> list[TaggedSentence]:
    table = folder.read_table(name, _PSEUDO_COLUMNS).take(rows)
    sentences = [_pseudo_sentence(row, f"{folder}/{name}") for row in table.to_pylist()]
    return _with_not_annotated(_mapped(sentences, config), config)


def _pseudo_sentence(row: dict[str, Any], path: str) -> TaggedSentence:
    text = row["target"]
    nulls = [name for name in _PSEUDO_COLUMNS.names if row[name] is None]
    if nulls:
        raise DataError(f"{path}: row {row['pair_id']}: null in {', '.join(nulls)}")
    words = segment(text)
    if [text[start:end] for start, end in words] != row["tokens"]:
        raise DataError(
            f"{path}: row {row['pair_id']}: `tokens` are not the words of `target`; "
            "was the shard written by another version of xner?"
        )
    try:
        tags = encode((Mention(m["start"], m["end"], m["label"]) for m in row["mentions"]), words)
        if any(not m["label"] or m["end"] > len(text) for m in row["mentions"]):
            raise ValueError("a mention without a label, or beyond the end of `target`")
    # Of a TypeError a null is the cause: of a mention, of one of its ends.
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: row {row['pair_id']}: {error}") from error
    return TaggedSentence(
        text,
        tuple(words),
        tuple(tags),
        row["target_lang"],
        row["weight"],
        scores=_scores(row["mentions"], words),
    )


_UNSCORED = (1.0, 1.0)


def _scores(
    mentions: list[dict[str, Any]], words: Sequence[Span]
) -> tuple[tuple[float, float], ...]:
    """The scores of the mention of each word; a shared word is the first's, as in ``encode``."""
    found = [_UNSCORED] * len(words)
    for mention in sorted(mentions, key=lambda each: each["start"], reverse=True):
        teacher, aligner = (
            1.0 if mention[name] is None else mention[name] for name in ("score", "alignment_score")
        )
        for index in words_in(mention["start"], mention["end"], words):
            found[index] = (teacher, aligner)
    return tuple(found)
