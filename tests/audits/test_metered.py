"""Questions that patch, attribute or search by a metric read the outcome of the plan: of a classifier its label."""

from __future__ import annotations

import classifiers
import numpy as np
import pytest
import torch
from zoo import make_pairs

import mechcausal as mc
from mechcausal import audit
from mechcausal.data.splits import split, units


@pytest.fixture(scope="module")
def classifier():
    return classifiers.classifier()


@pytest.fixture(scope="module")
def hiring():
    return mc.load("organism:hiring")


@pytest.fixture(scope="module")
def pairs():
    return make_pairs((7,) * 24)


@pytest.fixture(scope="module")
def odds(classifier, pairs):
    """The log-odds of `toxic` that plain transformers gives to the clean and to the corrupt prompts."""
    with torch.no_grad():
        logits = [classifier(side.tokens).logits for side in (pairs.clean, pairs.corrupt)]
    return [(values[:, 1] - values[:, 0]).double().numpy() for values in logits]


def found(model, question, outcome=""):
    finding = audit.Plan([question], networks=0, outcome=outcome).run(model, quiet=True).findings[0]
    assert finding.error == ""
    return finding.answer


@pytest.mark.parametrize(("label", "sign"), [("toxic", 1), ("fine", -1)])
def test_what_interventions_move_is_the_label(classifier, pairs, odds, label, sign):
    """The last stream carries all of what is said, so patching it moves the log-odds by the whole difference."""
    sites = ["L0.resid_post", "L1.resid_post", "L1.mlp_out"]
    answer = found(mc.load(classifier), audit.InterventionalValidity(pairs, sites=sites, at="all"), label)
    measured = answer.table.set_index("site")["measured"]
    assert measured["L1.resid_post"] == pytest.approx(sign * (odds[0] - odds[1]).mean(), abs=1e-4)


def test_what_a_ranking_of_sites_loses_is_the_label(classifier, pairs, odds):
    answer = found(mc.load(classifier), audit.Rationale(pairs, random=1), "toxic")
    judged = split(units(pairs), 0.5, seed=[0, 59], fewest=4)[1].tolist()
    table = answer.table.set_index("measure")["value"]
    assert table["m(M)"] == pytest.approx(odds[0][judged].mean(), abs=1e-4)


def test_links_are_to_the_label(classifier, pairs, odds):
    model = mc.load(classifier)
    question = audit.Links(pairs, random=4, details=0)
    desk = audit.Desk(model, {"data": pairs}, reads="toxic", networks=0, quiet=True)
    values = mc.measure(model, pairs.clean, question.metric_at(desk)).examples[0]
    assert np.allclose(values, odds[0], atol=1e-4)
    assert "candidates for 'the factor'" in found(model, question, "toxic").says


def test_a_circuit_is_searched_and_judged_by_the_outcome(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=24)
    question = audit.Faithfulness(pairs, random=1)
    judged = pairs.take(split(units(pairs), 0.5, seed=[0, 53], fewest=4)[1].tolist())
    for name in ("prob", "logit_diff"):
        answer = found(hiring, question, "" if name == "logit_diff" else name)
        plain = mc.measure(hiring, judged.clean, name).examples[0]
        assert answer.table.set_index("measure")["value"]["m(M)"] == pytest.approx(plain.mean(), abs=1e-5)


@pytest.mark.slow
def test_a_metric_of_its_own_is_read_whatever_the_plan_says(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=24)
    question = audit.Rationale(pairs, metric="logprob", random=1)
    assert not question.reads_outcome
    answer = found(hiring, question, "prob")
    judged = pairs.take(split(units(pairs), 0.5, seed=[0, 59], fewest=4)[1].tolist())
    plain = mc.measure(hiring, judged.clean, "logprob").examples[0]
    assert answer.table.set_index("measure")["value"]["m(M)"] == pytest.approx(plain.mean(), abs=1e-5)


def test_data_without_what_is_read_are_refused_with_the_question_named(hiring):
    bare = mc.contrast("hiring/gender", hiring, n=24)
    sides = [mc.PromptSet.from_text(hiring, side.texts) for side in (bare.clean, bare.corrupt)]
    pairs = mc.Contrast(*sides, "gender")
    for question in (audit.Links(pairs), audit.Rationale(pairs, metric="prob"), audit.Faithfulness(pairs)):
        problems = audit.Plan([question]).problems(hiring)
        assert problems[0].startswith(f"{problems[0].split()[0]} ({question.word}): the metric")
        assert "needs the answer" in problems[0]
