"""Does the model have the behavior at all? Its total effect against that of networks that have learned nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mechcausal.circuits.edges.states import StateMetric
from mechcausal.data.contrast import Contrast
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.engine import in_batches, measure
from mechcausal.models.hooked import forward
from mechcausal.models.redrawn import redrawing
from mechcausal.results.intervals import mean_interval
from mechcausal.results.redraws import Scale, TotalEffect, compared, scales

_MOST_PAIRS = 128  # that every redrawn network is run on


def behavior(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    pairs: Contrast,
    metric: Metric,
    clean: np.ndarray,
    nothing: np.ndarray,
    *,
    redrawn: int,
    seed: int,
    batch_size: int,
) -> tuple[TotalEffect, int]:
    """Return the total effect against networks with redrawn weights, and how many forwards that took.

    Args:
        model: The bridge; its weights are redrawn in place, and restored bit for bit.
        pairs: The pairs.
        metric: The metric.
        clean: The metric of the clean prompts, [example].
        nothing: The metric with every edge cut, [example].
        redrawn: How many networks, at most.
        seed: The seed of the weights.
        batch_size: How many pairs at a time.
    """
    effect = mean_interval(clean - nothing, pairs.clean.clusters)
    if isinstance(metric, StateMetric):  # a probe was fitted to these weights, and says nothing of others
        raw, relative = scales(nothing, clean)
        return TotalEffect(effect, Scale(raw), Scale(relative)), 0
    rows = np.sort(np.random.default_rng([seed, 41]).permutation(len(pairs))[:_MOST_PAIRS])
    some = pairs.take(rows.tolist())
    # A redrawn network is run on both prompts; what an ablation leaves in it would say nothing of the pairs.
    model_scales = scales(*sides(model, some, metric, batch_size))
    if not redrawn:
        return TotalEffect(effect, Scale(model_scales[0]), Scale(model_scales[1])), 2 * len(some)
    bar = tqdm(total=redrawn, desc="certify: redrawn networks", unit="network", disable=None, leave=False)
    with redrawing(model) as draw:

        def network(number: int) -> tuple[float, float]:
            draw(seed * 1000 + number)
            bar.update(1)
            return scales(*sides(model, some, metric, batch_size))

        raw, relative = compared(model_scales, network, redrawn)
    bar.close()
    return TotalEffect(effect, raw, relative), 2 * len(some) * (1 + len(raw.redrawn))


@torch.no_grad()
def sides(model: Any, pairs: Contrast, metric: Metric, batch_size: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Return the metric of the corrupt and of the clean prompts as they are, [example] each."""
    if metric.forces(pairs.clean):  # answers of several tokens: the engine writes a row for each
        runs = [
            measure(model, side, metric, batch_size=batch_size, reference=pairs.clean)
            for side in (pairs.corrupt, pairs.clean)
        ]
        return runs[0].values[0], runs[1].values[0]
    width = max(side.tokens.shape[1] for side in (pairs.clean, pairs.corrupt))
    clean, corrupt = pairs.clean.padded(width), pairs.corrupt.padded(width, pairs.clean.side)

    def one_batch(index: Tensor) -> np.ndarray:
        first, second = (side.take(index).to(bridge.device_of(model)) for side in (clean, corrupt))
        # Not by the engine, which would measure anew what each redrawn network can do.
        run, other = forward(model, first), forward(model, second)
        reference = run.output_for(needs_logits=metric.needs_logits) if metric.compares else None
        scores = other.score(metric, second, reference), run.score(metric, first, reference)
        return torch.stack(scores).float().cpu().numpy()

    values, _ = in_batches(len(pairs), batch_size, one_batch)
    return values[0], values[1]
