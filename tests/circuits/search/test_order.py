"""The order in which edges enter a circuit, against the algorithm written step by step."""

import numpy as np
import pytest

from mechcausal.circuits.edges.ways import connected
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.search.order import first, ordered

WIRING = Wiring(n_layers=3, n_heads=2, n_kv_heads=1)


def scored(seed=0, places=1):
    size = (*WIRING.possible.shape, places)
    return np.where(WIRING.possible[..., None], np.random.default_rng(seed).normal(size=size), np.nan)


def grown_step_by_step(scores, n):
    """Take n times the largest score among edges into the logits or into what reads for a sender of the circuit."""
    kept = np.zeros(scores.shape, dtype=bool)
    for _ in range(n):
        open_to = np.zeros(len(WIRING.receivers), dtype=bool)
        open_to[-1] = True
        for sender in np.flatnonzero(kept.any((1, 2))):
            open_to |= WIRING.readers[sender]
        size = np.where(open_to[None, :, None] & ~kept, np.nan_to_num(np.abs(scores), nan=-1), -1)
        kept[np.unravel_index(size.argmax(), size.shape)] = True
    return kept


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("n", [1, 4, 15, 30])
def test_greedy_is_what_growing_step_by_step_gives(n, places):
    scores = scored(n, places)
    order = ordered(WIRING, scores, "greedy")
    assert np.array_equal(first(WIRING, order, n, scores.shape, pruned=False), grown_step_by_step(scores, n))


def test_top_takes_the_largest():
    scores = scored()
    order = ordered(WIRING, scores, "top")
    assert len(order) == WIRING.count
    size = np.abs(scores.ravel()[order])
    assert (np.diff(size) <= 0).all()


def test_pruned_circuits_are_connected():
    scores = scored(3)
    for how in ("top", "greedy"):
        kept = first(WIRING, ordered(WIRING, scores, how), 12, scores.shape)
        assert np.array_equal(kept, connected(WIRING, kept))


def test_edges_without_a_score_never_enter():
    scores = scored()
    scores[0] = np.nan
    for how in ("top", "greedy"):
        order = ordered(WIRING, scores, how)
        assert np.isfinite(scores.ravel()[order]).all()
        assert len(order) == np.isfinite(scores).sum()
