"""Gradients through the suffix: those of whole forwards everywhere, at the cost that the formula says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from zoo import ARCHITECTURES, EXPERTS, bare, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.models.replay.twin import Twin
from mechcausal.models.replay.verify import replayer
from mechcausal.patching import backward
from mechcausal.patching.gradients import Slopes

CAUSAL = [name for name in ARCHITECTURES if name != "bert"]
SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "z", "mlp_out", "mlp_post")
WAYS = {"base": {}, "joint": {"steps": 3}, "cell": {"steps": 3, "path": "cell"}}


def components(name):
    without = {"neox": "resid_mid", **dict.fromkeys(EXPERTS, "mlp_post")}
    return [word for word in SITES if word != without.get(name)]


def both(model, pairs, **options):
    """Return the estimates of both ways after comparing them, and what provenance says of the engine."""
    fast, slow = (mc.attribute(model, pairs, exact=exact, **options) for exact in ("replay", "naive"))
    assert slow.provenance.compute["engine"] == "naive"
    assert slow.provenance.compute["naive_because"] == {"all": "asked for"}
    agree(fast, slow)
    return fast.examples, slow.examples, fast.provenance.compute


def agree(fast, slow, tolerance=1e-5):
    changes = [found.examples - found.baselines["base"] for found in (fast, slow)]
    scale = np.nanmax(np.abs(changes[1]))
    assert scale > 1e-3
    np.testing.assert_array_equal(np.isnan(changes[0]), np.isnan(changes[1]))
    np.testing.assert_allclose(*changes, rtol=0, atol=tolerance * max(scale, np.abs(slow.baselines["base"]).max()))
    for side in slow.baselines:
        np.testing.assert_allclose(fast.baselines[side], slow.baselines[side], atol=tolerance, rtol=tolerance)


def ways_and_architectures():
    """Give every way of every architecture; all but one way of each are slow, another one for the next."""
    ways = [("base", "left"), ("joint", "right"), ("cell", "left")]
    for number, name in enumerate(CAUSAL):
        for place, way in enumerate(ways):
            yield pytest.param(name, *way, marks=[] if place == number % len(ways) else pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way", "side"), ways_and_architectures())
def test_the_gradients_of_whole_forwards_on_every_architecture(name, way, side):
    """Every kind of site, unequal lengths, padded on either side; the prompts differ in the middle."""
    sites, where = components(name), "each"
    if way == "cell":
        sites, where = [f"L{layer}.{word}" for word in sites for layer in (0, 2)], [3, "@-2:"]
    pairs = make_pairs((6, 4, 5), side=side, changed=(2, 4))
    told = both(loaded(name), pairs, sites=sites, at=where, **WAYS[way])[2]
    assert "naive_because" not in told


@pytest.mark.parametrize("way", ["base", "joint", "cell"])
@pytest.mark.parametrize("site", SITES)
def test_each_site_alone(gpt2, site, way):
    """Alone, a late site is where the run begins, and the last layer may be left early."""
    both(gpt2, make_pairs((7, 5, 6)), sites=[f"L{layer}.{site}" for layer in (1, 2)], at=[3, "all"], **WAYS[way])


@pytest.mark.parametrize("way", ["base", "joint", "cell"])
def test_parts_of_a_site_at_some_positions(llama, way):
    """Heads and neurons, at positions that some prompts do not have."""
    sites = ["L1.z.H0", "L*.z.H3", "L2.z", "L0.mlp_post.N3", "L1.mlp_out.N5"]
    positions = ["@-1", 5, "@2:5", "all"]
    examples = both(llama, make_pairs((7, 5, 6)), sites=sites, at=positions, **WAYS[way])[0]
    assert np.isnan(examples).any()


def own(logits, batch):
    """Return something that every position and every token has a part in."""
    return (logits[:, 2:4].softmax(-1) ** 2).sum((1, 2))


@pytest.mark.parametrize("metric", ["logprob", "prob", "kl", "loss", own])
@pytest.mark.parametrize("direction", ["noise", "denoise"])
def test_every_kind_of_metric(gpt2, metric, direction):
    """At the answers, at one position, against another run, at all positions."""
    sites = ["L1.resid_pre", "L0.attn_out", "L2.resid_post"]
    for way in ("joint", "cell") if (metric, direction) == ("kl", "noise") else ("base", "cell"):
        both(gpt2, make_pairs((7, 5, 6)), sites=sites, metric=metric, direction=direction, **WAYS[way])


@pytest.mark.parametrize("name", ["gpt2", pytest.param("gemma2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("metric", ["logit_diff", "loss"])
def test_a_small_budget_changes_no_number(name, metric, monkeypatch):
    model, pairs = loaded(name), make_pairs((7, 5, 6))
    options = {"sites": ["resid_pre", "z"], "metric": metric, "steps": 2, "path": "cell"}
    wide = mc.attribute(model, pairs, **options)
    monkeypatch.setattr(Slopes, "_token_bytes", lambda self, layers: self.budget)
    narrow = mc.attribute(model, pairs, **options)
    agree(narrow, wide)
    assert narrow.provenance.compute["forwards"] > wide.provenance.compute["forwards"]


def counted(monkeypatch, model):
    """Count the tokens that pass through each layer of the twin, from a start position on."""
    seen = []
    monkeypatch.setattr(replayer(model).twin, "free_tokens", 0)
    original = Twin.layer

    def layer(self, base, number, hidden, rows, start):
        seen.append(hidden.shape[0] * hidden.shape[1])
        return original(self, base, number, hidden, rows, start)

    monkeypatch.setattr(Twin, "layer", layer)
    return seen


# Six prompts of seven tokens, three layers, three steps: (executed, naive). The prompts differ at position 3 alone, so
# four positions can move, but before the first layer only one.
COSTS = {
    ("resid_pre", "base"): (6 * 3 * 4, 6 * 3 * 7),
    ("resid_pre", "joint"): (6 * 3 * (3 + 2 + 1) * 4, 6 * 3 * 3 * (3 * 7)),
    ("resid_pre", "cell"): (6 * 3 * (3 * 4 + (2 + 1) * (4 + 3 + 2 + 1)), 6 * 3 * (3 * 7) * (3 * 7)),
    ("L1.z", "base"): (6 * 2 * 4, 6 * 3 * 7),
    ("L*.resid_post", "joint"): (6 * 3 * (2 + 1 + 0) * 4, 6 * 3 * 3 * (3 * 7)),
}


@pytest.mark.parametrize(("sites", "way"), COSTS)
def test_the_cost_is_the_formula(gpt2, sites, way, monkeypatch):
    both(gpt2, make_pairs((7,) * 6, changed=(3,)), sites=sites)  # what the model can do is measured on first use
    seen = counted(monkeypatch, gpt2)
    told = mc.attribute(gpt2, make_pairs((7,) * 6, changed=(3,)), sites=sites, **WAYS[way]).provenance.compute
    executed, naive = COSTS[sites, way]
    assert (sum(seen), told["token_layers"]) == (executed, executed)
    assert told["naive_token_layers"] == naive
    assert told["ratio"] == round(naive / executed, 2)


def test_pairs_that_do_not_differ_are_answered_without_a_run(gpt2, monkeypatch):
    both(gpt2, make_pairs(), sites="z")
    seen = counted(monkeypatch, gpt2)
    pairs = make_pairs((7,) * 3, changed=(3,))
    tokens = torch.where(torch.arange(3)[:, None] == 1, pairs.corrupt.tokens, pairs.clean.tokens)
    pairs = replace(pairs, corrupt=replace(pairs.corrupt, tokens=tokens))
    found, _, told = both(gpt2, pairs, sites="mlp_out", at="all")
    assert sum(seen) == told["token_layers"] == 3 * 4  # three layers, four positions, and one pair of three
    assert (told["skipped"], told["cells_and_examples"]) == (6, 9)
    np.testing.assert_array_equal(found[:, [0, 2]], found[:1, [0, 2]].repeat(3, 0))


def test_cells_after_what_is_read_are_zero_without_a_run(gpt2, monkeypatch):
    both(gpt2, make_pairs(), sites="z")
    seen = counted(monkeypatch, gpt2)
    pairs = make_pairs((7,) * 3, changed=(4,))
    early = [replace(side, read_at=torch.full((3,), 2)) for side in (pairs.clean, pairs.corrupt)]
    found = mc.attribute(
        gpt2, replace(pairs, clean=early[0], corrupt=early[1]), sites="resid_pre", steps=2, path="cell"
    )
    assert seen == []
    assert np.ptp(found.examples - found.baselines["base"]) == 0


@pytest.mark.parametrize(
    ("name", "sites", "reason"),
    [
        ("bert", "resid_pre", "do not give its logits"),
        ("gpt2", "pattern", "not read at a module"),
        ("gpt2", "embed", "not read at a module"),
    ],
)
def test_fall_backs_are_named(name, sites, reason, pairs):
    told = mc.attribute(loaded(name), pairs, sites=sites).provenance.compute
    assert told["engine"] == "naive"
    assert reason in next(iter(told["naive_because"].values()))
    assert "token_layers" not in told


def test_both_ways_in_one_table(gpt2):
    told = both(gpt2, make_pairs((7, 5, 6)), sites=["L1.v.H0", "L1.resid_pre", "L2.q", "L0.z"], steps=2)[2]
    assert told["engine"] == "replay and naive"
    assert set(told["naive_because"]) == {"q", "v"}


def test_a_component_whose_gradients_disagree_is_left_to_whole_forwards(pairs, monkeypatch):
    """What is wrong about one site is found out on the model at hand, and says so."""
    right = backward.slopes

    def wrong(twin, base, meter, sites, rows, start, change=None):
        found = right(twin, base, meter, sites, rows, start, change)
        return {site: value * (2 if site.component == "mlp_out" else 1) for site, value in found.items()}

    monkeypatch.setattr("mechcausal.patching.backward.slopes", wrong)
    model = mc.load(bare("gpt2"))
    told = mc.attribute(model, pairs, sites=["mlp_out", "attn_out"]).provenance.compute
    assert told["naive_because"] == {"mlp_out": "its gradients and those of the loop do not agree"}


def test_hooks_of_others_are_respected(gpt2, pairs):
    point = gpt2.get_hook_point("blocks.1.hook_mlp_out")
    before = mc.attribute(gpt2, pairs).examples
    point.add_hook(lambda value, hook: value * 0)
    try:
        fast, _, told = both(gpt2, pairs)
    finally:
        point.remove_hooks()
    assert "hooks of others are attached to the model" in told["naive_because"]["all"]
    assert np.abs(fast - before).max() > 1e-2


def test_half_precision():
    model = mc.load(build("llama").to(torch.bfloat16))
    options = {"sites": ["resid_pre", "mlp_out", "z"], "steps": 2}
    fast, slow = (mc.attribute(model, make_pairs(), exact=exact, **options) for exact in ("replay", "naive"))
    assert fast.provenance.compute["engine"].startswith("replay")
    agree(fast, slow, tolerance=5e-2)


def test_the_engine_leaves_no_graph_and_no_hook(gpt2, pairs):
    mc.attribute(gpt2, pairs, sites=["z", "resid_mid"], steps=2, path="cell")
    twin = replayer(gpt2).twin
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in twin.model.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in twin.model.parameters())
