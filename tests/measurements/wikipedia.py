"""`make measure-wikipedia DATA=folder`: the reader of Wikipedia on real dumps, in figures.

``dumps``: per dump what became of its pages and links; ``anchors`` = ``resolved`` + ``refused``.
The English dumps are their own titles. The others get titles of places only, from the tables of
names in the folder written as the SQL dumps ``langlinks`` and ``page`` (the folder's extract of
Wikidata has no site link of theirs), so most of their links are ``unresolved``.

``pages_per_second``, ``megabytes_per_second`` (of unpacked XML): one process, the second pass
alone, from the packed file to examples. ``titles_megabytes_per_second``: the first pass.

``peak_rss_bytes``: the most that a process holds which reads a dump, alone in a fresh one. It is
made of the largest dump's pages, many times over, in streams of a hundred pages like Wikimedia's,
and measured at a quarter of its length and whole.

``sample``: examples drawn at random, for the eye; ``runs/measure-wikipedia/sample.txt``.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from xner.config import EngineConfig, WikipediaConfig
from xner.corpora.alignment_set import AlignmentExample
from xner.corpora.names import Casing
from xner.corpora.wikidump import DumpPart, read_head, read_pages
from xner.corpora.wikipedia import AnchorReader, WikipediaStatistics
from xner.corpora.wikitext import plain_page
from xner.engine.anchors import PublishedTitles, WikipediaReading
from xner.engine.choose import engine_for
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards.storage import Folder

PROJECT = Path(__file__).resolve().parents[2]
LANGUAGES = ["de", "es", "nl", "zh"]
SAMPLE, SAMPLE_OF_A_LANGUAGE = 50, 10
PAGES_OF_A_STREAM = 100
LARGE_PAGES = 2_400
SEED = 1

USAGE = """\
make measure-wikipedia needs real dumps: make measure-wikipedia DATA=<folder>
  <folder>/wikipedia has {de,es,nl,zh}.xml.bz2 and any English dumps, *en*.xml.bz2;
  <folder>/names has cities.csv (name_en, name_de, ...) and {lang}.country.json (code -> name)."""

Result = TypeVar("Result")


def main(data: str) -> None:
    """Measure everything, print it, and write runs/measure-wikipedia."""
    dumps = Path(data, "wikipedia")
    if not data or not dumps.is_dir():
        print(f"{USAGE}\n  There is no folder {dumps}." if data else USAGE, file=sys.stderr)
        sys.exit(2)
    configure_logging()
    english = sorted(dumps.glob("*en*.xml.bz2"), key=lambda path: path.stat().st_size)
    sample: dict[str, list[AlignmentExample]] = {}
    measured = {}
    with tempfile.TemporaryDirectory(prefix="measure-wikipedia-") as name:
        folder = Path(name)
        casing = Casing.of(english_text(english))
        for lang in LANGUAGES:
            tables = write_tables(Path(data, "names"), lang, folder)
            config = WikipediaConfig(lang=lang, dumps=[str(dumps / f"{lang}.xml.bz2")], **tables)
            measured[lang], sample[lang] = measure(config, folder, casing)
        for path in english:
            config = WikipediaConfig(lang="en", dumps=[str(path)])
            measured[path.name.split(".xml")[0]], examples = measure(config, folder, casing)
            sample["en"] = [*sample.get("en", []), *examples]
        memory = measure_memory(english[-1], folder)
    show(measured, memory)
    output = Folder.at(str(PROJECT / "runs" / "measure-wikipedia"))
    output.publish("sample.txt", "\n".join(drawn(sample)).encode())
    write_summary(output, {"dumps": measured, "memory": memory})


def english_text(paths: list[Path]) -> Iterator[str]:
    """The paragraphs of the English dumps: they show which words have capitals."""
    for path in paths:
        for page in read_pages(DumpPart(str(path))):
            yield from (paragraph.text for paragraph in plain_page(page.text, "en").paragraphs)


def write_tables(names: Path, lang: str, folder: Path) -> dict[str, str]:
    """The tables of names as SQL dumps of ``langlinks`` and ``page``, as MediaWiki writes them."""
    pairs: dict[str, str] = {}
    countries = [json.loads((names / f"{code}.country.json").read_text()) for code in ("en", lang)]
    pairs.update((countries[1][code], countries[0][code]) for code in countries[1])
    with (names / "cities.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for form in filter(None, row[f"name_{lang}"].split("|")):
                pairs.setdefault(form, row["name_en"].split("|")[0])
    rows = [(number, *pair) for number, pair in enumerate(pairs.items(), start=1) if all(pair)]
    tables = {
        "langlinks": (
            ["ll_from", "ll_lang", "ll_title"],
            [f"({number},'en','{quoted(title)}')" for number, _, title in rows],
        ),
        "page": (
            ["page_id", "page_namespace", "page_title", "page_is_redirect"],
            [f"({number},0,'{quoted(form).replace(' ', '_')}',0)" for number, form, _ in rows],
        ),
    }
    paths = {}
    for table, (columns, values) in tables.items():
        lines = [f"CREATE TABLE `{table}` (", *(f"  `{column}` blob," for column in columns), ");"]
        lines.append(f"INSERT INTO `{table}` VALUES {','.join(values)};")
        paths[table] = str(folder / f"{lang}.{table}.sql.gz")
        Path(paths[table]).write_bytes(gzip.compress("\n".join(lines).encode()))
    return paths


def quoted(text: str) -> str:
    """The inside of an SQL string."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def measure(
    config: WikipediaConfig, folder: Path, casing: Casing
) -> tuple[dict[str, Any], list[AlignmentExample]]:
    """What became of a dump, how fast it was read, and its examples."""
    engine = engine_for(EngineConfig(kind="inline"))
    megabytes = len(bz2.decompress(Path(config.dumps[0]).read_bytes())) / 1e6
    reading = WikipediaReading.plan(config)
    started = time.process_time()
    titles = reading.publish_titles(engine, Folder.at(str(folder)), [casing])
    title_seconds = time.process_time() - started
    parts: list[WikipediaStatistics] = []
    started = time.process_time()
    examples = list(reading.examples(engine, titles, parts.append))
    seconds = time.process_time() - started
    total = sum(parts, start=WikipediaStatistics())
    refused = sum(total.refused.values())
    if total.anchors != total.resolved + refused:
        sys.exit(f"{config.dumps[0]}: {total.anchors} anchors, {total.resolved} + {refused}")
    figures = {
        **total.to_dict(),
        "names": sum(len(example.names) for example in examples),
        "titles": len(titles.load()),
        "cpu_seconds": seconds,
        "pages_per_second": total.pages / seconds,
        "megabytes_per_second": megabytes / seconds,
        "titles_megabytes_per_second": megabytes / title_seconds,
    }
    return figures, examples


