"""Masks: exactly the places that carry a variable, of all that are offered."""

import json
from dataclasses import replace

import linear
import numpy as np
import pytest
import torch
from saved import assert_kept

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.alignment import masks as module
from mechcausal.causal.alignment.interchange import interchange
from mechcausal.causal.alignment.interchanged import ALIGNED
from mechcausal.causal.alignment.masks import ANY, EVERY, mask
from mechcausal.causal.alignment.search import untrained
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.scm import SCM
from mechcausal.errors import ArgumentError, DataError, MechcausalError, SiteError
from mechcausal.models.fingerprint import weights_fingerprint

QUICK = {"steps": 50, "batch_size": 48, "n": 120}


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.task("hiring").prompts(hiring, 200, environment="broad")


@pytest.fixture(scope="module")
def merit(hiring, applicants):
    return mask(hiring, applicants, mc.task("hiring"), "merit", sites=["z", "mlp_out"], at="decision", **QUICK)


def test_the_one_head_of_twenty_places(merit):
    assert [str(part) for part in merit.parts] == ["L1.z.H0@decision"]
    assert merit.changed >= 0.98
    assert merit.test_iia >= 0.98
    assert merit.train_changed >= 0.98
    assert len(merit.weights) == 20
    assert merit.weights["site"][0] == "L1.z.H0"
    assert list(merit.weights["selected"]) == [True] + [False] * 19
    assert merit.verdict.startswith(
        "L1.z.H0@decision of 20 places: 1.00 [1.00, 1.00] of the answers that merit changes"
    )
    assert merit.verdict in repr(merit)
    assert "L1.z.H0" in merit._repr_html_()


def test_what_all_places_and_random_ones_do(merit):
    rows = merit.result.frame.set_index("role")
    assert set(rows.index) == {ALIGNED, EVERY, ANY}
    assert rows.loc[EVERY, "value"] < 0.9  # they carry the other variables along
    assert rows.loc[ANY, "value"] <= 0.1
    assert list(rows["places"]) == [1, 20, 1]


def test_it_is_loaded_as_it_was_saved(merit, tmp_path):
    assert assert_kept(merit, tmp_path / "mask.parquet").parts == merit.parts


@pytest.mark.slow
def test_dimensions_of_the_stream(hiring, applicants):
    """Some of the 48 dimensions after layer 2 suffice for the score, and serve as one subspace."""
    found = mask(hiring, applicants, mc.task("hiring"), "score", sites="L2.resid_post.N*", at="decision", **QUICK)
    assert 2 <= len(found.parts) <= 24
    assert found.changed >= 0.9
    rows = found.result.frame.set_index("role")
    assert rows.loc[ANY, "value"] < 0.5
    assert rows.loc[EVERY, "value"] >= 0.98
    eye = np.eye(48)[[part.site.neuron for part in found.parts]]
    whole = Place.parse({"site": "L2.resid_post", "at": "decision", "basis": eye})
    hypothesis = Hypothesis(mc.task("hiring").scm, {"score": whole})
    again = interchange(hiring, applicants, hypothesis, n=300, placebo=False)
    assert again.frame["value"][0] == pytest.approx(found.changed, abs=0.1)
    assert len(found.verdict) < 400  # not every dimension is listed


@pytest.mark.slow
def test_two_places_that_are_both_needed(hiring, applicants):
    """The score less the bias is in two heads: neither alone gives all the answers that it calls for."""
    scm = mc.task("hiring").scm
    joint = SCM(
        "hiring, joint", noise=scm.noise, values=scm.values,
        mechanisms={**scm.mechanisms, "fair": lambda merit, proxy: merit + 2 * proxy, "score": lambda fair, bias: fair + bias},
    )  # fmt: skip
    told = applicants.variables
    prompts = replace(applicants, variables=told | {"fair": told["merit"] + 2 * told["proxy"]})
    hypothesis = Hypothesis(joint, {"fair": "L1.z.H0@decision"}, outcome="decision")
    found = mask(hiring, prompts, hypothesis, "fair", sites="L1.z.H*", at="decision", **QUICK)
    assert {str(part.site) for part in found.parts} == {"L1.z.H0", "L1.z.H1"}
    assert found.changed >= 0.98


def test_nothing_is_worth_its_price(hiring, applicants):
    found = mask(
        hiring, applicants, mc.task("hiring"), "merit", sites=["L3.z.H*"], at="decision", price=50.0, **QUICK
    )  # fmt: skip
    assert found.parts == ()
    assert found.verdict == "no place is worth its price for merit: 4 were searched"
    assert found.changed == 0


def test_a_random_network(hiring, applicants):
    found = mask(untrained(hiring), applicants, mc.task("hiring"), "merit", sites="L1.z.H*", at="decision", **QUICK)
    row = found.result.frame.iloc[0]
    assert row["iia"] <= row["blind"] + 0.05
    assert not found.parts or "not above chance" in found.verdict


def test_the_network_stays_as_it_is(tmp_path):
    """Which also holds for whoever switched gradients off."""
    adder = linear.load(tmp_path)
    prompts = linear.everyone(adder)
    before = weights_fingerprint(adder)
    sites = ["L0.z.H0", "L0.z.H1", "L0.z.H2", "L0.mlp_out"]
    found = mask(adder, prompts, linear.TASK, "a", sites=sites, at="end", **QUICK)
    assert [str(part.site) for part in found.parts] == ["L0.z.H0"]
    assert found.changed == 1
    assert weights_fingerprint(adder) == before
    with torch.inference_mode():
        again = mask(adder, prompts, linear.TASK, "a", sites=sites, at="end", **QUICK)
    assert again.parts == found.parts
    np.testing.assert_allclose(again.weights["share"], found.weights["share"], atol=1e-4)


def test_provenance(merit):
    arguments = merit.result.provenance.arguments
    json.dumps(merit.result.provenance.to_json())
    assert arguments["found"] == ["L1.z.H0@decision"]
    assert (arguments["sites"], arguments["at"], arguments["slack"]) == (["z", "mlp_out"], "@decision", 0.01)
    assert merit.result.provenance.compute["n_test"] > 80
    assert len(merit.losses) == QUICK["steps"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"sites": "L9.z"}, SiteError, "not in this model"),
        ({"sites": "zz"}, MechcausalError, "zz"),
        ({"at": "subject"}, SiteError, "no position called 'subject'"),
        ({"price": -1.0}, ArgumentError, "'price'.*at least 0"),
        ({"slack": -0.1}, ArgumentError, "'slack'.*at least 0"),
        ({"steps": 0}, ArgumentError, "'steps'.*at least 1"),
        ({"holdout": 0}, ArgumentError, "'holdout'.*between 0 and 1, both excluded"),
        ({"variable": "merrit"}, MechcausalError, "did you mean 'merit'"),
        ({"variable": "name"}, DataError, "name changes the answer of none"),
    ],
)
def test_refused_before_anything_runs(hiring, applicants, monkeypatch, options, error, said):
    def refuse(*args, **kwargs):
        raise AssertionError("the model was run")

    monkeypatch.setattr(module, "Harvest", refuse)
    options = {"variable": "merit"} | options
    variable = options.pop("variable")
    with pytest.raises(error, match=said):
        mask(hiring, applicants, mc.task("hiring"), variable, **options)
