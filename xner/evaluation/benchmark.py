"""How fast labelling, aligning and projecting is, against what people would otherwise run.

All contestants read the same pairs with the same weights on the same threads, take turns in one
process's run, and are compared round by round: a ratio is the median over rounds of the other's
seconds over ours. Opponents are in :mod:`xner.models.baselines` and
:mod:`xner.models.aligner_tools`. What the hardware could do at best is measured as a matrix product
of the model's own sizes.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from xner.config import (
    AlignerConfig,
    BenchmarkConfig,
    EngineConfig,
    PoolConfig,
    ProjectConfig,
    QualityConfig,
    TeacherConfig,
)
from xner.corpora import miniature
from xner.engine.recipes import CorpusProjection
from xner.engine.stages import Align, Label, Project
from xner.errors import ConfigError
from xner.models import aligner_tools
from xner.models.aligner import AlignerSettings, new_network, save_aligner
from xner.models.baselines import EntityByEntity, PipelineTeacher
from xner.models.encoder import resolve
from xner.models.shapes import SHAPES, new_encoder_of, shape_of
from xner.models.speed import machine, product_peak, profiled
from xner.models.tagger import new_model, save_tagger
from xner.models.usage import Usage
from xner.projection.decode import candidates
from xner.projection.quality import to_alignments
from xner.shards import schema
from xner.shards.ledger import SHARD, input_shards
from xner.shards.storage import Folder
from xner.text.words import segment

# Operations a second and dollars an hour.
_GPUS = {"L4": (121e12, 0.8), "A10G": (70e12, 1.0), "A100": (312e12, 3.0), "H100": (989e12, 7.0)}
_USED = 0.5

LABELS = ("PER", "LOC", "ORG", "MISC")
_BATCH_SIZE = 32

# Shards for the engines: smaller than a round's text, so that there are many.
_SHARDS_A_ROUND = 4

# A run of words that begin with a capital, not the sentence's first word alone: about as many and
# as long as names are.
_NAMES = re.compile(r"(?<=[^.!?] )[^\W\d_a-zß-ÿ]\w+(?: [^\W\d_a-zß-ÿ]\w+){0,3}")

Report = Callable[[str], None]


def measure(config: BenchmarkConfig, report: Report) -> dict[str, Any]:
    """Run what the settings name; ``report`` is told what is under way. The summary's content.

    Raises ConfigError where the pairs or the encoder are not there.
    """
    here = machine(config.device, "fp32", config.num_threads)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xner-benchmark-")))
        pairs = _pairs(config)
        models = _models(config, pairs, folder)
        bench = _Bench(config, pairs, models, folder)
        rounds, usage, facts = bench.contest(report, stack)
        peak = product_peak(models.shape, config.device, "fp32")
        summary: dict[str, Any] = {
            "machine": {**asdict(here), "cpu": _cpu_name()},
            "encoder": config.encoder,
            "pairs": pairs.num_rows,
            "mentions": sum(map(len, pairs["source_mentions"].to_pylist())),
            "repetitions": config.repetitions,
            "pairs_per_second": {
                name: pairs.num_rows / statistics.median(seconds)
                for name, seconds in rounds.items()
            },
            "ratios": _ratios(rounds),
            **facts,
            **_shares(rounds["ours"], usage, models.shape, peak),
            "product_peak_per_second": peak,
        }
        summary["costs"] = costs(usage.tokens / config.repetitions / pairs.num_rows)
        if config.ray_seconds:
            summary["ratios"] |= bench.engines(report)
        return summary


@dataclass(frozen=True)
class _Models:
    """Folders of a tagger and of an aligner of either layout over the same encoder."""

    encoder: Path
    teacher: Path
    packed: Path
    single: Path

    @property
    def shape(self) -> Any:
        """The encoder's sizes."""
        return shape_of(self.encoder)


def _models(config: BenchmarkConfig, pairs: pa.Table, folder: Path) -> _Models:
    texts = [*pairs["source"].to_pylist(), *pairs["target"].to_pylist()]
    if config.encoder in SHAPES:
        encoder = new_encoder_of(config.encoder, texts, folder / "encoder")
    else:
        encoder = resolve(config.encoder)
    model, tokenizer = new_model(encoder, LABELS)
    save_tagger(model, tokenizer, folder / "teacher")
    for layout in ("packed", "single"):
        network, tokenizer = new_network(encoder, layout)
        save_aligner(network, tokenizer, folder / layout, AlignerSettings(layout=layout))
    return _Models(encoder, folder / "teacher", folder / "packed", folder / "single")


