"""The recipes: what happens in which order, once for every engine."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
from fsspec.core import url_to_fs
from pydantic import BaseModel

from xner.config import (
    AlignerConfig,
    LinksConfig,
    ModelConfig,
    PoolConfig,
    PrepareConfig,
    ProjectConfig,
    QualityConfig,
    RefilterConfig,
    RelabelConfig,
)
from xner.corpora.opus import Archive, archives
from xner.corpora.sampling import quotas
from xner.engine import preparing
from xner.engine.choose import engine_for
from xner.engine.flow import ClusterSize, Flow, ShardResult, Step
from xner.engine.poison import guarded
from xner.engine.stages import Align, Label, Project, Relabel, labels_in
from xner.errors import ConfigError, DataError
from xner.models import eflomal
from xner.models.folders import content_hash, entity_types, local_path, read_settings, resolve
from xner.models.word_links import require_languages_of
from xner.shards import schema
from xner.shards.ledger import (
    RUN_FILE,
    SHARD,
    SUMMARY_FILE,
    Run,
    input_shards,
    record_of,
    require_numbering,
)
from xner.shards.remote import ask
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder
from xner.text.iob2 import tags_of

_log = logging.getLogger(__name__)

_ERROR = schema.PSEUDO.field("error")

Model = TypeVar("Model", bound=ModelConfig | LinksConfig)


@dataclass(frozen=True)
class CorpusProjection:
    """The main job with its models found, its labels known and its shards counted."""

    config: ProjectConfig
    run: Run
    pairs: Folder
    labels: tuple[str, ...]

    @classmethod
    def plan(cls, config: ProjectConfig) -> CorpusProjection:
        """Find the models and the shards. Raises ConfigError for models that cannot do the work."""
        teacher, teacher_folder = model_found(config.teacher)
        aligner, identity = aligner_found(config.aligner)
        labels = tuple(entity_types(teacher_folder))
        _check_labels(config.quality, labels, f"the teacher {config.teacher.model}")
        pairs = Folder.at(config.pairs)
        check_apart(Folder.at(config.output), "pairs", pairs)
        names, made_by = input_shards(pairs), record_of(pairs)
        if made_by.get("job") == "prepare_corpus":
            _check_finished(pairs, names)
        if aligner.links is not None:
            _check_languages(pairs, aligner.links)
        fingerprint = {
            "pairs": made_by.get("fingerprint", str(pairs)),
            "teacher": model_identity(teacher, teacher_folder),
            "aligner": identity,
            "quality": config.quality.model_dump(mode="json"),
        }
        config = config.model_copy(update={"teacher": teacher, "aligner": aligner})
        run = Run(Folder.at(config.output), "project_corpus", fingerprint)
        return cls(config, run, pairs, labels)

    def run_pending(
        self, report: Callable[[ClusterSize], None] = lambda size: None
    ) -> Iterator[ShardResult]:
        """Label, align, project and commit every pending shard; results as they come.

        ``report`` is told the sizes of the cluster, as :class:`xner.engine.flow.Engine` says.
        """
        config, own = self.config, self.config.aligner.pool
        engine = engine_for(config.engine, pools_of(config))
        return engine.run_shards(
            self.run.pending(self.pairs),
            read=partial(_read_shard, self.pairs, schema.PAIRS),
            steps=[
                guarded(Step("label", Label, (config.teacher,), config.teacher.pool)),
                guarded(Step("align", Align, (config.aligner,), own, joins=own is None)),
                guarded(Step("project", Project, (config.quality, self.labels))),
            ],
            commit=partial(_commit, self.run),
            report=report,
        )


def pools_of(config: ProjectConfig) -> list[PoolConfig]:
    """The pools of actors that the main job reserves."""
    own = config.aligner.pool
    return [config.teacher.pool] if own is None else [config.teacher.pool, own]


@dataclass(frozen=True)
class CorpusRelabelling:
    """A round of self-training: pseudo-labelled shards with their student found."""

    config: RelabelConfig
    run: Run
    pseudo: Folder
    labels: tuple[str, ...]

    @classmethod
    def plan(cls, config: RelabelConfig) -> CorpusRelabelling:
        """Find the student and the shards. Raises ConfigError and DataError where one is not."""
        student, student_folder = model_found(config.student)
        pseudo = Folder.at(config.pseudo)
        check_apart(Folder.at(config.output), "pseudo", pseudo)
        made_by = record_of(pseudo)
        fingerprint = {
            **_told_on(made_by, "teacher", "aligner", "quality"),
            "pseudo": made_by.get("fingerprint", str(pseudo)),
            "student": {
                **model_identity(student, student_folder),
                "combine": config.combine,
                "min_student_score": config.min_student_score,
            },
        }
        run = Run(Folder.at(config.output), "relabel", fingerprint)
        known = entity_types(student_folder)
        labels = tuple(dict.fromkeys([*_labels_of(pseudo, input_shards(pseudo)), *known]))
        return cls(config.model_copy(update={"student": student}), run, pseudo, labels)

    def run_pending(
        self, report: Callable[[ClusterSize], None] = lambda size: None
    ) -> Iterator[ShardResult]:
        """Relabel and commit every pending shard; results as they come.

        ``report`` is told the sizes of the cluster, as :class:`xner.engine.flow.Engine` says.
        """
        config = self.config
        engine = engine_for(config.engine, [config.student.pool])
        arguments = (config.student, config.combine, config.min_student_score, self.labels)
        return engine.run_shards(
            self.run.pending(self.pseudo),
            read=partial(_read_numbered, self.pseudo, tags_of(self.labels)),
            steps=[guarded(Step("relabel", Relabel, arguments, config.student.pool))],
            commit=partial(_commit, self.run),
            report=report,
        )


@dataclass(frozen=True)
class CorpusRefiltering:
    """Pseudo-labelled shards, to be judged again by other rules from the scores they keep."""

    config: RefilterConfig
    run: Run
    pseudo: Folder
    labels: tuple[str, ...]

    @classmethod
    def plan(cls, config: RefilterConfig) -> CorpusRefiltering:
        """Find the shards. Raises ConfigError for shards that a student had a say in."""
        pseudo = Folder.at(config.pseudo)
        check_apart(Folder.at(config.output), "pseudo", pseudo)
        made_by = record_of(pseudo)
        fingerprint = {
            **_told_on(made_by, "pairs", "teacher", "aligner"),
            "pseudo": made_by.get("fingerprint", str(pseudo)),
            "quality": config.quality.model_dump(mode="json"),
        }
        run = Run(Folder.at(config.output), "refilter", fingerprint)
        names = input_shards(pseudo)
        # A student's mentions have no candidates: judged again, the rows would lose them.
        if made_by.get("job") not in ("project_corpus", "refilter"):
            raise ConfigError(
                f"pseudo {pseudo}: its {RUN_FILE} says it is of {made_by.get('job', 'no job')}; "
                "expected project_corpus or refilter. Of relabelled shards, refilter those that "
                "the student was asked about, and relabel what comes out"
            )
        labels = tuple(_labels_of(pseudo, names))
        _check_labels(config.quality, labels, f"the shards of {pseudo}")
        return cls(config, run, pseudo, labels)

    def run_pending(
        self, report: Callable[[ClusterSize], None] = lambda size: None
    ) -> Iterator[ShardResult]:
        """Judge and commit every pending shard; results as they come.

        ``report`` is told the sizes of the cluster, as :class:`xner.engine.flow.Engine` says.
        """
        return engine_for(self.config.engine).run_shards(
            self.run.pending(self.pseudo),
            # What a step could not take stays an error: there is nothing of it to be judged.
            read=partial(_read_shard, self.pseudo, schema.ALIGNED.append(_ERROR)),
            steps=[guarded(Step("project", Project, (self.config.quality, self.labels)))],
            commit=partial(_commit, self.run),
            report=report,
        )


def _told_on(made_by: Mapping[str, Any], *parts: str) -> dict[str, Any]:
    """What the inputs' record says of who labelled them, for whoever has only the outputs."""
    return {part: made_by[part] for part in parts if part in made_by}


