"""Adversaries on activations whose law is known (A13), and after an erasure that a linear adversary cannot see (A6)."""

import numpy as np
import pytest
from scipy import stats

from mechcausal.audits.privacy.adversaries import readers
from mechcausal.errors import DataError

N, WIDTH = 4000, 6


def two_classes(n=N, seed=0):
    draw = np.random.default_rng(seed)
    return draw, draw.integers(0, 2, n), draw.normal(size=(n, WIDTH))


def by_adversary(x, y, kinds=("linear", "quadratic", "mlp"), **options):
    found = readers({"here": x}, y, np.arange(len(y)), kinds, folds=2, **options)
    return {reader.adversary: reader for reader in found}


@pytest.mark.parametrize("delta", [0.0, 1.0, 2.0, 4.0])
def test_a_planted_difference_is_read_as_far_as_it_can_be(delta):
    _, y, x = two_classes()
    x[:, 2] += delta * y
    found = by_adversary(x, y, ("linear",))["linear"]
    assert found.estimate.value == pytest.approx(stats.norm.cdf(delta / 2), abs=0.02)
    assert (found.p < 0.01) == (delta > 0)


def test_an_exclusive_or_escapes_a_linear_adversary():
    _, y, x = two_classes(1600)
    first = np.sign(x[:, 0])
    x[:, 0] = 3 * first + 0.3 * x[:, 0]
    x[:, 1] = 3 * first * (2 * y - 1) + 0.3 * x[:, 1]
    found = by_adversary(x, y)
    assert found["linear"].estimate.value < 0.56
    assert found["mlp"].estimate.value > 0.9
    assert found["quadratic"].estimate.value > 0.9
    assert next(iter(found)) != "linear"  # the strongest comes first


def test_nothing_is_flagged_where_there_is_nothing():
    values = []
    for seed in range(8):
        _, y, x = two_classes(120, seed)
        values.append(
            readers({"a": x, "b": x[:, ::-1] ** 2}, y, np.arange(120), ("linear", "quadratic"), folds=2, seed=seed)[0].p
        )
    assert np.mean(np.array(values) <= 0.05) <= 0.25
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_an_erasure_leaves_what_a_quadratic_adversary_reads():  # A6
    from mechcausal.probes.erasure.fitting import fit_eraser

    _, y, x = two_classes(2400)
    x *= np.where(y == 1, 1.8, 0.6)[:, None]  # the attribute is in the spread of every coordinate, and in one mean
    x[:, 0] += 2.5 * y
    before = by_adversary(x, y, ("linear", "quadratic"))
    assert before["linear"].estimate.value > 0.8
    eraser = fit_eraser("leace", x, y)
    left, right = np.array(eraser.left).T, np.array(eraser.right).T
    erased = x - (x - np.array(eraser.bias)) @ right @ left.T
    after = by_adversary(np.asarray(erased), y, ("linear", "quadratic"))
    assert after["linear"].estimate.value < 0.53
    assert after["quadratic"].estimate.value > 0.7


def test_clusters_are_on_one_side():
    _, y, x = two_classes(200)
    clusters = np.repeat(np.arange(50), 4)
    reader = readers({"here": x}, y, clusters, ("linear",), folds=2)[0]
    assert set(np.unique(reader.held_out.clusters)) < set(range(50))
    assert reader.estimate.n_clusters == 25
    assert set(reader.row()) >= {"place", "adversary", "value", "majority", "auc", "bits", "p"}


def test_a_class_in_one_half_is_refused():
    with pytest.raises(DataError, match="one half"):
        readers({"here": np.zeros((8, 2))}, np.array([0] * 7 + [1]), np.arange(8), ("linear",), folds=2)
