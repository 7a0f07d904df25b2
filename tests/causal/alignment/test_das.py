"""Directions found where they are known, and nothing found where there is nothing."""

import json
from dataclasses import replace

import linear
import numpy as np
import pytest
import torch
from saved import assert_kept

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.alignment import das as module
from mechcausal.causal.alignment.aligned import LABELS, PLACEBO, RANDOM, UNSEEN, UNTRAINED, WHOLE
from mechcausal.causal.alignment.das import das
from mechcausal.causal.alignment.interchange import interchange
from mechcausal.causal.alignment.interchanged import ALIGNED
from mechcausal.causal.alignment.search import split_for_search, untrained
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.errors import ArgumentError, DataError, MechcausalError, SiteError
from mechcausal.models.fingerprint import weights_fingerprint

QUICK = {"steps": 80, "batch_size": 64, "n": 160}


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    return linear.load(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def sums(adder):
    return linear.everyone(adder)


@pytest.fixture(scope="module")
def known():
    spec = {"site": "L0.resid_post", "at": "end"}
    places = {v: spec | {"basis": [linear.DIRECTIONS[v]]} for v in ("a", "c")}
    return Hypothesis(linear.TASK.scm, places, outcome="answer")


@pytest.fixture(scope="module")
def subspace():
    return mc.load("organism:hiring_subspace")


@pytest.fixture(scope="module")
def applicants(subspace):
    return mc.task("hiring").prompts(subspace, 240, environment="broad")


@pytest.fixture(scope="module")
def merit(subspace, applicants):
    place = "L1.resid_post@decision"
    return das(
        subspace,
        applicants,
        Hypothesis.of("hiring_subspace"),
        "merit",
        place,
        k=4,
        unseen=[5],
        **(QUICK | {"steps": 60}),
    )


# Where one direction is right


def test_the_network_adds(adder, sums):
    with torch.no_grad():
        assert bool((adder(sums.tokens)[:, -1].argmax(-1) == sums.answer).all())


@pytest.mark.parametrize("variable", ["a", "c"])
def test_the_direction_is_found(adder, sums, known, variable):
    found = das(adder, sums, known, variable, linear.PLACE, controls=False, **(QUICK | {"steps": 120}))
    assert found.angle <= 5
    np.testing.assert_allclose(found.angles(linear.DIRECTIONS[variable]), found.angle, atol=1e-4)
    assert found.changed >= 0.98
    assert found.test_iia >= 0.98
    assert abs(np.linalg.norm(found.basis) - 1) < 1e-5
    assert "degrees from the subspace that the hypothesis names" in found.verdict
    assert found.angles(linear.DIRECTIONS["c" if variable == "a" else "a"])[0] > 80


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["a", "c"])
def test_how_many_directions_is_found(adder, sums, known, variable):
    """Of the eighteen in which the stream varies, few are kept, and the right one is among them."""
    options = QUICK | {"steps": 200}
    found = das(adder, sums, known, variable, linear.PLACE, boundless=True, controls=False, **options)
    assert 1 <= len(found.part.basis) <= 3
    assert found.changed >= 0.98
    assert found.angle <= 5
    np.testing.assert_allclose(found.basis @ found.basis.T, np.eye(len(found.basis)), atol=1e-5)
    assert len(found.losses) == 400  # the number is learned first, then the directions once more


def test_both_directions_at_once_stand_in_a_hypothesis(adder, sums, known):
    """What is found can be put where a place is asked for, and serves with several sources."""
    parts = {
        v: das(adder, sums, linear.TASK, v, linear.PLACE, controls=False, **QUICK).part for v in ("a", "c")
    }  # fmt: skip
    hypothesis = Hypothesis(linear.TASK.scm, parts)
    result = interchange(adder, sums, hypothesis, variables=["a", "c", ("a", "c")], n=125, placebo=False)
    assert (result.frame["value"] >= 0.98).all()


def test_losses_fall_to_what_the_true_direction_has(adder, sums):
    found = das(adder, sums, linear.TASK, "a", linear.PLACE, controls=False, **QUICK)
    assert len(found.losses) == QUICK["steps"]
    assert np.mean(found.losses[-5:]) < 0.05  # two neighbors 4 nats below: log(1 + 2 exp(-4)) is 0.036
    assert np.isnan(found.angle)  # a task names no subspace


# The organism whose variables are in subspaces


