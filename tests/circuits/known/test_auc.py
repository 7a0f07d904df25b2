"""The area under the ROC curve: by counting pairs, by scikit-learn, and where scores are missing or equal."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mechcausal.circuits.known.auc import roc_auc
from mechcausal.errors import ResultError


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_area_of_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    scores, true = draw.integers(-6, 7, 60) / 3, draw.random(60) < 0.2
    assert roc_auc(scores, true) == pytest.approx(roc_auc_score(true, np.abs(scores)), abs=1e-12)


def test_it_is_the_share_of_pairs_in_the_right_order():
    scores, true = np.array([3.0, -2.0, 1.0, 0.5]), np.array([True, False, True, False])
    assert roc_auc(scores, true) == 3 / 4
    assert roc_auc(-scores, true) == 3 / 4  # the sign says in which direction, not how much


def test_equal_scores_count_half():
    true = np.array([True, False, False, True, False])
    assert roc_auc(np.zeros(5), true) == 0.5
    assert roc_auc(np.full(5, np.nan), true) == 0.5
    assert roc_auc(np.array([1.0, 1, 0, 0, 0]), true) == (0.5 + 1 + 1 + 0 + 0.5 + 0.5) / 6


def test_an_edge_without_a_score_is_never_found():
    true = np.array([True, True, False, False])
    assert roc_auc(np.array([np.nan, np.nan, 0.0, 0.0]), true) == 0
    assert roc_auc(np.array([1.0, np.nan, 0.0, np.nan]), true) == (1 + 1 + 0 + 0.5) / 4


def test_it_is_refused_where_there_is_nothing_to_tell_apart():
    with pytest.raises(ResultError, match="got 0 true and 3 others"):
        roc_auc(np.ones(3), np.zeros(3, dtype=bool))
    with pytest.raises(ResultError, match="one score for each edge"):
        roc_auc(np.ones(3), np.zeros(2, dtype=bool))
