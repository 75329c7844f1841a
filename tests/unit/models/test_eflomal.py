from __future__ import annotations

import importlib.metadata
import os
import select
import signal
from pathlib import Path

import numpy as np
import pytest

from xner.config import LinksConfig
from xner.errors import ConfigError, TransientError
from xner.models import eflomal
from xner.models.eflomal import MAX_WORDS, EflomalLinker
from xner.text.pairs import SentencePair
from xner.text.words import segment

try:
    importlib.metadata.version("eflomal")
    MISSING = False
except importlib.metadata.PackageNotFoundError:
    MISSING = True

needs_eflomal = pytest.mark.skipif(MISSING, reason="eflomal is not installed: an extra")

CONFIG = LinksConfig(kind="eflomal")
# In the order of the source; the translation turns every sentence round.
LEXICON = {"red": "rot", "house": "Haus", "green": "grün", "tree": "Baum", "blue": "blau"}


def pair(source: str, target: str) -> SentencePair:
    return SentencePair(source, segment(source), target, segment(target))


def bitext() -> list[SentencePair]:
    words = list(LEXICON)
    return [
        pair(f"{a} {b} {c}", f"{LEXICON[c]} {LEXICON[b]} {LEXICON[a]}")
        for a in words
        for b in words
        for c in words
        if len({a, b, c}) == 3
    ]


def share_of_crossed_links(matrices: list[np.ndarray]) -> float:
    crossed = np.eye(3, dtype=bool)[::-1]
    return float(np.mean([(matrix[crossed] == 1).mean() for matrix in matrices]))


@needs_eflomal
def test_eflomal_links_a_toy_bitext() -> None:
    pairs = bitext()
    matrices = EflomalLinker(CONFIG).links(pairs)
    assert all(matrix.shape == (3, 3) and matrix.dtype == np.float32 for matrix in matrices)
    assert set(np.unique(np.concatenate(matrices))) <= {0.0, 0.5, 1.0}
    assert share_of_crossed_links(matrices) > 0.9
    assert np.mean([matrix.sum() for matrix in matrices]) < 3.3


@needs_eflomal
def test_eflomal_directions_link_each_word_of_one_side_once() -> None:
    # Three target words translate one source word.
    threefold = {word: f"{other} {other}er {other}est" for word, other in LEXICON.items()}
    pairs = [
        pair(f"{a} {b}", f"{threefold[a]} {threefold[b]}")
        for a in threefold
        for b in threefold
        if a != b
    ]
    directions = EflomalLinker(CONFIG).directions(pairs * 5)
    assert max(forward.sum(axis=0).max() for forward, _ in directions) == 1
    assert max(reverse.sum(axis=1).max() for _, reverse in directions) == 1
    assert np.mean([forward.sum(axis=1).max() > 1 for forward, _ in directions]) > 0.9


@needs_eflomal
def test_eflomal_works_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert share_of_crossed_links(EflomalLinker(CONFIG).links(bitext())) > 0.9


@needs_eflomal
@pytest.mark.parametrize("trap", ["\x85", "\u2028", "\n", " ", "\x1c", "\ud800", "0-0"])
def test_eflomal_characters_inside_words_break_no_line(trap: str) -> None:
    # Spans come from tagged files too, whose tokens may hold what `segment` would cut at.
    odd = [
        SentencePair(
            f"{trap}x {p.source}",
            [
                (0, 1 + len(trap)),
                *((s + len(trap) + 2, e + len(trap) + 2) for s, e in segment(p.source)),
            ],
            f"{p.target} y{trap}",
            [*p.target_words, (len(p.target) + 1, len(p.target) + 2 + len(trap))],
        )
        for p in bitext()
    ]
    matrices = EflomalLinker(CONFIG).links(odd)
    assert all(matrix.shape == (4, 4) for matrix in matrices)
    crossed = np.eye(4, dtype=bool)[::-1]
    # Mostly all, sometimes four fifths: the sampler takes no seed. By chance it is a quarter.
    assert np.mean([(matrix[crossed] == 1).mean() for matrix in matrices]) > 0.6


