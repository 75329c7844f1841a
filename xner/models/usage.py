"""What the forwards of a model have cost; without torch, for whoever only counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What forwards have cost; adds up with ``+``, and ``-`` gives what came since.

    ``tokens``: sub-words read; ``cells``: those computed, padding included; ``seconds``: time of
    the device; ``forwards``: how many there were.
    """

    tokens: int = 0
    cells: int = 0
    seconds: float = 0.0
    forwards: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens + other.tokens,
            self.cells + other.cells,
            self.seconds + other.seconds,
            self.forwards + other.forwards,
        )

    def __sub__(self, before: Usage) -> Usage:
        return Usage(
            self.tokens - before.tokens,
            self.cells - before.cells,
            self.seconds - before.seconds,
            self.forwards - before.forwards,
        )

    @property
    def padding_share(self) -> float:
        """Share of the computed sub-words that are padding."""
        return 1 - self.tokens / self.cells if self.cells else 0.0


def usage_of(stage: object) -> Usage:
    """What the stage's models have computed so far; nothing where it has none."""
    return getattr(stage, "usage", Usage())