def _check_labels(quality: QualityConfig, known: Sequence[str], who: str) -> None:
    unknown = set(quality.labels or ()) - set(known)
    if unknown:
        raise ConfigError(
            f"quality.labels: {', '.join(sorted(unknown))} unknown to {who}; "
            f"expected some of {', '.join(known)}"
        )


def _labels_of(pseudo: Folder, names: Sequence[str]) -> list[str]:
    """The entity types of pseudo-labelled shards; the same in all of a run.

    Raises DataError where no shard can be read; of one that cannot, the run tells.
    """
    torn = []
    for name in names:
        try:
            return labels_in(pseudo.read_footer(name))
        except DataError as error:
            torn.append(error)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{pseudo}/{name}: its footer does not name the tags; expected a shard of "
                "project_corpus or relabel"
            ) from error
    raise torn[0]


def check_apart(output: Folder, key: str, inputs: Folder) -> None:
    """Refuse an output that would be read again as an input, and inputs that would count as done.

    Either is told by the names of the shards below a folder.
    """
    if inputs.lists(output) or output.lists(inputs):
        raise ConfigError(
            f"output {output}: is, holds or lies in {key} {inputs}, so the shards of one would be "
            "taken for those of the other; choose a folder beside it"
        )


def _check_finished(pairs: Folder, names: Sequence[str]) -> None:
    """Refuse pairs of a preparation that died: the shards that it lacks would never be missed."""
    record = pairs.read_record(RUN_FILE) or {}
    # A language that was not begun has no shards yet.
    languages = {f"{record['source_lang']}-{lang}" for lang in record.get("target_langs", ())}
    for name in sorted({name.rpartition("/")[0] for name in names} | languages):
        folder = pairs / name if name else pairs
        if not folder.exists(SUMMARY_FILE):
            raise ConfigError(
                f"pairs {folder}: its preparation is not finished; run prepare_corpus again"
            )


