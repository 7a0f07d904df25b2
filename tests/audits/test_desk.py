import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.audits.desk import Desk
from mechcausal.interventions import Edit, Zero
from mechcausal.models import bridge


@pytest.fixture(scope="module")
def model(hiring):
    return hiring


@pytest.fixture(scope="module")
def pairs(model):
    return mc.contrast("hiring/gender", model, n=24)


def test_outcomes_are_what_measuring_gives_and_are_run_once(model, pairs):
    desk = Desk(model, {"data": pairs})
    clean, corrupt = desk.both(pairs)
    measured = mc.measure(model, pairs, "logit_diff")
    np.testing.assert_allclose(clean, measured.examples[0], atol=1e-5)
    np.testing.assert_allclose(corrupt, measured.examples[1], atol=1e-5)
    assert desk.counter["forwards"] == 48
    desk.both(pairs)
    assert desk.counter["forwards"] == 48
    assert desk.size == 48


def test_outcomes_under_edits_are_those_of_an_ablation(model, pairs):
    edit = Edit(mc.Place.parse("L1.z.H2").site, Zero())
    desk = Desk(model, {"data": pairs}, edits=(edit,))
    ablated = mc.ablate(model, pairs.clean, sites="L1.z.H2", do="zero", at="all")
    np.testing.assert_allclose(desk.outcomes(pairs.clean), ablated.examples[0], atol=1e-4)


def test_prompts_can_be_rewritten(model, pairs):
    swapped = {pairs.clean.hash: pairs.corrupt}
    desk = Desk(model, {"data": pairs}, rewrite=lambda prompts: swapped.get(prompts.hash, prompts))
    np.testing.assert_allclose(desk.outcomes(pairs.clean), Desk(model, {}).outcomes(pairs.corrupt), atol=1e-6)


def test_redrawn_networks_leave_the_model_as_it_was(model, pairs):
    before = [weight.clone() for weight in bridge.underlying(model).parameters()]
    desk = Desk(model, {"data": pairs}, networks=4, quiet=True)
    own = float(np.mean(desk.outcomes(pairs.clean) - desk.outcomes(pairs.corrupt)))
    control = desk.against_redraws(("shift",), lambda other: float(np.mean(np.subtract(*other.both(pairs)))), own)
    for weight, old in zip(bridge.underlying(model).parameters(), before, strict=True):
        assert torch.equal(weight, old)
    assert control.guards
    assert control.estimate.n == 4
    assert len(desk.rows.done) == 4
    assert 0 <= control.p <= 1


def test_the_control_says_how_likely_another_draw_is(model):
    """Of draws from a standard normal, one more lies above 1.96 in about 2.5 of a hundred cases."""
    desk = Desk(model, {}, networks=400, quiet=True)
    values = iter(np.random.default_rng(0).normal(size=400))
    desk.rows.row = lambda name, compute: float(next(values))
    control = desk.against_redraws(("normal",), lambda other: 0.0, 1.96)
    assert control.p == pytest.approx(0.025, abs=0.01)
    other = Desk(model, {}, networks=3, quiet=True)
    other.rows.row = lambda name, compute: 1.0
    assert other.against_redraws(("one",), lambda desk: 1.0, 1.0).p == 1.0
    assert other.against_redraws(("one",), lambda desk: 1.0, 1.5).p == 0.0


def test_without_networks_there_is_no_control(model):
    control = Desk(model, {}, networks=0).against_redraws(("none",), lambda desk: 0.0, 1.0)
    assert control.estimate is None
    assert not control.guards


def test_a_bar_passes_everything_on(model):
    assert list(Desk(model, {}, quiet=True).bar(range(3), "counting")) == [0, 1, 2]
