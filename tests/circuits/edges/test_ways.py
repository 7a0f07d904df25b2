"""Ways through a circuit, compared with networkx and with growing by hand."""

import networkx as nx
import numpy as np

from mechcausal.circuits.edges.ways import connected, grown
from mechcausal.circuits.edges.wiring import Wiring

WIRING = Wiring(2, 2, 1)


def drawn(seed, share=0.3):
    return (np.random.default_rng(seed).uniform(size=WIRING.possible.shape) < share)[..., None] & WIRING.possible[
        ..., None
    ]


def network(kept):
    graph = nx.DiGraph()
    graph.add_nodes_from([("s", 0), ("r", len(WIRING.receivers) - 1)])
    for sender, receiver in np.argwhere(kept[..., 0]):
        graph.add_edge(("s", sender), ("r", receiver))
    for sender, receiver in np.argwhere(WIRING.readers):
        graph.add_edge(("r", receiver), ("s", sender))
    return graph


def test_connected_is_what_networkx_finds():
    for seed in range(20):
        kept = drawn(seed)
        graph = network(kept)
        start = {("s", 0)} | nx.descendants(graph, ("s", 0))
        end = {("r", len(WIRING.receivers) - 1)} | nx.ancestors(graph, ("r", len(WIRING.receivers) - 1))
        expected = np.zeros_like(kept)
        for sender, receiver in np.argwhere(kept[..., 0]):
            expected[sender, receiver] = ("s", sender) in start and ("r", receiver) in end
        assert np.array_equal(connected(WIRING, kept), expected)


def test_a_circuit_grows_from_the_logits_by_the_largest_score_each_time():
    scores = np.where(WIRING.possible, np.random.default_rng(0).normal(size=WIRING.possible.shape), np.nan)[..., None]
    reached, expected = {len(WIRING.receivers) - 1}, []
    for size in range(1, 25):
        candidates = [
            (abs(scores[s, r, 0]), s, r)
            for s, r in np.argwhere(WIRING.possible)
            if r in reached and (s, r) not in expected
        ]
        _, sender, receiver = max(candidates)
        expected.append((sender, receiver))
        reached |= set(np.flatnonzero(WIRING.readers[sender]))
        assert {tuple(edge) for edge in np.argwhere(grown(WIRING, scores, size)[..., 0])} == set(expected)
    assert grown(WIRING, scores, 10**6).sum() == WIRING.count
