"""Decisions against the plain logits."""

from __future__ import annotations

import copy
from dataclasses import replace

import classifiers
import numpy as np
import pytest
import torch
from biographies import PRONOUN_HEAD, ROYAL, odds, population, royals
from biographies import model as model_by_hand
from zoo import make_pairs

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.decisions import (
    confidence,
    constant,
    correct,
    decisions,
    undecidable,
    unnamed,
)
from mechcausal.audits.desk import Desk
from mechcausal.audits.perturbed import swapped
from mechcausal.data.tasks.bios import TASK


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


@pytest.fixture(scope="module")
def prompts(bios):
    return TASK.prompts(bios, 40, truth="profession")


def test_decisions_are_those_of_the_logits(bios, prompts):
    with torch.no_grad():
        logits = bios(prompts.tokens)[:, -1].double()
    rows = torch.arange(len(prompts))
    desk = Desk(bios, {"data": prompts}, quiet=True)
    assert decisions(desk, prompts, "all").tolist() == logits.argmax(-1).tolist()
    assert correct(desk, prompts, "all").tolist() == (logits.argmax(-1) == prompts.answer).double().tolist()
    odds = (logits[rows, prompts.answer] - logits[rows, prompts.foil]).numpy()
    assert decisions(desk, prompts, "foil").tolist() == (odds > 0).astype(float).tolist()
    assert confidence(desk, prompts, "foil") == pytest.approx(np.abs(odds), abs=1e-4)
    top = logits.softmax(-1).amax(-1)
    assert confidence(desk, prompts, "all") == pytest.approx(torch.logit(top).numpy(), abs=1e-3)


def test_a_guess_without_reading(bios, prompts):
    counts = np.unique(prompts.answer.numpy(), return_counts=True)[1]
    assert constant(Desk(bios, {"data": prompts}), prompts).mean() == pytest.approx(counts.max() / len(prompts))


def test_what_cannot_be_decided(bios):
    plain = mc.PromptSet.from_text(bios, ["she from oslo"])
    desk = Desk(bios, {"data": plain})
    assert "no answer and foil" in undecidable(desk, plain, "foil")
    assert "no answer and foil" in undecidable(desk, plain, "written")
    assert undecidable(desk, plain, "all") is None
    assert "right or wrong" in undecidable(desk, plain, "all", needs_answer=True)


@pytest.fixture(scope="module")
def classifier():
    return classifiers.classifier()


@pytest.fixture(scope="module")
def labeled(classifier):
    """Prompts with a column of labels and no answers, as a classifier's data are, and their logits by plain transformers."""
    tokens = make_pairs(lengths=(7,) * 64).clean
    with torch.no_grad():
        logits = copy.deepcopy(classifier)(tokens.tokens).logits.double()
    truth = np.where(np.arange(64) % 4 == 0, 1 - logits.argmax(1).numpy(), logits.argmax(1).numpy())
    prompts = replace(
        tokens, answer=None, foil=None, labels=tuple(np.array(["fine", "toxic"])[truth].tolist()),
        groups=("a", "b") * 32, environments=("here",) * 32 + ("there",) * 32,
        positions={"word": torch.ones(64, dtype=torch.long)},
    )  # fmt: skip
    return prompts, logits, truth


def test_a_classifier_is_right_where_its_label_is(classifier, labeled):
    prompts, logits, truth = labeled
    model = mc.load(copy.deepcopy(classifier))
    desk, right = Desk(model, {"data": prompts}, quiet=True), logits.argmax(1).numpy() == truth
    assert decisions(desk, prompts, "all").tolist() == logits.argmax(1).tolist()
    for against in ("all", "foil"):
        assert undecidable(desk, prompts, against, needs_answer=True) is None
        assert correct(desk, prompts, against).tolist() == right.tolist()
        odds = (logits[:, 1] - logits[:, 0]).abs().numpy()
        assert confidence(desk, prompts, against) == pytest.approx(odds, abs=1e-4)
    other = Desk(model, {"data": prompts}, reads="fine", quiet=True)
    assert correct(other, prompts, "foil").tolist() == right.tolist()
    assert constant(desk, prompts).mean() == max(truth.mean(), 1 - truth.mean())
    numbers = replace(prompts, labels=tuple(int(number) for number in truth))
    assert correct(desk, numbers, "all").tolist() == right.tolist()


