"""The nodes of the Ray cluster; apart from all else, for the actor of `xner.engine.tries` asks too.

What that actor imports is paid for in every run; Ray Data would make it two seconds of a core.
"""

from __future__ import annotations

from collections.abc import Mapping

import ray


def living_nodes() -> Mapping[str, Mapping[str, float]]:
    """The resources of each node that is there, by the node's name."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
