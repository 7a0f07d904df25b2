"""Tasks with known mechanisms: each is a causal model with the texts that show it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mechcausal.arguments import Count, Reader, Seed, Text, checked
from mechcausal.catalog import TASKS

if TYPE_CHECKING:
    from mechcausal.data.contrast import Contrast
    from mechcausal.data.prompts import Side
    from mechcausal.data.scm import SCM
    from mechcausal.data.tasks.definition import Task


@checked
def task(name: Text) -> Task:
    """Return a task by its name: one that ships, or one of yours in `mechcausal.catalog.TASKS`."""
    entry = TASKS[name]
    if not isinstance(entry, str):
        return entry
    return next(shipped for shipped in import_module(entry).TASKS if shipped.name == name)


def name_of(scm: SCM) -> str | None:
    """Return the name of the task whose causal model this is; None for any other causal model."""
    return next((name for name in sorted(TASKS, key=scm.name.__ne__) if task(name).scm is scm), None)


@checked
def contrast(
    name: Text,
    model: Reader,
    n: Count = 128,
    *,
    seed: Seed = 0,
    environment: str | None = None,
    side: Side = "right",
) -> Contrast:
    """Draw pairs of a shipped task: `mc.contrast("hiring/gender", model, n=64)`.

    Args:
        name: Task and factor, as `TASK/FACTOR`: any variable of the task's causal model, or a contrast it has a name for.
        model: The model whose tokenizer reads them.
        n: How many pairs.
        seed: The seed of the draw.
        environment: Whose mechanisms draw them; the task's own unless said otherwise.
        side: The side to pad on.
    """
    word, _, factor = name.partition("/")
    return task(word).contrast(model, factor, n, seed=seed, environment=environment, side=side)
