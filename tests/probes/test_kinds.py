"""Probes on arrays whose best possible accuracy is known in closed form, and against scikit-learn on the same arrays."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2, f_oneway, norm
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mechcausal.errors import DataError
from mechcausal.probes import KINDS, Settings, cross_validate
from mechcausal.probes.kinds import Linear, fit, scores, separation


def gaussians(n=2500, d=8, apart=2.0, seed=0):
    """Two classes whose means are `apart` standard deviations apart along one known direction."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 2, n)
    direction = draw.normal(size=d)
    direction /= np.linalg.norm(direction)
    return draw.normal(size=(n, d)) + np.outer(y - 0.5, apart * direction), y, direction


def exclusive_or(n=1600, d=6, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    return x, ((x[:, 0] > 0) != (x[:, 1] > 0)).astype(int)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_direction_is_read_as_well_as_can_be(kind):
    x, y, _ = gaussians()
    held = cross_validate(kind, x, y)
    best = norm.cdf(1.0)
    assert held.accuracy.estimate == pytest.approx(best, abs=0.03)
    assert held.accuracy.low <= best + 0.01
    assert held.auc == pytest.approx(norm.cdf(2.0 / np.sqrt(2)), abs=0.03)


@pytest.mark.parametrize("kind", ["means", "logistic"])
def test_the_direction_is_the_planted_one_and_the_log_odds_are_the_true_ones(kind):
    x, y, direction = gaussians(n=20_000)
    found = fit(kind, x, y)
    weight = found.weight[0].numpy()
    assert weight @ direction / np.linalg.norm(weight) > 0.99
    # log p(1 | x) / p(0 | x) = apart * direction . x for classes around 0
    assert np.linalg.norm(weight) == pytest.approx(2.0, abs=0.1)
    assert float(found.bias[0]) == pytest.approx(0.0, abs=0.1)


def test_means_reads_along_the_difference_of_the_means_and_nothing_else():
    x, y, _ = gaussians(n=200)
    x[:, 0] *= 30  # a coordinate with much variance, which a logistic probe would weigh down
    difference = x[y == 1].mean(0) - x[y == 0].mean(0)
    weight = fit("means", x, y).weight[0].numpy()
    assert abs(weight @ difference) == pytest.approx(np.linalg.norm(weight) * np.linalg.norm(difference))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("C", [0.01, 1.0, np.inf])
def test_logistic_is_that_of_scikit_learn(classes, C):
    draw = np.random.default_rng(1)
    y = draw.integers(0, classes, 300)
    x = (draw.normal(size=(300, 5)) + 0.3 * draw.normal(size=(classes, 5))[y]) * [1, 10, 0.1, 1, 1] + 3
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)).fit(x, y)
    np.testing.assert_allclose(scores(fit("logistic", x, y, Settings(C=C)), x), theirs.predict_log_proba(x), atol=1e-8)


def test_the_network_is_that_of_scikit_learn():
    x, y = exclusive_or(300)
    theirs = make_pipeline(
        StandardScaler(),
        MLPClassifier((64,), alpha=1e-2, learning_rate_init=5e-3, batch_size=128, max_iter=60, random_state=3),
    )
    with pytest.warns(match="Maximum iterations"):
        theirs.fit(x, y)
    np.testing.assert_allclose(scores(fit("mlp", x, y, Settings(seed=3)), x), theirs.predict_log_proba(x), atol=1e-8)


@pytest.mark.slow
def test_an_exclusive_or_is_seen_by_the_adversaries_alone():
    x, y = exclusive_or()
    for kind in ("means", "logistic", "sparse"):
        held = cross_validate(kind, x, y)
        assert held.auc == pytest.approx(0.5, abs=0.06)
        assert held.information.estimate < 0.005  # a line that cuts off one corner may be right more often than not
    for kind in ("quadratic", "mlp"):
        assert cross_validate(kind, x, y).accuracy.estimate > 0.9


