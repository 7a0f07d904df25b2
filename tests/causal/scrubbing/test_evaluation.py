"""The evaluation of a tree against a recursion that shares nothing with it, and trees with a closed form."""

import numpy as np
import pytest
import torch
from scrubbing_trees import HEAD, SHAPES, agree, both, clean_logits, engine, make_prompts, plain, random_tree

from mechcausal.causal.scrubbing.sampling import Sampler
from mechcausal.causal.scrubbing.tree import Node
from mechcausal.models import bridge


@pytest.mark.slow
@pytest.mark.parametrize("unimportant", ["joint", "together"])
@pytest.mark.parametrize(
    ("lengths", "side", "masks"),
    [
        ((7,), "right", False),
        ((5, 6, 8), "right", False),
        ((5, 6, 8), "left", False),
        ((5, 6, 8), "right", True),
        ((5, 6, 8), "left", True),
    ],
)
def test_random_trees_give_the_same_logits_as_the_plain_recursion(lengths, side, masks, unimportant):
    draw = np.random.default_rng([len(lengths), len(side), masks, len(unimportant)])
    prompts = make_prompts(lengths=lengths, side=side, seed=len(lengths))
    for seed in range(8):
        root = random_tree(draw, equal=len(lengths) == 1, masks=masks)
        agree(root, prompts, seed=seed, unimportant=unimportant)


@pytest.mark.slow
def test_every_component_drawn_on_its_own_gives_the_same_logits_too():
    draw = np.random.default_rng(1)
    prompts = make_prompts()
    for seed in range(8):
        root = random_tree(draw, equal=True, masks=False)
        agree(root, prompts, rows=np.arange(3), seed=seed, unimportant="independent")


@pytest.mark.parametrize(("lengths", "side"), [((7,), "right"), ((5, 6, 8), "left")])
def test_the_plain_forward_is_the_model_and_its_batches_are_its_single_examples(lengths, side):
    model, written_out = both()
    prompts = make_prompts(lengths=lengths, side=side)
    with torch.no_grad():
        expected = bridge.run(model, prompts.tokens, prompts.mask)[prompts.mask]
    found = written_out(prompts.tokens, prompts.mask)["logits"][prompts.mask]
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    draw = np.random.default_rng(3)
    for seed in range(6):
        root = random_tree(draw, equal=len(lengths) == 1, masks=len(lengths) > 1)
        draws = Sampler(root, prompts).draw(np.arange(5), seed)
        single, batched = (
            run(written_out, root, prompts, draws, range(5)) for run in (plain.evaluate, plain.evaluate_batched)
        )
        torch.testing.assert_close(single.logits, batched.logits, atol=1e-9, rtol=1e-9)
        assert single.forwards == batched.forwards


@pytest.mark.parametrize("edge", ["all", "direct"])
def test_the_last_stream_alone_decides_the_output(edge):
    prompts = make_prompts(lengths=(5, 6, 8))
    rows = np.arange(len(prompts))
    root = Node("output", children=[Node("stream", "L2.resid_post@-1", "a", edge)])
    found, draws, _ = engine(root, prompts, rows)
    np.testing.assert_allclose(found, clean_logits(prompts, draws["stream"].x), atol=2e-6)
    assert (draws["stream"].x != rows).any()


