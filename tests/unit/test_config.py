"""What a recipe may not ask for."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from xner import config
from xner.command_line import load
from xner.config import (
    AlignerConfig,
    BootstrapConfig,
    BuildAlignmentSetConfig,
    CleaningConfig,
    ExportConfig,
    LinksConfig,
    LossConfig,
    OptimizationConfig,
    PrepareConfig,
    ProjectConfig,
    Record,
    RefilterConfig,
    StudyGridConfig,
    TaggedSourceConfig,
    TrainWordAlignerConfig,
)
from xner.errors import ConfigError


def test_aligner_config_needs_one_who_aligns() -> None:
    with pytest.raises(ValidationError, match="nothing aligns: name model, links or exact_match"):
        AlignerConfig(threshold=0.3, device="cpu")


@pytest.mark.parametrize(
    ("settings", "witnesses"),
    [
        ({"model": "some/model"}, "some/model"),
        ({"links": LinksConfig()}, "hmm word links"),
        ({"links": LinksConfig(model="words"), "model": "m"}, "m, hmm word links words"),
        ({"exact_match": True}, "verbatim copies"),
    ],
)
def test_aligner_config_says_who_aligns(settings: dict[str, object], witnesses: str) -> None:
    assert AlignerConfig.model_validate(settings).witnesses == witnesses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "similarity"}, "needs a model"),
        ({"kind": "eflomal", "model": "words"}, "takes no model"),
    ],
)
def test_links_config_has_a_model_where_there_is_one(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        LinksConfig.model_validate(settings)


def test_build_alignment_set_config_has_pairs_for_word_links() -> None:
    with pytest.raises(ValidationError, match="bitext finds names in pairs"):
        BuildAlignmentSetConfig.model_validate(
            {"wikipedia": [{"lang": "de", "dumps": ["a"]}], "bitext": {}, "output": "out"}
        )


@pytest.mark.parametrize(
    ("record", "settings"),
    [
        (OptimizationConfig, {"seed": -1}),
        (BootstrapConfig, {"seed": -1}),
        (StudyGridConfig, {"seeds": [0, -1]}),
    ],
)
def test_config_seeds_are_those_that_numpy_takes(
    record: type[Record], settings: dict[str, object]
) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        record.model_validate(settings)


def test_quality_config_has_labels_to_project() -> None:
    # As of a shell variable that is not set: every row would come out without a mention.
    settings = {"pairs": "p", "output": "o", "teacher.model": "a", "aligner.model": "b"}
    with pytest.raises(ConfigError, match=r"--quality\.labels: list should have at least 1 item"):
        load(ProjectConfig, None, {**settings, "quality.labels": ""})


def test_config_has_no_empty_locations() -> None:
    for pseudo, output in [("", "out"), ("in", "")]:
        with pytest.raises(ValidationError, match="at least 1 character"):
            RefilterConfig(pseudo=pseudo, output=output)
    with pytest.raises(ValidationError, match="at least 1 character"):
        TrainWordAlignerConfig(pairs=["in", ""], output="out")


@pytest.mark.parametrize(
    ("record", "settings", "message"),
    [
        (CleaningConfig, {"min_language_score": 0.5}, "no language is identified"),
        (LinksConfig, {"layer": 8}, 'is for kind = "similarity", not "hmm"'),
        (LinksConfig, {"kind": "eflomal", "matching": "argmax"}, 'is for kind = "similarity"'),
        (LinksConfig, {"kind": "eflomal", "adapt": False}, 'is for kind = "hmm", not "eflomal"'),
        (AlignerConfig, {"links": {}, "threshold": 0.7}, "is for a model alone"),
        (AlignerConfig, {"model": "m", "evidence": {"links": 9}}, "is weighed only with links"),
        (
            TaggedSourceConfig,
            {"path": "a", "format": "jsonl", "encoding": "latin-1"},
            "a is .jsonl",
        ),
        (TaggedSourceConfig, {"path": "a", "tag_names": ["O"]}, "is for format .jsonl. or"),
        (ExportConfig, {"pseudo": "in", "output": "out", "public": True}, "without push_to"),
        (LossConfig, {"gamma": 0.7}, "cross_entropy has none"),
        (LossConfig, {"name": "gce", "form": "power"}, "is for opposite_focal, not gce"),
    ],
)
def test_config_has_no_settings_without_an_effect(
    record: type[Record], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=f"{list(settings)[-1]}: .*{message}"):
        record.model_validate(settings)
    # The defaults may be written out, as --dry-run does.
    kept = {key: value for key, value in settings.items() if key != list(settings)[-1]}
    whole = record.model_validate(kept)
    assert record.model_validate(whole.model_dump()) == whole


@pytest.mark.parametrize("code", ["zh-CN", "DE", "german", "en\n"])
def test_config_says_how_languages_are_written(code: str) -> None:
    expected = f"expected a language as OPUS writes it, such as de, ast or zh_CN, found {code!r}"
    with pytest.raises(ConfigError, match=f"--target_langs 0: {re.escape(expected)}"):
        load(PrepareConfig, None, {"target_langs": json.dumps([code]), "output": "o"})


@pytest.mark.parametrize(
    "record",
    [each for each in vars(config).values() if isinstance(each, type) and issubclass(each, Record)],
)
def test_config_every_setting_says_what_it_is(record: type[Record]) -> None:
    silent = [
        name
        for name, field in record.model_fields.items()
        # A group is told by its own settings.
        if not field.description
        and not (isinstance(field.annotation, type) and issubclass(field.annotation, Record))
    ]
    assert silent == []
