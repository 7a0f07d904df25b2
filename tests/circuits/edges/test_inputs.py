"""What receivers and senders are in the model at hand: every architecture of the zoo is compared with its own run."""

import pytest
import torch
import zoo

from mechcausal.circuits.edges.inputs import inputs_of
from mechcausal.circuits.edges.tiles import contributions, recorded
from mechcausal.errors import UnsupportedError

CAUSAL = tuple(name for name in zoo.ARCHITECTURES if name != "bert")


@pytest.mark.parametrize("name", CAUSAL)
def test_contributions_add_up_to_the_stream(name):
    inputs, prompts = inputs_of(zoo.loaded(name)), zoo.make_pairs().clean
    base = recorded(inputs, prompts)
    total = base.hidden[0]
    for layer in range(3):
        total = total + contributions(inputs, base, layer).sum(2)
    shared = base.hidden[-1] - total  # the biases of attention: the same for every token
    assert float((shared - shared[:1, :1]).abs().max()) < 1e-4


def test_the_rows_of_a_joint_map_are_found_where_heads_are_interleaved():
    inputs = inputs_of(zoo.loaded("neox"))
    assert inputs.layers[0].projections[0].interleaved
    module, (weight, bias) = zoo.bare("neox").gpt_neox.layers[0].attention.query_key_value, inputs.rows(0, "k")
    assert torch.equal(weight[2], module.weight[2 * 24 + 8 : 2 * 24 + 16])  # heads of 8, each with q, k and v in turn
    assert torch.equal(bias[2], module.bias[2 * 24 + 8 : 2 * 24 + 16])


def test_a_head_shown_another_stream_makes_what_the_model_would():
    inputs = inputs_of(zoo.loaded("llama"))
    stream = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    block = zoo.bare("llama").model.layers[1]
    expected = block.self_attn.q_proj(block.input_layernorm(stream)).unflatten(-1, (4, 8))[:, :, [3, 0]]
    assert torch.allclose(inputs.project(1, "q", [3, 0], stream.expand(2, -1, -1, -1)), expected, atol=1e-5)


def test_a_model_whose_layers_cannot_be_called_is_refused():
    with pytest.raises(UnsupportedError, match="edges need the layers of the model by themselves"):
        inputs_of(zoo.loaded("bert"))


def test_hooks_of_others_are_refused():
    model = zoo.loaded("gpt2")
    handle = model.original_model.transformer.h[0].register_forward_hook(lambda *_: None)
    try:
        with pytest.raises(UnsupportedError, match="edges are computed on the bare model"):
            inputs_of(model)
    finally:
        handle.remove()
