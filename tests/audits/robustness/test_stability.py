"""Which heads of organism:bios say the same of the profession everywhere: known, because its variables have places."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.reading import plan_of
from mechcausal.data.tasks.bios import TASK

SENIOR = ("surgeon", "professor")


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def sets(bios):
    return {
        name: TASK.prompts(bios, 240, environment=None if name == "world" else name, truth="profession", seed=seed)
        for seed, name in enumerate(("world", "balanced", "flipped"))
    }


def asked(sets, **more):
    others = {name: prompts for name, prompts in sets.items() if name != "world"}
    given = {"sites": "L1.z.H*", "at": "@job", "positive": SENIOR, **more}
    return audit.Stability(sets["world"], environments=others, **given)


def desk_of(model, sets, **more):
    held = {"data": sets["world"], **{f"environments.{name}": each for name, each in sets.items() if name != "world"}}
    return audit.Desk(model, held, quiet=True, **{"networks": 0, **more})


def test_the_pronoun_is_not_stable_and_the_field_says_nothing(bios, sets):
    """A9 on a network: the place of the pronoun is found, far beyond 1e-6; the place of the evidence is far below it."""
    answer = asked(sets).answer(desk_of(bios, sets))
    table = answer.table.set_index("unit")
    assert table.loc["L1.z.H2", "p"] < 1e-6
    assert table.loc["L1.z.H2", "slope_lowest"] < 0 < table.loc["L1.z.H2", "slope_highest"]
    assert table.loc["L1.z.H1", "statistic"] < table.loc["L1.z.H2", "statistic"] / 10
    assert table.loc["L1.z.H1", "slope_lowest"] > 0
    assert table.loc["L1.z.H1", "carries"]
    assert not table.loc["L1.z.H0", "carries"]  # it holds the field, which says nothing of rank
    assert "L1.z.H2" in answer.says
    shown = {name: [row for row in answer.examples if row["environment"] == name] for name in sets}
    for name, rows in shown.items():
        assert rows
        assert all(row["text"] == sets[name].texts[row["prompt"]] for row in rows)
        assert all(row["label"] == sets[name].labels[row["prompt"]] for row in rows)
    assert abs(answer.examples[0]["L1.z.H2, standard deviations"]) > 0.5
    assert answer.estimate.value >= 1
    assert answer.controls[0].holds  # with environments drawn at random nothing is found


def test_the_variables_themselves(sets):
    """The same test on the variables of the causal model: evidence is a cause of the answer, the pronoun is not."""
    from mechcausal.audits.logistic import interacts

    names = np.repeat(list(sets), [len(each) for each in sets.values()])
    label = np.concatenate([[each in SENIOR for each in prompts.labels] for prompts in sets.values()]).astype(float)
    column = {
        name: np.concatenate([prompts.variables[name].numpy() for prompts in sets.values()])
        for name in ("evidence", "pronoun")
    }
    assert interacts(column["evidence"], label, names)[2] > 0.01
    assert interacts(column["pronoun"], label, names)[2] < 1e-6


def test_a_head_can_be_read_along_the_label(bios, sets):
    answer = asked(sets, along="label").answer(desk_of(bios, sets))
    table = answer.table.set_index("unit")
    assert table.loc["L1.z.H2", "p"] < 1e-6


def test_the_same_environment_twice_is_stable(bios):
    pair = {
        name: TASK.prompts(bios, 200, truth="profession", seed=seed) for seed, name in enumerate(("world", "again"))
    }
    finding = audit.Plan([asked(pair, at_most=0)], networks=2).run(bios, quiet=True).findings[0]
    assert finding.estimate.value == 0
    assert finding.status == "pass"


def test_what_is_wrong_is_said_before_the_run(bios, sets):
    assert "has 4 values" in audit.Plan([asked(sets, positive=())]).problems(bios)[0]
    assert "no variable or column 'rank'" in audit.Plan([asked(sets, label="rank")]).problems(bios)[0]
    assert "says the same" in audit.Plan([asked(sets, positive=("dean",))]).problems(bios)[0]
    assert not audit.Stability.under_edits


def test_a_plan_is_written_and_read_back():
    content = {
        "data": {"here": {"task": "bios"}, "there": {"task": "bios", "environment": "flipped"}},
        "question": [
            {"ask": "stability", "data": "here", "environments": {"flipped": "there"}, "sites": "z", "at": "@job",
             "positive": ["surgeon", "professor"], "at_most": 0}
        ],
    }  # fmt: skip
    plan = plan_of(content)
    assert plan_of(tomllib.loads(plan.to_toml())).hash == plan.hash
