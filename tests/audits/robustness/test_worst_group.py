"""The worst group of organism:bios is known from its causal model."""

from __future__ import annotations

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.audits.robustness.worst_group import lowest
from mechcausal.data.tasks.bios import TASK
from mechcausal.features import erase

GROUPS = ("label", "group")


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def balanced(bios):
    return TASK.prompts(bios, 320, environment="balanced", truth="profession")


def test_the_worst_group_is_that_of_the_causal_model(bios, balanced):
    asked = audit.Plan([audit.WorstGroup(balanced, by=GROUPS, at_least=0.6)], networks=3)
    finding = asked.run(bios, quiet=True).findings[0]
    decided = (balanced.variables["answer"] == balanced.variables["profession"]).double().numpy()
    groups = np.array([f"{label}, {group}" for label, group in zip(balanced.labels, balanced.groups, strict=True)])
    shares = {name: decided[groups == name].mean() for name in np.unique(groups)}
    worst = str(min(shares, key=shares.get))
    assert finding.estimate.value == pytest.approx(shares[worst], abs=0.03)
    assert repr(worst) in finding.answer.says
    assert finding.estimate.tests == 8
    assert finding.status == "fail"
    # Who is not called as expected is right only where both words point to the truth: .6^2, exactly.
    assert finding.estimate.low <= 0.36 <= finding.estimate.high
    random = finding.answer.controls[0]
    assert random.holds
    assert random.estimate.value > finding.estimate.value + 0.1
    assert all(example["group"] == worst for example in finding.answer.examples)


def test_without_the_pronoun_no_group_is_worse_for_it(bios, balanced):
    """Where the place of the pronoun is erased, those called otherwise than expected are right as often as the others."""
    fit = TASK.prompts(bios, 300, environment="broad", seed=5)
    edits = erase(bios, fit, "pronoun", "L1.z.H2", at="@job").edits
    gaps = {}
    for name, made in (("before", ()), ("after", edits)):
        desk = audit.Desk(bios, {"data": balanced}, edits=made, networks=0, quiet=True)
        answer = audit.WorstGroup(balanced, by=("u_senior", "group")).answer(desk)
        rate = dict(zip(answer.table["group"], answer.table["accuracy"], strict=True))
        gaps[name] = rate["1, he"] - rate["1, she"], rate["0, she"] - rate["0, he"]
    assert min(gaps["before"]) > 0.5
    assert np.abs(gaps["after"]).max() < 0.2


def test_lowest_by_hand():
    assert lowest(np.array([1.0, 0, 1, 1]), np.array(["a", "a", "b", "b"])) == 0.5


def test_what_is_wrong_is_said_before_the_run(bios, balanced):
    few = balanced.take(list(range(30)))
    with pytest.raises(PlanError, match="fewer than 10"):
        audit.Plan([audit.WorstGroup(few, by=GROUPS)]).run(bios)
    assert "no columns" in audit.Plan([audit.WorstGroup(balanced, by=())]).problems(bios)[0]
    assert "no variable or column 'sex'" in audit.Plan([audit.WorstGroup(balanced, by=("sex",))]).problems(bios)[0]
    plan = plan_of({
        "data": {"x": {"task": "bios", "environment": "balanced", "truth": "profession"}},
        "question": [{"ask": "worst_group", "data": "x", "by": ["label", "group"], "at_least": 0.5}],
    })  # fmt: skip
    assert plan.questions[0].by == ("label", "group")
    assert plan.problems(bios) == []
