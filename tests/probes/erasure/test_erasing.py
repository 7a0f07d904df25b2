"""Erasures inside the organism: what they take, what they leave, and what they do to its decisions."""

import json
import logging
import sys

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.data import PromptSet
from mechcausal.data.splits import split, units
from mechcausal.errors import ArgumentError, DataError, SiteError, UnsupportedError
from mechcausal.features import attach, detach, erase, guardedness, probe
from mechcausal.interventions.specs import Set, edit_from_json
from mechcausal.metrics import metric
from mechcausal.models.engine import Plan, evaluate
from mechcausal.models.hooked import forward
from mechcausal.probes import labels_of
from mechcausal.probes.erasure.erasing import correlation_of, joined


@pytest.fixture(scope="module")
def prompts(hiring):
    return mc.task("hiring").prompts(hiring, 500)


def decisions(model, prompts, edits):
    return evaluate(model, Plan(prompts, [edits], metric("accuracy")), batch_size=64).values[0]


def test_its_edits_are_edits_like_any_others(hiring, prompts):
    found = erase(hiring, prompts, "gender", "L1.resid_post", at="@decision")
    part = prompts.take(slice(0, 40))
    plan = Plan(part, [found.edits], metric("logit_diff"))
    fast, slow = (evaluate(hiring, plan, batch_size=16, exact=exact).values[0] for exact in ("replay", "naive"))
    np.testing.assert_allclose(fast, slow, atol=1e-4)
    swept = mc.ablate(hiring, part, sites="L1.resid_post", at="@decision", do=found.edits[0].do)
    np.testing.assert_allclose(swept.examples[0], slow, atol=1e-4)
    again = [edit_from_json(json.loads(json.dumps(edit.to_json()))) for edit in found.edits]
    assert again == list(found.edits)


def test_where_the_bias_is_an_erasure_takes_it_from_the_decisions(hiring, prompts):
    used = erase(hiring, prompts, "gender", "L1.z.H2", at="@decision")
    trap = erase(hiring, prompts, "gender", "L2.z.H0", at="@decision")
    held = prompts.take(used.held_out.tolist())
    assert decisions(hiring, held, trap.edits).mean() == 1.0
    assert decisions(hiring, held, used.edits).mean() < 0.95
    he = held.variables["gender"] == 1
    both = {}
    for name, edits in (("before", ()), ("after", used.edits)):
        logits = forward(hiring, held, edits).logits[:, -1]
        accept, reject = (hiring.tokenizer.convert_tokens_to_ids(word) for word in ("accept", "reject"))
        odds = logits[:, accept] - logits[:, reject]
        both[name] = [
            float(odds[he & (held.variables["proxy"] == p)].mean() - odds[~he & (held.variables["proxy"] == p)].mean())
            for p in (0, 1)
        ]
    assert np.mean(both["after"]) < 0.5 * np.mean(both["before"])


def test_every_site_is_erased_from_what_is_left_by_those_before_it(hiring, prompts):
    found = erase(hiring, prompts, "gender", "resid_post", at="@decision", share=0.6)
    assert [str(edit.site) for edit in found.edits] == [f"L{layer}.resid_post" for layer in range(4)]
    part = prompts.take(found.fit.tolist())
    sites = [Site("resid_post", layer) for layer in range(4)]
    read = forward(hiring, part, found.edits, read=sites).read
    gender = part.variables["gender"] == 1
    for site in sites:  # exactly so only if each was fitted under the edits before it
        x = read[site][:, -1]
        assert (x[gender].mean(0) - x[~gender].mean(0)).abs().max() < 2e-4 * x.abs().max()


@pytest.mark.slow
def test_an_edit_is_felt_downstream(hiring, prompts):
    """At the pronoun nothing else is known of gender, so that taking it from the embedding takes it from every layer."""
    found = erase(hiring, prompts, "gender", "embed", at="@gender")
    told = guardedness(hiring, found, sites="resid_post", tolerance=0.1)
    assert len(told) == 4 * 3
    assert (told.frame["before"] == 1).all()
    np.testing.assert_allclose(told.frame["value"], told.frame["guess"], atol=0.1)
    assert set(told.frame["verdict"]) <= {"guarded", "open"}
    assert told.frame["at"].unique().tolist() == ["@gender"]


def test_fit_and_held_out_share_no_text_and_no_cluster(hiring, prompts):
    unit = units(prompts)
    fit, held = split(unit, 0.5, 0)
    assert not set(unit[fit]) & set(unit[held])
    assert sorted([*fit, *held]) == list(range(500))
    assert not {prompts.texts[i] for i in fit} & {prompts.texts[i] for i in held}
    assert len(split(unit, 0.8, 0)[0]) > len(fit)
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        erase(hiring, prompts, "gender", share=1.0)


