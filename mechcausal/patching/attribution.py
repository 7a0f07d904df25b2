"""Attribution patching: the first-order estimate of every patch from one forward and one forward-backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import ALL, Selection, Site, expand
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, NumericsError
from mechcausal.interventions.apply import spread, view
from mechcausal.interventions.specs import Edit, Interpolate
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import align, in_batches
from mechcausal.models.hooked import forward, gradient_reads, gradients
from mechcausal.patching.activation import Direction
from mechcausal.patching.sweep import MetricSpec, Place, Positions, Recorder, SiteSpec, places, plain, two_sides
from mechcausal.results.result import Result


def attribute(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    *,
    sites: SiteSpec = "resid_pre",
    positions: Positions = None,
    direction: Direction = "noise",
    steps: int = 0,
    path: Literal["joint", "cell"] = "joint",
    metric: MetricSpec = "logit_diff",
    batch_size: int = 64,
) -> Result:
    """Estimate what `patch` would measure, for every cell at once, from gradients.

    Estimand of `change`: `(source - base) . d metric / d activation` at the base run, the first-order Taylor estimate
    of the patch (Nanda 2023; Syed et al. 2023). It is exact where the metric is linear in the activation. With
    `steps` the gradient is averaged along the straight path from base to source (integrated gradients, Sundararajan
    et al. 2017, midpoint rule): with `path="joint"` a whole activation moves at once and the cells share out its
    exact effect; with `path="cell"` only the cell moves and its number converges to the exact effect of that cell.

    Args:
        model: The model.
        pairs: Clean and corrupt prompts.
        sites: What to attribute to; see `patch`.
        positions: Which positions; see `patch`.
        direction: `"noise"` (base clean, source corrupt) or `"denoise"`.
        steps: 0 for the plain gradient at the base run, else the number of points on the path.
        path: What moves along the path when `steps` is given.
        metric: A metric's name, or a differentiable function of (logits, batch).
        batch_size: How many pairs at a time.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> estimate = mc.attribute(model, mc.contrast("hiring/gender", model, n=8), sites="z", steps=4)
        >>> len(estimate)
        16
    """
    if steps < 0 or path not in ("joint", "cell"):
        raise DataError("steps is 0 or more and path is 'joint' or 'cell'", got=f"steps {steps}, path {path!r}")
    base, source = two_sides(pairs, direction)
    chosen = metric_of(metric)
    if chosen.name == "accuracy":
        raise DataError("accuracy has no gradient", fix="attribute to logit_diff, or use mc.patch")
    if chosen.name == "kl" and direction == "noise" and steps == 0:
        raise DataError(
            "the KL divergence from the clean run has no slope at the clean run",
            fix="pass steps=8, or direction='denoise', or another metric",
        )
    recorder = Recorder(
        model, pairs, chosen, "attribute",
        {"sites": plain(sites), "positions": plain(positions), "direction": direction, "steps": steps, "path": path},
    )  # fmt: skip
    able = abilities(model)
    where = places(expand(sites, able.shape), positions, base)
    able.require([place.site for place in where])
    baselines = recorder.baselines("corrupt" if direction == "denoise" else "clean", batch_size)
    base, source, clean = align(base, source, pairs.clean)
    wholes = list(dict.fromkeys(place.site.whole for place in where))
    forwards = 0

    def one_batch(index: Tensor) -> np.ndarray:
        nonlocal forwards
        device = bridge.device_of(model)
        batch, other = base.take(index).to(device), source.take(index).to(device)
        reference = forward(model, clean.take(index).to(device)).logits if chosen.compares else None
        start = forward(model, batch, read=wholes).read
        goal = forward(model, other, read=wholes).read

        def gradient(edits: Sequence[Edit], targets: Sequence[Site]) -> dict[Site, Tensor]:
            nonlocal forwards
            forwards += 1
            sources = [goal[edit.site.whole] for edit in edits]
            run = forward(model, batch, edits, read=gradient_reads(targets), sources=sources, grad=True)
            return gradients(chosen(run.logits, batch, reference).sum(), run, targets)

        forwards += 2 + int(chosen.compares)
        found = np.empty((len(where), len(index)))
        plain = gradient([], wholes) if steps == 0 else {}
        joint = {}
        if steps and path == "joint":
            joint = {site: _along(gradient, site, site, ALL, steps) for site in wholes}
        for number, place in enumerate(where):
            whole = place.site.whole
            if steps == 0:
                slope = plain[whole]
            elif path == "joint":
                slope = joint[whole]
            else:
                slope = _along(gradient, place.site, whole, place.at, steps)
            found[number] = _project(goal[whole] - start[whole], slope, place, batch)
        return found

    # The caller may have switched gradients off, for good or for a while.
    with torch.inference_mode(False), torch.enable_grad():
        changes, used = in_batches(len(base), recorder.batch_size, one_batch)
    values = baselines["base"][None] + changes
    return recorder.result(
        [place.row() for place in where],
        values,
        baselines,
        forwards=forwards,
        batch_size=used,
        estimate="first order",
        naive_because={"all": "gradients are taken through whole forwards"},
    )


def _along(gradient: Any, moved: Site, target: Site, at: Selection, steps: int) -> Tensor:  # noqa: ANN401
    """Return the mean gradient at the midpoints of `steps` equal parts of the path."""
    total = None
    for step in range(steps):
        edit = Edit(moved, Interpolate((step + 0.5) / steps), at)
        slope = gradient([edit], [target])[target]
        total = slope if total is None else total + slope
    assert total is not None  # steps > 0
    return total / steps


def _project(delta: Tensor, slope: Tensor, place: Place, batch: PromptSet) -> np.ndarray:
    product = view(delta * slope, place.site)
    mask = batch.select(place.at)
    kept = product * spread(mask, place.site, product.ndim)
    total = kept.reshape(len(batch), -1).double().sum(1).cpu().numpy()
    reached = mask.any(1).cpu().numpy()
    if not np.isfinite(total[reached]).all():
        raise NumericsError(
            f"the gradient at {place.site} holds NaN or infinity",
            fix="attribute to a metric that is smooth there, or use mc.patch",
        )
    total[~reached] = np.nan
    return total
