"""Probes of numbers: against closed forms and scikit-learn, with controls, where there is something and where not."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import kstest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import mechcausal as mc
from mechcausal.errors import ArgumentError, DataError
from mechcausal.probes import load
from mechcausal.probes.kinds import Settings, fit
from mechcausal.probes.numbers import (
    cross_validate_numbers,
    exchange_numbers,
    number_controls,
    number_null,
    predictions,
)


def linear(n=300, noise=1.0, seed=0, width=6):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, width))
    return x, 3.0 + x @ np.arange(1.0, width + 1) + noise * draw.normal(size=n)


def test_a_ridge_probe_is_that_of_scikit_learn():
    x, y = linear()
    scaler = StandardScaler().fit(x)
    theirs = Ridge(alpha=10.0).fit(scaler.transform(x), y)
    ours = predictions(fit("ridge", x, y, Settings(C=0.1)), x)
    np.testing.assert_allclose(ours, theirs.predict(scaler.transform(x)), atol=1e-5)


def test_r2_is_the_share_of_the_variance_that_is_there():
    x, y = linear(3000, noise=3.0)
    signal = float((np.arange(1.0, 7) ** 2).sum())
    held_out = cross_validate_numbers(x, y)
    assert held_out.r2.estimate == pytest.approx(signal / (signal + 9), abs=0.02)
    assert held_out.r2.low < signal / (signal + 9) < held_out.r2.high
    assert held_out.hits.mean() == pytest.approx(held_out.r2.estimate)
    assert held_out.guesses.mean() == pytest.approx(0, abs=1e-12)
    assert held_out.error == pytest.approx(3.0, abs=0.15)
    assert held_out.correlation == pytest.approx(np.sqrt(held_out.r2.estimate), abs=0.02)


def test_nothing_to_read_is_no_more_than_zero():
    x, _ = linear(200)
    assert cross_validate_numbers(x, np.random.default_rng(9).normal(size=200)).r2.estimate < 0.02


def test_clusters_are_never_on_both_sides():
    """What is remembered of a cluster is worth nothing: each has a coordinate of its own and a number of its own."""
    clusters = np.repeat(np.arange(20), 10)
    x = np.eye(20)[clusters]
    y = np.random.default_rng(0).normal(size=20)[clusters]
    assert cross_validate_numbers(x, y).r2.estimate > 0.9
    assert cross_validate_numbers(x, y, clusters).r2.estimate < 0.01


def test_the_penalty_is_chosen_within():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 50))
    y = x[:, 0] + draw.normal(size=60)
    one, several = (cross_validate_numbers(x, y, settings=Settings(C=C)).error for C in (1.0, (1.0, 1e-2, 1e-3)))
    assert several < one


def test_controls_are_as_easy_as_a_concept_that_is_the_type():
    clusters = np.arange(200)
    types = clusters % 4
    x, value = np.eye(4)[types], np.array([0.0, 1.0, 5.0, 9.0])[types]
    told = number_controls(
        x, value + 0.01 * clusters, types, clusters, control=True, permutations=19, folds=4, settings=Settings(), seed=0
    )
    assert told["types"] == 4
    assert told["control"] > 0.5
    assert told["selectivity"] < 0.5
    assert told["p"] == 1 / 20


def test_exchanged_numbers_keep_what_clusters_have():
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(8), 4)
    y = draw.normal(size=32)
    made = exchange_numbers(y, clusters, draw)
    means = lambda values: np.bincount(clusters, values) / 4  # noqa: E731
    np.testing.assert_allclose(np.sort(means(made)), np.sort(means(y)))
    inside = [np.abs(values - means(values)[clusters]) for values in (made, y)]
    np.testing.assert_allclose(*inside)
    assert (made != y).any()


def test_p_is_no_smaller_than_uniform_where_each_cluster_has_its_own_slope():
    found = []
    for seed in range(20):
        draw = np.random.default_rng([3, seed])
        clusters = np.repeat(np.arange(10), 6)
        y = draw.normal(size=60)
        x = y[:, None] * draw.normal(size=(10, 3))[clusters] + 0.3 * draw.normal(size=(60, 3))
        reached = lambda numbers: (  # noqa: E731
            cross_validate_numbers(x, numbers, clusters, folds=2, settings=Settings(C=1.0)).r2.estimate  # noqa: B023
        )
        found.append(number_null(reached, y, clusters, 9, seed).p)
    assert kstest(found, "uniform", alternative="greater").pvalue > 0.01


@pytest.fixture(scope="module")
def prompts(hiring):
    return mc.task("hiring").prompts(hiring, 240)


@pytest.mark.slow
def test_a_number_is_read_off_a_model_with_its_controls(hiring, prompts, tmp_path):
    merit = prompts.variables["merit"].numpy() + 0.25  # no whole numbers
    probe = mc.features.probe(
        hiring, prompts, merit, "L1.z.H0", at="@decision", concept="merit", types="name", permutations=9
    )
    assert probe.kind == "ridge"
    assert probe.classes == ()
    assert probe.report.r2.estimate > 0.9
    assert probe.report.p == 0.1
    assert np.isfinite(probe.report.selectivity)
    assert "held-out R2" in probe.summary()
    assert probe.direction.shape == (12,)
    again = load(probe.save(tmp_path / "merit.safetensors"))
    assert again.report == probe.report
    assert again.predict(np.zeros((1, 12))) == probe.predict(np.zeros((1, 12)))
    blind = mc.features.probe(hiring, prompts, merit, "embed", at="@decision", control=False)
    assert blind.report.r2.estimate < 0.1


def t_test_of_r2(row):
    """Return the p-value that belongs to the interval of R2."""
    freedom = row["effective_clusters"] - 1
    error = (row["r2_high"] - row["r2_low"]) / 2 / stats.t.ppf(0.975, freedom)
    return 2 * stats.t.sf(abs(row["r2"]) / error, freedom)


@pytest.mark.slow
def test_a_sweep_of_numbers_draws_r2(hiring, prompts):
    merit = prompts.variables["merit"].numpy().astype(float)
    sweep = mc.features.probe_sweep(
        hiring, prompts, merit, kind="ridge", sites=["embed", "L2.resid_post"], at="@decision"
    )
    frame = sweep.frame
    np.testing.assert_allclose(frame["value"], frame["r2"], atol=1e-9)
    for name in ("change", "effect"):  # three ways to say it, and one interval: R2 is a ratio
        for end in ("", "_low", "_high"):
            np.testing.assert_allclose(frame[name + end], frame["r2" + end], atol=1e-9)
    assert frame["p"].tolist() == pytest.approx([1.0, t_test_of_r2(frame.iloc[1])])  # the first place is constant
    assert sweep.survives.tolist() == [False, True]
    assert frame["r2"].iloc[0] < 0.05 < 0.8 < frame["r2"].iloc[1]
    assert sweep.provenance.arguments["metric"] == "r2"
    assert "held-out r2" in sweep.summary()


def test_numbers_are_never_classes_and_words_never_numbers(hiring, prompts):
    merit = prompts.variables["merit"].numpy() + 0.25
    with pytest.raises(DataError, match=r"numbers, not classes.*kind='ridge'"):
        mc.features.probe(hiring, prompts, merit, "L2.resid_post", kind="logistic")
    with pytest.raises(DataError, match="are words, and kind='ridge' reads numbers"):
        mc.features.probe(hiring, prompts, list(prompts.texts), "L2.resid_post", kind="ridge")
    with pytest.raises(DataError, match=r"are all 1\.5"):
        mc.features.probe(hiring, prompts, np.full(240, 1.5), "L2.resid_post")
    with pytest.raises(DataError, match="hold infinity"):
        mc.features.probe(hiring, prompts, [np.inf, 0.5, *merit[2:]], "L2.resid_post")
    with pytest.raises(ArgumentError, match="did you mean 'ridge'"):
        mc.features.probe(hiring, prompts, merit, "L2.resid_post", kind="rigde")
