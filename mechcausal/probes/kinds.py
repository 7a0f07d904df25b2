"""What a probe can be: ways to read a class from an activation, each fitted to arrays and scored in torch.

| kind | what it can read |
|---|---|
| `means` | the differences of the class means, and nothing else |
| `logistic` | any direction |
| `sparse` | `k` coordinates (features of a dictionary, neurons), chosen on the training examples |
| `quadratic` | products of two coordinates: the adversary that sees an exclusive or |
| `mlp` | whatever a small network can |
| `ridge` | a number, along any direction |

All but the last give log-odds, so that they are compared by the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mechcausal.errors import DataError, did_you_mean

# What varies less than this, relative to the size of all coordinates together, is the rounding of float32.
_ROUNDING = 1e-5


class Readout(Protocol):
    """A fitted probe before it has a name: log-odds [example 1] for two classes, logits [example class] for more."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores of activations [example feature]; gradients pass through."""
        ...


@dataclass(frozen=True)
class Settings:
    """How probes are fitted.

    Attributes:
        C: The inverse strength of the squared penalty on standardised coordinates; `inf` is no penalty. Of several the
            best is chosen by cross-validation within the examples that a probe is fitted to.
        k: How many coordinates a sparse probe may read at most.
        components: How many principal components the quadratic probe multiplies at most.
        hidden: The width of the network.
        seed: The seed of the network's start.
    """

    C: float | tuple[float, ...] = 1.0
    k: int = 16
    components: int = 48
    hidden: int = 64
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Linear:
    """Scores that are linear in the activation.

    Attributes:
        weight: One row for two classes (towards the second), one for each of more, [row feature].
        bias: What is added, [row].
        chosen: The coordinates that may be read, of a sparse probe.
    """

    weight: Tensor
    bias: Tensor
    chosen: tuple[int, ...] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores."""
        return x @ self.weight.to(x).T + self.bias.to(x)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Scores that are linear in the principal components and in all products of two of them."""

    centre: Tensor
    frame: Tensor
    top: Linear

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores."""
        return self.top(_products((x - self.centre.to(x)) @ self.frame.to(x)))


@dataclass(frozen=True, eq=False)
class Network:
    """Scores of a network with one hidden layer."""

    below: Linear
    top: Linear

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores."""
        return self.top(torch.relu(self.below(x)))


Fit = Callable[[np.ndarray, np.ndarray, Settings], Readout]


def fit(kind: str, x: np.ndarray, y: np.ndarray, settings: Settings | None = None) -> Readout:
    """Fit one probe to activations [example feature] and classes 0, 1, ... [example], each of which must occur.

    For `ridge` the labels are numbers.
    """
    check(kind, x, y, settings or Settings())
    return FITS[kind](without_rounding(x.astype(np.float64)), y, settings or Settings())


def check(kind: str, x: np.ndarray, y: np.ndarray, settings: Settings) -> None:
    """Refuse what cannot be fitted, in one sentence."""
    if kind not in FITS:
        raise DataError(f"there is no probe called {kind!r}", fix=did_you_mean(kind, FITS))
    if x.ndim != 2 or len(x) != len(y):
        raise DataError("activations and labels differ in number", got=len(y), expected=len(x))
    values = strengths(settings)
    if not values or not min(values) > 0:
        raise DataError("the penalty of a probe is 1 / C, and C must be above zero", got=settings.C)
    if kind in ("logistic", "ridge") and np.isinf(max(values)) and len(x) <= x.shape[1]:
        raise DataError(
            "a dense probe without a penalty needs more examples than features",
            got=f"{len(x)} examples of {x.shape[1]} features",
            fix="set a penalty (C=1.0), choose kind='sparse', or bring more examples",
        )
    if kind == "sparse" and settings.k < 1:
        raise DataError("a sparse probe reads one coordinate at least", got=f"k={settings.k}")


def strengths(settings: Settings) -> tuple[float, ...]:
    """Return the values of C to choose from."""
    return settings.C if isinstance(settings.C, tuple) else (settings.C,)


def scores(readout: Readout, x: np.ndarray) -> np.ndarray:
    """Return log-probabilities of the classes, [example class]."""
    raw = readout(torch.as_tensor(x, dtype=torch.float64))
    both = torch.cat([torch.zeros_like(raw), raw], dim=1) if raw.shape[1] == 1 else raw
    return both.log_softmax(1).numpy()


def without_rounding(x: np.ndarray) -> np.ndarray:
    """Return the activations with every coordinate that does not vary beyond rounding held constant.

    Coordinates are standardised before they are read, which would make a probe read the last digits: after an erasure
    they still depend on the class, and no computation of the model does.
    """
    quiet = x.std(0) <= _ROUNDING * np.sqrt((x**2).mean())
    return np.where(quiet, x.mean(0), x) if quiet.any() else x


