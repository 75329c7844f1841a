"""Train a tagger: the teacher on labelled text, a student on pseudo-labelled shards.

Writes a Hugging Face folder with a model card, the run's summary in training.json and what it was
trained and selected on in data.json. After a crash the same command goes on after the last
checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from xner.command_line import run_job
from xner.config import TrainTaggerConfig
from xner.engine.choose import connect_for_training
from xner.errors import without_credentials
from xner.report.card import write_tagger_card
from xner.report.terminal import print_summary


def main(config: TrainTaggerConfig) -> None:
    """Train, or say that it is done."""
    # torch takes seconds to come: --help and a wrong recipe do not wait for it.
    from xner.training.runs import as_rows
    from xner.training.tagger import train_tagger

    connect_for_training(config.engine, config.optimization)
    summary = train_tagger(config)
    write_tagger_card(config, summary)
    print_summary(f"train_tagger: {config.output}", as_rows(summary))


def plan(config: TrainTaggerConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    from xner.training.runs import state_of
    from xner.training.tagger import fingerprint_of

    return {
        "starts from": without_credentials(config.encoder),
        **state_of(
            config.output,
            config.optimization,
            reads=[source.path for source in (*config.data, *config.dev)],
            job="train_tagger",
            fingerprint=partial(fingerprint_of, config),
        ),
    }


if __name__ == "__main__":
    run_job(TrainTaggerConfig, main, plan)
