"""`make measure-corpus DATA=folder`: reading, cleaning and sampling of real text, in figures.

``corpora``: what the job made of every archive. ``sampled`` pairs are those that no rule and no
search for duplicates refused and that the draw took, so read = refused + not_sampled + sampled;
``written`` are the rows that the shards really hold, counted in them, and must equal ``sampled``.

``pairs_per_second_per_core``: pairs of all archives over CPU seconds (all threads) for reading and
cleaning them, each the median of several repetitions in one process that has read before; what the
first archive of a process costs besides is ``start_seconds``.

``peak_rss_bytes``: the most that a task ever held which reads and cleans an archive of 2 GiB,
alone in a fresh process, with and without sampling. The archive is made of the real sentences, two
of them to a line. ``memory`` has these peaks one by one, beside those of a small archive, and the
job on the large one: there the object store, which all processes share, is left out.
"""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import tomli_w

from xner.config import PrepareConfig
from xner.corpora.bitext import read_bitext
from xner.corpora.opus import Archive, archives
from xner.engine.preparing import ReadArchive, Tally, held_bytes, only_tallies, read_tallies
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards.storage import Folder

PROJECT = Path(__file__).resolve().parents[2]
CORPORA = ["Tatoeba", "WMT-News"]
LANGUAGES = ["de", "es", "nl", "zh"]

# What MANIFEST.md of the project's own data says, by the version that is there.
MANIFEST = {
    "manythings": {"de": 169_197, "es": 118_964, "nl": 52_652, "zh": 21_116},
    "newstest": {"de": 35_131, "es": 16_555, "zh": 15_570},
}

REPETITIONS = 5
SMALL_BYTES, LARGE_BYTES = 20 * 10**6, 2 * 2**30
TASK_SAMPLE, JOB_SAMPLE = 1_000_000, 100_000

MIN_PAIRS_PER_SECOND = 40_000
MAX_PEAK_RSS_BYTES = 2**30

USAGE = """\
make measure-corpus needs real text: make measure-corpus DATA=<folder>
  <folder>/opus has the layout of the OPUS object store:
  OPUS-<Corpus>/<version>/moses/<a>-<b>.txt.zip, the two languages in alphabetical order.
  Read are Tatoeba and WMT-News between English and de, es, nl and zh, as far as they are there."""

Result = TypeVar("Result")


def main(data: str) -> None:
    """Measure everything, print it, and write runs/measure-corpus/summary.json."""
    opus = Path(data, "opus")
    if not data or not opus.is_dir():
        print(f"{USAGE}\n  There is no folder {opus}." if data else USAGE, file=sys.stderr)
        sys.exit(2)
    configure_logging()
    with tempfile.TemporaryDirectory(prefix="measure-corpus-") as name:
        folder = Path(name)
        recipe = {
            "target_langs": LANGUAGES,
            "opus": {"root": str(opus), "corpora": CORPORA},
            "output": str(folder / "pairs"),
        }
        found = archives(PrepareConfig.model_validate(recipe))
        corpora = measure_corpora(recipe)
        speed = measure_speed(recipe, found)
        memory = measure_memory(folder, [each for each in found if each.target_lang == "de"])
    show_corpora(corpora, found, speed)
    show_memory(memory)
    large = [each for each in memory["tasks"] if each["archive"] == "large"]
    summary = {
        "corpora": corpora,
        **speed,
        "peak_rss_bytes": max(each["peak_rss_bytes"] for each in large),
        "memory": memory,
    }
    print_summary(
        "measure-corpus",
        [
            {
                "figure": "pairs/s and core, all archives",
                "found": summary["pairs_per_second_per_core"],
                "bar": f"at least {MIN_PAIRS_PER_SECOND:,}",
            },
            {
                "figure": "pairs/s and core, slowest archive",
                "found": speed["lowest_pairs_per_second_per_core"],
                "bar": f"at least {MIN_PAIRS_PER_SECOND:,}",
            },
            {
                "figure": "peak of a task, MiB",
                "found": summary["peak_rss_bytes"] // 2**20,
                "bar": f"below {MAX_PEAK_RSS_BYTES // 2**20:,}",
            },
        ],
    )
    write_summary(Folder.at(str(PROJECT / "runs" / "measure-corpus")), summary)


# What became of the pairs


