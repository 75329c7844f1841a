"""Word links: which word of a translation stands for which word of the source sentence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xner.config import BatchTokens, LinksConfig
from xner.errors import ConfigError, DataError
from xner.shards.ledger import SHARD
from xner.shards.schema import PAIRS, language_pairs
from xner.shards.storage import Folder
from xner.text.languages import language_of
from xner.text.pairs import SentencePair


class WordLinker(Protocol):
    """What links the words of sentence pairs."""

    @property
    def languages(self) -> tuple[str, str] | None:
        """Source and target language that it was trained for; None where it takes any."""
        ...

    def links(self, pairs: Sequence[SentencePair]) -> list[npt.NDArray[np.float32]]:
        """A matrix [source words, target words] for each pair: how sure each link is, 0 to 1.

        The pairs of one call, a shard's, may teach each other; nothing is kept from call to call.
        """
        ...


def word_linker(
    config: LinksConfig,
    device: str = "auto",
    precision: str = "auto",
    batch_tokens: BatchTokens = "auto",
) -> WordLinker:
    """The linker that the settings name, with its model loaded.

    The last three, as in ModelConfig, are for an encoder (`similarity`). Raises ConfigError for a
    model that is none, or a program that is not installed.
    """
    # Each brings a library along that the others do not need.
    if config.kind == "hmm":
        from xner.models.hmm import HmmLinker

        return HmmLinker(config)
    if config.kind == "similarity":
        from xner.models.similarity import SimilarityLinker

        return SimilarityLinker(config, device, precision, batch_tokens)
    from xner.models.eflomal import EflomalLinker

    return EflomalLinker(config)


def require_languages(
    languages: tuple[str, str] | None, config: LinksConfig, table: pa.Table
) -> None:
    """Raises ConfigError where rows of a table (``pairs`` schema) are in other languages than those
    of a linker; `zh` and `zh_CN` are the same. None takes all."""
    if languages is None:
        return
    found = language_pairs(table)
    if {tuple(map(language_of, pair)) for pair in found} <= {tuple(map(language_of, languages))}:
        return
    raise ConfigError(
        f"links.model: {config.model} is a word aligner for {'-'.join(languages)}, but the "
        f"pairs are {', '.join(map('-'.join, found))}; train one word aligner a language pair and "
        f'run the job once for each, with pairs = "data/pairs/{"-".join(found[0])}" for example'
    )


def require_languages_of(
    pairs: Folder, languages: tuple[str, str] | None, config: LinksConfig
) -> None:
    """As require_languages, by the first shard of each folder of pairs.

    What links the words looks at every shard, but only when its turn has come.
    """
    if languages is None:
        return
    columns = pa.schema([PAIRS.field(name) for name in ("source_lang", "target_lang")])
    firsts = {name.rpartition("/")[0]: name for name in reversed(pairs.names(SHARD))}
    tables = []
    for name in firsts.values():
        # A shard that cannot be read is reported by the run.
        with suppress(DataError):
            tables.append(pairs.read_table(name, columns))
    require_languages(languages, config, pa.concat_tables([columns.empty_table(), *tables]))
