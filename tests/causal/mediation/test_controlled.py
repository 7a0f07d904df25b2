"""Controlled direct effects against the formula, and against the natural ones at both ends."""

import numpy as np
import pandas as pd
import pytest
import torch
from saved import assert_kept
from zoo import bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.causal import Hypothesis, controlled, mediate
from mechcausal.causal.hypothesis import table_of
from mechcausal.errors import DataError, MechcausalError, SiteError
from mechcausal.models import hooked

LEVEL = {"site": "L0.z.H2", "at": "end", "basis": [[2.0, 0, 0]]}  # the head's first entry is the level


@pytest.fixture(scope="module")
def hand():
    model = mc.load("organism:by_hand")
    return model, mc.contrast("by_hand/gender", model, n=16)


def test_the_curve_of_the_formula(hand):
    """2.6 + 0.9 relu(level) for he against she; the coordinate counts along the unit vector, whatever its length."""
    levels = [-1.5, -1.0, -0.25, 0.0, 0.5, 1.0, 1.75]
    for mediator in (LEVEL, "L0.z.H2@end"):
        found = controlled(*hand, mediator, levels)
        np.testing.assert_allclose(found.frame["change"], [2.6 + 0.9 * max(v, 0) for v in levels], atol=1e-5)
        np.testing.assert_allclose(
            found.examples - found.baselines["base"], found.frame[["change"]] @ np.ones((1, 16)), atol=1e-5
        )
        assert found.frame["level"].tolist() == levels


def test_the_truth_that_ships_with_the_model(hand):
    truth = mc.truth("by_hand")["gender_effects"]["controlled_direct"]
    found = controlled(*hand, LEVEL, [-1, 1]).frame
    assert found["change"].tolist() == pytest.approx([truth["low"], truth["high"]], abs=1e-5)


def test_the_neuron_held_and_the_gender_held(hand):
    held = controlled(*hand, "L1.mlp_out@end", points=5).by_group()
    np.testing.assert_allclose(held["change"], 2.6, atol=1e-5)
    for part in ("L0.z.H0@end", ["L0.z.H0@end", "L1.mlp_out@end"]):
        assert controlled(*hand, part, ["zero", "mean", "low", "high", 0.3]).frame["change"].abs().max() < 1e-5
    aside = controlled(*hand, "L0.z.H1@end", ["zero", "mean"]).frame
    np.testing.assert_allclose(aside["effect"], 1, atol=1e-5)


