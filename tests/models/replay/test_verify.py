"""What the engine may do on a model is compared with the loop, once, again when the model has changed, and kept on disk where it took long."""

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
from mechcausal.models.replay import inside, verify
from mechcausal.models.replay.verify import Kept, replayer


@pytest.fixture(autouse=True)
def cache_of_this_test(tmp_path, monkeypatch):
    """Keep nothing for other tests: on a slow machine a comparison takes long, and one of a broken engine would be kept."""
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path))


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


# What is kept on disk


@pytest.fixture
def another(monkeypatch, tmp_path):
    """Return a way to load a model as another process would; everything counts as long."""
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path))
    monkeypatch.setattr(verify, "LONG", -1.0)

    models = []  # a replayer does not keep its model alive

    def load(name="llama", change=0.0):
        bare = build(name)
        next(bare.parameters()).add_(change)
        models.append(mc.load(bare))
        return models[-1]

    return load


def never(*_):
    raise AssertionError("it was compared again")


@pytest.mark.slow
def test_a_second_process_compares_nothing(another, monkeypatch):
    first = replayer(another())
    assert first.carries("z")
    assert first.together
    monkeypatch.setattr(verify, "_disagreements", never)
    monkeypatch.setattr(verify, "_is_read", never)
    second = replayer(another())
    assert (second.twin.readable, second.twin.leaves_early) == (first.twin.readable, first.twin.leaves_early)
    assert (second.components, second.inside, second.together) == (first.components, first.inside, first.together)
    assert second.reasons == first.reasons
    with pytest.raises(AssertionError, match="compared again"):
        replayer(another(change=0.1)).carries("z")


def test_the_numbers_are_the_same(another):
    pairs = make_pairs()
    tables = [mc.patch(another(), pairs, sites="z", at=[1, -1]) for _ in "ab"]
    assert np.array_equal(*(table.examples for table in tables))
    assert all(table.provenance.compute["engine"] == "replay" for table in tables)


def test_why_it_is_not_used_is_kept_too(another, monkeypatch):
    real = verify._disagreements
    monkeypatch.setattr(verify, "_disagreements", lambda *given: ["they differ"] * len(given[2]))
    replayer(another()).carries("mlp_out")
    monkeypatch.setattr(verify, "_disagreements", never)
    second = replayer(another())
    assert not second.carries("mlp_out")
    assert second.reasons == {"mlp_out": "they differ"}
    monkeypatch.setattr(verify, "_disagreements", real)
    assert replayer(another()).carries("z")


def test_layers_are_compared_in_every_process(another, monkeypatch):
    """Without the weights of its layers the engine is not used, whatever was found before."""
    assert replayer(another()).carries("z")
    real = verify.Twin.logits
    monkeypatch.setattr(verify.Twin, "logits", lambda *given: real(*given) + torch.tensor(1.0).cumsum(0) * 3)
    found = replayer(another())
    assert found.twin is None
    assert "do not give its logits" in found.reasons["z"]


def test_processes_do_not_lose_what_others_found(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHCAUSAL_CACHE", str(tmp_path))
    monkeypatch.setattr(verify, "LONG", -1.0)
    here, there = Kept({"a": 1}), Kept({"a": 1})
    assert here.get("x", lambda: 1) == 1
    assert there.get("y", lambda: 2) == 2
    assert there.get("x", never) == 1
    assert Kept(None).get("x", lambda: 3) == 3