def measure_corpora(recipe: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The job on a recipe, on Ray: per corpus and language what became of the pairs."""
    written: Counter[tuple[str, str]] = Counter()
    done = run_prepare_corpus(recipe)
    for shard in Path(recipe["output"]).rglob("*.parquet"):
        table = pq.read_table(shard, columns=["corpus", "target_lang"])
        written.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    corpora: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for each in done.summary["corpora"]:
        lang = each["languages"].partition("-")[2]
        refused = sum(each["refused"].values())
        corpora[each["corpus"]][lang] = {
            "read": each["read"],
            "refused": refused,
            "reasons": each["refused"],
            "not_sampled": each["not_sampled"],
            "sampled": each["read"] - refused - each["not_sampled"],
            "written": written[each["corpus"], lang],
        }
    return dict(corpora)


@dataclass(frozen=True)
class Job:
    """A finished run of the job: its ``summary.json``, and what its driver took."""

    summary: Mapping[str, Any]
    wall_seconds: float
    driver_peak_rss_bytes: int


def run_prepare_corpus(recipe: Mapping[str, Any], **engine: Any) -> Job:
    """Run the job as a user does, in a process of its own."""
    path = Path(recipe["output"]).with_suffix(".toml")
    path.write_text(tomli_w.dumps({**recipe, "engine": engine}))
    command = [sys.executable, str(PROJECT / "jobs" / "prepare_corpus.py"), str(path)]
    peak = 0
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, held_bytes(process.pid))
            time.sleep(0.05)
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(process.returncode)
    summary = Folder.at(recipe["output"]).read_json("summary.json")
    return Job(summary or {}, seconds, peak)


# Speed


def measure_speed(recipe: Mapping[str, Any], found: Sequence[Archive]) -> dict[str, Any]:
    """CPU seconds for reading and cleaning each archive, and what follows from them."""
    config = PrepareConfig.model_validate(recipe)
    first = in_fresh_process(read_and_clean, config, found[0])
    measured = []
    for archive in found:
        tallies = [read_and_clean(config, archive) for _ in range(1 + REPETITIONS)][1:]
        seconds = statistics.median(tally.seconds for tally in tallies)
        measured.append(
            {
                "corpus": archive.corpus,
                "lang": archive.target_lang,
                "read": tallies[0].read,
                "cpu_seconds": seconds,
                "pairs_per_second_per_core": tallies[0].read / seconds,
            }
        )
    seconds = sum(each["cpu_seconds"] for each in measured)
    return {
        "archives": measured,
        "pairs_per_second_per_core": sum(each["read"] for each in measured) / seconds,
        "lowest_pairs_per_second_per_core": min(
            each["pairs_per_second_per_core"] for each in measured
        ),
        "start_seconds": first.seconds - measured[0]["cpu_seconds"],
    }


def read_and_clean(config: PrepareConfig, archive: Archive) -> Tally:
    """Read an archive as a task does and keep nothing but its tally, which comes last."""
    for table in ReadArchive(config)((0, archive)):
        last = table
    (tally,) = read_tallies([only_tallies(last)]).values()
    if tally.error:
        sys.exit(tally.error)
    return tally


def read_and_measure(config: PrepareConfig, archive: Archive) -> tuple[Tally, int]:
    """The tally of an archive and the peak of this process, in bytes: to be run in a fresh one."""
    tally = read_and_clean(config, archive)
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        sys.exit("/proc/self/status: no VmHWM; the peaks are measured on Linux")
    return tally, int(found[1]) * 1024


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """``function(*arguments)`` in a new interpreter, which has held nothing yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# Memory


def measure_memory(folder: Path, base: Sequence[Archive]) -> dict[str, Any]:
    """The peaks of tasks that read a small and a large archive, and the large one through Ray."""
    tasks = []
    for name, num_bytes in (("small", SMALL_BYTES), ("large", LARGE_BYTES)):
        recipe = {
            "target_langs": ["de"],
            "opus": {"root": str(folder / "opus"), "corpora": [f"{name}/made"]},
            "output": str(folder / name),
        }
        started = time.perf_counter()
        path = folder / "opus" / f"OPUS-{name}" / "made" / "moses" / "de-en.txt.zip"
        write_archive(path, base, num_bytes)
        seconds_to_make = time.perf_counter() - started
        with zipfile.ZipFile(path) as members:
            unpacked = sum(member.file_size for member in members.infolist())
        for sample in (None, TASK_SAMPLE):
            sampling = {"pairs": sample} if sample else {}
            config = PrepareConfig.model_validate({**recipe, "sampling": sampling})
            tally, peak = in_fresh_process(read_and_measure, config, *archives(config))
            tasks.append(
                {
                    "archive": name,
                    "unpacked_bytes": unpacked,
                    "read": tally.read,
                    "sampling_pairs": sample,
                    "cpu_seconds": tally.seconds,
                    "pairs_per_second_per_core": tally.read / tally.seconds,
                    "peak_rss_bytes": peak,
                    "tally_peak_rss_bytes": tally.peak_rss_bytes,
                }
            )
    job = run_prepare_corpus({**recipe, "sampling": {"pairs": JOB_SAMPLE}}, num_cpus=2)
    (made,) = job.summary["corpora"]
    return {
        "seconds_to_make": seconds_to_make,
        "tasks": tasks,
        "job": {
            "read": made["read"],
            "sampling_pairs": JOB_SAMPLE,
            "written": made["written"],
            "wall_seconds": job.wall_seconds,
            "seconds": job.summary["seconds"],
            "pairs_per_second": made["read"] / job.summary["seconds"],
            "task_peak_rss_bytes": made["peak_rss_bytes"],
            "driver_peak_rss_bytes": job.driver_peak_rss_bytes,
        },
    }


def write_archive(path: Path, base: Sequence[Archive], num_bytes: int) -> int:
    """Make a Moses archive of at least ``num_bytes`` unpacked; returns the number of its pairs.

    Every pair is two real pairs, one behind the other, and no two of them are made of the same
    ones in the same order, as long as fewer are asked for than the square of the real ones.
    """
    sides: tuple[list[str], list[str]] = [], []
    for archive in base:
        for block in read_bitext(archive):
            sides[0].extend(block.source)
            sides[1].extend(block.target)
    # In any order, so that every part of the archive is like the whole.
    order = random.Random(0).sample(range(len(sides[0])), len(sides[0]))
    num_lines = len(order)
    # A pair of the archive: two real ones, a space and a line end on each side.
    bytes_per_pair = 4 + 2 * len("".join(sides[0] + sides[1]).encode()) / num_lines
    num_pairs = round(1.01 * num_bytes / bytes_per_pair)
    path.parent.mkdir(parents=True)
    langs = base[0].source_lang, base[0].target_lang
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as members:
        for lang, side in zip(langs, sides, strict=True):
            lines = [side[index] for index in order]
            with members.open(f"made.{'-'.join(sorted(langs))}.{lang}", "w") as member:
                for text in doubled(lines, num_pairs):
                    member.write(text.encode())
    return num_pairs


def doubled(lines: Sequence[str], num_wanted: int) -> Iterator[str]:
    """Line n followed by line n + d, for all n and then another d; texts of many lines."""
    num_rounds = -(-num_wanted // len(lines))
    for number in range(num_rounds):
        # Far from the line that it follows, so that packing does not find it again.
        distance = (number + 1) * len(lines) // (num_rounds + 1)
        others = [*lines[distance:], *lines[:distance]]
        num_left = num_wanted - number * len(lines)
        pairs = list(zip(lines, others, strict=True))[:num_left]
        yield "".join([f"{first} {second}\n" for first, second in pairs])


# The tables


def show_corpora(
    corpora: Mapping[str, Mapping[str, Any]], found: Sequence[Archive], speed: Mapping[str, Any]
) -> None:
    """Print what became of the pairs of every archive, and how fast it was read."""
    rows = []
    for archive, measured in zip(found, speed["archives"], strict=True):
        version = archive.path.split("/")[-3]
        counts = corpora[archive.corpus][archive.target_lang]
        rows.append(
            {
                "archive": f"{archive.corpus} {archive.source_lang}-{archive.target_lang}",
                "manifest": MANIFEST.get(version, {}).get(archive.target_lang),
                **{name: counts[name] for name in counts if name != "reasons"},
                "pairs/s and core": round(measured["pairs_per_second_per_core"]),
            }
        )
    print_summary("prepare_corpus on real text", rows)
    print_summary(
        "speed",
        {
            "pairs/s and core, all archives": round(speed["pairs_per_second_per_core"]),
            "first archive of a process, seconds more": speed["start_seconds"],
        },
    )


def show_memory(memory: Mapping[str, Any]) -> None:
    """Print the peaks of the tasks and of the job."""
    rows = [
        {
            "unpacked MB": each["unpacked_bytes"] // 10**6,
            "pairs": each["read"],
            "sampling.pairs": each["sampling_pairs"],
            "task's peak MiB": each["peak_rss_bytes"] // 2**20,
            "pairs/s and core": round(each["pairs_per_second_per_core"]),
        }
        for each in memory["tasks"]
    ]
    print_summary("a task alone in a process", rows)
    print_summary("the large archive through Ray on two CPUs", memory["job"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
