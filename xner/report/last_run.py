"""What the last run of a labelling job came to, and how large its cluster was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from xner.engine.flow import ClusterSize
from xner.errors import DataError
from xner.report.document import Part
from xner.report.plots import drawn, plain
from xner.report.terminal import duration
from xner.shards.ledger import SUMMARY_FILE
from xner.shards.storage import Folder

_ABOUT = "What the job did when it was last started; earlier starts may have done more."
_CLUSTER = "Nodes of the whole cluster, and the actors of this run that hold a model."


def last_run(shards: Folder) -> list[Part]:
    """The parts of a report that tell of the last run; none where no summary does.

    Raises DataError for a summary that is not as a labelling job writes it.
    """
    run = (shards.read_record(SUMMARY_FILE) or {}).get("this_run")
    if run is None:
        return []
    try:
        # A summary of before there were sizes has none.
        sizes = [ClusterSize(**size) for size in run.get("cluster", ())]
        return [Part("The last run", _ABOUT, figures=_figures(run)), *_cluster(sizes)]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        where = f"{shards}/{SUMMARY_FILE}"
        raise DataError(f"{where}: not as a labelling job writes it: {error!r}") from error


def _figures(run: Mapping[str, Any]) -> dict[str, Any]:
    rate = run["pairs_per_second"]
    return {
        "shards": run["shards"],
        "pairs": run["rows"],
        "time": duration(run["seconds"]),
        **({} if rate is None else {"pairs a second": rate}),
        **{f"in {step}": duration(spent) for step, spent in run["seconds_by_step"].items()},
    }


def _cluster(sizes: Sequence[ClusterSize]) -> list[Part]:
    """One part where there was a cluster: its sizes, as a plot where they changed."""
    rows = [
        {
            "after": duration(size.seconds),
            "nodes": size.nodes,
            "GPUs": size.gpus,
            **{f"actors of {pool}": number for pool, number in size.actors.items()},
        }
        for size in sizes
    ]
    if not rows:
        return []
    plot = _plot(sizes, [name for name in rows[0] if name != "after"], rows)
    return [Part("The cluster", _CLUSTER, plot=plot if len(rows) > 1 else None, rows=rows)]


def _plot(
    sizes: Sequence[ClusterSize], names: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> str:
    def draw(axes: Axes) -> None:
        minutes = [size.seconds / 60 for size in sizes]
        for name in names:
            axes.step(minutes, [row[name] for row in rows], where="post", label=plain(name))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("minutes")

    return drawn(draw, "number")
