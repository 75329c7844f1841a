"""The script that lets GLiNER label text; the package is played: it wants older transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from xner.config import TaggedSourceConfig
from xner.corpora.tagged import read_tagged
from xner.shards.storage import Folder
from xner.text.iob2 import decode

PROJECT = Path(__file__).resolve().parents[2]

# As gliner 0.2.29 answers: it cuts other words, and may mark what overlaps in ours.
PLAYED = """
from types import SimpleNamespace

class GLiNER:
    config = SimpleNamespace(max_len=8)

    @classmethod
    def from_pretrained(cls, folder, map_location):
        return cls()

    def inference(self, texts, labels, threshold, batch_size):
        assert labels == ["person", "city"] and threshold == 0.5
        marks = [("Merkel", "person", 0.9), ("rkel", "city", 0.6), ("Köln", "city", 0.7)]
        return [
            [
                {"start": t.index(n), "end": t.index(n) + len(n), "label": l, "score": s}
                for n, l, s in marks if n in t
            ]
            for t in texts
        ]
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "encoder").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "encoder" / "config.json").write_text('{"model_type": "bert"}')
    config = {"model_name": str(folder / "encoder"), "labels_encoder": None}
    (folder / "gliner_config.json").write_text(json.dumps(config))
    return folder


def label(model: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "played").mkdir(exist_ok=True)
    (folder / "played" / "gliner.py").write_text(PLAYED)
    texts = ["😀 Merkel visits Köln-Deutz.", "Nothing.", "Nothing.", " ".join(["long"] * 9)]
    Folder.at(str(folder / "pairs")).publish_table("en-de/0.parquet", pa.table({"source": texts}))
    script = PROJECT / "jobs" / "recipes" / "gliner" / "label_text.py"
    options = ["--model", str(model), "--pairs", str(folder / "pairs")]
    options += ["--output", str(folder / "out" / "labelled.jsonl"), "--labels", "person", "city"]
    path = os.pathsep.join([str(PROJECT), str(folder / "played")])
    return subprocess.run(
        [sys.executable, str(script), *options],
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )


def test_gliner_recipe_writes_what_a_teacher_learns_from(model: Path, tmp_path: Path) -> None:
    done = label(model, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 sentences, 2 mentions" in done.stdout
    path = str(tmp_path / "out" / "labelled.jsonl")
    first, second = read_tagged(TaggedSourceConfig(path=path, format="jsonl"))
    found = [(first.text[m.start : m.end], m.label) for m in decode(first.tags, first.words)]
    assert found[0] == ("Merkel", "person")
    assert found[1][0].startswith("Köln") and found[1][1] == "city" and len(found) == 2
    assert second.text == "Nothing." and set(second.tags) == {"O"}


def test_gliner_recipe_refuses_pickles_and_code(model: Path, tmp_path: Path) -> None:
    code = {"model_type": "bert", "auto_map": {"AutoModel": "theirs.Model"}}
    (model / "encoder" / "config.json").write_text(json.dumps(code))
    done = label(model, tmp_path)
    assert done.returncode == 1 and "has code of its own" in done.stderr
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    done = label(model, tmp_path)
    assert done.returncode == 1 and "no model.safetensors" in done.stderr
    assert not (tmp_path / "out").exists()
