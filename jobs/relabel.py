"""Ask a student what it finds in pseudo-labelled text, and combine that with the labels there.

A round of self-training is this job and another train_tagger on its output. Reads shards of
project_corpus, or of this job, and writes one for each under the same name. Shards that are already
in the output folder are not computed again, so after a crash the same command goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from xner.command_line import run_job
from xner.config import RelabelConfig
from xner.engine.recipes import CorpusRelabelling
from xner.report.labelling import label_pending


def main(config: RelabelConfig) -> None:
    """Run what is pending, then say what the output folder holds."""
    relabelling = CorpusRelabelling.plan(config)
    label_pending("relabel", relabelling.run, relabelling.pseudo, relabelling.run_pending)


def plan(config: RelabelConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    relabelling = CorpusRelabelling.plan(config)
    relabelling.run.check()
    return {
        "shards pending": str(len(relabelling.run.pending(relabelling.pseudo))),
        "shards done": str(len(relabelling.run.done())),
        "entity types": ", ".join(relabelling.labels),
        "student": config.student.model,
        "combine": config.combine,
        "engine": config.engine.kind,
    }


if __name__ == "__main__":
    run_job(RelabelConfig, main, plan)
