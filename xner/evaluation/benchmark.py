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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow as pa

from xner.config import (
    AlignerConfig,
    BenchmarkConfig,
    EngineConfig,
    LinksConfig,
    OptimizationConfig,
    PoolConfig,
    ProjectConfig,
    QualityConfig,
    TaggedSourceConfig,
    TeacherConfig,
    TrainTaggerConfig,
)
from xner.corpora import miniature
from xner.engine.recipes import CorpusProjection
from xner.engine.stages import Align, Label, Project
from xner.errors import ConfigError
from xner.models import aligner_tools, hmm
from xner.models.aligner import new_network, save_aligner
from xner.models.baselines import EntityByEntity, PipelineTeacher
from xner.models.encoder import pick_device, pick_precision
from xner.models.folders import AlignerSettings, Layout, resolve
from xner.models.shapes import SHAPES, fit_head, new_encoder_of, shape_of
from xner.models.speed import machine, product_peak, profiled
from xner.models.tagger import new_model, save_tagger
from xner.models.usage import Usage
from xner.projection.decode import candidates
from xner.projection.quality import to_alignments
from xner.shards import schema
from xner.shards.ledger import SHARD, input_shards
from xner.shards.storage import Folder
from xner.text.iob2 import encode
from xner.text.mentions import Mention
from xner.text.words import Span, segment
from xner.training.loop import State, train
from xner.training.places import InProcess
from xner.training.tagger import make_task

# Operations a second and dollars an hour.
_GPUS = {"L4": (121e12, 0.8), "A10G": (70e12, 1.0), "A100": (312e12, 3.0), "H100": (989e12, 7.0)}
_USED = 0.5

LABELS = ("PER", "LOC", "ORG", "MISC")
_BATCH_SIZE = 32

# Pairs that show the teacher of random weights what to find.
_SHOWN = 400

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
    # Sets the threads, before anything computes.
    machine(config.device, "fp32", config.num_threads)
    with tempfile.TemporaryDirectory(prefix="xner-benchmark-") as name:
        pairs = read_pairs(config)
        models = make_models(config, pairs, Path(name))
        return measured(config, pairs, models, Path(name), report)


def measured(
    config: BenchmarkConfig, pairs: pa.Table, models: Models, folder: Path, report: Report
) -> dict[str, Any]:
    """The summary's content for pairs and models at hand; ``folder`` is for what lies between."""
    here = machine(config.device, "fp32", None)
    with ExitStack() as stack:
        bench = _Bench(config, pairs, models, folder)
        contest = bench.contest(report, stack)
        rounds, usage = contest.seconds, contest.usage["fp32"]
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
            **contest.facts,
            **_shares(rounds["ours"], usage, models.shape, contest.peaks["fp32"]),
            "product_peak_per_second": {
                name: statistics.median(peaks) for name, peaks in contest.peaks.items()
            },
        }
        if "bf16" in contest.usage:
            summary["bf16"] = _shares(
                rounds["ours_bf16"], contest.usage["bf16"], models.shape, contest.peaks["bf16"]
            )
        if config.training_steps:
            report(f"{config.training_steps} steps of training")
            summary["training"] = bench.training()
        summary["costs"] = costs(usage.tokens / config.repetitions / pairs.num_rows)
        if config.ray_seconds:
            summary["ratios"] |= bench.engines(report)
        return summary


