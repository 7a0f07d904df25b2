"""Tables of units and the noise they are drawn from."""

import numpy as np
import pytest

from mechcausal.data.table import drawn, n_units, outcome_of, probabilities, rows
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
