"""Erasers on arrays, against their closed form and against what they promise."""

import numpy as np
import pytest
import torch

from mechcausal.address import Site
from mechcausal.errors import DataError
from mechcausal.interventions.apply import edited
from mechcausal.interventions.specs import Edit, from_json
from mechcausal.probes import cross_validate
from mechcausal.probes.erasure import fit_eraser
from mechcausal.probes.erasure.fitting import rank
from mechcausal.probes.kinds import fit


def skewed(n=800, d=6, classes=2, seed=0):
    """Correlated coordinates, and class means apart along directions that are not those of the variance."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, classes, n)
    mixing = draw.normal(size=(d, d)) * np.logspace(0, -1, d)
    return draw.normal(size=(n, d)) @ mixing.T + draw.normal(size=(classes, d))[y] + 2, y


def erased(eraser, x):
    edit = Edit(Site("resid_post", 0), eraser)
    tensor = torch.tensor(x)[:, None]
    return edited(tensor, edit, torch.ones(tensor.shape[:2], dtype=torch.bool))[:, 0].numpy()


@pytest.mark.parametrize("classes", [2, 3])
def test_leace_is_its_closed_form(classes):
    x, y = skewed(classes=classes)
    z = np.eye(classes)[y]
    within, across = np.cov(x.T), (x - x.mean(0)).T @ (z - z.mean(0)) / (len(x) - 1)
    values, vectors = np.linalg.eigh(within)
    whiten, back = (vectors * values**power @ vectors.T for power in (-0.5, 0.5))
    left, sizes, _ = np.linalg.svd(whiten @ across, full_matrices=False)
    left = left[:, sizes > 1e-8]
    expected = x - (x - x.mean(0)) @ (back @ left @ left.T @ whiten).T
    eraser = fit_eraser("leace", x, y, shrink=False)
    assert rank(eraser) == classes - 1
    np.testing.assert_allclose(erased(eraser, x), expected, atol=1e-8)
    shrunk = erased(fit_eraser("leace", x, y), x)
    assert 0 < np.abs(shrunk - expected).max() < 0.3 * np.abs(x - expected).max()


@pytest.mark.parametrize("method", ["leace", "means"])
@pytest.mark.parametrize("classes", [2, 4])
def test_where_it_was_fitted_no_line_reads_anything(method, classes):
    x, y = skewed(classes=classes)
    clean = erased(fit_eraser(method, x, y), x)
    means = np.stack([clean[y == c].mean(0) for c in range(classes)])
    np.testing.assert_allclose(means, means[:1].repeat(classes, 0), atol=1e-9)
    np.testing.assert_allclose(clean.mean(0), x.mean(0), atol=1e-9)
    assert np.abs(fit("logistic", clean, y).weight.numpy()).max() < 1e-3
    assert np.abs(fit("logistic", x, y).weight.numpy()).max() > 0.1


def test_leace_changes_less_than_the_projection():
    x, y = skewed()
    leace, means = (erased(fit_eraser(method, x, y), x) for method in ("leace", "means"))
    assert ((leace - x) ** 2).sum() <= ((means - x) ** 2).sum()
    # With equal variances and no correlation they are the same.
    draw = np.random.default_rng(0)
    white = np.concatenate([draw.normal(size=(20_000, 3)), -draw.normal(size=(20_000, 3))])
    y = np.repeat([0, 1], 20_000)
    white[:, 0] += 0.2 * y
    first, second = (erased(fit_eraser(method, white, y), white) for method in ("leace", "means"))
    np.testing.assert_allclose(first, second, atol=0.02)


def test_a_projection_along_a_planted_direction():
    draw = np.random.default_rng(1)
    y = np.repeat([0, 1], 5000)
    x = draw.normal(size=(10_000, 4))
    x[:, 2] += 3 * y
    (direction,) = fit_eraser("means", x, y).left
    np.testing.assert_allclose(np.abs(direction), [0, 0, 1, 0], atol=0.03)


def test_a_faint_concept_is_erased_too():
    draw = np.random.default_rng(2)
    y = draw.integers(0, 2, 50_000)
    x = draw.normal(size=(50_000, 3)) + 0.01 * y[:, None]
    clean = erased(fit_eraser("leace", x, y), x)
    assert np.abs(clean[y == 1].mean(0) - clean[y == 0].mean(0)).max() < 1e-9


def test_an_exclusive_or_is_not_guarded_by_a_linear_erasure():
    draw = np.random.default_rng(3)
    x = draw.normal(size=(1500, 5))
    y = ((x[:, 0] > 0) != (x[:, 1] > 0)).astype(int)
    x[:, 2] += y  # and a difference of means elsewhere, which is what is erased
    clean = erased(fit_eraser("leace", x, y), x)
    assert cross_validate("logistic", x, y).information.low > 0.05
    assert cross_validate("logistic", clean, y).information.estimate < 0.01
    assert cross_validate("quadratic", clean, y).information.low > 0.2


@pytest.mark.parametrize("method", ["leace", "means"])
def test_erasers_are_data(method):
    eraser = fit_eraser(method, *skewed())
    assert from_json(eraser.to_json()) == eraser


def test_nothing_to_erase_is_refused():
    x, y = skewed()
    with pytest.raises(DataError, match="of one class"):
        fit_eraser("leace", x, np.zeros_like(y))
    with pytest.raises(DataError, match="did you mean 'leace'"):
        fit_eraser("lease", x, y)
    with pytest.raises(DataError, match="differ in number"):
        fit_eraser("leace", x, y[1:])
