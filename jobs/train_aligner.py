"""Train an entity aligner on examples of names and where they stand in a text.

Writes a model folder, with the run's summary in training.json. After a crash the same command goes
on after the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from xner.command_line import run_job
from xner.config import TrainAlignerConfig
from xner.engine.choose import connect_for_training
from xner.errors import without_credentials
from xner.report.terminal import print_summary


def main(config: TrainAlignerConfig) -> None:
    """Train, or say that it is done."""
    # torch takes seconds to come: --help and a wrong recipe do not wait for it.
    from xner.training.aligner import train_aligner
    from xner.training.runs import as_rows

    connect_for_training(config.engine, config.optimization)
    summary = train_aligner(config)
    print_summary(f"train_aligner: {config.output}", as_rows(summary))


def plan(config: TrainAlignerConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    from xner.training.aligner import fingerprint_of
    from xner.training.runs import state_of

    return {
        "starts from": without_credentials(config.encoder),
        **state_of(
            config.output,
            config.optimization,
            reads=config.examples,
            job="train_aligner",
            fingerprint=partial(fingerprint_of, config),
        ),
    }


if __name__ == "__main__":
    run_job(TrainAlignerConfig, main, plan)
