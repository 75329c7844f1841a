"""The Arrow schemas of our own files: one per kind of shard.

``pairs``: aligned sentences with their cleaning scores. ``pseudo``: the same rows with source
mentions, every alignment considered, and the projected labels. ``alignments``: training examples
of the aligner. ``predicted``: tagged sentences with the tags that a model chose. A schema change
that an old reader would misread raises ``SCHEMA_VERSION``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

SCHEMA_VERSION = 3

PAIRS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("source_lang", pa.string(), nullable=False),
        pa.field("target_lang", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        # Cleaning scores; see xner.corpora.cleaning for what each one measures.
        pa.field("shortest_chars", pa.int32()),
        pa.field("longest_chars", pa.int32()),
        pa.field("length_ratio", pa.float32()),
        pa.field("symbol_share", pa.float32()),
        pa.field("script_share", pa.float32()),
        pa.field("language_score", pa.float32()),
    ]
)

SPAN = pa.struct([pa.field("start", pa.int32()), pa.field("end", pa.int32())])

SOURCE_MENTION = pa.struct(
    [
        pa.field("start", pa.int32()),
        pa.field("end", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
    ]
)

# What each witness says of a candidate, in [0, 1]; see xner.projection.evidence.
EVIDENCE = pa.struct(
    [
        pa.field(name, pa.float32())
        for name in ("links", "aligner", "spelling", "capitals", "agreement")
    ]
)

# One candidate span of the target for one source mention, chosen or not; `evidence` is null where
# an entity aligner alone found it, or a copy.
ALIGNMENT = pa.struct(
    [
        pa.field("source_index", pa.int32()),
        pa.field("start", pa.int32()),
        pa.field("end", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("method", pa.string()),
        pa.field("evidence", EVIDENCE),
    ]
)

# A projected mention. `score` is the teacher's; `alignment_score` the chosen candidate's. A source
# mention that the target tells twice has two. Of one that a student found, `score` is the
# student's, the last two are null.
PROJECTED_MENTION = pa.struct(
    [
        pa.field("start", pa.int32()),
        pa.field("end", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("alignment_score", pa.float32()),
        pa.field("source_index", pa.int32()),
    ]
)

STATUSES = ("ok", "filtered", "error")

LABELLED = PAIRS.append(pa.field("source_mentions", pa.list_(SOURCE_MENTION)))
ALIGNED = LABELLED.append(pa.field("alignments", pa.list_(ALIGNMENT)))
PSEUDO = pa.schema(
    [
        *ALIGNED,
        pa.field("mentions", pa.list_(PROJECTED_MENTION)),
        pa.field("tokens", pa.list_(pa.string())),
        # 64 bits, because only so the datasets library takes them for names (its ClassLabel).
        pa.field("ner_tags", pa.list_(pa.int64())),
        pa.field("weight", pa.float32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        # "step: class of the exception" of a row on which a step raised; see xner.engine.poison.
        pa.field("error", pa.string()),
    ]
)
SINCE_VERSION_3 = ("error",)
"""Columns that older ``pseudo`` shards lack."""

ALIGNMENT_EXAMPLES = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("lang", pa.string(), nullable=False),
        pa.field("names", pa.list_(pa.string()), nullable=False),
        # Per name, where it stands in `text`; an empty list says that it does not.
        pa.field("spans", pa.list_(pa.list_(SPAN)), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)

TAGGED = pa.schema(
    [
        # Number of the sentence in its source: tables may come back in any order.
        pa.field("sentence", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("words", pa.list_(SPAN), nullable=False),
        pa.field("tokens", pa.list_(pa.string()), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
    ]
)

# `predicted` is what the model chose for each word, valid IOB2 or not, `scores` its probability.
PREDICTED = pa.schema(
    [
        *TAGGED,
        pa.field("predicted", pa.list_(pa.string()), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
    ]
)


_FEATURES = "huggingface"


def with_tag_names(table: pa.Table, tags: Sequence[str]) -> pa.Table:
    """The table, to be written with the names behind ``ner_tags`` as the datasets library notes
    them (its ClassLabel); other metadata goes."""
    feature = {"feature": {"names": list(tags), "_type": "ClassLabel"}, "_type": "List"}
    noted = json.dumps({"info": {"features": {"ner_tags": feature}}})
    return table.replace_schema_metadata({_FEATURES: noted})


def tag_names(footer: Mapping[str, str]) -> list[str]:
    """The names behind ``ner_tags`` in what the datasets library notes of a file.

    Empty where it notes none, or what stands there is not as it writes it.
    """
    try:
        feature = json.loads(footer.get(_FEATURES, ""))["info"]["features"]["ner_tags"]
        # Its older versions wrote a list's type as a list of one.
        names = (feature[0] if isinstance(feature, list) else feature["feature"])["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list else []


def language_pairs(table: pa.Table) -> list[tuple[str, str]]:
    """Source and target language of the rows of a ``pairs`` table, each two once, sorted."""
    distinct = table.group_by(["source_lang", "target_lang"]).aggregate([])
    sides = (distinct[side].to_pylist() for side in ("source_lang", "target_lang"))
    return sorted(zip(*sides, strict=True))
