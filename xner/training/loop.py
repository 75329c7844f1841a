"""The training loop, the same for taggers and aligners, for one process and for many.

A step's batch is fixed by seed and epoch alone: examples are shuffled, bucketed by length and cut
by a budget of sub-words, and only then split over the workers. The gradient of a step is that of
the mean loss over all targets of the whole batch: every worker sums its losses, and the sum over
workers and micro-batches is divided once. So the number of workers changes the speed of a run and
not its result, but for rounding and dropout.

Checkpoints lie at epoch ends, and every so many steps where the settings say so. The best epoch is
chosen at epoch ends, and there a run may stop early: when held-out examples have shown no gain for
``patience`` epochs. All randomness of a step is seeded by the step, so a run that was killed and
started again repeats the undisturbed one step by step, from the batch after its checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from xner.config import OptimizationConfig
from xner.errors import ConfigError, TransientError, XnerError
from xner.models.batching import split_by_budget
from xner.models.encoder import encoders_in
from xner.training.optimizer import (
    AveragedWeights,
    learning_rate_share,
    make_optimizer,
    scale_and_clip,
    whole,
)

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]

# Shuffling happens among all examples, sorting only inside a pool of this many batches: batches
# hold rows of nearly one length, and still differ from epoch to epoch.
_POOL_BATCHES = 50
_CURVE_POINTS = 200
_CHECK_STEPS = 10
_LOG_SECONDS = 10.0

_MAY_HELP = (
    "a lower optimization.learning_rate, a longer optimization.warmup_share or fp32 may help"
)

_WEIGHTS, _AVERAGES = "weights.safetensors", "averages.safetensors"
OPTIMIZER, _STATE = "optimizer.pt", "state.json"
# Checkpoints hold whole tensors, from the first worker; every worker takes its part of them.
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


class DivergedError(XnerError):
    """Loss, gradient or weights are no longer finite; to try again would only repeat it."""


class MemoryFullError(TransientError):
    """A worker's memory does not hold a forward; all begin again with one of ``forward_tokens``."""

    def __init__(self, found: str, forward_tokens: int) -> None:
        super().__init__(f"{found}: forward_tokens is now {forward_tokens}")
        self._arguments = (found, forward_tokens)
        self.forward_tokens = forward_tokens

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is unpickled from its text alone.
        return type(self), self._arguments


class Epoch(Protocol):
    """The examples as one epoch sees them."""

    @property
    def lengths(self) -> np.ndarray:
        """Sub-words of each example, int array of shape ``(num_examples,)``."""

    def collate(self, rows: np.ndarray) -> Batch:
        """The batch of these examples, on the CPU."""


class Task(Protocol):
    """What is trained. Tasks are pickled to reach the workers; models are made there."""

    @property
    def selection(self) -> str:
        """The metric that chooses the best epoch; higher is better."""

    def make_model(self) -> nn.Module:
        """A new model with the weights that training starts from."""

    def epoch(self, number: int) -> Epoch:
        """The training examples of this epoch, the same at every call."""

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the losses over the batch's targets, and how many targets (or their weight)."""

    def describe(self, batch: Batch) -> list[str]:
        """What each of the batch's examples reads like, for messages."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Metrics on the held-out examples; empty when there are none."""

    def save(self, model: nn.Module, folder: Path, metrics: Mapping[str, float]) -> None:
        """Write the folder that users of the model load; ``metrics`` are those of its epoch."""


