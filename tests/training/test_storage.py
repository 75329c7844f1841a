"""Training whose checkpoints and model lie on a store that has bad days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xner.models.folders import content_hash, resolve
from xner.shards.storage import Folder
from xner.training import places
from xner.training.tagger import train_tagger

BAD_DAY = {"busy": 0.1, "failed": 0.04, "cut": 0.06, "lost": 0.06, "slow": 0.04}


class _KilledError(BaseException):
    pass


def test_storage_training_on_s3_is_killed_and_ends_as_on_disk(
    tagger_recipe: Any, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "hf"))
    short = {"epochs": 2}
    expected = train_tagger(tagger_recipe(optimization=short))
    recipe = tagger_recipe(output="s3://bucket/tagger", optimization=short)
    s3.set(**BAD_DAY)
    commit = places.InProcess.commit

    def killed(place: places.InProcess, *arguments: Any) -> None:
        commit(place, *arguments)
        raise _KilledError

    with monkeypatch.context() as patched:
        patched.setattr(places.InProcess, "commit", killed)
        with pytest.raises(_KilledError):
            train_tagger(recipe)
    assert Folder.at("s3://bucket/tagger").names() == []
    found = train_tagger(recipe)
    assert s3.num_faults > 5
    assert found["metrics"] == expected["metrics"] and found["steps"] == expected["steps"]
    assert content_hash(resolve("s3://bucket/tagger")) == content_hash(tmp_path / "model")
    # Nothing is left of the run.
    assert Folder.at("s3://bucket/tagger.training").names() == []
