"""A report as one HTML file: figures, tables, plots, and sentence pairs with mentions marked.

The page needs nothing but itself: no script, no font and no picture from elsewhere, so it can be
mailed and read on a phone. Text of corpora is foreign text, and jinja2 escapes all of it.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, StrictUndefined

from xner.errors import without_credentials
from xner.projection.quality import REASONS
from xner.report.terminal import as_text, number_columns
from xner.shards.storage import Folder

Row = Mapping[str, Any]

_NONE: Mapping[str, str] = MappingProxyType({})

# Hues in degrees, far apart for the first few entity types.
_HUES = (212, 145, 32, 280, 350, 95, 178, 245, 60, 315)

_TEMPLATE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --ink: #1c2024; --dim: #646b73; --line: #dfe3e8; --card: #fff; --back: #f6f7f9;
  --mark: 85% 90%; --edge: 55% 45%; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #9aa2ab; --line: #30363d;
  --card: #1b1f24; --back: #121518; --mark: 45% 24%; --edge: 60% 65%; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 4rem; background: var(--back);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1.25rem; }
h2 { font-size: 1.05rem; margin: 2.25rem 0 .5rem; }
.dim { color: var(--dim); font-size: .85rem; margin: .1rem 0 .6rem; }
.figures { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.figures div, .pair, .plot, .table { background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; padding: .6rem .8rem; }
.figures b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--dim); font-size: .85rem; }
.plot { background: #fff; }
.plot svg { display: block; height: auto; max-width: 100%; }
.table { overflow-x: auto; padding: .2rem .4rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: left; border-top: 1px solid var(--line); }
th { border: 0; color: var(--dim); font-weight: 600; font-size: .85rem; }
.number { text-align: right; }
.pair { margin: .5rem 0; }
.pair p { margin: .15rem 0; overflow-wrap: anywhere; }
.pair small { color: var(--dim); margin-right: .4rem; }
mark { background: hsl(var(--hue) var(--mark)); color: inherit; border-radius: .25rem;
  padding: .05rem .25rem; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
mark.unplaced { background: none; outline: 1px dashed hsl(var(--hue) var(--edge)); }
mark sup { color: hsl(var(--hue) var(--edge)); font-size: .62rem; font-weight: 700;
  line-height: 1; margin-left: .2rem; }
</style>
<h1>{{ title }}</h1>
<div class="figures">
{%- for name, value in figures.items() %}
<div><b>{{ value | text }}</b><span>{{ name }}</span></div>
{%- endfor %}
</div>
{%- for heading, plot in plots.items() %}
<h2>{{ heading }}</h2>
{%- if heading in notes %}<p class="dim">{{ notes[heading] }}{% endif %}
<div class="plot">{{ plot | safe }}</div>
{%- endfor %}
{%- for heading, rows in tables.items() if rows %}
<h2>{{ heading }}</h2>
{%- if heading in notes %}<p class="dim">{{ notes[heading] }}{% endif %}
<div class="table"><table>
{%- set numbers = rows | number_columns %}
<tr>{% for name in rows[0] %}<th{{ " class=number" if name in numbers }}>{{ name }}{% endfor %}
{%- for row in rows %}
<tr>{% for name, value in row.items() %}<td{{ " class=number" if name in numbers }}>
{{- value | text }}{% endfor %}
{%- endfor %}
</table></div>
{%- endfor %}
{%- for (status, reason), pairs in samples.items() %}
<h2>{{ "Accepted" if status == "ok" else "Refused: " ~ reason }}</h2>
<p class="dim">{{ reasons.get(reason, "Source and projected mentions; point at one for scores.") }}
{%- for pair in pairs %}
<div class="pair">
{%- for lang, pieces in pair %}
<p lang="{{ lang.replace('_', '-') }}"><small>{{ lang }}</small>
{%- for piece, mention in pieces %}{% if mention %}<mark style="--hue: {{ hues[mention.label] }}"
{%- if not mention.placed %} class="unplaced"{% endif %} title="{{ mention.title }}">{{ piece -}}
<sup>{{ mention.label }} {{ mention.number }}</sup></mark>{% else %}{{ piece }}{% endif %}
{%- endfor %}
{%- endfor %}
</div>
{%- endfor %}
{%- endfor %}
</html>
"""


def write_page(
    path: str,
    title: str,
    figures: Mapping[str, Any],
    tables: Mapping[str, Sequence[Row]],
    samples: Sequence[Row] = (),
    plots: Mapping[str, str] = _NONE,
    notes: Mapping[str, str] = _NONE,
) -> None:
    """Write the page to any fsspec location; see :func:`render_page`."""
    folder, name = posixpath.split(path)
    content = render_page(title, figures, tables, samples, plots, notes)
    Folder.at(folder or ".").publish(name, content.encode())


def render_page(
    title: str,
    figures: Mapping[str, Any],
    tables: Mapping[str, Sequence[Row]],
    samples: Sequence[Row] = (),
    plots: Mapping[str, str] = _NONE,
    notes: Mapping[str, str] = _NONE,
) -> str:
    """The page's HTML.

    ``figures``: name -> value; ``tables``: heading -> records with the same keys; ``samples``: rows
    of the ``pseudo`` schema, shown by status and reason, mentions numbered as in the source;
    ``plots``: heading -> SVG, taken as it is; ``notes``: heading -> how to read what follows it.
    """
    groups: dict[tuple[str, str | None], list[Any]] = defaultdict(list)
    for row in sorted(samples, key=lambda row: row["status"] != "ok"):
        groups[row["status"], row["reason"]].append(_sides(row))
    labels = sorted({m["label"] for row in samples for m in row["source_mentions"] or ()})
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"text": as_text, "number_columns": number_columns}
    return environment.from_string(_TEMPLATE).render(
        title=without_credentials(title),
        figures=figures,
        tables=tables,
        samples=groups,
        plots=plots,
        notes=notes,
        reasons=REASONS,
        hues={label: _HUES[i % len(_HUES)] for i, label in enumerate(labels)},
    )


def _sides(row: Row) -> list[tuple[str, list[tuple[str, Row | None]]]]:
    """Both sentences of a pair: their language and their pieces."""
    projected = {mention["source_index"]: mention for mention in row["mentions"] or ()}
    source = [
        {
            **mention,
            "number": number + 1,
            "placed": number in projected,
            "title": f"teacher {mention['score']:.2f}",
        }
        for number, mention in enumerate(row["source_mentions"] or ())
    ]
    target = [
        {
            **mention,
            "number": number + 1,
            "placed": True,
            "title": f"teacher {mention['score']:.2f}, aligner {mention['alignment_score']:.2f}",
        }
        for number, mention in projected.items()
    ]
    return [
        (row["source_lang"], list(_pieces(row["source"], source))),
        (row["target_lang"], list(_pieces(row["target"], target))),
    ]


def _pieces(text: str, mentions: Sequence[Row]) -> Iterator[tuple[str, Row | None]]:
    """The text cut at the borders of its mentions, which do not overlap."""
    done = 0
    for mention in sorted(mentions, key=lambda m: m["start"]):
        yield text[done : mention["start"]], None
        yield text[mention["start"] : mention["end"]], mention
        done = mention["end"]
    yield text[done:], None
