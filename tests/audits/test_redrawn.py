"""Networks with redrawn weights as a control: a trained one is beyond them, and they are not beyond one another."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.redrawn import beyond_zero, redrawn_effect
from mechcausal.results.redraws import bound


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.contrast("hiring/gender", hiring, n=40)


def desk_of(model, pairs, networks=4):
    plan = audit.Plan([audit.Flips(pairs)], networks=networks)
    return plan.desk(plan.questions[0], model, {"data_1": pairs}, quiet=True)


def test_a_draw_around_zero_is_judged_as_a_link_judges_it():
    drawn = np.random.default_rng(0).normal(size=16)
    edge = bound(drawn, 0.01)  # of two scales, two-sided: 0.005 each
    assert beyond_zero(edge, drawn) == pytest.approx(0.005)
    assert beyond_zero(-edge, drawn) == pytest.approx(0.005)
    assert beyond_zero(0.0, np.zeros(4)) == 1.0
    assert np.isnan(beyond_zero(1.0, np.array([np.nan, 1.0])))


@pytest.mark.slow
def test_a_trained_network_is_beyond_redrawn_ones_and_they_are_not(hiring, applicants):
    desk = desk_of(hiring, applicants, networks=8)
    before = desk.both(applicants)
    control = redrawn_effect(desk, applicants, *before)
    assert control.holds
    assert control.guards
    assert control.p < 0.01
    nothing = redrawn_effect(desk, applicants, before[1] * 1.001, before[1])
    assert nothing.p > 0.05
    sizes = redrawn_effect(desk, applicants, *before, by_size=True)
    assert sizes.p < 0.05
    again = desk_of(hiring, applicants).both(applicants)
    np.testing.assert_array_equal(before, again)  # the weights are what they were


def test_one_of_twenty_networks_that_have_learned_nothing_is_beyond_the_others():
    """Draws of a number around zero, of sizes of such numbers: about 5 % of them are beyond 16 others."""
    random, beyond = np.random.default_rng(0), {"signed": 0, "mean size": 0}
    for _ in range(1000):
        draws = random.normal(size=(17, 8)) * random.normal(1, 0.3, size=(17, 1))
        for name, values in (("signed", draws[:, 0]), ("mean size", np.abs(draws).mean(1))):
            beyond[name] += beyond_zero(values[0], values[1:]) <= 0.05
    assert 0.03 <= beyond["signed"] / 1000 <= 0.08
    assert beyond["mean size"] / 1000 <= 0.05


def test_without_networks_there_is_no_such_control(hiring, applicants):
    desk = desk_of(hiring, applicants, networks=0)
    assert redrawn_effect(desk, applicants, *desk.both(applicants)).estimate is None
