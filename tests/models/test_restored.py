"""Parts of a model take the weights of another: only those, exactly, and only for a while."""

import pytest
import torch
from zoo import build, loaded

import mechcausal as mc
from mechcausal.errors import ModelError
from mechcausal.models import bridge
from mechcausal.models.restored import OUTSIDE, Restorer, restoring

TOKENS = torch.arange(3, 19).reshape(2, 8)
WEIGHTS = {
    "gpt2": {"L1.attn_out": "transformer.h.1.attn.c_attn", "L2.mlp_out": "transformer.h.2.mlp.c_proj"},
    "llama": {
        "L1.attn_out": "model.layers.1.self_attn.o_proj",
        "L2.mlp_out": "model.layers.2.post_attention_layernorm",
    },
}


def changed(name, modules):
    """Return a model of the zoo with the weights of some modules scaled."""
    module = build(name)
    for path in modules:
        module.get_submodule(path).weight *= 1.5
    return mc.load(module)


def logits(model):
    with torch.no_grad():
        return model(TOKENS)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_restored_part_is_that_of_the_other_model(name):
    base, own = loaded(name), changed(name, WEIGHTS[name].values())
    before = logits(own)
    with restoring(own, base, "sublayer") as restore:
        assert [part for part in restore.parts if restore.changed[part]] == list(WEIGHTS[name])
        assert restore.parts[:3] == ("L0.attn_out", "L0.mlp_out", "L1.attn_out")
        for part in WEIGHTS[name]:
            restore([part])
            others = [path for other, path in WEIGHTS[name].items() if other != part]
            assert torch.equal(logits(own), logits(changed(name, others)))
        restore(list(WEIGHTS[name]))
        assert torch.equal(logits(own), logits(base))
    assert torch.equal(logits(own), before)
    with restoring(own, base) as restore:
        assert [part for part in restore.parts if restore.changed[part]] == ["L1", "L2"]


def test_what_belongs_to_no_layer_is_a_part_of_its_own():
    base, own = loaded("llama"), changed("llama", ["model.norm"])
    restore = Restorer(own, base)
    assert {part for part in restore.parts if restore.changed[part]} == {OUTSIDE}
    assert restore.changed[OUTSIDE] > 0
    weights = [bridge.underlying(model).state_dict() for model in (own, base)]
    outside = [name for name, _ in bridge.underlying(base).named_parameters() if ".layers." not in name]
    moved = sum(float((weights[0][name] - weights[1][name]).square().sum()) for name in outside)
    size = sum(float(weights[1][name].square().sum()) for name in outside)
    assert restore.changed[OUTSIDE] == pytest.approx((moved / size) ** 0.5, rel=1e-5)


def test_a_model_of_other_sizes_is_refused():
    with pytest.raises(ModelError, match="other weights than the model") as caught:
        Restorer(loaded("llama"), loaded("gpt2"))
    assert len(str(caught.value)) < 400
