"""Look at pseudo-labelled rows: what came of every pair, and the pairs themselves, as one page.

Reads shards of project_corpus, refilter or relabel and, where asked to, what other jobs found, and
writes index.html. It needs neither a network nor a server. Counts are of all rows; those to look at
are a fixed sample with every verdict in it. Sliders tell what other thresholds would leave of the
whole run; refilter then writes the shards.
"""

from __future__ import annotations

from collections.abc import Mapping

from xner.command_line import run_job
from xner.config import ReportConfig
from xner.report.census import Census
from xner.report.corpus import CorpusReport
from xner.report.sample import Sample
from xner.report.terminal import print_summary, track
from xner.shards.storage import Folder


def main(config: ReportConfig) -> None:
    """Count all shards, draw the rows to look at, and write the page."""
    report = CorpusReport.plan(config)
    Folder.at(config.output).require_writable()
    sample = Sample(config.max_rows, config.seed)
    parts = track(
        report.read(sample),
        description="report",
        total_shards=len(report.names),
        already_done=0,
        statistics_of=lambda census: census.statistics,
    )
    census = sum(parts, start=Census())
    rows = sample.rows()
    page = report.write(census, rows)
    print_summary(
        f"report: {report.pseudo}",
        {
            "pairs": census.num_rows,
            "pairs kept": census.num_ok,
            "labels in them": census.num_labels,
            "pairs to look at": rows.num_rows,
            "report": page,
        },
    )


def plan(config: ReportConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    report = CorpusReport.plan(config)
    return {
        "shards": str(len(report.names)),
        "labelled by": str(report.made_by.get("job", "nobody that tells")),
        "thresholds to choose": "no" if report.quality is None else "yes",
        "parts about other jobs": ", ".join(part.heading for part in report.results) or "none",
        "output": str(Folder.at(config.output)),
    }


if __name__ == "__main__":
    run_job(ReportConfig, main, plan)