def test_all_questions_of_decisions_are_asked_of_a_classifier(classifier, labeled):
    """Each number is that of the labels that plain transformers gives."""
    prompts, logits, truth = labeled
    model = mc.load(copy.deepcopy(classifier))
    right = logits.argmax(1).numpy() == truth
    pairs = make_pairs(lengths=(7,) * 64)
    with torch.no_grad():
        moved = copy.deepcopy(classifier)(pairs.corrupt.tokens).logits.argmax(1) != logits.argmax(1)
    bare = mc.Contrast(*(replace(side, answer=None, foil=None) for side in (pairs.clean, pairs.corrupt)), "two tokens")
    report = audit.Plan([
        audit.Accuracy(prompts, id="accuracy"), audit.Calibration(prompts, id="calibration"),
        audit.Calibration(prompts, against="foil", id="intercept"),
        audit.WorstGroup(prompts, id="worst"), audit.Environments(prompts, id="environments"),
        audit.SelectiveInvariance(prompts, pairs={"tokens": bare}, must_stay=["tokens"], also=["swap word"], id="selective"),
        audit.Irrelevant(prompts, positions=["word"], id="irrelevant"),
        audit.Observational(prompts, place="L1.resid_post", at="@0", label="label", id="observational"),
    ], networks=2).run(model, quiet=True)  # fmt: skip
    values = {finding.id: finding.estimate.value for finding in report}
    assert values["accuracy"] == right.mean() == 0.75
    groups = np.array(prompts.groups)
    assert values["worst"] == min(right[groups == name].mean() for name in "ab")
    assert values["environments"] == right[:32].mean() - right[32:].mean()
    assert values["selective"] == pytest.approx(float(moved.double().mean()))
    table = report["calibration"].answer.table.set_index("measure")["value"]
    sure = logits.softmax(1).amax(1).numpy()
    assert table["confidence less accuracy"] == pytest.approx(sure.mean() - right.mean(), abs=1e-5)
    assert "intercept" in set(report["intercept"].answer.table["measure"])
    swaps = swapped(prompts, "word", seed=0)
    with torch.no_grad():
        swap = copy.deepcopy(classifier)(swaps.tokens).logits.argmax(1) != logits.argmax(1)
    assert values["irrelevant"] == pytest.approx(float(swap.double().mean()))
    assert report["observational"].estimate.value != 0
    assert all(finding.status == "measured" for finding in report)


def test_what_a_head_cannot_decide_is_refused_before_the_run(classifier, labeled):
    prompts = labeled[0]
    model = mc.load(copy.deepcopy(classifier))

    def wrong(question, of=model):
        found = audit.Plan([question]).problems(of)
        assert len(found) == 1, found
        return found[0]

    assert "have no labels" in wrong(audit.Accuracy(replace(prompts, labels=())))
    rude = audit.WorstGroup(replace(prompts, labels=("fine",) * 63 + ("rude",)))
    assert "'rude', and those of this classifier are fine, toxic" in wrong(rude)
    assert "classifier, which writes nothing" in wrong(audit.Irrelevant(prompts, positions=["word"], against="written"))
    reward = mc.load(classifiers.rewarding())
    for question in (audit.Accuracy(prompts), audit.Calibration(prompts), audit.WorstGroup(prompts)):
        assert "give pairs, clean chosen and corrupt rejected" in wrong(question, reward)
    assert "chooses no word" in wrong(audit.Irrelevant(prompts, positions=["word"], against="all"), reward)
    asked = [audit.Irrelevant(prompts, positions=["word"]), audit.Observational(prompts, place="L1.resid_post")]
    report = audit.Plan(asked, networks=0).run(reward, quiet=True)
    assert [finding.status for finding in report] == ["measured", "measured"]
    assert report.findings[1].scale == "reward per standard deviation"


@pytest.fixture(scope="module")
def people():
    whole, chosen = population(), np.arange(0, 200, 3)
    return type(whole)(**{name: column[chosen] for name, column in vars(whole).items()})


def written(people, share=1.0):
    """Return what the model writes in closed form: the word whose logit is largest."""
    g, total = 2 * people.he.astype(int) - 1, odds(people, share)
    logits = np.stack([total / 2, -total / 2, share * ROYAL / 2 * g, -share * ROYAL / 2 * g])
    return np.array(["senior", "junior", "king", "queen"])[logits.argmax(0)]


