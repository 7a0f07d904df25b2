"""Running only the layers after an activation gives what whole forwards give."""

import pytest
import torch
from zoo import loaded, make_pairs

from mechcausal.address import Site
from mechcausal.interventions import Edit, Patch
from mechcausal.models.hooked import forward
from mechcausal.models.replay.suffix import Suffix, layers_after, suffix_twin


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("site", ["L0.resid_pre", "L1.resid_post", "L1.mlp_out", "L2.resid_post"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_the_logits_of_whole_forwards(name, site, side):
    model, prompts, site = loaded(name), make_pairs((7, 5, 6), side=side).clean, Site.parse(site)
    suffix = Suffix(suffix_twin(model, site), prompts, site)
    run = forward(model, prompts, read=[site])
    real = prompts.mask
    torch.testing.assert_close(suffix.value[real], run.read[site][real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(suffix.logits()[real], run.logits[real], atol=1e-4, rtol=1e-5)
    new = suffix.value + torch.randn(suffix.value.shape, generator=torch.Generator().manual_seed(0))
    expected = forward(model, prompts, [Edit(site, Patch())], sources=[new]).logits
    torch.testing.assert_close(suffix.logits_with(new)[real], expected[real], atol=1e-4, rtol=1e-5)
    assert (expected - run.logits)[real].abs().max() > 1e-2


@pytest.mark.parametrize(("site", "count"), [("L0.resid_pre", 3), ("L0.mlp_out", 2), ("L2.resid_post", 0)])
def test_how_many_layers_are_run_again(site, count):
    assert layers_after(Site.parse(site), 3) == count


@pytest.mark.parametrize(("name", "site"), [("gpt2", "L1.attn_out"), ("gpt2", "L1.z"), ("bert", "L1.resid_post")])
def test_what_is_left_to_whole_forwards(name, site):
    assert suffix_twin(loaded(name), Site.parse(site)) is None


def test_hooks_of_others_are_seen():
    model = loaded("gpt2")
    handle = model.original_model.transformer.h[0].register_forward_hook(lambda *args: None)
    try:
        assert suffix_twin(model, Site.parse("L1.resid_post")) is None
    finally:
        handle.remove()
