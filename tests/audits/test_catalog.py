"""Every question that ships says what a sceptic asks of it: the words of its finding, and three controls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import memorizing
import numpy as np
import pytest
from small_english import small_english

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.catalog import QUESTIONS
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.fairness.benchmark_items import items_of
from mechcausal.audits.finding import finding_from
from mechcausal.audits.mitigation.sweep import paired
from mechcausal.audits.privacy.canaries import SHIPPED
from mechcausal.audits.privacy.members import Members
from mechcausal.audits.question import AuditQuestion
from mechcausal.audits.selftest.rewarded import rewrites, truthful
from mechcausal.audits.sources import TaskSource

NETWORKS = 2
MOST = {
    "exposure": "what is less likely than a secret is not followed",
    "localization": "what is less likely than a secret is not followed",
    "links": "what is found decides how much is looked at closer, and redrawn networks end where they suffice",
    "selective_invariance": "what moves most is run again in redrawn networks",
    "generated": "answers end where the model ends them",
    "pii": "texts end where the model ends them",
}
"""Of these what is planned is the most that can be run, and why."""
WORDS = ("estimand", "contrast", "population", "held_fixed", "scale")


def applicants(model, **options):
    """Return eighty applicants in two environments."""
    drawn = TaskSource("hiring", n=80, group="gender", **options).read(model, Path())
    return replace(drawn, environments=("first", "second") * 40)


@pytest.fixture(scope="module")
def asked(hiring):
    """Every question of the catalog, with a model that it can be asked of and few data."""
    pairs, prompts = mc.contrast("hiring/gender", hiring, n=40), applicants(hiring)
    codes = SHIPPED["hiring_secret"](0).take(slice(0, 12))
    alike = applicants(hiring, answer="accept", foil="reject")
    rows = np.random.default_rng(3).integers(2, 42, (120, 10))
    texts = Members(memorizing.texts_of(rows), (True,) * 60 + (False,) * 60)
    rewarded = truthful()
    english = small_english()
    questions = [
        audit.Accuracy(prompts), audit.Calibration(prompts), audit.WorstGroup(prompts), audit.Environments(prompts),
        audit.Stability(prompts, sites="L1.z", at="@decision", label="gender"),
        audit.SelectiveInvariance(prompts, pairs={"gender": pairs}, must_stay=["gender"]),
        audit.Irrelevant(prompts, positions=["name"]), audit.GroupGaps(alike, positive="accept"),
        audit.Observational(alike, place="L1.resid_post", at="@decision", label="gender"),
        audit.ConceptEffect(alike, concept="gender", columns=["experience"], words=False, folds=2),
        audit.Flips(pairs), audit.Mediation(pairs, mediators="z"), audit.EntitySwaps(pairs),
        audit.PathEffect(pairs, unfair=["L1.z.H2@decision -> logits"]),
        audit.ControlledEffect(pairs, mediator="L1.z.H2@decision", points=2),
        audit.Links(pairs, what="L1.z", random=4, details=0), audit.Faithfulness(pairs, random=2),
        audit.Restoration(pairs, base="organism:hiring_natural"),
        audit.Rationale(pairs, random=2, shares=(0.5,)), audit.InterventionalValidity(pairs, sites="z"),
        audit.Generated(prompts, words=["accept"], tokens=1), audit.PersonalData(prompts, tokens=1),
        audit.AttributeInference(prompts, labels="gender", sites="L1.resid_post", at="@decision", adversaries=["linear"], folds=2),
        audit.Exposure(codes), audit.Extraction(codes), audit.Localization(codes, units="z", k=1),
    ]  # fmt: skip
    made = [(hiring, question) for question in questions]
    made.append((rewarded, audit.NuisanceEffect(rewrites(rewarded), nuisance="length")))
    made.append((english, audit.Benchmark(items_of("winogender", english, 24))))
    made.append((memorizing.wrapped(memorizing.network()), audit.Membership(texts)))
    return made


def test_no_question_has_anything_against_its_data(asked):
    problems = {question.word: audit.Plan([question]).problems(model) for model, question in asked}
    assert {word: found for word, found in problems.items() if found} == {}


@pytest.fixture(scope="module")
def findings(asked):
    return {
        question.word: audit.Plan([question], networks=NETWORKS).run(model, quiet=True).findings[0]
        for model, question in asked
    }


def test_every_question_of_the_catalog_is_here(asked):
    shipped = {
        word for word in QUESTIONS if QUESTIONS[word].__module__.startswith("mechcausal.")
    }  # other tests add some
    assert {question.word for _, question in asked} == shipped


@pytest.mark.slow
def test_every_finding_has_an_answer_with_examples(findings):
    assert {word: finding.error for word, finding in findings.items() if finding.error} == {}
    assert [word for word, finding in findings.items() if not finding.answer.examples] == []


@pytest.mark.slow
def test_every_finding_says_what_a_sceptic_asks(findings):
    for word, finding in findings.items():
        empty = [name for name in WORDS if not getattr(finding, name).strip()]
        assert not empty, (word, empty)
        assert finding.population != AuditQuestion.population, word
        assert finding.assumptions, word
        assert finding.limits, word
        assert finding.identified, word


@pytest.mark.slow
def test_every_finding_has_three_controls_each_with_what_was_done_or_why_not(findings):
    for word, finding in findings.items():
        kinds = [control.kind for control in finding.answer.controls]
        assert sorted(kinds) == ["no-learning", "random", "trivial-input"], (word, kinds)
        assert all(len(control.says) > 20 for control in finding.answer.controls), word


UNPAIRED = {
    "links": "a number of candidates is no mean over pairs; with measure = 'largest' there are units",
    "stability": "a number of heads is no mean over prompts",
}
"""The questions whose number has no part for each unit, as they are asked here, and why."""


@pytest.mark.slow
def test_every_number_can_be_compared_unit_by_unit_or_it_is_known_why_not(findings):
    for word, finding in findings.items():
        answer = finding.answer
        if word in UNPAIRED:
            assert not paired(answer, answer), word
            continue
        assert paired(answer, answer), word
        clusters = answer.unit_clusters
        assert all(isinstance(name, str) for name in clusters), word
        assert len(clusters) in (0, len(answer.units)) or answer.resamples, word
        mean = np.mean(answer.units or answer.estimate.value)
        assert mean == pytest.approx(answer.estimate.value, abs=1e-9), word
        again = finding_from(json.loads(json.dumps(finding.to_json())))
        assert paired(again.answer, answer), word


@pytest.mark.slow
def test_units_have_the_error_of_their_estimate(findings):
    """Where the interval is a clustered one; a largest of several has a wider one, and a share of trials an exact one."""
    for word, finding in findings.items():
        own = finding.answer.estimate
        if finding.answer.units and own.law == "t" and own.error > 0:
            units = Estimate.mean(finding.answer.units, finding.answer.unit_clusters)
            if (
                word == "attribute_inference"
            ):  # all is read here, and its interval counts how many of each class there are
                assert units.error <= own.error
            else:
                assert units.error == pytest.approx(own.error, rel=0.15, abs=1e-7), word


@pytest.mark.slow
def test_as_many_forwards_are_planned_as_are_done(asked, findings):
    for model, question in asked:
        (planned,) = audit.Plan([question], networks=NETWORKS).cost(model).forwards.values()
        done = findings[question.word].cost["forwards"]
        assert done > 0, question.word
        assert done <= 1.25 * planned, question.word
        assert planned <= 1.25 * done or question.word in MOST, (question.word, planned, done)
