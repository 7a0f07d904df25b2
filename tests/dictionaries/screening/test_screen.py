"""Screened: the exact numbers are those of one full run for each feature, on pairs that nothing was chosen by."""

import numpy as np
import pytest
import torch
from random_dictionaries import Rectified, TopK
from saved import assert_kept
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.data.splits import cluster_numbers, split
from mechcausal.dictionaries.screening.attribution import attribute
from mechcausal.dictionaries.screening.screen import Calibration, Screened, screen
from mechcausal.errors import ArgumentError, DataError, ResultError
from mechcausal.interventions import Edit, Patch, Zero
from mechcausal.metrics import metric
from mechcausal.models.attached import detach
from mechcausal.models.binding import attach
from mechcausal.models.hooked import forward
from mechcausal.results.scatter import still


class Axes:
    """Each coordinate of the activation is a feature."""

    def __init__(self, width):
        self.W_dec = torch.eye(width)

    def encode(self, x):
        return x

    def decode(self, f):
        return f


@pytest.fixture(scope="module")
def pairs():
    return make_pairs((7, 6) * 8, seed=4)


@pytest.fixture(scope="module")
def known():
    model = loaded("gpt2")
    yield attach(model, TopK(32), "L1.resid_post", name="screened")
    detach(model, "screened")


@pytest.fixture(scope="module")
def found(known, pairs):
    return screen(loaded("gpt2"), pairs, known, top=8, random=5, seed=3)


def one_by_one(model, known, features, base, source=None):
    """Return the exact change of each feature in each example, by one full run for each."""
    read = {} if source is None else forward(model, source, read=[known.features]).read
    logit_diff = metric("logit_diff")
    before = logit_diff(forward(model, base).logits, base)
    do = Zero() if source is None else Patch()
    runs = [
        forward(model, base, [Edit(known.feature(int(number)), do)], sources=[read.get(known.features)])
        for number in features
    ]
    return np.stack([(logit_diff(run.logits, base) - before).numpy() for run in runs])


def test_measured_exactly_on_the_pairs_that_were_not_chosen_by(found, known, pairs):
    _, measured = split(cluster_numbers(pairs.clean.clusters, len(pairs)), 0.5, 3)
    held_out = pairs.take(measured.tolist())
    exact = one_by_one(loaded("gpt2"), known, found.frame["feature"], held_out.corrupt, held_out.clean)
    np.testing.assert_allclose(found.examples - found.baselines["base"], exact, atol=2e-5)
    np.testing.assert_allclose(found.frame["change"], exact.mean(1), atol=2e-5)
    assert np.abs(exact).max() > 0.01
    assert found.provenance.prompts["n"] == len(measured) == 8


def test_the_highest_on_one_half_and_some_others(found, known, pairs):
    chosen_by, measured = split(cluster_numbers(pairs.clean.clusters, len(pairs)), 0.5, 3)
    for part, column in ((chosen_by, "screened"), (measured, "estimate")):
        alone = attribute(loaded("gpt2"), pairs.take(part.tolist()), known).scores[0]
        np.testing.assert_allclose(found.frame[column], alone[found.frame["feature"].astype(int)], rtol=1e-4, atol=1e-6)
    scores = attribute(loaded("gpt2"), pairs.take(chosen_by.tolist()), known).scores[0]
    highest = found.frame[found.frame["chosen"] == "highest"]["feature"]
    assert set(highest) == set(np.argsort(-np.abs(scores))[:8])
    others = found.frame[found.frame["chosen"] == "random"]["feature"]
    assert len(others) == 5
    assert not set(others) & set(highest)
    assert (found.active[others.astype(int)] > 0).any()


def test_the_engines_agree_and_the_seed_decides(found, known, pairs):
    slow = screen(loaded("gpt2"), pairs, known, top=8, random=5, seed=3, exact="naive")
    np.testing.assert_allclose(slow.examples, found.examples, atol=2e-5)
    assert slow.frame["feature"].tolist() == found.frame["feature"].tolist()
    assert slow.provenance.compute["engine"] == "naive"
    assert found.provenance.compute["engine"] == "replay"
    other = screen(loaded("gpt2"), pairs, known, top=8, random=5, seed=4)
    assert other.frame["feature"].tolist() != found.frame["feature"].tolist()


