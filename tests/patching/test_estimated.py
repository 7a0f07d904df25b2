"""The uncertainty of a mean that replaces an activation: finite differences, and coverage where the truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Selection, Site
from mechcausal.interventions import Edit, Mean
from mechcausal.metrics import metric
from mechcausal.models.engine import Plan, evaluate, mean_activations
from mechcausal.patching.estimated import MeanInfluence, why_known
from mechcausal.results.intervals import mean_intervals


@pytest.fixture(scope="module")
def by_hand():
    return mc.load("organism:by_hand")


def plan_of(model, base, pool, sites, at, *, per_position, name="logit_diff"):
    cells = [(Edit(Site.parse(site), Mean(), Selection.parse(at)),) for site in sites]
    wholes = list(dict.fromkeys(edit.site.whole for cell in cells for edit in cell))
    means = mean_activations(model, pool, wholes, batch_size=16, per_position=per_position)
    return Plan(base, cells, metric(name), reference=base, means=means)


def moved_by_each(model, plan, pool, *, per_position, step):
    """Return influence and bias by brute force: every cell with the weight of one example raised.

    The influence is how the mean of all examples moves, the bias how the example itself does, a share of all of them.
    """
    unchanged, moved = evaluate(model, plan, batch_size=64).values, []
    for row in range(len(plan.base)):
        its = pool.take(list(range(row, len(pool), len(plan.base))))
        # Over positions a long prompt has a larger share of the mean.
        share = 1.0 if per_position else float(its.mask.sum() / pool.mask.sum()) * len(plan.base)
        own = mean_activations(model, its, list(plan.means), batch_size=16, per_position=per_position)
        means = {site: mean + step * share * (own[site] - mean) for site, mean in plan.means.items()}
        moved.append((evaluate(model, replace(plan, means=means), batch_size=64).values - unchanged) / step)
    by_example = np.stack(moved, axis=1)  # [cell moved example]
    bias = np.trace(by_example, axis1=1, axis2=2) / len(plan.base) ** 2
    around = by_example.mean(2)
    return around - around.mean(1, keepdims=True) + bias[:, None]


@pytest.mark.parametrize("at", ["@-1", "@1:3"])
def test_it_is_the_finite_difference_where_the_model_is_linear(by_hand, at):
    """The network by hand has no norms: what comes after its neurons is a straight line."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    plan = plan_of(
        by_hand,
        pairs.clean,
        pairs.pooled,
        ["L1.mlp_out", "L1.resid_post", "L1.z.H0"],
        at,
        per_position=True,
        name="logit_diff",
    )
    influence = MeanInfluence(by_hand, plan, pairs.pooled, by_hand, True, 3).of_examples()
    expected = moved_by_each(by_hand, plan, pairs.pooled, per_position=True, step=1e-2)
    np.testing.assert_allclose(influence, expected, atol=2e-3)
    np.testing.assert_allclose(influence.mean(1), expected.mean(1), atol=2e-4)


@pytest.mark.parametrize("lengths", [(7,) * 6, (7, 5, 6, 7, 5, 6)])
def test_it_is_near_the_finite_difference_of_parts_where_a_model_is_curved(lengths):
    model, prompts = loaded("gpt2"), make_pairs(lengths).clean
    per_position = len(set(lengths)) == 1
    plan = plan_of(model, prompts, prompts, ["L1.z.H2", "L1.v.H3", "L0.mlp_post.N3"], "all", per_position=per_position)
    influence = MeanInfluence(model, plan, prompts, model, per_position, 4).of_examples()
    expected = moved_by_each(model, plan, prompts, per_position=per_position, step=1e-2)
    for row, truth in zip(influence, expected, strict=True):
        assert np.corrcoef(row, truth)[0, 1] > 0.7
        assert 0.5 < row.std() / truth.std() < 2


