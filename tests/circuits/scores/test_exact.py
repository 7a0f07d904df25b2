"""The exact effect of edges and senders, against cutting each by hand."""

import numpy as np
import zoo

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores import SCORERS, Scoring
from mechcausal.circuits.scores.exact import exact_effects, node_effects


def test_every_edge_is_the_run_without_it():
    masked = Masked(zoo.loaded("qwen3"), zoo.make_pairs())
    scored = SCORERS["exact"](masked, Scoring(progress=False))
    edges = np.argwhere(masked.wiring.possible)
    some = edges[np.random.default_rng(0).choice(len(edges), 12, replace=False)]
    for sender, receiver in some:
        kept = np.ones(masked.shape)
        kept[sender, receiver] = 0
        assert abs(scored.edges[sender, receiver, 0] - (masked.clean - masked.metric(kept)).mean()) < 1e-5
    assert np.isnan(scored.edges[~masked.wiring.possible]).all()


def test_edges_are_answered_in_the_order_in_which_they_are_asked():
    masked = Masked(zoo.loaded("gpt2"), zoo.make_pairs())
    edges = [(3, 20, 0), (0, 0, 0), (0, len(masked.wiring.receivers) - 1, 0), (1, 20, 0)]
    together = exact_effects(masked, edges)
    alone = np.concatenate([exact_effects(masked, [edge]) for edge in edges])
    assert np.abs(together - alone).max() < 1e-5
    assert together.shape == (4, 6)


def test_senders_are_replaced_in_all_that_read_them():
    masked = Masked(zoo.loaded("neox"), zoo.make_pairs())
    effects = node_effects(masked)
    for number in (0, 3, 9):
        kept = np.ones(masked.shape)
        kept[number] = 0
        assert np.abs(effects[number, 0] - (masked.clean - masked.metric(kept))).max() < 1e-5


def test_the_spread_is_that_of_clusters():
    pairs = zoo.make_pairs(lengths=(7,) * 12)
    masked = Masked(zoo.loaded("llama"), pairs)
    scored = SCORERS["exact"](masked, Scoring(progress=False))
    effects = exact_effects(masked, [(0, 2, 0)])[0]
    assert np.isclose(scored.spread[0, 2, 0], effects.std(ddof=1) / 12**0.5, rtol=1e-3)
