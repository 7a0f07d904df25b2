"""The one implementation of every intervention: a new tensor from an activation, an edit, a mask and a source."""

from __future__ import annotations

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.errors import InterventionError
from mechcausal.interventions.specs import (
    Add,
    AddDelta,
    Edit,
    Erase,
    Interpolate,
    Intervention,
    Mean,
    Patch,
    Project,
    Resample,
    Scale,
    Set,
    Zero,
)


def view(activation: Tensor, site: Site) -> Tensor:
    """Return the part of a whole activation that `site` names (a view, so writing to it writes through)."""
    if site.head is not None:
        return activation[:, site.head] if site.component == "pattern" else activation[:, :, site.head]
    return activation if site.unit is None else activation[..., site.unit]


def spread(mask: Tensor, site: Site, ndim: int) -> Tensor:
    """Reshape a [batch pos] mask so that it broadcasts over the view of `site`; a pattern's position is its query."""
    if site.component == "pattern" and site.head is None:
        return mask[:, None, :, None]
    return mask.reshape(*mask.shape, *([1] * (ndim - mask.ndim)))


def edited(
    activation: Tensor,
    edit: Edit,
    mask: Tensor,
    source: Tensor | None = None,
    basis: Tensor | None = None,
    share: Tensor | None = None,
    keys: Tensor | None = None,
) -> Tensor:
    """Return a copy of `activation` in which `edit` holds where `mask` [batch pos] is true.

    Args:
        activation: The whole activation as one hook sees it.
        edit: What to do, and at which head or neuron.
        mask: True at the positions to change.
        source: The whole activation of the other run, for interventions that need one.
        basis: Orthonormal columns, [feature k]: only the part of the change inside their span is made.
        share: How much of the change is made, [k] of each column or [feature] of each number; zero is exactly none.
        keys: The real tokens, [batch pos], for a pattern: weights on padding stay as they are, which is zero.
    """
    if edit.do.needs_source and source is None:
        raise InterventionError(f"{edit} needs a source run and none was given", fix="pass pairs or a reference set")
    if source is not None and source.shape != activation.shape:
        raise InterventionError(
            f"the source of {edit} has another shape", got=tuple(source.shape), expected=tuple(activation.shape)
        )
    result = activation.clone()
    part = view(result, edit.site)
    other = None if source is None else view(source, edit.site).to(part.dtype)
    new = new_value(edit.do, part, other, edit)
    if share is not None and basis is None:
        new = part + (new - part) * share
    if basis is not None:
        if basis.shape[0] != part.shape[-1]:
            raise InterventionError(
                f"the subspace of {edit} does not fit", got=f"{basis.shape[0]} features", expected=part.shape[-1]
            )
        inside = (new - part) @ basis
        new = part + (inside if share is None else inside * share) @ basis.T
    where = spread(mask, edit.site, part.ndim)
    if keys is not None and edit.site.component == "pattern":
        where = where & keys.reshape(len(keys), *[1] * (part.ndim - 2), -1)
    part.copy_(torch.where(where, new, part))
    return result


def added(before: Tensor, old: Tensor, stream: Tensor) -> Tensor:
    """Return what has to be added to `before` to make it this stream: `old` itself where that does it already.

    A stream that is set to zero becomes exactly zero, and not the rounding of `before + old`, which a norm would blow up.
    """
    gap = stream - (before + old)
    return torch.where(gap == 0, old + gap, stream - before)


def new_value(do: Intervention, x: Tensor, source: Tensor | None, edit: Edit) -> Tensor:
    """Return what an intervention makes of activations, token by token; `edit` is named in what goes wrong."""
    match do:
        case Zero():
            return torch.zeros_like(x)
        case Mean() | Patch() | Resample():
            return _given(source)
        case Interpolate(fraction=fraction):
            return x + fraction * (_given(source) - x)
        case AddDelta():
            return x + _given(source)
        case Set(value=value):
            return _tensor(value, x, edit).expand_as(x)
        case Add(value=value, scale=scale):
            return x + scale * _tensor(value, x, edit)
        case Scale(factor=factor):
            return x * factor
        case Project(directions=directions, keep=keep):
            basis = _basis(_matrix(directions, x, edit), edit)
            inside = (x @ basis) @ basis.T
            return inside if keep else x - inside
        case Erase(left=left, right=right, bias=bias):
            centred = x - _tensor(bias, x, edit)
            return x - (centred @ _matrix(right, x, edit).T) @ _matrix(left, x, edit)
    raise InterventionError(
        f"nothing implements {type(do).__name__}", fix="use one of the interventions of the package"
    )


def _given(source: Tensor | None) -> Tensor:
    assert source is not None  # `edited` has refused this already, with the edit's name
    return source


def _tensor(value: float | tuple[float, ...], x: Tensor, edit: Edit) -> Tensor:
    tensor = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if tensor.ndim:
        _refuse_one_unit(edit)
    if tensor.ndim and tensor.shape[-1] != x.shape[-1]:
        raise InterventionError(f"the vector of {edit} has the wrong length", got=len(tensor), expected=x.shape[-1])
    return tensor


def _matrix(rows: tuple[tuple[float, ...], ...], x: Tensor, edit: Edit) -> Tensor:
    _refuse_one_unit(edit)
    matrix = torch.as_tensor(rows, dtype=x.dtype, device=x.device)
    if matrix.ndim != 2 or matrix.shape[1] != x.shape[-1]:
        raise InterventionError(
            f"the directions of {edit} do not fit", got=tuple(matrix.shape), expected=f"(k, {x.shape[-1]})"
        )
    return matrix


def _basis(directions: Tensor, edit: Edit) -> Tensor:
    """Return an orthonormal basis, [feature k], of what the directions span: dependent ones count once."""
    _, sizes, rows = torch.linalg.svd(directions.double(), full_matrices=False)
    kept = rows[sizes > sizes.max() * 1e-6] if len(sizes) and bool(sizes.max() > 0) else rows[:0]
    if len(kept) == 0:
        raise InterventionError(f"the directions of {edit} span nothing", fix="give at least one that is not zero")
    return kept.T.to(directions.dtype)


def _refuse_one_unit(edit: Edit) -> None:
    if edit.site.unit is not None:  # its last axis is the position
        kind = "neuron" if edit.site.feature is None else "feature"
        raise InterventionError(
            f"{edit} gives a vector to a single {kind}", fix="give a number, or name the whole site"
        )
