"""What people would otherwise run: the benchmark's opponents, as their documentation shows them.

The teacher as the token classification pipeline of transformers, and the paper's aligner as its
description suggests it: an entity and the sentence a forward, batches in the order of the corpus,
padded to the longest row. Weights are the same as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForTokenClassification, pipeline

from xner.models.aligner import load_aligner
from xner.models.encoder import load_tokenizer, pick_device
from xner.text.words import Span


class PipelineTeacher:
    """`pipeline("token-classification")` with its batches of a fixed number of sentences."""

    def __init__(self, folder: Path, device: str, batch_size: int) -> None:
        model = AutoModelForTokenClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        self._batch_size = batch_size
        self._pipeline = pipeline(
            "token-classification",
            model=model,
            tokenizer=load_tokenizer(folder),
            aggregation_strategy="simple",
            device=pick_device(device),
        )

    def label(self, texts: Sequence[str]) -> None:
        """Label all texts; what is found is not looked at."""
        self._pipeline(list(texts), batch_size=self._batch_size)


class EntityByEntity:
    """An aligner of the single layout, an entity a row, in batches of a fixed number of rows."""

    def __init__(self, folder: Path, device: str, batch_size: int) -> None:
        network, self._tokenizer, settings = load_aligner(folder)
        if settings.layout != "single":
            raise ValueError(f"{folder}: has the layout {settings.layout}, expected single")
        self._device = pick_device(device)
        self._network = network.to(self._device).eval()
        self._batch_size = batch_size

    def align(
        self, requests: Sequence[tuple[Sequence[str], str, Sequence[Span]]]
    ) -> list[np.ndarray]:
        """For (names, text, words) a matrix [names, words] of probabilities, as Aligner gives it.

        A word's probability is the largest of the sub-words that overlap it.
        """
        rows = [(name, text, words) for names, text, words in requests for name in names]
        found: list[np.ndarray] = []
        for start in range(0, len(rows), self._batch_size):
            found += self._batch(rows[start : start + self._batch_size])
        scores = iter(found)
        return [
            np.stack([next(scores) for _ in names])
            if names
            else np.zeros((0, len(words)), np.float32)
            for names, _, words in requests
        ]

    def _batch(self, rows: Sequence[tuple[str, str, Sequence[Span]]]) -> list[np.ndarray]:
        batch = self._tokenizer(
            [name for name, _, _ in rows],
            [text for _, text, _ in rows],
            padding=True,
            truncation="only_second",
            max_length=512,
            return_tensors="pt",
            return_offsets_mapping=True,
        )
        offsets = batch.pop("offset_mapping").numpy()
        with torch.inference_mode():
            states = self._network.encoder(**batch.to(self._device)).last_hidden_state
            scores = self._network.head.score(states).squeeze(-1).float().sigmoid().cpu().numpy()
        return [
            _of_words(scores[number], offsets[number], batch.sequence_ids(number), words)
            for number, (_, _, words) in enumerate(rows)
        ]


def _of_words(
    scores: np.ndarray,
    offsets: np.ndarray,
    sequence_ids: Sequence[int | None],
    words: Sequence[Span],
) -> np.ndarray:
    found = np.zeros(len(words), dtype=np.float32)
    word = 0
    for score, (start, end), sequence in zip(
        scores.tolist(), offsets.tolist(), sequence_ids, strict=True
    ):
        if sequence != 1 or start == end:
            continue
        while word < len(words) and words[word][1] <= start:
            word += 1
        covered = word
        while covered < len(words) and words[covered][0] < end:
            found[covered] = max(found[covered], score)
            covered += 1
    return found