# Memory


def measure_memory(path: Path, folder: Path) -> list[dict[str, Any]]:
    """The peaks of processes that read a large dump of the same pages, a quarter of it and all."""
    content = bz2.decompress(path.read_bytes()).decode()
    head = content.partition("<page>")[0]
    pages = re.findall(r"<page>.*?</page>", content, re.DOTALL)
    # One stream, many times: packing takes longer than reading.
    shuffled = random.Random(SEED).sample(pages, min(PAGES_OF_A_STREAM, len(pages)))
    stream, num_pages = bz2.compress("\n".join(shuffled).encode()), len(shuffled)
    config = WikipediaConfig(lang="en", dumps=[str(path)])
    titles = WikipediaReading.plan(config).publish_titles(
        engine_for(EngineConfig(kind="inline")), Folder.at(str(folder))
    )
    measured = []
    for wanted in (LARGE_PAGES // 4, LARGE_PAGES):
        large = folder / f"{wanted}.xml.bz2"
        with large.open("wb") as file:
            file.write(bz2.compress(head.encode()))
            for _ in range(wanted // num_pages):
                file.write(stream)
            file.write(bz2.compress(b"</mediawiki>\n"))
        counted, seconds, peak = in_fresh_process(read_and_measure, str(large), titles)
        measured.append(
            {
                "pages": counted.pages,
                "packed_bytes": large.stat().st_size,
                "examples": counted.examples,
                "cpu_seconds": seconds,
                "pages_per_second": counted.pages / seconds,
                "peak_rss_bytes": peak,
            }
        )
    return measured


def read_and_measure(path: str, titles: PublishedTitles) -> tuple[WikipediaStatistics, float, int]:
    """What came of a dump in one part, and the peak of this process: to be run in a fresh one."""
    reader = AnchorReader("en", titles.load(), read_head(path).namespaces)
    total = WikipediaStatistics()
    started = time.process_time()
    for _, of_page in reader.read(DumpPart(path)):
        total += of_page
    seconds = time.process_time() - started
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        sys.exit("/proc/self/status: no VmHWM; the peaks are measured on Linux")
    return total, seconds, int(found[1]) * 1024


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """``function(*arguments)`` in a new interpreter, which has held nothing yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# For the eye


def drawn(sample: dict[str, list[AlignmentExample]]) -> Iterator[str]:
    """Random examples of each language as text, each place followed by its English name.

    English ones make up for what the others lack.
    """
    num_drawn = 0
    for lang in [*LANGUAGES, "en"]:
        wanted = SAMPLE - num_drawn if lang == "en" else SAMPLE_OF_A_LANGUAGE
        examples = sorted(sample[lang])
        for example in random.Random(SEED).sample(examples, min(wanted, len(examples))):
            num_drawn += 1
            text = example.text
            places = [
                (span, name)
                for name, spans in zip(example.names, example.spans, strict=True)
                for span in spans
            ]
            for (start, end), name in sorted(places, reverse=True):
                text = f"{text[:start]}[{text[start:end]} = {name}]{text[end:]}"
            yield f"{lang}: {text}"


def show(measured: dict[str, dict[str, Any]], memory: list[dict[str, Any]]) -> None:
    """Print the figures."""
    columns = ("pages", "redirects", "paragraphs", "anchors", "resolved", "examples", "names")
    print_summary(
        "Wikipedia dumps",
        [
            {
                "dump": name,
                **{column: figures[column] for column in columns},
                "pages/s": figures["pages_per_second"],
                "MB/s": figures["megabytes_per_second"],
                "titles MB/s": figures["titles_megabytes_per_second"],
            }
            for name, figures in measured.items()
        ],
    )
    reasons = sorted({reason for figures in measured.values() for reason in figures["refused"]})
    print_summary(
        "anchors refused, by reason",
        [
            {
                "reason": reason,
                **{name: figures["refused"].get(reason, 0) for name, figures in measured.items()},
            }
            for reason in reasons
        ],
    )
    print_summary(
        "a process that reads a made dump of real pages",
        [{**each, "peak MiB": each["peak_rss_bytes"] // 2**20} for each in memory],
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
