"""Logistic regression against scikit-learn and against coverage, and the test of invariance (A9)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mechcausal.audits.logistic import fit, interacts
from mechcausal.audits.selftest.statistics import world


def outcomes(draw, log_odds):
    return (draw.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds))).astype(float)


def test_coefficients_are_those_of_scikit_learn():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 3)) * [1, 10, 0.01]
    y = outcomes(draw, x @ [1, 0.1, 50] - 0.5)
    found = fit(np.column_stack([np.ones(len(x)), x]), y)
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(x * [1, 0.1, 100], y)
    assert found.coefficients == pytest.approx([*other.intercept_, *(other.coef_[0] * [1, 0.1, 100])], rel=1e-4)
    assert not found.separated


def test_intervals_cover_under_dependence():
    """Twelve prompts of a cluster share what they do; the interval that knows covers, the one that does not fails."""

    def drawn(draw, groups):
        clusters = np.repeat(np.arange(groups), 12)
        x, lean = draw.normal(size=groups)[clusters], 2 * draw.normal(size=groups)[clusters]
        y = (x + lean + draw.logistic(size=len(x)) > 0).astype(float)
        return np.column_stack([np.ones(len(x)), x]), y, clusters

    truth = fit(*drawn(np.random.default_rng(10**6), 20_000)).coefficients[1]
    hits = {"clustered": 0, "apart": 0}
    for seed in range(150):
        columns, y, clusters = drawn(np.random.default_rng(seed), 40)
        for name, ids in (("clustered", clusters), ("apart", ())):
            estimate = fit(columns, y, ids).estimate(1)
            hits[name] += estimate.low <= truth <= estimate.high
    assert hits["clustered"] / 150 > 0.88
    assert hits["apart"] / 150 < 0.75


def test_separated_classes_have_no_slope():
    x = np.linspace(-1, 1, 40)
    found = fit(x[:, None], (x > 0).astype(float))
    assert found.separated
    assert np.isnan(found.estimate(0).value)
    assert fit(np.ones((20, 1)), np.ones(20)).separated


def test_a_cause_is_invariant_and_a_correlate_is_not():
    """A9 is one of the self-test; its statistic is that of three environments with a slope and an intercept each."""
    _, gender, label, names = world(np.random.default_rng(1), 1500)
    statistic, freedom, p = interacts(gender, label, names)
    assert p < 1e-6
    assert statistic > 1000
    assert freedom == 4


def test_dependent_prompts_need_the_clustered_test():
    """Environments of few clusters: with whole clusters the test keeps its level, and counting prompts it does not."""
    rates = {}
    for name in ("clusters", "prompts"):
        rejected = []
        for seed in range(80):
            draw = np.random.default_rng([seed, 9])
            clusters = np.repeat(np.arange(30), 10)
            x = draw.normal(size=30)[clusters] + 0.1 * draw.normal(size=300)
            y = outcomes(draw, x + 1.5 * draw.normal(size=30)[clusters])
            environments = np.where(clusters < 15, "a", "b")
            rejected.append(interacts(x, y, environments, clusters if name == "clusters" else ())[2] <= 0.05)
        rates[name] = np.mean(rejected)
    assert rates["clusters"] <= 0.12
    assert rates["prompts"] > 0.3
