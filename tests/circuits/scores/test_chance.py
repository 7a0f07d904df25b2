"""Scores by chance: reproducible, and only where there are edges."""

import numpy as np
import zoo

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores import SCORERS, Scoring


def test_scores_by_chance_depend_on_the_seed_alone():
    masked = Masked(zoo.loaded("gpt2"), zoo.make_pairs())
    first, again, other = (SCORERS["random"](masked, Scoring(seed=seed)).edges for seed in (1, 1, 2))
    assert np.array_equal(first, again, equal_nan=True)
    assert not np.array_equal(first, other, equal_nan=True)
    assert np.isnan(first[~masked.wiring.possible]).all()
