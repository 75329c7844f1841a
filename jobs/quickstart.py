"""The whole way on the built-in miniature world, without a download: from text to a student.

Makes a parallel corpus in five languages, prepares it, trains a tiny English teacher and a tiny
aligner from nothing, projects the teacher's labels, trains a student on them, and scores every step
against exact gold. The names at test time are not those of training. Every step is a job of its
own; the recipes that were run lie in the output folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import prepare_corpus
import project_corpus
import pyarrow as pa
import report
import tomli_w
import train_aligner
import train_tagger

from xner.command_line import run_job
from xner.config import (
    AlignerConfig,
    ModelConfig,
    PoolConfig,
    PrepareConfig,
    ProjectConfig,
    QuickstartConfig,
    Record,
    ReportConfig,
    TaggedSourceConfig,
    TrainAlignerConfig,
    TrainTaggerConfig,
)
from xner.corpora import miniature
from xner.corpora.alignment_set import read_examples
from xner.corpora.tagged import read_tagged
from xner.evaluation.scoring import Scores, score_mentions, score_tags
from xner.models.aligner import Aligner
from xner.models.tagger import Tagger
from xner.models.tiny import new_encoder_folder
from xner.report.terminal import print_summary, write_summary
from xner.shards import schema
from xner.shards.storage import Folder
from xner.text.mentions import Mention
from xner.training.aligner import HeldOut

_log = logging.getLogger("xner.quickstart")

Settings = TypeVar("Settings", bound=Record)

TARGET_LANGS = [lang for lang in miniature.LANGUAGES if lang != "en"]
NOISE = miniature.Noise(untranslated=0.02, missing=0.04, mismatched=0.02)


def main(config: QuickstartConfig) -> None:
    """Run every step, then score and report."""
    started = time.perf_counter()
    if config.engine.kind == "ray":
        from xner.engine.distributed import connect

        # One Ray for all steps, large enough for the one that needs most.
        connect(config.engine, [PoolConfig(), PoolConfig()])
    world = _World(Path(config.output).absolute(), config)
    world.make()
    world.prepare()
    world.train_teacher()
    world.train_aligner()
    world.project()
    world.train_student()
    languages = world.score()
    seconds = time.perf_counter() - started
    world.report(languages, seconds)


def plan(config: QuickstartConfig) -> Mapping[str, str]:
    """What would be done, for ``--dry-run``."""
    corpora, languages = " and ".join(miniature.CORPORA), ", ".join(TARGET_LANGS)
    return {
        "text": f"{config.pairs:,} pairs each of {corpora}, of en and {languages}",
        "teacher": f"learns from {config.teacher_sentences:,} labelled English sentences",
        "aligner": f"learns from {config.aligner_examples:,} examples a language, twice that of zh",
        "student": "learns from what project_corpus labels",
        "scored on": f"{config.test_sentences:,} sentences a language",
        "engine": config.engine.kind,
        "output": str(Folder.at(config.output)),
    }


class _World:
    """The miniature world in a folder, and what is made of it step by step."""

    def __init__(self, folder: Path, config: QuickstartConfig) -> None:
        self.folder, self.config = folder, config
        self._recipes = folder / "recipes"

    def make(self) -> None:
        """Write the parallel corpora, the labelled English and the aligner's examples."""
        config, folder = self.config, self.folder
        self._recipes.mkdir(parents=True, exist_ok=True)
        (folder / "tagged").mkdir(exist_ok=True)
        for split in ("train", "test"):
            count = config.pairs if split == "train" else config.test_sentences // 2
            miniature.write_moses(folder / "opus" / split, count, config.seed, NOISE, split=split)
        for lang in miniature.LANGUAGES:
            miniature.write_tagged(self._tagged("test", lang), "test", lang, config.test_sentences)
        miniature.write_tagged(
            self._tagged("train", "en"), "train", "en", config.teacher_sentences, config.seed + 1
        )
        for lang in TARGET_LANGS:
            # Chinese shares no letter with English, so there is more to learn.
            more = 2 if lang == "zh" else 1
            counts: dict[miniature.Split, int] = {
                "train": config.aligner_examples * more,
                "test": 500,
            }
            for split, count in counts.items():
                examples = miniature.alignment_examples(split, count, lang, config.seed + 2, NOISE)
                table = pa.Table.from_pylist(list(examples), schema=schema.ALIGNMENT_EXAMPLES)
                examples_folder = Folder.at(str(folder / "examples" / split))
                examples_folder.publish_table(f"{lang}.parquet", table)

    def prepare(self) -> None:
        """Clean and shard both corpora: a few seconds' work for the plain loop."""
        for split in ("train", "test"):
            settings = {
                "target_langs": TARGET_LANGS,
                "opus": {
                    "root": str(self.folder / "opus" / split),
                    "corpora": list(miniature.CORPORA),
                },
                "shard_pairs": 1000,
                "output": str(self.folder / "pairs" / split),
                "engine": {"kind": "inline"},
            }
            prepare_corpus.main(self._recipe(f"prepare_{split}", PrepareConfig, settings))

    def train_teacher(self) -> None:
        """One encoder for all that follows, of text in all languages; the teacher sees English."""
        encoder = self.folder / "encoder"
        if not encoder.is_dir():
            pairs = Folder.at(str(self.folder / "pairs" / "train"))
            tables = [pairs.read_table(name, schema.PAIRS) for name in pairs.names(".parquet")]
            texts = pa.concat_tables(tables)
            new_encoder_folder(
                texts["source"].to_pylist() + texts["target"].to_pylist(),
                encoder,
                self.config.seed,
            )
        settings = {
            "encoder": str(encoder),
            "data": [{"path": str(self._tagged("train", "en"))}],
            "max_length": 128,
            "optimization": {"learning_rate": 1e-3, "epochs": 4, **self._training()},
            "output": str(self.folder / "teacher"),
        }
        train_tagger.main(self._recipe("train_teacher", TrainTaggerConfig, settings))

    def train_aligner(self) -> None:
        """The aligner learns from examples of its own, in all four languages at once."""
        settings = {
            "encoder": str(self.folder / "encoder"),
            "examples": [str(self.folder / "examples" / "train")],
            "max_length": 128,
            "optimization": {"learning_rate": 2e-3, "epochs": 3, **self._training()},
            "output": str(self.folder / "aligner"),
        }
        train_aligner.main(self._recipe("train_aligner", TrainAlignerConfig, settings))

    def project(self) -> None:
        """The main job on Ray; the few test pairs, to be scored, on the plain loop."""
        for split, kind in (("train", self.config.engine.kind), ("test", "inline")):
            settings = {
                "pairs": str(self.folder / "pairs" / split),
                "output": str(self.folder / "pseudo" / split),
                "teacher": {"model": str(self.folder / "teacher")},
                "aligner": {"model": str(self.folder / "aligner")},
                "engine": {"kind": kind},
            }
            project_corpus.main(self._recipe(f"project_{split}", ProjectConfig, settings))

    def train_student(self) -> None:
        """One student for all languages, by Ray Train, continued from the teacher.

        It sees projected labels alone.
        """
        num_workers = 0 if self.config.engine.kind == "inline" else 1
        settings = {
            "encoder": str(self.folder / "teacher"),
            "data": [{"path": str(self.folder / "pseudo" / "train"), "format": "pseudo"}],
            "max_length": 128,
            "loss": {"name": "opposite_focal"},
            "optimization": {"learning_rate": 1e-3, "epochs": 3, **self._training(num_workers)},
            "output": str(self.folder / "student"),
        }
        train_tagger.main(self._recipe("train_student", TrainTaggerConfig, settings))

    def score(self) -> dict[str, dict[str, float]]:
        """Every step against exact gold, by language; all names are new to all models."""
        student = Tagger(ModelConfig(model=str(self.folder / "student")))
        teacher = Tagger(ModelConfig(model=str(self.folder / "teacher")))
        scores = {}
        for lang in TARGET_LANGS:
            accepted, projected = self._projection_scores(lang)
            scores[lang] = {
                "alignment_exact": self._alignment_exact(lang),
                "pairs_accepted": accepted,
                "projection_f1": projected.overall.f1,
                "student_f1": self._tagger_scores(student, lang).overall.f1,
                "transfer_f1": self._tagger_scores(teacher, lang).overall.f1,
            }
        return scores

    def report(self, languages: Mapping[str, Mapping[str, float]], seconds: float) -> None:
        """Say what came out: as JSON, as a page and on the terminal."""
        teacher = Tagger(ModelConfig(model=str(self.folder / "teacher")))
        english = self._tagger_scores(teacher, "en").overall.f1
        summary = {"languages": languages, "teacher_f1": english, "seconds": seconds}
        write_summary(Folder.at(str(self.folder)), summary)
        settings = {
            "pseudo": str(self.folder / "pseudo" / "train"),
            "pairs": str(self.folder / "pairs" / "train"),
            "results": [str(self.folder)],
            "output": str(self.folder / "report"),
        }
        report.main(self._recipe("report", ReportConfig, settings))
        rows = [{"language": lang, **scores} for lang, scores in languages.items()]
        print_summary("quickstart: scores against exact gold, names unseen in training", rows)
        print_summary(
            f"Done in {seconds:.0f} seconds. What to look at next:",
            {
                "report": str(self.folder / "report" / "index.html"),
                "labels": str(self.folder / "pseudo" / "train"),
                "student": str(self.folder / "student"),
                "recipes": str(self._recipes),
            },
        )

    def _recipe(self, name: str, record: type[Settings], settings: dict[str, Any]) -> Settings:
        """Write the settings down as a recipe, so that the job can be run again by hand."""
        config = record.model_validate(settings)
        text = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True, exclude_unset=True))
        (self._recipes / f"{name}.toml").write_text(text)
        _log.info("%s (recipe %s)", name, self._recipes / f"{name}.toml")
        return config

    def _training(self, num_workers: int = 0) -> dict[str, Any]:
        return {"batch_tokens": 1024, "seed": self.config.seed, "num_workers": num_workers}

    def _tagged(self, split: str, lang: str) -> Path:
        return self.folder / "tagged" / f"{split}.{lang}.conll"

    def _tagger_scores(self, tagger: Tagger, lang: str) -> Scores:
        source = TaggedSourceConfig(path=str(self._tagged("test", lang)), lang=lang)
        sentences = read_tagged(source)
        predicted = tagger.tag([s.text for s in sentences], [s.words for s in sentences])
        return score_tags([s.tags for s in sentences], predicted)

    def _alignment_exact(self, lang: str) -> float:
        decoding = AlignerConfig(model=str(self.folder / "aligner"))
        examples = read_examples(str(self.folder / "examples" / "test" / f"{lang}.parquet"))
        return HeldOut.of(Aligner(decoding), decoding, examples).exact_shares()["exact"]

    def _projection_scores(self, lang: str) -> tuple[float, Scores]:
        """The accepted share of the test pairs, and their labels against what is really there."""
        gold: dict[tuple[str, str], tuple[Mention, ...]] = {}
        for corpus in miniature.CORPORA:
            count = self.config.test_sentences // 2
            for pair in miniature.sentences("test", count, self.config.seed, NOISE, corpus):
                gold[pair.texts["en"], pair.texts[lang]] = pair.mentions[lang]
        rows = [row for row in self._rows("test") if row["target_lang"] == lang]
        accepted = [row for row in rows if row["status"] == "ok"]
        return len(accepted) / len(rows), score_mentions(
            [gold[row["source"], row["target"]] for row in accepted],
            [_mentions(row) for row in accepted],
        )

    def _rows(self, split: str) -> list[dict[str, Any]]:
        pseudo = Folder.at(str(self.folder / "pseudo" / split))
        names = pseudo.names(".parquet")
        return [row for n in names for row in pseudo.read_table(n, schema.PSEUDO).to_pylist()]


def _mentions(row: Mapping[str, Any]) -> list[Mention]:
    return [Mention(m["start"], m["end"], m["label"], m["score"]) for m in row["mentions"]]


if __name__ == "__main__":
    run_job(QuickstartConfig, main, plan)
