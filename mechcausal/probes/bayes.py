"""The best that any probe could do, where the world that made the prompts is known: by enumerating its causal model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mechcausal.address import Selection, Site
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import SCM
from mechcausal.data.tasks.definition import Task


def bayes_accuracy(about: SCM | Task, concept: str, given: Sequence[str], *, environment: str | None = None) -> float:
    """Return the accuracy of the best guess of a variable by whoever sees the variables `given`, exactly.

    Args:
        about: The causal model, or the task it belongs to.
        concept: The variable that is guessed.
        given: What is seen; nothing is the best constant guess.
        environment: Whose mechanisms make the prompts, of a task.

    Example:
        >>> import mechcausal as mc
        >>> round(bayes_accuracy(mc.task("hiring"), "gender", ["hobby"]), 4)
        0.75
    """
    scm = about.environment(environment) if isinstance(about, Task) else about
    scm.require(concept, *given)
    table, weights = scm.enumerate()
    seen = np.column_stack([np.zeros(len(weights)), *(table[name].reshape(len(weights), -1) for name in given)])
    what = np.unique(table[concept].reshape(len(weights), -1), axis=0, return_inverse=True)[1].ravel()
    case = np.unique(seen, axis=0, return_inverse=True)[1].ravel()
    joint = np.zeros((int(case.max()) + 1, int(what.max()) + 1))
    np.add.at(joint, (case, what), weights)
    return float(joint.max(axis=1).sum())


def visible(task: Task, prompts: PromptSet, site: Site, at: Selection) -> tuple[str, ...] | None:
    """Return the inputs of a task that an activation of a causal model can know of, or None where that is not told.

    These are the inputs that stand at the position or before it; before anything has attended, only those that stand
    there.
    """
    inputs = [name for name in task.inputs if name in prompts.positions]
    if len(inputs) < len(task.inputs):
        return None
    chosen = prompts.select(at)
    columns = {name: prompts.starts + prompts.positions[name] for name in inputs}
    rows = chosen.any(1)
    alone = site.component == "embed" or (site.component == "resid_pre" and site.layer == 0)
    if alone:
        stands = {name: chosen.gather(1, column[:, None])[:, 0] for name, column in columns.items()}
    else:
        last = chosen.shape[1] - 1 - chosen.flip(1).long().argmax(1)
        stands = {name: column <= last for name, column in columns.items()}
    if any(bool(seen[rows].any()) != bool(seen[rows].all()) for seen in stands.values()):
        return None  # the order differs from prompt to prompt
    return tuple(name for name, seen in stands.items() if bool(seen[rows].all()))