@pytest.mark.slow
def test_the_organism(merit):
    assert merit.changed >= 0.98
    assert merit.test_iia >= 0.98
    assert merit.result.frame["n"][0] >= 60
    assert merit.verdict.startswith("4 directions of L1.resid_post@decision carry merit: 1.00")
    rows = merit.result.frame.set_index("role")
    assert rows.loc[UNSEEN, "value"] >= 0.98  # of a merit that no prompt searched on has
    assert rows.loc[RANDOM, "value"] <= 0.1
    assert rows.loc[WHOLE, "value"] < 0.9  # all of the stream carries other variables along
    assert 0 < merit.result.frame["angle_least"][0] < merit.angle <= 90
    assert f"{merit.angle:.0f} degrees" in verdict_of(merit)


@pytest.mark.slow
def test_it_is_loaded_as_it_was_saved(merit, tmp_path):
    again = assert_kept(merit, tmp_path / "das.parquet")
    assert again.part == merit.part
    assert (again.angles(merit.part) < 1e-5).all()


def verdict_of(found):
    assert found.verdict in repr(found)
    assert found.verdict.split(":")[0] in found._repr_html_()
    return found.verdict


@pytest.mark.parametrize(
    ("variable", "place", "k"),
    [("merit", "L1.resid_post", 1), pytest.param("score", "L2.resid_post", 4, marks=pytest.mark.slow)],
)
def test_fewer_and_later_directions(subspace, applicants, variable, place, k):
    hypothesis = Hypothesis.of("hiring_subspace")
    found = das(subspace, applicants, hypothesis, variable, f"{place}@decision", k=k, controls=False, **QUICK)
    assert found.changed >= 0.98
    if k == 1:  # accuracy does not tell one direction that serves from the laid-down ones, the angle does
        assert 5 < found.angle < 45


@pytest.mark.slow
def test_controls_stay_at_chance(merit):
    rows = merit.controls.set_index("role")
    blind = merit.result.frame.set_index("role")["blind"]
    assert {LABELS, PLACEBO, UNTRAINED, WHOLE, RANDOM, UNSEEN} == set(rows.index)
    for control in (LABELS, UNTRAINED):
        assert rows.loc[control, "iia"] <= blind[control] + 0.05
    assert str(rows.loc[PLACEBO, "label"]) == "L0.resid_post@decision[4d]"
    assert f"random labels {rows.loc[LABELS, 'value']:.2f}" in merit.verdict


# Where there is nothing


@pytest.fixture(scope="module")
def few(adder):
    """Return prompts so few that the features of their words can stand in for anything."""
    return linear.TASK.prompts(adder, 24, seed=3)


def test_over_fitting_is_called_what_it_is(adder):
    few = linear.TASK.prompts(adder, 24, seed=2)
    found = das(adder, few, linear.TASK, "a", linear.PLACE, k=6, controls=False, **(QUICK | {"batch_size": 32}))
    assert found.train_changed >= 0.9
    assert found.changed <= 0.5
    assert found.over_fits
    assert found.verdict.startswith("over-fits: 6 directions of L0.resid_post@end give")
    assert not found.above_chance


def test_random_labels_are_at_chance(adder, sums, few):
    """The values of a are dealt out at random: whatever fits them here fits no others."""
    for prompts in (sums, few):
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(0))
        dealt = replace(prompts, variables=prompts.variables | {"a": prompts.variables["a"][order]})
        options = QUICK | {"batch_size": 32}
        found = das(adder, dealt, linear.TASK, "a", linear.PLACE, k=6, controls=False, **options)
        assert not found.above_chance
        assert found.test_iia <= found.result.frame["blind"][0] + 0.05
        if prompts is few:
            assert found.train_iia > found.test_iia + 0.1
            assert found.verdict.startswith("over-fits")
            assert "which is not above chance" in found.verdict


@pytest.mark.slow
def test_a_random_network_is_at_chance(adder, sums, hiring):
    applicants = mc.task("hiring").prompts(hiring, 200, environment="broad")
    for model, task, variable, place, prompts in (
        (adder, linear.TASK, "a", linear.PLACE, sums),
        (hiring, mc.task("hiring"), "merit", "L1.z.H0@decision", applicants),
    ):
        options = QUICK | {"steps": 40}
        found = das(untrained(model), prompts, task, variable, place, k=2, controls=False, **options)
        assert not found.above_chance
        assert found.test_iia <= found.result.frame["blind"][0] + 0.05
        assert "chance" in found.verdict


# What a search leaves behind and says


@pytest.mark.slow
def test_held_out_prompts_are_held_out(merit, applicants):
    rows = split_for_search(applicants, 0.5, 0)
    compute = merit.result.provenance.compute
    assert compute["n_test"] == len(rows.test)
    column = applicants.variables["merit"].numpy()
    assert compute["n_train"] == int((column[rows.train] != 5).sum())
    units = {applicants.clusters[i] for i in rows.test}
    assert set(merit.result.clusters) <= units
    assert merit.result.frame["role"][0] == ALIGNED