def test_quadratic_reads_a_difference_of_variances_as_well_as_can_be():
    draw = np.random.default_rng(2)
    y = draw.integers(0, 2, 6000)
    x = draw.normal(size=(6000, 3)) * np.where(y == 1, 3.0, 1.0)[:, None]
    # One coordinate of three tells the classes apart at |x| = sqrt(2 log 3 / (1 - 1/9)); with three it is a chi-square.
    cut = 3 * 2 * np.log(3) / (1 - 1 / 9)
    best = (chi2.cdf(cut, 3) + chi2.sf(cut / 9, 3)) / 2
    assert cross_validate("quadratic", x, y).accuracy.estimate == pytest.approx(best, abs=0.02)
    assert cross_validate("logistic", x, y).information.estimate < 0.005


def test_sparse_chooses_the_planted_coordinates():
    draw = np.random.default_rng(3)
    y = draw.integers(0, 2, 400)
    x = draw.normal(size=(400, 200))
    x[:, [7, 50, 199]] += y[:, None]
    found = fit("sparse", x, y, Settings(k=3))
    assert isinstance(found, Linear)
    assert found.chosen == (7, 50, 199)
    assert found.weight[0].nonzero().flatten().tolist() == [7, 50, 199]


def test_sparse_chooses_on_the_training_part_alone():
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(60, 3000)), draw.integers(0, 2, 60)
    # Chosen on all examples, ten of 3,000 coordinates of noise would seem to say nearly everything.
    best = np.argsort(-separation(x, y))[:10]
    assert cross_validate("logistic", x[:, best], y).accuracy.estimate > 0.8
    assert cross_validate("sparse", x, y, settings=Settings(k=10)).accuracy.estimate < 0.68


def test_separation_is_the_f_of_an_analysis_of_variance():
    draw = np.random.default_rng(5)
    y = draw.integers(0, 3, 90)
    x = draw.normal(size=(90, 4)) + y[:, None] * [0, 1, 2, 3]
    np.testing.assert_allclose(separation(x, y), f_oneway(*(x[y == c] for c in range(3))).statistic)
    assert separation(np.ones((90, 1)), y)[0] == 0
    assert separation(np.eye(2)[np.minimum(y, 1)], np.minimum(y, 1)).min() > 1e6


@pytest.mark.parametrize("kind", KINDS)
def test_scores_have_gradients_and_follow_the_dtype(kind):
    x, y = exclusive_or(200)
    found = fit(kind, x, y)
    points = torch.tensor(x[:5], dtype=torch.float32, requires_grad=True)
    given = found(points)
    assert given.dtype == torch.float32
    assert given.shape == (5, 1)
    (slope,) = torch.autograd.grad(given.sum(), points)
    step = torch.full_like(points, 1e-3)
    moved = (found((points + step).detach()) - found((points - step).detach()))[:, 0]
    torch.testing.assert_close((2 * step * slope).sum(1), moved.detach(), atol=2e-4, rtol=0.05)


def test_wrong_input_is_refused_in_one_sentence():
    x, y, _ = gaussians(n=20, d=30)
    with pytest.raises(DataError, match="without a penalty needs more examples than features"):
        fit("logistic", x, y, Settings(C=np.inf))
    assert fit("logistic", x, y) is not None
    with pytest.raises(DataError, match="differ in number"):
        fit("logistic", x, y[:-1])
    with pytest.raises(DataError, match=r"no probe called 'logistc'.*did you mean 'logistic'"):
        fit("logistc", x, y)
    with pytest.raises(DataError, match="C must be above zero"):
        fit("logistic", x, y, Settings(C=0))
    with pytest.raises(DataError, match="one coordinate at least"):
        fit("sparse", x, y, Settings(k=0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_digits_are_not_read(kind):
    draw = np.random.default_rng(6)
    y = draw.integers(0, 2, 200)
    x = np.float32(draw.normal(size=4))[None].repeat(200, 0)
    x[:, 0] += np.float32(3e-7) * y
    assert len(np.unique(x[:, 0])) == 2
    assert cross_validate(kind, x, y).information.estimate < 0.01
    x[:, 0] += np.float32(1e-2) * y
    assert cross_validate(kind, x, y).accuracy.estimate == 1
