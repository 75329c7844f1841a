"""`make measure-aligner DATA=folder`: aligners on parallel gold, ours and those people would use.

All read the gold English mentions and project them. Word aligners and entity aligners learn from
the OPUS archives and the tables of names in DATA, the latter from nothing; no gold is trained on.
Some settings were chosen with these scores in view: see xner.projection.evidence, and
``_MIN_LETTERS_PER_UNIT`` in xner.models.word_units. Every step is a job in a process of its own.

``europarl.{de,es}`` and ``pud.zh``, strict and typed F1:

* ``fusion``: all evidence weighed together, that of word links and of the packed entity aligner
  too; ``links``: the same without the entity aligner.
* ``packed``, ``single``: the entity aligner alone, trained on the same examples in either layout.
* ``embedding``: similarity of the states of a pretrained English encoder (itermax, as SimAlign);
  ``eflomal``: its links, learned from the same pairs and the gold's own text; for both ``best`` of
  seven rules of projection, chosen by the very score that is shown. The links of ``embedding`` are
  the same in both directions, so its rules are two.

``ceiling``: a perfect projector. ``calibration``: of the labels from a score of 0.9 on, how many,
and which share has the right span: fusion's on gold, and (``places``) those of ``links``, which
knows no table, on pairs in which a table of names knows the translation.
``packed_over_single_rate``: sentences a second at equal batch tokens, on real text with the
teacher's mentions, median of alternating repetitions.
``witnesses``: F1 of ``links`` without one of its witnesses; ``sources``: F1 of a packed aligner
trained for equally many steps on one source of examples alone, and on all.

A step that is done is not done again; `rm -r runs/measure-aligner` begins anew.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from projection_rules import RULES, Directions, Rule
from steps import (
    EUROPARL,
    NAME_TABLES,
    PROJECT,
    TAGGED_FILES,
    Steps,
    data_and_encoder,
    teacher_recipe,
)

from xner.config import (
    AlignerConfig,
    EvidenceConfig,
    IdMapConfig,
    LinksConfig,
    ModelConfig,
    QualityConfig,
    TaggedSourceConfig,
)
from xner.corpora.names import read_lexicon, table_names
from xner.corpora.tagged import LABEL_MAPS
from xner.engine.stages import Project
from xner.errors import ConfigError
from xner.evaluation.projection import evaluate
from xner.evaluation.projection_gold import GoldPair, labelled_table, read_gold
from xner.evaluation.projection_run import project_gold
from xner.models.aligner import Aligner
from xner.models.eflomal import EflomalLinker, find_program
from xner.models.similarity import SimilarityLinker
from xner.models.tagger import Tagger
from xner.projection.decode import Candidate
from xner.projection.evidence import WITNESSES
from xner.projection.quality import to_alignments
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards import schema
from xner.shards.ledger import SHARD
from xner.shards.storage import Folder
from xner.text.chinese import whole_words
from xner.text.mentions import Mention
from xner.text.pairs import SentencePair
from xner.text.words import Span, segment, words_in

OUTPUT = PROJECT / "runs" / "measure-aligner"

LANGUAGES = ["de", "es", "zh"]
CORPORA = ["Tatoeba", "WMT-News"]
PUD = "projection_gold/{lang}_pud-ud-test.iob2"
PUD_MAP = "projection_gold/zh_pud_sent_id_map.tsv"

LAYOUTS = ("packed", "single")
MAX_EXAMPLES = 30_000
# Trained from nothing: on two cores without bf16 an epoch of MiniLM takes half an hour.
ENTITY_ENCODER = "tiny"
TRAINING = {"epochs": 2, "batch_tokens": 4096, "learning_rate": 1e-3}
# Each source alone: enough to see which of them teaches more.
SOURCES = ("bitext", "verbatim", "table")
SOURCE_STEPS = 200

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
            tables = our_tables(gold, lang)
            reports = {system: evaluate(gold, table, QUALITY) for system, table in tables.items()}
            fused = reports["fusion"]
            summary[name][lang] = {
                **{system: report.typed.overall.f1 for system, report in reports.items()},
                "embedding": best_rule(gold, similarity_links(gold, encoder)),
                "eflomal": best_rule(gold, eflomal_links(gold, lang)),
                "ceiling": fused.ceiling.overall.f1,
                "fusion_untyped": fused.untyped.overall.f1,
                "fusion_interval": asdict(fused.typed_intervals["f1"]),
            }
            summary["calibration"][f"{name}.{lang}"] = sure_labels(gold, tables["fusion"])
            summary["witnesses"][f"{name}.{lang}"] = without_each(gold, lang)
    for lang in LANGUAGES:
        places = known_places(data, lang)
        placed = our_tables(places, lang, ["links"])["links"]
        summary["calibration"][f"places.{lang}"] = sure_labels(places, placed)
    summary["sources"] = {
        source: {
            lang: typed_f1(gold, AlignerConfig(model=str(OUTPUT / f"source-{source}")))
            for lang, gold in golds["europarl"].items()
        }
        for source in (*SOURCES, "all")
    }
    summary |= rates()
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
        "encoder": ENTITY_ENCODER,
        "examples": [str(OUTPUT / f"examples-{lang}") for lang in LANGUAGES],
    }
    for layout in LAYOUTS:
        seconds[layout] = steps.run(
            "train_aligner",
            layout,
            {**recipe, "layout": layout, "optimization": {**TRAINING, "num_workers": 0}},
        )
    for source in (*SOURCES, "all"):
        alone = {"mix": {each: float(each == source) for each in SOURCES}}
        mix = {} if source == "all" else alone
        few = {**TRAINING, "max_steps": SOURCE_STEPS, "num_workers": 0}
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


def our_tables(
    gold: Sequence[GoldPair], lang: str, systems: Sequence[str] = ("fusion", "links", *LAYOUTS)
) -> dict[str, pa.Table]:
    """What ours project onto one gold, by name."""
    packed = str(OUTPUT / "packed")
    configs = {
        "fusion": AlignerConfig(model=packed, links=links_of(lang)),
        "links": AlignerConfig(links=links_of(lang)),
        **{layout: AlignerConfig(model=str(OUTPUT / layout)) for layout in LAYOUTS},
    }
    return {system: project_gold(gold, configs[system], QUALITY) for system in systems}


def typed_f1(gold: Sequence[GoldPair], config: AlignerConfig) -> float:
    return evaluate(gold, project_gold(gold, config, QUALITY), QUALITY).typed.overall.f1


def without_each(gold: Sequence[GoldPair], lang: str) -> dict[str, float]:
    """F1 of ``links`` with each witness left out, one at a time."""
    witnesses = [name for name in (*WITNESSES, "agreement") if name != "aligner"]
    return {
        f"without {name}": typed_f1(
            gold, AlignerConfig(links=links_of(lang), evidence=EvidenceConfig(**{name: 0.0}))
        )
        for name in witnesses
    }


def sure_labels(gold: Sequence[GoldPair], table: pa.Table) -> dict[str, float]:
    """Of the labels with a score of ``SURE`` or more: how many, the share with the right span."""
    right = []
    for pair, mentions in zip(gold, table["mentions"].to_pylist(), strict=True):
        spans = {(m.start, m.end) for m in pair.target_mentions}
        sure = [m for m in mentions if m["alignment_score"] >= SURE]
        right += [(m["start"], m["end"]) in spans for m in sure]
    return {"labels": len(right), "right": sum(right) / max(len(right), 1)}


def known_places(data: Path, lang: str) -> list[GoldPair]:
    """Real pairs with the names that a table knows, each once on either side, as if they were gold.

    The pairs taught the word aligner, as text; what stands where they did not say.
    """
    folder = Folder.at(str(OUTPUT / "pairs" / f"en-{lang}"))
    table = folder.read_table(folder.names(SHARD)[0], schema.PAIRS)
    lexicons = [read_lexicon(str(data / path), "en", lang) for path in NAME_TABLES]
    found = []
    for row in table.select(["pair_id", "source", "target"]).to_pylist():
        source_words, target_words = segment(row["source"]), segment(row["target"])
        edges = set(chain.from_iterable(whole_words(row["target"], target_words, lang)))
        names = [
            (in_source[name][0], places[0])
            for lexicon in lexicons
            for in_source in [lexicon.source_index.find(row["source"], source_words)]
            for name, places in table_names(
                row["source"], row["target"], source_words, target_words, lexicon
            ).items()
            if len(in_source[name]) == len(places) == 1
            # In 北京市 what the table knows is a part of the name.
            and edges.issuperset(places[0])
        ]
        source, target = (
            sorted({Mention(*ends[side], "LOC") for ends in names}) for side in (0, 1)
        )
        if names:
            found.append(
                GoldPair(
                    row["pair_id"],
                    "en",
                    lang,
                    row["source"],
                    row["target"],
                    tuple(source),
                    tuple(target),
                )
            )
    return found


# The others


def similarity_links(gold: Sequence[GoldPair], encoder: Path) -> list[Directions]:
    """Of the encoder as it is."""
    linker = SimilarityLinker(LinksConfig(kind="similarity", model=str(encoder)))
    return [Directions(links > 0, links > 0) for links in linker.links(sentence_pairs(gold))]


def eflomal_links(gold: Sequence[GoldPair], lang: str) -> list[Directions]:
    """Learned from the gold's own text and all pairs that ours learned from."""
    folder = Folder.at(str(OUTPUT / "pairs" / f"en-{lang}"))
    text = [
        SentencePair(source, segment(source), target, segment(target))
        for name in folder.names(SHARD)
        for table in [folder.read_table(name, schema.PAIRS)]
        for source, target in zip(
            table["source"].to_pylist(), table["target"].to_pylist(), strict=True
        )
    ]
    found = EflomalLinker(LinksConfig(kind="eflomal")).directions([*sentence_pairs(gold), *text])
    return [Directions(forward, reverse) for forward, reverse in found[: len(gold)]]


