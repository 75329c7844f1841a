"""The model card of a tagger: where its labels are from, how it was trained, what it was chosen by.

Everything in it is told by the model folder, the recipe, and the ``run.json`` of the shards that
were trained on. The header is what the Hugging Face hub reads (Mitchell et al. 2019 for the idea of
a card). No scores but those of the selection: others come from an evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

import xner
from xner.config import OptimizationConfig, TaggedSourceConfig, TrainTaggerConfig
from xner.errors import without_credentials
from xner.models.folders import local_path
from xner.report.terminal import as_text
from xner.shards.ledger import DATA_FILE, RUN_FILE
from xner.shards.storage import Folder
from xner.text.iob2 import UNKNOWN
from xner.text.languages import language_of

Made = Mapping[str, Any]

_TEMPLATE = """\
---
{{ header }}
---

# {{ name | plain }}

Finds mentions of {{ types | plain }} in text ({{ languages | plain }}). A token
classification model whose labels are IOB2 tags; a word's tag is read at its first sub-word. Trained
by xner {{ version }}.

```python
from transformers import pipeline

tagger = pipeline(
    "token-classification", {{ name | tojson }}, aggregation_strategy={{ strategy | tojson }}
)
tagger("…")
```

## Data

| source | labels | languages | sentences | mentions |
|---|---|---|---|---|
{% for source in sources -%}
| {{ source.path | code }} | {{ source.labels }} | {{ source.languages | plain }} \
| {{ source.sentences | text }} \
| {% for label, count in source.mentions.items() %}{{ label | plain }} {{ count | text }}\
{{ ", " if not loop.last }}{% endfor %} |
{% endfor %}
{% for source in sources if source.notes -%}
* {{ source.path | code }}: {{ source.notes | join("; ") | plain }}.
{% endfor %}
{% for path, rows in made.items() -%}
### Pseudo-labels of {{ path | code }}

No person labelled this text: a teacher labelled its translation, an aligner carried the labels \
over{{ ", and a student was asked for its own" if "student content" in rows }}.

{{ table(rows) }}
{% endfor -%}
## Training

{{ table(training) }}
## Selection

{{ selection }}

{{ table(metrics) }}
## License

{{ license | plain }}
"""


def write_tagger_card(config: TrainTaggerConfig, summary: Mapping[str, Any]) -> None:
    """Put README.md into the model folder that a training with this summary has published."""
    folder = Folder.at(config.output)
    pseudo = [source.path for source in config.data if source.format == "pseudo"]
    made = {path: record for path in pseudo if (record := _made_by(path))}
    strategy = _strategy(folder.read_record("tokenizer.json") or {})
    card = tagger_card(config, summary, folder.require_record(DATA_FILE), made, strategy)
    folder.publish("README.md", card.encode())


def _strategy(tokenizer: Mapping[str, Any]) -> str:
    """How transformers' pipeline should join this tokenizer's sub-words.

    Only of those that mark what goes on within a word does ``first`` know the words; of all others
    it takes what stands between two spaces for one, with its punctuation, or a Chinese sentence.
    """
    return "first" if tokenizer.get("model", {}).get("continuing_subword_prefix") else "simple"


def tagger_card(
    config: TrainTaggerConfig,
    summary: Mapping[str, Any],
    about: Mapping[str, Any],
    made: Mapping[str, Made],
    strategy: str,
) -> str:
    """The card's Markdown.

    ``summary`` and ``about`` are training.json and data.json of the model folder; ``made`` the
    ``run.json`` of pseudo-labelled sources, by path; ``strategy`` the pipeline's that suits it.
    """
    read = about["data"]
    languages = sorted({lang for source in read for lang in source["languages"]})
    header = ModelCardData(
        # The hub knows languages, and no countries.
        language=sorted({language_of(lang) for lang in languages}),
        license=config.license or "unknown",
        base_model=_base_model(config.encoder),
        pipeline_tag="token-classification",
        tags=["named-entity-recognition", "xner"],
        metrics=["f1", "precision", "recall"],
    )
    return (
        markdown_environment()
        .from_string(_TEMPLATE)
        .render(
            header=header.to_yaml(),
            name=Folder.at(config.output).name,
            strategy=strategy,
            version=xner.__version__,
            types=about["types"],
            languages=languages,
            sources=[
                {**each, "labels": _labelled_by(source), "notes": _notes(source)}
                for source, each in zip(config.data, read, strict=True)
            ],
            made={path: provenance(record) for path, record in made.items()},
            training=_training(config, summary),
            selection=_selection(about["selected_on"], summary, config.optimization.keep_best),
            metrics=summary["metrics"],
            license=config.license
            or "Not stated: what the data and the encoder allow is for the publisher to say.",
            table=markdown_table,
        )
    )


def _made_by(path: str) -> Made | None:
    """The ``run.json`` of pseudo-labelled shards: of their folder, or of one that it lies in."""
    location = Folder.at(path).location
    for _ in range(3):
        record = Folder(location).read_record(RUN_FILE) if location else None
        if record is not None:
            return dict(record)
        location = location.rpartition("/")[0]
    return None


def _base_model(encoder: str) -> str | None:
    """The encoder's name on the hub, if it is from there."""
    is_ours = encoder == "tiny" or local_path(encoder).exists()
    return None if is_ours else without_credentials(encoder)