def test_all_direct_contributions_together_are_the_stream():
    """The stream is the sum of what was written to it, so moving every contribution moves all of it."""
    prompts = make_prompts()
    rows = np.arange(6)
    writers = ["L0.resid_pre", *(f"L{layer}.z.H{head}" for layer in range(3) for head in range(4))]
    writers += [f"L{layer}.mlp_out" for layer in range(3)]
    children = [Node(site, f"{site}@-1", edge="direct") for site in writers]
    found, draws, _ = engine(Node("output", children=children), prompts, rows)
    np.testing.assert_allclose(found, clean_logits(prompts, rows), atol=2e-6)
    assert (draws["output"].o != rows).any()


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_mask_of_a_shorter_prompt_hides_the_first_tokens_and_that_of_a_longer_one_shows_padding(side):
    prompts = make_prompts(n=20, lengths=(5, 8), side=side)
    rows = np.arange(len(prompts))
    root = Node("output", children=[Node("mask", "mask", "a")], given=())
    found, draws, _ = engine(root, prompts, rows)
    cut = padded = 0
    for row in rows:
        own, other = int(draws["output"].o[row]), int(draws["mask"].x[row])
        tokens, length = prompts.real_tokens_of(own), int(prompts.lengths[other])
        seen = tokens[-length:] if length <= len(tokens) else [tokens[0]] * (length - len(tokens)) + tokens
        alone = torch.tensor([seen])
        expected = bridge.run(both()[0], alone, torch.ones_like(alone, dtype=torch.bool))[0, -1]
        np.testing.assert_allclose(found[row], expected, atol=2e-6)
        cut, padded = cut + (length < len(tokens)), padded + (length > len(tokens))
    assert cut
    assert padded


@pytest.mark.slow
@pytest.mark.parametrize("unimportant", ["joint", "together"])
def test_positions_that_some_prompts_lack_are_exchanged_among_those_that_have_them(unimportant):
    prompts = make_prompts(n=24, lengths=(4, 6, 8))
    rows = np.arange(len(prompts))
    late = [Node(f"at {i}", f"L2.resid_pre@{i}", "ab"[i % 2]) for i in range(2, 8)]
    root = Node("output", children=[*late, Node("deep", "L2.mlp_out@5", "c", children=[Node("in", "L0.z.H1@4", "a")])])
    draws, _, _ = agree(root, prompts, rows, unimportant=unimportant)
    lengths = prompts.lengths.numpy()
    for name, first in (("at 2", 3), ("at 4", 5), ("at 7", 8), ("deep", 6)):
        assert ((lengths[draws[name].x] >= first) == (lengths >= first)).all()
        assert (draws[name].x != rows).any()
    assert (lengths[draws["output"].o] == lengths).all()  # the node below covers every length
    direct = Node("output", children=[Node("late", "L1.mlp_out@5", "a", "direct")])
    agree(direct, prompts, rows, unimportant=unimportant)


def test_an_output_that_nothing_explains_is_that_of_another_prompt():
    prompts = make_prompts()
    rows = np.arange(len(prompts))
    root = Node("output", children=[Node("early", "embed@subject", "a")])
    found, draws, _ = engine(root, prompts, rows)
    unmoved = draws["early"].x == draws["output"].o
    np.testing.assert_allclose(found[unmoved], clean_logits(prompts, draws["output"].o[unmoved]), atol=2e-6)
    assert np.abs(found - clean_logits(prompts, draws["output"].o).numpy())[~unmoved].max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("unimportant", ["joint", "together", "independent"])
def test_every_shape_of_tree_agrees_with_the_plain_recursion(name, unimportant):
    prompts = make_prompts()
    draws, schedule, _ = agree(Node("output", children=SHAPES[name]), prompts, unimportant=unimportant)
    if name == "one component on two paths":  # it is two nodes, with draws of their own
        assert (draws["head > mlp"].x != draws["head > output"].x).any()
    if name == "chain" and unimportant == "joint":
        # Output: two runs each (what the MLP wrote there, and the result), MLP and head one each, the embedding one.
        assert schedule.plain == 6 * (2 + 1 + 1 + 1)


def test_direct_and_all_paths_are_told_apart():
    prompts = make_prompts()
    rows = np.arange(6)
    direct, everything = (
        engine(Node("output", children=[Node("head", HEAD + "@-1", "a", edge)]), prompts, rows)[0]
        for edge in ("direct", "all")
    )
    assert np.abs(direct - everything).max() > 1e-2
