"""From word probabilities to candidate spans: the runs of words that a model marked for a name.

The aligner says for each word of the target how likely it belongs to a name. A candidate is a
maximal run of likely words in which a short gap is bridged (the largest single gain in the
literature on projection), without the punctuation at its edges. As in simalign (Jalili Sabet et
al. 2020), everything after the model is a pure function of its matrix.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from xner.projection.calibration import IDENTITY, Calibration
from xner.text.occurrences import occurrences
from xner.text.words import Span, segment

# Candidate.method: found by the aligner's probabilities, or as a verbatim copy of the name.
ALIGNER = "aligner"
COPY = "copy"

_STEPS_OF_SCORE = 4096

_DIRECTION = re.compile(r"LEFT|RIGHT|LOW-9|HIGH-REVERSED-9")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A span ``[start, end)`` of the target that may be a name; ``score`` lies in [0, 1].

    ``evidence``: what each witness says, as :mod:`xner.projection.evidence` names them; None where
    no evidence was weighed.
    """

    start: int
    end: int
    score: float
    method: str
    evidence: tuple[float, ...] | None = None


def stored_score(score: float) -> float:
    """A score as shards keep it, in steps of 1/4096.

    Finer differences are noise of the batch that it was computed in. Multiples of a power of two
    are the same number in float32, so a decision taken again from the stored score is the same.
    """
    return round(score * _STEPS_OF_SCORE) / _STEPS_OF_SCORE


def candidates(
    scores: npt.NDArray[np.floating],
    words: Sequence[Span],
    text: str,
    *,
    threshold: float,
    max_gap: int,
    max_candidates: int,
    calibration: Calibration = IDENTITY,
) -> list[list[Candidate]]:
    """The candidates of each name, best first; an empty list where no word is likely enough.

    ``scores`` is [num_names, num_words], ``words`` the spans of those words in ``text``. Words at
    or above ``threshold`` form a run; up to ``max_gap`` words below it are bridged. A run's score
    is the mean over all its words, bridged ones too: a bridge over a word that the model denies
    costs something, and of two runs the one without it wins. Of equal scores the longer run comes
    first, then the earlier one. ``calibration`` is applied to the candidates' scores at the end.
    Raises ValueError when shapes disagree or a score is not a number.
    """
    if scores.ndim != 2 or scores.shape[1] != len(words):
        raise ValueError(f"scores of shape {scores.shape} for {len(words)} words")
    found: list[list[Candidate]] = [[] for _ in range(len(scores))]
    if not scores.size:
        return found
    highest = scores.max()
    if highest < threshold:
        return found
    if np.isnan(highest):
        raise ValueError("a word probability is not a number")
    likely = scores >= threshold
    names, columns = np.nonzero(likely)
    for name, first, end in _runs(names.tolist(), columns.tolist(), max_gap):
        first, end = _trimmed(first, end, likely[name], words, text)
        if first < end:
            mean = sum(scores[name, first:end].tolist()) / (end - first)
            span = words[first][0], words[end - 1][1]
            found[name].append(Candidate(*span, stored_score(mean), ALIGNER))
    for runs in found:
        runs.sort(key=lambda c: (-c.score, c.start - c.end, c.start))
        del runs[max_candidates:]
    return [[replace(c, score=stored_score(calibration(c.score))) for c in runs] for runs in found]


def verbatim(name: str, text: str, words: Sequence[Span]) -> Span | None:
    """The place where ``name`` stands in ``text`` at word borders, if there is exactly one."""
    found = occurrences(name, text, words)
    return found[0] if len(found) == 1 else None


