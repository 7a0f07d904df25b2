"""Preference data: whether the nuisance can be told from what else differs, and what the choices say of it by themselves.

The choice between two answers is taken to follow Bradley and Terry (1952): log-odds(chosen) = sum of weight x difference.
Only differences count, so nothing depends on which answer of a pair comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.logistic import fit
from mechcausal.data.contrast import Contrast
from mechcausal.data.splits import FEWEST
from mechcausal.errors import DataError
from mechcausal.probes.labels import column_of

_ALIKE = 1e-9  # of the size of a column, what is left of it by rounding


@dataclass(frozen=True)
class Weights:
    """What preference data say of a nuisance.

    Attributes:
        beside: The weight of the nuisance with the other columns held fixed; NaN where these give it away wholly.
        alone: Its weight if nothing else is looked at.
        others: The weights of the other columns.
        r2: How much of the differences in the nuisance the other columns give away; NaN without other columns.
        correlations: The correlation of the differences in the nuisance with those in each other column.
    """

    beside: Estimate
    alone: Estimate
    others: dict[str, Estimate]
    r2: float
    correlations: dict[str, float]


def differences(pairs: Contrast, name: str) -> np.ndarray:
    """Return by how much a column of numbers is larger on the clean side of each pair than on the corrupt one."""
    return numbers(pairs, name, "clean") - numbers(pairs, name, "corrupt")


def numbers(pairs: Contrast, name: str, side: str) -> np.ndarray:
    """Return a column of numbers of one side of pairs."""
    column = column_of(getattr(pairs, side), name)
    values = []
    for row, value in enumerate(column.tolist()):
        number = value if isinstance(value, (bool, int, float)) else float("nan")
        if not np.isfinite(number):
            raise DataError(
                f"the column {name!r} is not a number on the {side} side of pair {row}", got=repr(value)[:60],
                expected=f"a number in every row of {name} and corrupt_{name}",
            )  # fmt: skip
        values.append(float(number))
    return np.array(values)


def weights(
    pairs: Contrast, nuisance: str, others: Sequence[str], clusters: Sequence[str] = (), level: float = 0.95
) -> Weights:
    """Return what the choices say of the nuisance, alone and beside other columns.

    Args:
        pairs: The chosen answers (clean), each with the rejected one.
        nuisance: The column that should not matter.
        others: The columns that are held fixed.
        clusters: The cluster of each pair.
        level: The level of the intervals.
    """
    x = np.column_stack([differences(pairs, name) for name in (nuisance, *others)])
    chosen = np.ones(len(x))  # the chosen answer always comes first, which a model without an intercept does not see
    alone = fit(x[:, :1], chosen, clusters).estimate(0, level)
    r2 = overlap(x[:, 0], x[:, 1:]) if others else float("nan")
    if others and r2 > 1 - _ALIKE:
        unknown = Estimate(float("nan"), n=len(x), n_clusters=alone.n_clusters)
        return Weights(unknown, alone, {}, 1.0, _correlations(x, others))
    fitted = fit(x, chosen, clusters)
    other_weights = {name: fitted.estimate(number, level) for number, name in enumerate(others, 1)}
    return Weights(fitted.estimate(0, level), alone, other_weights, r2, _correlations(x, others))


def overlap(nuisance: np.ndarray, others: np.ndarray) -> float:
    """Return the share of the squared differences in the nuisance that other columns give away, adjusted for their number.

    It is about zero, not about the mean, because the sign of a difference says only which answer comes first. At 1 nothing
    can be said of the nuisance apart from the others; the interval of its weight is 1 / sqrt(1 - R2) times as wide as
    where they are independent.
    """
    rest = nuisance - others @ np.linalg.lstsq(others, nuisance, rcond=None)[0]
    size, freedom = float(nuisance @ nuisance), len(nuisance) - others.shape[1]
    if freedom < 1 or float(rest @ rest) <= _ALIKE**2 * size:
        return 1.0
    return max(0.0, 1 - float(rest @ rest) / size * len(nuisance) / freedom)


def wrong_preferences(pairs: Contrast, nuisance: str, others: Sequence[str], what: str) -> Iterator[str]:
    """Say what is wrong with preference data: columns, differences and clusters.

    Args:
        pairs: The chosen answers (clean), each with the rejected one.
        nuisance: The column that should not matter.
        others: The columns that are held fixed.
        what: What the data are called.
    """
    for name in (nuisance, *others):
        try:
            if not differences(pairs, name).any():
                yield f"chosen and rejected never differ in {name!r} in {what}, so nothing can be said of it"
        except DataError as error:
            yield f"in {what}, {error}"
    count, least = pairs.clean.n_clusters, FEWEST + 1 + len(others)
    if count < least:
        columns = f"{1 + len(others)} columns" if others else "1 column"
        yield f"{what} has {count} clusters, too few to weigh {columns}: bring at least {least}"


def _correlations(x: np.ndarray, others: Sequence[str]) -> dict[str, float]:
    sizes = np.sqrt((x**2).sum(axis=0))
    return {name: float(x[:, 0] @ x[:, number] / sizes[0] / sizes[number]) for number, name in enumerate(others, 1)}
