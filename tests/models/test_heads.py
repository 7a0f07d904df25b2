"""What a head adds to the output of attention: by hand from the weights, and as an edit from the difference it makes."""

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection, Site
from mechcausal.errors import UnsupportedError
from mechcausal.interventions import Add, Edit, Patch, Project, Scale, Zero
from mechcausal.interventions.specs import AddDelta
from mechcausal.metrics import metric
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import evaluate
from mechcausal.models.hooked import forward
from mechcausal.models.plan import Plan

LINEAR = ("gpt2", "llama", "qwen3", "neox", "opt")
RESULT, OUT, Z = Site("result", 1), Site("attn_out", 1), Site("z", 1)
PAIRS = make_pairs(lengths=(7, 5, 6))


def by_hand(name, z):
    """Return what each head adds, from the weights of the model itself."""
    layers = "transformer.h" if name == "gpt2" else "model.layers"
    weights = dict(loaded(name).original_model.get_submodule(f"{layers}.1").named_parameters())
    word = "attn.o." if name == "gpt2" else "o_proj"
    (matrix,) = (
        value for key, value in weights.items() if word in key.replace("_original_component.", "") and value.ndim == 2
    )
    matrix = matrix if name == "gpt2" else matrix.T
    return torch.stack(
        [z[:, :, head] @ matrix[head * z.shape[-1] : (head + 1) * z.shape[-1]] for head in range(z.shape[2])], dim=2
    )


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_it_is_z_times_the_rows_of_the_head(name):
    read = forward(loaded(name), PAIRS.clean, read=[RESULT, OUT, Z]).read
    torch.testing.assert_close(read[RESULT], by_hand(name, read[Z]), atol=1e-5, rtol=1e-4)
    rest = read[OUT] - read[RESULT].sum(2)  # the bias of the output matrix
    torch.testing.assert_close(rest, rest[:1, :1].expand_as(rest), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LINEAR)
def test_patching_it_is_the_difference_it_makes(name):
    model, base, at = loaded(name), PAIRS.corrupt, Selection.parse("1:4")
    here, there = (forward(model, side, read=[RESULT]).read[RESULT] for side in (base, PAIRS.clean))
    ours = forward(model, base, [Edit(Site("result", 1, head=2), Patch(), at)], sources=[there], read=[RESULT])
    delta = (there - here)[:, :, 2]
    reference = forward(model, base, [Edit(OUT, AddDelta(), at)], sources=[delta]).logits
    torch.testing.assert_close(ours.logits, reference, atol=1e-5, rtol=1e-4)
    assert torch.equal(ours.read[RESULT][:, 1:4, 2], there[:, 1:4, 2])
    assert torch.equal(ours.read[RESULT][:, :, 1], here[:, :, 1])
    assert (ours.logits - forward(model, base).logits).abs().max() > 1e-3


@pytest.mark.parametrize("name", LINEAR)
def test_it_counts_as_much_as_z(name):
    """The map from one to the other is linear, so all that is linear in them is equal."""
    model = loaded(name)
    for method, options in (
        (mc.patch, {}), (mc.ablate, {"do": "zero"}), (mc.ablate, {"do": "mean"}), (mc.attribute, {}),
        (mc.attribute, {"steps": 3, "path": "cell"}), (mc.patch, {"exact": "naive"}),
    ):  # fmt: skip
        heads, values = (method(model, PAIRS, sites=site, at="all", **options) for site in ("result", "z"))
        np.testing.assert_allclose(heads.examples, values.examples, atol=3e-5)
    assert mc.patch(model, PAIRS, sites="result").provenance.compute["engine"] == "replay"
    assert mc.attribute(model, PAIRS, sites="result").provenance.compute["engine"] == "replay"


def test_a_direction_of_one_heads_contribution_is_taken_away(gpt2):
    direction = torch.randn(32, generator=torch.Generator().manual_seed(4))
    unit = direction / direction.norm()
    edit = Edit(Site("result", 1, head=3), Project((tuple(direction.tolist()),)))
    before, after = (forward(gpt2, PAIRS.clean, edits, read=[RESULT, OUT]).read for edits in ((), [edit]))
    lost = (before[RESULT][:, :, 3] @ unit)[..., None] * unit
    real = PAIRS.clean.mask
    torch.testing.assert_close(after[OUT][real], (before[OUT] - lost)[real], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_edits_of_it_see_edits_before_and_are_seen_after(name):
    head = Site("result", 1, head=2)
    cells = [
        (Edit(Site("z", 1, head=2), Zero()), Edit(head, Add(0.5))),
        (Edit(Site("resid_pre", 0), Patch()), Edit(head, Scale(2.0)), Edit(OUT, Scale(0.5))),
        (Edit(head, Patch(), Selection.parse("@1")), Edit(Site("resid_mid", 1), Scale(0.5), Selection.parse("@2"))),
        (Edit(RESULT, Patch()), Edit(Site("mlp_out", 1), Patch())),
    ]
    plan = Plan(PAIRS.corrupt, cells, metric("logit_diff"), rows=PAIRS.clean)
    fast, slow = (evaluate(loaded(name), plan, batch_size=3, exact=exact) for exact in ("replay", "naive"))
    assert fast.compute["engine"] == "replay"
    np.testing.assert_allclose(fast.values, slow.values, atol=3e-5)


def test_where_heads_do_not_add_up_it_is_refused():
    """Gemma 2 normalizes what its attention gives, together for all heads."""
    model = loaded("gemma2")
    assert "not the sum" in abilities(model).components["result"].note
    with pytest.raises(UnsupportedError, match="not the sum"):
        mc.patch(model, PAIRS, sites="result")


def test_a_path_from_a_head_is_the_same_from_what_it_adds(gpt2):
    found = [
        mc.path_patch(gpt2, PAIRS, senders=f"L0.{word}.H*", receivers="logits").examples for word in ("z", "result")
    ]
    np.testing.assert_allclose(*found, atol=2e-5)
