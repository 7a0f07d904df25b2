"""Accuracy and calibration from environment to environment: organism:bios, whose accuracies follow exactly."""

from __future__ import annotations

import tomllib

import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.reading import plan_of
from mechcausal.audits.robustness.environments import SIGN_FLIP, by_environment
from mechcausal.data.tasks.bios import TASK, accuracy


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


def drawn(model, name, seed=0, n=200):
    return TASK.prompts(model, n, environment=None if name == "world" else name, truth="profession", seed=seed)


@pytest.fixture(scope="module")
def sets(bios):
    return {name: drawn(bios, name, seed) for seed, name in enumerate(("world", "balanced", "flipped"))}


def asked(sets, **more):
    others = {name: prompts for name, prompts in sets.items() if name != "world"}
    return audit.Environments(sets["world"], environments=others, **more)


def test_accuracies_are_those_of_the_causal_model(bios, sets):
    finding = audit.Plan([asked(sets, at_most=0.1)], networks=3).run(bios, quiet=True).findings[0]
    table = finding.answer.table.set_index("environment")
    for name in sets:
        assert (
            table.loc[name, "accuracy_low"]
            <= accuracy(None if name == "world" else name)
            <= table.loc[name, "accuracy_high"]
        )
    assert finding.estimate.low <= accuracy() - accuracy("flipped") <= finding.estimate.high
    assert finding.estimate.value == pytest.approx(table.loc["world", "accuracy"] - table.loc["flipped", "accuracy"])
    assert finding.status == "fail"
    wrong = [row for row in finding.answer.examples if row["environment"] == "flipped" and not row["right"]]
    assert len(wrong) == min(60, round(len(sets["flipped"]) * (1 - table.loc["flipped", "accuracy"])))
    assert all(row["text"] == sets["flipped"].texts[row["prompt"]] for row in wrong)


def test_the_slope_changes_its_sign_where_the_pronoun_does(bios, sets):
    """E3: above zero in the world, below where the relation is turned round."""
    desk = audit.Desk(bios, asked_held(sets), networks=0, quiet=True)
    answer = asked(sets).answer(desk)
    table = answer.table.set_index("environment")
    assert table.loc["world", "slope_low"] > 0
    assert table.loc["flipped", "slope_high"] < 0
    assert "flipped" in answer.marks[SIGN_FLIP]


def asked_held(sets):
    return {"data": sets["world"], **{f"environments.{name}": each for name, each in sets.items() if name != "world"}}


@pytest.mark.slow
def test_the_same_environment_twice_is_no_fall(bios):
    finds = []
    for seed in range(3):
        pair = audit.Environments(
            drawn(bios, "world", 10 + seed), environments={"again": drawn(bios, "world", 20 + seed)}, at_most=0.0
        )
        finding = audit.Plan([pair], networks=3).run(bios, quiet=True).findings[0]
        finds.append(finding.status)
        assert SIGN_FLIP not in finding.answer.marks
    assert "fail" not in finds


def test_a_column_tells_the_environments(bios, sets):
    rows = [
        {"text": text, "answer": str(label), "label": str(label), "environment": name}
        for name, prompts in sets.items()
        for text, label in list(dict(zip(prompts.texts, prompts.labels, strict=True)).items())[:40]
    ]
    rows = list({row["text"]: row for row in rows}.values())  # a file holds no row twice
    together = mc.PromptSet.read(rows, bios)
    parts = by_environment({"data": together})
    assert list(parts) == list(sets)
    assert sum(map(len, parts.values())) == len(rows)
    desk = audit.Desk(bios, {"data": together}, networks=0, quiet=True)
    answer = audit.Environments(together).answer(desk)
    assert answer.estimate.value > 0.2


def test_what_is_wrong_is_said_before_the_run(bios, sets):
    alone = audit.Plan([audit.Environments(sets["world"])]).problems(bios)
    assert "there is one environment" in alone[0]
    few = audit.Environments(sets["world"], environments={"few": sets["balanced"].take([0, 1])})
    assert "has 2 prompts" in audit.Plan([few]).problems(bios)[0]


def test_a_plan_is_written_and_read_back(bios):
    content = {
        "data": {
            "here": {"task": "bios", "truth": "profession"},
            "there": {"task": "bios", "truth": "profession", "environment": "flipped"},
        },
        "question": [{"ask": "environments", "data": "here", "environments": {"flipped": "there"}, "at_most": 0.1}],
    }
    plan = plan_of(content)
    assert plan.problems(bios) == []
    assert plan_of(tomllib.loads(plan.to_toml())).hash == plan.hash
