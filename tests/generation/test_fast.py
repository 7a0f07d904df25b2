"""The fast way writes what the bridge writes, and only at sites where that was seen."""

import pytest
import torch
from zoo import ARCHITECTURES, loaded, make_pairs

from mechcausal.address import Site
from mechcausal.errors import UnsupportedError
from mechcausal.generation.fast import Fast
from mechcausal.generation.passes import Growing, fast_way
from mechcausal.interventions import Add, Edit, Scale

EDITS = [
    Edit.of("L1.resid_pre", Add(2.0), "@-1", "both"),
    Edit.of("L0.z.H1", "zero"),
    Edit.of("L2.mlp_out", Scale(0.0), when="new"),
]


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "bert"])
def test_both_ways_give_the_same_logits(name):
    model, prompts = loaded(name), make_pairs(lengths=(6, 3), side="left").clean
    for edits in ([], EDITS):
        fast = fast_way(model, edits)
        assert fast is not None
        ways = [Growing(model, prompts, edits, cached=True, fast=way) for way in (fast, None)]
        for token in (5, 6, 7):
            here, there = (way.logits() for way in ways)
            assert torch.allclose(here, there, atol=1e-3)
            for way in ways:
                way.add(torch.tensor([token, token]))
        assert ways[0].made == ways[1].made


def test_what_stands_at_no_module_is_left_to_the_bridge():
    model = loaded("llama")
    for site in ("L1.pattern.H0", "L1.resid_mid", "L1.result.H0"):
        assert fast_way(model, [Edit.of(site, Scale(0.5))]) is None
    with pytest.raises(UnsupportedError, match="does not enter or leave"):
        Fast(model, [Site("pattern", 1)])


def test_hooks_of_others_are_seen():
    model = loaded("gpt2")
    handle = model.original_model.register_forward_hook(lambda *_: None)
    try:
        with pytest.raises(UnsupportedError, match="of others"):
            Fast(model, [])
    finally:
        handle.remove()
