"""Predicted against measured effects: 1 where the network is linear, and gradients that fail where attention saturates."""

from __future__ import annotations

import re

import linear
import numpy as np
import planted
import pytest
import torch
from scipy.stats import spearmanr

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.explaining.validity import sign_agreement, slope_of, spearman
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.models.binding import attach
from mechcausal.models.hooked import forward


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return linear.load(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def pairs(network):
    return planted.pairs(network, n=48)


@pytest.fixture(scope="module")
def ioi():
    return mc.load("organism:ioi")


def asked(model, data, **fields):
    question = audit.InterventionalValidity(data, **fields)
    return question.answer(audit.Desk(model, {"data": data}, networks=0, quiet=True))


def summary(answer):
    return dict(zip(answer.table["site"], answer.table["value"], strict=True))


@pytest.mark.parametrize("predicted", ["gradient", "integrated gradients", "path gradients"])
def test_in_a_linear_network_every_gradient_is_right(network, pairs, predicted):
    """Behind its one layer the network is linear, so the effect of every feature can be written down, and is the gradient."""
    streams = [
        forward(network, side, read=[planted.SITE]).read[planted.SITE][:, -1] for side in (pairs.clean, pairs.corrupt)
    ]
    made = planted.Split(torch.cat(streams), 0)
    attach(network, made, planted.SITE, name="split")
    options = {"sites": "L0.resid_post.sae:split.F*", "at": "@end", "direction": "noise"}
    answer = asked(network, pairs, predicted=predicted, steps=2, **options)
    exact = planted.effects(made, *streams, pairs).mean(1)
    table = answer.table.dropna(subset=["measured"])
    numbers = [int(re.search(r"F(\d+)", name)[1]) for name in table["site"]]
    assert table["measured"].to_numpy() == pytest.approx(exact[numbers], abs=2e-3)
    assert (np.abs(exact) > 0.01).sum() > 3
    assert answer.estimate.value > 0.999
    assert summary(answer)["all sites: slope"] == pytest.approx(1.0, abs=1e-3)
    assert summary(answer)["all sites: share of right signs"] == 1.0
    assert answer.controls[0].holds


def test_direct_attribution_is_the_effect_where_all_paths_are_direct(network, pairs):
    answer = asked(network, pairs, predicted="direct", sites="z")
    assert answer.estimate.value == pytest.approx(1.0, abs=1e-9)
    assert summary(answer)["all sites: slope"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_gradients_fail_where_attention_is_saturated(ioi):
    """The queries of organism:ioi decide by a saturated softmax: its slope says next to nothing of what a swap does."""
    pairs = mc.contrast("ioi/subject", ioi, n=40)
    findings = {}
    for predicted in ("gradient", "path gradients"):
        plan = audit.Plan([audit.InterventionalValidity(pairs, predicted=predicted, steps=16, at_least=0.9)])
        findings[predicted] = plan.run(ioi, quiet=True).findings[0]
    assert findings["gradient"].status == "fail"
    assert findings["gradient"].estimate.value < 0.75
    assert findings["path gradients"].status == "pass"
    assert findings["path gradients"].estimate.value > 0.98


def test_what_can_be_read_is_not_what_is_used(network, pairs):
    """The idle direction of the planted network tells the sides apart, and nothing reads it: a probe orders it first."""
    answer = asked(network, pairs, predicted="probe", sites="z")
    # Reports compare the correlation draw by draw, of the pairs that judge.
    spread = np.quantile(answer.resamples, [0.025, 0.975])
    assert len(answer.unit_clusters) == answer.estimate.n_clusters < len(pairs)
    assert spread == pytest.approx([answer.estimate.low, answer.estimate.high], abs=0.1)
    table = answer.table.dropna(subset=["measured"]).set_index("site")
    idle = next(name for name in table.index if "H2" in name)  # the head that copies the word e
    assert abs(table.loc[idle, "measured"]) < 1e-3
    assert table.loc[idle, "predicted"] > 1


def test_the_numbers_by_hand():
    first, second = np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 3, 5])
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman(first, np.ones(4)) == 0
    assert sign_agreement(np.array([1.0, -1, 1]), np.array([1.0, 1, 1e-9])) == 0.5
    assert slope_of(first, 2 * first + 1) == pytest.approx(2)


def test_edges_can_be_predicted_as_well():
    model = mc.load("organism:by_hand")
    pairs = mc.contrast("by_hand/gender", model, n=12)
    answer = asked(model, pairs, predicted="eap-ig")
    assert answer.estimate.value > 0.8
    assert answer.cannot_fail
    assert any("->" in str(name) for name in answer.table["site"])


def test_what_is_wrong_is_said_before_the_run(network, pairs):
    few = pairs.take([0, 1, 2, 3])
    with pytest.raises(PlanError, match="bring at least 8"):
        audit.Plan([audit.InterventionalValidity(few, predicted="probe")]).run(network)
    assert "asked of pairs" in audit.Plan([audit.InterventionalValidity(pairs.clean)]).problems(network)[0]
    plan = plan_of({
        "data": {"x": {"contrast": "hiring/gender"}},
        "question": [{"ask": "interventional_validity", "data": "x", "predicted": "direct", "sites": ["z", "mlp_out"], "at_least": 0.5}],
    })  # fmt: skip
    assert plan.questions[0].sites == ("z", "mlp_out")
    import tomllib

    assert plan_of(tomllib.loads(plan.to_toml())).hash == plan.hash
