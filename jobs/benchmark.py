"""Measure how fast this machine labels, aligns and projects, against what others would run.

Needs no model and no text: weights are random, of the shape of a well-known encoder, and the
sentences are made. Prints rates and ratios, and writes them to summary.json.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from xner.command_line import run_job
from xner.config import BenchmarkConfig
from xner.report.terminal import print_summary, write_summary
from xner.shards.storage import Folder

_log = logging.getLogger("xner.benchmark")


def main(config: BenchmarkConfig) -> None:
    """Measure, keep the summary, and show it."""
    # torch takes seconds to come: --help and a wrong recipe do not wait for it.
    from xner.evaluation.benchmark import measure

    output = Folder.at(config.output)
    output.require_writable()
    summary = measure(config, _log.info)
    write_summary(output, summary)
    print_summary("benchmark", shown(summary))
    print_summary("What the same text would cost (computed)", summary["costs"])


def plan(config: BenchmarkConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    training = f"{config.training_steps} steps of {config.training_tokens:,} sub-words"
    return {
        "text": f"{config.num_pairs:,} pairs of {config.pairs or 'made sentences'}",
        "encoder": config.encoder,
        "contestants": ", ".join(["ours", *config.opponents]),
        "rounds": str(config.repetitions),
        "training": training if config.training_steps else "left out",
        "Ray": f"about {config.ray_seconds:g} s each way" if config.ray_seconds else "left out",
        "output": str(Folder.at(config.output)),
    }


def shown(summary: Mapping[str, Any]) -> dict[str, str]:
    """The figures for people; what could not be measured with the reason."""
    machine, left_out = summary["machine"], summary["left_out"]
    return {
        "machine": f"{machine['cpu']}, {machine['device']}, {machine['num_threads']} threads",
        "text": f"{summary['pairs']} pairs, {summary['mentions']} mentions",
        "encoder": summary["encoder"],
        **{f"pairs/s: {name}": f"{rate:.1f}" for name, rate in summary["pairs_per_second"].items()},
        **{
            f"ratio: {name}": left_out.get(name, "not measured")
            if ratio is None
            else f"{ratio:.2f}"
            for name, ratio in summary["ratios"].items()
        },
        **(
            {"rows aligned as by the pipelines": f"{summary['equal_alignments']:.1%}"}
            if "equal_alignments" in summary
            else {}
        ),
        "padding": f"{summary['padding_share']:.1%} of the computed sub-words",
        "time of the device": f"{summary['device_share']:.1%} of the wall time",
        "of the peak of matrix products": f"{summary['matmul_share']:.1%}",
        **{
            f"in bf16: {name.replace('_', ' ')}": f"{share:.1%}"
            for name, share in summary.get("bf16", {}).items()
        },
        **{
            f"training: {name.replace('_', ' ')}": f"{value:.3g}" if name != "precision" else value
            for name, value in summary.get("training", {}).items()
        },
    }


if __name__ == "__main__":
    run_job(BenchmarkConfig, main, plan)
