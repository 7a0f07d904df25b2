"""Fields of causal methods: hypotheses, tasks and places, read from their plain form and written in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mechcausal.address import Place, Selection, Site
from mechcausal.arguments import described
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.scm import SCM
from mechcausal.data.tasks import name_of, task
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import ArgumentError


def read_hypothesis(value: Any) -> Hypothesis:  # noqa: ANN401 - whatever a caller passes
    """Return a hypothesis, also from its plain form."""
    if isinstance(value, Hypothesis):
        return value
    if isinstance(value, Mapping):
        return Hypothesis.from_json(value)
    raise ArgumentError(
        "this is not a hypothesis",
        got=described(value),
        expected="mc.causal.Hypothesis(scm, places), or its plain form",
        fix="name the model first, then the prompts, then the hypothesis",
    )


def read_question(value: Any) -> Hypothesis | SCM | Task:  # noqa: ANN401
    """Return what states a causal model: a hypothesis, a task (also by its name) or the causal model itself."""
    if isinstance(value, SCM):
        name = name_of(value)
        return value if name is None else task(name)
    if isinstance(value, Task):
        return value
    return task(value) if isinstance(value, str) else read_hypothesis(value)


def write_question(value: Hypothesis | SCM | Task) -> Any:  # noqa: ANN401 - plain data
    """Return the plain form of what states a causal model."""
    if isinstance(value, Hypothesis):
        return value.to_json()
    scm = value.scm if isinstance(value, Task) else value
    name = name_of(scm)
    if name is None or (isinstance(value, Task) and task(name) is not value):
        raise ArgumentError(
            f"the task or causal model {scm.name!r} cannot be written to a file",
            expected="a task that ships",
            fix="run it from Python",
        )
    return name


def hypothesis_about(question: Hypothesis | SCM | Task, variable: str, *parts: Place) -> Hypothesis:
    """Return the hypothesis that one variable of a causal model is at these parts."""
    if isinstance(question, Hypothesis):
        return question.replaced(alignment={variable: parts})
    if isinstance(question, Task):
        return Hypothesis(question.scm, {variable: parts}, outcome=question.outcome)
    return Hypothesis(question, {variable: parts})


def read_places(value: Any) -> Any:  # noqa: ANN401 - anything that names places
    """Return places as texts, parts with a subspace and hypotheses, in tuples and mappings as they were given."""
    if isinstance(value, Mapping):
        if "site" in value:
            return Place.parse(value)
        return Hypothesis.from_json(value) if "task" in value else {name: read_places(v) for name, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(map(read_places, value))
    if isinstance(value, (Site, Selection)):
        return str(value)
    # Written out, because a site alone may mean each of its positions.
    return value if not isinstance(value, Place) or value.basis else f"{value.site}{value.at}"


def read_numbers(value: Any) -> Any:  # noqa: ANN401 - words, numbers, vectors, lists of these
    """Return numbers and vectors of numpy and torch as Python's own."""
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        value = value.tolist()
    return tuple(map(read_numbers, value)) if isinstance(value, (list, tuple)) else value
