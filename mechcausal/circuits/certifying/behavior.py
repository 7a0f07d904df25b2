"""Does the model have the behavior at all? Its total effect against that of networks that have learned nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mechcausal.data.contrast import Contrast
from mechcausal.metrics import Metric
from mechcausal.models.engine import measure
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
    rows = np.sort(np.random.default_rng([seed, 41]).permutation(len(pairs))[:_MOST_PAIRS])
    some = pairs.take(rows.tolist())
    # A redrawn network is run on both prompts; what an ablation leaves in it would say nothing of the pairs.
    own = scales(*sides(model, some, metric, batch_size))
    if not redrawn:
        return TotalEffect(effect, Scale(own[0]), Scale(own[1])), 2 * len(some)
    bar = tqdm(total=redrawn, desc="certify: redrawn networks", unit="network", disable=None, leave=False)
    with redrawing(model) as draw:

        def network(number: int) -> tuple[float, float]:
            draw(seed * 1000 + number)
            bar.update(1)
            return scales(*sides(model, some, metric, batch_size))

        raw, relative = compared(own, network, redrawn)
    bar.close()
    return TotalEffect(effect, raw, relative), 2 * len(some) * (1 + len(raw.redrawn))


def sides(model: Any, pairs: Contrast, metric: Metric, batch_size: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Return the metric of the corrupt and of the clean prompts as they are, [example] each."""
    runs = (
        measure(model, side, metric, batch_size=batch_size, reference=pairs.clean)
        for side in (pairs.corrupt, pairs.clean)
    )
    first, second = (run.values[0] for run in runs)
    return first, second
