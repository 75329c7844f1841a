"""The study as a plan: the cells of its grid, and the steps that they need.

A cell is one model scored: a student (one value of every axis), or a system to hold it against:
the English teacher itself (direct transfer), or the same encoder trained on target gold (the
supervised upper bound). A step is one job's recipe, in which ``step:NAME`` stands for the folder of
another step, and bare ``step:`` for its own. Its name is a hash of the recipe and of the content of
what it reads, data and models, wherever these lie: what two cells share is one step, a grid that
grows finds its finished steps again, and a step is never taken for one with other settings or data.
Gold is not in that name: a set that comes later is one more to score a model on that is trained.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from xner.config import (
    OWN_TEACHER,
    AlignerConfig,
    EngineConfig,
    GoldConfig,
    LossConfig,
    OptimizationConfig,
    ProjectConfig,
    Record,
    StudyAlignerConfig,
    StudyConfig,
    StudyLanguageConfig,
    TaggedSourceConfig,
    TeacherConfig,
    TrainAlignerConfig,
    TrainTaggerConfig,
    TrainWordAlignerConfig,
)

System = Literal["student", "transfer", "supervised"]
Kind = Literal["teacher", "words", "aligner", "projection", "score"]

Source = TypeVar("Source", bound=TaggedSourceConfig)

#: What can differ between two students, in the order of the recipe; a seed is a repetition.
AXES = ("encoder", "teacher", "aligner", "loss", "initialisation", "size", "domain")

_OWN = "step:"
_REFERENCE = re.compile(r"step:([^/]*)(.*)")

# Settings of a recipe that say how fast and where, and not what comes out; and the gold sets, for
# the scores of each lie in the step of their model under a name of their own.
_NOT_DECIDING = OptimizationConfig.ELSEWHERE | {"engine", "gold"}


@dataclass(frozen=True)
class Cell:
    """One model scored; what a system has no choice of is None.

    ``size``: sentences asked for, None for all of them; ``seed``: that of the last training;
    ``teacher``: the encoder of the teacher that labelled, None for ``encoder`` itself.
    """

    system: System
    lang: str
    encoder: str
    aligner: str | None = None
    loss: str | None = None
    initialisation: str | None = None
    size: int | None = None
    domain: str | None = None
    seed: int | None = None
    teacher: str | None = None

    def value(self, axis: str) -> str | None:
        """The value on an axis, as tables show it."""
        if axis == "size" and self.system == "student":
            return "all" if self.size is None else f"{self.size:,}"
        if axis == "teacher" and self.system == "student":
            return self.teacher or OWN_TEACHER
        value = getattr(self, axis)
        return None if value is None else str(value)

    @property
    def title(self) -> str:
        """The cell in one line, for messages."""
        seed = None if self.seed is None else f"seed {self.seed}"
        values = [self.value(axis) for axis in AXES if self.value(axis) != OWN_TEACHER]
        return ", ".join(filter(None, [f"{self.system} {self.lang}", *values, seed]))

    def without(self, *names: str) -> tuple[Any, ...]:
        """All of a cell but these fields: equal for cells that differ in nothing else."""
        return tuple(getattr(self, each.name) for each in fields(self) if each.name not in names)


@dataclass(frozen=True)
class Input:
    """What a path or a model's name of the study stands for.

    ``location``: where steps find it, from any directory; ``content``: a hash of what lies there.
    """

    location: str
    content: str


Finder = Callable[[str], Input]


class Scoring(Record):
    """Score a model on gold, once it is trained where ``training`` is given.

    ``gold``: the sets of the language, by the names of their scores.
    """

    lang: str
    model: str
    max_length: int
    training: TrainTaggerConfig | None = None
    gold: dict[str, GoldConfig]


@dataclass(frozen=True)
class Step:
    """One job's recipe, under the name that its folder has; ``title`` is for people."""

    kind: Kind
    recipe: Record
    name: str
    title: str

    @functools.cached_property
    def needs(self) -> list[str]:
        """The steps that must be done before."""
        found = (_REFERENCE.fullmatch(text) for text in _texts(self.recipe.model_dump(mode="json")))
        return sorted({match[1] for match in found if match and match[1]})

    def resolved(self, folder: str, **changes: Any) -> Record:
        """The recipe with the folders of steps, which lie in ``folder``, and some changes.

        ``changes`` are laid over the top level of the recipe's values, group by group.
        """

        def place(text: str) -> str:
            match = _REFERENCE.fullmatch(text)
            return text if match is None else f"{folder}/{match[1] or self.name}{match[2]}"

        values = _replaced(self.recipe.model_dump(mode="json"), place)
        for group, change in changes.items():
            values[group] = {**values[group], **change}
        return type(self.recipe).model_validate(values)


