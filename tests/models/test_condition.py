"""What is done to a model after its first use is followed by every method, and provenance says so."""

import numpy as np
import pytest
import torch
from plain_dictionaries import TopK
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import SiteError
from mechcausal.models import bridge
from mechcausal.models.binding import attach
from mechcausal.models.condition import altered, condition
from mechcausal.models.fingerprint import weights_fingerprint

PAIRS = make_pairs(lengths=(6, 6, 6))


def used(kind="gpt2"):
    model = mc.load(build(kind))
    mc.patch(model, PAIRS, sites="z")
    mc.attribute(model, PAIRS, sites="z")
    return model


def inner(model, name):
    return model.original_model.get_submodule(name)


def by_hand(model):
    """Return the metric of the unedited clean runs, by the model itself."""
    tokens = PAIRS.clean.tokens
    last = model(tokens, return_type="logits")[:, -1]
    rows = torch.arange(len(tokens))
    return (last[rows, PAIRS.clean.answer] - last[rows, PAIRS.clean.foil]).detach().numpy()


def check_followed(model, before):
    """Compare patching and attribution with the loop, and the unedited run with the model itself."""
    for method, options in ((mc.patch, {"sites": ["z", "attn_out"]}), (mc.attribute, {"sites": "z"})):
        fast, slow = (method(model, PAIRS, exact=exact, **options) for exact in ("replay", "naive"))
        np.testing.assert_allclose(fast.examples, slow.examples, rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(fast.baselines["clean"], by_hand(model), rtol=1e-4, atol=2e-4)
    assert np.abs(by_hand(model) - before).max() > 1e-3, "the change must matter"


def zero(module, args, output):
    return output * 0


def double(module, args):
    return (args[0] * 2, *args[1:])


HOOKED = {
    "a hook on the bridge's part": lambda model: inner(model, "transformer.h.1.mlp").register_forward_hook(zero),
    "a hook on the module itself": lambda model: inner(
        model, "transformer.h.1.mlp._original_component.c_proj"
    ).register_forward_hook(zero),
    "a hook before it": lambda model: inner(model, "transformer.h.1.mlp").register_forward_pre_hook(double),
    "another forward": lambda model: setattr(
        inner(model, "transformer.h.1.mlp"), "forward", lambda x, *a, **k: torch.zeros_like(x)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", HOOKED.values(), ids=HOOKED)
def test_hooks_and_forwards_of_others_leave_the_work_to_the_loop(change):
    model = used()
    before, digest = by_hand(model), weights_fingerprint(model)
    change(model)
    check_followed(model, before)
    result = mc.patch(model, PAIRS, sites="z")
    compute = result.provenance.compute
    assert compute["engine"] == "naive"
    assert "transformer.h.1.mlp" in compute["naive_because"]["all"]
    assert result.provenance.model["weights"] == digest
    assert any("transformer.h.1.mlp" in text for text in result.provenance.model["altered"])


def test_a_hook_that_is_taken_away_again_leaves_nothing():
    model = used()
    state = condition(model)
    handle = inner(model, "transformer.h.1.mlp").register_forward_hook(zero)
    assert "hooks of others" in bridge.foreign(model)
    assert condition(model) != state
    handle.remove()
    assert not bridge.foreign(model)
    assert condition(model) == state
    assert mc.patch(model, PAIRS, sites="z").provenance.compute["engine"] == "replay"
    assert "altered" not in mc.patch(model, PAIRS, sites="z").provenance.model


def scaled(kind):
    model = used(kind)
    before = by_hand(model)
    modules = [module for _, module in bridge.modules_of(model) if "scaling" in vars(module)]
    assert len(modules) == model.cfg.n_layers
    for module in modules:
        module.scaling = 3.0
    assert any("attn.scaling is 3.0 instead of 0." in text for text in altered(model))
    return model, before


@pytest.mark.slow
def test_a_changed_scaling_of_attention_is_followed_by_the_engine():
    model, before = scaled("llama")
    check_followed(model, before)
    assert mc.patch(model, PAIRS, sites="z").provenance.compute["engine"] == "replay"


def test_a_setting_that_the_bridge_does_not_look_at_changes_nothing():
    """Its own attention stands before that of GPT-2; the engine follows the bridge."""
    model, before = scaled("gpt2")
    np.testing.assert_allclose(by_hand(model), before)
    fast, slow = (mc.patch(model, PAIRS, sites="z", exact=exact) for exact in ("replay", "naive"))
    np.testing.assert_allclose(fast.examples, slow.examples, atol=2e-5)


def through_data(model):
    weight = inner(model, "transformer.h.1.attn._original_component.c_proj").weight
    weight.data[12:] *= -3.0


def through_numpy(model):
    weight = inner(model, "transformer.h.0.mlp._original_component.c_fc").weight
    weight.detach().numpy()[0] += 1.0


def one_number(model):
    inner(model, "transformer.h.1.mlp._original_component.c_proj").weight.data[3, 5] += 4.0


def loaded_state(model):
    module = model.original_model
    module.load_state_dict({name: value * 1.5 for name, value in module.state_dict().items()})


EDITS = (through_data, through_numpy, one_number, loaded_state)


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS, ids=[edit.__name__ for edit in EDITS])
def test_edits_of_weights_are_followed_and_change_the_digest(edit):
    model = used()
    before, digest = by_hand(model), weights_fingerprint(model)
    with torch.no_grad():
        edit(model)
    assert weights_fingerprint(model) != digest
    check_followed(model, before)
    result = mc.patch(model, PAIRS, sites="z")
    assert result.provenance.model["weights"] == weights_fingerprint(model)
    assert result.provenance.compute["engine"] == "replay"


def test_a_run_changes_nothing(gpt2):
    state = condition(gpt2)
    mc.patch(gpt2, PAIRS, sites=["z", "resid_mid"])
    mc.attribute(gpt2, PAIRS, sites="mlp_out")
    assert condition(gpt2) == state


def test_what_transformers_leaves_on_its_layers_changes_nothing():
    model = used()
    model.original_model(PAIRS.clean.tokens, output_hidden_states=True)
    assert mc.patch(model, PAIRS, sites="z").provenance.compute["engine"] == "replay"


def test_backward_hooks_of_others_leave_gradients_to_the_loop():
    """They change no number of a forward, and every gradient that passes them."""
    model = used()
    before = mc.attribute(model, PAIRS, sites="z")
    assert before.provenance.compute["engine"] != "naive"
    module = inner(model, "transformer.h.1.mlp")
    handle = module.register_full_backward_hook(lambda module, into, out: tuple(slope * 0 for slope in into))
    fast, slow = (mc.attribute(model, PAIRS, sites="z", exact=exact) for exact in ("replay", "naive"))
    np.testing.assert_allclose(fast.examples, slow.examples, rtol=1e-5, atol=1e-6)
    assert np.abs(fast.examples - before.examples).max() > 0.1
    assert fast.provenance.compute["engine"] == "naive"
    assert any("transformer.h.1.mlp" in text for text in fast.provenance.model["altered"])
    handle.remove()
    np.testing.assert_allclose(mc.attribute(model, PAIRS, sites="z").examples, before.examples)


BUFFERS = {"llama": "model.rotary_emb.inv_freq", "gemma2": "model.embed_tokens.embed_scale"}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), BUFFERS.items(), ids=BUFFERS)
def test_a_changed_buffer_is_another_model(kind, name):
    """Rotary frequencies decide where a head looks, and are no weight."""
    model = used(kind)
    small = attach(model, TopK(32), "L1.resid_post", name="small")
    before, digest, state = by_hand(model), weights_fingerprint(model), condition(model)
    buffer = next(value for key, value in model.original_model.named_buffers() if key.endswith(name.rpartition(".")[2]))
    kept = buffer.clone()
    buffer.data *= 0.3
    check_followed(model, before)
    facts = mc.patch(model, PAIRS, sites="z").provenance.model
    assert facts["weights"] != digest
    assert facts["altered"] == [f"the buffer {name} was changed"]
    with pytest.raises(SiteError, match="have changed since the dictionary 'small' was attached"):
        mc.patch(model, PAIRS, sites=small.feature(3))
    buffer.data.copy_(kept)
    assert (weights_fingerprint(model), condition(model)) == (digest, state)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "neox", "bert"])
def test_a_run_changes_no_buffer(kind):
    model = loaded(kind)
    state = condition(model)
    mc.patch(model, PAIRS, sites="L1.z")
    assert condition(model) == state


def test_frequencies_that_follow_the_length_of_a_text_are_no_change():
    """They are computed again in each run."""
    config = build("llama").config
    config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    config.max_position_embeddings = 4
    module = type(build("llama"))(config).eval()
    model = mc.load(module, check=False)
    state, digest = condition(model), weights_fingerprint(model)
    frequencies = next(value for name, value in model.original_model.named_buffers() if name.endswith(".inv_freq"))
    model(PAIRS.clean.tokens)
    after = next(value for name, value in model.original_model.named_buffers() if name.endswith(".inv_freq"))
    assert not torch.equal(frequencies, after)
    assert (condition(model), weights_fingerprint(model)) == (state, digest)
    assert not altered(model)