@pytest.mark.parametrize("lengths", [(7,) * 6, (7, 5, 6, 7, 5, 6)])
def test_it_is_the_finite_difference_of_whole_activations_and_joint_cells(lengths):
    """They move the metric far, so the slope is taken where they leave it."""
    model, prompts = loaded("gpt2"), make_pairs(lengths).clean
    per_position = len(set(lengths)) == 1
    sites = ["L0.attn_out", "L2.mlp_out", "L1.resid_post", "L1.resid_mid", "L1.z", "L2.q.H1"]
    plan = plan_of(model, prompts, prompts, sites, "all", per_position=per_position)
    (first,), (second,) = plan.cells[0], plan.cells[1]
    plan = replace(plan, cells=[*plan.cells, (first, second)])
    influence = MeanInfluence(model, plan, prompts, model, per_position, 4).of_examples()
    expected = moved_by_each(model, plan, prompts, per_position=per_position, step=1e-3)
    np.testing.assert_allclose(influence, expected, atol=0.02 * np.abs(expected).max(), rtol=0.02)
    bias = expected.mean(1)
    np.testing.assert_allclose(influence.mean(1), bias, atol=0.02 * np.abs(bias).max(), rtol=0.02)


def test_the_interval_counts_it():
    model, pairs = loaded("gpt2"), make_pairs((7,) * 12)
    counted = mc.ablate(model, pairs, sites="z", do="mean")
    known = mc.ablate(model, pairs, sites="z", do="mean", reference=pairs)
    np.testing.assert_allclose(counted.frame["change"], known.frame["change"], atol=1e-6)
    widths = [result.frame["change_high"] - result.frame["change_low"] for result in (counted, known)]
    assert (np.abs(widths[0] - widths[1]) > 1e-6).all()
    assert "mean_taken_as_known" not in counted.provenance.arguments
    assert "other prompts" in known.provenance.arguments["mean_taken_as_known"]


def test_it_is_said_where_prompts_are_much_of_their_own_mean():
    model, task = mc.load("organism:hiring"), mc.task("hiring")
    few = mc.ablate(model, task.prompts(model, 12), sites=["L2.mlp_out", "L2.z.H3"], do="mean")
    assert "note: each of the 12 examples is a part of the mean that replaces it, which takes 1 cell " in few.summary()
    others = mc.ablate(
        model, task.prompts(model, 12), sites="L2.mlp_out", do="mean", reference=task.prompts(model, 50, seed=1)
    )
    many = mc.ablate(model, task.prompts(model, 400), sites="L2.mlp_out", do="mean")
    for result in (others, many):
        assert "part of the mean" not in result.summary()
    # As wide as the same without the bias, and the bias at a right angle.
    around = few.influence - few.influence.mean(1, keepdims=True)
    narrower = mean_intervals(few.examples - few.baselines["base"], few.clusters, influence=around)
    width = (few.frame["change_high"] - few.frame["change_low"]).to_numpy()
    assert (width > narrower["high"] - narrower["low"]).all()


def test_what_is_taken_as_known_is_said():
    model, pairs = loaded("gpt2"), make_pairs((7,) * 4)
    for options in ({"metric": "accuracy"}, {"sites": "pattern"}, {"metric": "kl"}):
        assert mc.ablate(model, pairs, do="mean", **options).provenance.arguments["mean_taken_as_known"]
    assert "mean_taken_as_known" not in mc.ablate(model, pairs, do="zero").provenance.arguments
    plan = plan_of(model, pairs.clean, pairs.clean, ["L0.z"], "all", per_position=True)
    assert why_known(plan, same_prompts=True) == ""


@pytest.mark.slow
def test_the_interval_covers_where_the_mean_decides():
    """Effects by means of 48 prompts, against the effect by the mean of all 1,000; nominal is 95 %.

    Taken in the unedited run, the slope gave 84 % here (`benchmarks/coverage.py --only means`).
    """
    model = loaded("gpt2")
    population = make_pairs((6,) * 1000, seed=3).clean
    truth = mc.ablate(model, population, sites=["L0.attn_out"], do="mean").frame["change"].iloc[0]
    draw, inside = torch.Generator().manual_seed(0), []
    for _ in range(150):
        sample = population.take(torch.randperm(1000, generator=draw)[:48].tolist())
        row = mc.ablate(model, sample, sites=["L0.attn_out"], do="mean").frame.iloc[0]
        inside.append(row["change_low"] <= truth <= row["change_high"])
    assert 0.92 <= np.mean(inside) <= 0.98
