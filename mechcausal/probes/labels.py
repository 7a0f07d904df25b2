"""Labels: what is to be read from each prompt (or from each of its tokens), as classes 0, 1, ... with names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.arguments import described
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.questions import Labels as Labels
from mechcausal.errors import DataError, did_you_mean

_COLUMNS = ("labels", "groups", "environments", "clusters")
_MOST_CLASSES = 200


def labels_of(
    prompts: PromptSet,
    labels: Any,  # noqa: ANN401 - many forms
    concept: str | None = None,
    numbers: bool | None = False,
) -> Labels:
    """Read labels: the name of a variable or a column of the prompts, or one value for each prompt or token.

    Values may be words, numbers or booleans; None and NaN mean that there is no label. Words, booleans and whole numbers
    are classes. Numbers with a fraction are a continuous concept, if they have more than two values.

    Args:
        prompts: The prompts.
        labels: The value of each prompt or token.
        concept: What the labels are about; by default the name of the variable.
        numbers: Whether to read a continuous concept (True) or classes (False); None decides by the values.
    """
    if isinstance(labels, Labels):
        return labels if concept is None else replace(labels, concept=concept)
    if isinstance(labels, str):
        return labels_of(prompts, column_of(prompts, labels), concept or labels, numbers)
    concept = concept or "label"
    values = _array(labels, concept)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (len(prompts),) and values.shape != tuple(prompts.tokens.shape):
        raise DataError(
            f"the labels {concept!r} and the prompts differ in number",
            got=" x ".join(map(str, values.shape)) or "a single value",
            expected=f"{len(prompts)}, or {len(prompts)} x {prompts.tokens.shape[1]} with one label for each token",
        )
    labeled = np.array([value is not None and value == value for value in values.ravel()]).reshape(values.shape)
    if values.ndim == 2:
        labeled &= prompts.mask.cpu().numpy()
    present = values[labeled].tolist()
    for value in present:
        if not isinstance(value, (str, bool, int, float)):
            raise DataError(
                f"a label of {concept!r} is neither a word nor a number", got=described(value),
                fix="give one word, number or None for each prompt",
            )  # fmt: skip
    _require_two(concept, present)
    continuous = _are_numbers(present)
    if numbers is None:
        numbers = continuous
    if numbers:
        return _numbers(concept, values, labeled, present)
    if continuous:
        raise DataError(
            f"the labels {concept!r} are numbers, not classes", got=f"{len(set(present))} values, such as {present[0]}",
            fix="read them with a probe of kind='ridge', or cut them into classes, for example at their median",
        )  # fmt: skip
    return _classes(concept, values, labeled, present)


def _array(labels: Any, concept: str) -> np.ndarray:  # noqa: ANN401
    """Return labels as an array; refuse what has no order or no length."""
    if isinstance(labels, Tensor):
        return labels.detach().cpu().numpy()
    if isinstance(labels, (bytes, Mapping, Set)) or not hasattr(labels, "__len__"):
        raise DataError(
            f"the labels {concept!r} are no list of values", got=described(labels),
            fix="give the name of a variable, or one value for each prompt",
        )  # fmt: skip
    try:
        values = np.asarray(labels)
    except ValueError as error:
        raise DataError(
            f"the labels {concept!r} have rows of different lengths", expected="one row for each prompt, as long as all"
        ) from error
    if values.dtype.kind in "SVcmM":
        raise DataError(f"the labels {concept!r} are neither words nor numbers", got=f"values of type {values.dtype}")
    return values


def _are_numbers(present: Sequence[Any]) -> bool:
    """Say whether values are a continuous concept: more than two numbers, at least one of them with a fraction."""
    plain = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present)
    return plain and any(value != round(value) for value in present if abs(value) < math.inf) and len(set(present)) > 2


def _require_two(concept: str, present: Sequence[Any]) -> None:
    if not present:
        raise DataError(f"the labels {concept!r} are all missing", expected="two values at least")
    if len(set(present)) < 2:
        raise DataError(
            f"the labels {concept!r} are all {present[0]!r}", expected="two values at least",
            fix="bring examples with another value",
        )  # fmt: skip


def _numbers(concept: str, values: np.ndarray, labeled: np.ndarray, present: Sequence[Any]) -> Labels:
    if not all(isinstance(value, (int, float)) for value in present):
        word = next(value for value in present if isinstance(value, str))
        raise DataError(
            f"the labels {concept!r} are words, and kind='ridge' reads numbers", got=repr(word),
            fix="choose kind='logistic' for classes",
        )  # fmt: skip
    numbers = np.full(values.shape, np.nan)
    numbers[labeled] = present
    if not np.isfinite(numbers[labeled]).all():
        raise DataError(f"the labels {concept!r} hold infinity", fix="leave these examples out (None)")
    return Labels(concept, np.where(labeled, 0, -1), (), numbers)


def _classes(concept: str, values: np.ndarray, labeled: np.ndarray, present: Sequence[Any]) -> Labels:
    try:
        classes = sorted(set(present))
    except TypeError:  # words and numbers together have no order
        classes = sorted(set(present), key=str)
    if len(classes) > min(_MOST_CLASSES, len(present) // 2):
        raise DataError(
            f"the labels {concept!r} are no classes: nearly every example has its own",
            got=f"{len(classes)} values for {len(present)} examples",
            fix="read numbers with kind='ridge', or cut them into classes, for example at their median",
        )
    number = {value: code for code, value in enumerate(classes)}
    codes = np.full(values.shape, -1)
    codes[labeled] = [number[value] for value in present]
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
    columns = [column for column in _COLUMNS if getattr(prompts, column)]
    if (plural := f"{name}s") in columns:
        name = plural
    if name in columns:
        return np.asarray(getattr(prompts, name), dtype=object)
    given = [column for column in prompts.given if "." not in column]
    if name in given:
        values = np.empty(len(prompts), dtype=object)
        values[:] = prompts.given[name]
        return values
    columns += [column for column in given if column not in ("answer", "foil")]
    raise DataError(
        f"these prompts have no variable or column {name!r}",
        fix=did_you_mean(name, [*prompts.variables, *columns])
        if prompts.variables or columns
        else "pass the labels themselves",
    )


def one_set(prompts: PromptSet | Contrast) -> PromptSet:
    """Return prompts as they are, and both sides of pairs as one set in which a pair stays one cluster."""
    if not isinstance(prompts, Contrast):
        return prompts
    width = max(side.tokens.shape[1] for side in (prompts.clean, prompts.corrupt))
    clean, corrupt = (side.padded(width, prompts.clean.side) for side in (prompts.clean, prompts.corrupt))
    names = clean.clusters or tuple(f"pair {row}" for row in range(len(clean)))
    shared = [name for name in clean.variables if name in corrupt.variables]

    def both(name: str) -> Tensor | None:
        sides = getattr(clean, name), getattr(corrupt, name)
        return None if sides[0] is None or sides[1] is None else torch.cat(sides)

    return replace(
        clean,
        tokens=torch.cat([clean.tokens, corrupt.tokens]),
        mask=torch.cat([clean.mask, corrupt.mask]),
        texts=clean.texts + corrupt.texts,
        pieces=clean.pieces + corrupt.pieces,
        answer=both("answer"),
        foil=both("foil"),
        answers=both("answers"),
        foils=both("foils"),
        read_at=both("read_at"),
        labels=clean.labels + corrupt.labels,
        groups=clean.groups + corrupt.groups,
        environments=clean.environments + corrupt.environments,
        clusters=names + names,
        positions={name: torch.cat([index, corrupt.positions[name]]) for name, index in clean.positions.items()},
        spans={name: torch.cat([span, corrupt.spans[name]]) for name, span in clean.spans.items()},
        aligned=clean.aligned + corrupt.aligned,
        given={name: column + corrupt.given[name] for name, column in clean.given.items() if name in corrupt.given},
        variables={name: torch.cat([clean.variables[name], corrupt.variables[name]]) for name in shared},
    )
