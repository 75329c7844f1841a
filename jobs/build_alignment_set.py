"""Find English names in sentences of other languages: training examples of the aligner.

Reads pairs shards, takes names that stand verbatim on both sides, whose translation a table of
names knows, or that word links find; reads Wikipedias, whose links are names; and writes
`part-<language>.parquet`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import pyarrow as pa

from xner.command_line import run_job
from xner.config import BuildAlignmentSetConfig
from xner.corpora.alignment_set import AlignmentExample, ExamplePool, to_table
from xner.corpora.names import Casing, Lexicon, carrier_examples, example_of, read_lexicon
from xner.corpora.wikipedia import WikipediaStatistics
from xner.engine.anchors import WikipediaReading
from xner.engine.choose import engine_for
from xner.engine.linked_names import LinkedNames
from xner.engine.recipes import check_apart
from xner.errors import ConfigError, without_credentials
from xner.report.terminal import count_up, print_summary, write_summary
from xner.shards.ledger import SHARD, require_no_run
from xner.shards.schema import PAIRS
from xner.shards.storage import Folder

_COLUMNS = pa.schema(
    [PAIRS.field(name) for name in ("source", "target", "source_lang", "target_lang")]
)

# Enough to know how a word is usually written.
_CASING_SENTENCES = 200_000


def main(config: BuildAlignmentSetConfig) -> None:
    """Two passes over the shards: how words are written, then which names are known."""
    shards, readings, linked = _inputs(config)
    output = Folder.at(config.output)
    output.require_writable()
    english = (row[0] for table in _tables(shards) for row in _rows(table))
    casing = Casing.of(islice(english, _CASING_SENTENCES))

    @cache
    def lexicons(source_lang: str, target_lang: str) -> Sequence[Lexicon]:
        return [read_lexicon(table, source_lang, target_lang) for table in config.tables]

    pools: dict[str, ExamplePool] = {}
    num_pairs: Counter[str] = Counter()

    def pool(lang: str) -> ExamplePool:
        if lang not in pools:
            pools[lang] = ExamplePool(config.max_examples, config.max_per_name, config.seed)
        return pools[lang]

    with count_up("search for names", "pairs") as report:
        for table in _tables(shards, report):
            for source, target, source_lang, target_lang in _rows(table):
                num_pairs[target_lang] += 1
                known = lexicons(source_lang, target_lang)
                example = example_of(source, target, target_lang, casing, known)
                if example is None:
                    continue
                pool(target_lang).add(example)
                for carrier in carrier_examples(example, known, config.carriers, config.seed):
                    pool(target_lang).add(carrier)
            for example in linked.examples(table, casing) if linked is not None else ():
                pool(example.lang).add(example)

    wikipedia: dict[str, Any] = {}
    for reading in readings:
        lang = reading.config.lang
        statistics = _read_wikipedia(config, reading, output, casing, pool(lang))
        dumps = without_credentials(", ".join(reading.config.dumps))
        wikipedia[f"{lang}: {dumps}"] = statistics.to_dict()

    summary = {}
    for lang in sorted({*num_pairs, *pools}):
        chosen = pools[lang].chosen() if lang in pools else []
        output.publish_table(f"part-{lang}{SHARD}", to_table(chosen))
        summary[lang] = {"pairs": num_pairs[lang], **_counts(chosen)}
    write_summary(output, {"languages": summary, **({"wikipedia": wikipedia} if wikipedia else {})})
    print_summary(
        f"build_alignment_set: {output}",
        [{"language": lang, **counts} for lang, counts in summary.items()],
    )
    for name, counts in wikipedia.items():
        refused = counts.pop("refused"), counts.pop("refused_pages")
        print_summary(f"Wikipedia {name}", {**counts, **refused[1]})
        print_summary("anchors refused, by reason", refused[0])


def _read_wikipedia(
    config: BuildAlignmentSetConfig,
    reading: WikipediaReading,
    output: Folder,
    casing: Casing,
    pool: ExamplePool,
) -> WikipediaStatistics:
    """Put the examples of a Wikipedia into the pool; what became of its links."""
    engine = engine_for(config.engine)
    with count_up(f"titles of the {reading.config.lang} Wikipedia", "titles") as report:
        titles = reading.publish_titles(engine, output, [casing], report)
    parts: list[WikipediaStatistics] = []
    with count_up(f"links of the {reading.config.lang} Wikipedia", "examples") as report:
        for example in reading.examples(engine, titles, parts.append, report):
            pool.add(example)
    return sum(parts, start=WikipediaStatistics())


def plan(config: BuildAlignmentSetConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    shards, readings, _ = _inputs(config)
    return {
        "shards": str(len(shards)),
        "parts of Wikipedias": str(sum(len(reading.parts) for reading in readings)),
        "output": str(Folder.at(config.output)),
    }


def _inputs(
    config: BuildAlignmentSetConfig,
) -> tuple[list[tuple[Folder, str]], list[WikipediaReading], LinkedNames | None]:
    """The shards, the Wikipedias and what links words: what is wrong with them is told at once."""
    shards = _shards(config.pairs)
    output = Folder.at(config.output)
    for location in config.pairs:
        check_apart(output, "pairs", Folder.at(location))
    require_no_run(output)
    readings = [
        WikipediaReading.plan(wiki, f"wikipedia[{index}]")
        for index, wiki in enumerate(config.wikipedia)
    ]
    if config.bitext is None:
        return shards, readings, None
    linked = LinkedNames(config.bitext)
    for location in config.pairs:
        linked.require_languages_of(Folder.at(location))
    return shards, readings, linked


def _shards(folders: Sequence[str]) -> list[tuple[Folder, str]]:
    found = []
    for location in folders:
        folder = Folder.at(location)
        names = folder.names(SHARD)
        if not names:
            raise ConfigError(f"pairs: {folder}: no shards (*{SHARD}) here")
        found += [(folder, name) for name in names]
    return found


def _tables(
    shards: Sequence[tuple[Folder, str]], report: Callable[[int], None] = lambda num_pairs: None
) -> Iterator[pa.Table]:
    for folder, name in shards:
        table = folder.read_table(name, _COLUMNS)
        yield table
        report(table.num_rows)


def _rows(table: pa.Table) -> Iterator[tuple[str, str, str, str]]:
    """Source, target and their languages."""
    yield from zip(*(table[field].to_pylist() for field in _COLUMNS.names), strict=True)


def _counts(examples: Sequence[AlignmentExample]) -> dict[str, int]:
    by_origin = Counter(example.origin for example in examples)
    return {
        "examples": len(examples),
        "names": sum(len(example.names) for example in examples),
        **{
            origin: by_origin[origin]
            for origin in ("verbatim", "table", "bitext", "carrier", "anchor")
        },
    }


if __name__ == "__main__":
    run_job(BuildAlignmentSetConfig, main, plan)
