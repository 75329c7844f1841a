"""`make measure-pipeline MODEL=folder DATA=folder`: a tagger in transformers' pipeline and in ours.

A tagger of ours reads a word's tag at its first sub-word, and has learned at the others that the
mention goes on. The pipeline's strategy `first` reads as we do, with words of its own (of BERT's
the pieces between hyphens, of sentence pieces all between two spaces); `simple` joins the tags of
all sub-words, which an unsure model does not make agree. On real German sentences: the mentions of
each strategy, how many sentences have the very mentions of our tagger, the F1 of the ones against
the others, and the F1 of both on the gold.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xner.config import ModelConfig, TaggedSourceConfig
from xner.corpora.tagged import LABEL_MAPS, read_tagged
from xner.evaluation.scoring import score_mentions
from xner.models.tagger import Tagger
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards.storage import Folder
from xner.text.iob2 import decode
from xner.text.mentions import Mention

OUTPUT = Path(__file__).resolve().parents[2] / "runs" / "measure-pipeline"

STRATEGIES = ("simple", "first", "average", "max")
NUM_SENTENCES = 500


def main(model: str, data: Path) -> None:
    """Label the sentences in every way and print how the ways differ."""
    from transformers import pipeline

    gold = read_tagged(
        TaggedSourceConfig(
            path=str(data / "ner" / "de" / "test.tsv"),
            token_column=1,
            tag_column=2,
            lang="de",
            label_map=LABEL_MAPS["germeval"],
            max_sentences=NUM_SENTENCES,
        )
    )
    texts = [sentence.text for sentence in gold]
    marked = [decode(sentence.tags, sentence.words) for sentence in gold]
    ours = Tagger(ModelConfig(model=model, precision="fp32")).label(texts)
    rows = [{"who": "xner", **compared(ours, ours, marked)}]
    for strategy in STRATEGIES:
        tagger = pipeline(
            "token-classification", model, aggregation_strategy=strategy, device="cpu"
        )
        found = [
            [Mention(each["start"], each["end"], each["entity_group"]) for each in row]
            for row in tagger(texts, batch_size=16)
        ]
        rows.append({"who": strategy, **compared(found, ours, marked)})
    write_summary(Folder.at(str(OUTPUT)), {"model": model, "sentences": len(texts), "rows": rows})
    print_summary(f"{len(texts)} sentences of GermEval's test set, {model}", rows)


def compared(
    found: Sequence[Sequence[Mention]],
    ours: Sequence[Sequence[Mention]],
    gold: Sequence[Sequence[Mention]],
) -> dict[str, Any]:
    """The figures of one way to label; F1 in percent."""

    def of(mentions: Sequence[Mention]) -> list[tuple[int, int, str]]:
        return sorted((each.start, each.end, each.label) for each in mentions)

    return {
        "mentions": sum(map(len, found)),
        "sentences as xner has them": sum(of(a) == of(b) for a, b in zip(found, ours, strict=True)),
        "F1 against xner": 100 * score_mentions(ours, found).overall.f1,
        "F1 on gold": 100 * score_mentions(gold, found).overall.f1,
    }


if __name__ == "__main__":
    if len(sys.argv) != 3 or not (Path(sys.argv[2]) / "ner" / "de" / "test.tsv").is_file():
        sys.exit(
            "make measure-pipeline needs a German tagger and real data: "
            "make measure-pipeline MODEL=<folder> DATA=<folder>\n"
            "  <folder>/ner/de/test.tsv  GermEval 2014"
        )
    configure_logging()
    main(sys.argv[1], Path(sys.argv[2]))
