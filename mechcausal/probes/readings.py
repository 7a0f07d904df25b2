"""Activations as probes read them: one row per prompt (at a position, or pooled over several), or one per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.address import Place, Site
from mechcausal.data.batching import by_length, parts
from mechcausal.data.prompts import PromptSet
from mechcausal.data.questions import Pool as Pool
from mechcausal.errors import DataError, NumericsError, UnsupportedError
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Edit
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import check_prompts, in_batches
from mechcausal.models.hooked import forward
from mechcausal.models.hooked import readings as read_only


@dataclass(frozen=True, eq=False)
class Reading:
    """What one place held in a run.

    Attributes:
        place: The site and the positions.
        x: The activations, [example feature].
        rows: The prompt of each example.
        columns: The column of each example in the prompts; the last one where several are pooled.
        pooled: Whether several positions were made one.
    """

    place: Place
    x: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    pooled: bool = False


def readings(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompts: PromptSet,
    where: Sequence[Place],
    *,
    pool: Pool = "mean",
    edits: Sequence[Edit] = (),
    batch_size: int = 64,
) -> list[Reading]:
    """Run the prompts once and return what every place held.

    Args:
        model: The model.
        prompts: The prompts; those too short for a position have no example there.
        where: The places.
        pool: What becomes of several positions: their mean, their maximum, or an example `"each"`.
        edits: Edits under which the model runs; what is read is what they leave.
        batch_size: How many prompts at a time.
    """
    if pool not in get_args(Pool):
        raise DataError("positions are pooled in three ways", got=repr(pool), expected="'mean', 'max' or 'each'")
    check_prompts(model, prompts)
    able = abilities(model)
    able.require([place.site for place in where], writes=False)
    able.require([edit.site for edit in edits])
    for place in where:
        if place.site.component == "pattern":
            raise UnsupportedError(f"{place.site} has no fixed width to fit a probe to", fix="probe z, or a stream")
    wholes = list(dict.fromkeys(place.site.whole for place in where))
    batches: list[list[tuple[Tensor, Tensor]]] = []
    order = by_length(prompts)
    bar = tqdm(total=len(prompts), desc="reading activations", unit="prompt", disable=None, leave=False)

    def one_batch(index: Tensor) -> np.ndarray:
        done = []
        for rows, part, gone in parts(prompts, order[index]):
            batch = part.to(bridge.device_of(model))
            read = forward(model, batch, edits, read=wholes).read if edits else read_only(model, batch, wholes)
            made = []
            for place in where:
                activation = read[place.site.whole]
                _refuse_nan(activation[batch.mask], place.site)
                x = _pooled(_flat(activation, place.site), batch.select(place.at), pool)
                made.append((x.float().cpu(), _taken(batch, place, pool, rows, gone)))
            done.append(made)
        batches.extend(done)  # only now: a batch that ran out of memory is tried again
        bar.update(len(index))
        return np.zeros((0, len(index)))

    in_batches(len(prompts), batch_size, one_batch)
    bar.close()
    out = []
    for number, place in enumerate(where):
        x, taken = (torch.cat(columns) for columns in zip(*(batch[number] for batch in batches), strict=True))
        back = taken[:, 0].argsort(stable=True)  # from the order of length to that of the prompts
        x, taken = x[back], taken[back]
        several = pool != "each" and not (place.at.is_single or place.at.name)
        out.append(Reading(place, x.numpy(), taken[:, 0].numpy(), taken[:, 1].numpy(), several))
    return out


def _flat(activation: Tensor, site: Site) -> Tensor:
    """Return the part that a site names as [batch pos feature]: one unit has one feature, all heads stand side by side."""
    part = view(activation, site)
    return part[..., None] if part.ndim == 2 else part.flatten(2)


def _pooled(part: Tensor, mask: Tensor, pool: Pool) -> Tensor:
    if pool == "each":
        return part[mask]
    part, mask = part[mask.any(1)], mask[mask.any(1)][..., None]
    if pool == "max":
        return part.masked_fill(~mask, -torch.inf).amax(1)
    return part.masked_fill(~mask, 0).sum(1) / mask.sum(1)


def _taken(batch: PromptSet, place: Place, pool: Pool, index: Tensor, gone: int) -> Tensor:
    """Return (prompt, column) of every example; `gone` columns were cut off on the left."""
    chosen = batch.select(place.at).cpu()
    if pool == "each":
        row, column = chosen.nonzero(as_tuple=True)
    else:
        row = chosen.any(1).nonzero()[:, 0]
        column = chosen.shape[1] - 1 - chosen[row].flip(1).long().argmax(1)
    return torch.stack([index[row], column + gone], dim=1)


def _refuse_nan(values: Tensor, site: Site) -> None:
    if not bool(torch.isfinite(values).all()):
        raise NumericsError(f"there is NaN or infinity at {site}", fix="check the weights, the dtype and the edits")
