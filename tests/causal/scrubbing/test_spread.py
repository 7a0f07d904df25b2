"""Intervals of scrubbing: the variance of means whose scores share prompts, against simulations and closed forms."""

import itertools

import numpy as np
import pytest

from mechcausal.causal.scrubbing.spread import Role, Spread, Term, _between, _Seat, _within_classes, spread
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


def like(rows, kind, draw):
    """Draw for each row a prompt of its class; all classes are of one size."""
    members = np.argsort(kind, kind="stable").reshape(kind.max() + 1, -1)
    return members[kind[rows], draw.integers(members.shape[1], size=len(rows))]


@pytest.mark.parametrize("draws", [1, 3, 10])
@pytest.mark.parametrize("classes", [1, 5])
def test_the_error_is_that_of_the_mean(draws, classes):
    """Each prompt has a part of its own as a reference and one as a draw, all of variance 1."""
    n, noise, variances = 100, 0.3, []
    for seed in range(300):
        draw = np.random.default_rng([seed, draws, classes])
        kind = np.arange(n) % classes
        references = np.tile(np.arange(n), draws)
        rows = like(references, kind, draw)
        values = draw.normal(size=n)[references] + draw.normal(size=n)[rows] + kind[references]
        values = values + noise * draw.normal(size=len(values))
        variances.append(spread([term(values, references, (rows, kind))], np.arange(n)).error ** 2)
    # A prompt is drawn `draws` times, give or take: the mean square of a binomial count, relative to its mean.
    truth = (1 + (1 + (1 - classes / n) / draws) + noise**2 / draws) / n
    # The classes are the same in every simulation, but not for who states the error, which takes them for drawn.
    between = np.var(np.arange(classes)) / n
    assert np.mean(variances) - between == pytest.approx(truth, rel=0.12)
    assert truth > 2 / n  # the references alone would give half as much


def six_places(seed, draws, *, alike):
    """Return scores of six places that draw from four classes; a prompt's parts there are the same, or all different."""
    n, places = 100, 6
    draw = np.random.default_rng([seed, draws, alike])
    kind = np.arange(n) % 4
    references = np.tile(np.arange(n), draws)
    rows = [like(references, kind, draw) for _ in range(places)]
    parts = np.tile(draw.normal(size=n), (places + 1, 1)) if alike else draw.normal(size=(places + 1, n))
    values = sum(part[who] for part, who in zip(parts, (references, *rows), strict=True))
    return term(values, references, *((who, kind) for who in rows))


@pytest.mark.parametrize("draws", [1, 3])
def test_what_a_prompt_does_in_one_role_and_again_in_another_is_counted_in_full(draws):
    """Without the comparison with pairs that share nobody, it is .73 and .88 of the truth."""
    variances = [spread([six_places(seed, draws, alike=True)], np.arange(100)).error ** 2 for seed in range(300)]
    # A prompt is in 7 places, and how often it is drawn for 6 of them varies.
    truth = (49 + 6 * (1 - 4 / 100) / draws) / 100
    assert np.mean(variances) == pytest.approx(truth, rel=0.1)


def test_what_has_nothing_in_common_between_roles_adds_nothing_on_average():
    """Without the comparison it takes off .11, most of the variance, which is .13."""
    between = []
    for seed in range(300):
        scores = six_places(seed, 1, alike=False)
        seats = [_Seat(scores.values, scores.references, np.zeros(100, dtype=int))]
        seats += [_Seat(_within_classes(scores.values, role)[1], role.rows, role.classes) for role in scores.roles]
        between.append(2 * sum(_between(*pair, np.arange(100)) for pair in itertools.combinations(seats, 2)))
    assert abs(np.mean(between)) < 3 * np.std(between) / np.sqrt(300)
    assert np.std(between) / np.sqrt(300) < 0.005


@pytest.mark.parametrize("clusters", [np.arange(12), np.arange(12) // 2, np.array([0, 1, 2] * 4)])
def test_what_two_places_have_in_common_against_all_pairs(clusters):
    """Pair by pair: those that share a cluster, less what pairs of the same classes have that share none."""
    draw = np.random.default_rng(3)
    first, second = (_Seat(draw.normal(size=30), draw.integers(12, size=30), np.arange(12) % k) for k in (2, 3))
    total, shared, apart = 0.0, {}, {}
    for i, j in itertools.permutations(range(30), 2):
        one, other = first.rows[i], second.rows[j]
        product = first.values[i] * second.values[j]
        same = clusters[one] == clusters[other]
        total += product * same
        kind = (one % 2, one % 3)
        if kind == (other % 2, other % 3):
            (shared if same else apart).setdefault(kind, []).append(product)
    expected = sum(len(pairs) * np.mean(apart[kind]) for kind, pairs in shared.items() if kind in apart)
    assert _between(first, second, clusters) == pytest.approx(total - expected)


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
