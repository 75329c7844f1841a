"""Rules of projection along hard word links, as the literature uses them.

The links of two directions are taken one by one, or by what they share, or together; of the target
words that are linked to a mention, the longest run counts in which a gap of one word is bridged, or
all from the first to the last. Links to punctuation marks do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

Links = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Directions:
    """Links [source words, target words] of either direction."""

    forward: Links
    reverse: Links


# Links of a pair, the mention's source words, and which target words are punctuation marks ->
# the mention's target words, none where nothing but marks is linked.
Rule = Callable[[Directions, range, Sequence[bool]], range]


def _project(
    choose: Callable[[Directions], Links],
    whole: bool,
    links: Directions,
    own: range,
    marks: Sequence[bool],
) -> range:
    """By one choice of links: ``whole`` from the first to the last word, else the longest run.

    Of runs of equal length it is the first.
    """
    linked = choose(links)[own.start : own.stop].any(0)
    columns = [column for column in np.flatnonzero(linked).tolist() if not marks[column]]
    if not columns:
        return range(0)
    if whole:
        return range(columns[0], columns[-1] + 1)
    runs = [[columns[0], columns[0]]]
    for column in columns[1:]:
        if column - runs[-1][1] <= 2:
            runs[-1][1] = column
        else:
            runs.append([column, column])
    first, last = max(runs, key=lambda run: run[1] - run[0])
    return range(first, last + 1)


_CHOICES: dict[str, Callable[[Directions], Links]] = {
    "forward": lambda links: links.forward,
    "reverse": lambda links: links.reverse,
    "intersection": lambda links: links.forward & links.reverse,
    "union": lambda links: links.forward | links.reverse,
}

RULES: dict[str, Rule] = {
    **{
        f"{name}, longest run": partial(_project, choose, False)
        for name, choose in _CHOICES.items()
    },
    **{
        f"{name}, first to last": partial(_project, _CHOICES[name], True)
        for name in ("forward", "reverse", "intersection")
    },
}
