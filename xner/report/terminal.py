"""What a job shows: progress while it works, a summary at its end, and few other lines.

On a terminal the progress is a live display; in a job's log it is a line now and then with the
same figures. Both are fed by the statistics of the shards that come in, so they need neither to
know the engine nor to ask the workers.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.table import Table
from rich.text import Text

from xner.errors import without_credentials
from xner.shards.ledger import SUMMARY_FILE
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

# Tables in a log need not fit into a window.
_LOG_WIDTH = 160


def configure_logging(verbose: bool = False) -> None:
    """Set this process's logging up: our own information and other people's warnings.

    ``verbose`` shows everybody's information, our debugging lines, and Python's warnings.
    """
    console = _console(stderr=True)
    handler: logging.Handler = logging.StreamHandler()
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    if console.is_terminal:
        handler, layout = RichHandler(console=console, show_path=verbose), "%(message)s"
    handler.setFormatter(_Discreet(layout, "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True
    )
    logging.captureWarnings(True)
    logging.getLogger("xner").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in ("py.warnings", "transformers", "ray"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    if not verbose:
        # Read when the libraries are imported, which then set their own levels.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        if not console.is_terminal:
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


class _Discreet(logging.Formatter):
    """Lines of whoever they are, without what is in their URLs to open them."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))


def track(
    results: Iterable[Result],
    *,
    description: str,
    total_shards: int,
    already_done: int,
    statistics_of: Callable[[Result], Statistics],
    log_every_seconds: float = 10.0,
) -> Iterator[Result]:
    """The same results, one a shard, while the progress that they make is shown.

    ``already_done`` of ``total_shards`` were committed by earlier runs: they count as done, but not
    for the speed. On a terminal the display is live; elsewhere a result prints a line unless the
    last line is younger than ``log_every_seconds``.
    """
    console = _console(stderr=True)
    figures = _Figures(total_shards, already_done)
    if console.is_terminal:
        yield from _track_live(results, figures, description, statistics_of, console)
        return
    last_line = -math.inf
    for result in results:
        figures.add(statistics_of(result))
        now = time.monotonic()
        if now - last_line >= log_every_seconds or figures.done == total_shards:
            _log.info("%s: %d/%d shards, %s", description, figures.done, total_shards, figures)
            last_line = now
        yield result


def _track_live(
    results: Iterable[Result],
    figures: _Figures,
    description: str,
    statistics_of: Callable[[Result], Statistics],
    console: Console,
) -> Iterator[Result]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("shards"),
        _FiguresColumn(figures),
    )
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        task = progress.add_task(description, total=figures.total_shards, completed=figures.done)
        for result in results:
            figures.add(statistics_of(result))
            progress.update(task, completed=figures.done)
            yield result


@contextmanager
def count_up(
    description: str, unit: str, log_every_seconds: float = 10.0
) -> Iterator[Callable[[int], None]]:
    """Show a growing count whose end nobody knows; what is given takes how many more there are."""
    console = _console(stderr=True)
    started = last_line = time.monotonic()
    count = 0

    def line() -> str:
        elapsed = time.monotonic() - started
        rate = count / elapsed if elapsed else 0
        return f"{description}: {count:,} {unit}, {rate:,.0f}/s, {duration(elapsed)} elapsed"

    if console.is_terminal:
        with console.status(line()) as status:

            def show(more: int) -> None:
                nonlocal count
                count += more
                status.update(line())

            yield show
        return

    def log(more: int) -> None:
        nonlocal count, last_line
        count += more
        if time.monotonic() - last_line >= log_every_seconds:
            _log.info(line())
            last_line = time.monotonic()

    yield log


class _Figures:
    """The running figures, as text: pairs/s, mentions, refused, elapsed, time left."""

    def __init__(self, total_shards: int, already_done: int) -> None:
        self.total_shards = total_shards
        self.done = self._done_before = already_done
        self._statistics = Statistics()
        self._started = time.monotonic()

    def add(self, statistics: Statistics) -> None:
        """Count one more shard."""
        self.done += 1
        self._statistics += statistics

    def __str__(self) -> str:
        elapsed = time.monotonic() - self._started
        rows, refused = self._statistics.rows, self._statistics.num_refused
        parts = [
            f"{rows / elapsed if elapsed else 0:,.0f} pairs/s",
            f"{self._statistics.num_mentions:,} mentions",
            f"{refused:,} refused ({refused / rows if rows else 0:.0%})",
            f"{duration(elapsed)} elapsed",
        ]
        if computed := self.done - self._done_before:
            left = elapsed / computed * (self.total_shards - self.done)
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


class _FiguresColumn(ProgressColumn):
    """The figures as a column of the live display, fresh at every refresh."""

    def __init__(self, figures: _Figures) -> None:
        super().__init__()
        self._figures = figures

    def render(self, task: Task) -> Text:
        return Text(str(self._figures), style="dim")


def duration(seconds: float) -> str:
    """A time as people write it: ``42s``, ``3m05s``, ``1h02m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def print_summary(title: str, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Print a table: names and values, or records with the same keys."""
    console = _console()
    # A title of the table's own would be broken to the table's width.
    console.print(Text(f"\n{without_credentials(title)}", style="bold"))
    table = Table(show_header=not isinstance(rows, Mapping))
    if isinstance(rows, Mapping):
        table.add_column()
        table.add_column(justify="right")
        records: list[Sequence[Any]] = list(rows.items())
    else:
        names = list(rows[0]) if rows else []
        numbers = number_columns(rows)
        for name in names:
            table.add_column(Text(name), justify="right" if name in numbers else "left")
        records = [[row[name] for name in names] for row in rows]
    for record in records:
        table.add_row(*(Text(as_text(value)) for value in record))
    console.print(table)


def number_columns(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The columns that hold numbers, nothing aside; a table sets them to the right."""
    return {name for row in rows for name, value in row.items() if isinstance(value, int | float)}


def as_text(value: Any) -> str:
    """A value for a table: thousands parted, floats to four digits, nothing as a dash, a list as
    its values.

    What opens the URLs in a text is left out of it.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return without_credentials(str(value))
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def write_summary(folder: Folder, data: Mapping[str, Any]) -> None:
    """Write ``summary.json`` into a job's output folder, keys sorted.

    JSON knows no infinity and no NaN: both become null. What opens the URLs in it is left out.
    """
    folder.publish_json(SUMMARY_FILE, _plain(data))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return without_credentials(value) if isinstance(value, str) else value


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_LOG_WIDTH)
