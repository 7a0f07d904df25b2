"""Probes of a continuous concept: a number is read, and judged by the share of its variance that is foretold.

The probe is linear with a squared penalty (ridge). R2 is that of held-out examples, against whoever says the mean of the
examples a probe was fitted to: 1 is reading without error, 0 is knowing nothing, and below 0 the probe does harm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mechcausal.errors import DataError
from mechcausal.probes.controls import DRAWS, Null
from mechcausal.probes.held_out import folds_of
from mechcausal.probes.kinds import Linear, Readout, Settings, fit, strengths
from mechcausal.results.intervals import Interval, ratio_interval

_NONE = float("nan")
_INNER = 3  # folds within the examples that a probe is fitted to, by which its penalty is chosen


@dataclass(frozen=True, eq=False)
class HeldOutNumbers:
    """What probes say of the numbers of examples they were not fitted to.

    Attributes:
        predicted: The number that is read off each example, by the probe that was fitted without its cluster.
        guessed: The mean of the examples that this probe was fitted to.
        y: The true numbers.
        clusters: The cluster of each example.
        fold: The fold in which each example was held out.
    """

    predicted: np.ndarray
    guessed: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    fold: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """One minus the squared error of each example over the mean squared error of guessing; their mean is R2."""
        return 1 - (self.y - self.predicted) ** 2 / self._variance

    @property
    def guesses(self) -> np.ndarray:
        """The same for whoever says the mean; its own mean is 0."""
        return 1 - (self.y - self.guessed) ** 2 / self._variance

    @property
    def r2(self) -> Interval:
        """The share of the variance that is foretold, with its interval clustered."""
        lost = ratio_interval((self.y - self.predicted) ** 2, (self.y - self.guessed) ** 2, self.clusters)
        return replace(lost, estimate=1 - lost.estimate, low=1 - lost.high, high=1 - lost.low)

    @property
    def correlation(self) -> float:
        """The correlation of read and true numbers, within folds."""
        read, true = (_centered(values, self.fold) for values in (self.predicted, self.y))
        size = np.sqrt((read**2).sum() * (true**2).sum())
        return float((read * true).sum() / size) if size > 0 else _NONE

    @property
    def error(self) -> float:
        """The root of the mean squared error, in the units of the concept."""
        return float(np.sqrt(((self.y - self.predicted) ** 2).mean()))

    @property
    def _variance(self) -> float:
        return float(((self.y - self.guessed) ** 2).mean())


@dataclass(frozen=True)
class NumberReport:
    """What a probe of numbers reached on held-out examples, and what its controls reached.

    Attributes:
        r2: The share of the variance that is foretold on held-out examples, with its interval clustered.
        correlation: The correlation of read and true numbers, within folds.
        error: The root of the mean squared error.
        spread: The standard deviation of the true numbers.
        folds: How many folds there were.
        control: R2 on control tasks; selectivity is R2 minus this.
        selectivity: See `control`.
        types: How many types the control tasks had.
        p: The p-value of R2 by exchanged labels.
        permutations: How many exchanges.
    """

    r2: Interval
    correlation: float
    error: float
    spread: float
    folds: int
    control: float = _NONE
    selectivity: float = _NONE
    types: int = 0
    p: float = _NONE
    permutations: int = 0

    @classmethod
    def of(cls, held_out: HeldOutNumbers, **controls: Any) -> NumberReport:  # noqa: ANN401 - the fields of the controls
        """Take the numbers of a cross-validation."""
        return cls(
            held_out.r2, held_out.correlation, held_out.error, float(held_out.y.std()), len(np.unique(held_out.fold)),
            **controls,
        )  # fmt: skip

    def row(self) -> dict[str, Any]:
        """Return the numbers as columns of a table."""
        r2 = {"r2": self.r2.estimate, "r2_low": self.r2.low, "r2_high": self.r2.high, "guess": 0.0, "bayes": _NONE}
        names = ("correlation", "error", "spread", "control", "selectivity", "p")
        return r2 | {name: getattr(self, name) for name in names}

    def lines(self) -> list[str]:
        """Say it in words."""
        r2 = self.r2
        lines = [
            f"  held-out R2 {r2.estimate:.3f} [{r2.low:.3f}, {r2.high:.3f}], n {r2.n} in {r2.n_clusters} clusters, "
            f"{self.folds} folds",
            f"  correlation {self.correlation:.3f}, error {self.error:.3g} where the numbers spread by {self.spread:.3g}",
        ]
        if np.isfinite(self.selectivity):
            lines.append(
                f"  selectivity {self.selectivity:.3f}: random numbers for {self.types} types reach {self.control:.3f}"
            )
        elif self.types:
            lines.append(f"  no control task: {self.types} type of input; pass types=...")
        if np.isfinite(self.p):
            lines.append(f"  p {self.p:.3g} by {self.permutations} exchanges of labels")
        return lines


def cross_validate_numbers(
    x: np.ndarray,
    y: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    folds: int = 5,
    settings: Settings | None = None,
    seed: int = 0,
) -> HeldOutNumbers:
    """Fit a probe without each fold in turn and read off what was left out.

    Args:
        x: The activations, [example feature].
        y: The numbers, [example].
        clusters: The cluster of each example; each is its own without them.
        folds: How many folds; fewer where there are fewer clusters.
        settings: How probes are fitted.
        seed: The seed of the folds.
    """
    settings = settings or Settings()
    clusters = np.arange(len(y)) if clusters is None else clusters
    fold = folds_of(np.zeros(len(y), dtype=int), clusters, folds, seed)
    predicted, guessed = np.empty(len(y)), np.empty(len(y))
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        if np.ptp(y[~inside]) == 0:
            raise DataError(
                "the numbers of the examples outside a fold are all alike", got=f"{y[~inside][0]:.4g}",
                fix="bring more clusters that differ in the concept",
            )  # fmt: skip
        best = best_penalty(x[~inside], y[~inside], clusters[~inside], settings, seed)
        predicted[inside] = predictions(fit("ridge", x[~inside], y[~inside], best), x[inside])
        guessed[inside] = y[~inside].mean()
    return HeldOutNumbers(predicted, guessed, y, clusters, fold)


def best_penalty(x: np.ndarray, y: np.ndarray, clusters: np.ndarray, settings: Settings, seed: int) -> Settings:
    """Return the settings with the C of least error, by cross-validation within these examples; the first of equals."""
    values = strengths(settings)
    if len(values) == 1:
        return replace(settings, C=values[0])
    if len(np.unique(clusters)) < 2:
        return replace(settings, C=min(values))
    tried = [replace(settings, C=value) for value in values]
    errors = [
        cross_validate_numbers(x, y, clusters, folds=_INNER, settings=option, seed=seed + 1).error for option in tried
    ]
    return tried[int(np.argmin(errors))]


def predictions(readout: Readout, x: np.ndarray) -> np.ndarray:
    """Return the number that a fitted probe reads off each activation."""
    assert isinstance(readout, Linear)
    return readout(torch.as_tensor(x, dtype=torch.float64))[:, 0].numpy()


def number_controls(
    x: np.ndarray,
    y: np.ndarray,
    types: np.ndarray,
    clusters: np.ndarray,
    *,
    control: bool,
    permutations: int,
    folds: int,
    settings: Settings,
    seed: int,
) -> dict[str, Any]:
    """Run the controls that are asked for, and return the fields of a `NumberReport` that they fill.

    In a control task every type of input has the number of an example drawn at random (Hewitt and Liang 2019).
    """

    def reached(numbers: np.ndarray) -> float:
        return cross_validate_numbers(x, numbers, clusters, folds=folds, settings=settings, seed=seed).r2.estimate

    fields: dict[str, Any] = {}
    if control:
        names, type_of = np.unique(types, return_inverse=True)
        draw, scores = np.random.default_rng([seed, 2]), []
        for _ in range(DRAWS if len(names) > 1 else 0):
            made = draw.choice(y, size=len(names))[type_of]
            try:
                scores.append(reached(made))
            except DataError:  # the numbers of this draw are alike outside a fold
                continue
        fields["control"] = float(np.mean(scores)) if scores else _NONE
        fields |= {"selectivity": reached(y) - fields["control"], "types": len(names)}
    if permutations:
        null = number_null(reached, y, clusters, permutations, seed)
        fields |= {"p": null.p, "permutations": permutations}
    return fields


def number_null(reached: Any, y: np.ndarray, clusters: np.ndarray, draws: int, seed: int) -> Null:  # noqa: ANN401
    """Return how often exchanged numbers are read as well as the true ones; everything is done again for each exchange.

    Args:
        reached: From numbers to the held-out R2.
        y: The true numbers.
        clusters: The cluster of each example.
        draws: How many exchanges.
        seed: The seed.
    """
    draw = np.random.default_rng([seed, 4])
    observed = reached(y)
    null = np.array([reached(exchange_numbers(y, clusters, draw)) for _ in range(draws)])
    return Null(float((1 + int((null >= observed - 1e-12).sum())) / (draws + 1)), null)


def exchange_numbers(y: np.ndarray, clusters: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return numbers that mean nothing but hang together as the given ones do.

    Clusters exchange their means, and each turns its deviations from its mean around or leaves them, as a whole.
    """
    index = np.unique(clusters, return_inverse=True)[1]
    means = np.bincount(index, y) / np.bincount(index)
    signs = draw.choice([-1.0, 1.0], size=len(means))
    return draw.permutation(means)[index] + signs[index] * (y - means[index])


def _centered(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    return values - (np.bincount(fold, values) / np.bincount(fold))[fold]
