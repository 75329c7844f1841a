"""Step 1: a GLiNER model labels English text, with types that are named in words.

Writes JSON lines of `text` and `spans`, of which train_tagger makes a teacher (step 2). It runs in
an environment of its own, with this repository's root as PYTHONPATH; README.md beside the recipes
says how. Of the hub only safetensors and JSON are fetched, and models with code of their own are
refused, which the package would run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from xner.text.words import segment, words_in


def main() -> None:
    arguments = parsed_arguments()
    # Not above: `--help` needs neither.
    from gliner import GLiNER

    model = GLiNER.from_pretrained(
        str(checked_folder(arguments.model)), map_location=arguments.device
    )
    texts = islice(short_texts(arguments.pairs, model.config.max_len), arguments.sentences)
    partial = arguments.output.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    num_sentences = num_mentions = 0
    with partial.open("w", encoding="utf-8") as file:
        while batch := list(islice(texts, 1024)):
            found = model.inference(
                batch, arguments.labels, threshold=arguments.threshold, batch_size=32
            )
            for text, mentions in zip(batch, found, strict=True):
                spans = whole_words(text, mentions)
                file.write(json.dumps({"text": text, "spans": spans}, ensure_ascii=False) + "\n")
                num_sentences, num_mentions = num_sentences + 1, num_mentions + len(spans)
    partial.replace(arguments.output)
    print(f"{arguments.output}: {num_sentences} sentences, {num_mentions} mentions")


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help="GLiNER model: folder, or name on the hub.")
    parser.add_argument("--pairs", type=Path, required=True, help="Folder of pairs shards, local.")
    parser.add_argument("--output", type=Path, required=True, help="File of JSON lines.")
    parser.add_argument("--labels", nargs="+", required=True, help="The types, in words.")
    parser.add_argument("--sentences", type=int, default=20_000, help="How many to label.")
    parser.add_argument("--threshold", type=float, default=0.5, help="Least score of a mention.")
    parser.add_argument("--device", default="cpu", help="cpu or cuda.")
    return parser.parse_args()


def checked_folder(model: str) -> Path:
    """The model's folder, fetched where need be; exits where it is not safe to be loaded."""
    from huggingface_hub import hf_hub_download, snapshot_download

    folder = Path(model)
    if not folder.is_dir():
        # `*.model`: the vocabulary of sentencepiece.
        wanted = ["*.json", "*.safetensors", "*.model"]
        folder = Path(snapshot_download(model, allow_patterns=wanted))
    if not (folder / "model.safetensors").is_file():
        sys.exit(f"{model}: no model.safetensors; other weights are pickles, which may run code")
    gliner = folder / "gliner_config.json"
    config = json.loads(gliner.read_text(encoding="utf-8"))
    encoders = [config.get(key) for key in ("model_name", "labels_encoder", "labels_decoder")]
    configs = [
        Path(name) / "config.json" if Path(name).is_dir() else hf_hub_download(name, "config.json")
        for name in encoders
        if name
    ]
    if any('"auto_map"' in Path(path).read_text(encoding="utf-8") for path in (gliner, *configs)):
        sys.exit(f"{model}: it or its encoder has code of its own, which gliner would run")
    return folder


def short_texts(pairs: Path, max_words: int) -> Iterator[str]:
    """The different source sentences of the shards that the model reads whole."""
    import pyarrow.parquet as pq

    shards = sorted(pairs.rglob("*.parquet"))
    if not shards:
        sys.exit(f"{pairs}: no shards (*.parquet) here")
    seen: set[int] = set()
    for shard in shards:
        for text in pq.read_table(shard, columns=["source"])["source"].to_pylist():
            if hash(text) not in seen and len(segment(text)) <= max_words:
                seen.add(hash(text))
                yield text


def whole_words(text: str, mentions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mentions widened to our words, since gliner cuts others; the surer where two then overlap."""
    words, taken, spans = segment(text), set[int](), []
    for mention in sorted(mentions, key=lambda each: -each["score"]):
        covered = words_in(mention["start"], mention["end"], words)
        if covered and taken.isdisjoint(covered):
            taken.update(covered)
            start, end = words[covered[0]][0], words[covered[-1]][1]
            spans.append({"start": start, "end": end, "label": mention["label"]})
    return sorted(spans, key=lambda span: span["start"])


if __name__ == "__main__":
    main()
