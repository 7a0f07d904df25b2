"""Scores drawn at random: the null that every method has to beat."""

from __future__ import annotations

import numpy as np

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, impossible


@SCORERS.register("random")
def chance(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by chance, between 0 and 1."""
    draw = np.random.default_rng(scoring.seed)
    edges = draw.uniform(size=masked.shape)
    return Scored(impossible(masked, edges), draw.uniform(size=(masked.shape[0], masked.shape[2])))
