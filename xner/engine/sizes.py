"""How large the cluster and the pools are while a run goes on, seen by its driver."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ray
from ray._private.state import actors

from xner.engine.flow import ClusterSize
from xner.engine.metrics import show_actors
from xner.engine.nodes import living_nodes

_EVERY_SECONDS = 2.0

_log = logging.getLogger(__name__)


@contextmanager
def watched(pools: Sequence[str], report: Callable[[ClusterSize], None]) -> Iterator[None]:
    """Report the size while the block runs: at its start, and whenever it has changed."""
    started = time.monotonic()
    stop = threading.Event()

    def watch() -> None:
        last = None
        while True:
            try:
                size = cluster_size(pools, time.monotonic() - started)
            # The head may be slow or gone for a moment; what the run does about it is Ray's.
            except Exception as error:
                _log.debug("the size of the cluster is not known: %s", error)
            else:
                show_actors(size.actors)
                if last is None or not size.equals(last):
                    report(size)
                    last = size
            if stop.wait(_EVERY_SECONDS):
                return

    thread = threading.Thread(target=watch, name="cluster size", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        show_actors(dict.fromkeys(pools, 0))


def cluster_size(pools: Sequence[str], seconds: float = 0.0) -> ClusterSize:
    """The size now: nodes and GPUs of the whole cluster, and this driver's actors."""
    nodes = living_nodes().values()
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    # What `ray list actors` reads, but without a dashboard, which a Ray started here has not.
    alive = actors(job_id=job, actor_state_name="ALIVE").values()
    found = Counter(each["ActorClassName"] for each in alive)
    return ClusterSize(
        seconds=seconds,
        nodes=len(nodes),
        gpus=sum(resources.get("GPU", 0.0) for resources in nodes),
        # Ray Data names the class of a pool's actors after what they call.
        actors={pool: found[f"MapWorker(MapBatches({pool}))"] for pool in pools},
    )
