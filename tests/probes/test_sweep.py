"""Sweeps of probes: one row for each place, with its controls and its picture."""

import numpy as np
import pytest
from saved import assert_kept

import mechcausal as mc
from mechcausal.data import PromptSet
from mechcausal.features import probe, probe_sweep


@pytest.fixture(scope="module")
def task():
    return mc.task("hiring")


@pytest.fixture(scope="module")
def prompts(hiring, task):
    return task.prompts(hiring, 400)


@pytest.mark.slow
def test_a_sweep_is_a_picture_of_layers_and_positions(hiring, task, prompts, tmp_path):
    found = probe_sweep(hiring, prompts, "gender", sites=["embed", "resid_post"], task=task)
    frame = found.frame.set_index(["site", "at"])
    assert len(frame) == 5 * 8
    for at, best in (("@0", 0.5), ("@2", 1.0), ("@3", 0.95), ("@6", 0.75)):
        assert frame.loc[("embed", at), "bayes"] == pytest.approx(best)
        assert frame.loc[("embed", at), "value"] == pytest.approx(best, abs=0.05)
    guess = frame["guess"].iloc[0]
    np.testing.assert_allclose(frame["effect"], (frame["value"] - guess) / (1 - guess), atol=1e-9)
    one = probe(hiring, prompts, "gender", "L2.resid_post", at="@7", control=False, mdl=False)
    assert frame.loc[("L2.resid_post", "@7"), "value"] == one.report.accuracy.estimate
    assert "7 decision" in found.plot().still
    assert "effect" in found.plot().still
    assert "best possible 1.000" in repr(found)
    assert set(found.by_group()["group"]) == set(prompts.groups)
    assert (
        (frame["p"] < 0.05) == ((frame["change_low"] > 0) | (frame["change_high"] < 0))
    ).all()  # no shuffles asked for
    assert (frame["p"] <= frame["q"] + 1e-12).all()
    assert_kept(found, tmp_path / "sweep.parquet")


@pytest.mark.slow
def test_a_sweep_with_controls(hiring, prompts):
    found = probe_sweep(
        hiring, prompts.take(slice(0, 150)), "gender", sites="embed", at=["@name", "@experience"],
        control=True, mdl=True, permutations=19, score="balanced_accuracy",
    )  # fmt: skip
    name, experience = (found.frame.iloc[i] for i in (0, 1))
    assert name["p"] == 0.05
    assert name["q"] == pytest.approx(0.1)
    assert experience["p"] > 0.05
    assert name["value"] == pytest.approx(name["balanced_accuracy"])
    assert abs(name["selectivity"]) < 0.2  # the concept is a function of the token, as the control tasks are
    assert name["compression"] > 1.3 > 1.1 > experience["compression"]


def test_places_without_two_classes_are_left_white(hiring):
    texts = [f"<id> {('adam', 'carl')[i % 2]} <key> {i // 2}" for i in range(16)]
    some = PromptSet.from_text(hiring, texts)
    codes = np.zeros(some.tokens.shape, dtype=int)
    codes[1::2, 2] = 1
    found = probe_sweep(hiring, some, codes, sites="embed", pool="each", concept="carl")
    assert found.frame["value"].isna().tolist() == [True, True, False, True, True]
    assert "url(#none)" in found.plot().still


def test_what_it_would_cost(hiring, prompts):
    cost = probe_sweep.cost(hiring, prompts, "gender", sites=["embed", "resid_post"], permutations=9, folds=4)
    assert (cost.cells, cost.examples, cost.forwards) == (5 * 8, 400, 400)
    assert cost.fits == 5 * 8 * 4 * (1 + 10)
