"""Accuracy against the plain logits and the exact rate of the causal model."""

from __future__ import annotations

import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.plan import PlanError
from mechcausal.audits.reading import plan_of
from mechcausal.data.tasks.bios import TASK
from mechcausal.data.tasks.bios import accuracy as exact


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


def test_accuracy_is_that_of_the_causal_model(bios):
    prompts = TASK.prompts(bios, 400, truth="profession")
    asked = audit.Plan([audit.Accuracy(prompts, by=("group",), at_least=0.8)], networks=3)
    finding = asked.run(bios, quiet=True).findings[0]
    decided = prompts.variables["answer"] == prompts.variables["profession"]
    assert finding.estimate.value == pytest.approx(decided.double().mean().item(), abs=0.003)
    assert finding.estimate.low <= exact() <= finding.estimate.high
    assert finding.status == "pass"
    table = finding.answer.table.set_index("group")
    for group in ("he", "she"):
        here = [name == group for name in prompts.groups]
        assert table.loc[group, "accuracy"] == pytest.approx(decided.numpy()[here].mean(), abs=0.01)
    guess = next(each for each in finding.answer.controls if each.kind == "trivial-input")
    assert guess.estimate.value < 0.5
    assert not any(control.guards for control in finding.answer.controls)  # a network that learned nothing is no excuse
    assert [each["right"] for each in finding.answer.examples] == sorted(
        each["right"] for each in finding.answer.examples
    )


def test_what_is_wrong_is_said_before_the_run(bios):
    plain = mc.PromptSet.from_text(bios, ["she from oslo"])
    with pytest.raises(PlanError, match="have no answer"):
        audit.Plan([audit.Accuracy(plain)]).run(bios)
    few = TASK.prompts(bios, 12)
    assert any("fewer than 10" in each for each in audit.Plan([audit.Accuracy(few, by=("group",))]).problems(bios))
    with pytest.raises(Exception, match="out of range"):
        audit.Accuracy(few, at_least=1.5)


def test_a_plan_is_written_and_read_back():
    content = {
        "data": {"people": {"task": "bios", "n": 40, "truth": "profession"}},
        "question": [{"ask": "accuracy", "data": "people", "by": ["group"], "at_least": 0.9}],
    }
    import tomllib

    plan = plan_of(content)
    assert plan_of(tomllib.loads(plan.to_toml())).hash == plan.hash
