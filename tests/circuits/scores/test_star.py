"""AtP* for edges: exact attention where gradients of a softmax fail."""

import numpy as np
import zoo

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.scores import SCORERS, Scoring
from mechcausal.circuits.scores.exact import exact_effects


def test_in_the_last_layer_an_edge_into_a_query_is_exact_up_to_what_comes_after_the_heads():
    """Behind the heads of the last layer stand an MLP and a norm; nearly nothing is left to be linear about."""
    masked = Masked(zoo.loaded("llama"), zoo.make_pairs())
    star, plain = (SCORERS[name](masked, Scoring(progress=False)) for name in ("atp*", "eap"))
    wiring = masked.wiring
    edges = [(s, wiring.receiver(f"L2.{kind}.H{h}"), 0) for s in range(11) for kind in "qk" for h in range(2)]
    exact = exact_effects(masked, edges).mean(1)
    index = tuple(np.array(edges).T)

    def alike(scores):
        return np.corrcoef(np.abs(scores[index]), np.abs(exact))[0, 1]

    assert alike(star.edges) > alike(plain.edges)
    assert alike(star.edges) > 0.7


def test_signs_are_those_of_the_score_without_any_drop():
    masked = Masked(zoo.loaded("gpt2"), zoo.make_pairs())
    star = SCORERS["atp*"](masked, Scoring(progress=False))
    plain = SCORERS["eap"](masked, Scoring(progress=False))
    into_values = [n for n, site in enumerate(masked.wiring.receivers) if site.component == "v"]
    same = np.sign(star.edges[:, into_values]) == np.sign(plain.edges[:, into_values])
    assert same[masked.wiring.possible[:, into_values]].all()
