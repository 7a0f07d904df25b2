"""Moving the values of a part between runs whose prompts place it at different columns.

`gather` takes what stands at the selected columns out of a whole activation, [row slot ...]; `scatter` puts it at the
selected columns of another run, zeros elsewhere, in the shape that a `Source` wants. Both keep the graph.
"""

from __future__ import annotations

from torch import Tensor

from mechcausal.address import Site
from mechcausal.errors import DataError


def position_axis(site: Site) -> int:
    """Return the axis of a whole activation that holds positions: for an attention pattern that of its queries."""
    return 2 if site.component == "pattern" else 1


def slots(mask: Tensor) -> int:
    """Return how many positions every row of a [row pos] mask selects; refuse rows that select different numbers."""
    counts = mask.sum(dim=1)
    low, high = int(counts.min()), int(counts.max())
    if low != high:
        raise DataError(
            "a value is moved between prompts that have different numbers of these positions",
            got=f"{low} to {high} positions",
            expected="the same number in every prompt",
            fix="use a named position, an index such as @-1, or prompts of one length",
        )
    if high == 0:
        raise DataError("no prompt has these positions", fix="select positions that the prompts have")
    return high


def gather(values: Tensor, mask: Tensor, *, axis: int = 1) -> Tensor:
    """Return the values at the selected columns, [row slot ...], in the order of the columns.

    Args:
        values: A whole activation.
        mask: The columns, [row pos]; every row selects the same number.
        axis: The axis of positions; see `position_axis`.
    """
    count = slots(mask)
    selected = values.movedim(axis, 1)[mask.to(values.device)]
    return selected.reshape(len(mask), count, *selected.shape[1:])


def scatter(compact: Tensor, mask: Tensor, like: Tensor | None = None, *, axis: int = 1) -> Tensor:
    """Return a whole activation that has these values at the selected columns, and zeros elsewhere.

    Args:
        compact: The values, [row slot ...].
        mask: The columns they go to, [row pos].
        like: An activation whose precision and device the result takes; those of the values without it.
        axis: The axis of positions; see `position_axis`.
    """
    count = slots(mask)
    if compact.shape[:2] != (len(mask), count):
        raise DataError(
            "the values do not fit the positions they are moved to",
            got=f"{compact.shape[0]} rows of {compact.shape[1]} positions",
            expected=f"{len(mask)} rows of {count}",
            fix="select equally many positions in both prompts",
        )
    moved = compact if like is None else compact.to(device=like.device, dtype=like.dtype)
    activation = moved.new_zeros(*mask.shape, *moved.shape[2:])
    activation[mask.to(activation.device)] = moved.reshape(-1, *moved.shape[2:])
    return activation.movedim(1, axis)


def moved(values: Tensor, from_mask: Tensor, to_mask: Tensor, *, axis: int = 1) -> Tensor:
    """Return a whole activation with the values of the columns `from_mask` at the columns `to_mask`, zeros elsewhere.

    Rows may select different numbers of positions, as long as both masks select equally many in each row.
    """
    given, wanted = from_mask.sum(dim=1), to_mask.sum(dim=1)
    unequal = (given != wanted).nonzero().flatten()
    if len(unequal):
        row = int(unequal[0])
        raise DataError(
            f"row {row} is given a value for other than the positions it has",
            got=f"{int(given[row])} positions",
            expected=int(wanted[row]),
            fix="select equally many positions in both prompts",
        )
    source = values.movedim(axis, 1)
    activation = source.new_zeros(*to_mask.shape, *source.shape[2:])
    activation[to_mask.to(activation.device)] = source[from_mask.to(activation.device)]
    return activation.movedim(1, axis)
