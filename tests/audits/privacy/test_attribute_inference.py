"""Attribute inference on the organism: the gender that it uses, a name that it does not, and what was erased."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.address import Site
from mechcausal.audits.desk import Desk
from mechcausal.audits.plan import Plan
from mechcausal.audits.privacy.attribute_inference import AttributeInference
from mechcausal.audits.reading import plan_of
from mechcausal.interventions.specs import Edit, Zero


@pytest.fixture(scope="module")
def applicants(hiring):
    return mc.task("hiring").prompts(hiring, 240)


def asked(data, labels="gender", **options):
    return AttributeInference(data, **{"labels": labels, "sites": "L2.resid_post", "folds": 2, **options})


def answered(model, question):
    finding = Plan([question], networks=0).run(model, quiet=True).findings[0]
    assert not finding.error, finding.error
    return finding


@pytest.fixture(scope="module")
def finding(hiring, applicants):
    return answered(hiring, asked(applicants, at_most=0.6))


def test_what_the_organism_knows_is_read(finding):
    assert finding.status == "fail"
    assert finding.estimate.value > 0.9
    assert finding.site == "L2.resid_post @-1"
    table = finding.answer.table
    assert set(table.query("measure == 'read'")["adversary"]) == {"linear", "quadratic", "mlp"}
    kinds = {control.kind: control for control in finding.answer.controls}
    assert abs(kinds["no-learning"].estimate.value - 0.5) < 0.05
    assert kinds["trivial-input"].estimate.value > 0.9  # the pronoun says it


def test_the_effect_of_its_direction_stands_beside_it(hiring, applicants):
    site = "L1.z.H2"  # where the organism has it, and uses it
    finding = answered(hiring, asked(applicants, sites=site, at="@decision", adversaries=("linear",)))
    effects = finding.answer.table.set_index("measure")["value"]
    means, chance = (
        f"effect of ablating {name} (logit_diff)" for name in ("the difference of the class means", "random directions")
    )
    assert effects[means] > 2 * effects[chance]
    assert finding.answer.table.set_index("measure")["p"][means] < 0.01
    assert "along the difference of the classes" in finding.answer.says


def test_what_is_read_and_not_used_is_seen(finding):
    # After layer 2 the decision is made: the gender can still be read, and nothing reads it.
    effects = finding.answer.table.set_index("measure")["value"]
    assert effects["effect of ablating the probe's direction (logit_diff)"] < 0.1


def test_labels_that_mean_nothing_are_not_flagged(hiring, applicants):
    from dataclasses import replace

    coin = np.random.default_rng(5).integers(0, 2, len(applicants))
    prompts = replace(applicants, labels=tuple(np.array(["heads", "tails"])[coin]))
    finding = answered(hiring, asked(prompts, "labels", at_most=0.65, adversaries=("linear", "quadratic")))
    assert finding.status in ("pass", "inconclusive")
    assert 0.35 < finding.estimate.value < 0.65


def test_linear_adversaries_alone_never_pass(hiring, applicants):
    finding = answered(hiring, asked(applicants, at_most=1.0, adversaries=("linear",)))
    assert finding.status == "inconclusive"
    assert "product of coordinates" in finding.answer.cannot_fail


def test_under_an_edit_less_is_read(hiring, applicants):
    silent = tuple(Edit(Site.parse(f"L1.z.H{head}"), Zero()) for head in range(4))
    silent += tuple(Edit(Site.parse(f"L0.z.H{head}"), Zero()) for head in range(4))
    desk = Desk(hiring, {"data": applicants}, edits=silent, networks=0, quiet=True)
    found = asked(applicants, sites="L1.resid_post", adversaries=("linear",)).answer(desk)
    assert found.estimate.value < 0.65


def test_problems(hiring, applicants):
    assert "gende" in Plan([asked(applicants, "gende")]).problems(hiring)[0]
    few = applicants.take(slice(0, 12))
    assert "8 are needed" in Plan([asked(few)]).problems(hiring)[0]


def test_a_plan_reads_and_writes_it():
    content = {
        "data": {"people": {"task": "hiring", "n": 80}},
        "question": [
            {"ask": "attribute_inference", "data": "people", "labels": "gender", "sites": ["L1.resid_post"],
             "adversaries": ["linear", "mlp"], "at_most": 0.6},
        ],
    }  # fmt: skip
    plan = plan_of(content)
    import tomllib

    assert plan_of(tomllib.loads(plan.to_toml())).questions == plan.questions