@dataclass(frozen=True)
class _Contest:
    """What the rounds gave.

    ``seconds`` by contestant and ``peaks`` (operations a second) by precision, one a round;
    ``usage`` by precision, what our forwards cost in all rounds; ``facts``: what else to say.
    """

    seconds: dict[str, list[float]]
    usage: dict[str, Usage]
    peaks: dict[str, list[float]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Models:
    """Folders of a tagger and of an aligner of either layout over the same encoder."""

    encoder: Path
    teacher: Path
    packed: Path
    single: Path

    @property
    def shape(self) -> Any:
        """The encoder's sizes."""
        return shape_of(self.encoder)


def make_models(config: BenchmarkConfig, pairs: pa.Table, folder: Path) -> Models:
    """Write the models that the settings name below ``folder``.

    Those of random weights know the words of ``pairs``, and the teacher finds about their mentions.
    Raises ConfigError where the encoder is not there.
    """
    texts = [*pairs["source"].to_pylist(), *pairs["target"].to_pylist()]
    if config.encoder in SHAPES:
        encoder = new_encoder_of(config.encoder, texts, folder / "encoder")
    else:
        encoder = resolve(config.encoder)
    device = pick_device(config.device)
    model, tokenizer = new_model(encoder, LABELS)
    if config.encoder in SHAPES:
        shown = pairs.slice(0, _SHOWN)
        words, tags = _words_and_tags(shown)
        fit_head(model.to(device), tokenizer, shown["source"].to_pylist(), words, tags)
    save_tagger(model.cpu(), tokenizer, folder / "teacher")
    # The paper's layout is there for those opponents that have it.
    layouts: tuple[Layout, ...] = ("packed", "single") if _has_pipelines(config) else ("packed",)
    for layout in layouts:
        network, tokenizer = new_network(encoder, layout)
        save_aligner(network, tokenizer, folder / layout, AlignerSettings(layout=layout))
    return Models(encoder, folder / "teacher", folder / "packed", folder / "single")


def _words_and_tags(pairs: pa.Table) -> tuple[list[list[Span]], list[list[str]]]:
    """Words of the sources, and the IOB2 tags of their mentions."""
    words = [segment(source) for source in pairs["source"].to_pylist()]
    tags = [
        encode([Mention(**mention) for mention in mentions], spans)
        for mentions, spans in zip(pairs["source_mentions"].to_pylist(), words, strict=True)
    ]
    return words, tags


def _has_pipelines(config: BenchmarkConfig) -> bool:
    return bool({"batched_pipelines", "unbatched"} & set(config.opponents))


def _made(num_pairs: int) -> Iterator[tuple[str, str]]:
    """English and German of the miniature world, about as long and as full of names as news.

    That are 19 words and 2 names (22 and 1.5 in WMT-News, where a third of the pairs has none): two
    sentences a pair, one with its names and one that has none; in every third neither has any.
    """
    sentences = list(miniature.sentences("train", 2 * num_pairs))
    without = cycle([each.texts for each in sentences if not each.mentions["en"]])
    named = (each.texts for each in sentences if each.mentions["en"])
    for number, texts in enumerate(named):
        one, other = next(without) if number % 3 == 2 else texts, next(without)
        yield f"{one['en']} {other['en']}", f"{one['de']} {other['de']}"


def _read(location: str) -> Iterator[tuple[str, str]]:
    home = Folder.at(location)
    for name in input_shards(home):
        table = home.read_table(name, schema.PAIRS)
        yield from zip(table["source"].to_pylist(), table["target"].to_pylist(), strict=True)


def read_pairs(config: BenchmarkConfig) -> pa.Table:
    """The first pairs of the shards that the settings name, or made ones, with mentions to align.

    Every source is there once, for equal ones would be computed once by us alone. The mentions are
    runs of capitalised words, what the teacher of random weights is shown.
    """
    pairs = _made(config.num_pairs) if config.pairs is None else _read(config.pairs)
    targets_of: dict[str, str] = {}
    for source, target in pairs:
        targets_of.setdefault(source, target)
        if len(targets_of) == config.num_pairs:
            break
    sources, targets = list(targets_of), list(targets_of.values())
    mentions = [
        [
            {"start": found.start(), "end": found.end(), "label": "ORG", "score": 1.0}
            for found in _NAMES.finditer(source)
        ]
        for source in sources
    ]
    given = {
        "pair_id": [str(number) for number in range(len(sources))],
        "source": sources,
        "target": targets,
        "source_mentions": mentions,
    }
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
        self, config: BenchmarkConfig, pairs: pa.Table, models: Models, folder: Path
    ) -> None:
        self._config, self._pairs, self._models, self._folder = config, pairs, models, folder
        self._unlabelled = pairs.select(schema.PAIRS.names)
        self._project = Project(QualityConfig(), LABELS)

    def _stages(self, layout: str, precision: str = "fp32") -> tuple[Label, Align]:
        how = {"device": self._config.device, "precision": precision}
        teacher = TeacherConfig.model_validate({"model": str(self._models.teacher), **how})
        folder = self._models.packed if layout == "packed" else self._models.single
        return Label(teacher), Align(AlignerConfig.model_validate({"model": str(folder), **how}))

    def _word_links(self) -> Align:
        """The stage with word links alone, of a word aligner that knows these very pairs."""
        texts = zip(*(self._pairs[side].to_pylist() for side in ("source", "target")), strict=True)
        folder = Folder.at(str(self._folder / "links"))
        hmm.train(list(texts), ("en", "de"), hmm.WordAlignerSettings()).aligner.save(folder)
        return Align(AlignerConfig(links=LinksConfig(model=folder.location)))

    def contest(self, report: Report, stack: ExitStack) -> _Contest:
        """All contestants take their turns, round by round."""
        ours = {"fp32": self._stages("packed")}
        facts: dict[str, Any] = {"left_out": {}}
        if machine(self._config.device, "auto", None).precision == "bfloat16":
            ours["bf16"] = self._stages("packed", "bf16")
        else:
            facts["left_out"]["bf16"] = "this machine does not compute in bfloat16"
        runs_of_ours = {"ours": "fp32", "ours_bf16": "bf16"}
        contestants: dict[str, Callable[[], Any]] = {
            name: partial(self._whole, *ours[precision])
            for name, precision in runs_of_ours.items()
            if precision in ours
        }
        contestants["word_links"] = partial(self._word_links(), self._pairs)
        if _has_pipelines(self._config):
            single = self._stages("single")
            contestants["ours_single"] = partial(self._whole, *single)
            facts["equal_alignments"] = _share_equal(
                single[1](self._pairs)["alignments"].to_pylist(),
                self._entity_by_entity(_BATCH_SIZE)(),
            )
        for name, size in (("batched_pipelines", _BATCH_SIZE), ("unbatched", 1)):
            if name in self._config.opponents:
                contestants[name] = self._pipelines(size)
        tools, missing = self._tools(stack)
        if tools:
            contestants["align"] = partial(self._stages("packed")[1], self._pairs)
        contestants |= tools
        facts["left_out"] |= missing

        report("warming up")
        if self._config.profile is not None:
            profiled(contestants["ours"], Path(self._config.profile))
        for run in contestants.values():
            run()
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        usage = {precision: Usage() for precision in ours}
        peaks: dict[str, list[float]] = {precision: [] for precision in ours}
        for number in range(self._config.repetitions):
            for precision, found in peaks.items():
                found.append(product_peak(self._models.shape, self._config.device, precision))
            for name, run in contestants.items():
                report(f"round {number + 1} of {self._config.repetitions}: {name}")
                stages = ours.get(runs_of_ours.get(name, ""))
                before = _usage(stages) if stages else Usage()
                started = time.perf_counter()
                told = run()
                passed = time.perf_counter() - started
                seconds[name].append(told if isinstance(told, float) else passed)
                if stages:
                    usage[runs_of_ours[name]] += _usage(stages) - before
        return _Contest(seconds, usage, peaks, facts)

    def training(self) -> dict[str, Any]:
        """Sub-words a second of some steps of training the teacher, and their share of the peak.

        A step costs three forwards: the gradient of a product is two products more.
        """
        file = self._folder / "tagged.jsonl"
        words, tags = _words_and_tags(self._pairs)
        texts = self._pairs["source"].to_pylist()
        with file.open("w", encoding="utf-8") as lines:
            for text, spans, names in zip(texts, words, tags, strict=True):
                tokens = [text[start:end] for start, end in spans]
                lines.write(json.dumps({"tokens": tokens, "ner_tags": names}) + "\n")
        steps, budget = self._config.training_steps, self._config.training_tokens
        # One epoch holds all steps, for between epochs there is more to do than to train.
        repeat = 1 + 2 * steps * budget // sum(map(len, words))
        optimization = OptimizationConfig(batch_tokens=budget, epochs=1, dev_share=0)
        task = make_task(
            TrainTaggerConfig(
                optimization=optimization,
                encoder=str(self._models.teacher),
                data=[TaggedSourceConfig(path=str(file), format="jsonl", lang="en", repeat=repeat)],
                dropout=0.0,
                output=str(self._folder / "student"),
            ),
            Folder.at(str(self._folder / "student")),
        )
        place = _Unkept(Folder.at(str(self._folder / "checkpoints")), 1)
        precision = pick_precision("auto", place.device)
        peak = product_peak(self._models.shape, place.device.type, "auto")
        rates = []
        # The first steps also pay for memory and kernels that later ones find there.
        for count in (2, steps):
            run = optimization.model_copy(update={"max_steps": count})
            state = train(task, run, place, precision=precision, report=lambda progress: None)
            rates.append(state.tokens / state.seconds)
        return {
            "precision": str(precision).removeprefix("torch."),
            "subwords_per_second": rates[-1],
            "matmul_share": 3 * rates[-1] * self._models.shape.operations_per_token / peak,
        }

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
        names = [name for name in ("simalign", "awesome_align") if name in self._config.opponents]
        if not names:
            return {}, {}
        python = self._config.aligners_python
        shown = [*names, "awesome_align_layer_8"] if "awesome_align" in names else names
        if python is None:
            return {}, dict.fromkeys(shown, "no aligners_python named: see make benchmark")
        if not (self._models.encoder / "vocab.txt").is_file():
            return {}, dict.fromkeys(shown, "the encoder is no BERT with a vocab.txt")
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

        tools = [tool for tool in there["tools"] if tool.startswith(tuple(names))]
        return {tool: partial(run, tool) for tool in tools}, there["problems"]

    def engines(self, report: Report) -> dict[str, float]:
        """Rates of the main job: Ray's over the plain loop's, and that of two actors over one.

        Ray has all threads in one actor, as the loop has them, or two actors of one thread.
        """
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
        return {
            "ray_over_inline": all_threads / inline,
            "ray_actors_over_inline": two / inline,
            "two_actors": two / one,
        }

    def _rate(self, home: Folder, output: Path, engine: EngineConfig, pool: PoolConfig) -> float:
        """Shards a second, see ``steady_rate``."""
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
        return steady_rate([time.perf_counter() for _ in projection.run_pending()], pool.max_size)


