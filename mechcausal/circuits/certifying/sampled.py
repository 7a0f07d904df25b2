"""Which edges are measured exactly, and what a random sample says of all that were not measured.

The sample is stratified by rank: edges that the screening ranked just below the best are the likeliest to matter, and a
plain sample of a large model would hardly meet one of them. Each stratum is four times as large as all in front of it, and
all get the same number of draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mechcausal.circuits.circuit import Circuit
from mechcausal.errors import ArgumentError
from mechcausal.results.intervals import Interval

TOP, SAMPLE = "top", "sample"
_GROWTH = 4  # how many times larger a stratum's last rank is than that of the one before


@dataclass(frozen=True)
class Chosen:
    """Edges to measure: the best by score, and a random sample of the others.

    Attributes:
        edges: Sender, receiver and position of each, [edge 3]; the best come first, what matters most on top.
        k: How many of them are the best.
        strata: The stratum of each, [edge]; -1 for the best.
        sizes: How many scored edges each stratum has.
    """

    edges: np.ndarray
    k: int
    strata: np.ndarray
    sizes: tuple[int, ...]

    @property
    def sampled(self) -> int:
        """How many of the others are measured."""
        return len(self.edges) - self.k

    @property
    def roles(self) -> list[str]:
        """Whether each is one of the best or of the sample."""
        return [TOP] * self.k + [SAMPLE] * self.sampled


def chosen(circuit: Circuit, k: int, sample: int, seed: int) -> Chosen:
    """Return the k edges with the largest scores in absolute terms, and a random sample of the other scored edges."""
    size = np.abs(circuit.scores).ravel()
    scored = np.flatnonzero(np.isfinite(size))
    if len(scored) <= k:
        raise ArgumentError(
            "to certify takes more scored edges than the k best, because a sample of the rest is measured as well",
            got=f"{len(scored)} scored edges and k={k}", fix="score all edges with mc.discover, or take a smaller k",
        )  # fmt: skip
    order = scored[np.argsort(-size[scored], kind="stable")]
    parts = strata(len(order), k)
    draw = np.random.default_rng([seed, 43])
    numbers, of = [order[:k]], [np.full(k, -1)]
    for number, (part, count) in enumerate(zip(parts, shared(sample, [len(part) for part in parts]), strict=True)):
        numbers.append(np.sort(draw.choice(order[part], size=count, replace=False)))
        of.append(np.full(count, number))
    edges = np.stack(np.unravel_index(np.concatenate(numbers), circuit.scores.shape), axis=1)
    return Chosen(edges, k, np.concatenate(of), tuple(len(part) for part in parts))


def strata(n: int, k: int) -> list[np.ndarray]:
    """Return the ranks of each stratum: from k to 4 k, from there to 16 k, and so on up to n."""
    parts, low = [], k
    while low < n:
        high = min(n, low * _GROWTH)
        parts.append(np.arange(low, high))
        low = high
    return parts


def shared(sample: int, sizes: Sequence[int]) -> list[int]:
    """Return how many are drawn of each stratum: the same number, and of a small one all there are."""
    counts, left = [0] * len(sizes), min(sample, sum(sizes))
    while left > 0:
        open_strata = [number for number, size in enumerate(sizes) if counts[number] < size]
        each = max(1, left // len(open_strata))
        for number in open_strata:
            more = min(each, sizes[number] - counts[number], left)
            counts[number] += more
            left -= more
    return counts


def missed(
    hits: Sequence[int], drawn: Sequence[int], sizes: Sequence[int], top_hits: int, level: float = 0.95
) -> Interval:
    """Return the estimated share of all edges that matter that are not among the best, with its interval.

    Of stratum h with N_h edges, n_h were measured and x_h matter. With M = sum of N_h x_h / n_h, the false-negative
    rate is M / (top_hits + M). The ends take the exact binomial bounds of every stratum at once, corrected for their
    number, so that the interval is wide where few were drawn of many.

    Args:
        hits: How many of those measured matter, in each stratum.
        drawn: How many were measured.
        sizes: How many edges there are.
        top_hits: How many of the best edges matter.
        level: The level of the interval.
    """
    if not sum(drawn):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    tail = (1 - level) / 2 / max(1, sum(n < size for n, size in zip(drawn, sizes, strict=True)))
    middle, low, high = 0.0, 0.0, 0.0
    for x, n, size in zip(hits, drawn, sizes, strict=True):
        share = x / n if n else 0.0
        ends = (share, share) if n == size else (0.0, 1.0)
        if 0 < n < size:
            ends = (
                float(stats.beta.ppf(tail, x, n - x + 1)) if x else 0.0,
                float(stats.beta.ppf(1 - tail, x + 1, n - x)) if x < n else 1.0,
            )
        # What was measured is known; the bounds are of the others.
        middle, low, high = (
            middle + size * share,
            low + max(x, size * ends[0]),
            high + min(size - (n - x), size * ends[1]),
        )

    def rate(count: float) -> float:
        return count / (top_hits + count) if top_hits + count > 0 else np.nan

    total = sum(drawn)
    return Interval(rate(middle), 0.0 if low == 0 else rate(low), rate(high), total, total)
