"""The card of an exported data set: what is in it, who labelled it, and whose text it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import DatasetCardData

import xner
from xner.corpora.export import CorpusExport, Exported
from xner.corpora.opus import CATALOGUE
from xner.report.card import markdown_environment, markdown_table, provenance
from xner.report.terminal import as_text
from xner.text.languages import language_of

_TEMPLATE = """\
---
{{ header }}
---

# {{ name | plain }}

Text ({{ languages | plain }}) with mentions of {{ types | plain }} that no person \
marked: a named entity tagger labelled its translation, and an aligner carried the labels over. \
Exported by xner {{ version }}.

```python
from datasets import load_dataset

load_dataset({{ name | tojson }}, split="train")
```

`target` is the raw text and `tokens` are its words; `ner_tags` are their IOB2 tags, whose names \
are in the features. `mentions` are the same labels as half-open character spans of `target`, each \
with the tagger's score and the aligner's. `source` is the translation that was labelled.

## Content

{{ table(content) }}
## Corpora

The text belongs to others: of each corpus its own terms hold.

| corpus | version | rows | licence |
|---|---|---|---|
{% for row in corpora -%}
| {{ row | map("plain") | join(" | ") }} |
{% endfor %}
## Who labelled, by which rules

{{ table(made) }}"""


def dataset_card(export: CorpusExport, exported: Exported) -> str:
    """The card's Markdown, with the header that the hub and the datasets library read."""
    config, statistics = export.config, exported.statistics
    header = DatasetCardData(
        # The hub knows languages, and no countries.
        language=sorted({language_of(lang) for lang in exported.languages}),
        license=config.license or "other",
        annotations_creators=["machine-generated"],
        task_categories=["token-classification"],
        task_ids=["named-entity-recognition"],
        pretty_name=_name(export),
        tags=["named-entity-recognition", "xner"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/**"}]}],
    )
    content = {
        "rows": statistics.rows,
        **{f"rows with status {status}": count for status, count in statistics.status.items()},
        **{f"rows in {lang}": count for lang, count in sorted(exported.languages.items())},
        **{f"mentions {label}": count for label, count in sorted(exported.mentions.items())},
        "files": exported.files,
    }
    return (
        markdown_environment()
        .from_string(_TEMPLATE)
        .render(
            header=header.to_yaml(),
            name=_name(export),
            languages=sorted(exported.languages),
            types=sorted(exported.mentions) or ["nothing"],
            version=xner.__version__,
            content=content,
            corpora=[
                (corpus, export.versions.get(corpus, "not noted"), as_text(count), _licence(corpus))
                for corpus, count in exported.corpora.most_common()
            ],
            made=_made(export.made_by),
            table=markdown_table,
        )
    )


def _name(export: CorpusExport) -> str:
    return export.config.push_to or export.run.folder.name


def _licence(corpus: str) -> str:
    known = CATALOGUE.get(corpus)
    return "not known to xner" if known is None else known.licence


def _made(record: Mapping[str, Any]) -> dict[str, Any]:
    return provenance(record) if record else {"run": "its record was not beside the shards"}
