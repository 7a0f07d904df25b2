"""Sweeps of mitigations that are made by hand, without a model."""

from __future__ import annotations

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Answer
from mechcausal.audits.mitigation.sweep import Edited, Measure, Sweep

CLUSTERS = tuple(f"cluster {number // 4}" for number in range(40))


def answer(values, clusters=CLUSTERS):
    estimate = Estimate.mean(values, clusters)
    return Answer(estimate, f"it is {estimate}", units=tuple(map(float, values)), unit_clusters=clusters)


def make(edits, measures=("flips", "accuracy"), better=("low", "high"), controls=(), clusters=CLUSTERS):
    """Return a sweep of edits, each with the values of its units by measure."""
    listed = [Measure(name, name, way, scale="share") for name, way in zip(measures, better, strict=True)]
    answers = {
        (edit, name): answer(values, clusters)
        for edit, columns in edits.items()
        for name, values in zip(measures, columns, strict=True)
    }
    made = tuple(Edited(name, {"do": "none"}, name in controls) for name in edits)
    return Sweep("A sweep", made, tuple(listed), answers)
