"""Decisions about groups as columns: counts that anybody can check, and wrong input."""

import numpy as np
import pytest
from decisions import COMPAS, units

from mechcausal import audit
from mechcausal.audits.fairness.group_metrics import group_problem
from mechcausal.errors import ArgumentError, DataError, MechcausalError


@pytest.fixture(scope="module")
def compas():
    true, decided, group = units(COMPAS)
    names = ["selection_rate", "true_positive_rate", "false_positive_rate", "false_negative_rate",
             "positive_predictive_value", "accuracy", "base_rate"]  # fmt: skip
    return audit.group_metrics(true, decided, sensitive_features=group, metrics=names)


def test_the_published_rates_of_compas(compas):
    rates = compas.by_group
    published = {
        "African-American": {"false_positive_rate": 0.4485, "false_negative_rate": 0.2799,
                             "positive_predictive_value": 0.6297, "base_rate": 0.5143},
        "Caucasian": {"false_positive_rate": 0.2345, "false_negative_rate": 0.4772, "positive_predictive_value": 0.5913,
                      "base_rate": 0.3936},
    }  # fmt: skip
    for group, expected in published.items():
        for name, value in expected.items():
            assert rates.loc[group, name] == pytest.approx(value, abs=5e-5)
    assert compas.counts.to_dict() == {"African-American": 3696, "Caucasian": 2454}


def test_calibration_by_group_is_what_is_true_less_what_was_predicted():
    label, score = [1, 0] * 20, [0.8, 0.1] * 10 + [0.5, 0.5] * 10
    frame = audit.group_metrics(
        label, label, sensitive_features=["a"] * 20 + ["b"] * 20, y_score=score, metrics=["calibration"]
    )
    assert frame.by_group["calibration"].tolist() == pytest.approx([0.05, 0.0])


def test_a_group_of_three_is_refused_by_name():
    group = ["a"] * 30 + ["tiny"] * 3
    with pytest.raises(DataError, match="the group 'tiny' has 3 units, fewer than the 10"):
        audit.group_metrics([1] * 33, [1] * 33, sensitive_features=group)
    assert group_problem(["a"] * 40) == "there is only the group 'a', so there is nothing to compare"
    assert not group_problem(["a"] * 10 + ["b"] * 10)
    assert "where the control is y" in group_problem(group[:20] + ["b"] * 20, ["x"] * 38 + ["y"] * 2)


def test_wrong_input_is_refused():
    group = ["a"] * 10 + ["b"] * 10
    with pytest.raises(DataError, match="two kinds of values"):
        audit.group_metrics([0, 1, 2, 1] * 5, [1] * 20, sensitive_features=group)
    with pytest.raises(DataError, match="there is no metric 'accurracy'"):
        audit.group_metrics([1] * 20, [1] * 20, sensitive_features=group, metrics=["accurracy"])
    with pytest.raises(DataError, match="differ in length"):
        audit.group_metrics([1] * 19, [1] * 20, sensitive_features=group)
    with pytest.raises(DataError, match="needs y_true"):
        audit.group_metrics(None, [1] * 20, sensitive_features=group, metrics=["accuracy"])
    with pytest.raises(DataError, match="no group 'c'"):
        audit.group_metrics([1] * 20, [1] * 20, sensitive_features=group).estimate("accuracy", "c")
    with pytest.raises(ArgumentError):
        audit.group_metrics([1] * 20, [1] * 20, sensitive_features=group, level=1.5)
    words = audit.group_metrics(["yes"] * 20, ["yes", "no"] * 10, sensitive_features=group, pos_label="yes")
    assert words.overall["selection_rate"] == 0.5


NO_COLUMN = (0, 1.5, "x", b"x", [], {}, object(), float("nan"), int, np.zeros((2, 2)), [["a"], ["b"]])


@pytest.mark.parametrize("name", ["y_true", "y_pred", "sensitive_features", "clusters", "control_features", "y_score"])
@pytest.mark.parametrize("wrong", NO_COLUMN, ids=lambda value: type(value).__name__)
def test_what_is_no_column_is_refused(name, wrong):
    group = ["a"] * 10 + ["b"] * 10
    given = {"y_true": [1] * 20, "y_pred": [1] * 20, "sensitive_features": group} | {name: wrong}
    with pytest.raises(MechcausalError):
        audit.group_metrics(given.pop("y_true"), given.pop("y_pred"), **given)