def _pairs(config: BenchmarkConfig) -> pa.Table:
    """The first pairs of the shards that the settings name, or made ones, with mentions to align.

    A teacher of random weights finds noise, so the mentions are runs of capitalised words.
    """
    if config.pairs is None:
        sentences = [
            sentence.texts for sentence in miniature.sentences("train", 2 * config.num_pairs)
        ]
        # Two sentences of the miniature world are about as long as one of the news.
        couples = list(zip(sentences[::2], sentences[1::2], strict=True))
        sources = [f"{one['en']} {other['en']}" for one, other in couples]
        targets = [f"{one['de']} {other['de']}" for one, other in couples]
    else:
        home = Folder.at(config.pairs)
        names = input_shards(home)
        sources, targets = [], []
        for name in names:
            if len(sources) >= config.num_pairs:
                break
            table = home.read_table(name, schema.PAIRS)
            sources += table["source"].to_pylist()
            targets += table["target"].to_pylist()
        sources, targets = sources[: config.num_pairs], targets[: config.num_pairs]
    mentions = [
        [
            {"start": found.start(), "end": found.end(), "label": "ORG", "score": 1.0}
            for found in _NAMES.finditer(source)
        ]
        for source in sources
    ]
    given = {"source": sources, "target": targets, "source_mentions": mentions}
    given["pair_id"] = [str(number) for number in range(len(sources))]
    constant = {"corpus": "benchmark", "source_lang": "en", "target_lang": "de"}
    arrays = [
        pa.array(given.get(field.name, [constant.get(field.name)] * len(sources)), field.type)
        for field in schema.LABELLED
    ]
    return pa.Table.from_arrays(arrays, schema=schema.LABELLED)


def costs(tokens_per_pair: float) -> list[dict[str, Any]]:
    """What pairs with so many sub-words (teacher and aligner) cost on well-known GPUs, computed.

    Peaks are the makers', dense, in bf16; prices are about what clouds asked for one GPU an hour,
    on demand, in 2025. Half of the peak is taken for used.
    """
    return [
        {
            "GPU": gpu,
            "encoder": name,
            "pairs/s": rate,
            "price of a million pairs": price * 1e6 / rate / 3600,
        }
        for gpu, (peak, price) in _GPUS.items()
        for name in ("xlm-roberta-base", "xlm-roberta-large")
        for rate in [_USED * peak / (tokens_per_pair * SHAPES[name].operations_per_token)]
    ]