def test_decisions_that_are_written_are_those_of_the_formula(people):
    """The model writes king where two logits of the formula are largest, so neither of two declared answers is there."""
    prompts, says = people.prompts(), written(people)
    desk = Desk(model_by_hand(), {"data": prompts}, networks=2, quiet=True)
    answers, foils = np.where(people.senior, "senior", "junior"), np.where(people.senior, "junior", "senior")
    codes = np.where(says == answers, 1.0, np.where(says == foils, 0.0, -1.0))
    assert decisions(desk, prompts, "written", tokens=1).tolist() == codes.tolist()
    assert set(codes) == {-1.0, 0.0, 1.0}
    assert correct(desk, prompts, "written", 1).tolist() == (codes == 1).astype(float).tolist()
    assert np.isnan(confidence(desk, prompts, "written")).all()
    assert f"after {(codes < 0).sum()} of {len(prompts)} prompts" in unnamed(desk, prompts, "written", 1)["undecided"]


def test_questions_are_asked_of_what_is_written_under_edits(people):
    """Accuracy, group gaps and invariance of generated answers, with and without the pronoun's head."""
    prompts = people.prompts()
    to_senior = mc.PromptSet.from_text(
        model_by_hand(), people.texts, answer="senior", foil="junior", labels=prompts.labels,
        groups=["he" if he else "she" for he in people.he],
    )  # fmt: skip
    pairs = people.pairs(people.changed(he=~people.he), "gender")
    said: dict = {"against": "written", "tokens": 1}
    plan = audit.Plan([
        audit.Accuracy(prompts, id="accuracy", **said), audit.GroupGaps(to_senior, id="gap", **said),
        audit.SelectiveInvariance(prompts, pairs={"gender": pairs}, must_stay=["gender"], id="gender", **said),
        audit.Irrelevant(prompts, positions=["city"], id="city", **said),
        audit.Environments(prompts, environments={"others": prompts}, id="environments", **said),
    ], networks=0)  # fmt: skip
    swept = audit.sweep(plan, [audit.Ablate(sites=PRONOUN_HEAD, to="zero", name="ablate")], model_by_hand(), quiet=True)
    right = np.where(people.senior, "senior", "junior")
    for edit, share in (("none", 1.0), ("ablate", 0.0)):
        says, flipped = written(people, share), written(people.changed(he=~people.he), share)
        assert swept.answer(edit, "accuracy").units == tuple((says == right).astype(float))
        gap = (says[people.he] == "senior").mean() - (says[~people.he] == "senior").mean()
        assert swept.answer(edit, "gap").estimate.value == pytest.approx(abs(gap))
        first, second = (np.where(each == "senior", 1, np.where(each == "junior", 0, -1)) for each in (says, flipped))
        assert swept.answer(edit, "gender").estimate.value == pytest.approx((first != second).mean())
        assert swept.answer(edit, "city").estimate.value == 0
        assert swept.answer(edit, "environments").estimate.value == 0
    shown = audit.Accuracy(prompts, **said).answer(Desk(model_by_hand(), {"data": prompts}, networks=0)).examples
    assert {row["prompt"]: row["written"] for row in shown} == dict(enumerate(written(people)))
    assert swept.answer("none", "accuracy").marks
    assert swept.answer("ablate", "accuracy").estimate.value > swept.answer("none", "accuracy").estimate.value


def test_what_is_written_has_no_confidence(people):
    prompts = people.prompts()
    asked = audit.Plan([
        audit.Calibration(prompts, against="written"), audit.GroupGaps(royals(), metric="calibration", against="written")
    ])  # fmt: skip
    found = " ".join(asked.problems(model_by_hand()))
    assert "has no confidence" in found
    long = audit.Plan([audit.Accuracy(prompts, against="written", tokens=9)]).problems(model_by_hand())
    assert len(long) == 1
    assert "are not written after" in long[0]
    desk = Desk(
        model_by_hand(), {"data": prompts}
    )  # which keeps no keys and values, so a text is run again for each token
    planned = audit.Accuracy(prompts, against="written", tokens=2).forwards(desk)
    assert planned == pytest.approx(17 * len(prompts) * (1 + 8 / 7))
