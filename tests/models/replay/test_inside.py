"""Edits at several activations of one run."""

import numpy as np
import pytest
from replayed import CAUSAL, agree, composites, counted
from zoo import loaded, make_pairs

from mechcausal.address import Selection, Site
from mechcausal.interventions import Edit, Patch
from mechcausal.interventions.specs import Scale, Zero
from mechcausal.metrics import metric
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.replay.verify import replayer


def test_several_edits_of_one_activation_are_replayed_together(gpt2):
    pairs = make_pairs()
    heads = [Edit(Site("z", 1, head=h), Patch(), Selection.parse(at)) for h, at in ((0, 3), (2, 5), (3, slice(2, 6)))]
    cells = [tuple(heads), tuple(heads[:2]), (heads[0], Edit(Site("z", 1, head=1), Zero()))]
    plan = Plan(pairs.corrupt, cells, metric("logit_diff"), rows=pairs.clean)
    fast, slow = (evaluate(gpt2, plan, batch_size=6, exact=exact) for exact in ("replay", "naive"))
    assert fast.compute["engine"] == "replay"
    agree(fast.values, slow.values)


def architectures_and_sides():
    """Give both sides of every architecture; one of each, in turn, is slow."""
    for number, name in enumerate(CAUSAL):
        for place, side in enumerate(("right", "left")):
            yield pytest.param(name, side, marks=[] if place == number % 2 else pytest.mark.slow)


@pytest.mark.parametrize(("name", "side"), architectures_and_sides())
def test_edits_at_several_activations(name, side):
    """Random cells, at heads and whole sites, over layers and inside one; the order of a cell says nothing of layers."""
    pairs = make_pairs((7, 5, 6), side=side, changed=(1, 3))
    cells, means = composites(name, pairs.clean, seed=CAUSAL.index(name))
    assert len({edit.site.component for cell in cells for edit in cell}) == len(replayer(loaded(name)).together)
    plan = Plan(pairs.corrupt, cells, metric("logit_diff"), rows=pairs.clean, means=means)
    fast, slow = (evaluate(loaded(name), plan, batch_size=6, exact=exact) for exact in ("replay", "naive"))
    assert fast.compute["engine"] == "replay"
    assert fast.forwards < slow.forwards / 10
    agree(fast.values, slow.values)


@pytest.mark.parametrize("how", ["kl", "loss", "own"])
def test_edits_at_several_activations_under_every_kind_of_metric(llama, how):
    chosen = metric((lambda logits, batch: (logits[:, 2:4].softmax(-1) ** 2).sum((1, 2))) if how == "own" else how)
    pairs = make_pairs((7, 5, 6))
    cells, means = composites("llama", pairs.clean, seed=99)
    plan = Plan(pairs.corrupt, cells, chosen, rows=pairs.clean, means=means, reference=pairs.clean)
    fast, slow = (evaluate(llama, plan, batch_size=6, exact=exact) for exact in ("replay", "naive"))
    assert fast.compute["engine"] == "replay"
    agree(fast.values, slow.values)


def test_edits_that_see_what_earlier_ones_did(gpt2):
    """Scaling after a patch scales what the patch has made of it, at the same place and at later ones."""
    pairs = make_pairs()
    patch, scale = Edit.of("L1.z.H2", "patch", "@3"), Edit.of("L1.z.H2", Scale(2.0), "@3")
    later = Edit.of("L1.attn_out", Scale(2.0), "@3"), Edit.of("L2.mlp_post", Scale(0.5), "@2:")
    cells = [(patch, *later), (patch, scale, *later), (scale, patch, *later), later]
    plan = Plan(pairs.corrupt, cells, metric("logit_diff"), rows=pairs.clean)
    fast, slow = (evaluate(gpt2, plan, batch_size=6, exact=exact) for exact in ("replay", "naive"))
    assert fast.compute["engine"] == "replay"
    agree(fast.values, slow.values)
    for one, other in ((0, 1), (1, 2), (0, 3)):
        assert np.abs(fast.values[one] - fast.values[other]).max() > 1e-3
    np.testing.assert_allclose(fast.values[0], fast.values[2], atol=1e-5)  # patched last, both times


def test_the_cost_of_several_edits_is_the_formula(gpt2, monkeypatch):
    """From the layer after the first edit, or its own where another follows in it, and from the first change on."""
    pairs = make_pairs((7,) * 6, changed=(2,))
    monkeypatch.setattr(replayer(gpt2).twin, "free_tokens", 0)
    seen = counted(monkeypatch, gpt2)
    cells = {
        "L0.mlp_out@2 L2.z@5": 2 * 5,  # the stream changes at layer 1
        "L1.z.H0@4 L1.mlp_out@3": 2 * 4,  # both in layer 1, which is run
        "L2.mlp_out@2 L2.resid_post": 1 * 5,
        "L0.resid_pre@4 L1.z.H3@3": 2 * 0 + 3 * 4,  # no token differs at 4, so the first change is at 3
        "L0.resid_pre@3 L1.resid_pre@1": 0,  # nothing differs at either
        "L2.attn_out@6 L2.z@6": 1 * 1,
    }
    for text, each in cells.items():
        parts = [word.partition("@") for word in text.split()]
        cell = tuple(Edit.of(site, "patch", f"@{at}" if at else None) for site, _, at in parts)
        plan = Plan(pairs.corrupt, [cell], metric("logit_diff"), rows=pairs.clean)
        seen.clear()
        fast = evaluate(gpt2, plan, batch_size=6)
        assert (sum(seen), fast.compute["token_layers"]) == (6 * each, 6 * each), text
        assert fast.compute["skipped"] == (0 if each else 6)
        np.testing.assert_allclose(fast.values, evaluate(gpt2, plan, batch_size=6, exact="naive").values, atol=1e-5)


def test_merged_stacks_of_several_edits_cost_what_is_told(gpt2, monkeypatch):
    pairs = make_pairs((7, 5, 6))
    cells, means = composites("gpt2", pairs.clean)
    single = [(Edit(Site(word, layer), Patch()),) for word in ("resid_pre", "z") for layer in range(3)]
    plan = Plan(pairs.corrupt, cells + single, metric("logit_diff"), rows=pairs.clean, means=means)
    slow = evaluate(gpt2, plan, batch_size=6, exact="naive").values
    seen = counted(monkeypatch, gpt2)
    for free, budget in ((0, 2**29), (5, 50_000), (1000, 2**29)):
        monkeypatch.setattr(replayer(gpt2).twin, "free_tokens", free)
        seen.clear()
        fast = evaluate(gpt2, plan, batch_size=6, budget=budget)
        agree(fast.values, slow)
        assert sum(seen) == fast.compute["token_layers"] < fast.compute["naive_token_layers"]


def test_edits_at_several_activations_that_the_loop_makes(gpt2):
    pairs = make_pairs()
    cell = Edit(Site("pattern", 0, head=1), Patch()), Edit(Site("mlp_out", 1), Patch())
    plan = Plan(pairs.corrupt, [cell, cell[1:]], metric("logit_diff"), rows=pairs.clean)
    fast, slow = (evaluate(gpt2, plan, batch_size=6, exact=exact) for exact in ("replay", "naive"))
    assert fast.compute["engine"] == "replay and naive"
    assert fast.compute["naive_because"] == {"several sites": "edits of pattern are left to the loop"}
    agree(fast.values, slow.values)
