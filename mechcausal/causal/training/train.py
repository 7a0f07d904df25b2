"""Interchange intervention training: teach a network to compute as a causal model does, and where.

    trained = train(model, [Lesson(Hypothesis.of("hiring"), task("hiring").prompts(model, 5000))], steps=1000)

Each step runs a batch twice: once as it is, once with activations taken from other examples of the same batch. Where
the places of some variables are exchanged, the right answer is the causal model's with those variables exchanged
(interchange intervention training, Geiger et al. 2022); where anything else is, the answer must not change (the strict
part, Gupta et al. 2024, "InterpBench"). What is exchanged is drawn for each example: one variable or several, one
node or nearly all of them, and the gradient also flows through the activations that are taken.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from mechcausal.causal.training.assessment import assess
from mechcausal.causal.training.batches import Batch, Pool
from mechcausal.causal.training.checkpoint import Checkpoint
from mechcausal.causal.training.lessons import Lesson, listed
from mechcausal.causal.training.lora import Adapters
from mechcausal.errors import DataError, ModelError, NumericsError
from mechcausal.models.abilities import abilities
from mechcausal.models.export import trainable
from mechcausal.models.hooked import forward

# Up to this many different sets of variables are exchanged in one step: each set is one evaluation of the causal model.
_SETS = 16
# An example exchanges each variable with a probability that is drawn for it, up to this.
_MOST = 0.7
# Of the examples that exchange variables, this many exchange things that must not matter as well.
_BOTH = 0.8
_EVALUATED = 256


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes:
        model: The model, trained in place.
        history: One row per step, lesson and measure: `step lesson measure of value n`.
        steps: How many steps were made.
        seconds: How long this call took.
        stopped: Whether it stopped early because the goal was reached.
    """

    model: Any
    history: pd.DataFrame
    steps: int
    seconds: float
    stopped: bool = False

    @property
    def final(self) -> pd.DataFrame:
        """The last evaluation."""
        return self.history[self.history["step"] == self.history["step"].max()].reset_index(drop=True)

    def __repr__(self) -> str:
        """Say what was reached."""
        return f"Trained({self.steps} steps in {self.seconds:.0f} s: {_summary(self.final)})"


@dataclass(frozen=True)
class _Weights:
    behavior: float
    interchange: float
    strict: float

    @property
    def twice(self) -> bool:
        return self.interchange > 0 or self.strict > 0


