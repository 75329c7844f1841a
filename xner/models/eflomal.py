"""Word links by eflomal (Östling and Tiedemann 2016), a Bayesian aligner learned from the bitext.

The program is called and never part of this package: its licence is the GPL. It samples its links
and takes no seed, so they differ a little from run to run.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
    raise ConfigError("links.kind = 'eflomal' needs that program: pip install -e '.[eflomal]'")


class EflomalLinker:
    """Links of eflomal's model 3 (IBM 1, HMM and fertility), learned from the pairs given."""

    languages = None

    def __init__(self, config: LinksConfig) -> None:
        """Raises ConfigError when eflomal is not installed; `config` has no settings for it."""
        self.program = find_program()

    def links(self, pairs: Sequence[SentencePair]) -> list[np.ndarray]:
        """For each pair a float32 matrix [source words, target words].

        1 is linked in both directions, 0.5 in one. Raises and refuses what `directions` does.
        """
        return [
            (forward.astype(np.float32) + reverse) / 2
            for forward, reverse in self.directions(pairs)
        ]

    def directions(
        self, pairs: Sequence[SentencePair]
    ) -> list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
        """For each pair the links forward and in reverse, each [source words, target words].

        Forward no target word has more than one link, in reverse no source word. There is none
        where a side is empty or has more than MAX_WORDS words. Raises TransientError when the
        program fails.
        """
        shapes = [(len(pair.source_words), len(pair.target_words)) for pair in pairs]
        found = [(np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)) for shape in shapes]
        fit = [
            number
            for number, shape in enumerate(shapes)
            if min(shape) > 0 and max(shape) <= MAX_WORDS
        ]
        if not fit:
            return found
        source = _numbered([(pairs[n].source, pairs[n].source_words) for n in fit])
        target = _numbered([(pairs[n].target, pairs[n].target_words) for n in fit])
        for direction, lines in enumerate(self._run(source, target)):
            for number, line in zip(fit, lines, strict=True):
                for link in line.split():
                    row, column = map(int, link.split("-"))
                    found[number][direction][row, column] = True
        return found

    def _run(self, source: list[str], target: list[str]) -> list[list[str]]:
        """The lines of links `i-j i-j ...`, forward and reverse."""
        with tempfile.TemporaryDirectory(prefix="xner-eflomal-") as name:
            paths = {option: Path(name, option) for option in "stfr"}
            for option, lines in (("s", source), ("t", target)):
                paths[option].write_text("".join(f"{line}\n" for line in lines))
            options = [part for option, path in paths.items() for part in (f"-{option}", str(path))]
            status, said = _call([sys.executable, str(self.program), "-m", "3", *options])
            directions = [
                paths[option].read_text().splitlines() if paths[option].exists() else []
                for option in "fr"
            ]
        # It exits with 0 also where its inner program was killed.
        written = [len(lines) for lines in directions]
        if status or written != [len(source)] * 2:
            raise TransientError(
                f"{self.program}: exit status {status}, {written[0]} and {written[1]} lines of "
                f"links for {len(source)} sentence pairs; it said: "
                f"{(said.strip() or 'nothing').splitlines()[-1]}"
            )
        return directions


def _call(command: Sequence[str]) -> tuple[int, str]:
    """Run a script to its end: its exit status and what it wrote to its standard error.

    When this process is interrupted, the program that the script started ends too.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as script:
        try:
            said = script.communicate()[1]
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)
            raise
    return script.returncode, said


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
