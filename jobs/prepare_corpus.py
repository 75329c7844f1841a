"""Read parallel text from OPUS or your own files, clean it, sample it and write it as shards.

Writes one folder a language pair, with its shards and a summary of what became of every pair. A
language pair that is finished is not read again, so after a crash the same command goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from xner.command_line import run_job
from xner.config import PrepareConfig
from xner.engine.recipes import CorpusPreparation, CorpusSummary
from xner.errors import without_credentials
from xner.report.terminal import count_up, print_summary, write_summary
from xner.shards.lease import Lease


def main(config: PrepareConfig) -> None:
    """Prepare every language pair that is not finished, then say what became of every pair."""
    preparation = CorpusPreparation.plan(config)
    with preparation.run.held() as lease:
        prepare(preparation, lease)


def prepare(preparation: CorpusPreparation, lease: Lease) -> None:
    """Prepare what is not finished, and show it all."""
    started = time.perf_counter()
    with count_up("read and clean", "pairs kept") as report:
        preparation.run_pending(report, lease.check)
    seconds = time.perf_counter() - started
    summaries = [
        summary
        for pair in preparation.language_pairs
        for summary in preparation.summary_of(pair) or []
    ]
    folder = preparation.run.folder
    write_summary(
        folder,
        {"corpora": [_record(summary) for summary in summaries], "seconds": seconds},
    )
    print_summary(f"prepare_corpus: {folder}", [_row(summary) for summary in summaries])
    reasons: Counter[str] = Counter()
    for summary in summaries:
        reasons.update(summary.refused)
    print_summary("refused, by reason", dict(reasons.most_common()))


def _record(summary: CorpusSummary) -> dict[str, Any]:
    return {
        "corpus": summary.corpus,
        "languages": f"{summary.source_lang}-{summary.target_lang}",
        "read": summary.read,
        "refused": dict(summary.refused),
        "not_sampled": summary.not_sampled,
        "written": summary.written,
        "cpu_seconds": summary.seconds,
        "peak_rss_bytes": summary.peak_rss_bytes,
    }


def _row(summary: CorpusSummary) -> dict[str, Any]:
    return {
        "corpus": summary.corpus,
        "languages": f"{summary.source_lang}-{summary.target_lang}",
        "read": summary.read,
        "refused": sum(summary.refused.values()),
        "not sampled": summary.not_sampled,
        "written": summary.written,
        "pairs/s and core": round(summary.read / summary.seconds) if summary.seconds else None,
    }


def plan(config: PrepareConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    preparation = CorpusPreparation.plan(config)
    preparation.run.check()
    plans: dict[str, str] = {}
    for archive in preparation.archives:
        pair = (archive.source_lang, archive.target_lang)
        state = "pending" if preparation.summary_of(pair) is None else "done"
        # A corpus may lie in several files.
        name = f"{archive.corpus} {'-'.join(pair)}"
        before = f"{plans[name]}, " if name in plans else ""
        plans[name] = f"{before}{without_credentials(archive.path)} ({state})"
    return plans


if __name__ == "__main__":
    run_job(PrepareConfig, main, plan)