def test_the_warning_where_concept_and_label_go_together(hiring, prompts, caplog):
    with caplog.at_level(logging.WARNING, "mechcausal"):
        found = erase(hiring, prompts, "gender", "L2.resid_post", at="@decision")
    assert "'gender' is correlated with 'the label' in the fit set" in caplog.text
    assert found.correlation.noted
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mechcausal"):
        fine = erase(hiring, prompts, "degree", "L2.resid_post", at="@decision", outcome="gender")
    assert caplog.text == ""
    assert fine.warning == ""
    assert "beware" not in repr(fine)


def test_the_correlation_is_cramers_v():
    tokens = torch.arange(80).reshape(40, 2)
    known = PromptSet(tokens=tokens, mask=torch.ones_like(tokens).bool(), labels=("a", "b") * 20)
    same = correlation_of(known, labels_of(known, [0, 1] * 20))
    assert same.v == pytest.approx(1)
    none = correlation_of(known, labels_of(known, [0, 0, 1, 1] * 10))
    assert none.v == pytest.approx(0)
    assert not none.noted
    # 15 of 20 against 5 of 20: phi is 0.5
    some = correlation_of(
        known, labels_of(known, [0 if i % 4 else 1 for i in range(20)] * 2), [i < 20 for i in range(40)]
    )
    assert some.outcome == "the outcome"
    assert some.v == pytest.approx(0)


class Turned:
    """A dictionary whose features are the coordinates in a turned basis."""

    def __init__(self, width):
        self.W_dec = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0))).Q

    def encode(self, x):
        return x @ self.W_dec.T

    def decode(self, f):
        return f @ self.W_dec


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_features_are_ablated(hiring, prompts, fill):
    attach(hiring, Turned(48), "L2.resid_post", name="turned")
    try:
        found = erase(
            hiring, prompts, "gender", "L2.resid_post.sae:turned", at="@decision", method="features", k=8, fill=fill
        )
        assert found.ranks == {"L2.resid_post.sae:turned": 8}
        assert all(isinstance(edit.do, Set) and edit.site.feature is not None for edit in found.edits)
        assert all((edit.do.value == 0) == (fill == "zero") for edit in found.edits)
        part = prompts.take(found.fit.tolist())
        site = Site("resid_post", 2, dictionary="turned")
        before = forward(hiring, part, read=[site]).read[site][:, -1].numpy()
        chosen = [edit.site.feature for edit in found.edits]
        gender = part.variables["gender"].numpy()
        apart = ttest_ind(before[gender == 1], before[gender == 0]).statistic
        assert set(chosen) == set(np.argsort(-np.abs(apart))[:8])
        after = forward(hiring, part, found.edits, read=[site]).read[site][:, -1].numpy()
        aim = before.mean(0) if fill == "mean" else np.zeros(48)
        np.testing.assert_allclose(after[:, chosen], aim[chosen][None].repeat(len(part), 0), atol=1e-4)
        others = np.setdiff1d(np.arange(48), chosen)
        np.testing.assert_allclose(after[:, others], before[:, others], atol=1e-4)
        assert guardedness(hiring, found, kinds=["logistic"]).frame["site"][0] == str(site)
        with pytest.raises(SiteError, match="ablated in a dictionary"):
            erase(hiring, prompts, "gender", "L2.resid_post", method="features")
        with pytest.raises(DataError, match="number of features to ablate"):
            erase(hiring, prompts, "gender", "L2.resid_post.sae:turned", method="features", k=100)
    finally:
        detach(hiring, "turned")


@pytest.mark.slow
def test_several_erasures_together(hiring, prompts):
    first = erase(hiring, prompts, "gender", "L2.resid_post", at="@decision")
    second = erase(hiring, prompts, "hobby", "L0.resid_post", at="@decision", method="means")
    edits = joined([first, second])
    assert [str(edit.site) for edit in edits] == ["L0.resid_post", "L2.resid_post"]
    assert np.isfinite(decisions(hiring, prompts.take(slice(0, 8)), edits)).all()
    left = probe(hiring, prompts, "hobby", "L0.resid_post", at="@decision", edits=edits, control=False, mdl=False)
    assert left.report.accuracy.estimate < 0.5


def test_wrong_input_is_refused_in_one_sentence(hiring, prompts, monkeypatch):
    with pytest.raises(SiteError, match=r"several heads.*L1.z.H\*"):
        erase(hiring, prompts, "gender", "L1.z", at="@decision")
    with pytest.raises(SiteError, match="a single number"):
        erase(hiring, prompts, "gender", "L1.mlp_post.N3", at="@decision")
    with pytest.raises(ArgumentError, match="'zero' or 'mean'"):
        erase(hiring, prompts, "gender", fill="noise")
    with pytest.raises(DataError, match="no probe is named"):
        guardedness(hiring, erase(hiring, prompts, "gender", "L1.z.H2", at="@decision"), kinds=())
    monkeypatch.setitem(sys.modules, "concept_erasure", None)
    with pytest.raises(UnsupportedError, match=r"mechcausal\[erasure\]"):
        erase(hiring, prompts, "gender", "L2.resid_post", at="@decision")
    assert erase(hiring, prompts, "gender", "L2.resid_post", at="@decision", method="means").edits
