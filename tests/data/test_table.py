"""Tables of units and the noise they are drawn from."""

import numpy as np
import pytest

from mechcausal.data.table import computed, drawn, n_units, outcome_of, probabilities, rows
from mechcausal.errors import DataError

TABLE = {"a": np.array([1, 2, 3]), "b": np.array([0.5, 0.25, 0.125])}


def test_rows_and_outcomes():
    assert n_units(TABLE) == 3
    assert n_units({}) == 0
    assert rows(TABLE, np.array([2, 0]))["a"].tolist() == [3, 1]
    assert outcome_of(TABLE, "b").tolist() == [0.5, 0.25, 0.125]
    assert outcome_of(TABLE, lambda table: table["a"] > 1).tolist() == [0, 1, 1]


def test_noise_is_uniform_weighted_or_a_function():
    draw = np.random.default_rng(0)
    counts = np.bincount(drawn("u", (0.25, 0.75), draw, 8000), minlength=2) / 8000
    np.testing.assert_allclose(counts, [0.25, 0.75], atol=0.02)
    assert probabilities("u", 4).tolist() == [0.25] * 4
    assert drawn("u", lambda draw, n: np.ones((n, 2)), draw, 5).shape == (5, 2)


def test_what_is_no_distribution_is_refused():
    for spec in (0, (0.5, 0.6), (1.5, -0.5)):
        with pytest.raises(DataError, match="'u'"):
            probabilities("u", spec)
    with pytest.raises(DataError, match="no finite domain"):
        probabilities("u", lambda draw, n: n)
    with pytest.raises(DataError, match=r"wrong number of values.*expected 5 rows"):
        drawn("u", lambda draw, n: np.ones(n + 1), np.random.default_rng(0), 5)


def test_columns_of_mechanisms():
    column = np.arange(4)
    assert computed("a", lambda u: u > 1, {"u": column}, 4).tolist() == [0, 0, 1, 1]
    assert computed("a", lambda: 3, {}, 2).tolist() == [3, 3]
    for mechanism, said in (
        (lambda u: u[:2], "not vectorized .got 2 values; expected 4"),
        (lambda u: 1 if u > 1 else 0, "not vectorized .got a condition on a whole column"),
        (lambda u: 1 // 0, "the mechanism of 'a' failed .got ZeroDivisionError"),
        (lambda v: v, "the mechanism of 'a' failed .got TypeError"),
    ):
        with pytest.raises(DataError, match=said):
            computed("a", mechanism, {"u": column}, 4)
    with pytest.raises(DataError, match=r"the noise 'u' failed .got TypeError"):
        drawn("u", int, np.random.default_rng(0), 3)
    with pytest.raises(DataError, match="expected 1 to 10,000,000"):
        drawn("u", 10**9, np.random.default_rng(0), 3)