def _check_languages(pairs: Folder, links: LinksConfig) -> None:
    """Refuse a word aligner for other languages than those of the pairs."""
    if links.kind == "hmm" and links.model is not None:
        from xner.models import hmm

        require_languages_of(pairs, hmm.languages_of(Folder.at(links.model)), links)


def _read_shard(folder: Folder, columns: pa.Schema, name: str) -> pa.Table:
    return folder.read_table(name, columns, schema.SINCE_VERSION_3)


def _read_numbered(folder: Folder, tags: Sequence[str], name: str) -> pa.Table:
    """A pseudo-labelled shard whose ``ner_tags`` number these tags."""
    require_numbering(folder.read_footer(name), f"{folder}/{name}", tags)
    return _read_shard(folder, schema.PSEUDO, name)


def _commit(run: Run, name: str, table: pa.Table) -> Statistics:
    statistics = Statistics.of(table)
    run.commit(name, table, statistics)
    return statistics


def aligner_found(config: AlignerConfig) -> tuple[AlignerConfig, dict[str, Any]]:
    """The configuration as every node must read it, and what of it can change a label.

    Raises ConfigError when a folder holds something else than its setting says, or a program is
    not installed.
    """
    identity: dict[str, Any] = {"settings": _deciding(config)}
    if config.model is not None:
        config, folder = model_found(config)
        read_settings(folder)
        identity["content"] = content_hash(folder)
    if config.links is not None:
        links, content = links_found(config.links)
        config = config.model_copy(update={"links": links})
        if content is not None:
            identity["links"] = content
    return config, identity