def test_the_accuracy_is_that_of_interchange(adder, sums):
    """Judged once more by `interchange` on the held-out prompts alone."""
    found = das(adder, sums, linear.TASK, "a", linear.PLACE, controls=False, **(QUICK | {"steps": 20}))
    assert 0.05 < found.changed < 0.95
    test = split_for_search(sums, 0.5, 0).test
    again = interchange(
        adder, sums.take(torch.tensor(test)), Hypothesis(linear.TASK.scm, {"a": found.part}), n=1000, placebo=False
    )
    assert found.changed == pytest.approx(again.frame["value"][0], abs=0.08)


def test_the_network_stays_as_it_is(adder, sums):
    before = weights_fingerprint(adder)
    with torch.inference_mode():  # whoever switched gradients off may search as well
        first = das(adder, sums, linear.TASK, "a", linear.PLACE, controls=False, **(QUICK | {"steps": 20}))
    second = das(adder, sums, linear.TASK, "a", linear.PLACE, controls=False, **(QUICK | {"steps": 20}))
    other = das(adder, sums, linear.TASK, "a", linear.PLACE, controls=False, seed=1, **(QUICK | {"steps": 20}))
    assert weights_fingerprint(adder) == before
    np.testing.assert_allclose(first.basis, second.basis, atol=1e-5)
    assert np.abs(first.basis - other.basis).max() > 1e-3


@pytest.mark.slow
def test_provenance(merit):
    arguments = merit.result.provenance.arguments
    json.dumps(merit.result.provenance.to_json())
    assert Place.parse(arguments["found"]) == merit.part
    assert arguments["controls"] == ["labels", "place", "model"]
    assert arguments["unseen"] == [5]
    assert merit.result.provenance.compute["forwards"] > 4 * 60


def test_some_controls(adder, sums):
    found = das(adder, sums, linear.TASK, "a", linear.PLACE, controls=["labels"], **(QUICK | {"steps": 5}))
    assert set(found.controls["role"]) == {LABELS, WHOLE, RANDOM}


# What is refused


@pytest.mark.parametrize(
    ("part", "options", "error", "said"),
    [
        ("L0.resid_post@end", {"k": 49}, DataError, r"has 48 directions \(got k = 49; expected 1 to 48"),
        ("L0.resid_post@end", {"k": 0}, ArgumentError, "'k'.*at least 1"),
        ("L0.z.H0@end", {"k": 17}, DataError, "has 16 directions"),
        ("L0.z@end", {}, SiteError, r"all heads at once.*L0\.z\.H0"),
        ("L0.mlp_post.N1@end", {}, SiteError, "no directions to search"),
        ("L0.pattern.H0@end", {}, SiteError, "no directions to search"),
        ("L3.resid_post@end", {}, SiteError, "not in this model"),
        ("L0.resid_post@word", {}, SiteError, "no position called 'word'"),
        ({"site": "L0.resid_post", "at": "end", "basis": [[1.0] * 48]}, {}, SiteError, "is a subspace already"),
        ("L0.resid_post@end", {"steps": 0}, ArgumentError, "'steps'.*at least 1"),
        ("L0.resid_post@end", {"rate": -1}, ArgumentError, "'rate'.*above 0"),
        ("L0.resid_post@end", {"holdout": 1}, ArgumentError, "'holdout'"),
        ("L0.resid_post@end", {"controls": "lables"}, ArgumentError, "did you mean 'labels'"),
        ("L0.resid_post@end", {"unseen": [9]}, DataError, "fewer than 2 of .* held-out prompts have a = 9"),
        ("L0.resid_post@end", {"unseen": [0, 1, 2, 3]}, DataError, "does not vary in the prompts that are searched on"),
    ],
)
def test_refused_before_anything_runs(adder, sums, monkeypatch, part, options, error, said):
    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(module, "Harvest", refuse)
    monkeypatch.setattr(module, "score", refuse)
    with pytest.raises(error, match=said):
        das(adder, sums, linear.TASK, "a", part, **options)


def test_refused_variables(adder, sums):
    with pytest.raises(MechcausalError, match="'b'"):
        das(adder, sums, linear.TASK, "b", linear.PLACE)
    with pytest.raises(DataError, match="e changes the answer of none"):
        das(adder, sums, linear.TASK, "e", linear.PLACE)


def test_more_directions_than_vary(adder, sums):
    with pytest.raises(
        DataError, match=r"varies over these prompts in fewer directions.*got k = 19; expected at most 18"
    ):
        das(adder, sums, linear.TASK, "a", linear.PLACE, k=19, controls=False)
