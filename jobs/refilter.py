"""Judge pseudo-labelled rows again by other rules, from the scores that the shards keep.

Reads shards of project_corpus, or of this job, and writes one for each under the same name, as
project_corpus would have written it under these rules: no model runs. Shards that are already in
the output folder are not computed again, so after a crash the same command goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from xner.command_line import run_job
from xner.config import RefilterConfig
from xner.engine.recipes import CorpusRefiltering
from xner.report.labelling import label_pending


def main(config: RefilterConfig) -> None:
    """Run what is pending, then say what the output folder holds."""
    refiltering = CorpusRefiltering.plan(config)
    label_pending("refilter", refiltering.run, refiltering.pseudo, refiltering.run_pending)


def plan(config: RefilterConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    refiltering = CorpusRefiltering.plan(config)
    refiltering.run.check()
    return {
        "shards pending": str(len(refiltering.run.pending(refiltering.pseudo))),
        "shards done": str(len(refiltering.run.done())),
        "entity types": ", ".join(refiltering.labels),
        "engine": config.engine.kind,
    }


if __name__ == "__main__":
    run_job(RefilterConfig, main, plan)