def test_a_grid_between_the_worlds(hand):
    """He and a high level against she and a low one: on the way the level is 2 f - 1."""
    model, _ = hand
    pairs = mc.Contrast.from_text(
        model, ["he high ask", "he high ask"], ["she low ask", "she low ask"], answer="yes", foil="no",
        positions={"end": [2, 2]},
    )  # fmt: skip
    found = controlled(model, pairs, "L0.z.H2@end", points=5).frame
    assert found["level"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(found["change"], [2.6, 2.6, 2.6, 2.6 + 0.45, 3.5], atol=1e-5)
    np.testing.assert_allclose(found["effect"], found["change"] / 4.3, atol=1e-5)


@pytest.mark.parametrize(
    "mediator", ["L1.z.H2", "L1.mlp_out@3", ["L0.z.H1", "L2.mlp_out@-1"], "L1.mlp_post.N7@all", "L1.pattern.H0"]
)
def test_the_ends_of_the_curve_are_the_natural_effects(mediator):
    pairs = make_pairs(changed=(1, 3, 6))
    ends = controlled(loaded("gpt2"), pairs, mediator, points=2, batch_size=4)
    words = controlled(loaded("gpt2"), pairs, mediator, ["low", "high"])
    natural = mediate(
        loaded("gpt2"), pairs, [mediator] if isinstance(mediator, str) else [list(mediator)], at="all"
    ).parts
    for found in (ends, words):
        effects = found.examples - found.baselines["base"]
        np.testing.assert_allclose(effects[0], natural["nde"][0], atol=1e-5)
        np.testing.assert_allclose(effects[1], natural["tde"][0], atol=1e-5)
    assert np.abs(natural["interaction"]).max() > 1e-5


def heads_of_bare_gpt2(tokens, change):
    """Run GPT-2 of `transformers` with the heads of layer 1, [batch pos head feature], changed; return logits and heads."""
    seen = []

    def before_projection(module, inputs):
        heads = inputs[0].unflatten(-1, (4, 8)).clone()
        seen.append(heads.clone())
        return (change(heads).flatten(2),)

    handle = bare("gpt2").transformer.h[1].attn.c_proj.register_forward_pre_hook(before_projection)
    try:
        return bare("gpt2")(tokens).logits, seen[0]
    finally:
        handle.remove()


def test_held_at_values_zero_and_the_mean_of_both_worlds():
    pairs = make_pairs(changed=(1, 3, 6))
    kept = [heads_of_bare_gpt2(side.tokens, lambda heads: heads)[1] for side in (pairs.clean, pairs.corrupt)]
    mean = torch.cat(kept).mean(0)[4:6, 2]
    vector = torch.linspace(-1, 1, 8)
    found = controlled(loaded("gpt2"), pairs, "L1.z.H2@4:6", ["mean", "zero", 0.7, vector], batch_size=4)
    rows = torch.arange(len(pairs))
    for number, value in enumerate([mean, 0.0, 0.7, vector]):
        for side, values in ((pairs.clean, found.examples), (pairs.corrupt, found.baselines["base"])):

            def change(heads, value=value):
                heads[:, 4:6, 2] = value
                return heads

            logits = heads_of_bare_gpt2(side.tokens, change)[0][:, -1]
            np.testing.assert_allclose(values[number], logits[rows, side.answer] - logits[rows, side.foil], atol=1e-5)
    assert found.frame["clamp"].tolist()[:3] == ["mean", "zero", "0.7"]


def test_a_vector_in_an_oblique_subspace(hand):
    """Coordinates are what a projection on each unit direction reads: (1, 1.1 / sqrt 2) of x is x = (1, 0.1)."""
    part = {"site": "L0.z.H2", "at": "end", "basis": [[1.0, 0, 0], [1.0, 1.0, 0]]}
    found = controlled(*hand, part, [[0.5, 1.1 / 2**0.5]]).frame
    assert found["change"][0] == pytest.approx(2.6 + 0.45, abs=1e-5)
    assert np.isnan(found["level"][0])


def test_the_hiring_network_and_its_causal_model(hiring):
    """With the proxy held where each world has it, the controlled effect of gender is that of the causal model."""
    pairs = mc.task("hiring").contrast(hiring, "gender", 120, seed=3)
    scm, proxy = mc.task("hiring").scm, Hypothesis.of("hiring").alignment["proxy"]
    high, low = table_of(pairs.clean), table_of(pairs.corrupt)
    accept = hiring.tokenizer.convert_tokens_to_ids("accept")

    def p_accept(logits, batch):
        return logits[torch.arange(len(batch)), batch.read_columns].softmax(-1)[:, accept]

    found = controlled(hiring, pairs, list(proxy), ["low", "high"], metric=p_accept).frame
    for number, held in enumerate((low, high)):
        a, b = (scm.counterfactual(world, proxy=held["proxy"])["decision"] == 2 for world in (high, low))
        assert found["change"][number] == pytest.approx(a.mean() - b.mean(), abs=1e-2)


def test_the_result(hand, tmp_path):
    curve, words = controlled(*hand, LEVEL, [-1, 0, 1]), controlled(*hand, LEVEL, ["zero", "mean"])
    assert [trace.name for trace in curve.plot().data] == ["controlled direct effect"] or len(curve.plot().data) == 2
    assert curve.plot().data[-1].y == pytest.approx((2.6, 2.6, 3.5), abs=1e-5)
    assert words.plot().data[0].orientation == "h"
    assert curve.plot("change").data[0].z.size > 0
    assert "total effect" in curve._repr_html_()
    assert "effect +3.500" in repr(curve)
    for found in (curve, words):
        assert_kept(found, tmp_path / "found.parquet")
    back = mc.results.load(curve.save(tmp_path / "curve.parquet"))
    pd.testing.assert_frame_equal(back.frame, curve.frame)
    pd.testing.assert_frame_equal(back.by_group(), curve.by_group())
    assert "and 3 more" in controlled(*hand, LEVEL, points=12).summary()


@pytest.mark.parametrize(
    ("mediator", "options", "error", "said"),
    [
        (LEVEL, {"points": 1}, DataError, "at least two points"),
        (LEVEL, {"values": []}, DataError, "no values to hold"),
        (LEVEL, {"values": "men"}, DataError, "did you mean 'mean'"),
        (LEVEL, {"values": [[1.0, 2.0]]}, DataError, "does not fit L0.z.H2@end.1d. .got 2; expected 1"),
        (["L0.z.H0", "L0.z.H1"], {"values": [[1.0, 2.0, 3.0]]}, DataError, "the value of 2 parts"),
        ("L0.mlp_post.N1", {"values": [[1.0, 2.0]]}, SiteError, "one number, not a vector"),
        ("L0.mlp_out.N99", {}, SiteError, "not in this model"),
        (LEVEL, {"values": [0.0, float("nan")]}, DataError, "cannot be held at nan .expected finite numbers"),
        (3, {}, SiteError, "not a place in a network"),
    ],
)
def test_what_is_refused_before_compute(hand, monkeypatch, mediator, options, error, said):
    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(hooked.bridge, "run", refuse)
    with pytest.raises(error, match=said) as caught:
        controlled(*hand, mediator, **options)
    assert isinstance(caught.value, MechcausalError)


def test_what_has_no_mean_and_no_coordinates(monkeypatch):
    pairs = make_pairs(lengths=(5, 7, 6), changed=(1, 3))
    controlled(loaded("gpt2"), pairs, "L1.z.H0@-1", "mean")

    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(hooked.bridge, "run", refuse)
    for mediator, values, error, said in (
        ("L1.z.H0", "mean", DataError, r"different numbers of these positions \(got 5 to 7"),
        ("L1.pattern.H0@-1", "mean", DataError, "prompts of different length have no mean of"),
        ("L1.pattern.H0@-1", 0.5, SiteError, "a distribution over positions, not a number"),
        ({"site": "L1.pattern.H0", "basis": [[1.0] * 7]}, "zero", SiteError, "an attention pattern has no subspaces"),
    ):
        with pytest.raises(error, match=said):
            controlled(loaded("gpt2"), pairs, mediator, values, batch_size=1)


def test_one_number_of_any_library(hand):
    expected = controlled(*hand, LEVEL, [0.5]).frame["change"]
    for number in (0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        assert controlled(*hand, LEVEL, number).frame["change"].tolist() == expected.tolist()
    assert len(controlled(*hand, LEVEL, torch.tensor([0.5, 1.0])).frame) == 2


def test_which_levels_have_an_effect(hand):
    """Gender held, nothing is left of it at any level; aside from it, everything at each."""
    none, all_of_it = (controlled(*hand, part, ["zero", "low", 0.5]) for part in ("L0.z.H0@end", "L0.z.H1@end"))
    assert none.frame[["p", "q", "p_max"]].to_numpy().min() == 1
    assert all_of_it.frame[["p", "q", "p_max"]].to_numpy().max() < 1e-3
    assert "0 of 3 levels have a controlled effect after correction for all of them" in repr(none)
    assert "* survives the correction for all 3 cells" in all_of_it._repr_html_()
    assert "survives" not in none._repr_html_()
