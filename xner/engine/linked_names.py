"""Training examples of the aligner from bitext alone: names, and where their translations stand.

No table and no Wikipedia is needed: capitals show the names of the English sentences, word links
and the other witnesses of :mod:`xner.projection.evidence` show their translations, and what they
are not sure of is left out. So an entity aligner can be trained for any two languages that have
parallel text, and learns what no single pair shows: how the others were translated.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from xner.config import EvidenceConfig, LinkedNamesConfig
from xner.corpora.alignment_set import AlignmentExample
from xner.corpora.names import Casing, capitalised_names
from xner.models.word_links import require_languages, require_languages_of, word_linker
from xner.projection.evidence import candidates_by_evidence
from xner.projection.resolve import resolve
from xner.shards.storage import Folder
from xner.text.chinese import whole_words
from xner.text.mentions import Mention
from xner.text.pairs import SentencePair
from xner.text.words import segment

# Enough for a name whose best place is another's.
_CANDIDATES = 3


class LinkedNames:
    """Finds the names of a shard's English sentences in their translations.

    Raises ConfigError for links that cannot be made.
    """

    def __init__(self, config: LinkedNamesConfig) -> None:
        self._config = config
        self._linker = word_linker(config.links)

    def require_languages_of(self, pairs: Folder) -> None:
        """Raises ConfigError for a folder of pairs in other languages than those of the links."""
        require_languages_of(pairs, self._linker.languages, self._config.links)

    def examples(self, table: pa.Table, casing: Casing) -> Iterator[AlignmentExample]:
        """An example for each pair of a shard (``pairs`` schema) with a name that was found.

        A name that stands twice in a sentence is left out: which place is whose, nobody knows.
        Raises ConfigError for pairs in other languages than those of a word aligner.
        """
        require_languages(self._linker.languages, self._config.links, table)
        langs = table["target_lang"].to_pylist()
        pairs = [
            SentencePair(source, segment(source), target, words, whole_words(target, words, lang))
            for source, target, lang in zip(
                table["source"].to_pylist(), table["target"].to_pylist(), langs, strict=True
            )
            for words in [segment(target)]
        ]
        names = [capitalised_names(pair.source, pair.source_words, casing) for pair in pairs]
        found = candidates_by_evidence(
            pairs,
            names,
            self._linker.links(pairs),
            [None] * len(pairs),
            EvidenceConfig(),
            _CANDIDATES,
        )
        for pair, lang, spans, offered in zip(pairs, langs, names, found, strict=True):
            mentions = [Mention(*span, "name") for span in spans]
            chosen = resolve(mentions, offered, self._config.min_score)
            places = {
                pair.source[start:end]: ((best.start, best.end),)
                for (start, end), candidates, choice in zip(spans, offered, chosen, strict=True)
                if choice is not None
                for best in [candidates[choice]]
            }
            if places:
                yield AlignmentExample(
                    pair.target, lang, tuple(places), tuple(places.values()), "bitext"
                )
