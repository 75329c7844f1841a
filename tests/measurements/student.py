"""`make measure-student DATA=folder`: students on pseudo-labelled text, in figures.

An English encoder (MiniLM) becomes the teacher on labelled English. It labels the English side of
real pairs in German, Spanish, Dutch and Chinese; word links learned from the same archives place
the mentions; students go on from the teacher on what comes out, where there is gold to score them.
Nothing is chosen by target gold: a student's epoch is selected on held-out pseudo-labels. Every
step is a job in a process of its own.

Strict F1 of each gold set: ``student``; ``transfer``, the teacher itself on the target language;
``supervised``, the same encoder on labelled text of the target language (GermEval's dev set,
GSDSIMP's training set); ``share``, the student's of the supervised one's. ``germeval`` takes
GermEval's OTH for MISC, though adjectives of nationality are MISC to the teacher and no names to
GermEval; ``germeval_per_loc_org`` leaves that type out. ``losses``: each loss with three seeds on a
smaller sample of the German labels: ``mean`` and ``std`` (of a sample) of F1 on GermEval.
``teacher_en``: the teacher on English Europarl.

A step that is done is not done again; `rm -r runs/measure-student` begins anew.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steps import EUROPARL, PROJECT, TAGGED_FILES, Steps, data_and_encoder, teacher_recipe

from xner.corpora.tagged import LABEL_MAPS
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards.storage import Folder

OUTPUT = PROJECT / "runs" / "measure-student"

LANGUAGES = ["de", "es", "nl", "zh"]
CORPORA = ["Tatoeba", "WMT-News"]
PAIRS = 24_000
# Of these all the news is labelled besides.
NEWS_LANGUAGES = ["de", "es"]

IN_PROCESS = {"batch_tokens": 1024, "learning_rate": 3e-4, "num_workers": 0}
# A third of the time on a CPU.
NO_DROPOUT = {"dropout": 0.0}
LOSSES: dict[str, dict[str, Any]] = {
    "cross_entropy": {"name": "cross_entropy"},
    "opposite_focal": {"name": "opposite_focal", "form": "shifted", "gamma": 1.0},
}
# The encoder knows Latin letters, and of Chinese not even most characters.
NEW_CHARACTERS = {"zh": {"new_characters": 3, "word_aligner": str(OUTPUT / "links-zh")}}
# How a student learns: from all that was accepted of the news, German and Spanish of a sample of
# Tatoeba too. The Chinese one is the mean of three, which learn from as many copies with other
# names, and no label is doubted. `American` is a MISC to the teacher; in Chinese it is the name of
# the country, which is a place to a gold that knows three types.
STUDENTS: dict[str, dict[str, Any]] = {
    **{
        lang: {
            "loss": "opposite_focal",
            "epochs": 2,
            "sources": {f"pseudo-news-{lang}": {}, f"pseudo-{lang}": {"corpora": ["Tatoeba"]}},
        }
        for lang in NEWS_LANGUAGES
    },
    "zh": {
        "loss": "cross_entropy",
        "epochs": 2,
        "soup": 3,
        "sources": {
            "pseudo-zh": {
                "corpora": ["WMT-News"],
                "replacements": 1,
                "label_map": {"PER": "PER", "LOC": "LOC", "ORG": "ORG", "MISC": "?"},
            }
        },
    },
}
LOSS_SENTENCES, LOSS_EPOCHS, SEEDS = 4_000, 2, (0, 1, 2)

GERMEVAL = "ner/de/{part}.tsv"
GSDSIMP = "ner/zh/zh_gsdsimp-ud-{part}.iob2"
SUPERVISED_LANGUAGES = ("de", "zh")
GOLD_OF = {
    "de": ("germeval", "germeval_per_loc_org", "europarl_de"),
    "es": ("europarl_es",),
    "zh": ("gsdsimp",),
}

USAGE = """\
make measure-student needs real data: make measure-student DATA=<folder>
  <folder>/opus             OPUS-<Corpus>/<version>/moses/*.txt.zip of Tatoeba and WMT-News
  <folder>/ner/en           wikigold, WNUT17, BTC, and Universal NER of the English Web Treebank
  <folder>/ner/de           GermEval 2014: dev.tsv, test.tsv
  <folder>/ner/zh           Universal NER GSDSIMP: train, dev, test
  <folder>/projection_gold  {en,de,es}-europarl.test.conll02"""


def measure(data: Path, encoder: Path) -> None:
    """Run the jobs that are not done, score, print, and write summary.json."""
    steps = Steps(OUTPUT)
    seconds = label(steps, data, encoder)
    seconds |= train_supervised(steps, data, encoder)
    seconds |= train_students(steps)
    seconds |= train_with_losses(steps)
    scores = score(steps, data)
    by_run, english = scores.pop("losses"), scores.pop("europarl_en")
    summary = {
        **{name: compared(found) for name, found in scores.items()},
        "losses": {loss: spread(by_run, loss) for loss in LOSSES},
        "teacher_en": english["transfer"],
        "labels": {lang: steps.summary(f"pseudo-{lang}") for lang in LANGUAGES},
        "seconds": {**seconds, "all": sum(seconds.values())},
    }
    show(summary)
    write_summary(Folder.at(str(OUTPUT)), summary)


# The steps


def label(steps: Steps, data: Path, encoder: Path) -> dict[str, float]:
    """From the archives and the labelled English to pseudo-labelled text; seconds of each step."""
    recipe = {
        "target_langs": LANGUAGES,
        "opus": {"root": str(data / "opus"), "corpora": CORPORA},
        "engine": {"kind": "inline"},
    }
    # Word links learn from all there is. Of German and Spanish a sample with equal shares of both
    # corpora is labelled, and all the news; of Chinese everything.
    sample = {**recipe, "sampling": {"pairs": PAIRS}}
    news = {
        **recipe,
        "target_langs": NEWS_LANGUAGES,
        "opus": {"root": str(data / "opus"), "corpora": ["WMT-News"]},
    }
    seconds = {
        "text": steps.run("prepare_corpus", "text", recipe),
        "pairs": steps.run("prepare_corpus", "pairs", sample),
        "news": steps.run("prepare_corpus", "news", news),
        "teacher": steps.run("train_tagger", "teacher", teacher_recipe(data, encoder)),
    }
    for lang in LANGUAGES:
        links = f"links-{lang}"
        text = str(OUTPUT / "text" / f"en-{lang}")
        seconds[links] = steps.run("train_word_aligner", links, {"pairs": [text]})
        labelled = {f"pseudo-{lang}": "text" if lang == "zh" else "pairs"}
        if lang in NEWS_LANGUAGES:
            labelled[f"pseudo-news-{lang}"] = "news"
        for step, pairs in labelled.items():
            seconds[step] = steps.run(
                "project_corpus",
                step,
                {
                    "pairs": str(OUTPUT / pairs / f"en-{lang}"),
                    "teacher": {"model": str(OUTPUT / "teacher")},
                    "aligner": {"links": {"model": str(OUTPUT / links)}},
                    "engine": {"kind": "inline"},
                },
            )
    return seconds


def train_supervised(steps: Steps, data: Path, encoder: Path) -> dict[str, float]:
    """The same encoder on labelled text of the target language: the bound; seconds of each."""
    return {
        "supervised-de": steps.run(
            "train_tagger",
            "supervised-de",
            {
                "encoder": str(encoder),
                "data": [germeval(data, "dev")],
                **NO_DROPOUT,
                "optimization": {**IN_PROCESS, "epochs": 8, "dev_share": 0.1},
            },
        ),
        "supervised-zh": steps.run(
            "train_tagger",
            "supervised-zh",
            {
                "encoder": str(encoder),
                **NEW_CHARACTERS["zh"],
                "data": [gsdsimp(data, "train")],
                "dev": [gsdsimp(data, "dev")],
                **NO_DROPOUT,
                "optimization": {**IN_PROCESS, "epochs": 4},
            },
        ),
    }


def train_students(steps: Steps) -> dict[str, float]:
    """One student a language, continued from the teacher; seconds of each."""
    return {
        f"student-{lang}": steps.run(
            "train_tagger",
            f"student-{lang}",
            student_recipe(lang, **settings),
        )
        for lang, settings in STUDENTS.items()
    }


def train_with_losses(steps: Steps) -> dict[str, float]:
    """German students that differ by loss and seed alone; seconds of each."""
    return {
        name: steps.run(
            "train_tagger",
            name,
            student_recipe(
                "de", loss, LOSS_EPOCHS, {"pseudo-de": {"max_sentences": LOSS_SENTENCES}}, seed
            ),
        )
        for name, (loss, seed) in loss_runs().items()
    }


def loss_runs() -> dict[str, tuple[str, int]]:
    """Loss and seed of each run of the comparison, by its name."""
    return {f"{loss}-{seed}": (loss, seed) for loss in LOSSES for seed in SEEDS}


def student_recipe(
    lang: str,
    loss: str,
    epochs: int,
    sources: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
    soup: int = 1,
) -> dict[str, Any]:
    """A student continued from the teacher; ``sources``: folder -> which of its rows it reads."""
    return {
        "encoder": str(OUTPUT / "teacher"),
        **NEW_CHARACTERS.get(lang, {}),
        "data": [
            {"path": str(OUTPUT / folder), "format": "pseudo", "lang": lang, **which}
            for folder, which in sources.items()
        ],
        **NO_DROPOUT,
        "loss": LOSSES[loss],
        "optimization": {**IN_PROCESS, "epochs": epochs, "seed": seed, "soup": soup},
    }


# Scores


def score(steps: Steps, data: Path) -> dict[str, dict[str, float]]:
    """Strict F1 by gold set and system; under ``losses`` by run, on GermEval."""
    golds = gold_sets(data)
    found: dict[str, dict[str, float]] = {}
    for step, (models, names) in evaluations().items():
        steps.run(
            "evaluate_tagger",
            step,
            {
                "models": [
                    {"name": name, "model": str(OUTPUT / folder)} for name, folder in models.items()
                ],
                "gold": [{"name": name, **golds[name]} for name in names],
                "engine": {"kind": "inline"},
            },
        )
        by_gold = steps.summary(step)["gold"]
        for name in names:
            found["losses" if step == "scores-losses" else name] = {
                model: by_gold[name]["models"][model]["strict"]["f1"] for model in models
            }
    return found


def evaluations() -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
    """By step: the systems with the folders of their models, and the gold they are scored on."""
    found = {"scores-en": ({"transfer": "teacher"}, ("europarl_en",))}
    for lang, golds in GOLD_OF.items():
        systems = {"transfer": "teacher", "student": f"student-{lang}"}
        if lang in SUPERVISED_LANGUAGES:
            systems["supervised"] = f"supervised-{lang}"
        found[f"scores-{lang}"] = (systems, golds)
    found["scores-losses"] = ({name: name for name in loss_runs()}, ("germeval",))
    return found


def compared(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores on a gold set, and the student's share of the supervised one's."""
    if "supervised" not in scores:
        return dict(scores)
    return {**scores, "share": scores["student"] / scores["supervised"]}


def spread(scores: Mapping[str, float], loss: str) -> dict[str, float]:
    """Mean and standard deviation (of a sample) over the seeds of a loss."""
    found = [scores[name] for name, (each, _) in loss_runs().items() if each == loss]
    return {"mean": statistics.mean(found), "std": statistics.stdev(found)}


def show(summary: Mapping[str, Any]) -> None:
    """Print the figures."""
    golds = [name for names in GOLD_OF.values() for name in names]
    systems = ("transfer", "student", "supervised", "share")
    print_summary(
        "Strict F1",
        [{"gold": name, **{each: summary[name].get(each) for each in systems}} for name in golds],
    )
    print_summary(
        f"F1 on GermEval, {len(SEEDS)} seeds, {LOSS_SENTENCES} sentences",
        [{"loss": loss, **found} for loss, found in summary["losses"].items()],
    )
    print_summary("English", {"teacher, F1 on English Europarl": summary["teacher_en"]})
    print_summary("Seconds", summary["seconds"])


# Gold


def gold_sets(data: Path) -> dict[str, dict[str, Any]]:
    """How each gold set is read, and how many entities it has."""
    return {
        "germeval": {**germeval(data, "test"), "num_entities": 5192},
        "germeval_per_loc_org": {
            **germeval(data, "test"),
            "label_map": {**LABEL_MAPS["germeval"], "OTH": "O"},
            "not_annotated": ["MISC"],
            "num_entities": 4495,
        },
        "gsdsimp": {**gsdsimp(data, "test"), "num_entities": 763, "not_annotated": ["MISC"]},
        **{
            f"europarl_{lang}": {
                "path": str(data / EUROPARL.format(lang=lang)),
                "lang": lang,
                "num_entities": number,
            }
            for lang, number in (("en", 702), ("de", 693), ("es", 697))
        },
    }


def germeval(data: Path, part: str) -> dict[str, Any]:
    """GermEval 2014, outer names, in the four types of CoNLL."""
    path, label_map = data / GERMEVAL.format(part=part), LABEL_MAPS["germeval"]
    columns = {"token_column": 1, "tag_column": 2}
    return {"path": str(path), "lang": "de", "label_map": label_map, **columns}


def gsdsimp(data: Path, part: str) -> dict[str, Any]:
    """Universal NER on the simplified Chinese GSD treebank, three types."""
    path, label_map = data / GSDSIMP.format(part=part), LABEL_MAPS["uner"]
    columns = {"token_column": 1, "tag_column": 2}
    return {"path": str(path), "lang": "zh", "label_map": label_map, **columns}


# The command line


def needed_data() -> list[str]:
    """What must lie below DATA."""
    needed = ["opus", *TAGGED_FILES]
    needed += [GERMEVAL.format(part=part) for part in ("dev", "test")]
    needed += [GSDSIMP.format(part=part) for part in ("train", "dev", "test")]
    return [*needed, *(EUROPARL.format(lang=lang) for lang in ("en", "de", "es"))]


def main(arguments: Sequence[str]) -> None:
    """Measure; without the data, say what is needed and exit with 2."""
    what = "Students on pseudo-labelled text, in figures."
    data, encoder = data_and_encoder(arguments, what, USAGE, needed_data())
    configure_logging()
    measure(data, encoder)


if __name__ == "__main__":
    main(sys.argv[1:])
