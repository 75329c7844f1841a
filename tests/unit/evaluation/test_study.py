from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xner.config import LossConfig, StudyAlignerConfig, StudyConfig
from xner.errors import ConfigError
from xner.evaluation.study import Cell, Study, aligner_name, loss_name, plan

TRAIN = {"path": "train.conll"}


def config(**settings: Any) -> StudyConfig:
    values: dict[str, Any] = {
        "grid": {
            "encoders": ["a", "b"],
            "aligners": [
                {"layout": "single"},
                {"layout": "packed", "links": {"kind": "hmm"}},
                {"links": {"kind": "hmm"}},
            ],
            "losses": [{"name": "cross_entropy"}, {"name": "opposite_focal"}],
            "initialisations": ["encoder", "teacher"],
            "sizes": [10, "all"],
            "domains": [[], ["News", "Talks"]],
            "seeds": [0, 1, 2],
        },
        "languages": [
            {
                "lang": lang,
                "pairs": f"pairs/en-{lang}",
                "gold": [{"name": "g", "path": f"gold.{lang}", "lang": lang}],
                "train": [{"path": f"train.{lang}"}] if lang == "de" else [],
            }
            for lang in ("de", "nl")
        ],
        "teacher": {"data": [TRAIN]},
        "aligner": {"examples": ["examples"]},
        "output": "out",
    }
    return StudyConfig.model_validate({**values, **settings})


def planned(settings: StudyConfig, content: Callable[[str], str] = str) -> Study:
    return plan(settings, content)


def test_study_has_a_cell_for_every_combination_and_the_references() -> None:
    cells = list(planned(config()).cells.values())
    students = [cell for cell in cells if cell.system == "student"]
    assert len(students) == len(set(students)) == 2 * 3 * 2 * 2 * 2 * 2 * 3 * 2
    assert {cell.aligner for cell in students} == {"single", "packed + hmm", "hmm"}
    assert {cell.domain for cell in students} == {"all", "News + Talks"}
    transfer = [cell for cell in cells if cell.system == "transfer"]
    assert transfer == [Cell("transfer", lang, e) for e in "ab" for lang in ("de", "nl")]
    # One language alone has gold to train on.
    supervised = [cell for cell in cells if cell.system == "supervised"]
    assert supervised == [Cell("supervised", "de", e, seed=s) for e in "ab" for s in (0, 1, 2)]


def test_study_shares_what_cells_have_in_common() -> None:
    study = planned(config())
    assert {kind: study.num_of(kind) for kind in ("teacher", "words", "aligner", "projection")} == {
        "teacher": 2,
        "words": 2,
        "aligner": 4,
        "projection": 2 * 2 * 3,
    }
    assert study.num_of("score") == len(study.cells) == 576 + 4 + 6
    assert study.num_shared == 2 + 2 + 4 + 12
    # 48 students of every projection; a teacher has all of its projections and two transfers.
    uses = {kind: {n for s, n in study.uses.items() if s.startswith(kind)} for kind in
            ("projection", "teacher", "words")}  # fmt: skip
    assert uses == {"projection": {48}, "teacher": {6 * 48 + 2}, "words": {4 * 48}}


def test_study_shares_an_aligner_whose_encoder_is_fixed() -> None:
    grid = {"encoders": ["a", "b"], "aligners": [{"layout": "single", "encoder": "c"}]}
    study = planned(config(grid=grid))
    assert study.num_of("aligner") == 1
    assert study.num_of("projection") == 4
    assert {c.aligner for c in study.cells.values() if c.aligner} == {"single encoder=c"}


def test_study_steps_come_after_what_they_need() -> None:
    study = planned(config())
    seen: set[str] = set()
    for name, step in study.steps.items():
        assert seen.issuperset(step.needs)
        seen.add(name)
    by_kind = {step.kind: step for step in study.steps.values()}
    kinds = {kind: {n.partition("-")[0] for n in step.needs} for kind, step in by_kind.items()}
    assert kinds == {
        "teacher": set(),
        "words": set(),
        "aligner": set(),
        "projection": {"teacher", "words"},
        "score": {"projection", "teacher"},
    }


