"""What a sweep would cost is what it then costs."""

import pytest
from zoo import make_pairs

import mechcausal as mc
from mechcausal.models.replay.twin import Twin

ASKED = {
    "streams": {"sites": "resid_pre"},
    "heads, all positions at once": {"sites": "z"},
    "heads, each position": {"sites": "z", "at": "each", "direction": "noise"},
    "what the engine leaves to the loop": {"sites": ["resid_pre", "q"]},
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


def test_the_loop_costs_everything(gpt2):
    pairs = make_pairs()
    cost = mc.patch.cost(gpt2, pairs, exact="naive")
    assert cost.token_layers == cost.naive_token_layers
    assert cost.naive_because == {"all": "asked for"}
