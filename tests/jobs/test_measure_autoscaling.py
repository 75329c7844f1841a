"""The measurement of autoscaling: made-up GPU nodes come and go, and a pool with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "measurements" / "autoscaling.py"


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_autoscaling_grows_with_the_queue_and_shrinks_when_idle(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sizes = json.loads((tmp_path / "sizes.json").read_text())
    assert [size["seconds"] for size in sizes] == sorted(size["seconds"] for size in sizes)
    gpus = [size["gpus"] for size in sizes]
    assert gpus[0] == gpus[-1] == 0 < max(gpus)
    assert sizes[0]["nodes"] == sizes[-1]["nodes"] == 1
    busy = [size for size in sizes if size["actors"]["label"]]
    assert busy and all(size["gpus"] >= size["actors"]["label"] for size in busy)
    actors = [size["actors"]["label"] for size in sizes]
    assert max(actors) == 2 and actors[0] == actors[-1] == 0
    assert sizes[-1]["actors"] == {"label": 0, "align": 0}
