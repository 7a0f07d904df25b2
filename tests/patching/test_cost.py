"""What a sweep would cost is what it then costs."""

import pytest
from zoo import make_pairs

import mechcausal as mc
from mechcausal.models import bridge
from mechcausal.models.replay.twin import Twin

ASKED = {
    "streams": {"sites": "resid_pre"},
    "heads, all positions at once": {"sites": "z"},
    "heads, each position": {"sites": "z", "at": "each", "direction": "noise"},
    "what the engine leaves to the loop": {"sites": ["resid_pre", "q"]},
}
# Whether some cells are left to the loop is in the name.
OTHERS = {
    "ablate: zero": (mc.ablate, {"do": "zero"}),
    "ablate: mean": (mc.ablate, {"do": "mean", "sites": ["z", "mlp_out"]}),
    "ablate: resample, by the loop": (mc.ablate, {"do": "resample", "sites": ["z", "k"]}),
    "attribute: base": (mc.attribute, {"sites": ["resid_pre", "z"]}),
    "attribute: joint": (mc.attribute, {"sites": "mlp_out", "steps": 3}),
    "attribute: cell, by the loop": (mc.attribute, {"sites": ["L1.z", "L1.q.H0"], "steps": 2, "path": "cell"}),
    "path": (mc.path_patch, {"senders": "L0.z.H*", "receivers": "L1.mlp_out"}),
    "path: by the loop": (mc.path_patch, {"senders": "L0.z.H*", "receivers": ["L1.q.H0", "L2.mlp_out"]}),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_announced_is_what_is_run(gpt2, name, monkeypatch):
    pairs = make_pairs(lengths=(7, 5, 6, 7))
    mc.patch(gpt2, pairs, **ASKED[name])  # what is compared once, is compared
    run = []
    layer = Twin.layer
    monkeypatch.setattr(
        Twin, "layer", lambda *arguments: run.append(arguments[3].shape[:2].numel()) or layer(*arguments)
    )
    cost = mc.patch.cost(gpt2, pairs, **ASKED[name])
    assert not run
    found = mc.patch(gpt2, pairs, **ASKED[name]).provenance.compute
    naive = len(pairs) * 7 * 3  # tokens times layers
    assert (cost.cells, cost.examples) == (found["cells"], 4)
    assert (cost.naive_forwards, cost.naive_token_layers) == (4 * cost.cells, naive * cost.cells)
    by_the_loop = cost.cells * naive - found["naive_token_layers"]
    assert cost.token_layers == found["token_layers"] + by_the_loop == sum(run) + by_the_loop
    assert cost.skipped == found["skipped"]
    assert (by_the_loop > 0) == bool(cost.naive_because) == ("loop" in name)
    assert f"{cost.ratio:.1f} times more" in str(cost)


@pytest.mark.parametrize("name", OTHERS)
def test_every_method_announces_what_it_runs(gpt2, name, monkeypatch):
    method, options = OTHERS[name]
    pairs = make_pairs(lengths=(7, 5, 7, 5))
    method(gpt2, pairs, **options)  # what is compared once, is compared
    layers, forwards = [], []
    layer, run = Twin.layer, bridge.run
    monkeypatch.setattr(
        Twin, "layer", lambda *arguments: layers.append(arguments[3].shape[:2].numel()) or layer(*arguments)
    )
    monkeypatch.setattr(
        bridge, "run", lambda model, tokens, *rest: forwards.append(tokens.numel()) or run(model, tokens, *rest)
    )
    cost = method.cost(gpt2, pairs, **options)
    assert not layers
    unedited = sum(forwards)
    del layers[:], forwards[:]
    result = method(gpt2, pairs, **options)
    told = result.provenance.compute
    assert (cost.cells, cost.examples) == (len(result), 4)
    assert ("loop" in name) == bool(cost.naive_because)
    assert cost.skipped == told.get("skipped", 0)
    by_the_loop = cost.token_layers - told.get("token_layers", 0)
    assert sum(layers) == told.get("token_layers", 0)
    assert (by_the_loop > 0) == ("loop" in name)
    if "loop" in name:
        assert by_the_loop <= 3 * sum(forwards) <= by_the_loop + 3 * unedited + 3 * 4 * 4 * 7  # the rest is unedited
    assert cost.naive_forwards >= cost.forwards


def test_the_loop_costs_everything(gpt2):
    pairs = make_pairs()
    cost = mc.patch.cost(gpt2, pairs, exact="naive")
    assert cost.token_layers == cost.naive_token_layers
    assert cost.naive_because == {"all": "asked for"}
