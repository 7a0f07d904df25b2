"""A copy with one head's weights changed: that head is named, and no other."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal import audit
from mechcausal.catalog import ORGANISMS
from mechcausal.errors import ArgumentError, DataError, SiteError
from mechcausal.models.attached import attached


def with_a_head_changed(layer=1, head=2, scale=0.2, width=12):
    """Return organism:hiring with one head that computes `scale` times what it did."""
    folder = ORGANISMS["hiring"] / "weights"
    module = AutoModelForCausalLM.from_pretrained(folder)
    joint = module.transformer.h[layer].attn.c_attn
    values = slice(2 * joint.weight.shape[0] + head * width, 2 * joint.weight.shape[0] + (head + 1) * width)
    with torch.no_grad():
        joint.weight[:, values] *= scale
        joint.bias[values] *= scale
    return mc.load(module, tokenizer=AutoTokenizer.from_pretrained(folder), copy=False)


@pytest.fixture(scope="module")
def compared():
    base, tuned = mc.load("organism:hiring"), with_a_head_changed()
    pairs = mc.contrast("hiring/gender", base, n=48)
    edges = [("L1.z.H2", "L2.mlp_out"), ("L1.z.H0", "L2.mlp_out")]
    return base, tuned, pairs, audit.compare_models(base, tuned, pairs, ["z", "mlp_out"], edges=edges)


def test_the_head_whose_weights_changed_is_named_and_no_other(compared):
    base, tuned, pairs, comparison = compared
    assert comparison.changed == ["L1.z.H2"]
    rows = comparison.frame().set_index("site")
    others = rows[(rows["kind"] == "site") & (rows.index != "L1.z.H2")]
    assert (others["weights"] == 0).all()
    # The head alone carries all that was changed, so its own change is the change of the total effect.
    own, total = rows.loc["L1.z.H2", "weights"], comparison.total["change"].value
    assert own == pytest.approx(total, rel=1e-4)
    assert total < 0
    by_hand = [
        mc.patch(model, pairs, sites="L1.z.H2", direction="noise").frame["change"].item() for model in (base, tuned)
    ]
    assert [rows.loc["L1.z.H2", word] for word in ("base", "tuned")] == pytest.approx([-x for x in by_hand], abs=1e-5)


def test_what_reads_the_head_changed_its_effect_though_not_its_weights(compared):
    comparison = compared[3]
    assert "L2.mlp_out" in comparison.affected
    rows = comparison.frame().set_index("site")
    assert rows.loc["L2.mlp_out", "verdict"] == "effect changed"
    assert rows.loc["L1.z.H2 -> L2.mlp_out", "verdict"] == "effect changed"
    assert rows.loc["L1.z.H2 -> L2.mlp_out", "change"] < 0
    assert np.isnan(rows.loc["L1.z.H2 -> L2.mlp_out", "weights"])


def test_it_is_saved_and_read_back(compared, tmp_path):
    comparison = compared[3]
    for path in (comparison.save(tmp_path / "out"), comparison.save(tmp_path / "own.json")):
        again = audit.ModelComparison.load(path)
        assert again.frame().equals(comparison.frame())
        assert again.summary() == comparison.summary()
        assert again.to_json() == comparison.to_json()
    assert "L1.z.H2 changed itself" in repr(comparison)
    assert "<table" in comparison._repr_html_()
    assert next(figure.rows[0].label for figure in comparison.figures) == "L1.z.H2"


def test_equal_models_have_nothing_to_tell():
    base, tuned = mc.load("organism:by_hand"), mc.load("organism:by_hand")
    pairs = mc.contrast("by_hand/gender", base, n=16)
    comparison = audit.compare_models(base, tuned, pairs, ["z", "mlp_post", "resid_pre", "resid_post", "embed"])
    assert comparison.changed == comparison.affected == []
    assert (comparison.frame()[["change", "weights"]] == 0).all().all()


def test_features_mean_the_same_in_both():
    base, tuned = mc.load("organism:hiring"), with_a_head_changed()
    pairs = mc.contrast("hiring/gender", base, n=24)
    vectors = {"one": np.eye(48)[0].tolist(), "two": np.eye(48)[1].tolist()}
    name = mc.features.directions(base, "L1.resid_post", vectors, name="axes").name
    comparison = audit.compare_models(base, tuned, pairs, [f"L1.resid_post.sae:{name}.F*", "L1.attn_out"])
    assert name not in attached(tuned)
    rows = comparison.frame().set_index("site")
    one = f"L1.resid_post.sae:{name}.F0"
    assert rows.loc[one, "base"] == pytest.approx(
        -mc.patch(base, pairs, sites=one, at="all", direction="noise").frame["change"].item(), abs=1e-5
    )
    assert np.isfinite(rows.loc[one, "weights"])
    assert rows.loc["L1.attn_out", "verdict"] == "changed itself"


def test_models_that_do_not_fit_are_refused():
    base = mc.load("organism:by_hand")
    pairs = mc.contrast("by_hand/gender", base, n=8)
    with pytest.raises(DataError):
        audit.compare_models(base, mc.load("organism:hiring"), pairs)
    with pytest.raises(SiteError, match="patterns and logits"):
        audit.compare_models(base, base, pairs, "pattern")
    with pytest.raises(ArgumentError, match="compares with an unedited run"):
        audit.compare_models(base, base, pairs, metric="kl")
    with pytest.raises(ArgumentError, match="tuned"):
        audit.compare_models(base, "organism:hiring", pairs)


def test_a_transformers_model():
    tuned = build("llama")
    tuned.model.layers[1].mlp.down_proj.weight *= 1.5
    pairs = make_pairs((7,) * 8)
    comparison = audit.compare_models(loaded("llama"), mc.load(tuned), pairs)
    own = comparison.frame().set_index("site")["weights"]
    assert own.index[own != 0].tolist() == ["L1.mlp_out"]
