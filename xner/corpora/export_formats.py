"""What other tools read: each format a function that writes a table of pseudo-labelled rows.

Every format is one that ``read_tagged`` reads again, or, where annotators worked on it, its tool's
export. Offsets are characters (Unicode code points), which is what spaCy, Prodigy and Label Studio
count. A new format is one more of these functions, its name in ``EXPORTS`` here and in the
``format`` of ``ExportConfig``, and a test in which the tool's own library opens a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

import pyarrow as pa

from xner.errors import ConfigError, DataError
from xner.shards.schema import PSEUDO, with_tag_names
from xner.shards.storage import Folder
from xner.text.iob2 import OUTSIDE, split_tag
from xner.text.words import Span, segment, words_in

COLUMNS = pa.schema(
    [
        PSEUDO.field(name)
        for name in (
            "pair_id",
            "corpus",
            "source_lang",
            "target_lang",
            "source",
            "target",
            "source_mentions",
            "mentions",
            "tokens",
            "ner_tags",
            "weight",
            "status",
            "reason",
            "error",
        )
    ]
)
"""The columns of a shard that are exported."""

LABELING_CONFIG = "labeling_config.xml"
"""Label Studio's settings for the exported tasks, to be pasted into a new project."""

_ABOUT = ("pair_id", "corpus", "target_lang", "source", "weight", "status")
_REFUSED_FOR = ("reason", "error")

# What a Label Studio project calls its labels and its text.
_FROM_NAME, _TO_NAME = "label", "text"


def write_datasets(folder: Folder, name: str, table: pa.Table, tags: Sequence[str]) -> None:
    """Parquet with the names of its tags; ``read_tagged`` takes it for ``pseudo`` too."""
    folder.publish_table(name, with_tag_names(table, tags))


def write_conll(folder: Folder, name: str, table: pa.Table, tags: Sequence[str]) -> None:
    """A token, a tab and its IOB2 tag a line; a blank line after every sentence, the last too.

    Columns have no place for anything else: what became of a row is not told.
    """
    lines = []
    for tokens, numbers in zip(
        table["tokens"].to_pylist(), table["ner_tags"].to_pylist(), strict=True
    ):
        if tokens:
            rows = zip(tokens, numbers, strict=True)
            lines += [*(f"{token}\t{tags[number]}\n" for token, number in rows), "\n"]
    folder.publish(name, "".join(lines).encode())


def write_jsonl(folder: Folder, name: str, table: pa.Table, tags: Sequence[str]) -> None:
    """A JSON object a line: ``text``, ``tokens``, ``spans`` and ``meta``, as Prodigy has them."""
    lines = []
    for row in _rows(table, folder, name):
        tokens = [
            {
                "text": row.text[start:end],
                "start": start,
                "end": end,
                "id": index,
                "ws": row.text[end : end + 1].isspace(),
            }
            for index, (start, end) in enumerate(row.words)
        ]
        spans = [
            {
                "start": mention["start"],
                "end": mention["end"],
                "token_start": covered.start,
                "token_end": covered.stop - 1,
                "label": mention["label"],
            }
            for mention, covered in row.mentions
        ]
        lines.append(_json({"text": row.text, "tokens": tokens, "spans": spans, "meta": row.about}))
    folder.publish(name, "".join(f"{line}\n" for line in lines).encode())


def write_label_studio(folder: Folder, name: str, table: pa.Table, tags: Sequence[str]) -> None:
    """A list of tasks with one prediction each, which an annotator corrects."""
    tasks = []
    for row in _rows(table, folder, name):
        result = [
            {
                "id": str(index),
                "from_name": _FROM_NAME,
                "to_name": _TO_NAME,
                "type": "labels",
                "value": {
                    "start": mention["start"],
                    "end": mention["end"],
                    "text": row.text[mention["start"] : mention["end"]],
                    "labels": [mention["label"]],
                },
                "score": mention["score"],
            }
            for index, (mention, _) in enumerate(row.mentions)
        ]
        prediction = {"model_version": "xner", "score": row.about["weight"], "result": result}
        data = {"text": row.text, **row.about}
        tasks.append({"data": data, "predictions": [prediction]})
    folder.publish(name, ("[" + ",\n".join(map(_json, tasks)) + "]\n").encode())


