"""Rates by group and their gaps: closed forms of fairlearn's words, coverage of the intervals, functions of one's own."""

import numpy as np
import pandas as pd
import pytest
from decisions import COMPAS, units

from mechcausal import audit
from mechcausal.audits.estimate import Estimate
from mechcausal.errors import DataError


@pytest.fixture(scope="module")
def compas():
    true, decided, group = units(COMPAS)
    names = ["selection_rate", "true_positive_rate", "false_positive_rate", "false_negative_rate",
             "positive_predictive_value", "accuracy", "base_rate"]  # fmt: skip
    return audit.group_metrics(true, decided, sensitive_features=group, metrics=names)


def test_words_and_formulas_of_fairlearn(compas):
    """Closed forms of its `MetricFrame`: differences and ratios between groups and to all units."""
    rates, overall = compas.by_group, compas.overall
    for name in compas.names:
        low, high = sorted(rates[name])
        assert compas.group_min()[name] == low
        assert compas.group_max()[name] == high
        assert compas.difference()[name] == pytest.approx(high - low)
        assert compas.ratio()[name] == pytest.approx(low / high)
        to_overall = [abs(rate - overall[name]) for rate in rates[name]]
        assert compas.difference(method="to_overall")[name] == pytest.approx(max(to_overall))
        ratios = [min(rate / overall[name], overall[name] / rate) for rate in rates[name]]
        assert compas.ratio(method="to_overall")[name] == pytest.approx(min(ratios))
    everyone = np.sum(list(COMPAS.values()), axis=0)
    assert overall["accuracy"] == pytest.approx((everyone[0] + everyone[3]) / everyone.sum())
    with pytest.raises(TypeError):
        compas.difference("to_overall")


def test_a_gap_of_independent_units_is_that_of_two_samples(compas):
    gap = compas.gap("selection_rate", "African-American", "Caucasian")
    true, decided, group = map(np.array, units(COMPAS))
    first, second = (decided[group == name] for name in COMPAS)
    expected = Estimate.difference(first, second)
    assert gap.value == pytest.approx(expected.value)
    assert gap.error == pytest.approx(expected.error, rel=1e-6)
    among = compas.gap("false_positive_rate", "African-American", "Caucasian")
    rates = [decided[(group == name) & (true == 0)] for name in COMPAS]
    variance = sum(rate.var() / len(rate) for rate in rates)
    assert among.value == pytest.approx(0.4485 - 0.2345, abs=1e-4)
    assert among.error == pytest.approx(np.sqrt(variance), rel=1e-2)
    table = compas.gaps("accuracy")
    assert table["p_adjusted"].tolist() == table["p"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["selection_rate", "true_positive_rate"])
def test_intervals_of_gaps_cover_when_units_are_clustered(name):
    """A15: nominal 95 % intervals cover the truth in 92 to 98 % of clustered simulations; those of rows do not."""
    random, runs, clusters, size = np.random.default_rng(5), 200, 24, 20
    hits = {"clusters": 0} | ({"rows": 0} if name == "selection_rate" else {})
    for _ in range(runs):
        template = np.repeat(np.arange(clusters), size)
        group = np.where(random.random(clusters * size) < 0.5, "a", "b")
        shift = np.repeat(random.normal(0, 0.16, (clusters, 2)), size, axis=0)
        chance = np.clip(np.where(group == "a", 0.6 + shift[:, 0], 0.45 + shift[:, 1]), 0, 1)
        label = (random.random(clusters * size) < np.where(group == "a", 0.6, 0.4)).astype(int)
        decision = (random.random(clusters * size) < chance).astype(int)
        for how in hits:
            column = template if how == "clusters" else None
            frame = audit.group_metrics(label, decision, sensitive_features=group, clusters=column, metrics=[name])
            gap = frame.gap(name, "a", "b")
            hits[how] += gap.low <= 0.15 <= gap.high
    assert 0.92 <= hits["clusters"] / runs <= 0.98
    if name == "selection_rate":
        assert hits["rows"] / runs < 0.9


def test_control_features_and_several_sensitive_ones():
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {"sex": random.choice(["f", "m"], 400), "age": random.choice(["old", "young"], 400),
         "city": random.choice(["x", "y"], 400), "decision": random.integers(0, 2, 400)}
    )  # fmt: skip
    frame = audit.group_metrics(
        None, table["decision"], sensitive_features=table[["sex", "age"]], control_features=table["city"]
    )
    assert frame.by_group.index.names == ["control", "group"]
    inside = table[(table["city"] == "x") & (table["sex"] == "f") & (table["age"] == "old")]
    assert frame.by_group.loc[("x", "f & old"), "selection_rate"] == pytest.approx(inside["decision"].mean())
    rates = table[table["city"] == "x"].groupby(["sex", "age"])["decision"].mean()
    assert frame.difference()["selection_rate"]["x"] == pytest.approx(rates.max() - rates.min())
    assert frame.overall["selection_rate"]["y"] == pytest.approx(table[table["city"] == "y"]["decision"].mean())


def test_functions_of_ones_own_have_bootstrapped_intervals():
    random = np.random.default_rng(1)
    true, decided, group = random.integers(0, 2, 200), random.integers(0, 2, 200), ["a"] * 100 + ["b"] * 100
    metrics = {"errors": lambda y, d: float((y != d).mean())}
    frame = audit.group_metrics(true, decided, sensitive_features=group, metrics=metrics, n_boot=200, random_state=3)
    exact = audit.group_metrics(true, decided, sensitive_features=group, metrics=["accuracy"])
    low, high = frame.by_group_ci
    expected = exact.by_group_ci
    assert frame.by_group["errors"]["a"] == pytest.approx(1 - exact.by_group["accuracy"]["a"])
    assert low["errors"]["a"] == pytest.approx(1 - expected[1]["accuracy"]["a"], abs=0.03)
    assert high["errors"]["a"] == pytest.approx(1 - expected[0]["accuracy"]["a"], abs=0.03)
    with pytest.raises(DataError, match="function of your own"):
        frame.gap("errors", "a", "b")