@dataclass(frozen=True)
class _Course:
    """The numbers of a training, as `train` takes them."""

    weights: _Weights
    steps: int
    batch_size: int
    rate: float
    seed: int
    every: int
    stop_at: float | None

    def check(self) -> None:
        """Refuse what makes no sense."""
        for name, value in vars(self.weights).items():
            if not value >= 0:
                raise DataError(f"the weight {name!r} cannot be negative", got=value)
        if self.weights.behavior == 0 and not self.weights.twice:
            raise DataError("all weights are 0, so there is nothing to learn", fix="pass behavior=1.0")
        for name, least in (("steps", 1), ("every", 1), ("batch_size", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(f"{name} must be at least {least}", got=getattr(self, name))
        if not self.rate > 0:
            raise DataError("the learning rate must be above 0", got=self.rate)


def train(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    lessons: Sequence[Lesson] | Lesson,
    *,
    steps: int = 1000,
    batch_size: int = 192,
    rate: float = 3e-3,
    behavior: float = 1.0,
    interchange: float = 1.0,
    strict: float = 1.0,
    lora: Mapping[str, Any] | None = None,
    seed: int = 0,
    every: int = 100,
    stop_at: float | None = None,
    evaluation: Sequence[Lesson] | Lesson | None = None,
    checkpoint: Path | str | None = None,
    progress: bool = True,
) -> Trained:
    """Train a model, in place, until its parts carry the variables that a hypothesis puts there.

    Args:
        model: The bridge; `mc.load(module, copy=False)` wraps a model object without copying it.
        lessons: What it is to learn; every batch has prompts of each.
        steps: How many steps at most; the rate warms up and then falls to 0 along a cosine over this many.
        batch_size: How many prompts a step.
        rate: The highest learning rate of Adam.
        behavior: The weight of the loss on unedited runs.
        interchange: The weight of examples in which variables are exchanged. 0 teaches behavior alone.
        strict: The weight of examples in which what must not matter is exchanged: 0 lets the variables be elsewhere as
            well, 1 (the most strict) forbids it. An example that exchanges both has the product of both weights.
        lora: Train low-rank adapters instead, merged at the end: `{"r": 8, "alpha": 16, "targets": ["q", "v"]}`.
        seed: The seed of every draw.
        every: How many steps between evaluations.
        stop_at: Stop when accuracy and interchange accuracy on changed answers are this high twice in a row.
        evaluation: Held-out prompts to evaluate on; those of the lessons without it.
        checkpoint: A file that is written at each evaluation and from which an interrupted training goes on.
        progress: Whether to show a bar.

    Returns:
        The model in evaluation mode, and the history of its evaluations.
    """
    started = time.perf_counter()
    course = _Course(_Weights(behavior, interchange, strict), steps, batch_size, rate, seed, every, stop_at)
    course.check()
    lessons, evaluation = listed(lessons), listed(evaluation)
    model.eval()  # dropout would make recorded and edited runs differ
    able = abilities(model)
    pool = Pool(model, able, lessons, strict=strict > 0)
    for lesson in evaluation:
        Pool(model, able, [lesson], strict=strict > 0)  # refuses what it cannot evaluate before the first step
    adapters = Adapters.asked(model, lora) if lora is not None else None
    parameters = adapters.parameters if adapters else trainable(model)
    try:
        _check_parameters(parameters)
        optimizer = torch.optim.Adam(parameters.values(), lr=rate)
        settings = {**asdict(course), "lora": dict(lora) if lora is not None else None}
        store = Checkpoint(checkpoint, settings, lessons, parameters, optimizer) if checkpoint else None
        done, history, stopped = _teach(model, pool, evaluation or lessons, course, optimizer, store, progress)
    except BaseException:
        if adapters:
            adapters.remove()  # the weights stay what they were; a checkpoint goes on from them
        raise
    if adapters:
        adapters.merge()
    return Trained(model, pd.concat(history, ignore_index=True), done, time.perf_counter() - started, stopped)


def _teach(
    model: Any,  # noqa: ANN401
    pool: Pool,
    held_out: Sequence[Lesson],
    course: _Course,
    optimizer: torch.optim.Adam,
    store: Checkpoint | None,
    progress: bool,
) -> tuple[int, list[pd.DataFrame], bool]:
    """Make the steps that are left; return how many are made in all, the evaluations, and whether the goal was reached."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    done, history = store.restore() if store else (0, [])
    stopped = _reached(history, course.stop_at)
    bar = tqdm(total=course.steps, initial=done, desc="training", unit="step", disable=None if progress else True)
    try:
        while done < course.steps and not stopped:
            for group in optimizer.param_groups:
                group["lr"] = course.rate * _schedule(done, course.steps)
            draw = np.random.default_rng([course.seed, done])
            loss = _step(model, pool, course.weights, course.batch_size, draw)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            done += 1
            bar.update()
            if done % course.every == 0 or done == course.steps:
                if not bool(torch.isfinite(loss.detach())):
                    raise NumericsError(f"the loss is {loss.item()} after {done} steps", fix="lower the rate")
                found = assess(model, held_out, n=_EVALUATED, seed=course.seed, strict=course.weights.strict > 0)
                history.append(_dated(found, done, float(loss.detach())))
                stopped = _reached(history, course.stop_at)
                bar.set_postfix_str(_summary(found))
                if store:
                    store.write(done, history)
    finally:
        bar.close()
        optimizer.zero_grad()
    return done, history, stopped


def _step(model: Any, pool: Pool, weights: _Weights, batch_size: int, draw: np.random.Generator) -> Tensor:  # noqa: ANN401
    """Return the loss of one batch: behavior, and interchange and strictness in one more forward."""
    batch = Batch(pool, _chosen(pool, batch_size, draw))
    run = forward(model, batch.prompts, read=pool.read_sites() if weights.twice else [], grad=True)
    loss = weights.behavior * _losses(run.logits, batch, batch.targets).mean()
    if not weights.twice:
        return loss
    wanted, importance = _exchange(batch, weights, draw)
    edits, sources = batch.edits(run.read)
    again = forward(model, batch.prompts, edits, sources=sources, grad=True)
    return loss + (_losses(again.logits, batch, wanted) * torch.as_tensor(importance).to(loss)).mean()


def _chosen(pool: Pool, batch_size: int, draw: np.random.Generator) -> np.ndarray:
    """Draw the rows of a batch: of each lesson its share."""
    shares = np.array([lesson.share for lesson in pool.lessons])
    counts = np.maximum(2, np.round(batch_size * shares / shares.sum()).astype(int))
    return np.concatenate([draw.choice(pool.rows_of(i), count) for i, count in enumerate(counts)])


def _exchange(batch: Batch, weights: _Weights, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Decide what each example takes from others; return the token it then calls for, and the weight of its loss."""
    wanted, moved = batch.targets.copy(), np.zeros(len(batch), dtype=bool)
    if weights.interchange > 0:
        for number in np.unique(batch.lesson):
            variables = batch.pool.lessons[number].hypothesis.variables
            sources = {variable: batch.partners(draw) for variable in variables}
            for names, some in _sets(variables, np.flatnonzero(batch.lesson == number), draw):
                taken = {variable: sources[variable][some] for variable in names}
                for variable, source in taken.items():
                    batch.take(int(number), variable, some, source)
                wanted[some] = batch.answers(int(number), some, taken)
                moved[some] = bool(taken)
    resampled = np.zeros(len(batch), dtype=bool)
    if weights.strict > 0:
        resampled = ~moved | (draw.random(len(batch)) < _BOTH)
        some = np.flatnonzero(resampled)
        batch.resample(some, batch.partners(draw, strictly=True)[some], rate=draw.random(len(some)), draw=draw)
    importance = np.where(moved, weights.interchange, 1.0) * np.where(resampled, weights.strict, 1.0)
    return wanted, np.where(moved | resampled, importance, 0.0)


def _sets(
    variables: Sequence[str], mine: np.ndarray, draw: np.random.Generator
) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Deal examples out to random sets of variables."""
    found: dict[tuple[str, ...], list[np.ndarray]] = {}
    for some in np.array_split(draw.permutation(mine), min(_SETS, len(mine))):
        rate = _MOST * draw.random()
        found.setdefault(tuple(v for v in variables if draw.random() < rate), []).append(some)
    return [(names, np.concatenate(parts)) for names, parts in found.items()]


def _losses(logits: Tensor, batch: Batch, wanted: np.ndarray) -> Tensor:
    rows = torch.arange(len(batch), device=logits.device)
    target = torch.from_numpy(wanted).to(logits.device)
    return F.cross_entropy(logits[rows, batch.read], target, reduction="none")


def _schedule(done: int, steps: int) -> float:
    """Return the fraction of the highest rate: a short warm-up, then a cosine down to 0."""
    warm = max(1, min(20, steps // 10))
    return min(1.0, (done + 1) / warm) * 0.5 * (1 + float(np.cos(np.pi * done / steps)))


def _reached(history: Sequence[pd.DataFrame], goal: float | None) -> bool:
    if goal is None or len(history) < 2:
        return False
    last = pd.concat(history[-2:])
    return bool((last.loc[last["measure"].isin(["accuracy", "iia_changed"]), "value"] >= goal).all())


def _dated(found: pd.DataFrame, step: int, loss: float) -> pd.DataFrame:
    head = pd.DataFrame([{"lesson": "", "measure": "loss", "of": "", "value": loss, "n": 1}])
    table = pd.concat([head, found], ignore_index=True)
    table.insert(0, "step", step)
    return table


def _summary(found: pd.DataFrame) -> str:
    lowest = found.groupby("measure")["value"].min()
    words = {"loss": "loss", "accuracy": "accuracy", "iia_changed": "iia", "strict": "strict", "strict_all": "all"}
    return ", ".join(f"{word} {lowest[name]:.3f}" for name, word in words.items() if name in lowest)


def _check_parameters(parameters: Mapping[str, nn.Parameter]) -> None:
    if not parameters:
        raise ModelError("no parameter of the model requires a gradient", fix="model.requires_grad_(True)")
    for name, value in parameters.items():
        if value.dtype not in (torch.float32, torch.float64):
            raise ModelError(
                f"{name} has too little precision to be trained with Adam",
                got=str(value.dtype).removeprefix("torch."),
                expected="float32",
                fix="mc.load(..., dtype=torch.float32)",
            )
