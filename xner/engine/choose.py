"""Which engine a run gets; Ray is imported only where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from xner.config import EngineConfig, OptimizationConfig, PoolConfig
from xner.engine.flow import Engine
from xner.engine.inline import InlineEngine
from xner.errors import ConfigError


def engine_for(config: EngineConfig, pools: Sequence[PoolConfig] = ()) -> Engine:
    """The engine that the settings name."""
    if config.kind == "inline":
        return InlineEngine(config.shard_seconds)
    from xner.engine.distributed import RayEngine

    return RayEngine(config, pools)


def connect_for_training(config: EngineConfig, optimization: OptimizationConfig) -> None:
    """Join or start the Ray of the training workers; nothing where this process trains itself.

    Raises ConfigError when there is no such cluster, or none is wanted.
    """
    if optimization.num_workers == 0:
        return
    if config.kind == "inline":
        raise ConfigError(
            f"engine.kind is inline, but optimization.num_workers is {optimization.num_workers}: "
            "0 workers train in this process, without Ray"
        )
    from xner.engine.distributed import connect

    workers = PoolConfig(
        min_size=optimization.num_workers,
        max_size=optimization.num_workers,
        num_cpus=optimization.cpus_per_worker,
        num_gpus=optimization.gpus_per_worker,
    )
    connect(config, [workers])