def sentence_pairs(gold: Sequence[GoldPair]) -> list[SentencePair]:
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


def by_rule(gold: Sequence[GoldPair], links: Sequence[Directions], rule: Rule) -> pa.Table:
    """The gold mentions projected along hard word links."""
    column = []
    for pair, words, both in zip(gold, sentence_pairs(gold), links, strict=True):
        marks = [
            not any(char.isalnum() for char in pair.target[start:end])
            for start, end in words.target_words
        ]
        places = [
            rule(both, words_in(mention.start, mention.end, words.source_words), marks)
            for mention in pair.source_mentions
        ]
        column.append(to_alignments([_candidates(place, words.target_words) for place in places]))
    table = labelled_table(gold)
    labels = sorted({m.label for pair in gold for m in pair.source_mentions})
    field = schema.ALIGNED.field("alignments")
    return Project(QUALITY, labels)(table.append_column(field, pa.array(column, field.type)))


def _candidates(place: range, words: Sequence[Span]) -> list[Candidate]:
    """The words as the only candidate; none where there are no words."""
    return [Candidate(words[place[0]][0], words[place[-1]][1], 1.0, "rule")] if place else []


# Speed


def rates() -> dict[str, Any]:
    """Sentences a second of either layout, on real sentences with the teacher's mentions."""
    folder = Folder.at(str(OUTPUT / "pairs" / "en-de"))
    table = folder.read_table(folder.names(SHARD)[0], schema.PAIRS)
    table = table.filter(pc.equal(table["corpus"], "WMT-News")).slice(0, TIMED_PAIRS)
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
            # The first one warms up.
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
        f"Labels of fusion with a score of {SURE} or more",
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


def needed_data() -> list[str]:
    """What must lie below DATA."""
    needed = ["opus", *TAGGED_FILES, "names/cities.csv", PUD_MAP]
    needed += [f"names/{lang}.country.json" for lang in ("en", *LANGUAGES)]
    needed += [EUROPARL.format(lang=lang) for lang in ("en", "de", "es")]
    return [*needed, *(PUD.format(lang=lang) for lang in ("en", "zh"))]


def main(arguments: Sequence[str]) -> None:
    """Measure; without the data or eflomal, say what is needed and exit with 2."""
    what = "Aligners on parallel gold, in figures."
    data, encoder = data_and_encoder(arguments, what, USAGE, needed_data())
    try:
        find_program()
    except ConfigError as error:
        # Now, and not after an hour of training.
        print(error, file=sys.stderr)
        sys.exit(2)
    configure_logging()
    measure(data, encoder)


if __name__ == "__main__":
    main(sys.argv[1:])
