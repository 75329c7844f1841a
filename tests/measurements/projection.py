"""`make measure-projection DATA=folder`: real models label real text, in figures and sentences.

A word aligner learns from the pairs. A teacher and an entity aligner are trained from one English
encoder: the teacher on English text that people labelled, the aligner on names that stand verbatim
on both sides of a pair, that tables of names know, or that the word links find. Then the main job
labels the German side of real pairs on Ray, by word links and aligner together. Every step is a job
in a process of its own, as a user runs it, and its recipe stays beside its output.

``rows``, ``status``, ``reasons`` and ``mentions`` are counted from the footers of the shards;
``pairs_per_second`` is that of the main job with its models loaded and its Ray started anew.
``seconds`` are those of each step, start included. ``teacher_f1_europarl_en`` and
``europarl_de_f1`` are strict and typed, on sentences that no model was trained on: of the teacher
on English, and of the gold English mentions projected onto German as the main job does it;
``europarl_de_ceiling`` is what a perfect projector has there. ``word_aligner`` is what
train_word_aligner says of its training.
``examples`` are the first rows by pair_id, which is a hash, that have a source mention: so many
accepted ones and so many refused.

A step that is done is not done again; `rm -r runs/measure-projection` begins anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from aligner import europarl
from steps import (
    EUROPARL,
    NAME_TABLES,
    PROJECT,
    TAGGED_FILES,
    Steps,
    data_and_encoder,
    read_json,
    teacher_recipe,
)

from xner.config import AlignerConfig, LinksConfig, ModelConfig, QualityConfig, TaggedSourceConfig
from xner.corpora.tagged import LABEL_MAPS, read_tagged
from xner.evaluation.projection import ProjectionReport, evaluate
from xner.evaluation.projection_run import project_gold
from xner.evaluation.scoring import Scores, score_tags
from xner.models.tagger import Tagger
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards import schema
from xner.shards.ledger import SHARD
from xner.shards.storage import Folder

OUTPUT = PROJECT / "runs" / "measure-projection"

CORPORA = ["Tatoeba", "WMT-News"]

# Shards enough that teacher and aligner work side by side most of the time.
PAIRS, SHARD_PAIRS = 24_000, 1000
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
    steps = Steps(OUTPUT)
    seconds = run_jobs(steps, data, encoder)
    made = {name: read_json(OUTPUT / name / "training.json") for name in ("teacher", "aligner")}
    projected = steps.summary("pseudo")
    of_teacher = score_teacher(data)
    of_projection = score_projection(data)
    summary = {
        "rows": projected["rows"],
        "status": {status: projected["status"].get(status, 0) for status in schema.STATUSES},
        "reasons": projected["reasons"],
        "mentions": projected["mentions"],
        "pairs_per_second": projected["this_run"]["pairs_per_second"],
        "seconds_by_stage": projected["this_run"]["seconds_by_step"],
        "seconds": {**seconds, "all": sum(seconds.values())},
        "teacher_f1_europarl_en": of_teacher.overall.f1,
        "europarl_de_f1": of_projection.typed.overall.f1,
        "europarl_de_ceiling": of_projection.ceiling.overall.f1,
        "europarl": {
            "teacher_en": of_teacher.to_dict(),
            "projection_de": of_projection.typed.to_dict(),
        },
        "training": {
            name: {key: each[key] for key in ("steps", "seconds", "tokens", "metrics")}
            for name, each in made.items()
        },
        "word_aligner": steps.summary("links"),
        "aligner_examples": steps.summary("examples")["languages"],
        "examples": chosen_rows(OUTPUT / "pseudo"),
    }
    show(summary)
    write_summary(Folder.at(str(OUTPUT)), summary)


# The steps


def run_jobs(steps: Steps, data: Path, encoder: Path) -> dict[str, float]:
    """From the archives to the labelled pairs; seconds of each job."""
    pairs, links = str(OUTPUT / "pairs"), {"model": str(OUTPUT / "links")}
    return {
        "prepare_corpus": steps.run(
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
        "train_word_aligner": steps.run("train_word_aligner", "links", {"pairs": [pairs]}),
        "build_alignment_set": steps.run(
            "build_alignment_set",
            "examples",
            {
                "pairs": [pairs],
                "tables": [str(data / table) for table in NAME_TABLES],
                "bitext": {"links": links},
            },
        ),
        "train_teacher": steps.run("train_tagger", "teacher", teacher_recipe(data, encoder)),
        "train_aligner": steps.run(
            "train_aligner",
            "aligner",
            {
                "encoder": str(encoder),
                "layout": "packed",
                "examples": [str(OUTPUT / "examples")],
                "optimization": {**ALIGNER_TRAINING, "num_workers": 0},
            },
        ),
        "project_corpus": steps.run(
            "project_corpus",
            "pseudo",
            {
                "pairs": pairs,
                "teacher": {"model": str(OUTPUT / "teacher")},
                "aligner": {"model": str(OUTPUT / "aligner"), "links": links},
                "engine": {"num_cpus": NUM_CPUS},
            },
        ),
    }


# Scores on Europarl


def score_teacher(data: Path) -> Scores:
    """The teacher's tags of the gold English words."""
    path, label_map = str(data / EUROPARL.format(lang="en")), LABEL_MAPS["europarl"]
    english = read_tagged(TaggedSourceConfig(path=path, lang="en", label_map=label_map))
    tagger = Tagger(ModelConfig(model=str(OUTPUT / "teacher")))
    predicted = tagger.tag([s.text for s in english], [s.words for s in english])
    return score_tags([s.tags for s in english], predicted)


def score_projection(data: Path) -> ProjectionReport:
    """The gold English mentions projected onto German, with the main job's settings."""
    gold = europarl(data, "de")
    links = LinksConfig(model=str(OUTPUT / "links"))
    config = AlignerConfig(model=str(OUTPUT / "aligner"), links=links)
    return evaluate(gold, project_gold(gold, config, QualityConfig()))


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
            "a perfect projector there": summary["europarl_de_ceiling"],
            **{f"seconds: {step}": seconds for step, seconds in summary["seconds"].items()},
        },
    )
    print()
    for row in summary["examples"]:
        verdict = ": ".join(filter(None, (row["status"], row["reason"])))
        print(f"{verdict} ({row['corpus']})\n  en  {row['source']}\n  de  {row['target']}")


# The command line


def needed_data() -> list[str]:
    """What must lie below DATA."""
    by_lang = [
        path.replace("{lang}", lang) for path in (*NAME_TABLES, EUROPARL) for lang in ("en", "de")
    ]
    return ["opus", *TAGGED_FILES, *dict.fromkeys(by_lang)]


def main(arguments: Sequence[str]) -> None:
    """Measure; without the data, say what is needed and exit with 2."""
    what = "Real models on real text, in figures."
    data, encoder = data_and_encoder(arguments, what, USAGE, needed_data())
    configure_logging()
    measure(data, encoder)


if __name__ == "__main__":
    main(sys.argv[1:])