def links_found(config: LinksConfig) -> tuple[LinksConfig, str | None]:
    """The links as every node must read them, and the hash of their model, None without one.

    Raises ConfigError as :func:`aligner_found` does.
    """
    if config.kind == "eflomal":
        eflomal.find_program()
    if config.model is None:
        return config, None
    if config.kind == "hmm":
        # numba compiles it when it is first imported: seconds that only those wait who need it.
        from xner.models import hmm

        home = Folder.at(config.model)
        return config.model_copy(update={"model": home.location}), hmm.content_hash(home)
    config, folder = model_found(config)
    return config, content_hash(folder)


def model_found(config: Model) -> tuple[Model, Path]:
    """The configuration as every node must read it, and the model's folder on this machine.

    A local folder by its absolute path; a name on the hub with the commit that it stands for now, a
    URL with what its files are now, so that a node that downloads it later gets the same weights.
    """
    assert config.model is not None
    folder = resolve(config.model, config.revision).absolute()
    if local_path(config.model).is_dir():
        found = {"model": str(folder)}
    else:
        # The hub's cache names a snapshot's folder by its commit, the copy of a URL by its files.
        found = {"revision": folder.name}
    return cast("Model", config.model_copy(update=found)), folder


def model_identity(config: ModelConfig, folder: Path) -> dict[str, Any]:
    """What of a model's settings can change a label: its content, not its place or its pool."""
    return {"content": content_hash(folder), **_deciding(config)}


def _deciding(config: BaseModel) -> dict[str, Any]:
    """The settings of a model or of word links that can change a label."""
    where = ("model", "revision", "device", "pool", "batch_tokens", "compile")
    elsewhere = dict.fromkeys((*where, "name", "label_map"), True)
    return config.model_dump(mode="json", exclude={**elsewhere, "links": {"model", "revision"}})


def _num_bytes(path: str) -> int | None:
    """The size of a file; None where its location does not tell.

    Raises TransientError where it may tell later.
    """
    filesystem, name = url_to_fs(path)
    try:
        size = ask(path, filesystem, lambda: filesystem.size(name))
    except (FileNotFoundError, ConfigError):
        return None
    return None if size is None else int(size)


