"""Expected counts of pairs of words, as word aligners learn, keep and look them up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from xner.models import hmm_kernels as kernels

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

COUNTS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("count", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True, eq=False)
class Counts:
    """Expected counts of pairs of words: a sparse matrix by source word.

    ``rows`` says where each source word's entries begin, ``columns`` the ids of their target words,
    ascending, and ``values`` their counts.
    """

    source_words: Mapping[str, int]
    target_words: Mapping[str, int]
    rows: npt.NDArray[np.int64]
    columns: Ids
    values: Floats

    @classmethod
    def of(
        cls,
        source_words: Mapping[str, int],
        target_words: Mapping[str, int],
        source: Ids,
        target: Ids,
        values: Floats,
    ) -> Counts:
        """From the ids of each entry's two words and its count, in any order."""
        order = np.lexsort((target, source))
        rows = np.zeros(len(source_words) + 1, np.int64)
        np.cumsum(np.bincount(source, minlength=len(source_words)), out=rows[1:])
        return cls(
            source_words,
            target_words,
            rows,
            target[order].astype(np.int32),
            values[order].astype(np.float32),
        )

    def of_pairs(
        self,
        source_words: Mapping[str, int],
        target_words: Mapping[str, int],
        pair_source: Ids,
        pair_target: Ids,
    ) -> Floats:
        """The count of each pair of words, 0 for what is not known here.

        The pairs are numbers of words, ``pair_source`` by ``source_words`` and so on.
        """
        source = _ids_in(self.source_words, source_words)[pair_source]
        target = _ids_in(self.target_words, target_words)[pair_target]
        found: Floats = kernels.look_up(source, target, self.rows, self.columns, self.values)
        return found

    def entries(self) -> tuple[Ids, Ids, Floats]:
        """Source word, target word and count of each entry."""
        rows = np.repeat(np.arange(len(self.rows) - 1, dtype=np.int32), np.diff(self.rows))
        return rows, self.columns, self.values

    def to_table(self) -> pa.Table:
        """As it is stored: sorted by words, so that the same counts make the same file."""
        source, target, values = self.entries()
        columns = [
            pa.array(list(words), pa.string()).take(pa.array(ids))
            for words, ids in ((self.source_words, source), (self.target_words, target))
        ]
        table = pa.Table.from_arrays([*columns, pa.array(values)], schema=COUNTS)
        return table.sort_by([("source", "ascending"), ("target", "ascending")])

    @classmethod
    def from_table(cls, table: pa.Table) -> Counts:
        """What :meth:`to_table` made."""
        encoded = [
            pc.dictionary_encode(table[name].combine_chunks()) for name in ("source", "target")
        ]
        source_words, target_words = (
            {word: n for n, word in enumerate(column.dictionary.to_pylist())} for column in encoded
        )
        source, target = (np.array(column.indices, np.int32) for column in encoded)
        values = np.array(table["count"], np.float32)
        return cls.of(source_words, target_words, source, target, values)


def _ids_in(known: Mapping[str, int], words: Iterable[str]) -> Ids:
    return np.array([known.get(word, -1) for word in words], np.int32)