def _labelled_by(source: TaggedSourceConfig) -> str:
    return "projected" if source.format == "pseudo" else "given"


def _notes(source: TaggedSourceConfig) -> list[str]:
    """What was done with a source's types, and how often it was read."""
    notes = []
    types = sorted(source.label_map.items())
    if mapped := [f"{old} → {new}" for old, new in types if new != UNKNOWN]:
        notes.append(f"types mapped: {', '.join(mapped)}")
    if unknown := [old for old, new in types if new == UNKNOWN]:
        notes.append(f"learned nothing from the words of {', '.join(unknown)}")
    if source.not_annotated:
        notes.append(f"does not mark {', '.join(sorted(source.not_annotated))}")
    if source.repeat != 1:
        notes.append(f"{source.repeat:g} times in an epoch")
    return notes


def provenance(record: Made) -> dict[str, Any]:
    """What ``run.json`` says of who labelled, and by which rules, as lines of a table."""
    return {
        key.replace(".", " ", 1): value
        for part in ("teacher", "aligner", "quality", "student")
        for key, value in _leaves({part: record.get(part)})
    } | {"run": record.get("fingerprint")}


def _training(config: TrainTaggerConfig, summary: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "encoder",
        "replace_head",
        "new_characters",
        "word_aligner",
        "max_length",
        "dropout",
        "loss",
        "optimization",
    }
    # Where and how fast is nobody's business here.
    elsewhere = {"optimization": set(OptimizationConfig.ELSEWHERE)}
    settings = config.model_dump(mode="json", include=told, exclude=elsewhere)
    counts = {key: summary[key] for key in ("steps", "epochs", "best_epoch") if key in summary}
    done = {f"{key.replace('_', ' ')}, done": value for key, value in counts.items()}
    return dict(_leaves(settings)) | done


def _selection(selected_on: Mapping[str, Any], summary: Mapping[str, Any], keep_best: int) -> str:
    """In words, what the epoch, or those whose weights are averaged, were chosen by."""
    which = _weights(summary, keep_best, is_scored=bool(selected_on["sentences"]))
    if not selected_on["sentences"]:
        return f"There was nothing to compare epochs by: the model is {which}."
    share = selected_on["held_out_share_of_data"]
    if share is None:
        where = ", ".join(map(code, selected_on["paths"]))
    else:
        where = f"a held-out share of the data above ({100 * share:.3g} %)"
    said = (
        f"The model is {which} on {as_text(selected_on['sentences'])} sentences of {where}. The "
        "scores are its own, on what it was chosen by: an upper estimate."
    )
    if selected_on["target_gold"]:
        said += (
            "\n\n**Chosen by labels of people in the target language "
            f"({plain(selected_on['target_gold'])})**: this is not a model without "
            "target-language labels."
        )
    return said


def _weights(summary: Mapping[str, Any], keep_best: int, is_scored: bool) -> str:
    """In words, of which epochs the model has the weights, or the mean of them."""
    runs = summary.get("runs", [summary])
    num_epochs = max(run["epochs"] for run in runs)
    num_kept = min(keep_best, num_epochs)
    order = "best" if is_scored else "last"
    if len(runs) > 1:
        each = f"the {order} epoch" if num_kept == 1 else f"the {order} {num_kept} epochs"
        return f"the mean of the weights of {len(runs)} runs from one start, {each} of each"
    if num_kept > 1:
        return f"the mean of the weights of the {order} {num_kept} of {num_epochs} epochs"
    if is_scored:
        return f"that of epoch {summary['best_epoch']}, the best of {num_epochs}"
    return "that of the last epoch"


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The settings of a nested record that are set, as dotted keys and values."""
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            found.append((f"{prefix}{key}", value))
    return found


def markdown_table(rows: Mapping[str, Any]) -> str:
    """Names and values as a Markdown table."""
    lines: Sequence[str] = [f"| {plain(key)} | {plain(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


# Names of types, corpora and paths are foreign text; what follows is all that could leave its cell,
# be HTML, or be a link.
_ESCAPES = str.maketrans(
    {"<": "&lt;", ">": "&gt;", "&": "&amp;", "`": "&#96;", "[": "&#91;", "|": "\\|"}
)


def plain(value: Any) -> str:
    """A value, or the values of a list, as one line of Markdown that says just that."""
    return " ".join(as_text(value).splitlines()).translate(_ESCAPES)


def code(value: Any) -> str:
    """A text as Markdown's code, on one line."""
    text = " ".join(without_credentials(str(value)).splitlines())
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def markdown_environment() -> Environment:
    """Templates of cards, with ``plain`` and ``code`` for foreign text."""
    # Markdown, not HTML: its filters escape.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    environment.filters |= {"plain": plain, "code": code, "text": as_text}
    return environment
