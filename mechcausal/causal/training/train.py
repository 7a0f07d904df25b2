"""Interchange intervention training: teach a network to compute as a causal model does, and where.

    trained = train(model, Lesson(Hypothesis.of("hiring"), task("hiring").prompts(model, 5000)), steps=1000)

Each step runs a batch twice: once as it is, once with activations taken from other examples of the same batch. Where
the places of some variables are exchanged, the right answer is the causal model's with those variables exchanged
(interchange intervention training, Geiger et al. 2022); where anything else is, the answer must not change (the strict
part, Gupta et al. 2024, "InterpBench"). What is exchanged is drawn for each example: one variable or several, one
node or nearly all of them, and the gradient also flows through the activations that are taken.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from mechcausal.arguments import Count, Model, NotNegative, Positive, Seed, Share, number
from mechcausal.causal.training.assessment import assess
from mechcausal.causal.training.batches import Batch, Pool
from mechcausal.causal.training.checkpoint import Checkpoint
from mechcausal.causal.training.lessons import Lesson, Lessons, listed
from mechcausal.causal.training.lora import Adapters
from mechcausal.errors import DataError, ModelError, NumericsError
from mechcausal.method import Cost, Method, function
from mechcausal.models.abilities import abilities
from mechcausal.models.export import trainable
from mechcausal.models.hooked import forward
from mechcausal.results.storage import require_room

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


@dataclass(frozen=True, kw_only=True)
class Training(Method[Lessons, Trained]):
    """Train a model, in place, until its parts carry the variables that a hypothesis puts there.

    Attributes:
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

    word: ClassVar[str] = "train"
    steps: Count = 1000
    batch_size: Annotated[int, number("a whole number of at least 2", 2, integer=True)] = 192
    rate: Positive = 3e-3
    behavior: NotNegative = 1.0
    interchange: NotNegative = 1.0
    strict: NotNegative = 1.0
    lora: Mapping[str, Any] | None = None
    seed: Seed = 0
    every: Count = 100
    stop_at: Share | None = None
    evaluation: Lessons | None = None
    checkpoint: Path | str | None = field(default=None, metadata={"write": str})
    progress: bool = True

    def run(self, model: Model, data: Lessons) -> Trained:
        """Train the model in place."""
        started = time.perf_counter()
        pool, evaluation = self._pool(model, data)
        model.eval()  # dropout would make recorded and edited runs differ
        adapters = Adapters.asked(model, self.lora) if self.lora is not None else None
        parameters = adapters.parameters if adapters else trainable(model)
        try:
            _check_parameters(parameters)
            if self.checkpoint is not None:  # weights and two moments of each, and the file before it beside them
                require_room(self.checkpoint, 3 * sum(value.nbytes for value in parameters.values()))
            optimizer = torch.optim.Adam(parameters.values(), lr=self.rate)
            store = None
            if self.checkpoint is not None:
                store = Checkpoint(self.checkpoint, self._settings(), pool.lessons, parameters, optimizer)
            done, history, stopped = _teach(model, pool, evaluation or pool.lessons, self, optimizer, store)
        except BaseException:
            if adapters:
                adapters.remove()  # the weights stay what they were; a checkpoint goes on from them
            raise
        if adapters:
            adapters.merge()
        return Trained(model, pd.concat(history, ignore_index=True), done, time.perf_counter() - started, stopped)

    def cost(self, model: Model, data: Lessons) -> Cost:
        """Return how many runs its steps take at most, without evaluations; a backward pass counts as two."""
        pool, _ = self._pool(model, data)
        size = int(sum(batch_counts(pool, self.batch_size)))
        forwards = 3 * self.steps * size * (2 if self.twice else 1)
        return Cost(len(pool.lessons), size, forwards, forwards)

    @property
    def twice(self) -> bool:
        """Whether each batch is run a second time, with something exchanged."""
        return self.interchange > 0 or self.strict > 0

    def _pool(self, model: Model, lessons: Lessons) -> tuple[Pool, list[Lesson]]:
        """Return the prompts of all lessons and the lessons to evaluate on, which are refused where they cannot be taught."""
        if self.behavior == 0 and not self.twice:
            raise DataError("all weights are 0, so there is nothing to learn", fix="pass behavior=1.0")
        able, evaluation = abilities(model), listed(self.evaluation)
        pool = Pool(model, able, listed(lessons), strict=self.strict > 0)
        for lesson in evaluation:
            Pool(model, able, [lesson], strict=self.strict > 0)  # refuses what it cannot evaluate
        return pool, evaluation

    def _settings(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with to be gone on from."""
        names = ("behavior", "interchange", "strict", "steps", "batch_size", "rate", "seed", "every", "stop_at")
        settings = {name: getattr(self, name) for name in names}
        return settings | {"lora": dict(self.lora) if self.lora is not None else None}


def _teach(
    model: Any,  # noqa: ANN401
    pool: Pool,
    lessons: Sequence[Lesson],
    course: Training,
    optimizer: torch.optim.Adam,
    store: Checkpoint | None,
) -> tuple[int, list[pd.DataFrame], bool]:
    """Make the steps that are left; return how many are made in all, the evaluations, and whether the goal was reached."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    done, history = store.restore() if store else (0, [])
    stopped = _reached(history, course.stop_at)
    bar = tqdm(
        total=course.steps, initial=done, desc="training", unit="step", disable=None if course.progress else True
    )
    try:
        while done < course.steps and not stopped:
            for group in optimizer.param_groups:
                group["lr"] = course.rate * _schedule(done, course.steps)
            draw = np.random.default_rng([course.seed, done])
            loss = _step(model, pool, course, draw)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            done += 1
            bar.update()
            if done % course.every == 0 or done == course.steps:
                if not bool(torch.isfinite(loss.detach())):
                    raise NumericsError(f"the loss is {loss.item()} after {done} steps", fix="lower the rate")
                table = assess(model, lessons, n=_EVALUATED, seed=course.seed, strict=course.strict > 0)
                history.append(_dated(table, done, float(loss.detach())))
                stopped = _reached(history, course.stop_at)
                bar.set_postfix_str(_summary(table))
                if store:
                    store.write(done, history)
    finally:
        bar.close()
        optimizer.zero_grad()
    return done, history, stopped


def _step(model: Any, pool: Pool, course: Training, draw: np.random.Generator) -> Tensor:  # noqa: ANN401
    """Return the loss of one batch: behavior, and interchange and strictness in one more forward."""
    batch = Batch(pool, _chosen(pool, course.batch_size, draw))
    run = forward(model, batch.prompts, read=pool.read_sites() if course.twice else [], grad=True)
    loss = course.behavior * _losses(run.logits, batch, batch.targets).mean()
    if not course.twice:
        return loss
    wanted, importance = _exchange(batch, course, draw)
    edits, sources = batch.edits(run.read)
    again = forward(model, batch.prompts, edits, sources=sources, grad=True)
    return loss + (_losses(again.logits, batch, wanted) * torch.as_tensor(importance).to(loss)).mean()


def _chosen(pool: Pool, batch_size: int, draw: np.random.Generator) -> np.ndarray:
    """Draw the rows of a batch: of each lesson its share."""
    counts = batch_counts(pool, batch_size)
    return np.concatenate([draw.choice(pool.rows_of(i), count) for i, count in enumerate(counts)])


def batch_counts(pool: Pool, batch_size: int) -> np.ndarray:
    """Return how many prompts of each lesson a batch has: its share, and at least two to exchange."""
    shares = np.array([lesson.share for lesson in pool.lessons])
    return np.maximum(2, np.round(batch_size * shares / shares.sum()).astype(int))


def _exchange(batch: Batch, course: Training, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Decide what each example takes from others; return the token it then calls for, and the weight of its loss."""
    wanted, moved = batch.targets.copy(), np.zeros(len(batch), dtype=bool)
    if course.interchange > 0:
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
    if course.strict > 0:
        resampled = ~moved | (draw.random(len(batch)) < _BOTH)
        some = np.flatnonzero(resampled)
        batch.resample(some, batch.partners(draw, strictly=True)[some], rate=draw.random(len(some)), draw=draw)
    importance = np.where(moved, course.interchange, 1.0) * np.where(resampled, course.strict, 1.0)
    return wanted, np.where(moved | resampled, importance, 0.0)


def _sets(
    variables: Sequence[str], mine: np.ndarray, draw: np.random.Generator
) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Deal examples out to random sets of variables."""
    sets: dict[tuple[str, ...], list[np.ndarray]] = {}
    for some in np.array_split(draw.permutation(mine), min(_SETS, len(mine))):
        rate = _MOST * draw.random()
        sets.setdefault(tuple(v for v in variables if draw.random() < rate), []).append(some)
    return [(names, np.concatenate(parts)) for names, parts in sets.items()]


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


def _dated(evaluated: pd.DataFrame, step: int, loss: float) -> pd.DataFrame:
    head = pd.DataFrame([{"lesson": "", "measure": "loss", "of": "", "value": loss, "n": 1}])
    table = pd.concat([head, evaluated], ignore_index=True)
    table.insert(0, "step", step)
    return table


def _summary(evaluated: pd.DataFrame) -> str:
    lowest = evaluated.groupby("measure")["value"].min()
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


train = function(Training, data="lessons", about="What it is to learn; every batch has prompts of each.")
