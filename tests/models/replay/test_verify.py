"""What the engine may do on a model is compared with the loop, once, and again when the model has changed."""

import gc
import weakref

import numpy as np
import pytest
import torch
from replayed import CAUSAL, NOT_CARRIED, agree, both, components
from zoo import bare, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.interventions import Edit, Patch
from mechcausal.metrics import metric
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.replay import inside
from mechcausal.models.replay.verify import replayer


@pytest.mark.parametrize("name", CAUSAL)
def test_what_is_replayed_on_each_architecture(name):
    known = replayer(loaded(name))
    assert known.components == set(components(name)) - NOT_CARRIED.get(name, set())
    joint = {"q", "k", "v"} if name in ("gpt2", "neox") else set()  # one module makes all three
    assert known.inside == {*components(name), "q", "k", "v"} - {"embed"} - joint
    assert known.together == known.inside | {"embed"}
    assert not [kind for kind in known.reasons if ".sae:" not in kind]


def test_edits_that_do_not_agree_together_go_to_the_loop(monkeypatch):
    """An engine that forgets the second of two edits is found out, and the reason is told."""
    model, pairs = mc.load(build("gpt2")), make_pairs()
    original = inside.Inside.__init__

    def forgetful(self, twin, selected, cells, sources):
        original(self, twin, selected, [cell[:1] for cell in cells], sources)

    monkeypatch.setattr(inside.Inside, "__init__", forgetful)
    cell = Edit(Site("z", 0, head=1), Patch()), Edit(Site("mlp_out", 1), Patch())
    plan = Plan(pairs.corrupt, [cell], metric("logit_diff"), rows=pairs.clean)
    fast, slow = (evaluate(model, plan, batch_size=6, exact=exact) for exact in ("replay", "naive"))
    assert fast.compute["naive_because"] == {"several sites": "the engine and the loop do not agree there"}
    assert replayer(model).inside == replayer(loaded("gpt2")).inside
    np.testing.assert_allclose(fast.values, slow.values)


@pytest.mark.parametrize(
    ("name", "sites", "reason"),
    [
        ("bert", "resid_pre", "do not give its logits"),
        ("gpt2", "v", "not carried to the end of its layer"),
        ("llama", "pattern", "not carried to the end of its layer"),
    ],
)
def test_fall_backs_are_named(name, sites, reason, pairs):
    told = mc.patch(loaded(name), pairs, sites=sites, at="all").provenance.compute
    assert told["engine"] == "naive"
    assert reason in told["naive_because"][sites]


def test_hooks_of_others_are_respected(gpt2, pairs):
    point = gpt2.get_hook_point("blocks.1.hook_mlp_out")
    before = mc.patch(gpt2, pairs).examples
    point.add_hook(lambda value, hook: value * 0)
    try:
        fast, slow, told = both(gpt2, pairs)
    finally:
        point.remove_hooks()
    np.testing.assert_allclose(fast, slow, atol=1e-6)
    assert "hooks of others are attached to the model" in told["naive_because"]["all"]
    assert np.abs(fast - before).max() > 1e-2


def test_weights_that_were_changed_are_noticed(pairs):
    model = mc.load(bare("gpt2"))
    before = mc.patch(model, pairs).examples
    with torch.no_grad():
        model.original_model.transformer.h[1].mlp.c_fc.weight.mul_(1.5)
    fast, slow, told = both(model, pairs)
    assert told["engine"] == "replay"
    agree(fast, slow)
    assert np.abs(fast - before).max() > 1e-2


def test_what_is_known_of_a_model_goes_with_it():
    model = mc.load(build("gpt2"), copy=False)
    known = replayer(model)
    assert known.carries("z")
    assert known.together
    gone = weakref.ref(model)
    del model, known
    gc.collect()
    assert gone() is None


def test_only_what_is_asked_for_is_compared_with_the_loop(pairs):
    model = mc.load(build("gpt2"), copy=False)
    mc.patch(model, pairs, sites="resid_pre")
    assert set(replayer(model)._ways) == {"resid_pre"}