@needs_eflomal
def test_eflomal_refuses_empty_and_overlong_sides() -> None:
    long = " ".join(["red"] * (MAX_WORDS + 1))
    refused = [pair("", "rot"), pair("red", ""), pair("", ""), pair(long, "rot"), pair("red", long)]
    good = bitext()
    matrices = EflomalLinker(CONFIG).links([*refused[:2], *good, *refused[2:]])
    shapes = [m.shape for m in [*matrices[:2], *matrices[2 + len(good) :]]]
    assert shapes == [(0, 1), (1, 0), (0, 0), (MAX_WORDS + 1, 1), (1, MAX_WORDS + 1)]
    assert not matrices[-1].any() and not matrices[-2].any()
    assert share_of_crossed_links(matrices[2 : 2 + len(good)]) > 0.9


@needs_eflomal
def test_eflomal_reads_the_longest_sentence_it_can() -> None:
    longest = pair(" ".join(f"w{number}" for number in range(MAX_WORDS)), "a b c")
    assert EflomalLinker(CONFIG).links([longest, *bitext()])[0].any()


@needs_eflomal
def test_eflomal_is_not_called_for_nothing() -> None:
    linker = EflomalLinker(CONFIG)
    linker.program = Path("/nowhere")
    assert linker.links([]) == []
    assert [matrix.shape for matrix in linker.links([pair("", "rot")])] == [(0, 1)]


def test_eflomal_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(eflomal.importlib.metadata, "files", not_installed)
    with pytest.raises(ConfigError, match=r"'\.\[eflomal\]'"):
        EflomalLinker(CONFIG)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; print('no memory', file=sys.stderr); sys.exit(3)", "status 3.*: no memory"),
        ("", "status 0, 0 and 0 lines of links for 1 sentence pairs; it said: nothing"),
    ],
)
def test_eflomal_failure_is_reported(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "eflomal-align"
    program.write_text(script)
    monkeypatch.setattr(eflomal, "find_program", lambda: program)
    with pytest.raises(TransientError, match=message):
        EflomalLinker(CONFIG).links([pair("red", "rot")])


def test_eflomal_sums_the_two_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the program that writes known links, and shows what it was given."""
    program = tmp_path / "eflomal-align"
    program.write_text(
        "import sys\n"
        "options = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "assert options['-m'] == '3'\n"
        "assert open(options['-s']).read() == '0 1\\n1 0 2\\n'\n"
        "assert open(options['-t']).read() == '0 1 2\\n0\\n'\n"
        "open(options['-f'], 'w').write('0-0 1-2\\n\\n')\n"
        "open(options['-r'], 'w').write('0-0 0-1\\n2-0\\n')\n"
    )
    monkeypatch.setattr(eflomal, "find_program", lambda: program)
    pairs = [pair("The house", "la casa roja"), pair("", "no"), pair("HOUSE the !", "La")]
    linker = EflomalLinker(CONFIG)
    forward, reverse = linker.directions(pairs)[0]
    assert forward.dtype == reverse.dtype == bool
    assert forward.tolist() == [[True, False, False], [False, False, True]]
    assert reverse.tolist() == [[True, True, False], [False, False, False]]
    first, empty, last = linker.links(pairs)
    assert first.dtype == empty.dtype == np.float32
    assert first.tolist() == [[1, 0.5, 0], [0, 0, 0.5]]
    assert empty.shape == (0, 1)
    assert last.tolist() == [[0], [0], [0.5]]


def test_eflomal_ends_with_an_interrupted_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that starts another program, as eflomal does, and interrupts its caller."""
    pipe, program = tmp_path / "pipe", tmp_path / "eflomal-align"
    os.mkfifo(pipe)
    program.write_text(
        "import os, signal, subprocess, sys, time\n"
        f"held = os.open({str(pipe)!r}, os.O_WRONLY)\n"
        "inner = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "subprocess.Popen(inner, pass_fds=[held])\n"
        "os.write(held, b'x')\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(eflomal, "find_program", lambda: program)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    # Whoever started the tests in the background may have left the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            EflomalLinker(CONFIG).links([pair("red", "rot")])
        assert os.read(reader, 1) == b"x"
        # The end of the pipe: nobody holds it any more.
        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 1) == b""
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(reader)
