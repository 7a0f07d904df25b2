"""Nine ways in which hooks go wrong without a word, each of which was met, and none of which passes here.

Where the libraries below show the failure, the test shows it too, so that it cannot fail to notice that it is gone.
"""

from importlib.metadata import version

import pytest
import torch
from plain_dictionaries import TopK, attached_to
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.dictionaries import saelens
from mechcausal.errors import InterventionError, SiteError, UnsupportedError
from mechcausal.interventions import Edit, Patch, Scale, Set
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.binding import attach
from mechcausal.models.hooked import forward

LENS_3 = version("transformer-lens").startswith("3")
try:
    sae_lens = saelens.sae_lens()
except UnsupportedError:
    sae_lens = None


@pytest.fixture
def tokens():
    return make_pairs().clean.tokens


def test_1_an_unknown_name_is_not_ignored(gpt2, tokens, pairs):
    if LENS_3:
        fired = []
        gpt2.run_with_hooks(tokens, fwd_hooks=[("blocks.1.hook_resid_pots", lambda t, hook: fired.append(1))])
        assert not fired  # and no error
    for wrong in ("blocks.1.hook_resid_pots", "L1.resid_pots", "L9.resid_post", "L1.resid_post.sae:none.F1"):
        with pytest.raises(SiteError):
            mc.patch(gpt2, pairs, sites=wrong)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_2_an_edit_of_resid_mid_reaches_the_stream(name, pairs):
    """The hook of that name carries the MLP's input alone: what is written there never reaches the stream."""
    model = loaded(name)
    middle, end, out = Site("resid_mid", 1), Site("resid_post", 1), Site("mlp_out", 1)
    before = forward(model, pairs.clean, read=[middle]).read[middle]
    value = before.flip(0)
    run = forward(model, pairs.clean, [Edit(middle, Patch())], read=[end, out], sources=[value])
    torch.testing.assert_close(run.read[end] - run.read[out], value, atol=1e-5, rtol=1e-5)
    with attached_to(model, TopK(32), middle) as small:
        f = small.encode(before)
        run = forward(model, pairs.clean, [Edit(small.features, Set(0.0))], read=[end, out])
        expected = before - f @ small.W_dec
        torch.testing.assert_close(run.read[end] - run.read[out], expected, atol=1e-5, rtol=1e-5)


def test_3_and_4_a_write_that_is_discarded_is_refused(pairs):
    """Attention patterns of OPT, and of native models under 3.9: the hook fires and what it returns is dropped."""
    model = loaded("opt")
    able = abilities(model).components["pattern"]
    assert not able.writes
    with pytest.raises(UnsupportedError, match=r"L1\.pattern\.H0 cannot be written.*use one of"):
        mc.patch(model, pairs, sites="L1.pattern.H0")
    native = mc.load("organism:by_hand")
    works = abilities(native).components["pattern"].writes
    zeroed = forward(native, mc.task("by_hand").prompts(native, n=4), [Edit(Site("pattern", 0), Set(0.0))]).logits
    plain = forward(native, mc.task("by_hand").prompts(native, n=4)).logits
    assert works == bool((zeroed - plain).abs().max() > 1e-3)


@pytest.mark.skipif(sae_lens is None, reason="sae-lens cannot be imported beside transformer-lens 4")
def test_5_and_6_the_bridge_of_sae_lens_is_refused(tokens, pairs):
    """On it the usual names are silently dead; spliced through a plain bridge the same dictionary fires."""
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge

    plain = mc.load(build("gpt2"))
    wrapped = mc.load(build("gpt2"))
    wrapped.__class__ = SAETransformerBridge
    with pytest.raises(UnsupportedError, match=r"silently dead.*mc\.load"):
        mc.patch(wrapped, pairs)
    with pytest.raises(UnsupportedError, match="silently dead"):
        attach(wrapped, TopK(32), "L1.resid_post", name="small")
    with attached_to(plain, TopK(32), "L1.resid_post") as small:
        run = forward(plain, pairs.clean, [Edit(small.features, Scale(0.0))], read=[small.features])
        assert run.fired["L1.resid_post"] == 1
        assert float((run.logits - forward(plain, pairs.clean).logits).abs().max()) > 1e-3


def test_7_a_stale_alias_does_not_swallow_an_edit(gpt2, pairs, monkeypatch):
    from transformer_lens.hook_points import HookPoint

    alive = bridge.hook_point(gpt2, Site("resid_post", 1))
    stale = HookPoint()
    stale.name = alive.name
    with attached_to(gpt2, TopK(32), "L1.resid_post") as small:
        expected = forward(gpt2, pairs.clean, [Edit(small.features, Set(0.0))]).logits
        monkeypatch.setattr(type(gpt2), "get_hook_point", lambda self, name: stale)
        assert torch.equal(forward(gpt2, pairs.clean, [Edit(small.features, Set(0.0))]).logits, expected)


def test_8_a_wrong_shape_is_never_broadcast(gpt2, pairs):
    with pytest.raises(InterventionError, match="another shape"):
        forward(gpt2, pairs.clean, [Edit(Site("resid_pre", 1), Patch())], sources=[torch.zeros(1, 7, 32)])
    with attached_to(gpt2, TopK(32), "L1.resid_post") as small, pytest.raises(InterventionError, match="another shape"):
        forward(gpt2, pairs.clean, [Edit(small.features, Patch())], sources=[torch.zeros(1, 7, 48)])


class Broadcasting(TopK):
    """A dictionary that drops the batch when it is not looked at."""

    def decode(self, f):
        return super().decode(f) if f.ndim == 2 else super().decode(f)[:1]


def test_8_a_dictionary_that_changes_the_shape_is_found_out(gpt2, pairs):
    with (
        attached_to(gpt2, Broadcasting(32), "L1.resid_post") as small,
        pytest.raises(InterventionError, match="decoded another shape"),
    ):
        forward(gpt2, pairs.clean, [Edit(small.features, Set(0.0))])


def test_9_a_hook_that_fires_twice_is_an_error(gpt2, pairs, monkeypatch):
    run = bridge.run
    monkeypatch.setattr(bridge, "run", lambda *args: (run(*args), run(*args))[0])
    with attached_to(gpt2, TopK(32), "L1.resid_post") as small, pytest.raises(InterventionError, match="fired 2 times"):
        forward(gpt2, pairs.clean, [Edit(small.features, Set(0.0))])
