"""Shares of the total effect: against the one-cell formula, at the edge of what is of interest, chosen and estimated."""

from __future__ import annotations

import numpy as np
import pytest

from mechcausal.data.splits import split
from mechcausal.results.intervals import ratio_interval
from mechcausal.results.shares import shares


def draws(runs, n, share, draw, spread=0.3):
    """Return changes [run example] and totals whose means have exactly this ratio in the population."""
    total = 2 + 0.5 * draw.normal(size=n)
    return share * total + spread * draw.normal(size=(runs, n)), total


def test_many_shares_are_what_each_would_be_alone():
    draw = np.random.default_rng(0)
    change, total = draws(6, 40, 0.1, draw)
    change[2, :7] = np.nan
    clusters = [str(i // 3) for i in range(40)]
    found = shares(change, total, clusters)
    for number, row in enumerate(change):
        one = ratio_interval(row, total, clusters)
        assert (found.share[number], found.low[number], found.high[number]) == pytest.approx(
            (one.estimate, one.low, one.high)
        )


def test_exact_changes_have_no_interval_and_no_doubt():
    total = np.linspace(1, 2, 10)
    found = shares(np.stack([0.5 * total, 0.01 * total, 0 * total]), total)
    assert found.share == pytest.approx([0.5, 0.01, 0])
    assert found.p.tolist() == [0, 1, 1]
    assert found.beyond(0.05).tolist() == [True, False, False]
    assert found.within.tolist() == [False, True, True]


def test_without_a_total_effect_there_is_no_share():
    found = shares(np.ones((1, 10)), np.array([1.0, -1.0] * 5))
    assert np.isnan(found.share[0])
    assert np.isnan(found.p[0])
    assert not found.beyond(0.05)[0]
    assert not found.within[0]


def test_at_the_edge_of_interest_the_rate_of_discoveries_is_at_most_nominal():
    draw, runs = np.random.default_rng(1), 200
    false = 0
    for _ in range(runs):
        edge, total = draws(40, 80, 0.02, draw)  # the hardest null: every share is the smallest of interest
        edge[::2] -= 0.04 * total  # half of them on the other side
        false += bool(shares(edge, total, [str(i // 2) for i in range(80)]).beyond(0.05).any())
    assert false / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("groups", [6, 8])
def test_with_few_people_the_rate_of_discoveries_is_at_most_nominal(groups):
    """People differ in what they answer, on average by exactly the smallest share of interest; their pairs are unequal."""
    draw, runs, false = np.random.default_rng(8), 400, 0
    for _ in range(runs):
        ids = np.repeat(np.arange(groups), 1 + draw.poisson(15, groups))
        total = 2 + 0.5 * draw.normal(size=len(ids))
        own = 0.02 + 0.2 * draw.normal(size=(10, groups))[:, ids]
        change = own * total + 0.2 * draw.normal(size=(10, len(ids)))
        false += bool(shares(change, total, [str(i) for i in ids]).beyond(0.05).any())
    assert false / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_among_true_ones_the_share_of_false_ones_is_at_most_nominal():
    draw, rates = np.random.default_rng(2), []
    for _ in range(200):
        null, total = draws(60, 80, 0.02, draw)
        true = 0.25 * total + 0.3 * draw.normal(size=(20, 80))
        found = shares(np.concatenate([null, true]), total).beyond(0.05)
        rates.append(found[:60].sum() / max(1, found.sum()))
        assert found[60:].mean() > 0.5
    assert np.mean(rates) <= 0.05 + 2 * np.std(rates) / np.sqrt(200)


def test_what_is_absent_is_said_to_be():
    draw = np.random.default_rng(3)
    change, total = draws(50, 200, 0.0, draw, spread=0.1)
    found = shares(change, total)
    assert found.within.mean() > 0.9
    assert not found.beyond(0.05).any()


@pytest.mark.parametrize("size", [1, 4])
def test_chosen_on_one_half_the_estimate_on_the_other_is_not_flattered(size):
    draw = np.random.default_rng(4)
    inside, chosen_on, estimated_on = [], [], []
    for run in range(400):
        truth = np.abs(draw.normal(0.03, 0.03, 60))
        total = 2 + 0.5 * draw.normal(size=60)
        change = truth[:, None] * total + 0.4 * draw.normal(size=(60, 60))
        a, b = split(np.arange(60), 0.5, run)
        best = np.argsort(-shares(change[:, a], total[a]).share)[:size]
        together, really = change[best].sum(axis=0, keepdims=True), truth[best].sum()  # effects that add up
        found = shares(together[:, b], total[b])
        inside.append(found.low[0] <= really <= found.high[0])
        chosen_on.append(shares(together[:, a], total[a]).share[0] - really)
        estimated_on.append(found.share[0] - really)
    assert 0.92 <= np.mean(inside) <= 0.98  # nominal 0.95, standard error 0.011
    assert abs(np.mean(estimated_on)) < 3 * np.std(estimated_on) / 20
    assert np.mean(chosen_on) > 10 * abs(np.mean(estimated_on))  # what the split is for
