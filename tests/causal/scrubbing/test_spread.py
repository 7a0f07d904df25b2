"""Intervals of scrubbing: the variance of means whose scores share prompts, against simulations and closed forms."""

import numpy as np
import pytest

from mechcausal.causal.scrubbing.spread import Role, Spread, Term, spread
from mechcausal.results.intervals import mean_interval


def term(values, references, *roles):
    return Term((values - values.mean()) / len(values), references, tuple(Role(*role) for role in roles))


def test_without_draws_it_is_the_interval_of_all_results():
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(12), draw.integers(1, 9, 12))
    values = draw.normal(size=len(clusters)) + clusters / 5
    low, high = spread([term(values, np.arange(len(values)))], clusters).interval(values.mean())
    expected = mean_interval(values, clusters)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_scores_that_do_not_depend_on_what_was_drawn_are_as_certain_as_their_references():
    draw = np.random.default_rng(1)
    references = np.tile(np.arange(80), 3)
    values = draw.normal(size=80)[references]
    alone = spread([term(values, references)], np.arange(80)).error
    nobody = np.zeros(80, dtype=int)
    drawn = [
        spread([term(values, references, (draw.integers(80, size=240), nobody))], np.arange(80)).error
        for _ in range(50)
    ]
    assert np.mean(drawn) == pytest.approx(alone, rel=0.1)
    assert min(drawn) >= alone


@pytest.mark.parametrize("draws", [1, 3, 10])
@pytest.mark.parametrize("classes", [1, 5])
def test_the_error_is_that_of_the_simulated_mean(draws, classes):
    """Each prompt has a part as a reference and one as a draw: the spread over simulations is what is stated of each."""
    n, means, stated = 100, [], []
    for seed in range(300):
        draw = np.random.default_rng([seed, draws, classes])
        kind = np.arange(n) % classes
        references = np.tile(np.arange(n), draws)
        members = np.argsort(kind, kind="stable").reshape(classes, -1)
        rows = members[kind[references], draw.integers(members.shape[1], size=len(references))]
        values = draw.normal(size=n)[references] + draw.normal(size=n)[rows] + kind[references]
        values = values + 0.3 * draw.normal(size=len(values))
        means.append(values.mean())
        stated.append(spread([term(values, references, (rows, kind))], np.arange(n)).error)
    # The classes are the same in every simulation, but not for who states the error, which takes them for drawn.
    between = np.var(np.arange(classes)) / n
    assert np.sqrt(np.mean(np.square(stated)) - between) == pytest.approx(np.std(means), rel=0.12)
    naive = np.sqrt(np.mean(np.square(stated)) - between)
    assert naive > 1.2 / np.sqrt(n)  # the references alone would give about 1.0 to 1.05 over the root of n


def test_one_cluster_allows_no_interval():
    found = spread([term(np.arange(4.0), np.arange(4))], np.zeros(4, dtype=int))
    assert np.isnan(found.error)
    assert np.isnan(found.p(1.0))


def test_the_p_value_is_that_of_the_t_interval():
    found = Spread(0.5, 9.0)
    estimate = found.interval(0.0)[1]
    assert found.p(estimate) == pytest.approx(0.05)
    assert Spread(0.0, 9.0).p(0.0) == 1
    assert Spread(0.0, 9.0).p(0.1) == 0