def labeling_config(tags: Sequence[str]) -> str:
    """Label Studio's settings of a project with the labels of ``tags``, as XML."""
    labels = dict.fromkeys(split_tag(tag)[1] for tag in tags if tag != OUTSIDE)
    lines = [f"    <Label value={quoteattr(label)}/>\n" for label in labels]
    return (
        f'<View>\n  <Labels name="{_FROM_NAME}" toName="{_TO_NAME}">\n{"".join(lines)}'
        f'  </Labels>\n  <Text name="{_TO_NAME}" value="$text"/>\n</View>\n'
    )


def write_spacy(folder: Folder, name: str, table: pa.Table, tags: Sequence[str]) -> None:
    """A DocBin whose documents are the raw texts, character for character.

    Our words are its tokens. Beyond the one space after a token, which is the token's own, spaCy
    holds white space as tokens only, so it becomes one, as spaCy's own tokenizers have it. Of the
    language a document says nothing: whoever opens the file gives a vocabulary.
    """
    from spacy.tokens import Doc, DocBin
    from spacy.vocab import Vocab

    vocabulary = Vocab()
    documents = DocBin(store_user_data=True)
    for row in _rows(table, folder, name):
        tokens, spaces = _tokens_and_spaces(row.text, row.words)
        document = Doc(vocabulary, words=tokens, spaces=spaces)
        found = (document.char_span(m["start"], m["end"], m["label"]) for m, _ in row.mentions)
        document.set_ents([entity for entity in found if entity is not None])
        document.user_data.update(row.about)
        documents.add(document)
    folder.publish(name, documents.to_bytes())


def _tokens_and_spaces(text: str, words: Sequence[Span]) -> tuple[list[str], list[bool]]:
    """The words and the white space between them, and whether one space more follows each."""
    tokens: list[str] = []
    spaces: list[bool] = []
    for (start, end), (next_start, _) in pairwise([(0, 0), *words, (len(text), len(text))]):
        gap = text[end:next_start]
        if start < end:
            tokens.append(text[start:end])
            spaces.append(gap.startswith(" "))
            gap = gap.removeprefix(" ")
        if gap:
            tokens.append(gap)
            spaces.append(False)
    return tokens, spaces


class _Row(NamedTuple):
    """A row's text, its words, its mentions with the words of each, and where it is from."""

    text: str
    words: list[Span]
    mentions: list[tuple[dict[str, Any], range]]
    about: dict[str, Any]


def _rows(table: pa.Table, folder: Folder, name: str) -> Iterator[_Row]:
    """Raises DataError for a mention that is not made of whole words: no tool could show it."""
    for row in table.to_pylist():
        text = row["target"]
        words = segment(text)
        mentions = [(m, words_in(m["start"], m["end"], words)) for m in row["mentions"]]
        for mention, covered in mentions:
            span = mention["start"], mention["end"]
            if not covered or span != (words[covered.start][0], words[covered.stop - 1][1]):
                raise DataError(
                    f"{folder}/{name}: row {row['pair_id']}: the mention at [{span[0]}, {span[1]}) "
                    f"is not made of whole words of {text[:80]!r}"
                )
        about = {key: row[key] for key in _ABOUT}
        about |= {key: row[key] for key in _REFUSED_FOR if row[key] is not None}
        yield _Row(text, words, mentions, about)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class ExportFormat:
    """How the file of a shard is called, and what writes it; ``folder``: where, in the output.

    ``once``: the files that an export has besides, each with its content for the names of tags.
    """

    suffix: str
    write: Callable[[Folder, str, pa.Table, Sequence[str]], None]
    folder: str = ""
    once: Mapping[str, Callable[[Sequence[str]], str]] = field(default_factory=dict)

    def name_of(self, shard: str) -> str:
        """The name, in the output folder, of the file of a shard."""
        return f"{self.folder}{shard.removesuffix('.parquet')}{self.suffix}"


#: The formats by their name in the settings.
EXPORTS: dict[str, ExportFormat] = {
    "datasets": ExportFormat(".parquet", write_datasets, "data/"),
    "conll": ExportFormat(".conll", write_conll),
    "spacy": ExportFormat(".spacy", write_spacy),
    "jsonl": ExportFormat(".jsonl", write_jsonl),
    "label-studio": ExportFormat(
        ".json", write_label_studio, "tasks/", {LABELING_CONFIG: labeling_config}
    ),
}


def require_library(format: str) -> None:
    """Raises ConfigError where a format's library is not installed."""
    if format == "spacy" and find_spec("spacy") is None:
        raise ConfigError('format = "spacy" needs spaCy: pip install -e ".[spacy]"')