def test_study_names_follow_what_decides_a_result() -> None:
    names = set(planned(config()).steps)
    # Where, how fast, and what is done with the results change nothing.
    for same in (
        {"output": "elsewhere"},
        {"engine": {"kind": "inline"}},
        {"step": {"num_gpus": 1}},
        {"batch_tokens": 17},
        {"keep_models": True},
        {"student": {"forward_tokens": 99, "num_workers": 4}},
    ):
        assert set(planned(config(**same)).steps) == names, same
    other = set(planned(config(student={"epochs": 9})).steps)
    assert {name for name in names & other if name.startswith("score")} == {
        name for name, cell in planned(config()).cells.items() if cell.system == "transfer"
    }
    assert {name for name in names if not name.startswith("score")} <= other
    changed = set(planned(config(), lambda path: f"new {path}" * (path == "pairs/en-nl")).steps)
    assert not names & {name for name in changed if name.startswith("projection")}


def test_study_that_grows_finds_its_steps_again() -> None:
    small = config(grid={"encoders": ["a"], "seeds": [0]})
    grown = config(grid={"encoders": ["a", "b"], "seeds": [0, 1]})
    assert set(planned(small).steps) < set(planned(grown).steps)


def test_study_resolves_the_folders_of_other_steps() -> None:
    study = planned(config())
    name, cell = next(
        (n, c) for n, c in study.cells.items() if c.initialisation == "teacher" and c.size == 10
    )
    scoring: Any = study.steps[name].resolved("/out/steps")
    assert scoring.model == scoring.training.output == f"/out/steps/{name}/model"
    teacher, corpus = scoring.training.encoder, scoring.training.data[0]
    assert sorted(study.steps[name].needs) == sorted(
        path.removeprefix("/out/steps/") for path in (teacher, corpus.path)
    )
    assert (corpus.max_sentences, scoring.training.optimization.seed) == (10, cell.seed)
    projection = study.steps[corpus.path.removeprefix("/out/steps/")]
    resolved: Any = projection.resolved("/out/steps", teacher={"batch_tokens": 5})
    assert resolved.teacher.batch_tokens == 5
    assert resolved.teacher.model == teacher
    assert resolved.pairs == "pairs/en-de"
    assert resolved.engine.kind == "inline"


def test_study_names_a_loss_by_what_differs() -> None:
    assert loss_name(LossConfig()) == "cross_entropy"
    assert loss_name(LossConfig(name="gce", gamma=0.7)) == "gce gamma=0.7"


def test_study_names_an_aligner_by_what_differs() -> None:
    words = {"kind": "hmm", "adapt": False}
    aligner = StudyAlignerConfig.model_validate({"layout": "packed", "links": words})
    assert aligner_name(aligner) == "packed + hmm adapt=False"
    grid = {"aligners": [{"links": {"kind": "hmm"}}, {"links": words}], "encoders": ["a"]}
    cells = planned(config(grid=grid)).cells.values()
    assert {cell.aligner for cell in cells if cell.aligner} == {"hmm", "hmm adapt=False"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": {"sizes": [5, 5]}}, "sizes: a value stands there twice"),
        ({"grid": {"aligners": [{}]}}, "nothing aligns"),
        ({"grid": {"aligners": [{"links": {"model": "x"}}]}}, "trains a word aligner"),
        ({"aligner": {}}, r"aligner\.examples"),
        ({"languages": []}, "languages"),
    ],
)
def test_study_refuses_what_makes_no_grid(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_study_says_what_cannot_be_read() -> None:
    def missing(path: str) -> str:
        raise ConfigError(f"{path}: no such file")

    with pytest.raises(ConfigError, match=r"train\.conll: no such file"):
        planned(config(), missing)