def separation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return for each coordinate how far apart its class means are: the F of a one-way analysis of variance.

    For two classes it is the square of the t of the difference. A coordinate that never varies has 0.
    """
    classes, counts = np.unique(y, return_counts=True)
    means = np.stack([x[y == c].mean(0) for c in classes])
    overall = x.mean(0)
    between = (counts[:, None] * (means - overall) ** 2).sum(0) / (len(classes) - 1)
    within = sum(((x[y == c] - mean) ** 2).sum(0) for c, mean in zip(classes, means, strict=True))
    within = within / max(len(x) - len(classes), 1)
    tiny = 1e-12 * np.maximum((x**2).mean(0), 1e-300)
    return np.where(between <= tiny, 0.0, between / np.maximum(within, tiny))


def _logistic(x: np.ndarray, y: np.ndarray, settings: Settings) -> Linear:
    x = without_rounding(x)
    scaler = StandardScaler().fit(x)
    with warnings.catch_warnings():
        # Classes that can be told apart without error have no finite optimum without a penalty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strengths(settings)[0], max_iter=1000).fit(scaler.transform(x), y)
    weight = model.coef_ / scaler.scale_
    return Linear(_tensor(weight), _tensor(model.intercept_ - weight @ scaler.mean_))


def _means(x: np.ndarray, y: np.ndarray, settings: Settings) -> Linear:
    """The only directions are those between class means; on them alone scale and threshold are fitted."""
    first, *others = (x[y == c].mean(0) for c in np.unique(y))
    frame = np.stack([other - first for other in others])
    within = _logistic(x @ frame.T, y, settings)
    return Linear(within.weight @ _tensor(frame), within.bias)


def _sparse(x: np.ndarray, y: np.ndarray, settings: Settings) -> Linear:
    chosen = np.sort(np.argsort(-separation(x, y), kind="stable")[: settings.k])
    within = _logistic(x[:, chosen], y, settings)
    weight = torch.zeros(len(within.weight), x.shape[1], dtype=torch.float64)
    weight[:, _tensor(chosen)] = within.weight
    return Linear(weight, within.bias, tuple(chosen.tolist()))


def _quadratic(x: np.ndarray, y: np.ndarray, settings: Settings) -> Quadratic:
    scaler = StandardScaler().fit(x)
    _, sizes, components = np.linalg.svd(scaler.transform(x), full_matrices=False)
    kept = max(1, min(settings.components, int((sizes > _ROUNDING * sizes[0]).sum())))
    frame = _tensor(components[:kept].T / scaler.scale_[:, None])
    centre = _tensor(scaler.mean_)
    products = _products((_tensor(x) - centre) @ frame).numpy()
    return Quadratic(centre, frame, _logistic(products, y, settings))


def _products(x: Tensor) -> Tensor:
    rows, columns = torch.triu_indices(x.shape[-1], x.shape[-1])
    return torch.cat([x, x[..., rows] * x[..., columns]], dim=-1)


def _mlp(x: np.ndarray, y: np.ndarray, settings: Settings) -> Network:
    scaler = StandardScaler().fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier(
            (settings.hidden,),
            alpha=1e-2 / strengths(settings)[0],
            learning_rate_init=5e-3,
            batch_size=min(128, len(x)),
            max_iter=60,
            random_state=settings.seed,
        ).fit(scaler.transform(x), y)
    (first, second), (below, top) = model.coefs_, model.intercepts_
    weight = first.T / scaler.scale_
    return Network(
        Linear(_tensor(weight), _tensor(below - weight @ scaler.mean_)),
        Linear(_tensor(second.T), _tensor(top)),
    )


def _tensor(array: np.ndarray) -> Tensor:
    # In one order of memory, so that a probe that was saved and loaded rounds as it did before.
    return torch.from_numpy(np.ascontiguousarray(array))


def _ridge(x: np.ndarray, y: np.ndarray, settings: Settings) -> Linear:
    scaler = StandardScaler().fit(x)
    spread = y.std() or 1.0
    strength = strengths(settings)[0]
    model = Ridge(alpha=0.0 if np.isinf(strength) else 1 / strength, solver="svd")
    model.fit(scaler.transform(x), (y - y.mean()) / spread)
    weight = spread * model.coef_[None] / scaler.scale_
    return Linear(_tensor(weight), _tensor(y.mean() + spread * model.intercept_ - weight @ scaler.mean_))


KINDS: dict[str, Fit] = {
    "means": _means,
    "logistic": _logistic,
    "sparse": _sparse,
    "quadratic": _quadratic,
    "mlp": _mlp,
}
"""The kinds of probes that read classes."""

FITS: dict[str, Fit] = {**KINDS, "ridge": _ridge}