class _Bench:
    """The contestants, ready to run."""

    def __init__(
        self, config: BenchmarkConfig, pairs: pa.Table, models: _Models, folder: Path
    ) -> None:
        self._config, self._pairs, self._models, self._folder = config, pairs, models, folder
        self._unlabelled = pairs.select(schema.PAIRS.names)
        self._project = Project(QualityConfig(), LABELS)

    def _stages(self, layout: str, precision: str = "fp32") -> tuple[Label, Align]:
        how = {"device": self._config.device, "precision": precision}
        teacher = TeacherConfig.model_validate({"model": str(self._models.teacher), **how})
        folder = self._models.packed if layout == "packed" else self._models.single
        return Label(teacher), Align(AlignerConfig.model_validate({"model": str(folder), **how}))

    def contest(
        self, report: Report, stack: ExitStack
    ) -> tuple[dict[str, list[float]], Usage, dict[str, Any]]:
        """Seconds by contestant and round, what our forwards cost, and what else is to be said."""
        ours, single = self._stages("packed"), self._stages("single")
        contestants: dict[str, Callable[[], Any]] = {
            "ours": partial(self._whole, *ours),
            "ours_single": partial(self._whole, *single),
            "align": partial(self._stages("packed")[1], self._pairs),
        }
        facts: dict[str, Any] = {"left_out": {}}
        native = machine(self._config.device, "auto", None).precision
        if native == "bfloat16":
            contestants["ours_bf16"] = partial(self._whole, *self._stages("packed", "bf16"))
        else:
            facts["left_out"]["bf16"] = "this machine does not compute in bfloat16"
        for name, size in (("batched_pipelines", _BATCH_SIZE), ("unbatched", 1)):
            contestants[name] = self._pipelines(size)
        tools, missing = self._tools(stack)
        contestants |= tools
        facts["left_out"] |= missing

        report("warming up")
        if self._config.profile is not None:
            profiled(contestants["ours"], Path(self._config.profile))
        with_single = self._single_found(single[1])
        facts["equal_alignments"] = _share_equal(with_single, self._entity_by_entity(_BATCH_SIZE)())
        for run in contestants.values():
            run()
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        usage = Usage()
        for number in range(self._config.repetitions):
            for name, run in contestants.items():
                report(f"round {number + 1} of {self._config.repetitions}: {name}")
                before = _usage(ours)
                started = time.perf_counter()
                told = run()
                passed = time.perf_counter() - started
                seconds[name].append(told if isinstance(told, float) else passed)
                if name == "ours":
                    usage += _usage(ours) - before
        return seconds, usage, facts

    def _whole(self, label: Label, align: Align) -> None:
        """Label, then align the mentions that are given and project them."""
        label(self._unlabelled)
        self._project(align(self._pairs))

    def _requests(self) -> list[tuple[list[str], str, list[tuple[int, int]]]]:
        rows = self._pairs.select(["source", "target", "source_mentions"]).to_pylist()
        return [
            (
                [row["source"][m["start"] : m["end"]] for m in row["source_mentions"]],
                row["target"],
                segment(row["target"]),
            )
            for row in rows
        ]

    def _single_found(self, align: Align) -> list[Any]:
        return align(self._pairs)["alignments"].to_pylist()

    def _entity_by_entity(self, batch_size: int) -> Callable[[], list[Any]]:
        """The paper's aligner a batch after the other; decoded by the rules that ours has."""
        config = AlignerConfig(model="given")
        aligner = EntityByEntity(self._models.single, self._config.device, batch_size)

        def run() -> list[Any]:
            requests = self._requests()
            return [
                to_alignments(
                    candidates(
                        scores,
                        words,
                        target,
                        threshold=config.threshold,
                        max_gap=config.max_gap,
                        max_candidates=config.max_candidates,
                    )
                )
                for (_, target, words), scores in zip(
                    requests, aligner.align(requests), strict=True
                )
            ]

        return run

    def _pipelines(self, batch_size: int) -> Callable[[], None]:
        teacher = PipelineTeacher(self._models.teacher, self._config.device, batch_size)
        align = self._entity_by_entity(batch_size)
        sources = self._pairs["source"].to_pylist()
        kind = schema.ALIGNED.field("alignments").type

        def run() -> None:
            teacher.label(sources)
            table = self._pairs.append_column("alignments", pa.array(align(), kind))
            self._project(table)

        return run

    def _tools(self, stack: ExitStack) -> tuple[dict[str, Callable[[], float]], dict[str, str]]:
        """simalign and awesome-align in the Python that has them, a process beside this one."""
        names = ("simalign", "awesome_align")
        python = self._config.aligners_python
        if python is None:
            return {}, dict.fromkeys(names, "no aligners_python named: see make benchmark")
        if not (self._models.encoder / "vocab.txt").is_file():
            return {}, dict.fromkeys(names, "the encoder is no BERT with a vocab.txt")
        rows = self._pairs.select(["source", "target"]).to_pylist()
        sides = [[row["source"], row["target"]] for row in rows]
        lines = [
            " ||| ".join(" ".join(text[a:b] for a, b in segment(text)) for text in pair)
            for pair in sides
        ]
        file = self._folder / "pairs.txt"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        threads = str(machine(self._config.device, "fp32", None).num_threads)
        command = [python, aligner_tools.__file__, str(self._models.encoder), str(file), threads]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError as error:
            raise ConfigError(f"aligners_python {python}: cannot be run: {error}") from error
        stack.callback(process.kill)
        answers = iter(process.stdout or ())
        first = next(answers, None)
        if first is None:
            raise ConfigError(f"aligners_python {python}: ended without a word; is torch there?")
        there = json.loads(first)

        def run(name: str) -> float:
            assert process.stdin is not None
            process.stdin.write(name + "\n")
            process.stdin.flush()
            answer = next(answers, None)
            if answer is None:
                raise ConfigError(f"aligners_python {python}: {name} failed")
            return float(json.loads(answer))

        return {name: partial(run, name) for name in there["tools"]}, there["problems"]

    def engines(self, report: Report) -> dict[str, float]:
        """Ray's rate over the plain loop's, and that of two actors over one: the main job's."""
        threads = machine(self._config.device, "fp32", None).num_threads
        home = Folder.at(str(self._folder / "pairs"))
        shard = self._unlabelled.slice(0, math.ceil(len(self._unlabelled) / _SHARDS_A_ROUND))
        on_ray = EngineConfig(num_cpus=threads + 2)
        in_loop = EngineConfig(kind="inline")

        def rate(name: str, num_shards: int, engine: EngineConfig, pool: PoolConfig) -> float:
            report(f"engines: {name}, {num_shards} shards")
            for number in range(len(home.names(SHARD)), num_shards):
                home.publish_table(f"{number:05d}{SHARD}", shard)
            return self._rate(home, self._folder / name, engine, pool)

        tried = rate("a few", 5, in_loop, PoolConfig())
        num_shards = max(10, round(self._config.ray_seconds * tried))
        inline = rate("the plain loop", num_shards, in_loop, PoolConfig())
        pools = {
            "Ray, an actor with all threads": PoolConfig(num_cpus=threads),
            "Ray, an actor with a thread": PoolConfig(num_cpus=1),
            "Ray, two such actors": PoolConfig(min_size=2, max_size=2, num_cpus=1),
        }
        all_threads, one, two = (
            rate(name, num_shards, on_ray, pool) for name, pool in pools.items()
        )
        return {"ray_over_inline": all_threads / inline, "two_actors": two / one}

    def _rate(self, home: Folder, output: Path, engine: EngineConfig, pool: PoolConfig) -> float:
        """Shards a second from the first commit to the last: without the start of processes."""
        how = {"device": self._config.device, "precision": "fp32"}
        projection = CorpusProjection.plan(
            ProjectConfig.model_validate(
                {
                    "pairs": home.location,
                    "output": str(output),
                    "teacher": {"model": str(self._models.teacher), "pool": pool, **how},
                    "aligner": {"model": str(self._models.packed), **how},
                    "engine": engine,
                }
            )
        )
        projection.run.open()
        times = [time.perf_counter() for _ in projection.run_pending()]
        return (len(times) - 1) / (times[-1] - times[0])


