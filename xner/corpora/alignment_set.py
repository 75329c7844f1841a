"""Training examples of the aligner, and a fair, bounded choice of them.

An example is a sentence, some English names, and where each stands in it. Bitext yields millions of
examples of a few famous names: in Tatoeba every fifth sentence is about Tom. So the pool keeps at
most so many for each name. It keeps those that a seeded hash of the example ranks first, so the
choice depends neither on the order of the input nor on how it is cut into shards.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from xner.errors import DataError
from xner.shards.ledger import SHARD
from xner.shards.schema import ALIGNMENT_EXAMPLES
from xner.shards.storage import files_at
from xner.text.words import Span

Origin = Literal["verbatim", "table", "carrier", "anchor", "bitext", "miniature"]


@dataclass(frozen=True, slots=True, order=True)
class AlignmentExample:
    """A text in language ``lang``; ``spans`` holds for each English name its places in the text.

    A name without a place is not there.
    """

    text: str
    lang: str
    names: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    origin: Origin

    def __post_init__(self) -> None:
        if len(self.names) != len(self.spans):
            raise ValueError(f"{len(self.names)} names, {len(self.spans)} lists of spans")


def to_table(examples: Iterable[AlignmentExample]) -> pa.Table:
    """The examples as a table in the schema of alignment examples."""
    rows = [
        {
            **asdict(example),
            "spans": [[{"start": s, "end": e} for s, e in places] for places in example.spans],
        }
        for example in examples
    ]
    return pa.Table.from_pylist(rows, schema=ALIGNMENT_EXAMPLES)


def read_examples(location: str) -> list[AlignmentExample]:
    """The alignment examples of a shard or of a folder of shards.

    Raises ConfigError when there is none at ``location``, DataError, with file and row, for what is
    no such example.
    """
    folder, names = files_at(location, SHARD)
    return [
        _example(row, f"{folder}/{name}: row {number}")
        for name in names
        for number, row in enumerate(folder.read_table(name, ALIGNMENT_EXAMPLES).to_pylist())
    ]


def _example(row: dict[str, Any], where: str) -> AlignmentExample:
    text, names, spans = row["text"], row["names"], row["spans"]
    if len(names) != len(spans):
        raise DataError(f"{where}: {len(names)} names and {len(spans)} lists of spans")
    places = tuple(tuple((span["start"], span["end"]) for span in of_name) for of_name in spans)
    for name, of_name in zip(names, places, strict=True):
        for start, end in of_name:
            if not 0 <= start < end <= len(text):
                raise DataError(
                    f"{where}: {name!r} at [{start}, {end}) of a text of {len(text)} characters"
                )
    return AlignmentExample(text, row["lang"], tuple(names), places, row["origin"])


class ExamplePool:
    """Examples of one language; memory is bounded by the number of different names.

    An example counts for its longest name only, as a rule the rarest: a sentence about Tom in
    Addis Ababa is wanted for Addis Ababa.
    """

    def __init__(self, max_examples: int | None, max_per_name: int, seed: int) -> None:
        self._max_examples = max_examples
        self._max_per_name = max_per_name
        self._seed = seed
        # Per name a heap whose first element is the one to give up next.
        self._by_name: dict[str, list[tuple[int, AlignmentExample]]] = defaultdict(list)

    def add(self, example: AlignmentExample) -> None:
        """Offer an example; it may push out another one, or not be kept."""
        name = max(example.names, key=lambda name: (len(name), name))
        kept = self._by_name[name]
        entry = (-self._rank(example), example)
        if len(kept) < self._max_per_name:
            if entry not in kept:
                heapq.heappush(kept, entry)
        elif entry[0] > kept[0][0] and entry not in kept:
            heapq.heapreplace(kept, entry)

    def chosen(self) -> list[AlignmentExample]:
        """The examples that were kept, in the order of their ranks, each text once an origin."""
        ranked = sorted((-key, e) for kept in self._by_name.values() for key, e in kept)
        by_text: dict[tuple[str, str], AlignmentExample] = {}
        for _, example in ranked:
            by_text.setdefault((example.text, example.origin), example)
        return list(by_text.values())[: self._max_examples]

    def _rank(self, example: AlignmentExample) -> int:
        content = repr((self._seed, example.text, example.names, example.spans))
        return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest())
