"""Which edges are measured exactly, and what a random sample says of all that were not measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mechcausal.circuits.circuit import Circuit
from mechcausal.errors import ArgumentError
from mechcausal.results.intervals import Interval

TOP, SAMPLE = "top", "sample"


@dataclass(frozen=True)
class Chosen:
    """Edges to measure: the best by score, and a random sample of the others.

    Attributes:
        edges: Sender, receiver and position of each, [edge 3]; the best come first, what matters most on top.
        k: How many of them are the best.
        rest: How many scored edges are not among the best.
    """

    edges: np.ndarray
    k: int
    rest: int

    @property
    def sampled(self) -> int:
        """How many of the others are measured."""
        return len(self.edges) - self.k

    @property
    def roles(self) -> list[str]:
        """Whether each is one of the best or of the sample."""
        return [TOP] * self.k + [SAMPLE] * self.sampled

    @property
    def weights(self) -> np.ndarray:
        """How many scored edges each stands for, [edge]."""
        return np.concatenate([np.ones(self.k), np.full(self.sampled, self.rest / max(1, self.sampled))])


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
    others = order[k:]
    drawn = np.sort(np.random.default_rng([seed, 43]).choice(others, size=min(sample, len(others)), replace=False))
    numbers = np.concatenate([order[:k], drawn])
    return Chosen(np.stack(np.unravel_index(numbers, circuit.scores.shape), axis=1), k, len(others))


def missed(hits: int, sampled: int, rest: int, found: int, level: float = 0.95) -> Interval:
    """Return the estimated share of all edges that matter that are not among the best, with its exact binomial interval.

    Of `rest` edges that were not screened in, `sampled` were measured and `hits` matter; of those screened in, `found` do.
    With p the share that matters among the rest, the false-negative rate is p rest / (found + p rest), which grows with p.
    """

    def rate(share: float) -> float:
        return share * rest / (found + share * rest) if found + share * rest > 0 else np.nan

    if not sampled:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    if sampled == rest:  # all were measured
        return Interval(rate(hits / rest), rate(hits / rest), rate(hits / rest), rest, rest)
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits, sampled - hits + 1) if hits else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, sampled - hits) if hits < sampled else 1.0
    ends = (0.0 if low == 0 else rate(float(low)), rate(float(high)))
    return Interval(rate(hits / sampled) if hits or found else np.nan, *ends, sampled, sampled)
