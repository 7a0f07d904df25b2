"""What is drawn for a tree."""

import numpy as np
from scipy.stats import chisquare
from scrubbing_trees import HEAD, MLP, both, make_prompts, random_tree

from mechcausal.causal.scrubbing.evaluation import Tree
from mechcausal.causal.scrubbing.sampling import Sampler
from mechcausal.causal.scrubbing.tree import Node, classes


def test_what_is_drawn_agrees_on_what_is_said_to_matter():
    prompts = make_prompts(n=60)
    draw = np.random.default_rng(4)
    rows = np.tile(np.arange(60), 3)
    for seed in range(10):
        root = random_tree(draw, equal=True, masks=True)
        draws = Sampler(root, prompts).draw(rows, seed)
        assert (draws["output"].x == rows).all()
        for node in root.walk():
            given = classes(node.given, prompts) if node.given else np.zeros(60)
            if node.children:
                assert (given[draws[node.name].o] == given[draws[node.name].x]).all()
            for child in node.children:
                of = classes(child.feature, prompts)
                assert (of[draws[child.name].x] == of[draws[node.name].x]).all()


def test_draws_are_uniform_and_independent_of_each_other():
    prompts = make_prompts(n=24)
    of = classes("a", prompts)
    members = np.flatnonzero(of == of[0])
    root = Node("output", children=[Node("first", "L0.z.H0", "a"), Node("second", "L0.z.H1", "a")])
    for unimportant in ("joint", "together"):
        draws = Sampler(root, prompts, unimportant=unimportant).draw(np.zeros(20_000, dtype=int), 0)
        first, second, other = draws["first"].x, draws["second"].x, draws["output"].o
        assert set(first) == set(members)  # the prompt itself included
        assert chisquare(np.bincount(first)[members]).pvalue > 1e-3
        assert chisquare(np.bincount(other, minlength=24)).pvalue > 1e-3
        for one, another, size in ((first, second, len(members) ** 2), (first, other, len(members) * 24)):
            counts = np.bincount(one * 24 + another, minlength=24 * 24)
            counts = counts.reshape(24, 24)[members][:, np.unique(another)].flatten()
            assert len(counts) == size
            assert chisquare(counts).pvalue > 1e-3


def test_unimportant_inputs_are_one_draw_each_one_draw_together_or_one_for_each_component():
    prompts = make_prompts(n=30)
    rows = np.arange(30)
    root = Node("output", children=[Node("mlp", MLP, "a", children=[Node("head", HEAD + "@-1", "b")])])
    tree = Tree(both()[0], root, prompts)
    draws = {
        word: Sampler(root, prompts, unimportant=word).draw(rows, 0, components=tree.components)
        for word in ("joint", "together", "independent")
    }
    assert (draws["together"]["output"].o == draws["together"]["mlp"].o).all()
    assert (draws["joint"]["output"].o != draws["joint"]["mlp"].o).any()
    lone = draws["independent"]["mlp"].components
    upstream = {f"L{layer}.z.H{head}" for layer in range(3) for head in range(4)} | {"L0.mlp_out", "L1.mlp_out"}
    assert {str(site) for site in lone} == upstream - {"L1.z.H2"}
    assert len({tuple(drawn) for drawn in lone.values()}) == len(lone)
    assert not draws["joint"]["mlp"].components


def test_a_new_node_does_not_change_what_the_others_draw():
    prompts = make_prompts(n=30)
    first = Node("first", MLP, "a", children=[Node("below", HEAD + "@-1", "b")])
    small = Node("output", children=[first])
    large = Node("output", children=[Node("new", "L2.z.H3", "c"), first])
    before, after = (Sampler(root, prompts).draw(np.arange(30), 5) for root in (small, large))
    for name, own in before.items():
        np.testing.assert_array_equal(own.x, after[name].x)
        if own.o is not None:
            np.testing.assert_array_equal(own.o, after[name].o)
    other_seed = Sampler(small, prompts).draw(np.arange(30), 6)
    assert (other_seed["first"].x != before["first"].x).any()


def test_a_small_pool_offers_few_inputs_of_each_class():
    prompts = make_prompts(n=40)
    root = Node("output", children=[Node("head", HEAD, "a")])
    draws = Sampler(root, prompts, size=3).draw(np.tile(np.arange(40), 5), 0)
    of = classes("a", prompts)
    assert all(len(set(draws["head"].x[of[draws["head"].x] == kind])) == 3 for kind in (0, 1))
    assert len(set(draws["output"].o)) == 3
