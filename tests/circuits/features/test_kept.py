"""Keeping some nodes and ablating the others: one edit for each node that is exchanged, and nothing else."""

import numpy as np
import pytest
import torch
from random_dictionaries import TopK, Turned
from zoo import loaded, make_pairs

from mechcausal.address import ALL, Place, Selection
from mechcausal.circuits import Graph
from mechcausal.circuits.features.ablating import Ablation
from mechcausal.circuits.features.kept import faithfulness, in_turn, kept, kept_alone
from mechcausal.interventions import Edit, Patch
from mechcausal.models.hooked import forward


def all_nodes(*known, at=ALL):
    features = [Place(one.feature(number), at) for one in known for number in range(one.n_features)]
    return [*features, *(Place(one.error, at) for one in known)]


def test_keeping_everything_changes_nothing_and_keeping_nothing_is_the_other_side(bind):
    model, pairs = loaded("gpt2"), make_pairs((7, 5, 6))
    known = in_turn(model, [bind(model, TopK(32), f"L{i}.resid_post", f"d{i}") for i in (2, 0)])
    assert [one.name for one in known] == ["d0", "d2"]
    whole = kept(known, (ALL,), all_nodes(*known))
    logits = kept_alone(model, known, (ALL,), whole, pairs.clean, pairs.corrupt, Ablation())
    assert (logits - forward(model, pairs.clean).logits)[pairs.clean.mask].abs().max() == 0
    nothing = {name: torch.zeros_like(mask) for name, mask in whole.items()}
    logits = kept_alone(model, known, (ALL,), nothing, pairs.clean, pairs.corrupt, Ablation())
    assert (logits - forward(model, pairs.corrupt).logits)[pairs.clean.mask].abs().max() < 1e-4


@pytest.mark.parametrize("at", [("@all",), ("@1", "@-1")])
def test_it_is_one_edit_for_each_node_that_is_exchanged(at, bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 3)
    known = in_turn(model, [bind(model, TopK(32, n=20), f"L{i}.resid_post", f"d{i}") for i in (0, 1)])
    places = tuple(Selection.parse(place) for place in at)
    draw = np.random.default_rng(0)
    universe = [node for place in places for node in all_nodes(*known, at=place)]
    keep = [node for node in universe if draw.random() < 0.5]
    found = kept_alone(model, known, places, kept(known, places, keep), pairs.clean, pairs.corrupt, Ablation())
    read = forward(model, pairs.corrupt, read=[site for one in known for site in (one.features, one.error)]).read
    others = [node for node in universe if node not in keep]
    edits = [Edit(node.site, Patch(), node.at) for node in others]
    expected = forward(model, pairs.clean, edits, sources=[read[node.site.whole] for node in others]).logits
    assert (found - expected).abs().max() < 1e-4
    assert (found - forward(model, pairs.clean).logits).abs().max() > 0.1


def test_random_circuits_are_as_large_and_drawn_from_what_is_ever_active(bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 6)
    known = bind(model, TopK(32, n=60, k=3), "L1.resid_post", "d")
    graph = Graph.of([str(known.feature(i)) for i in range(4)] + [str(known.error)])
    found = faithfulness(model, pairs, graph, random=3)
    assert found.frame["kind"].tolist() == ["circuit", "rest", "random", "random", "random"]
    assert found.frame["nodes"].tolist() == [5, 61 - 5, 5, 5, 5]
    again = faithfulness(model, pairs, graph, random=3, batch_size=2)
    np.testing.assert_allclose(again.examples, found.examples, atol=1e-4)
    assert "random circuits" in found.summary()


def test_masks_name_the_nodes_that_are_kept(bind):
    bound = bind(loaded("gpt2"), Turned(32), "L1.resid_post", "d")
    masks = kept([bound], (ALL,), [Place(bound.feature(3), ALL), Place(bound.error, ALL)])
    assert masks["d"].nonzero().tolist() == [[0, 3], [0, 32]]


def test_what_it_would_cost(bind):
    model, pairs = loaded("gpt2"), make_pairs((7,) * 6)
    bound = bind(model, Turned(32), "L1.resid_post", "d")
    cost = faithfulness.cost(model, pairs, Graph.of([str(bound.feature(1))]), random=3, ablation="zero")
    assert (cost.cells, cost.examples) == (5, 6)
    assert cost.forwards == 6 * (2 + 2 * 6)