class Place(Protocol):
    """Where the loop runs: what one of many workers, or the only process, knows of the others."""

    rank: int
    num_workers: int
    device: torch.device

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model on its device, wrapped, or sharded, so that workers average gradients."""

    def total(self, values: Tensor) -> Tensor:
        """The sum over workers."""

    def last_checkpoint(self) -> AbstractContextManager[Path | None]:
        """The folder of the last committed checkpoint."""

    def commit(self, folder: Path | None, state: State) -> None:
        """Keep what is in ``folder`` (none but on the first worker) as the last checkpoint."""


@dataclass
class State:
    """How far a run is; everything of a checkpoint that is neither weight nor optimizer.

    ``epoch`` counts the epochs that are done; ``epoch_step`` the steps since, over whose targets
    the losses sum to ``loss_sum``. ``scores`` are those that choose the best of the epochs that
    are done; the first worker alone knows them.
    """

    epoch: int = 0
    step: int = 0
    epoch_step: int = 0
    loss_sum: float = 0.0
    num_targets: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    scores: list[float] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)

    def best(self, count: int) -> list[int]:
        """The numbers (from 1) of the best epochs, best first."""
        order = sorted(range(len(self.scores)), key=lambda epoch: self.scores[epoch], reverse=True)
        return [epoch + 1 for epoch in order[:count]]

    @property
    def best_epoch(self) -> int:
        """The number of the best epoch; 0 before there is one."""
        return next(iter(self.best(1)), 0)


Track = Callable[[State, State, Callable[[int], float]], None]
"""Takes the state at the last checkpoint, that at the next, and the learning rate of a step."""


@dataclass(frozen=True)
class Progress:
    """A moment of a run, for logs and displays."""

    epoch: int
    step: int
    num_steps: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    seconds_left: float


def log_progress(progress: Progress) -> None:
    """One line in the log."""
    logger.info(
        "step %d of %d, epoch %d: loss %.4f, learning rate %.2g, %.0f sub-words/s, %.0f s left",
        progress.step,
        progress.num_steps,
        progress.epoch,
        progress.loss,
        progress.learning_rate,
        progress.tokens_per_second,
        progress.seconds_left,
    )


def cut_batches(lengths: np.ndarray, budget: int, seed: tuple[int, ...]) -> list[np.ndarray]:
    """Shuffled batches of rows of similar length, the same for the same arguments.

    A batch's rows times its longest row is at most ``budget`` (a single longer row makes a batch of
    its own). Every row is in exactly one batch, longest first.
    """
    if len(lengths) == 0:
        return []
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(lengths))
    pool = max(1, _POOL_BATCHES * budget // max(1, int(lengths.mean())))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches.extend(split_by_budget(rows, lengths, budget))
    return [batches[index] for index in generator.permutation(len(batches))]


def train(
    task: Task,
    optimization: OptimizationConfig,
    place: Place,
    *,
    precision: torch.dtype = torch.float32,
    run: int = 0,
    report: Callable[[Progress], None] = log_progress,
    track: Track | None = None,
) -> State:
    """Train from the last checkpoint, or from the start, to the end; every worker calls this.

    ``run`` is the number (from 0) of this run among those of a soup, which begin with the same
    weights. On the first worker ``track`` is told of each checkpoint before it is made.

    Raises:
        ConfigError: memory does not hold one example.
        MemoryFullError: memory does not hold what one of several workers computes at once.
        TransientError: a checkpoint could not be written; the last one is still whole.
        DivergedError: a loss or a gradient was not finite; names the step and its examples. All
            workers raise at the same step, and no checkpoint is later than the step before.
    """
    # All runs of a soup have the same new weights: the mean of others would be no model.
    torch.manual_seed(optimization.seed)
    model = task.make_model()
    optimization = optimization.of_run(run)
    state = State()
    averages = None
    with place.last_checkpoint() as folder:
        if folder is not None:
            state = read_state(folder)
            load_model(model, folder / _WEIGHTS)
        if optimization.gradient_checkpointing:
            _checkpoint_gradients(model)
        wrapped = place.prepare(model)
        if optimization.compile:
            # The model itself stays as it is: for evaluation, and for the names of its weights.
            wrapped = torch.compile(wrapped, dynamic=True)
        optimizer = make_optimizer(model, optimization)
        if optimization.ema_decay is not None:
            averages = AveragedWeights(model, optimization.ema_decay)
        if folder is not None:
            if averages is not None:
                with averages.in_place():
                    set_model_state_dict(model, load_file(folder / _AVERAGES), options=_WHOLE)
            found = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
            set_optimizer_state_dict(model, optimizer, found, options=_WHOLE)
            logger.info("going on after step %d, in epoch %d", state.step, state.epoch + 1)

    # Later epochs may be a few steps longer or shorter; the schedule follows the first.
    first = task.epoch(0)
    num_steps = optimization.epochs * len(_batches(first, optimization, 0))
    if optimization.max_steps is not None:
        num_steps = min(num_steps, optimization.max_steps)
    stepper = _Stepper(
        task, model, wrapped, optimizer, averages, optimization, place, precision, num_steps, track
    )
    stepper.committed = state

    while (
        state.epoch < optimization.epochs
        and state.step < num_steps
        and not _has_stalled(state, optimization.patience, place)
    ):
        epoch = task.epoch(state.epoch) if state.epoch else first
        state = _train_epoch(stepper, epoch, state, report)
        started = time.monotonic()
        metrics: dict[str, float] = {}
        # A sharded model computes on all workers or on none.
        if place.rank == 0 or stepper.is_sharded:
            model.eval()
            with stepper.averaged(), torch.no_grad(), _autocast(place.device, precision):
                metrics = task.evaluate(model)
            state.epochs[-1].update(metrics)
            if metrics:
                logger.info("epoch %d: %s", state.epoch, _as_text(metrics))
        state.seconds += time.monotonic() - started
        if place.rank == 0:
            # Without held-out examples there is nothing to choose by: a later epoch is better. Of
            # equally good ones the earlier is, by a hair.
            score = metrics.get(task.selection, float(state.epoch))
            state.scores = [*state.scores, score - 1e-9 * state.epoch]
        stepper.commit(state)
    return state


class _Stepper:
    """One optimizer step after another, without asking the device for a number in between."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        averages: AveragedWeights | None,
        optimization: OptimizationConfig,
        place: Place,
        precision: torch.dtype,
        num_steps: int,
        track: Track | None,
    ) -> None:
        self.task = task
        self.model = model
        self.wrapped = wrapped
        self.optimizer = optimizer
        self.averages = averages
        self.optimization = optimization
        self.place = place
        self.precision = precision
        self.num_steps = num_steps
        self.track = track
        self.committed = State()
        self.forward_tokens = optimization.forward_tokens
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.is_sharded = any(isinstance(p, DTensor) for p in self.parameters)

    def learning_rate(self, step: int) -> float:
        share = learning_rate_share(step, self.num_steps, self.optimization.warmup_share)
        return self.optimization.learning_rate * share

    def step(self, epoch: Epoch, rows: np.ndarray, step: int) -> Tensor:
        """Do step ``step`` (from 0) on the global batch ``rows``.

        Its sum of losses, number of targets, and norm of the gradient.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step) * group["lr_share"]
        totals = self.place.total(self._gradients(epoch, rows, step))
        # The workers' gradients of sums were averaged: times workers over targets is the mean.
        scale = (self.place.num_workers / totals[1].clamp(min=1e-12)).to(torch.float32)
        norm = scale_and_clip(self.parameters, scale, self.optimization.max_grad_norm)
        self.optimizer.step()
        if self.averages is not None:
            self.averages.update(step)
        self.optimizer.zero_grad(set_to_none=True)
        return torch.cat([totals, norm.double().view(1)])

    def averaged(self) -> AbstractContextManager[None]:
        """Where weights are averaged, the model has the averages for the time of the block."""
        return nullcontext() if self.averages is None else self.averages.in_place()

    def commit(self, state: State) -> None:
        """Make a checkpoint of the moment; every worker calls this.

        Raises DivergedError, on all workers, for weights that are not finite.
        """
        finite = torch.stack([whole(weights.isfinite().all()) for weights in self.parameters])
        if self.place.total((~finite).sum()) > 0:
            raise DivergedError(f"weights are not finite after step {state.step}; {_MAY_HELP}")
        contents = self._contents() if self.place.rank == 0 or self.is_sharded else {}
        if self.place.rank != 0:
            self.place.commit(None, state)
            return
        if self.track is not None:
            self.track(self.committed, state, self.learning_rate)
            self.committed = state
        with tempfile.TemporaryDirectory(prefix="xner-checkpoint-") as name:
            folder = Path(name)
            try:
                for file_name, tensors in contents.items():
                    if file_name == OPTIMIZER:
                        with (folder / file_name).open("wb") as file:
                            torch.save(tensors, file)
                    else:
                        save_file(tensors, folder / file_name)
                (folder / _STATE).write_text(json.dumps(asdict(state)))
            except (OSError, SafetensorError) as error:
                raise TransientError(
                    f"{tempfile.gettempdir()}: a checkpoint cannot be written there: {error}; the "
                    "last one stays, so free some space, or let TMPDIR name another folder, and "
                    "run again"
                ) from error
            self.place.commit(folder, state)

    def _contents(self) -> dict[str, dict[str, Any]]:
        """A checkpoint's tensors by file and name: the same however they lie on the workers."""
        contents = {_WEIGHTS: self._weights()}
        if self.averages is not None:
            with self.averages.in_place():
                contents[_AVERAGES] = self._weights()
        contents[OPTIMIZER] = get_optimizer_state_dict(self.model, self.optimizer, options=_WHOLE)
        return contents

    def _weights(self) -> dict[str, Tensor]:
        """What the model's state has, tied weights once."""
        once = {
            name for name, _ in chain(self.model.named_parameters(), self.model.named_buffers())
        }
        weights = get_model_state_dict(self.model, options=_WHOLE)
        # A copy: the averages take the place of weights that lie in the CPU's memory.
        return {name: weights[name].clone() for name in weights if name in once}

    def _gradients(self, epoch: Epoch, rows: np.ndarray, step: int) -> Tensor:
        """This worker's share of the step; where memory runs out, again in smaller forwards."""
        place = self.place
        while True:
            parts = self._parts(epoch, rows)
            seeds = np.random.SeedSequence([self.optimization.seed, step, place.rank])
            torch.manual_seed(int(seeds.generate_state(1)[0]))
            try:
                return self._backward(epoch, parts)
            except torch.OutOfMemoryError as error:
                cells, num_rows = max(
                    (len(part) * int(epoch.lengths[part].max()), len(part)) for part, _ in parts
                )
                found = f"out of memory at step {step + 1}, in a forward of {cells} sub-words"
                if num_rows == 1:
                    raise ConfigError(
                        f"{found}, a single example: lower max_length, or set "
                        "optimization.gradient_checkpointing"
                    ) from error
                full = MemoryFullError(found, cells // 2)
                if place.num_workers > 1:
                    # The others may wait for this worker's gradients already: no step is repeated.
                    raise full from error
            # Outside of the handler: its traceback would keep the failed batch's tensors alive.
            self.forward_tokens = full.forward_tokens
            logger.warning("%s", full)
            self.optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _parts(self, epoch: Epoch, rows: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """The rows of each of this worker's forwards, and the weight of their losses."""
        place, budget = self.place, self.forward_tokens

        def cut(rank: int) -> list[np.ndarray]:
            share = rows[rank :: place.num_workers]
            if budget is None:
                return [share] if len(share) else []
            return list(split_by_budget(share, epoch.lengths, budget))

        # Workers meet in the last forward of a step, and in each one where the model is sharded.
        # One that has nothing left to do repeats a row at weight zero.
        num_forwards = 1
        if self.is_sharded:
            num_forwards = max(len(cut(rank)) for rank in range(place.num_workers))
        parts = [(part, 1.0) for part in cut(place.rank)]
        return parts + [(rows[:1], 0.0)] * (num_forwards - len(parts))

    def _backward(self, epoch: Epoch, parts: list[tuple[np.ndarray, float]]) -> Tensor:
        place = self.place
        totals = torch.zeros(2, dtype=torch.float64, device=place.device)
        for index, (part, weight) in enumerate(parts):
            batch = {
                name: tensor.to(place.device, non_blocking=True)
                for name, tensor in epoch.collate(part).items()
            }
            # A sharded model has no room for whole gradients: it shares them out at once.
            may_wait = place.num_workers > 1 and not self.is_sharded
            last = index + 1 == len(parts)
            with self.wrapped.no_sync() if may_wait and not last else nullcontext():
                with _autocast(place.device, self.precision):
                    loss, count = self.task.loss(self.wrapped, batch)
                (loss * weight).backward()
            totals += weight * torch.stack([loss.detach().double(), count.double()])
        return totals


class _Losses:
    """The losses of an epoch's steps, fetched from the device some steps at a time."""

    def __init__(
        self, before: State, curve_every: int, describe: Callable[[np.ndarray], str]
    ) -> None:
        self.curve = list(before.curve)
        self.sum = before.loss_sum
        self.num_targets = before.num_targets
        self.last = math.nan
        self._diverged: str | None = None
        self._curve_every = curve_every
        self._describe = describe
        self._pending: list[tuple[int, np.ndarray, Tensor]] = []

    @property
    def mean(self) -> float:
        return self.sum / max(self.num_targets, 1e-12)

    def add(self, step: int, rows: np.ndarray, totals: Tensor) -> None:
        """Note what step ``step`` (from 1) on ``rows`` gave: losses, targets, gradient's norm.

        Every so many steps it raises what ``check`` does.
        """
        self._pending.append((step, rows, totals))
        if step % _CHECK_STEPS == 0:
            self.check()

    def check(self) -> None:
        """Raises DivergedError for a loss or a gradient that is not finite.

        All workers do so at the same steps: one that stops earlier leaves the others waiting.
        """
        self.fetch()
        if self._diverged is not None:
            raise DivergedError(self._diverged)

    def fetch(self) -> None:
        """Ask the device for the numbers of the steps until now; any worker may, at any step."""
        if not self._pending:
            return
        values = torch.stack([totals for _, _, totals in self._pending]).tolist()
        for (step, rows, _), (loss, targets, norm) in zip(self._pending, values, strict=True):
            if self._diverged is None and not (math.isfinite(loss) and math.isfinite(norm)):
                found = f"the gradient's norm is {norm}" if math.isfinite(loss) else ""
                self._diverged = (
                    f"{found or f'the loss is {loss}'} at step {step}; {_MAY_HELP}; the last "
                    f"checkpoint stays. The examples of the step:\n{self._describe(rows)}"
                )
            self.last = loss / max(targets, 1e-12)
            self.sum += loss
            self.num_targets += targets
            if step == 1 or step % self._curve_every == 0:
                self.curve.append((step, round(self.last, 6)))
        self._pending.clear()


def _train_epoch(
    stepper: _Stepper, epoch: Epoch, before: State, report: Callable[[Progress], None]
) -> State:
    """The steps that are left of an epoch; the state after it, without held-out metrics yet."""
    place, num_steps = stepper.place, stepper.num_steps
    checkpoint_steps = stepper.optimization.checkpoint_steps
    batches = _batches(epoch, stepper.optimization, before.epoch)
    batches = batches[before.epoch_step :][: num_steps - before.step]
    stepper.model.train()

    def describe(rows: np.ndarray) -> str:
        texts = stepper.task.describe(epoch.collate(rows))
        return "\n".join(f"{row}: {text[:60]}" for row, text in zip(rows, texts, strict=True))

    losses = _Losses(before, max(1, num_steps // _CURVE_POINTS), describe)
    tokens = before.tokens
    started = logged = time.monotonic()
    tokens_logged = tokens

    def state_at(num_done: int) -> State:
        losses.check()
        return replace(
            before,
            step=before.step + num_done,
            epoch_step=before.epoch_step + num_done,
            loss_sum=losses.sum,
            num_targets=losses.num_targets,
            seconds=before.seconds + time.monotonic() - started,
            tokens=tokens,
            curve=list(losses.curve),
        )

    for num_done, rows in enumerate(batches, start=1):
        step = before.step + num_done
        losses.add(step, rows, stepper.step(epoch, rows, step - 1))
        tokens += int(epoch.lengths[rows].sum())
        now = time.monotonic()
        if place.rank == 0 and (now - logged >= _LOG_SECONDS or step == num_steps):
            losses.fetch()
            report(
                Progress(
                    epoch=before.epoch + 1,
                    step=step,
                    num_steps=num_steps,
                    loss=losses.last,
                    learning_rate=stepper.learning_rate(step - 1),
                    tokens_per_second=(tokens - tokens_logged) / (now - logged),
                    seconds_left=(now - started) / num_done * (num_steps - step),
                )
            )
            logged, tokens_logged = now, tokens
        # An epoch's end has a checkpoint of its own.
        if checkpoint_steps and step % checkpoint_steps == 0 and num_done < len(batches):
            stepper.commit(state_at(num_done))
    after = state_at(len(batches))
    return replace(
        after,
        epoch=before.epoch + 1,
        epoch_step=0,
        loss_sum=0.0,
        num_targets=0.0,
        epochs=[
            *before.epochs,
            {"epoch": before.epoch + 1, "step": after.step, "loss": losses.mean},
        ],
    )


def _checkpoint_gradients(model: nn.Module) -> None:
    """Let the layers of the model's encoders forget their states, and compute them once more."""
    for encoder in encoders_in(model).values():
        if not encoder.supports_gradient_checkpointing:
            raise ConfigError(
                f"optimization.gradient_checkpointing: {type(encoder).__name__} cannot do it"
            )
        # Not every transformers 5 has it under its new name, activation_checkpointing_enable.
        encoder.gradient_checkpointing_enable({"use_reentrant": False})


def _has_stalled(state: State, patience: int | None, place: Place) -> bool:
    """Whether the best epoch lies ``patience`` epochs back; all workers are told the same."""
    if patience is None:
        return False
    # The first worker alone evaluates, so it alone knows which epoch is the best.
    decides = place.rank == 0 and state.epoch - state.best_epoch >= patience
    return bool(place.total(torch.tensor(float(decides), device=place.device)) > 0)


def read_state(folder: Path) -> State:
    """The state in a checkpoint folder."""
    return state_of_record(json.loads((folder / _STATE).read_text()))


def state_of_record(record: Mapping[str, Any]) -> State:
    """The state that became this record (``asdict``) and went through JSON."""
    return State(**{**record, "curve": [tuple(point) for point in record["curve"]]})


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights, averaged if there are such, into a model of the same shape."""
    averages = folder / _AVERAGES
    load_model(model, averages if averages.exists() else folder / _WEIGHTS)


def _batches(epoch: Epoch, optimization: OptimizationConfig, number: int) -> list[np.ndarray]:
    return cut_batches(epoch.lengths, optimization.batch_tokens, (optimization.seed, number))


@contextmanager
def _autocast(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    with ExitStack() as stack:
        if precision is not torch.float32:
            stack.enter_context(torch.autocast(device.type, dtype=precision))
            if device.type == "cpu":
                # The fused attention's backward takes five times as long in bf16 as in fp32 on a
                # CPU (torch 2.13): nearly half of a step.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _as_text(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
