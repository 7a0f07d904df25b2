"""Membership: an overfit model gives its members away, shuffled labels do not, and sets that differ are not judged."""

import memorizing
import numpy as np
import pytest

from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.privacy.membership import SHIFTED, Membership
from mechcausal.audits.reading import plan_of

N = 60


def drawn(seed=3, first=0):
    return np.random.default_rng(seed).integers(2, 42, (2 * N, 10))


@pytest.fixture(scope="module")
def overfit():
    rows = drawn()
    model = memorizing.taught(memorizing.network(), np.c_[np.ones(N, int), rows[:N]], steps=110)
    return memorizing.wrapped(model)


@pytest.fixture(scope="module")
def texts():
    return Members(memorizing.texts_of(drawn()), (True,) * N + (False,) * N)


@pytest.fixture(scope="module")
def finding(overfit, texts):
    return answered(overfit, Membership(texts, at_most=0.6))


def answered(model, question, **options):
    finding = Plan([question], **options).run(model, quiet=True).findings[0]
    assert not finding.error, finding.error
    return finding


def controls(finding):
    return {control.kind: control for control in finding.answer.controls}


def test_an_overfit_model_gives_its_members_away(finding):  # A11
    assert finding.status == "fail"
    assert finding.estimate.value > 0.95
    aucs = finding.answer.table.query("measure == 'AUC'")
    assert aucs["attack"].tolist() == ["loss", "zlib", "min_k", "min_k_plus"]
    assert aucs["value"].min() > 0.95


def test_shuffled_labels_do_not(finding):  # A11
    assert 0.45 <= controls(finding)["no-learning"].estimate.value <= 0.55
    assert controls(finding)["no-learning"].p < 0.01
    assert controls(finding)["random"].holds
    assert controls(finding)["trivial-input"].estimate.value <= SHIFTED


def test_a_rate_that_cannot_be_measured_is_said(finding, texts, overfit):
    assert "a false positive rate of 1.00% cannot be measured" in finding.answer.limits[0]
    assert not finding.answer.table.query("measure == 'TPR at 0.10% FPR'")["measurable"].any()
    asked = Plan([Membership(texts, measure="tpr", fpr=(0.01,))])
    assert "cannot be measured: bring 100" in asked.problems(overfit)[0]
    caught = answered(overfit, Membership(texts, measure="tpr", fpr=(0.05,), attacks=()))
    assert caught.estimate.value > 0.9
    assert caught.estimate.law == "binomial"
    assert len(caught.answer.units) == 2 * N
    assert np.mean(caught.answer.units) == pytest.approx(caught.estimate.value)


def test_a_model_that_saw_neither_set_does_not_fail(texts):
    fresh = memorizing.wrapped(memorizing.network().eval())
    finding = answered(fresh, Membership(texts, at_most=0.7))
    assert finding.status in ("pass", "inconclusive")
    assert 0.35 < finding.estimate.value < 0.65


def test_an_attack_is_compared_with_guessing(texts, overfit):
    guessing = answered(memorizing.wrapped(memorizing.network().eval()), Membership(texts))
    assert guessing.estimate.low < 0.5 < guessing.estimate.high
    assert guessing.p > 0.05
    assert answered(overfit, Membership(texts)).p < 1e-6
    assert np.isnan(answered(overfit, Membership(texts, measure="tpr", fpr=(0.05,))).p)


def test_sets_that_differ_in_their_words_are_invalid(overfit):  # A11
    rows = drawn()
    rows[N:] = np.random.default_rng(1).integers(22, 42, (N, 10))  # of another topic
    finding = answered(overfit, Membership(Members(memorizing.texts_of(rows), (True,) * N + (False,) * N), at_most=0.6))
    assert finding.status == "inconclusive"
    assert "invalid" in finding.answer.marks
    assert finding.answer.says.startswith("invalid")


def test_against_another_model(overfit, texts):
    fresh = memorizing.wrapped(memorizing.network(seed=1).eval())
    finding = answered(overfit, Membership(texts, attack="reference", attacks=(), reference=fresh))
    assert finding.estimate.value > 0.95
    assert "needs another model" in Plan([Membership(texts, attack="reference")]).problems(overfit)[0]


def test_texts_of_one_cluster_count_once(overfit):
    rows = drawn()
    clusters = tuple(f"author {number % 6}" for number in range(N)) + tuple(f"other {number}" for number in range(N))
    few = Members(memorizing.texts_of(rows), (True,) * N + (False,) * N, clusters)
    assert "6 independent members" in Plan([Membership(few)]).problems(overfit)[0]


def test_a_plan_reads_and_writes_it():
    content = {
        "data": {"texts": {"texts": "hiring_secret"}},
        "question": [{"ask": "membership", "data": "texts", "measure": "tpr", "fpr": [0.1], "at_most": 0.2}],
    }
    plan = plan_of(content)
    assert plan.questions[0].estimand.endswith("while it accuses at most 10.00% of nonmembers")
    import tomllib

    assert plan_of(tomllib.loads(plan.to_toml())).questions == plan.questions


def test_examples_and_figure(finding):
    examples = finding.examples()
    assert len(examples) == 2 * N
    assert {"text", "member", "loss", "min_k_plus"} <= set(examples.columns)
    assert "Members caught" in finding.answer.figures[0].describe()
