"""`make measure-aligner DATA=folder`: aligners on parallel gold, ours and those people would use.

All read the gold English mentions and project them; nothing was trained or tuned on the gold. Word
aligner and entity aligners learn from the OPUS archives and the tables of names in DATA, the latter
from an English encoder; every step is a job in a process of its own.

``europarl.{de,es}`` and ``pud.zh``, strict and typed F1:

* ``fusion``: word links, both witnesses of names and the packed entity aligner, weighed together;
  ``links``: the same without the entity aligner.
* ``packed``, ``single``: the entity aligner alone, trained on the same examples in either layout.
* ``embedding``: similarity of the states of the same encoder (itermax, as SimAlign), ``eflomal``:
  its links, learned from the same pairs and the gold's own text; for both the best of seven rules
  of projection, chosen by the very score that is shown.

``ceiling``: a perfect projector. ``calibration``: of fusion's labels from a score of 0.9 on, how
many, and which share has the right span. ``packed_over_single_rate``: sentences a second at equal
batch tokens, on real text with the teacher's mentions, median of alternating repetitions.
``witnesses``: F1 of ``links`` without one of its witnesses; ``sources``: F1 of a packed aligner
trained for equally many steps on one source of examples alone, and on all.

A step that is done is not done again; `rm -r runs/measure-aligner` begins anew.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from projection_rules import RULES, Directions
from steps import NAME_TABLES, PROJECT, TAGGED_FILES, Steps, default_encoder, teacher_recipe

from xner.config import (
    AlignerConfig,
    EvidenceConfig,
    IdMapConfig,
    LinksConfig,
    ModelConfig,
    QualityConfig,
    TaggedSourceConfig,
)
from xner.corpora.tagged import LABEL_MAPS
from xner.engine.stages import Project
from xner.evaluation.projection import ProjectionReport, evaluate
from xner.evaluation.projection_gold import GoldPair, labelled_table, read_gold
from xner.evaluation.projection_run import project_gold
from xner.models.aligner import Aligner
from xner.models.tagger import Tagger
from xner.projection.decode import Candidate
from xner.projection.evidence import WITNESSES
from xner.projection.quality import to_alignments
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards import schema
from xner.shards.ledger import SHARD
from xner.shards.storage import Folder
from xner.text.pairs import SentencePair
from xner.text.words import segment, words_in

OUTPUT = PROJECT / "runs" / "measure-aligner"

LANGUAGES = ["de", "es", "zh"]
CORPORA = ["Tatoeba", "WMT-News"]
EUROPARL = "projection_gold/{lang}-europarl.test.conll02"
PUD = "projection_gold/{lang}_pud-ud-test.iob2"
PUD_MAP = "projection_gold/zh_pud_sent_id_map.tsv"

LAYOUTS = ("packed", "single")
MAX_EXAMPLES = 30_000
TRAINING = {"epochs": 1, "batch_tokens": 2048, "learning_rate": 3e-4}
# Each source alone: enough to see which of them teaches more.
SOURCES = ("bitext", "verbatim", "table")
SOURCE_STEPS = 150

TIMED_PAIRS, REPETITIONS = 2000, 5
SURE = 0.9

QUALITY = QualityConfig()

USAGE = """\
make measure-aligner needs real data: make measure-aligner DATA=<folder>
  <folder>/opus             OPUS-<Corpus>/<version>/moses/*.txt.zip of Tatoeba and WMT-News
  <folder>/ner/en           wikigold, WNUT17, BTC, and Universal NER of the English Web Treebank
  <folder>/names            cities.csv, {en,de,es,zh}.country.json
  <folder>/projection_gold  {en,de,es}-europarl.test.conll02, {en,zh}_pud-ud-test.iob2,
                            zh_pud_sent_id_map.tsv"""


def measure(data: Path, encoder: Path) -> None:
    """Run the jobs that are not done, score, print, and write summary.json."""
    steps = Steps(OUTPUT)
    seconds = train(steps, data, encoder)
    golds = {
        "europarl": {lang: europarl(data, lang) for lang in ("de", "es")},
        "pud": {"zh": pud(data)},
    }
    summary: dict[str, Any] = {"seconds": seconds, "calibration": {}, "witnesses": {}}
    for name, by_lang in golds.items():
        summary[name] = {}
        for lang, gold in by_lang.items():
            print(f"scoring on {name} {lang}", file=sys.stderr)
            reports = our_reports(gold, lang)
            fused = reports["fusion"]
            summary[name][lang] = {
                **{system: report.typed.overall.f1 for system, report in reports.items()},
                "embedding": best_rule(gold, similarity_links(gold, encoder)),
                "eflomal": best_rule(gold, eflomal_links(gold, lang)),
                "ceiling": fused.ceiling.overall.f1,
                "fusion_untyped": fused.untyped.overall.f1,
                "fusion_interval": asdict(fused.typed_intervals["f1"]),
            }
            summary["calibration"][f"{name}.{lang}"] = sure_labels(gold, fused_table(gold, lang))
            summary["witnesses"][f"{name}.{lang}"] = without_each(gold, lang)
    summary["sources"] = {
        source: {
            lang: typed_f1(gold, AlignerConfig(model=str(OUTPUT / f"source-{source}")))
            for lang, gold in golds["europarl"].items()
        }
        for source in (*SOURCES, "all")
    }
    summary |= rates(data)
    show(summary)
    write_summary(Folder.at(str(OUTPUT)), summary)


# The steps


def train(steps: Steps, data: Path, encoder: Path) -> dict[str, float]:
    """Prepare the text, train teacher, word aligners and entity aligners; seconds of each step."""
    seconds = {
        "pairs": steps.run(
            "prepare_corpus",
            "pairs",
            {
                "target_langs": LANGUAGES,
                "opus": {"root": str(data / "opus"), "corpora": CORPORA},
                "engine": {"kind": "inline"},
            },
        )
    }
    for lang in LANGUAGES:
        pairs = [str(OUTPUT / "pairs" / f"en-{lang}")]
        links = str(OUTPUT / f"links-{lang}")
        seconds[f"links-{lang}"] = steps.run(
            "train_word_aligner", f"links-{lang}", {"pairs": pairs}
        )
        seconds[f"examples-{lang}"] = steps.run(
            "build_alignment_set",
            f"examples-{lang}",
            {
                "pairs": pairs,
                "tables": [str(data / table) for table in NAME_TABLES],
                "bitext": {"links": {"model": links}},
                "max_examples": MAX_EXAMPLES,
            },
        )
    recipe = {
        "encoder": str(encoder),
        "examples": [str(OUTPUT / f"examples-{lang}") for lang in LANGUAGES],
    }
    for layout in LAYOUTS:
        seconds[layout] = steps.run(
            "train_aligner",
            layout,
            {**recipe, "layout": layout, "optimization": {**TRAINING, "num_workers": 0}},
        )
    for source in (*SOURCES, "all"):
        mix = {} if source == "all" else {"mix": {source: 1.0}}
        few = {**TRAINING, "epochs": 1, "max_steps": SOURCE_STEPS, "num_workers": 0}
        seconds[f"source-{source}"] = steps.run(
            "train_aligner",
            f"source-{source}",
            {**recipe, "layout": "packed", **mix, "optimization": few},
        )
    seconds["teacher"] = steps.run("train_tagger", "teacher", teacher_recipe(data, encoder))
    return seconds


# Ours


def links_of(lang: str) -> LinksConfig:
    return LinksConfig(model=str(OUTPUT / f"links-{lang}"))


def our_reports(gold: Sequence[GoldPair], lang: str) -> dict[str, ProjectionReport]:
    """Ours on one gold, by name."""
    tables = {
        "fusion": fused_table(gold, lang),
        "links": project_gold(gold, AlignerConfig(links=links_of(lang)), QUALITY),
        **{
            layout: project_gold(gold, AlignerConfig(model=str(OUTPUT / layout)), QUALITY)
            for layout in LAYOUTS
        },
    }
    return {name: evaluate(gold, table, QUALITY) for name, table in tables.items()}


def fused_table(gold: Sequence[GoldPair], lang: str) -> pa.Table:
    """All witnesses together."""
    config = AlignerConfig(model=str(OUTPUT / "packed"), links=links_of(lang))
    return project_gold(gold, config, QUALITY)


def typed_f1(gold: Sequence[GoldPair], config: AlignerConfig) -> float:
    return evaluate(gold, project_gold(gold, config, QUALITY), QUALITY).typed.overall.f1


def without_each(gold: Sequence[GoldPair], lang: str) -> dict[str, float]:
    """F1 of the links' evidence whole, and with each witness left out."""
    weights = EvidenceConfig().model_dump()
    witnesses = [name for name in (*WITNESSES, "agreement") if name != "aligner"]
    return {
        f"without {name}": typed_f1(
            gold,
            AlignerConfig(links=links_of(lang), evidence=EvidenceConfig(**{**weights, name: 0.0})),
        )
        for name in witnesses
    }


def sure_labels(gold: Sequence[GoldPair], table: pa.Table) -> dict[str, float]:
    """Of the labels that are surer than ``SURE``: how many, and the share with the right span."""
    right = [
        (mention["start"], mention["end"]) in {(m.start, m.end) for m in pair.target_mentions}
        for pair, row in zip(gold, table["mentions"].to_pylist(), strict=True)
        for mention in row
        if mention["alignment_score"] >= SURE
    ]
    return {"labels": len(right), "right": sum(right) / max(len(right), 1)}


# The others


def similarity_links(gold: Sequence[GoldPair], encoder: Path) -> list[Directions]:
    """Of the same encoder, not trained any further."""
    from xner.models.similarity import SimilarityLinker

    links = SimilarityLinker(LinksConfig(kind="similarity", model=str(encoder))).links(pairs(gold))
    return [Directions(each > 0, each > 0) for each in links]


def eflomal_links(gold: Sequence[GoldPair], lang: str) -> list[Directions]:
    """Learned from the gold's own text and all pairs that ours learned from."""
    from xner.models.eflomal import EflomalLinker

    folder = Folder.at(str(OUTPUT / "pairs" / f"en-{lang}"))
    text = [
        SentencePair(source, segment(source), target, segment(target))
        for name in folder.names(SHARD)
        for table in [folder.read_table(name, schema.PAIRS)]
        for source, target in zip(
            table["source"].to_pylist(), table["target"].to_pylist(), strict=True
        )
    ]
    mine = pairs(gold)
    forward, reverse = EflomalLinker(LinksConfig(kind="eflomal")).directions([*mine, *text])
    return [
        Directions(f, r) for f, r in zip(forward[: len(mine)], reverse[: len(mine)], strict=True)
    ]


def pairs(gold: Sequence[GoldPair]) -> list[SentencePair]:
    return [
        SentencePair(pair.source, segment(pair.source), pair.target, segment(pair.target))
        for pair in gold
    ]


def best_rule(gold: Sequence[GoldPair], links: Sequence[Directions]) -> dict[str, float]:
    """F1 by rule of projection; ``best`` is the highest of them."""
    found = {
        name: evaluate(gold, by_rule(gold, links, rule), QUALITY).typed.overall.f1
        for name, rule in RULES.items()
    }
    return {"best": max(found.values()), **found}


def by_rule(
    gold: Sequence[GoldPair],
    links: Sequence[Directions],
    rule: Callable[[Directions, range, Sequence[bool]], range],
) -> pa.Table:
    """The gold mentions projected along hard word links."""
    column = []
    for pair, words, both in zip(gold, pairs(gold), links, strict=True):
        marks = [
            not any(char.isalnum() for char in pair.target[start:end])
            for start, end in words.target_words
        ]
        offered: list[list[Candidate]] = []
        for mention in pair.source_mentions:
            own = words_in(mention.start, mention.end, words.source_words)
            place = rule(both, own, marks)
            first, last = (place[0], place[-1]) if place else (0, -1)
            offered.append(
                [Candidate(words.target_words[first][0], words.target_words[last][1], 1.0, "rule")]
                if place
                else []
            )
        column.append(to_alignments(offered))
    table = labelled_table(gold)
    labels = sorted({m.label for pair in gold for m in pair.source_mentions})
    field = schema.ALIGNED.field("alignments")
    return Project(QUALITY, labels)(table.append_column(field, pa.array(column, field.type)))


# Speed


def rates(data: Path) -> dict[str, Any]:
    """Sentences a second of either layout, on real sentences with the teacher's mentions."""
    folder = Folder.at(str(OUTPUT / "pairs" / "en-de"))
    table = folder.read_table(folder.names(SHARD)[0], schema.PAIRS)
    table = table.filter(np.array(table["corpus"].to_pylist()) == "WMT-News").slice(0, TIMED_PAIRS)
    sources, targets = table["source"].to_pylist(), table["target"].to_pylist()
    found = Tagger(ModelConfig(model=str(OUTPUT / "teacher"))).label(sources)
    requests = [
        ([source[m.start : m.end] for m in mentions], target, segment(target))
        for source, target, mentions in zip(sources, targets, found, strict=True)
        if mentions
    ]
    aligners = {layout: Aligner(AlignerConfig(model=str(OUTPUT / layout))) for layout in LAYOUTS}
    seconds: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    for repetition in range(REPETITIONS + 1):
        for layout, aligner in aligners.items():
            started = time.perf_counter()
            aligner.align(requests)
            if repetition:
                seconds[layout].append(time.perf_counter() - started)
    ratios = [single / packed for packed, single in zip(*seconds.values(), strict=True)]
    return {
        "packed_over_single_rate": statistics.median(ratios),
        "sentences_per_second": {
            layout: len(requests) / statistics.median(spent) for layout, spent in seconds.items()
        },
        "timed": {
            "sentences": len(requests),
            "mentions": sum(len(names) for names, _, _ in requests),
        },
    }


# Gold


def europarl(data: Path, lang: str) -> list[GoldPair]:
    """799 sentences; number n of one language translates number n of the other."""
    source, target = (
        TaggedSourceConfig(
            path=str(data / EUROPARL.format(lang=each)),
            lang=each,
            label_map=LABEL_MAPS["europarl"],
        )
        for each in ("en", lang)
    )
    return read_gold(source, target)


def pud(data: Path) -> list[GoldPair]:
    """1,000 sentences of Universal NER on Parallel UD."""
    source, target = (
        TaggedSourceConfig(
            path=str(data / PUD.format(lang=each)),
            lang=each,
            label_map=LABEL_MAPS["uner"],
            token_column=1,
            tag_column=2,
        )
        for each in ("en", "zh")
    )
    columns = {"source_column": "uner_en_sent_id", "target_column": "uner_zh_sent_id"}
    return read_gold(source, target, IdMapConfig(path=str(data / PUD_MAP), **columns))


# The command line


def show(summary: Mapping[str, Any]) -> None:
    """Print the figures."""
    systems = ["fusion", "links", "packed", "single", "embedding", "eflomal", "ceiling"]
    rows = []
    for name in ("europarl", "pud"):
        for lang, scores in summary[name].items():
            values = {
                system: scores[system]["best"]
                if isinstance(scores[system], dict)
                else scores[system]
                for system in systems
            }
            rows.append({"gold": f"{name} {lang}", **values})
    print_summary("Strict typed F1, gold English mentions in", rows)
    print_summary(
        "Labels with a score of 0.9 and more",
        [{"gold": gold, **counts} for gold, counts in summary["calibration"].items()],
    )
    print_summary(
        "F1 of links without a witness",
        [{"gold": gold, **scores} for gold, scores in summary["witnesses"].items()],
    )
    print_summary(
        f"F1 of a packed aligner after {SOURCE_STEPS} steps, by source of its examples",
        [{"source": source, **scores} for source, scores in summary["sources"].items()],
    )
    print_summary(
        "Speed",
        {
            "packed over single, sentences/s": summary["packed_over_single_rate"],
            **{f"{k}, sentences/s": v for k, v in summary["sentences_per_second"].items()},
        },
    )


def missing_from(data: Path) -> list[Path]:
    """What of the data is not there."""
    needed = ["opus", *TAGGED_FILES, "names/cities.csv", PUD_MAP]
    needed += [f"names/{lang}.country.json" for lang in ("en", *LANGUAGES)]
    needed += [EUROPARL.format(lang=lang) for lang in ("en", "de", "es")]
    needed += [PUD.format(lang=lang) for lang in ("en", "zh")]
    return [data / path for path in needed if not (data / path).exists()]


def main(arguments: Sequence[str]) -> None:
    """Measure; without the data, say what is needed and exit with 2."""
    parser = argparse.ArgumentParser(description="Aligners on parallel gold, in figures.")
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