def test_known_effects(by_hand):
    """What the heads of the first layer write: the gender's coordinate has the effect, its copy that nobody reads none."""
    pairs = mc.contrast("by_hand/gender", by_hand, n=32)
    known = attach(by_hand, Axes(12), "L0.resid_post", name="axes")
    found = screen(by_hand, pairs, known, top=2, random=10)
    frame = found.frame.set_index("feature")
    joint = (
        (pairs.clean.variables["level"][split(cluster_numbers(pairs.clean.clusters, 32), 0.5, 0)[1]] == 1)
        .float()
        .mean()
    )
    # Coordinate 5 is what the head writes: 1.3 a unit, and 0.9 more where the neuron is on.
    assert frame.loc[5, "change"] == pytest.approx(2.6 + 0.9 * float(joint), abs=1e-5)
    assert frame.loc[5, "chosen"] == "highest"
    assert frame.loc[6, "change"] == pytest.approx(0, abs=1e-6)
    assert frame["change"].drop(index=5).abs().max() < 1e-5
    detach(by_hand, "axes")


def test_alone_a_feature_is_set_to_zero(known, pairs):
    found = screen(loaded("gpt2"), pairs.clean, known, top=6, random=0, seed=3)
    _, measured = split(np.arange(len(pairs)), 0.5, 3)
    exact = one_by_one(loaded("gpt2"), known, found.frame["feature"], pairs.clean.take(measured.tolist()))
    np.testing.assert_allclose(found.frame["change"], exact.mean(1), atol=2e-5)
    assert found.provenance.arguments["do"] == "zero"


def test_calibration_is_perfect_where_everything_is_linear(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=32)
    known = attach(by_hand, Rectified(12, n=40), "L1.resid_post", name="linear")
    found = screen(by_hand, pairs, known, top=10, random=10)
    for fit in (found.calibration, found.calibration_of_random):
        assert fit.slope == pytest.approx(1, abs=1e-4)
        assert fit.r == pytest.approx(1, abs=1e-6)
    assert found.calibration.shared == 1
    detach(by_hand, "linear")


def test_calibration_of_numbers():
    estimate = np.array([1.0, -2.0, 3.0, 0.5])
    fit = Calibration.of(estimate, 2 * estimate)
    assert (fit.slope, fit.r, fit.rank, fit.shared, fit.n) == (
        pytest.approx(2),
        pytest.approx(1),
        pytest.approx(1),
        1,
        4,
    )
    draw = np.random.default_rng(0).normal(size=(2, 4000))
    assert abs(Calibration.of(*draw).slope) < 0.05
    assert np.isnan(Calibration.of(np.zeros(5), np.zeros(5)).r)


def test_saved_and_read_again(found, tmp_path):
    assert_kept(found, tmp_path / "screen.parquet")
    (tmp_path / "screen.safetensors").unlink()
    with pytest.raises(ResultError, match="without the scores of all features beside it"):
        Screened.load(tmp_path / "screen.parquet")


def test_what_is_said_and_drawn(found):
    told = found.summary()
    assert "screened 96 features" in told
    assert "measured 13" in told
    assert "attribution against exact: slope" in told
    drawn = still(found.scatter())
    assert drawn.count("<circle") == len(found)
    assert "random alone: slope" in drawn
    assert found.plot().still == drawn
    assert "<svg" in found._repr_html_()


def test_bad_input(known, pairs):
    model = loaded("gpt2")
    with pytest.raises(ArgumentError, match="whole number of at least 1"):
        screen(model, pairs, known, top=0)
    with pytest.raises(DataError, match="too few independent prompts"):
        screen(model, pairs.take([0, 1, 2]), known)
    with pytest.raises(DataError, match="no gradient"):
        screen(model, pairs, known, metric="accuracy")
