"""Gaps between groups of an audit: against the plain counts, three groups, nothing to find, groups that are too small."""

import numpy as np
import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.fairness.group_gaps import column_of
from mechcausal.audits.reading import plan_of
from mechcausal.errors import DataError


@pytest.fixture(scope="module")
def applicants(hiring):
    """Applications as the task draws them: gender acts through pronoun, name and hobby."""
    drawn = mc.task("hiring").prompts(hiring, 240, seed=1)
    gender = ["he" if value else "she" for value in drawn.variables["gender"].tolist()]
    return mc.PromptSet.from_text(
        hiring, drawn.texts, answer="accept", foil="reject", labels=list(drawn.labels), groups=gender,
        environments=list(drawn.groups),
    )  # fmt: skip


def asked(question, model, networks=0):
    return audit.Plan([question], networks=networks).run(model, quiet=True)["FAIR-1"]


def test_the_gaps_are_those_of_the_decisions(hiring, applicants):
    finding = asked(audit.GroupGaps(applicants, positive="accept", at_most=0.1), hiring, networks=8)
    examples = finding.examples()
    odds = mc.measure(hiring, applicants, "logit_diff").examples[0]
    assert examples["decision"].tolist() == (odds > 0).astype(float).tolist()
    rates = examples.groupby("group")["decision"].mean()
    assert finding.estimate.value == pytest.approx(abs(rates["he"] - rates["she"]))
    assert finding.status == "fail"
    assert np.mean(finding.answer.units) == pytest.approx(finding.estimate.value)
    table = finding.answer.table
    among = examples[(examples["group"] == "she") & (examples["label"] == 1)]
    row = table[(table["group"] == "she") & (table["metric"] == "true_positive_rate")].iloc[0]
    assert row["value"] == pytest.approx(among["decision"].mean())
    assert any("at base rates of" in limit for limit in finding.limits)
    gap = table[(table["group"] == "he - she") & (table["metric"] == "selection_rate")].iloc[0]
    assert gap["value"] == pytest.approx(rates["he"] - rates["she"])
    identity = table[table["metric"] == "false_positive_rate by the identity"].set_index("group")["value"]
    false_positive = table[table["metric"] == "false_positive_rate"].set_index("group")["value"]
    assert identity["she"] == pytest.approx(false_positive["she"])
    assert finding.answer.controls[0].holds
    assert finding.answer.controls[1].guards
    assert len(finding.answer.figures) == 3


def test_of_three_groups_two_are_chosen_on_one_half(hiring, applicants):
    texts = list(dict.fromkeys(applicants.texts))
    groups = [("a", "b", "c")[number % 3] for number in range(len(texts))]
    decisions = [int(group == "a") for group in groups]
    rows = [
        {"text": text, "group": group, "decision": decision, "label": 1}
        for text, group, decision in zip(texts, groups, decisions, strict=True)
    ]
    prompts = mc.PromptSet.read(rows, hiring)
    finding = asked(audit.GroupGaps(prompts, decisions="decision", at_most=0.5), hiring)
    assert finding.estimate.value == 1.0
    assert finding.estimate.n < len(prompts)
    assert "farthest apart on the other half" in finding.answer.says
    assert finding.status == "fail"
    assert "made elsewhere" in finding.answer.controls[1].says


def test_groups_that_differ_in_nothing_do_not_fail(hiring, applicants):
    random = np.random.default_rng(0)
    texts, alarms = list(dict.fromkeys(applicants.texts))[:80], 0
    for _ in range(20):
        rows = [
            {"text": text, "group": group, "decision": int(decision)}
            for text, group, decision in zip(
                texts, random.choice(["a", "b"], 80), random.integers(0, 2, 80), strict=True
            )
        ]
        prompts = mc.PromptSet.read(rows, hiring)
        alarms += asked(audit.GroupGaps(prompts, decisions="decision", at_most=0.0), hiring).status == "fail"
    assert alarms <= 4  # 1 expected at 5 %


@pytest.mark.slow
def test_a_network_with_random_weights_does_not_fail(hiring, applicants):
    empty = mc.causal.untrained(hiring, seed=3)
    few = applicants.take(slice(0, 120))
    report = audit.Plan([audit.GroupGaps(few, at_most=0.01, positive="accept")], networks=8, seed=100).run(
        empty, quiet=True
    )
    assert report["FAIR-1"].status != "fail"


def test_what_is_wrong_is_said_before_anything_is_run(hiring, applicants):
    def problems(prompts, **fields):
        return " ".join(audit.GroupGaps("p", **fields).problems({"data": prompts}))

    def read(**columns):
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return mc.PromptSet.read(rows, hiring)

    texts = list(dict.fromkeys(applicants.texts))[:33]
    tiny = read(text=texts, group=["a"] * 30 + ["tiny"] * 3, answer=["accept"] * 33, foil=["reject"] * 33)
    assert "the group 'tiny' has 3 units" in problems(tiny)
    assert "no labels" in problems(tiny, metric="true_positive_rate", smallest=3)
    bare = read(text=texts, group=["a"] * 15 + ["b"] * 18)
    assert "needs the answer" in " ".join(audit.Plan([audit.GroupGaps(bare)]).problems(hiring))
    assert "no column 'sex'" in problems(applicants, group="sex")
    assert "not clear which label" in problems(applicants, metric="accuracy")
    assert "no prompt has the label" in problems(applicants, metric="accuracy", positive="yes")
    assert "different answers" in problems(mc.task("hiring").prompts(hiring, 40), group="gender", positive="accept")
    odd = read(text=texts, group=["a"] * 15 + ["b"] * 18, decision=["maybe"] * 33)
    assert "holds no decisions" in problems(odd, decisions="decision")
    assert not problems(applicants, positive="accept")


def test_columns_are_found_by_name(applicants):
    assert column_of(applicants, "environments")[0].startswith("merit")
    with pytest.raises(DataError, match="no clusters"):
        column_of(applicants, "clusters")


def test_a_plan_with_it_is_written_and_read_back():
    table = {"ask": "group_gaps", "data": "x", "metric": "calibration", "positive": "accept", "at_most": 0.2}
    plan = plan_of({"data": {"x": {"prompts": "own.csv"}}, "question": [table]})
    assert plan_of(plan.to_json()).questions == plan.questions
