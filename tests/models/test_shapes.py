"""Encoders of well-known sizes: what their random weights find."""

from __future__ import annotations

from pathlib import Path

from xner.config import TeacherConfig
from xner.corpora import miniature
from xner.models.shapes import SHAPES, fit_head, new_encoder_of, shape_of
from xner.models.tagger import Tagger, new_model
from xner.text.iob2 import encode
from xner.text.words import segment


def test_shapes_random_encoder_finds_what_its_head_was_fitted_to(tmp_path: Path) -> None:
    sentences = list(miniature.sentences("train", 120))
    texts = [sentence.texts["en"] for sentence in sentences]
    mentions = [sentence.mentions["en"] for sentence in sentences]
    words = [segment(text) for text in texts]
    tags = [
        ["O" if tag == "O" else f"{tag[:2]}NAME" for tag in encode(found, spans)]
        for found, spans in zip(mentions, words, strict=True)
    ]
    folder = new_encoder_of("tiny", texts, tmp_path)
    assert shape_of(folder) == SHAPES["tiny"]
    model, tokenizer = new_model(folder, ["NAME"])
    fit_head(model, tokenizer, texts, words, tags)
    found = Tagger(TeacherConfig(model=str(folder)), (model, tokenizer)).label(texts)
    wanted = {(row, m.start, m.end) for row, each in enumerate(mentions) for m in each}
    given = {(row, m.start, m.end) for row, each in enumerate(found) for m in each}
    # The vocabulary is not the same in every run, and so neither is what is found.
    assert len(wanted & given) > 0.25 * len(wanted)
    assert len(given) < 1.5 * len(wanted)
