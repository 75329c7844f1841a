from __future__ import annotations

from typing import Any

import pytest

from xner.config import LossConfig, StudyAlignerConfig, StudyConfig
from xner.errors import ConfigError
from xner.evaluation.study import Cell, Finder, Input, Study, aligner_name, loss_name, plan

TRAIN = {"path": "train.conll"}
GOLD = {"name": "g", "path": "gold.de", "lang": "de"}
GERMAN = {"lang": "de", "pairs": "pairs/en-de", "gold": [GOLD]}


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
                "train": [{"path": f"train.{lang}", "lang": lang}] if lang == "de" else [],
            }
            for lang in ("de", "nl")
        ],
        "teacher": {"data": [TRAIN]},
        "aligner": {"examples": ["examples"]},
        "output": "out",
    }
    return StudyConfig.model_validate({**values, **settings})


def there(path: str) -> Input:
    return Input(f"/here/{path}", f"content of {path}")


def planned(settings: StudyConfig, data: Finder = there, model: Finder = there) -> Study:
    return plan(settings, data, model)


def test_study_has_a_cell_for_every_combination_and_the_references() -> None:
    cells = list(planned(config()).cells)
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
    assert {c.aligner for c in study.cells if c.aligner} == {"single encoder=c"}


def test_study_asks_what_the_choice_of_the_teacher_does() -> None:
    grid = {"encoders": ["a", "b"], "teachers": ["own", "a", "c"], "seeds": [0]}
    study = planned(config(grid=grid))
    students = {cell: name for cell, name in study.cells.items() if cell.system == "student"}
    # Of encoder a, its own teacher is a's.
    assert len(students) == 2 * 3 * 2 and len(set(students.values())) == 5 * 2
    assert study.num_of("teacher") == 3 and study.num_of("projection") == 3 * 2
    for cell, name in students.items():
        labelled = next(
            step for step in map(study.steps.get, study.steps[name].needs)
            if step is not None and step.kind == "projection"
        )  # fmt: skip
        labeller = cell.teacher or cell.encoder
        assert f"teacher {labeller}" in [study.steps[each].title for each in labelled.needs]
        # It goes on from the English model of its own encoder.
        started = [study.steps[each].title for each in study.steps[name].needs]
        assert f"teacher {cell.encoder}" in started
        assert ("own" in (cell.value("teacher") or "")) is (cell.teacher is None)
    titles = {study.steps[name].title for name in students.values()}
    assert "student de, b, c, hmm, cross_entropy, teacher, all, all, seed 0" in titles


def test_study_has_a_cell_for_each_of_two_names_of_the_same() -> None:
    grid = {"encoders": ["a", "b"], "aligners": [{"layout": "single"}], "seeds": [0]}
    grid["aligners"].append({"layout": "single", "encoder": "a"})  # type: ignore[attr-defined]
    study = planned(config(grid=grid))
    students = {cell: name for cell, name in study.cells.items() if cell.system == "student"}
    # Of encoder a both aligners are one, and so is what comes of them.
    assert len(students) == 2 * 2 * 2
    assert len(set(students.values())) == 3 * 2
    assert study.num_of("score") == len(set(study.cells.values()))


def test_study_tells_people_what_a_step_is() -> None:
    study = planned(config())
    cell = Cell("student", "nl", "b", "hmm", "cross_entropy", "teacher", 10, "News + Talks", 2)
    name = study.cells[cell]
    title = "student nl, b, hmm, cross_entropy, teacher, 10, News + Talks, seed 2"
    assert study.steps[name].title == title
    assert {study.steps[each].title for each in study.steps[name].needs} == {
        "teacher b",
        "projection nl, b, hmm",
    }


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
        name for cell, name in planned(config()).cells.items() if cell.system == "transfer"
    }
    assert {name for name in names if not name.startswith("score")} <= other


def changed(*paths: str) -> Finder:
    return lambda path: Input(f"/here/{path}", f"new {path}") if path in paths else there(path)


def test_study_names_follow_the_content_of_what_is_read() -> None:
    study = planned(config())
    names = set(study.steps)
    other = set(planned(config(), data=changed("pairs/en-nl")).steps)
    assert {name for name in names - other if name.startswith("score")} == {
        name for cell, name in study.cells.items() if cell.system == "student" and cell.lang == "nl"
    }
    # Other weights under the same name: all that starts from them is another, and nothing else.
    other = set(planned(config(), model=changed("b")).steps)
    assert set(study.cells.values()) & other == {
        name for cell, name in study.cells.items() if cell.encoder == "a"
    }
    # The same content elsewhere is the same.
    moved = planned(config(), *[lambda path: Input(f"/there/{path}", f"content of {path}")] * 2)
    assert set(moved.steps) == names


