"""The area under and above the curve of faithfulness over sizes, as MIB measures it (Mueller et al. 2025).

With f(s) the faithfulness of the circuit of the share s of all edges, from s = 0.001 to 1 (where f = 1 by definition):

    CMD = integral of |1 - f(s)| ds     how far the circuits are from the model; 0 is perfect
    CPR = integral of f(s) ds           how much of the behavior they have; it has no upper bound, and a circuit that
                                        leaves out what works against the behavior exceeds the model

Both are sums of trapezoids on a linear axis, so that half of the weight lies between 50 % and all edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mechcausal.results.intervals import Interval, mean_interval, ratio_means

SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""The shares of all edges at which MIB measures; the whole model is the last point of the curve."""


def areas(
    values: np.ndarray,
    nothing: np.ndarray,
    model: np.ndarray,
    clusters: Sequence[str] = (),
    shares: Sequence[float] = SIZES,
) -> dict[str, Interval]:
    """Return CMD and CPR with their cluster-robust intervals, by linearization.

    Args:
        values: The metric of each example under the circuit of each size, [size example].
        nothing: The metric with every edge cut, [example].
        model: The metric with none cut, [example].
        clusters: The cluster of each example.
        shares: The share of all edges of each size, in ascending order and below 1.
    """
    curve, _ = ratio_means(values - nothing, np.broadcast_to(model - nothing, values.shape), clusters)
    points = np.array([*shares, 1.0])
    weight = np.zeros(len(points))
    weight[:-1] += np.diff(points) / 2
    weight[1:] += np.diff(points) / 2
    # What one example adds to the share of one size, to first order.
    residuals = (values - nothing - curve[:, None] * (model - nothing)) / (model - nothing).mean()
    last = weight[-1]  # where f is 1
    slopes = {"cmd": weight[:-1] * np.sign(curve - 1), "cpr": weight[:-1]}
    estimates = {"cmd": float(weight[:-1] @ np.abs(1 - curve)), "cpr": float(weight[:-1] @ curve + last)}
    return {name: _around(estimates[name], slope @ residuals, clusters) for name, slope in slopes.items()}


def _around(estimate: float, residuals: np.ndarray, clusters: Sequence[str]) -> Interval:
    spread = mean_interval(residuals, clusters)
    return Interval(
        estimate, estimate + spread.low, estimate + spread.high, spread.n, spread.n_clusters, spread.effective_clusters
    )
