"""Which gaps cannot be closed together: the identity on published counts, and each forced gap by brute force."""

import numpy as np
import pytest
from decisions import COMPAS, units

from mechcausal import audit
from mechcausal.audits.fairness.impossibility import (
    FORCED,
    SHORT,
    false_positive_rate,
    forced,
    identity,
    picture,
    sentence,
)


@pytest.fixture(scope="module")
def compas():
    true, decided, group = units(COMPAS)
    return audit.group_metrics(true, decided, sensitive_features=group)


def test_the_identity_holds_on_the_counts_of_compas(compas):
    table = identity(compas)
    np.testing.assert_allclose(table["fpr_by_identity"], table["false_positive_rate"], atol=1e-12)
    assert false_positive_rate(1901 / 3696, 1369 / 2174, 532 / 1901) == pytest.approx(805 / 1795, abs=1e-12)


def test_each_forced_gap_is_that_of_two_tables_with_the_closed_rates(compas):
    """Brute force: a two-by-two table per group that has the two closed rates; its third rate is read off."""
    table = forced(compas).set_index("closed")
    overall = {name: compas.estimate(name).value for name in SHORT}
    for (first, second), (third, _) in FORCED.items():
        row = table.loc[f"{SHORT[first]} and {SHORT[second]}"]
        for group, rate in ((row["group"], row["rate"]), (row["other"], row["other_rate"])):
            base = compas.estimate("base_rate", group).value
            found = solved(base, {first: overall[first], second: overall[second]})
            assert found[third] == pytest.approx(rate, abs=1e-9)


def solved(base, closed):
    """Return all rates of the table (true positives, false positives) that has a base rate and two rates: linear equations."""
    rows, right = [], []
    for name, rate in closed.items():
        equation = {
            "selection_rate": ([1, 1], rate), "true_positive_rate": ([1, 0], rate * base),
            "false_positive_rate": ([0, 1], rate * (1 - base)), "positive_predictive_value": ([1 - rate, -rate], 0.0),
        }[name]  # fmt: skip
        rows.append(equation[0])
        right.append(equation[1])
    true, false = np.linalg.solve(rows, right)
    return {
        "selection_rate": true + false, "true_positive_rate": true / base, "false_positive_rate": false / (1 - base),
        "positive_predictive_value": true / (true + false),
    }  # fmt: skip


def test_what_is_said(compas):
    text = sentence(compas)
    assert "base rates of 0.514 (African-American) and 0.394 (Caucasian)" in text
    assert "TPR and FPR equal forces a PPV gap of +" in text
    matrix = picture(compas)
    assert len(matrix.cells) == len(matrix.columns) == 4
    assert matrix.cells[1][2].text.startswith("PPV +")
    assert matrix.cells[2][1] == matrix.cells[1][2]


def test_with_equal_base_rates_all_gaps_can_be_zero():
    true, decided, group = units({"a": (30, 10, 10, 30), "b": (60, 20, 20, 60)})
    assert "all gaps can be zero together" in sentence(audit.group_metrics(true, decided, sensitive_features=group))