def test_study_names_of_steps_do_not_follow_the_gold_but_those_of_scores_do() -> None:
    def scores(study: Study) -> dict[str, set[str]]:
        recipes: Any = {n: step.recipe for n, step in study.steps.items() if step.kind == "score"}
        return {name: set(recipe.gold) for name, recipe in recipes.items()}

    small, more = scores(planned(config(languages=[GERMAN]))), {"name": "h", "path": "more.de"}
    one = {**GERMAN, "gold": [GOLD, {**more, "lang": "de"}]}
    grown = scores(planned(config(languages=[one])))
    assert set(grown) == set(small)
    assert all(small[name] < keys and len(keys) == 2 for name, keys in grown.items())
    # Other labels in the file, or read in another way: other scores.
    for other in (
        planned(config(languages=[GERMAN]), data=changed("gold.de")),
        planned(config(languages=[{**GERMAN, "gold": [{**GOLD, "not_annotated": ["MISC"]}]}])),
    ):
        assert set(scores(other)) == set(small)
        assert all(not keys & small[name] for name, keys in scores(other).items())


def test_study_names_follow_the_encoder_of_word_links() -> None:
    grid = {"encoders": ["a"], "aligners": [{"links": {"kind": "similarity", "model": "c"}}]}
    study = planned(config(grid=grid))
    other = planned(config(grid=grid), model=changed("c"))
    new = set(other.steps) - set(study.steps)
    assert {name.partition("-")[0] for name in new} == {"projection", "score"}


def test_study_that_grows_finds_its_steps_again() -> None:
    small = config(grid={"encoders": ["a"], "seeds": [0]})
    grown = config(grid={"encoders": ["a", "b"], "seeds": [0, 1]})
    assert set(planned(small).steps) < set(planned(grown).steps)


def test_study_resolves_the_folders_of_other_steps() -> None:
    study = planned(config())
    name, cell = next(
        (n, c) for c, n in study.cells.items() if c.initialisation == "teacher" and c.size == 10
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
    assert resolved.pairs == "/here/pairs/en-de"
    assert resolved.engine.kind == "inline"


def test_study_names_a_loss_by_what_differs() -> None:
    assert loss_name(LossConfig()) == "cross_entropy"
    assert loss_name(LossConfig(name="gce", gamma=0.7)) == "gce gamma=0.7"


def test_study_names_an_aligner_by_what_differs() -> None:
    words = {"kind": "hmm", "adapt": False}
    aligner = StudyAlignerConfig.model_validate({"layout": "packed", "links": words})
    assert aligner_name(aligner) == "packed + hmm adapt=False"
    grid = {"aligners": [{"links": {"kind": "hmm"}}, {"links": words}], "encoders": ["a"]}
    cells = planned(config(grid=grid)).cells
    assert {cell.aligner for cell in cells if cell.aligner} == {"hmm", "hmm adapt=False"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": {"sizes": [5, 5]}}, "sizes: a value stands there twice"),
        ({"grid": {"aligners": [{}]}}, "nothing aligns"),
        ({"grid": {"aligners": [{"links": {"model": "x"}}]}}, "trains a word aligner"),
        ({"aligner": {}}, r"aligner\.examples"),
        ({"languages": []}, "languages"),
        ({"languages": [{**GERMAN, "gold": [{**GOLD, "lang": "en"}]}]}, 'lang is "en", expected'),
        ({"languages": [{**GERMAN, "train": [TRAIN]}]}, r'train\.conll: lang is "en", expected'),
        ({"languages": [{**GERMAN, "gold": [{**GOLD, "max_sentences": 5}]}]}, "a sample's score"),
        (
            {"grid": {"losses": [{"agreement": 0.5}]}, "student": {"epochs": 1}},
            "leaves none of 1 epochs",
        ),
    ],
)
def test_study_refuses_what_makes_no_grid(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_study_says_what_cannot_be_read() -> None:
    def missing(path: str) -> Input:
        raise ConfigError(f"{path}: no such file")

    with pytest.raises(ConfigError, match=r"train\.conll: no such file"):
        planned(config(), data=missing)
    with pytest.raises(ConfigError, match="a: no such file"):
        planned(config(), model=missing)
