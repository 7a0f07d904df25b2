"""Cross-validation that keeps clusters together, and its numbers against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from mechcausal.errors import DataError
from mechcausal.probes import Settings, cross_validate
from mechcausal.probes.held_out import area, entropy, folds_of
from mechcausal.results.intervals import mean_interval


def noisy(n=300, classes=2, seed=0):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, classes, n)
    return draw.normal(size=(n, 4)) + draw.normal(size=(classes, 4))[y], y


@pytest.mark.parametrize("seed", range(5))
def test_no_cluster_is_on_both_sides_and_classes_are_even(seed):
    draw = np.random.default_rng(seed)
    clusters = draw.integers(0, 60, 400)
    y = (draw.random(400) < 0.3).astype(int)
    fold = folds_of(y, clusters, 5, seed)
    assert all(len(set(fold[clusters == c])) == 1 for c in range(60))
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() < 40
    for number in range(5):
        assert y[fold == number].mean() == pytest.approx(0.3, abs=0.12)


def test_without_clusters_classes_are_dealt_evenly():
    y = np.repeat([0, 1], [90, 10])
    fold = folds_of(y, np.arange(100), 5, 0)
    assert np.bincount(fold).tolist() == [20] * 5
    assert np.bincount(fold[y == 1]).tolist() == [2] * 5


def test_what_a_cluster_has_in_common_is_not_learned():
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 10)
    y = draw.integers(0, 2, 40)[clusters]
    x = draw.normal(size=(40, 30))[clusters] + 0.1 * draw.normal(size=(400, 30))
    assert cross_validate("mlp", x, y).accuracy.estimate > 0.95  # it knows the clusters
    assert cross_validate("mlp", x, y, clusters).accuracy.estimate < 0.7


def test_the_numbers_are_those_of_scikit_learn():
    x, y = noisy()
    held = cross_validate("logistic", x, y, folds=4)
    chance = np.exp(held.log_probabilities)
    assert held.bits == pytest.approx(log_loss(y, chance) / np.log(2))
    assert held.information.estimate == pytest.approx(entropy(y) - held.bits)
    assert held.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, chance.argmax(1)))
    folds = [roc_auc_score(y[held.fold == f], chance[held.fold == f, 1]) for f in range(4)]
    assert held.auc == pytest.approx(np.mean(folds))


def test_many_classes():
    x, y = noisy(400, classes=5)
    held = cross_validate("logistic", x, y)
    assert held.log_probabilities.shape == (400, 5)
    np.testing.assert_allclose(np.exp(held.log_probabilities).sum(1), 1)
    inside = held.fold == 0
    theirs = [
        roc_auc_score(y[held.fold == f] == c, held.log_probabilities[held.fold == f, c])
        for f in range(5)
        for c in range(5)
    ]
    assert held.auc == pytest.approx(np.mean(theirs), abs=0.02)  # log-odds against the rest order nearly alike
    assert inside.sum() == 80


def test_area_counts_ties_half_and_entropy_is_in_bits():
    score, positive = np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, True, False, True])
    assert area(score, positive) == pytest.approx(roc_auc_score(positive, score))
    assert np.isnan(area(score, np.zeros(4, dtype=bool)))
    assert entropy(np.array([0, 1, 2, 3])) == pytest.approx(2)
    assert entropy(np.array([0, 0, 0, 2])) == pytest.approx(0.8112781)


def test_one_seed_one_number():
    x, y = noisy()
    first, again, other = (cross_validate("mlp", x, y, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.log_probabilities, again.log_probabilities)
    assert (first.fold != other.fold).any()


def test_a_class_that_cannot_be_held_out_is_refused():
    x, y = noisy(20)
    with pytest.raises(DataError, match="class 1 cannot be held out"):
        cross_validate("logistic", x, y, np.where(y == 1, 0, np.arange(20) + 1))
    with pytest.raises(DataError, match="at least two folds"):
        cross_validate("logistic", x, y, folds=1)
    three = np.r_[np.zeros(17, dtype=int), [1, 1, 1]]
    assert len(np.unique(folds_of(three, np.arange(20), 5, 0))) == 3  # as many as the rarest class allows


@pytest.mark.slow
def test_the_penalty_is_chosen_on_the_training_part():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 300)
    x = draw.normal(size=(300, 200))
    x[:, 0] += 2 * y
    weak, several = (cross_validate("logistic", x, y, settings=Settings(C=C)) for C in (100.0, (100.0, 1e-3)))
    strong = cross_validate("logistic", x, y, settings=Settings(C=1e-3))
    assert several.bits == strong.bits < weak.bits
    noise = cross_validate("logistic", x, draw.permutation(y), settings=Settings(C=(100.0, 1.0, 1e-3)))
    assert noise.accuracy.estimate < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_hold_what_they_promise(clustered):
    """The expected accuracy is in 95 of 100 intervals, and nothing is found where there is nothing."""
    lows, highs, means, alarms = [], [], [], []
    for seed in range(60):
        draw = np.random.default_rng([8, seed])
        clusters = np.repeat(np.arange(40), 3) if clustered else np.arange(120)
        y = draw.integers(0, 2, clusters.max() + 1)[clusters]
        noise = draw.normal(size=(clusters.max() + 1, 3))[clusters] + 0.3 * draw.normal(size=(120, 3))
        planted = cross_validate("means", noise + np.outer(y, [1.5, 0, 0]), y, clusters, seed=seed).accuracy
        lows.append(planted.low)
        highs.append(planted.high)
        means.append(planted.estimate)
        nothing = cross_validate("means", noise, y, clusters, seed=seed)
        alarms.append(mean_interval(nothing.hits - nothing.guesses, clusters).low > 0 or nothing.information.low > 0)
    truth = np.mean(means)
    assert np.mean((np.array(lows) <= truth) & (truth <= np.array(highs))) >= 0.88
    assert np.mean(alarms) <= 0.05