@dataclass(frozen=True)
class Study:
    """The cells with the names of the steps that score them, and all steps in an order that works.

    Cells whose recipes come to the same share even that step. ``uses``: how many cells need a step
    that is not their own.
    """

    cells: Mapping[Cell, str]
    steps: Mapping[str, Step]
    uses: Mapping[str, int]

    @property
    def num_shared(self) -> int:
        """Steps that more than one cell needs."""
        return sum(count > 1 for count in self.uses.values())

    def num_of(self, kind: Kind) -> int:
        """Steps of a kind."""
        return sum(step.kind == kind for step in self.steps.values())


def plan(config: StudyConfig, data: Finder, model: Finder) -> Study:
    """The grid as cells and steps; ``data`` and ``model`` find what the study reads."""
    planned = _Plan(config, data, model)
    for encoder, language in itertools.product(config.grid.encoders, config.languages):
        planned.references(encoder, language)
    for encoder, language, teacher, aligner in itertools.product(
        config.grid.encoders, config.languages, config.grid.teachers, config.grid.aligners
    ):
        planned.students(encoder, language, teacher, aligner)
    return planned.study()


def loss_name(loss: LossConfig) -> str:
    """A loss and those of its settings that are not the default."""
    return " ".join([loss.name, *_set(loss, "name")])


def aligner_name(aligner: StudyAlignerConfig) -> str:
    """Who aligns, e.g. ``packed + hmm``, with those settings that are not the default."""
    layout, links = aligner.layout, aligner.links
    entity = [] if layout is None else [" ".join([layout, *_set(aligner, "layout", "links")])]
    words = [] if links is None else [" ".join([links.kind, *_set(links, "kind")])]
    return " + ".join(entity + words)


def _set(record: Record, *without: str) -> list[str]:
    settings = record.model_dump(exclude_defaults=True, exclude=set(without))
    return [f"{key}={value}" for key, value in settings.items()]


