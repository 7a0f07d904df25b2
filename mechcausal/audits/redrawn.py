"""The control "no larger than in networks that have learned nothing", which questions of several families share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from mechcausal.audits.desk import NO_NETWORKS, Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Control
from mechcausal.audits.journal import digest
from mechcausal.data.contrast import Contrast
from mechcausal.metrics import Metric
from mechcausal.results.redraws import scales

MOST_PAIRS = 128
"""How many pairs every network with redrawn weights is run on; a real model is run as often as there are networks."""


def some_of(desk: Desk, count: int, most: int) -> np.ndarray:
    """Return the rows that networks with redrawn weights are run on: at most so many of them, drawn at random."""
    return np.sort(np.random.default_rng([desk.seed, 14]).permutation(count)[:most])


def forwards_of_redraws(desk: Desk, pairs: Contrast) -> int:
    """Return how many prompts are run in networks with redrawn weights for `redrawn_effect`."""
    some = pairs.take(range(min(len(pairs), MOST_PAIRS)))
    return desk.networks * desk.runs(some.clean, some.corrupt)


def redrawn_effect(
    desk: Desk,
    pairs: Contrast,
    high: np.ndarray,
    low: np.ndarray,
    *,
    by_size: bool = False,
    metric: Metric | None = None,
) -> Control:
    """Return the control "the total effect is no larger than in networks that have learned nothing".

    Args:
        desk: The desk.
        pairs: The pairs.
        high: The outcome of every clean prompt.
        low: The outcome of every corrupt prompt.
        by_size: Whether the effect is the mean size of the difference within a pair, in place of its mean.
        metric: Another metric than the outcome of the plan, where high and low are of it.
    """
    rows = some_of(desk, len(pairs), MOST_PAIRS)
    some, two_scales = pairs.take(rows.tolist()), sizes if by_size else scales
    return on_two_scales(
        desk, "effect", f"{two_scales.__name__} {some.hash}{'' if metric is None else f' {metric.name}'}",
        lambda other: two_scales(*reversed(other.both(some, metric))), two_scales(low[rows], high[rows]),
    )  # fmt: skip


def on_two_scales(
    desk: Desk, what: str, key: str, statistic: Callable[[Desk], tuple[float, float]], observed: tuple[float, float]
) -> Control:
    """Return the control "no larger than in networks that have learned nothing", in units of the outcome and in its spreads.

    Redrawing changes the size of the logits, so there are two scales, and the p-value is the smaller of both, doubled
    (`results/redraws.py`). What redrawn networks do is symmetric about zero, or the size of something that is; so one more
    of them is as large as this with the chance that the p-value says. A gap in decisions would not do: in most redrawn
    networks all decisions are the same, and in some they are not.

    Args:
        desk: The desk.
        what: What is compared, in a word.
        key: What the statistic is of, so that questions share it.
        statistic: Computes the number on both scales at a desk; NaN where there is no scale.
        observed: The numbers of the model itself.
    """
    if desk.networks < 2:
        return Control.inapplicable("no-learning", NO_NETWORKS)
    chosen = desk.outcome
    name = digest(what, key, chosen.name, desk.treatment)
    return two_scales_of(desk.in_redraws((name,), statistic), what, observed)


def two_scales_of(drawn: np.ndarray, what: str, observed: tuple[float, float]) -> Control:
    """Return the control of `on_two_scales` from the numbers of redrawn networks, [network scale]."""
    chances = [beyond_zero(float(value), column) for value, column in zip(observed, drawn.T, strict=True)]
    finite = [chance for chance in chances if np.isfinite(chance)]
    p = min(1.0, len(finite) * min(finite)) if finite else 1.0
    typical = np.sqrt(np.mean(np.square(drawn), axis=0))
    there, here = f"{typical[0]:.3g} in size", f"{abs(observed[0]):.3g}"
    if np.isfinite([typical[1], observed[1]]).all():
        there, here = (
            f"{there}, or {typical[1]:.3g} spreads of the outcome",
            f"{here}, or {abs(observed[1]):.3g} spreads",
        )
    says = f"in {len(drawn)} networks with redrawn weights the {what} is {there}; here it is {here}"
    return Control("no-learning", says, Estimate.mean(np.abs(drawn[:, 0])), p, guards=True, holds=p <= 0.05)


def beyond_zero(observed: float, drawn: np.ndarray) -> float:
    """Return the two-sided p-value of "one more draw around zero is as large"; NaN where there is nothing to compare."""
    if not (np.isfinite(observed) and np.isfinite(drawn).all()):
        return float("nan")
    spread = float(np.sqrt(np.mean(drawn**2)))
    if spread == 0:
        return 1.0 if observed == 0 else 0.0
    return float(2 * stats.t.sf(abs(observed) / (spread * np.sqrt(1 + 1 / len(drawn))), len(drawn)))


def sizes(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Return the mean size of the difference within a pair, and the same in spreads of the outcome."""
    return over_spread(float(np.abs(high - low).mean()), low, high)


def over_spread(value: float, *outcomes: np.ndarray) -> tuple[float, float]:
    """Return a number, and the number over the spread of outcomes within a set; NaN where they do not vary."""
    spread = float(np.sqrt(np.mean([values.var() for values in outcomes])))
    largest = max(float(np.abs(values).max()) for values in outcomes)
    return value, value / spread if spread > 1e-6 * max(1e-9, largest) else float("nan")
