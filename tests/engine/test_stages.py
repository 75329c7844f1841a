"""What a stage adds to its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xner.config import AlignerConfig
from xner.engine import stages
from xner.models.aligner import AlignerSettings
from xner.shards import schema


@pytest.mark.parametrize(("bias", "score"), [(0.0, 0.9), (-np.log(9), 0.5)])
def test_stages_calibrate_as_the_folder_of_the_aligner_says(
    monkeypatch: pytest.MonkeyPatch, bias: float, score: float
) -> None:
    class FirstWord:
        settings = AlignerSettings(layout="packed", score_bias=bias)

        def __init__(self, config: AlignerConfig) -> None:
            pass

        def align(self, requests: Any) -> list[np.ndarray]:
            return [np.array([[0.9, 0, 0]], dtype=np.float32) for _ in requests]

    monkeypatch.setattr(stages, "Aligner", FirstWord)
    row = {
        "pair_id": "1",
        "corpus": "made",
        "source_lang": "en",
        "target_lang": "de",
        "source": "Rome is old",
        "target": "Rom ist alt",
        "source_mentions": [{"start": 0, "end": 4, "label": "LOC", "score": 1.0}],
    }
    table = stages.Align(AlignerConfig(model="made"))(pa.Table.from_pylist([row], schema.LABELLED))
    [[found]] = table["alignments"].to_pylist()
    assert (found["start"], found["end"]) == (0, 3)
    assert found["score"] == pytest.approx(score, abs=1e-3)
