"""Fit an eraser to arrays: what must be taken from activations so that a concept can no longer be read linearly.

`leace` (Belrose et al. 2023) is the smallest change, in the mean square, after which no linear probe does better than
a constant on the examples it was fitted to. `means` projects out the differences of the class means, which has the
same guarantee on those examples and changes more than it need. On other examples both hold up to sampling error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import vector
from mechcausal.errors import DataError, UnsupportedError, did_you_mean
from mechcausal.interventions.specs import Erase

_NONE = 1e-10


def fit_eraser(method: str, x: np.ndarray, y: np.ndarray, *, shrink: bool = True) -> Erase:
    """Fit an eraser to activations [example feature] and classes 0, 1, ... [example].

    Args:
        method: `"leace"` or `"means"`.
        x: The activations.
        y: The classes.
        shrink: Whether LEACE draws its covariance towards a multiple of one, as it should with few examples; what it
            promises of the examples it is fitted to holds either way.
    """
    if method not in METHODS:
        raise DataError(
            f"there is no way of erasing called {method!r}", fix=did_you_mean(method, [*METHODS, "features"])
        )
    if x.ndim != 2 or len(x) != len(y):
        raise DataError("activations and labels differ in number", got=len(y), expected=len(x))
    if len(np.unique(y)) < 2:
        raise DataError("the labels are of one class, so there is nothing to erase", expected="two classes at least")
    return METHODS[method](torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y), shrink)


def rank(eraser: Erase) -> int:
    """Return how many directions an eraser takes away."""
    return len(eraser.left)


def _leace(x: Tensor, y: Tensor, shrink: bool) -> Erase:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.script, on import
            from concept_erasure import LeaceFitter
    except ImportError as error:
        raise UnsupportedError(
            "LEACE is fitted by concept-erasure, which is not installed",
            fix='pip install "mechcausal[erasure]", or use method="means"',
        ) from error
    z = _columns(y)
    # The cut below which a cross-covariance counts as zero is absolute in the library's whitened units; the default of
    # 0.01 would leave a concept in that is read from very little.
    fitted = (
        LeaceFitter(x.shape[1], z.shape[1], dtype=torch.float64, svd_tol=1e-6, shrinkage=shrink).update(x, z).eraser
    )
    left, right = fitted.proj_left.T, fitted.proj_right
    kept = right.norm(dim=1) > _NONE * right.norm().clamp(min=_NONE)
    return _erase(left[kept], right[kept], x.mean(0))


def _means(x: Tensor, y: Tensor, shrink: bool) -> Erase:
    means = torch.stack([x[y == c].mean(0) for c in y.unique()])
    _, sizes, rows = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    basis = rows[sizes > _NONE * means.abs().max().clamp(min=_NONE)]
    return _erase(basis, basis, x.mean(0))


def _columns(y: Tensor) -> Tensor:
    """Return the classes as numbers: one column for two, one for each of more."""
    codes = (y[:, None] == y.unique()).double()
    return codes[:, 1:] if codes.shape[1] == 2 else codes


def _erase(left: Tensor, right: Tensor, bias: Tensor) -> Erase:
    return Erase(tuple(map(vector, left)), tuple(map(vector, right)), vector(bias))


METHODS: dict[str, Callable[[Tensor, Tensor, bool], Erase]] = {"leace": _leace, "means": _means}
