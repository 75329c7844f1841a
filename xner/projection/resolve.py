"""Which candidate each mention gets: the surest first, and no two in the same place.

The choice is greedy by score, which the literature on annotation projection finds as good as exact
optimisation. Only places collide: entities that change order in the translation are none of a
conflict, and order decides only between mentions that nothing else tells apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from xner.projection.decode import Candidate
from xner.text.mentions import Mention


def resolve(
    mentions: Sequence[Mention], candidates: Sequence[Sequence[Candidate]], min_score: float
) -> list[int | None]:
    """For each mention the index of its candidate, or None where it stays without a place.

    ``candidates`` holds one list a mention; those below ``min_score`` place nothing. Chosen spans
    do not overlap. Mentions with equal lists (the same name twice) take their places in the order
    in which they stand in the source. Raises ValueError when the two lengths differ.
    """
    chosen = greedy(mentions, candidates, min_score)
    return _in_source_order(mentions, candidates, chosen) if len(mentions) > 1 else chosen


def greedy(
    mentions: Sequence[Mention], candidates: Sequence[Sequence[Candidate]], min_score: float
) -> list[int | None]:
    """The choice of :func:`resolve`, before mentions with equal lists exchange their places.

    The surest go first, so a higher ``min_score`` takes the places with lower scores away and
    changes no other: one choice at ``min_score`` 0 tells what every threshold would leave.
    """
    ranked = sorted(
        (-candidate.score, mention.start, candidate.start - candidate.end, candidate.start, i, j)
        for i, (mention, offered) in enumerate(zip(mentions, candidates, strict=True))
        for j, candidate in enumerate(offered)
        if candidate.score >= min_score
    )
    chosen: list[int | None] = [None] * len(mentions)
    taken: list[Candidate] = []
    for *_, i, j in ranked:
        candidate = candidates[i][j]
        if chosen[i] is None and not any(_overlaps(candidate, other) for other in taken):
            chosen[i] = j
            taken.append(candidate)
    return chosen


def _overlaps(first: Candidate, second: Candidate) -> bool:
    return first.start < second.end and second.start < first.end


def _in_source_order(
    mentions: Sequence[Mention],
    candidates: Sequence[Sequence[Candidate]],
    chosen: Sequence[int | None],
) -> list[int | None]:
    """The same places, exchanged among placed mentions whose candidates are the same."""
    alike: dict[tuple[Candidate, ...], list[int]] = defaultdict(list)
    for i, j in enumerate(chosen):
        if j is not None:
            alike[tuple(candidates[i])].append(i)
    ordered = list(chosen)
    for offered, members in alike.items():
        members.sort(key=lambda i: mentions[i].start)
        places = sorted((offered[j].start, j) for i in members if (j := chosen[i]) is not None)
        for i, (_, j) in zip(members, places, strict=True):
            ordered[i] = j
    return ordered