class _Unkept(InProcess):
    """A place of training that keeps no checkpoint."""

    def commit(self, folder: Path | None, state: State) -> None:
        """Nothing."""


def steady_rate(times: Sequence[float], num_actors: int) -> float:
    """Shards a second of that many actors, from the times [seconds] of commits, in their order.

    The clock starts when the last of the first shards is there that all began together, so that
    neither the start of processes nor work done before it is counted.
    """
    return (len(times) - num_actors) / (times[-1] - times[num_actors - 1])


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
        "ray_actors_over_inline": None,
        "two_actors": None,
    }


def _shares(
    seconds: Sequence[float], usage: Usage, shape: Any, peaks: Sequence[float]
) -> dict[str, float]:
    """What of the wall time is the device's, what of its work padding, what of its peak is used.

    Of the peak the operations of useful sub-words alone are counted: over the whole wall time
    (``matmul_share``), and over the device's (``device_matmul_share``).
    """
    wall = sum(seconds)
    rate = usage.tokens * shape.operations_per_token / statistics.median(peaks)
    return {
        "padding_share": usage.padding_share,
        "device_share": usage.seconds / wall,
        "matmul_share": rate / wall,
        "device_matmul_share": rate / usage.seconds,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return sys.platform
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} logical cores)" if names else sys.platform