def _usage(stages: tuple[Label, Align]) -> Usage:
    return stages[0].usage + stages[1].usage


def _share_equal(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Share of the rows whose best spans are the same."""

    def best(row: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for each in row:
            found.setdefault(each["source_index"], (each["start"], each["end"]))
        return found

    equal = [best(one) == best(other) for one, other in zip(ours, theirs, strict=True)]
    return sum(equal) / len(equal)


def _ratios(rounds: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """Theirs over ours, the median of the rounds; None where one of them did not run."""

    def over(theirs: str, ours: str) -> float | None:
        if theirs not in rounds or ours not in rounds:
            return None
        pairs = zip(rounds[theirs], rounds[ours], strict=True)
        return statistics.median(one / other for one, other in pairs)

    return {
        "batched_pipelines": over("batched_pipelines", "ours"),
        "unbatched": over("unbatched", "ours"),
        "batched_pipelines_over_single_layout": over("batched_pipelines", "ours_single"),
        "simalign": over("simalign", "align"),
        "awesome_align": over("awesome_align", "align"),
        "awesome_align_layer_8": over("awesome_align_layer_8", "align"),
        "bf16": over("ours", "ours_bf16"),
        "ray_over_inline": None,
        "two_actors": None,
    }


def _shares(seconds: Sequence[float], usage: Usage, shape: Any, peak: float) -> dict[str, float]:
    """What of the wall time is the device's, what of its work padding, what of its peak is used.

    The last counts the operations of useful sub-words alone, over the whole wall time.
    """
    wall = sum(seconds)
    return {
        "padding_share": usage.padding_share,
        "device_share": usage.seconds / wall,
        "matmul_share": usage.tokens * shape.operations_per_token / wall / peak,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return sys.platform
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} logical cores)" if names else sys.platform
