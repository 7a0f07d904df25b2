"""One stack of rows from a site to the metric and back: the graph begins at the sites, and so ends there too."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.arguments import Model
from mechcausal.errors import MechcausalError
from mechcausal.metrics import METRICS
from mechcausal.models import bridge
from mechcausal.models.bare import hooked
from mechcausal.models.compared import agree, in_short, probes
from mechcausal.models.counting import uncounted
from mechcausal.models.hooked import forward, gradient_reads, gradients
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.twin import Base, Twin
from mechcausal.models.replay.verify import Replayer, replayer


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
            moved = change.sum(-2) if sites[0].component == "result" else change
            value = value + moved.reshape(value.shape).to(value.dtype)
        leaves[site] = value if value.requires_grad else value.detach().requires_grad_(True)
        return leaves[site]

    asked = {site: _differentiated(site) for site in sites}
    streams = {site for site in asked.values() if site.component == "resid_pre"}
    modules = set(asked.values()) - streams
    first, last = min(map(first_layer, sites)), len(twin.layers)
    # The last layer is left early only where no hook is waiting inside it and no stream is wanted after it.
    all_columns = meter.read is None or Site("resid_pre", last) in streams or any(s.layer == last - 1 for s in modules)
    stream = base.hidden[first][rows, start:]
    with ExitStack() as hooks:
        for site in modules:
            hooks.callback(hooked(twin.ports[site], partial(leaf, site)).remove)
        for layer in range(first, last + 1):
            if Site("resid_pre", layer) in streams:
                stream = leaf(Site("resid_pre", layer), stream)
            if layer == last - 1 and not all_columns:
                stream = twin.last_layer(base, stream, rows, start, meter.read[rows])
                break
            if layer < last:
                stream = twin.layer(base, layer, stream, rows, start)
    if all_columns and meter.read is not None:
        stream = stream[torch.arange(len(rows), device=rows.device), meter.read[rows] - start]
    slopes_at = torch.autograd.grad(meter.scores(stream, rows, start).sum(), list(leaves.values()), allow_unused=True)
    grown = {
        site: torch.zeros_like(value) if slope is None else slope
        for (site, value), slope in zip(leaves.items(), slopes_at, strict=True)
    }
    return {site: _shaped(site, grown[at], base, len(rows)) for site, at in asked.items()}


def _shaped(site: Site, slope: Tensor, base: Base, rows: int) -> Tensor:
    """Return a slope in the shape that the site has; what any head adds to the output of attention counts alike."""
    shape = base.values[site].shape[2:]
    if site.component == "result":
        return slope.reshape(rows, -1, 1, shape[-1]).expand(-1, -1, *shape)
    return slope.reshape(rows, -1, *shape)  # some models flatten rows and positions


def _differentiated(site: Site) -> Site:
    """Return the place at which a change is the same change of the metric, and where the twin can put a leaf."""
    if site.component in ("resid_mid", "result"):
        return Site("attn_out", site.layer)
    return Site("resid_pre", first_layer(site)) if site.component == "resid_post" else site


_reasons: WeakKeyDictionary[Replayer, dict[str, str]] = WeakKeyDictionary()  # empty for components that agree


def differentiable(model: Model, components: Sequence[str]) -> tuple[Replayer | None, dict[str, str]]:
    """Return the engine, and why gradients at some of these components are taken through whole forwards instead."""
    if foreign := bridge.foreign(model):
        return None, dict.fromkeys(components, foreign)
    engine = replayer(model)
    reasons = _reasons.setdefault(engine, {})
    for component in components:
        if component not in reasons:
            reasons[component] = _disagreement(model, engine, component)
    return engine, {component: reasons[component] for component in components if reasons[component]}


@uncounted()
def _disagreement(model: Model, engine: Replayer, component: str) -> str:
    """Return how gradients at a component fail to be those of whole forwards; empty where they do not."""
    twin = engine.twin
    if twin is None:
        return next(iter(engine.reasons.values()), "its layers cannot be called")
    if component not in twin.readable:
        return "it is not read at a module or between the layers"
    last = len(twin.layers) - 1
    sites = [Site(component, layer) for layer in sorted({0, last // 2, last})]
    shapes = dict.fromkeys(sites, engine.able.components[component].shape[2:])
    for batch, _ in probes(model):
        rows, middle = torch.arange(len(batch), device=batch.tokens.device), batch.tokens.shape[1] // 2
        for metric in (METRICS["logit_diff"], METRICS["loss"]):
            run = forward(model, batch, read=gradient_reads(sites), grad=True)
            slow = gradients(metric(run.logits, batch).sum(), run, sites)
            try:
                base = twin.record(batch, shapes)
                meter = Meter(twin, batch, metric, None, base.hidden[-1])
                by_start = {start: slopes(twin, base, meter, sites, rows, start) for start in (0, middle)}
            except MechcausalError as error:
                return in_short(error)
            for start, fast in by_start.items():
                seen = batch.mask[:, start:]
                if not all(agree(fast[site][seen], slow[site][:, start:][seen], model) for site in sites):
                    return "its gradients and those of the loop do not agree"
    return ""
