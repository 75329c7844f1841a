"""Label the source side of parallel text and project the labels onto the target side.

Reads pairs shards, writes one pseudo-labelled shard for each under the same name. Shards that are
already in the output folder are not computed again, so after a crash the same command goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from xner.command_line import run_job
from xner.config import PoolConfig, ProjectConfig
from xner.engine.recipes import CorpusProjection
from xner.report.labelling import label_pending


def main(config: ProjectConfig) -> None:
    """Run what is pending, then say what the output folder holds."""
    projection = CorpusProjection.plan(config)
    label_pending("project_corpus", projection.run, projection.pairs, projection.run_pending)


def plan(config: ProjectConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    projection = CorpusProjection.plan(config)
    projection.run.check()
    return {
        "shards pending": str(len(projection.run.pending(projection.pairs))),
        "shards done": str(len(projection.run.done())),
        "entity types": ", ".join(projection.labels),
        "teacher": f"{config.teacher.model}, {_resources(config.teacher.pool)}",
        "aligner": f"{config.aligner.witnesses}, {_resources(config.aligner.pool)}",
        "engine": config.engine.kind,
    }


def _resources(pool: PoolConfig | None) -> str:
    if pool is None:
        return "in the teacher's actors"
    return f"{pool.min_size} to {pool.max_size} actors of {pool.num_cpus} CPU, {pool.num_gpus} GPU"


if __name__ == "__main__":
    run_job(ProjectConfig, main, plan)
