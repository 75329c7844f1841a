"""The pieces of `make measure-corpus`, on made data."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from xner.config import PrepareConfig
from xner.corpora.bitext import read_bitext
from xner.corpora.opus import Archive


@pytest.fixture
def corpus(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("corpus")


@pytest.fixture
def base(tmp_path: Path) -> Archive:
    path = tmp_path / "base.zip"
    with zipfile.ZipFile(path, "w") as members:
        for lang, word in (("en", "Sentence"), ("de", "Satz")):
            lines = "".join(f"{word} of some length, number {i}.\n" for i in range(500))
            members.writestr(f"base.de-en.{lang}", lines)
    return Archive("base", "en", "de", str(path))


def test_measure_corpus_makes_an_archive_of_different_real_pairs(
    corpus: ModuleType, base: Archive, tmp_path: Path
) -> None:
    path = tmp_path / "made" / "de-en.txt.zip"
    num_pairs = corpus.write_archive(path, [base], num_bytes=1_000_000)
    with zipfile.ZipFile(path) as members:
        unpacked = sum(member.file_size for member in members.infolist())
    assert 1_000_000 <= unpacked < 1_050_000
    pairs = [
        pair
        for block in read_bitext(Archive("made", "en", "de", str(path)))
        for pair in zip(block.source, block.target, strict=True)
    ]
    assert len(pairs) == len(set(pairs)) == num_pairs
    for source, target in pairs:
        assert source.replace("Sentence", "Satz") == target


def test_measure_corpus_measures_a_task_in_a_fresh_process(
    corpus: ModuleType, base: Archive, tmp_path: Path
) -> None:
    config = PrepareConfig.model_validate(
        {"target_langs": ["de"], "opus": {"corpora": ["base/v1"]}, "output": str(tmp_path)}
    )
    ballast = os.urandom(400 * 2**20)
    tally, peak = corpus.in_fresh_process(corpus.read_and_measure, config, base)
    assert tally.read == tally.accepted == 500
    assert tally.peak_rss_bytes <= peak
    # A process does not begin with what this one holds.
    assert 20 * 2**20 < peak < len(ballast)


def test_measure_corpus_says_what_it_needs(corpus: ModuleType, tmp_path: Path) -> None:
    for argument in ("", str(tmp_path)):
        done = subprocess.run(
            [sys.executable, corpus.__file__, argument], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "OPUS-<Corpus>/<version>/moses/<a>-<b>.txt.zip" in done.stderr
        assert "Traceback" not in done.stderr
    assert str(tmp_path / "opus") in done.stderr
