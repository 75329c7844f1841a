"""Train a word aligner on pairs shards of one language pair: by counting, without a GPU.

Writes a folder that `[aligner.links]` of project_corpus and evaluate_projection can name. The
same command again has nothing to do where the folder is whole, and starts anew where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping

from xner.command_line import run_job
from xner.config import TrainWordAlignerConfig
from xner.models.hmm import SETTINGS_FILE, languages_of
from xner.report.terminal import count_up, print_summary
from xner.shards.storage import Folder
from xner.training.word_aligner import shards, train_word_aligner


def main(config: TrainWordAlignerConfig) -> None:
    """Train, or say that it is done."""
    with count_up("pairs", "pairs") as report:
        summary = train_word_aligner(config, report)
    print_summary(f"train_word_aligner: {config.output}", summary.pop("rounds"))
    print_summary(
        f"word aligner {'-'.join(languages_of(Folder.at(config.output)))}",
        {key.replace("_", " "): value for key, value in summary.items()},
    )


def plan(config: TrainWordAlignerConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    output = Folder.at(config.output)
    found = "a word aligner stands here" if output.exists(SETTINGS_FILE) else "to be trained"
    return {"shards": str(len(shards(config.pairs))), "output": f"{output}: {found}"}


if __name__ == "__main__":
    run_job(TrainWordAlignerConfig, main, plan)
