"""Pseudo-labelled shards judged again: as project_corpus would have judged them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xner.config import ProjectConfig, RefilterConfig, RelabelConfig
from xner.engine.recipes import CorpusProjection, CorpusRefiltering, CorpusRelabelling
from xner.errors import ConfigError
from xner.shards.ledger import statistics_of
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

main = runpy.run_path(str(Path(__file__).parents[2] / "jobs" / "refilter.py"))["main"]

# That of the fixture `pseudo`.
LENIENT = {"min_teacher_score": 0.1, "min_alignment_score": 0.0, "max_unplaced": 99}
STRICT = {
    "min_teacher_score": 0.1,
    "min_alignment_score": 0.002,
    "max_unplaced": 4,
    "keep_mention_free": 0.2,
    "labels": ["PER", "LOC"],
}


@pytest.fixture(scope="module")
def projected(
    pseudo: Path,
    pairs: Path,
    project_config: Callable[..., ProjectConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[dict[str, Any]], Folder]:
    """Projects the German pairs under a quality, each once."""
    done = {str(LENIENT): Folder.at(str(pseudo))}

    def under(quality: dict[str, Any]) -> Folder:
        if str(quality) not in done:
            output = tmp_path_factory.mktemp("pseudo")
            config = project_config(output, pairs=str(pairs / "en-de"), quality=quality)
            projection = CorpusProjection.plan(config)
            projection.run.open()
            assert all(result.error is None for result in projection.run_pending())
            done[str(quality)] = projection.run.folder
        return done[str(quality)]

    return under


def refilter(pseudo: Folder, output: Path, quality: dict[str, Any], **engine: Any) -> Folder:
    values = {
        "pseudo": str(pseudo),
        "output": str(output),
        "quality": quality,
        "engine": {"kind": "inline", **engine},
    }
    main(RefilterConfig.model_validate(values))
    return Folder.at(str(output))


def files(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in folder.names(".parquet")}


@pytest.mark.parametrize("quality", [LENIENT, STRICT], ids=["the same", "stricter"])
def test_refilter_gives_what_projection_under_these_rules_gives(
    projected: Callable[[dict[str, Any]], Folder], tmp_path: Path, quality: dict[str, Any]
) -> None:
    view = refilter(projected(LENIENT), tmp_path / "view", quality)
    assert files(view) == files(projected(quality))
    total = Statistics.total(statistics_of(view, name) for name in view.names(".parquet"))
    assert total.status["ok"] > 0
    assert ("filtered" in total.status) == (quality is STRICT)
    assert set(total.mentions) <= set(quality.get("labels", total.mentions))


def test_refilter_can_take_back_what_it_refused(
    projected: Callable[[dict[str, Any]], Folder], tmp_path: Path
) -> None:
    strict = refilter(projected(LENIENT), tmp_path / "strict", STRICT)
    assert files(strict) != files(projected(LENIENT))
    again = refilter(strict, tmp_path / "again", LENIENT)
    assert files(again) == files(projected(LENIENT))


def test_refilter_on_ray_gives_the_same(
    local_ray: None, projected: Callable[[dict[str, Any]], Folder], tmp_path: Path
) -> None:
    view = refilter(projected(LENIENT), tmp_path / "view", STRICT, kind="ray")
    assert files(view) == files(projected(STRICT))


def test_refilter_goes_on_where_it_stopped_and_knows_its_settings(
    projected: Callable[[dict[str, Any]], Folder], tmp_path: Path
) -> None:
    view = refilter(projected(LENIENT), tmp_path / "view", STRICT)
    whole = files(view)
    name = next(iter(whole))
    view.remove(name)
    refilter(projected(LENIENT), tmp_path / "view", STRICT)
    assert files(view) == whole
    with pytest.raises(ConfigError, match=r"quality\.max_unplaced: there 4, now 99"):
        refilter(projected(LENIENT), tmp_path / "view", LENIENT)
    record = view.read_json("run.json")
    assert record["teacher"] == projected(LENIENT).read_json("run.json")["teacher"]


def test_refilter_refuses_what_it_cannot_judge(
    projected: Callable[[dict[str, Any]], Folder], models: Path, pairs: Path, tmp_path: Path
) -> None:
    def plan(pseudo: object, **quality: Any) -> None:
        CorpusRefiltering.plan(
            RefilterConfig(pseudo=str(pseudo), output=str(tmp_path / "view"), quality=quality)
        )

    relabelled = CorpusRelabelling.plan(
        RelabelConfig.model_validate(
            {
                "pseudo": str(projected(LENIENT)),
                "output": str(tmp_path / "relabelled"),
                "student": {"model": str(models / "teacher"), "precision": "fp32"},
                "engine": {"kind": "inline"},
            }
        )
    )
    relabelled.run.open()
    next(iter(relabelled.run_pending()))
    with pytest.raises(ConfigError, match=r"of relabel; expected project_corpus or refilter"):
        plan(tmp_path / "relabelled")
    with pytest.raises(ConfigError, match=r"of prepare_corpus; expected project_corpus"):
        plan(pairs / "en-de")
    with pytest.raises(ConfigError, match=r"view: is, holds or lies in pseudo"):
        plan(tmp_path / "view")
    with pytest.raises(ConfigError, match=r"quality\.labels: VIP unknown to the shards of"):
        plan(projected(LENIENT), labels=["VIP"])
