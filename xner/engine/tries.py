"""Which shards and models cost their process its life, counted for all processes of a run.

Ray starts a dead process again and gives it the same shard, without end. That is right where a node
was lost, and never ends where the shard itself is what kills: a step that hangs on it, a library
that crashes, memory that runs out. Both look alike from outside, but for one thing: in the second
case the node is still there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection

MAX_LOST = 3
"""Processes that a shard may cost a pool before it is given up."""

MAX_GIVEN_UP = 3
"""Shards that a run may give up: with more, it is not they that are wrong."""

MAX_LOADS = 4
"""Failures to load the models of a pool in a row, with none loaded and no shard done in between."""

MAX_WAIT_SECONDS = 60.0
"""The longest wait before another process of a node tries to load what the last could not."""


class Tries:
    """Counts for a run; ``living_nodes`` names the nodes that are there."""

    def __init__(self, living_nodes: Callable[[], Collection[str]]) -> None:
        self._living_nodes = living_nodes
        self._open: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._given_up: set[str] = set()
        self._failed_loads = Counter[str]()
        self._failed_on = Counter[tuple[str, str]]()
        # What came of the last load on each node; None while nothing has.
        self._loads: defaultdict[str, dict[str, bool | None]] = defaultdict(dict)

    def begin(self, pool: str, shard: str, node: str) -> int:
        """Take note of a try on a node.

        Returns 0, or, where the shard has to be given up instead, how many have been so far.
        """
        lost = self._open[pool, shard]
        if lost:
            living = self._living_nodes()
            lost[:] = [each for each in lost if each in living]
        if len(lost) >= MAX_LOST:
            self._given_up.add(shard)
            return len(self._given_up)
        lost.append(node)
        return 0

    def end(self, pool: str, shard: str) -> None:
        """Take note that a shard has been through a pool, whatever came of it."""
        self._open.pop((pool, shard), None)
        self._failed_loads[pool] = 0

    def loading(self, pool: str, node: str) -> None:
        """Take note that a process of a pool begins to load its models on a node."""
        self._loads[pool].setdefault(node, None)

    def loaded(self, pool: str, node: str) -> None:
        """Take note that it could."""
        self._loads[pool][node] = True
        self._failed_loads[pool] = self._failed_on[pool, node] = 0

    def load_failed(self, pool: str, node: str) -> float | None:
        """Take note that it could not.

        Returns the seconds to wait before another process tries, more each time that the node
        fails, or None where none will succeed: every living node has failed that has tried.
        """
        if self._loads[pool].get(node) is not False:
            # What the others have failed before says nothing of this one.
            self._failed_loads[pool] = 0
        self._loads[pool][node] = False
        self._failed_loads[pool] += 1
        self._failed_on[pool, node] += 1
        if self._failed_loads[pool] >= MAX_LOADS:
            living = {*self._living_nodes(), node}
            if all(came is False for each, came in self._loads[pool].items() if each in living):
                return None
        return min(4.0 ** min(self._failed_on[pool, node] - 1, 10), MAX_WAIT_SECONDS)
