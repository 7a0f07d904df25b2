"""Adversaries that read an attribute from activations: the strongest is chosen on one half, and judged on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mechcausal.audits.estimate import Estimate
from mechcausal.data.splits import split
from mechcausal.errors import DataError
from mechcausal.probes.controls import shuffle_labels
from mechcausal.probes.held_out import HeldOut, cross_validate
from mechcausal.probes.kinds import Readout, Settings, fit, scores

Adversary = Literal["linear", "quadratic", "mlp"]
ADVERSARIES: tuple[Adversary, ...] = ("linear", "quadratic", "mlp")
KIND: dict[str, str] = {"linear": "logistic", "quadratic": "quadratic", "mlp": "mlp"}
"""What each adversary is as a probe."""
SHUFFLES = 999


@dataclass(frozen=True, eq=False)
class Reader:
    """One adversary at one place.

    Attributes:
        place: Where it reads.
        adversary: What it is.
        chosen_by: The cross-validated balanced accuracy on the first half, by which the strongest is chosen.
        held_out: What it says of the second half, which it was not fitted to.
        readout: The probe, fitted to the first half.
        estimate: Its balanced accuracy on the second half.
        p: How often shuffled labels of the second half are read as well.
        null: The balanced accuracies of shuffled labels.
    """

    place: str
    adversary: Adversary
    chosen_by: float
    held_out: HeldOut
    readout: Readout
    estimate: Estimate
    p: float
    null: np.ndarray

    def row(self) -> dict[str, Any]:
        """Return it as a row."""
        accuracy = self.held_out.accuracy
        return {
            "place": self.place, "adversary": self.adversary, "value": self.estimate.value, "low": self.estimate.low,
            "high": self.estimate.high, "accuracy": accuracy.estimate, "majority": float(self.held_out.guesses.mean()),
            "auc": self.held_out.auc, "bits": self.held_out.information.estimate, "p": self.p,
            "n": len(self.held_out.y), "chosen_by": self.chosen_by,
        }  # fmt: skip


def readers(
    activations: Mapping[str, np.ndarray],
    y: np.ndarray,
    clusters: np.ndarray,
    adversaries: Sequence[Adversary] = ADVERSARIES,
    *,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> list[Reader]:
    """Fit every adversary at every place to half of the clusters, and judge it on the other half; the strongest comes first.

    Args:
        activations: The activations of each place, [example feature].
        y: The classes, [example].
        clusters: The cluster of each example.
        adversaries: Which adversaries.
        folds: How many folds choose between them.
        seed: The seed of the halves, the folds and the networks.
        level: The level of the intervals.
    """
    first, second = split(clusters, 0.5, seed=[seed, 21])
    n_classes = len(np.unique(y))
    for side in (first, second):
        if len(np.unique(y[side])) < n_classes:
            raise DataError("a class is in one half of the clusters only", fix="bring more clusters of each class")
    results = []
    for place, x in activations.items():
        for adversary in adversaries:
            settings = Settings(seed=seed)
            kind = KIND[adversary]
            chosen_by = cross_validate(
                kind, x[first], y[first], clusters[first], folds=folds, settings=settings, seed=seed
            ).balanced_accuracy
            readout = fit(kind, x[first], y[first], settings)
            one_fold = np.zeros(len(second), dtype=int)
            held_out = HeldOut(scores(readout, x[second]), y[second], clusters[second], one_fold)
            mean = Estimate.mean(held_out.hits * held_out.balance, clusters[second], level)
            estimate = replace(mean, low=max(0.0, mean.low), high=min(1.0, mean.high))
            null = _shuffled(held_out, seed)
            p = (1 + int((null >= held_out.balanced_accuracy - 1e-12).sum())) / (len(null) + 1)
            results.append(Reader(place, adversary, chosen_by, held_out, readout, estimate, p, null))
    return sorted(results, key=lambda reader: -reader.chosen_by)


def _shuffled(held_out: HeldOut, seed: int) -> np.ndarray:
    """Return the balanced accuracy with the labels of the second half shuffled over its clusters."""
    said, draw = held_out.log_probabilities.argmax(1), np.random.default_rng([seed, 22])
    out = np.empty(SHUFFLES)
    alone = len(np.unique(held_out.clusters)) == len(held_out.y)
    for number in range(SHUFFLES):
        labels = shuffle_labels(held_out.y, None if alone else held_out.clusters, draw)
        counts = np.bincount(labels, minlength=held_out.log_probabilities.shape[1])
        out[number] = ((said == labels) / counts[labels]).sum() / np.count_nonzero(counts)
    return out
