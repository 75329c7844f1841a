"""Which engine a run gets."""

from __future__ import annotations

from collections.abc import Sequence

from xner.config import EngineConfig, PoolConfig
from xner.engine.flow import Engine
from xner.engine.inline import InlineEngine


def engine_for(config: EngineConfig, pools: Sequence[PoolConfig] = ()) -> Engine:
    """The engine that the settings name; Ray is imported only when asked for."""
    if config.kind == "inline":
        return InlineEngine()
    from xner.engine.distributed import RayEngine

    return RayEngine(config, pools)