def brackets(text: str, words: Sequence[Span]) -> list[tuple[int, int]]:
    """The words that are opening and closing bracket of each other, in the order of the closing.

    Brackets without a partner, and what stands across others, are left out.
    """
    found: list[tuple[int, int]] = []
    open_: list[tuple[int, str]] = []
    for index, (start, end) in enumerate(words):
        if end - start > 1 or not (mark := paired_mark(text[start:end])):
            continue
        category = unicodedata.category(text[start])
        if category == "Ps":
            open_.append((index, mark))
        elif category == "Pe" and any(mark == other for _, other in open_):
            while open_[-1][1] != mark:
                open_.pop()
            found.append((open_.pop()[0], index))
    return found


def split_at_bracket(start: int, end: int, text: str) -> list[Span]:
    """A name that is told twice, the second time in brackets, as two spans; any other as it is.

    `Vereinte Nationen (UN)` is such: the bracket closes at the end. Either part is without the
    punctuation at its edges and has a letter: `(52)` and `(?)` are no names. Corner and angle
    brackets are quotation marks: in 电影《红楼梦》 nothing is told twice.
    """
    if unicodedata.category(text[end - 1]) != "Pe" or _is_quote(text[end - 1]):
        return [(start, end)]
    inside = [(a, b) for a, b in segment(text) if start <= a and b <= end]
    pairs = brackets(text, inside)
    if not pairs or pairs[-1][1] != len(inside) - 1:
        return [(start, end)]
    opening = pairs[-1][0]
    is_likely = np.ones(len(inside), bool)
    parts = [
        (inside[first][0], inside[stop - 1][1])
        for first, stop in (
            _trimmed(*bounds, is_likely, inside, text)
            for bounds in ((0, opening), (opening + 1, len(inside) - 1))
        )
        if first < stop
    ]
    are_names = [any(map(str.isalpha, text[a:b])) for a, b in parts]
    return parts if are_names == [True, True] else [(start, end)]


def _is_quote(bracket: str) -> bool:
    return any(shape in unicodedata.name(bracket) for shape in ("CORNER", "ANGLE"))


def _runs(names: list[int], columns: list[int], max_gap: int) -> Iterator[tuple[int, int, int]]:
    """(name, first word, word after the last), from the row-major places of likely words."""
    first = 0
    for last in range(len(names)):
        is_broken = (
            last + 1 == len(names)
            or names[last + 1] != names[last]
            or columns[last + 1] - columns[last] - 1 > max_gap
        )
        if is_broken:
            yield names[first], columns[first], columns[last] + 1
            first = last + 1


def _trimmed(
    first: int, end: int, likely: npt.NDArray[np.bool_], words: Sequence[Span], text: str
) -> tuple[int, int]:
    """The run without edge words that are punctuation, or that are unlikely once those are gone.

    A bracket or quotation mark whose partner stands inside the run stays: "ARD (Germany)". The word
    segmentation decides what a mark belongs to: the last period of "U.S." is no word of its own,
    that of "Inc." is.
    """
    marks = [paired_mark(text[start:end]) for start, end in words[first:end]]
    offset = first
    while first < end:
        inside = marks[first + 1 - offset : end - 1 - offset]
        if not likely[first] or _is_loose(marks[first - offset], inside):
            first += 1
        elif not likely[end - 1] or _is_loose(marks[end - 1 - offset], inside):
            end -= 1
        else:
            break
    return first, end


def _is_loose(mark: str | None, inside: Sequence[str | None]) -> bool:
    return mark is not None and (mark == "" or mark not in inside)


@lru_cache(maxsize=65_536)
def paired_mark(word: str) -> str | None:
    """None for a word proper, for a paired mark what it shares with its partner, else "".

    A mark is a word of Unicode's categories P*, Sk for the accents that serve as quotes, or Cf for
    what is invisible.
    Partners have the same name but for the direction: German closes with the quotation mark that
    English opens with.
    """
    if not all(unicodedata.category(char).startswith(("P", "Sk", "Cf")) for char in word):
        return None
    name = unicodedata.name(word, "") if len(word) == 1 else ""
    shared = " ".join(_DIRECTION.sub("", name).split())
    return shared if shared != name or "QUOTATION" in name else ""
