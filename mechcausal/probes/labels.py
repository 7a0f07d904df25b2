"""Labels: what is to be read from each prompt (or from each of its tokens), as classes 0, 1, ... with names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.questions import Labels as Labels
from mechcausal.errors import DataError, did_you_mean

_COLUMNS = ("labels", "groups", "environments", "clusters")
_MOST_CLASSES = 200


def labels_of(prompts: PromptSet, labels: Any, concept: str | None = None) -> Labels:  # noqa: ANN401 - many forms
    """Read labels: the name of a variable or a column of the prompts, or one value for each prompt or token.

    Values may be words, numbers or booleans; None and NaN mean that there is no label.

    Args:
        prompts: The prompts.
        labels: What is true of each.
        concept: What the labels are about; the name of the variable unless said otherwise.
    """
    if isinstance(labels, Labels):
        return labels if concept is None else replace(labels, concept=concept)
    if isinstance(labels, str):
        return labels_of(prompts, column_of(prompts, labels), concept or labels)
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    concept = concept or "label"
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (len(prompts),) and values.shape != tuple(prompts.tokens.shape):
        raise DataError(
            f"the labels {concept!r} and the prompts differ in number",
            got=" x ".join(map(str, values.shape)) or "a single value",
            expected=f"{len(prompts)}, or {len(prompts)} x {prompts.tokens.shape[1]} with one label for each token",
        )
    known = np.array([value is not None and value == value for value in values.ravel()]).reshape(values.shape)
    if values.ndim == 2:
        known &= prompts.mask.cpu().numpy()
    present = values[known].tolist()
    try:
        classes = sorted(set(present))
    except TypeError:  # words and numbers together have no order
        classes = sorted(set(present), key=str)
    if len(classes) < 2:
        only = (
            f"the labels {concept!r} are all {classes[0]!r}" if classes else f"the labels {concept!r} are all missing"
        )
        raise DataError(only, expected="two classes at least", fix="bring examples of another class")
    if len(classes) > min(_MOST_CLASSES, len(present) // 2):
        raise DataError(
            f"the labels {concept!r} are no classes: nearly every example has its own",
            got=f"{len(classes)} values for {len(present)} examples",
            fix="cut numbers into classes, for example at their median",
        )
    number = {value: code for code, value in enumerate(classes)}
    codes = np.full(values.shape, -1)
    codes[known] = [number[value] for value in present]
    return Labels(concept, codes, tuple(str(value) for value in classes))


def column_of(prompts: PromptSet, name: str) -> np.ndarray:
    """Return a variable or a column of the prompts by its name."""
    if name in prompts.variables:
        column = prompts.variables[name]
        if column.ndim > 1:
            raise DataError(
                f"the variable {name!r} has several values per prompt", got=tuple(column.shape), expected="one"
            )
        return column.cpu().numpy()
    known = [column for column in _COLUMNS if getattr(prompts, column)]
    if name in known:
        return np.asarray(getattr(prompts, name), dtype=object)
    raise DataError(
        f"these prompts have no variable or column {name!r}",
        fix=did_you_mean(name, [*prompts.variables, *known])
        if prompts.variables or known
        else "pass the labels themselves",
    )


def one_set(prompts: PromptSet | Contrast) -> PromptSet:
    """Return prompts as they are, and both sides of pairs as one set in which a pair stays one cluster."""
    if not isinstance(prompts, Contrast):
        return prompts
    clean, corrupt = prompts.clean, prompts.corrupt.padded(prompts.clean.tokens.shape[1], prompts.clean.side)
    names = clean.clusters or tuple(f"pair {row}" for row in range(len(clean)))
    shared = [name for name in clean.variables if name in corrupt.variables]

    def both(name: str) -> Tensor | None:
        sides = getattr(clean, name), getattr(corrupt, name)
        return None if sides[0] is None else torch.cat(sides)

    return replace(
        clean,
        tokens=torch.cat([clean.tokens, corrupt.tokens]),
        mask=torch.cat([clean.mask, corrupt.mask]),
        texts=clean.texts + corrupt.texts,
        answer=both("answer"),
        foil=both("foil"),
        read=both("read"),
        labels=clean.labels + corrupt.labels,
        groups=clean.groups + corrupt.groups,
        environments=clean.environments + corrupt.environments,
        clusters=names + names,
        positions={name: torch.cat([index, corrupt.positions[name]]) for name, index in clean.positions.items()},
        variables={name: torch.cat([clean.variables[name], corrupt.variables[name]]) for name in shared},
    )
