"""Word links: which word of a translation stands for which word of the source sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xner.config import LinksConfig
from xner.text.pairs import SentencePair


class WordLinker(Protocol):
    """What links the words of sentence pairs."""

    def links(self, pairs: Sequence[SentencePair]) -> list[npt.NDArray[np.float32]]:
        """A matrix [source words, target words] for each pair: how sure each link is, 0 to 1.

        The pairs of one call, a shard's, may teach each other; nothing is kept from call to call.
        """
        ...


def word_linker(config: LinksConfig) -> WordLinker:
    """The linker that the settings name, with its model loaded.

    Raises ConfigError for a model that is none, or a program that is not installed.
    """
    # Each brings a library along that the others do not need.
    if config.kind == "hmm":
        from xner.models.hmm import HmmLinker

        return HmmLinker(config)
    if config.kind == "similarity":
        from xner.models.similarity import SimilarityLinker

        return SimilarityLinker(config)
    from xner.models.eflomal import EflomalLinker

    return EflomalLinker(config)
