"""Control tasks, the online code and shuffled labels, each where the right answer is known."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from mechcausal.errors import DataError
from mechcausal.probes import online_code, permutation_null, selectivity
from mechcausal.probes.controls import shuffle_labels


def words(n=600, types=30, d=20, seed=0):
    """Examples of types with a vector each, and a concept that a direction of these vectors carries."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(types, d))
    kind = draw.integers(0, types, n)
    return vectors[kind] + 0.3 * draw.normal(size=(n, d)), kind, vectors, draw


def test_a_concept_that_is_more_than_its_types_is_selective():
    x, kind, _, draw = words()
    y = draw.integers(0, 2, len(x))
    x[:, 0] += 4 * y  # the concept varies within each type
    told = selectivity("logistic", x, y, kind)
    assert told.types == 30
    assert told.selectivity > 0.1
    assert told.control < 0.9


def test_a_network_learns_control_tasks_better_than_a_line():
    x, kind, _, draw = words(types=60, d=10)
    y = draw.integers(0, 2, len(x))
    assert selectivity("mlp", x, y, kind, draws=2).control > selectivity("logistic", x, y, kind, draws=2).control + 0.05


@pytest.mark.slow
def test_labels_that_are_random_by_type_are_not_selective():
    found = []
    for seed in range(12):
        x, kind, _, draw = words(n=200, types=15, d=8, seed=seed)
        y = draw.integers(0, 2, 15)[kind]
        if len(np.unique(y)) == 2:
            found.append(selectivity("logistic", x, y, kind, draws=4, seed=seed).selectivity)
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error + 0.01


def test_one_type_allows_no_control():
    x, _, _, draw = words(n=60)
    told = selectivity("logistic", x, draw.integers(0, 2, 60), np.zeros(60))
    assert np.isnan(told.selectivity)
    assert told.types == 1


def test_the_online_code_nears_the_entropy_that_the_activation_leaves():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 4000)
    x = draw.normal(size=(4000, 2))
    x[:, 0] += 2 * (y - 0.5)
    grid = np.linspace(-8, 8, 4001)
    chance = 1 / (1 + np.exp(-2 * grid))
    density = (norm.pdf(grid - 1) + norm.pdf(grid + 1)) / 2
    left = -(chance * np.log2(chance) + (1 - chance) * np.log2(1 - chance))
    entropy = np.sum(density * left) * (grid[1] - grid[0])
    told = online_code("logistic", x, y)
    assert told.uniform == 1
    assert entropy - 0.02 < told.bits < entropy + 0.03
    assert told.compression == pytest.approx(1 / told.bits)


def test_the_online_code_of_noise_is_no_shorter_than_without_a_probe():
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(400, 10)), draw.integers(0, 4, 400)
    told = online_code("logistic", x, y)
    assert told.uniform == 2
    assert told.compression < 1


def test_the_online_code_counts_by_hand():
    # Twelve labels that a coordinate gives away: the first eight are sent bare, four with the probe fitted to them.
    y = np.tile([0, 1], 6)
    told = online_code("logistic", 100.0 * y[:, None], y)
    assert told.blocks == 2
    assert 8 / 12 < told.bits < 8 / 12 + 0.2
    clustered = online_code("logistic", 100.0 * y[:, None], y, np.repeat(np.arange(6), 2))
    assert clustered.blocks == 2


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_p_is_uniform_where_there_is_nothing(clustered):
    found = []
    for seed in range(20):
        draw = np.random.default_rng([7, seed])
        clusters = np.repeat(np.arange(15), 2)
        y = draw.integers(0, 2, 15)[clusters] if clustered else draw.integers(0, 2, 30)
        x = draw.normal(size=(15, 2))[clusters] if clustered else draw.normal(size=(30, 2))
        null = permutation_null("means", x, y, clusters if clustered else None, draws=9, folds=2, seed=seed)
        found.append(null.p)
    # Ties count against us, so p may be larger than uniform, never smaller.
    assert kstest(found, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(found) < 0.75


def test_p_is_the_smallest_there_is_where_there_is_something():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 80)
    null = permutation_null("means", draw.normal(size=(80, 2)) + 2 * y[:, None], y, draws=19)
    assert null.p == 1 / 20
    assert len(null.scores) == 19
    with pytest.raises(DataError, match="at least one shuffle"):
        permutation_null("means", draw.normal(size=(80, 2)), y, draws=0)


def test_shuffles_respect_clusters():
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(10), 3)
    whole = (np.arange(10) < 4).astype(int)[clusters]
    shuffled = shuffle_labels(whole, clusters, draw)
    assert all(len(set(shuffled[clusters == c])) == 1 for c in range(10))
    assert shuffled.sum() == whole.sum()
    within = np.tile([0, 1, 1], 10)
    again = shuffle_labels(within, clusters, draw)
    as_it_was = [(again[clusters == c] == within[clusters == c]).all() for c in range(10)]
    exchanged = [(again[clusters == c] != within[clusters == c]).all() for c in range(10)]
    assert all(np.logical_xor(as_it_was, exchanged))
    assert any(as_it_was)
    assert any(exchanged)
    three = np.tile([0, 1, 2], 10)
    assert all(sorted(shuffle_labels(three, clusters, draw)[clusters == c]) == [0, 1, 2] for c in range(10))


@pytest.mark.slow
def test_p_is_honest_where_each_cluster_answers_to_the_label_in_a_way_of_its_own():
    """Shuffled example by example, 11 of these 40 runs would have p at 0.1."""
    found = []
    for seed in range(40):
        draw = np.random.default_rng([11, seed])
        clusters = np.repeat(np.arange(12), 10)
        y = np.tile([0, 1], 60)
        x = (2 * y - 1)[:, None] * draw.normal(size=(12, 4))[clusters] + 0.7 * draw.normal(size=(120, 4))
        found.append(permutation_null("means", x, y, clusters, draws=9, folds=2, seed=seed).p)
    assert (np.array(found) <= 0.1).sum() <= 9