class _Plan:
    """A study that is being planned: a step that is asked for again is the same one."""

    def __init__(self, config: StudyConfig, data: Finder, model: Finder) -> None:
        self._config = config
        self._data = functools.cache(data)
        self._model = functools.cache(model)
        self._contents: dict[str, str] = {}
        self._steps: dict[str, Step] = {}
        self._cells: dict[Cell, str] = {}

    def references(self, encoder: str, language: StudyLanguageConfig) -> None:
        """Direct transfer, and the supervised bound where there is gold to train on."""
        teacher = self._scoring(self._teacher(encoder), language)
        self._score(Cell("transfer", language.lang, encoder), teacher)
        for seed in self._config.grid.seeds if language.train else ():
            cell = Cell("supervised", language.lang, encoder, seed=seed)
            start, data = self._found(self._model, encoder), self._sources(language.train)
            self._score(cell, self._trained(start, data, seed, language))

    def students(
        self,
        encoder: str,
        language: StudyLanguageConfig,
        teacher: str,
        aligner: StudyAlignerConfig,
    ) -> None:
        """Every student that learns from what this teacher labels and this aligner projects."""
        grid = self._config.grid
        labeller = encoder if teacher == OWN_TEACHER else teacher
        corpus = self._projection(encoder, language, labeller, aligner)
        for loss, initialisation, size, domain, seed in itertools.product(
            grid.losses, grid.initialisations, grid.sizes, grid.domains, grid.seeds
        ):
            data = TaggedSourceConfig(
                path=corpus,
                format="pseudo",
                lang=language.lang,
                corpora=domain,
                max_sentences=None if size == "all" else size,
            )
            cell = Cell(
                system="student",
                lang=language.lang,
                encoder=encoder,
                aligner=aligner_name(aligner),
                loss=loss_name(loss),
                initialisation=initialisation,
                size=data.max_sentences,
                domain=" + ".join(domain) or "all",
                seed=seed,
                teacher=None if teacher == OWN_TEACHER else teacher,
            )
            start = (
                self._found(self._model, encoder)
                if initialisation == "encoder"
                else self._teacher(encoder)
            )
            self._score(cell, self._trained(start, [data], seed, language, loss))

    def study(self) -> Study:
        """What was planned, and by how many cells each step is needed."""
        uses: Counter[str] = Counter()
        for name in self._cells.values():
            uses.update(self._all_needs(name))
        return Study(self._cells, self._steps, uses)

    def _all_needs(self, name: str) -> set[str]:
        needs = self._steps[name].needs
        return set(needs).union(*(self._all_needs(each) for each in needs))

    def _teacher(self, encoder: str) -> str:
        teacher = self._config.teacher
        recipe = TrainTaggerConfig(
            encoder=self._found(self._model, encoder),
            data=self._sources(teacher.data),
            max_length=self._config.max_length,
            optimization=_in_process(teacher.optimization),
            output=_OWN,
        )
        return self._step("teacher", f"teacher {encoder}", recipe)

    def _projection(
        self,
        encoder: str,
        language: StudyLanguageConfig,
        labeller: str,
        aligner: StudyAlignerConfig,
    ) -> str:
        """What the teacher from ``labeller`` labels, projected by an aligner from ``encoder``."""
        config, model, links = self._config, None, aligner.links
        pairs = self._found(self._data, language.pairs)
        if aligner.layout is not None:
            recipe = TrainAlignerConfig(
                encoder=self._found(self._model, aligner.encoder or encoder),
                layout=aligner.layout,
                examples=[self._found(self._data, each) for each in config.aligner.examples],
                max_length=config.max_length,
                optimization=_in_process(config.aligner.optimization),
                output=_OWN,
            )
            title = f"entity aligner {aligner.encoder or encoder}, {aligner.layout}"
            model = self._step("aligner", title, recipe)
        if links is not None and links.kind == "hmm":
            words = TrainWordAlignerConfig(pairs=[pairs], output=_OWN)
            learned = self._step("words", f"word aligner {language.lang}", words)
            links = links.model_copy(update={"model": learned})
        elif links is not None and links.model is not None and links.revision is None:
            links = links.model_copy(update={"model": self._found(self._model, links.model)})
        projection = ProjectConfig(
            pairs=pairs,
            teacher=TeacherConfig(
                model=self._teacher(labeller), max_length=self._config.max_length
            ),
            aligner=AlignerConfig(model=model, links=links),
            quality=config.quality,
            output=_OWN,
            engine=EngineConfig(kind="inline"),
        )
        title = f"projection {language.lang}, {labeller}, {aligner_name(aligner)}"
        return self._step("projection", title, projection)

    def _trained(
        self,
        start: str,
        data: list[TaggedSourceConfig],
        seed: int,
        language: StudyLanguageConfig,
        loss: LossConfig | None = None,
    ) -> Scoring:
        model = f"{_OWN}/model"
        training = TrainTaggerConfig(
            encoder=start,
            data=data,
            max_length=self._config.max_length,
            loss=loss or LossConfig(),
            optimization=_in_process(self._config.student, seed=seed),
            output=model,
        )
        return self._scoring(model, language, training)

    def _scoring(
        self, model: str, language: StudyLanguageConfig, training: TrainTaggerConfig | None = None
    ) -> Scoring:
        sources = self._sources(language.gold)
        return Scoring(
            lang=language.lang,
            model=model,
            max_length=self._config.max_length,
            training=training,
            gold={f"{each.name}-{self._digest(each)}": each for each in sources},
        )

    def _score(self, cell: Cell, recipe: Scoring) -> None:
        self._cells[cell] = self._step("score", cell.title, recipe).removeprefix(_OWN)

    def _found(self, find: Finder, name: str) -> str:
        """Where it lies, which stands for its content in the names of the steps that read it."""
        found = find(name)
        self._contents[found.location] = found.content
        return found.location

    def _sources(self, sources: Iterable[Source]) -> list[Source]:
        return [
            source.model_copy(update={"path": self._found(self._data, source.path)})
            for source in sources
        ]

    def _step(self, kind: Kind, title: str, recipe: Record) -> str:
        """Take a step up; what stands for its folder in other recipes."""
        name = f"{kind}-{self._digest(recipe)}"
        self._steps.setdefault(name, Step(kind, recipe, name, title))
        return _OWN + name

    def _digest(self, recipe: Record) -> str:
        """A hash of what a recipe decides, and of the content of what it reads."""
        values = _deciding(recipe.model_dump(mode="json"))
        deciding = _replaced(values, lambda text: self._contents.get(text, text))
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def _in_process(optimization: OptimizationConfig, **changes: Any) -> OptimizationConfig:
    alone = {"num_workers": 0, "min_workers": None, "sharding": "ddp"}
    return optimization.model_copy(update={**alone, **changes})


def _deciding(values: Any) -> Any:
    """A recipe's values less what cannot change its result."""
    if isinstance(values, Mapping):
        return {key: _deciding(each) for key, each in values.items() if key not in _NOT_DECIDING}
    return [_deciding(each) for each in values] if isinstance(values, list) else values


def _texts(values: Any) -> Iterable[str]:
    """All strings among a recipe's values."""
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, list):
        return [values] if isinstance(values, str) else []
    return itertools.chain.from_iterable(map(_texts, values))


def _replaced(values: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(values, Mapping):
        return {key: _replaced(each, replace) for key, each in values.items()}
    if isinstance(values, list):
        return [_replaced(each, replace) for each in values]
    return replace(values) if isinstance(values, str) else values
