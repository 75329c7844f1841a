"""A page as one HTML file that needs nothing but itself: it can be mailed, and opens from a disk.

Text of corpora is foreign text. What jinja2 writes it escapes; rows of shards ride as JSON, in
which no tag can end, and the page's script puts them in as text. The page's policy lets no other
script run and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

import xner
from xner.errors import without_credentials
from xner.report.terminal import as_text, number_columns
from xner.shards.storage import Folder

Row = Mapping[str, Any]

_ASSETS = files("xner.report") / "assets"


@dataclass(frozen=True)
class Step:
    """A bar of a funnel: what is left, or (``is_loss``) what was refused, and why."""

    name: str
    count: int
    note: str = ""
    is_loss: bool = False


@dataclass(frozen=True)
class Part:
    """A part of a page; what is empty is left out.

    ``plot`` is SVG, taken as it is, with ``rows`` as the numbers behind it. ``rows`` are records
    with the same keys.
    """

    heading: str
    note: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    plot: str | None = None
    rows: Sequence[Row] = ()


def write_document(
    path: str, title: str, parts: Sequence[Part], pairs: Mapping[str, Any] | None = None
) -> None:
    """Write the page to any fsspec location; see :func:`render_document`."""
    folder, name = posixpath.split(path)
    Folder.at(folder or ".").publish(name, render_document(title, parts, pairs).encode())


def render_document(
    title: str, parts: Sequence[Part], pairs: Mapping[str, Any] | None = None
) -> str:
    """The page's HTML. ``pairs``: what xner.report.browser has for the browser of rows, if any."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"text": as_text, "number_columns": number_columns, "apart": _apart}
    script = "" if pairs is None else _asset("rule.js") + _asset("browser.js")
    return environment.from_string(_asset("page.html")).render(
        title=without_credentials(title),
        parts=[part for part in parts if part.figures or part.steps or part.plot or part.rows],
        style=_asset("style.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=None if pairs is None else embedded(pairs),
        version=xner.__version__,
        now=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )


def embedded(value: Any) -> str:
    """JSON for the inside of a script element, which ends at the first end tag, quoted or not."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _apart(plot: str, number: int) -> str:
    """A plot whose names of elements are not those of another plot of the page."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>plot{number}-", plot)
