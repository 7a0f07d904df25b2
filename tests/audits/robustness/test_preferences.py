"""Preference data by themselves: weights against scikit-learn, overlap in closed form, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import mechcausal as mc
from mechcausal.audits.robustness.preferences import differences, numbers, overlap, weights, wrong_preferences
from mechcausal.audits.selftest.rewarded import LENGTH, preferences, truthful
from mechcausal.errors import DataError


def pairs(**columns):
    """Return pairs of by-hand texts, one for each entry of the columns; `x` and `corrupt_x` are the two sides."""
    rows = [
        {"clean": f"he {('high', 'low')[number % 2]} ask", "corrupt": "she high ask", "number": number,
         **{name: values[number] for name, values in columns.items()}}
        for number in range(len(next(iter(columns.values()))))
    ]  # fmt: skip
    return mc.Contrast.read(rows, mc.load("organism:by_hand"))


def test_differences_are_clean_less_corrupt():
    made = pairs(length=[3, 1.5], corrupt_length=[1, 2])
    assert differences(made, "length").tolist() == [2, -0.5]
    assert numbers(made, "length", "corrupt").tolist() == [1, 2]
    with pytest.raises(DataError, match="did you mean 'length'"):
        differences(made, "lenght")
    with pytest.raises(DataError, match="'tone' is not a number on the corrupt side of pair 1"):
        differences(pairs(tone=[1, 2], corrupt_tone=[2, "loud"]), "tone")


def test_weights_are_those_of_scikit_learn_whichever_answer_comes_first():
    made = preferences(3000, 0.5).contrast(truthful(), 300)
    x = np.column_stack([differences(made, name) for name in ("length", "quality")])
    turned = np.where(np.arange(len(x)) % 2, 1, -1)
    plain = {"C": np.inf, "fit_intercept": False, "tol": 1e-10, "max_iter": 5000}
    fitted = weights(made, "length", ("quality",))
    both = LogisticRegression(**plain).fit(x * turned[:, None], turned)
    assert [fitted.beside.value, fitted.others["quality"].value] == pytest.approx(both.coef_[0], rel=1e-4)
    alone = LogisticRegression(**plain).fit(x[:, :1] * turned[:, None], turned)
    assert fitted.alone.value == pytest.approx(alone.coef_[0][0], rel=1e-4)
    assert fitted.beside.low < LENGTH < fitted.beside.high
    assert fitted.r2 == pytest.approx(overlap(x[:, 0] * turned, x[:, 1:] * turned[:, None]))
    assert fitted.correlations["quality"] ** 2 == pytest.approx(fitted.r2, abs=0.01)


def test_overlap_in_closed_form():
    draw = np.random.default_rng(0)
    others, noise = draw.normal(size=(20_000, 2)), draw.normal(size=20_000)
    assert overlap(others[:, 0] + others[:, 1] + noise, others) == pytest.approx(2 / 3, abs=0.01)
    assert overlap(noise, others) == pytest.approx(0, abs=1e-3)
    assert overlap(others[:, 0] - 2 * others[:, 1], others) == 1
    assert overlap(noise[:2], others[:2]) == 1  # as many columns as pairs


def test_a_nuisance_that_is_given_away_has_no_weight():
    draw = np.random.default_rng(0)
    quality = draw.normal(size=40)
    made = pairs(
        length=(2 * quality).tolist(), corrupt_length=[0] * 40, quality=quality.tolist(), corrupt_quality=[0] * 40
    )
    fitted = weights(made, "length", ("quality",))
    assert fitted.r2 == 1
    assert np.isnan(fitted.beside.value)
    assert np.isfinite(fitted.alone.value)


def test_what_is_wrong_is_said():
    def said(nuisance="length", others=("quality",), n=12, **columns):
        usual = {
            "length": range(n),
            "corrupt_length": [1.5] * n,
            "quality": [1, 2] * (n // 2),
            "corrupt_quality": [0] * n,
        }
        return list(wrong_preferences(pairs(**usual | columns), nuisance, others, "choices"))

    assert said() == []
    assert "never differ in 'length' in choices" in said(length=[1.5] * 12)[0]
    assert "no variable or column 'taste'" in said(others=("taste",))[0]
    assert "choices has 4 clusters, too few to weigh 2 columns: bring at least 6" in said(n=4)[0]
    assert "3 clusters" in said(cluster=["a", "b", "c"] * 4)[0]
