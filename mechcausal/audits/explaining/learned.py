"""What a model has learned, as one number for each unit: the effect of a pair, or how much likelier a secret is than others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mechcausal.audits.desk import Desk
from mechcausal.audits.privacy.canaries import Canaries
from mechcausal.audits.privacy.prompting import asked_for
from mechcausal.data.contrast import Contrast
from mechcausal.data.splits import units

OTHERS = 3
"""With how many other candidates each secret is compared."""


def clusters_of(data: Any) -> tuple[str, ...]:  # noqa: ANN401 - pairs or canaries
    """Return the clusters of the units: of secrets each its own, of one secret behind many prefixes these."""
    if isinstance(data, Contrast):
        return data.clean.clusters
    return data.secrets if len(set(data.secrets)) > 1 else data.prefixes


def units_of(data: Any) -> np.ndarray:  # noqa: ANN401 - pairs or canaries
    """Return the number of each unit, of which a split keeps each on one side."""
    if isinstance(data, Contrast):
        return units(data)
    return np.unique(np.array(clusters_of(data)), return_inverse=True)[1]


def shown_of(data: Any) -> Any:  # noqa: ANN401 - pairs or canaries
    """Return the data, without canaries that were never shown."""
    return data.take(data.inserted) if isinstance(data, Canaries) else data


def learned(desk: Desk, data: Any) -> np.ndarray:  # noqa: ANN401 - pairs or canaries
    """Return the number of each unit: the effect of a pair, or the log-odds of a secret against other candidates."""
    if isinstance(data, Contrast):
        clean, corrupt = desk.both(data)
        return clean - corrupt
    secrets = desk.outcomes(asked_for(desk.model, data, data.prompts), "logprob")
    rows = np.repeat(np.arange(len(data)), OTHERS)
    others = replace(data.take(rows), secrets=_others(data.take(rows), desk.seed))
    return secrets - desk.outcomes(asked_for(desk.model, others, others.prompts), "logprob").reshape(
        len(data), -1
    ).mean(1)


def _others(canaries: Canaries, seed: int) -> tuple[str, ...]:
    """Return for each secret another candidate, drawn at random."""
    choices = canaries.candidates
    drawn = zip(choices.draw(len(canaries), [seed, 43]), canaries.secrets, strict=True)
    return tuple(
        other if other != secret else choices[(choices.number(secret) + 1) % len(choices)] for other, secret in drawn
    )