@dataclass(frozen=True)
class CorpusSummary:
    """What became of an archive's pairs; ``read`` = refused + ``not_sampled`` + ``written``."""

    corpus: str
    source_lang: str
    target_lang: str
    read: int
    refused: Mapping[str, int]
    not_sampled: int
    written: int
    seconds: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class CorpusPreparation:
    """Corpus preparation with its archives found."""

    config: PrepareConfig
    run: Run
    archives: Sequence[Archive]

    @classmethod
    def plan(cls, config: PrepareConfig) -> CorpusPreparation:
        """Find the archives. Raises ConfigError for corpora and languages that are not there."""
        found = archives(config)
        fingerprint = config.model_dump(mode="json", exclude={"engine", "output"})
        # Another file under the same name would be mixed with what was read before.
        paths = [path for each in found for path in (each.path, each.target_path) if path]
        fingerprint["archives"] = {path: _num_bytes(path) for path in paths}
        run = Run(Folder.at(config.output), "prepare_corpus", fingerprint)
        return cls(config, run, found)

    @property
    def language_pairs(self) -> list[tuple[str, str]]:
        """The language pairs of the run, in the recipe's order."""
        return list(dict.fromkeys((a.source_lang, a.target_lang) for a in self.archives))

    def summary_of(self, pair: tuple[str, str]) -> list[CorpusSummary] | None:
        """What a finished language pair came to; None as long as it is not finished."""
        record = self.run.folder.read_json(f"{'-'.join(pair)}/{SUMMARY_FILE}")
        try:
            return None if record is None else [CorpusSummary(**each) for each in record]
        except TypeError as error:
            raise DataError(
                f"{self.run.folder}/{'-'.join(pair)}/{SUMMARY_FILE}: not a summary of corpora: "
                f"{error}"
            ) from error

    def run_pending(
        self, report: Callable[[int], None], check: Callable[[], None] = lambda: None
    ) -> None:
        """Read, clean, draw and write every language pair that is not finished.

        ``report`` is called with a number of pairs as they are read; ``check`` again and again
        while shards are removed and written, to raise where the folder is no longer ours. Raises
        DataError when an archive is broken: nothing of a language pair is written from half of its
        corpora.
        """
        pending = [pair for pair in self.language_pairs if self.summary_of(pair) is None]
        sources = [
            (number, archive)
            for number, archive in enumerate(self.archives)
            if (archive.source_lang, archive.target_lang) in pending
        ]
        if not sources:
            return
        config = self.config
        engine = engine_for(config.engine)
        reader = preparing.ReadArchive(config)
        flow = engine.read(sources, reader).held(report)
        tallies = preparing.read_tallies(flow.map(preparing.only_tallies))
        broken = [tally.error for tally in tallies.values() if tally.error]
        if broken:
            raise DataError("\n  ".join([f"{len(broken)} of {len(sources)} archives:", *broken]))
        for pair in pending:
            mine = {
                number: tallies[number]
                for number, archive in sources
                if (archive.source_lang, archive.target_lang) == pair
            }
            _log.info("%s: drawing and writing", "-".join(pair))
            self._write(pair, flow, mine, check)

    def _write(
        self,
        pair: tuple[str, str],
        flow: Flow,
        tallies: Mapping[int, preparing.Tally],
        check: Callable[[], None],
    ) -> None:
        """Draw the sample of one language pair and write its shards and its summary."""
        limit, shard_pairs = self.config.sampling.pairs, self.config.shard_pairs
        within = preparing.Within({number: tally.bound for number, tally in tallies.items()})
        most = sum(min(tally.accepted, limit or tally.accepted) for tally in tallies.values())
        parts = flow.map(within).partition("position", max(1, round(most / shard_pairs))).held()

        distinct, copies = preparing.sum_counts(parts.map(preparing.key_counts), list(tallies))
        available = [int(distinct[number].sum()) for number in tallies]
        quota_of = dict(zip(tallies, quotas(available, limit), strict=True))
        last_keys = preparing.last_keys(parts, distinct, quota_of)

        folder = "-".join(pair)
        # A run that died here may have seen other archives, and so have cut other shards.
        for name in (self.run.folder / folder).names(SHARD):
            check()
            self.run.folder.remove(f"{folder}/{name}")
        num_shards = max(1, round(sum(quota_of.values()) / shard_pairs))
        drawn = parts.map(preparing.Draw(last_keys)).partition("position", num_shards)
        written: Counter[int] = Counter()
        shards: set[int] = set()
        check()
        for table in drawn.map(preparing.WriteShard(self.run, folder, num_shards)):
            check()
            # The second would have taken the place of the first.
            new = set(table["shard"].to_pylist())
            if twice := shards & new:
                raise RuntimeError(f"{folder}: shard {min(twice)} came twice, in parts")
            for number in new:
                self.run.check_found(preparing.shard_name(folder, number, num_shards))
            shards |= new
            for row in table.to_pylist():
                written[row["archive"]] += row["written"]

        if written != Counter(quota_of):
            raise RuntimeError(f"{folder}: drew {quota_of} pairs by archive but wrote {written}")
        summary = []
        for number, tally in tallies.items():
            duplicates = int(copies[number].sum()) - int(distinct[number].sum())
            refused = {**tally.refused, **({"duplicate": duplicates} if duplicates else {})}
            archive = self.archives[number]
            summary.append(
                CorpusSummary(
                    corpus=archive.corpus,
                    source_lang=archive.source_lang,
                    target_lang=archive.target_lang,
                    read=tally.read,
                    refused=refused,
                    not_sampled=tally.read - sum(refused.values()) - written[number],
                    written=written[number],
                    seconds=tally.seconds,
                    peak_rss_bytes=tally.peak_rss_bytes,
                )
            )
        self.run.folder.publish_json(f"{folder}/{SUMMARY_FILE}", [asdict(each) for each in summary])
