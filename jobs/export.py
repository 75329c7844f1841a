"""Take pseudo-labelled rows to other tools: as a data set of the hub, for spaCy, for annotators.

Reads shards of project_corpus, relabel or refilter, and writes one file for each in the format
asked for. Files that are already in the output folder are not written again, so after a crash the
same command goes on. What annotators made of exported rows is read back as tagged text: the export
of Label Studio with format = "label-studio", that of Prodigy with format = "jsonl".
"""

from __future__ import annotations

from collections.abc import Mapping

from xner.command_line import run_job
from xner.config import ExportConfig
from xner.corpora.export import CorpusExport, Exported
from xner.report.dataset_card import dataset_card
from xner.report.hub import check_name, push_dataset
from xner.report.terminal import print_summary, track, write_summary
from xner.shards.lease import Lease


def main(config: ExportConfig) -> None:
    """Write what is pending, then say what the output folder holds, and upload it if asked to."""
    export = _planned(config)
    with export.run.held() as lease:
        write(export, lease)
    if config.push_to is not None:
        print(f"uploaded: {push_dataset(export.run.folder, config.push_to, config.public)}")


def _planned(config: ExportConfig) -> CorpusExport:
    """The export with its shards counted, and the name that it shall have on the hub looked at."""
    if config.push_to is not None:
        check_name(config.push_to)
    return CorpusExport.plan(config)


def write(export: CorpusExport, lease: Lease) -> None:
    """Write what is pending, and show what the output folder holds."""
    parts = track(
        export.export(),
        description="export",
        total_shards=len(export.names),
        already_done=0,
        statistics_of=lambda part: part.statistics,
    )
    exported = Exported()
    for part in parts:
        lease.check()
        exported += part
    folder, statistics = export.run.folder, exported.statistics
    if export.config.format == "datasets":
        folder.publish("README.md", dataset_card(export, exported).encode())
    write_summary(
        folder,
        {
            **statistics.to_dict(),
            "mentions": exported.mentions,
            "files": exported.files,
            "corpora": exported.corpora,
            "languages": exported.languages,
        },
    )
    rows: dict[str, int] = {"files": exported.files, "rows": statistics.rows}
    rows |= {f"rows of {corpus}": count for corpus, count in exported.corpora.most_common()}
    rows |= {f"mentions {label}": count for label, count in sorted(exported.mentions.items())}
    print_summary(f"export: {folder}", rows)


def plan(config: ExportConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    export = _planned(config)
    export.run.check()
    return {
        "shards": str(len(export.names)),
        "rows": str(export.num_rows),
        "format": config.format,
        "upload to": config.push_to or "nowhere",
    }


if __name__ == "__main__":
    run_job(ExportConfig, main, plan)
