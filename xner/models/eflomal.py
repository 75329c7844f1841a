"""Word links by eflomal (Östling and Tiedemann 2016), a Bayesian aligner learned from the bitext.

The program is called and never part of this package: its licence is the GPL. It samples its links
and takes no seed, so they differ a little from run to run.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xner.config import LinksConfig
from xner.errors import ConfigError, TransientError
from xner.text.pairs import SentencePair
from xner.text.words import Span

# The program takes a sentence of more words for an empty one.
MAX_WORDS = 1023


def find_program() -> Path:
    """The script eflomal-align of the package that this Python would import, whatever the PATH.

    Raises ConfigError when it is not installed.
    """
    try:
        files = importlib.metadata.files("eflomal") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "eflomal-align" and (path := Path(file.locate())).is_file():
            return path.resolve()
    raise ConfigError("links.kind = 'eflomal' needs that program: pip install 'xner[eflomal]'")


class EflomalLinker:
    """Links of eflomal's model 3 (IBM 1, HMM and fertility), learned from the pairs given."""

    languages = None

    def __init__(self, config: LinksConfig) -> None:
        """Raises ConfigError when eflomal is not installed; `config` has no settings for it."""
        self.program = find_program()

    def links(self, pairs: Sequence[SentencePair]) -> list[np.ndarray]:
        """For each pair a float32 matrix [source words, target words].

        1 is linked in both directions, 0.5 in one; none where a side is empty or has more than
        MAX_WORDS words. Raises TransientError when the program fails.
        """
        found = [
            np.zeros((len(pair.source_words), len(pair.target_words)), dtype=np.float32)
            for pair in pairs
        ]
        fit = [
            number
            for number, matrix in enumerate(found)
            if min(matrix.shape) > 0 and max(matrix.shape) <= MAX_WORDS
        ]
        if not fit:
            return found
        source = _numbered([(pairs[n].source, pairs[n].source_words) for n in fit])
        target = _numbered([(pairs[n].target, pairs[n].target_words) for n in fit])
        for direction in self._run(source, target):
            for number, line in zip(fit, direction, strict=True):
                for link in line.split():
                    row, column = map(int, link.split("-"))
                    found[number][row, column] += 0.5
        return found

    def _run(self, source: list[str], target: list[str]) -> list[list[str]]:
        """The lines of links `i-j i-j ...`, forward and reverse."""
        with tempfile.TemporaryDirectory(prefix="xner-eflomal-") as name:
            paths = {option: Path(name, option) for option in "stfr"}
            for option, lines in (("s", source), ("t", target)):
                paths[option].write_text("".join(f"{line}\n" for line in lines))
            options = [part for option, path in paths.items() for part in (f"-{option}", str(path))]
            done = subprocess.run(
                [sys.executable, str(self.program), "-m", "3", *options],
                capture_output=True,
                text=True,
                errors="replace",
            )
            directions = [
                paths[option].read_text().splitlines() if paths[option].exists() else []
                for option in "fr"
            ]
        # It exits with 0 also where its inner program was killed.
        written = [len(lines) for lines in directions]
        if done.returncode or written != [len(source)] * 2:
            said = (done.stderr.strip() or "nothing").splitlines()[-1]
            raise TransientError(
                f"{self.program}: exit status {done.returncode}, {written[0]} and {written[1]} "
                f"lines of links for {len(source)} sentence pairs; it said: {said}"
            )
        return directions


def _numbered(texts: Sequence[tuple[str, Sequence[Span]]]) -> list[str]:
    """A line of numbers for each text: those of its lower-cased words.

    To the program a word is a name and no more; no blank or line end inside one can mislead it.
    """
    numbers: dict[str, str] = {}
    return [
        " ".join(
            numbers.setdefault(text[start:end].lower(), str(len(numbers))) for start, end in words
        )
        for text, words in texts
    ]
