"""One stack of rows and back: the gradients of autograd on the bare model."""

import pytest
import torch
from zoo import bare, loaded, make_pairs

from mechcausal.address import Site
from mechcausal.metrics import metric
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.verify import recorded, replayer
from mechcausal.patching.backward import differentiable, first_layer, slopes


@pytest.mark.parametrize(
    ("site", "layer"), [("L0.resid_pre", 0), ("L1.z", 1), ("L1.mlp_out", 1), ("L1.resid_post", 2), ("L2.resid_post", 3)]
)
def test_the_first_layer_that_is_run(site, layer):
    assert first_layer(Site.parse(site)) == layer


@pytest.mark.parametrize("start", [0, 3])
def test_the_gradient_of_a_stream_is_that_of_autograd(gpt2, start):
    prompts, model = make_pairs((7, 7)).clean, bare("gpt2")
    kept = []

    def leaf(_module, args):
        kept.append(args[0].detach().requires_grad_(True))
        return (kept[-1], *args[1:])

    handle = model.transformer.h[1].register_forward_pre_hook(leaf)
    try:
        with torch.enable_grad():
            logits = model(prompts.tokens).logits[torch.arange(2), -1]
            odds = logits[torch.arange(2), prompts.answer] - logits[torch.arange(2), prompts.foil]
            (expected,) = torch.autograd.grad(odds.sum(), kept)
    finally:
        handle.remove()
    twin, site = replayer(gpt2).twin, Site("resid_pre", 1)
    base, _ = recorded(twin, prompts, [site])
    meter = Meter(twin, prompts, metric("logit_diff"), None, base.hidden[-1])
    with torch.enable_grad():
        found = slopes(twin, base, meter, [site], torch.arange(2), start)[site]
    torch.testing.assert_close(found, expected[:, start:], atol=1e-5, rtol=1e-4)


def test_why_a_component_is_left_to_whole_forwards(gpt2):
    engine, reasons = differentiable(gpt2, ["resid_pre", "pattern", "z"])
    assert engine is not None
    assert set(reasons) == {"pattern"}
    _, reasons = differentiable(loaded("bert"), ["z"])
    assert reasons["z"]
