"""The bare model beneath a bridge: its numbers, its weights and what enters and leaves its parts."""

import pytest
import torch
from zoo import ARCHITECTURES, build, loaded

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.models import bridge
from mechcausal.models.bare import bare, chain, first, hooked, ports
from mechcausal.models.hooked import forward

INNER = [Site(name, layer) for layer in range(3) for name in ("z", "attn_out", "mlp_out")]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_gives_the_logits_of_the_bridge(name, pairs):
    model = loaded(name)
    with torch.no_grad():
        said = bare(model)(pairs.clean.tokens).logits
    torch.testing.assert_close(said, forward(model, pairs.clean).logits, atol=1e-4, rtol=1e-4)


def test_it_shares_every_weight_and_asks_for_no_gradient(pairs):
    model = mc.load(build("gpt2"))
    twin = bare(model)
    addresses = {parameter.data_ptr() for parameter in bridge.underlying(model).parameters()}
    assert {parameter.data_ptr() for parameter in twin.parameters()} <= addresses
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    with torch.no_grad():
        before = twin(pairs.clean.tokens).logits
        model.original_model.transformer.h[1].mlp.c_fc.weight.mul_(2)
        after = twin(pairs.clean.tokens).logits
    assert (after - before).abs().max() > 1e-2  # the same weights, so the same change
    torch.testing.assert_close(after, forward(model, pairs.clean).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_what_passes_a_port_is_what_the_bridge_reads(name, pairs):
    model = loaded(name)
    twin, seen = bare(model), {}
    found = ports(model, twin, INNER)
    assert set(found) == set(INNER)
    handles = [hooked(port, _keep(seen, site)) for site, port in found.items()]
    with torch.no_grad():
        twin(pairs.clean.tokens)
    for handle in handles:
        handle.remove()
    read = forward(model, pairs.clean, read=INNER).read
    for site in INNER:
        torch.testing.assert_close(seen[site].reshape(read[site].shape), read[site], atol=1e-5, rtol=1e-4)


def _keep(seen, site):
    def act(value):
        seen[site] = value

    return act


def test_what_a_hook_returns_is_put_in_place():
    module, x = torch.nn.Linear(3, 3), torch.ones(2, 3)
    before = module(x)
    for port, expected in (((module, True), module(x * 2)), ((module, False), before * 2)):
        handle = hooked(port, lambda value: value * 2)
        assert module(x).equal(expected)
        handle.remove()
    assert module(x).equal(before)


def test_the_first_of_several_is_the_tensor():
    x = torch.ones(2)
    assert first(x) is first((x, None)) is x


def test_the_chain_is_what_the_mlp_adds(gpt2, pairs):
    twin = bare(gpt2)
    read = forward(gpt2, pairs.clean, read=[Site("resid_mid", 1), Site("mlp_out", 1)]).read
    value = read[Site("resid_mid", 1)]
    with torch.no_grad():
        for module in chain(gpt2.blocks[1], twin):
            value = first(module(value))
    torch.testing.assert_close(value, read[Site("mlp_out", 1)], atol=1e-5, rtol=1e-4)
