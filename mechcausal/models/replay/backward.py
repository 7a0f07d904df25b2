"""One stack of rows from a site to the metric and back: the graph begins at the sites, and so ends there too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.address import Site
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.twin import Base, Twin


def first_layer(site: Site) -> int:
    """Return the first layer that has to be run to differentiate at a site; none is left after the last stream."""
    assert site.layer is not None  # sites of no layer are not read by the twin
    return site.layer + (site.component == "resid_post")


def slopes(
    twin: Twin,
    base: Base,
    meter: Meter,
    sites: Sequence[Site],
    rows: Tensor,
    start: int,
    change: Tensor | None = None,
) -> dict[Site, Tensor]:
    """Return d metric / d activation at whole sites, from one column on.

    Args:
        twin: The bare model.
        base: The unedited run, with the activations of the sites.
        meter: The metric.
        sites: Where to differentiate.
        rows: Which example each row of the stack is.
        start: The first column that is run; left of it all is as in the unedited run.
        change: What is added to the activation of the only site there is, [row pos ...]; nothing where it is None.
    """
    leaves: dict[Site, Tensor] = {}

    def leaf(site: Site, value: Tensor) -> Tensor:
        if change is not None:
            value = value + change.reshape(value.shape).to(value.dtype)
        leaves[site] = value if value.requires_grad else value.detach().requires_grad_(True)
        return leaves[site]

    asked = {site: _differentiated(site) for site in sites}
    streams = {site for site in asked.values() if site.component == "resid_pre"}
    modules = set(asked.values()) - streams
    first, last = min(map(first_layer, sites)), len(twin.layers)
    # The last layer is left early only where no hook is waiting inside it and no stream is wanted after it.
    whole = not meter.one_position or Site("resid_pre", last) in streams or any(s.layer == last - 1 for s in modules)
    stream = base.hidden[first][rows, start:]
    with ExitStack() as hooks:
        for site in modules:
            hooks.callback(_hook(*twin.places[site], lambda value, site=site: leaf(site, value)).remove)
        for layer in range(first, last + 1):
            if Site("resid_pre", layer) in streams:
                stream = leaf(Site("resid_pre", layer), stream)
            if layer == last - 1 and not whole:
                stream = twin.last_layer(base, stream, rows, start, meter.read[rows])
                break
            if layer < last:
                stream = twin.layer(base, layer, stream, rows, start)
    if whole and meter.one_position:
        stream = stream[torch.arange(len(rows), device=rows.device), meter.read[rows] - start]
    found = torch.autograd.grad(meter.scores(stream, rows, start).sum(), list(leaves.values()), allow_unused=True)
    grown = {
        site: torch.zeros_like(value) if slope is None else slope
        for (site, value), slope in zip(leaves.items(), found, strict=True)
    }
    return {site: grown[at].reshape(len(rows), -1, *base.values[site].shape[2:]) for site, at in asked.items()}


def _differentiated(site: Site) -> Site:
    """Return the place at which a change is the same change of the metric, and where the twin can put a leaf."""
    if site.component == "resid_mid":
        return Site("attn_out", site.layer)
    return Site("resid_pre", first_layer(site)) if site.component == "resid_post" else site


def _hook(module: nn.Module, enters: bool, leaf: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - a handle
    """Put a leaf where something enters or leaves a module."""
    if enters:
        return module.register_forward_pre_hook(lambda _, args: (leaf(args[0]), *args[1:]))
    return module.register_forward_hook(
        lambda _, args, out: (leaf(out[0]), *out[1:]) if isinstance(out, tuple) else leaf(out)
    )
