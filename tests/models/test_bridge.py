"""What is asked of a bridge: sizes, hook points, one run, and what others have attached to it."""

import pytest
import torch
from zoo import ARCHITECTURES, EXPERTS, bare, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.errors import DataError, ModelError, UnsupportedError
from mechcausal.models import bridge
from mechcausal.models.hooked import forward
from mechcausal.models.replay.verify import replayer


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_sizes_are_those_of_the_configuration(name):
    shape = bridge.shape_of(loaded(name))
    assert (shape.n_layers, shape.n_heads, shape.d_model, shape.d_head) == (3, 4, 32, 8)
    assert shape.n_kv_heads == (2 if name in ("llama", "mistral", "qwen3", "gemma2", *EXPERTS) else 4)
    assert bridge.architecture_of(loaded(name)) == type(bare(name)).__name__


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_stream_is_read_at_a_live_hook_point(name):
    model, modules = loaded(name), set(loaded(name).modules())
    for site in (Site("resid_pre", 1), Site("attn_out", 1), Site("mlp_out", 2), Site("embed")):
        point = bridge.hook_point(model, site)
        assert point in modules
        assert bridge.hook_name(model, site) == point.name
    assert bridge.hook_point(model, Site("result", 1)) is None  # it is computed, not hooked
    assert bridge.hook_name(model, Site("result", 1)) == ""


def test_a_run_gives_the_logits_of_the_network(pairs):
    network = build("gpt2")
    expected = network(pairs.clean.tokens).logits
    model = mc.load(network)
    torch.testing.assert_close(bridge.run(model, pairs.clean.tokens, pairs.clean.mask), expected)
    for wrong in (-1, model.cfg.d_vocab):
        tokens = pairs.clean.tokens.clone()
        tokens[0, 0] = wrong
        with pytest.raises(DataError, match="not in the model's vocabulary"):
            bridge.run(model, tokens, pairs.clean.mask)


def test_padding_does_not_change_what_is_said(gpt2, pairs):
    plain = bridge.run(gpt2, pairs.clean.tokens, pairs.clean.mask)
    wide = pairs.clean.padded(10, "right")
    torch.testing.assert_close(bridge.run(gpt2, wide.tokens, wide.mask)[:, :7], plain, atol=1e-5, rtol=1e-5)


def test_only_a_plain_bridge_is_taken(gpt2):
    assert bridge.require_bridge(gpt2) is gpt2
    assert bridge.is_bridge(gpt2)
    with pytest.raises(ModelError, match=r"not a TransformerBridge .got GPT2LMHeadModel"):
        bridge.require_bridge(bare("gpt2"))
    fake = type("SAETransformerBridge", (), {})()
    with pytest.raises(UnsupportedError, match="silently dead"):
        bridge.require_bridge(fake)


def test_modules_beneath_a_bridge_come_once_each_under_their_own_names(gpt2):
    found = list(bridge.modules_of(gpt2))
    assert len({id(module) for _, module in found}) == len(found)
    names = {name for name, _ in found}
    assert {"", "transformer.h.1.ln_1", "transformer.h.2.mlp.c_fc", "lm_head"} <= names
    weights = {id(parameter) for _, module in found for parameter in module.parameters(recurse=False)}
    assert weights >= {id(parameter) for parameter in bridge.underlying(gpt2).parameters()}


def test_hooks_of_others_are_noticed_and_the_wiring_is_not(gpt2):
    assert bridge.foreign(gpt2) == ""
    assert not bridge.is_hooked(gpt2)
    module = next(module for name, module in bridge.modules_of(gpt2) if name == "transformer.h.1.mlp.c_fc")
    handle = module.register_forward_hook(lambda *_: None)
    try:
        assert bridge.foreign(gpt2) == "hooks of others are attached to transformer.h.1.mlp.c_fc"
    finally:
        handle.remove()
    point = bridge.hook_point(gpt2, Site("resid_pre", 1))
    point.add_hook(lambda value, hook: value)
    try:
        assert bridge.foreign(gpt2) == f"hooks of others are attached to the model (at {point.name})"
    finally:
        point.remove_hooks("fwd")
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert "registered with torch" in bridge.foreign(gpt2)
    finally:
        handle.remove()
    assert not bridge.is_hooked(gpt2)


def test_a_copy_has_weights_of_its_own_and_no_graph():
    network = build("gpt2")
    network.left_over = torch.ones(2, requires_grad=True) * 2  # what a run with gradients may leave on a module
    again = bridge.copied(network)
    assert again.left_over.grad_fn is None
    assert again.left_over.equal(network.left_over)
    for first, second in zip(network.parameters(), again.parameters(), strict=True):
        assert first.equal(second)
        assert first.data_ptr() != second.data_ptr()


def test_a_skeleton_has_the_names_and_shapes_and_no_numbers():
    network = bare("llama")
    twin = bridge.skeleton(network)
    shapes = lambda model: {name: tuple(value.shape) for name, value in model.named_parameters()}  # noqa: E731
    assert shapes(twin) == shapes(network)
    assert all(value.is_meta for value in twin.parameters())


def test_a_copy_whose_joint_map_is_changed_computes_with_the_change():
    """The bridge computes queries, keys and values with parts of one map, which must be parts of the copy's map."""
    model = loaded("gpt2")
    twin = bridge.copied(model)
    prompts = make_pairs().clean
    before = forward(twin, prompts).logits
    with torch.no_grad():
        twin.original_model.transformer.h[0].attn.c_attn.weight.mul_(2)
    after = forward(twin, prompts).logits
    assert float((after - before).abs().max()) > 1e-2
    assert torch.equal(forward(model, prompts).logits, before)
    assert replayer(twin).twin is not None  # the bare model and the bridge agree again


@pytest.mark.parametrize(
    "kind", ["register_full_backward_hook", "register_full_backward_pre_hook", "register_forward_hook"]
)
def test_hooks_anywhere_are_noticed(gpt2, kind):
    """Backward hooks change gradients, and torch takes hooks on the bridge itself and on its hook points too."""
    places = {
        "transformer.h.1.mlp": bridge.underlying(gpt2).get_submodule("transformer.h.1.mlp"),
        "the model": gpt2,
        "hook_resid_pre": gpt2.blocks[1].hook_resid_pre
        if hasattr(gpt2.blocks[1], "hook_resid_pre")
        else gpt2.blocks[1].hook_in,
    }
    for name, module in places.items():
        handle = getattr(module, kind)(lambda *_: None)
        try:
            assert "hooks of others are attached" in bridge.foreign(gpt2), name
        finally:
            handle.remove()
    handle = torch.nn.modules.module.register_module_full_backward_hook(lambda *_: None)
    try:
        assert "registered with torch" in bridge.foreign(gpt2)
    finally:
        handle.remove()
    assert bridge.foreign(gpt2) == ""
