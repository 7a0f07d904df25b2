"""Codes of which a few features are active: only those are computed with, forwards and backwards.

A code is what is active, `index` [token k] and `values` [token k], instead of a row of all features that is mostly zero.
Its products are then sums over k rows. Where many are active, an entry costs more than a cell of a dense product, and
the dense product is taken; the result is the same but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn.functional import embedding_bag

_CELLS = 10  # what one entry costs, counted in cells of a dense product
_HELD = 1 << 20  # numbers at once: a few megabytes, whatever the size of a batch


def decoded(values: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Return the sum of the rows [feature d] that each token names, each times its value: [token d]."""
    return _Decoded.apply(values, rows, index) if _few(index, len(rows)) else _filled(values, index, len(rows)) @ rows


def encoded(values: Tensor, index: Tensor, x: Tensor, weights: Tensor, bias: Tensor, shift: Tensor) -> Tensor:
    """Return entries of `(x - shift) @ weights + bias` that are known already, as a function of the parameters.

    Args:
        values: Their values, [token k].
        index: Which they are, [token k].
        x: What is encoded, less the shift, [token d]; a constant.
        weights: The encoder, [d feature].
        bias: Its bias, [feature].
        shift: What is taken from the activations before they are encoded, [d].
    """
    return _Encoded.apply(weights, bias, shift, values, index, x)


class _Decoded(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, index: Tensor) -> Tensor:  # noqa: ANN401
        with torch.enable_grad():
            ctx.values = values.detach().requires_grad_()
            ctx.decoded = embedding_bag(index, rows.detach(), per_sample_weights=ctx.values, mode="sum")
        ctx.index, ctx.n_features = index, len(rows)
        return ctx.decoded.detach()

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (slope,) = slopes
        (by_values,) = torch.autograd.grad(ctx.decoded, ctx.values, slope)
        # Faster than the gradient that torch has for the rows, which sorts the index first.
        return by_values, _gathered(ctx.values.detach(), ctx.index, slope, ctx.n_features), None


class _Encoded(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        weights: Tensor,
        bias: Tensor,
        shift: Tensor,
        values: Tensor,
        index: Tensor,
        x: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(weights, index, x)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (slope,) = slopes
        weights, index, x = ctx.saved_tensors
        n_features = weights.shape[1]
        by_bias = slope.new_zeros(n_features).index_add_(0, index.flatten(), slope.flatten())
        return _gathered(slope, index, x, n_features).T, by_bias, -(weights @ by_bias), None, None, None


def _gathered(values: Tensor, index: Tensor, x: Tensor, n_features: int) -> Tensor:
    """Return for each feature the sum of the tokens [token d] that name it, each times its value: [feature d]."""
    if not _few(index, n_features):
        return _filled(values, index, n_features).T @ x
    sums = x.new_zeros(n_features, x.shape[1])
    many = max(1, _HELD // max(1, index.shape[1] * x.shape[1]))
    for some_values, some_index, some in zip(values.split(many), index.split(many), x.split(many), strict=True):
        sums.index_add_(0, some_index.flatten(), (some_values[:, :, None] * some[:, None]).flatten(0, 1))
    return sums


def _filled(values: Tensor, index: Tensor, n_features: int) -> Tensor:
    return values.new_zeros(len(values), n_features).scatter(1, index, values)


def _few(index: Tensor, n_features: int) -> bool:
    return _CELLS * index.shape[1] <= n_features
