"""The curves of a run as TensorBoard shows them, with --logdir any folder above the run.

Each checkpoint brings one event file, with the points since the checkpoint before, into the run's
folder, whence they all go into the model folder. What a file holds depends on the checkpoints
alone, so a run that was killed and went on has the curves of one that was not.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from xner.shards.ledger import RUN_FILE
from xner.shards.storage import Folder
from xner.training.loop import State

#: How the names of event files begin; TensorBoard reads them in the order of their names.
EVENTS = "events.out.tfevents."


class Curves:
    """Writes a run's curves, and its settings from ``run.json``, into its folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def __call__(self, before: State, after: State, learning_rate: Callable[[int], float]) -> None:
        """The event file of what came between two checkpoints; steps count from 0."""
        from tensorboardX import SummaryWriter

        with tempfile.TemporaryDirectory(prefix="xner-events-") as name:
            with SummaryWriter(name) as writer:
                if not before.step:
                    settings = json.dumps(self._folder.read_record(RUN_FILE), indent=2)
                    writer.add_text("settings", f"```\n{settings}\n```", 0)
                for step, loss in after.curve:
                    if step > before.step:
                        writer.add_scalar("step/loss", loss, step)
                        writer.add_scalar("step/learning_rate", learning_rate(step - 1), step)
                for record in after.epochs[len(before.epochs) :]:
                    for key, value in record.items():
                        if key != "step":
                            writer.add_scalar(f"epoch/{key}", value, int(record["step"]))
                seconds = after.seconds - before.seconds
                if seconds > 0:
                    rate = (after.tokens - before.tokens) / seconds
                    writer.add_scalar("step/subwords_per_second", rate, after.step)
            (file,) = Path(name).glob(f"{EVENTS}*")
            self._folder.publish(f"{EVENTS}{after.step:010d}.xner", file.read_bytes())
