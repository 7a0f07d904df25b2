"""Calibration against simulated models whose calibration is known (A14), and against organism:bios."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.accuracy.calibration import calibration_slope, expected_error, preference, simulated
from mechcausal.audits.desk import Desk
from mechcausal.audits.reading import plan_of
from mechcausal.audits.selftest.statistics import decided
from mechcausal.data.tasks.bios import TASK


def test_a_calibrated_model_stays_within_its_null_band():
    """A14: in 95 % of samples the error of a calibrated model is below the quantile, although it is never zero."""
    inside, errors = [], []
    for seed in range(120):
        draw = np.random.default_rng(seed)
        log_odds, right = decided(draw, 200)
        sure = expit(log_odds)
        errors.append(expected_error(sure, right))
        inside.append(errors[-1] <= simulated(sure, draws=199, seed=seed).quantile)
    assert 0.90 <= np.mean(inside) <= 1.0
    assert np.mean(errors) > 0.04


def test_the_bias_falls_with_the_number_of_prompts():
    draw = np.random.default_rng(0)
    sizes = {n: simulated(draw.random(n), draws=200).mean for n in (200, 1000, 10_000)}
    # field/audit.md: .088, .040, .013 in 15 bins
    assert sizes == pytest.approx({200: 0.088, 1000: 0.040, 10_000: 0.013}, abs=0.012)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.5])
def test_the_slope_says_how_much_too_sure(factor):
    log_odds, right = decided(np.random.default_rng(3), 4000, factor)
    slope = calibration_slope(log_odds, right)
    assert slope.low <= 1 / factor <= slope.high
    assert slope.value == pytest.approx(1 / factor, rel=0.08)


def test_a_relation_that_is_turned_round_turns_the_slope():
    """E3: learned where gender agrees with the label in 95 %, used where it does in 10 %."""
    draw = np.random.default_rng(4)
    slopes, accuracies = [], []
    for rho in (0.95, 0.5, 0.1):
        label = draw.choice([-1, 1], size=4000)
        profession = 0.25 * label + draw.normal(size=4000)
        gender = np.where(draw.random(4000) < rho, label, -label)
        log_odds = 0.5 * profession + np.log(0.95 / 0.05) * gender  # the best there is at .95
        right = (np.sign(log_odds) == label).astype(float)
        slopes.append(calibration_slope(np.abs(log_odds), right).value)
        accuracies.append(right.mean())
    assert slopes[0] == pytest.approx(1, abs=0.1)
    assert slopes[0] > slopes[1] > 0 > slopes[2]
    assert accuracies[0] > 0.9 > 0.6 > accuracies[1] > 0.4 > accuracies[2]


@pytest.fixture(scope="module")
def bios():
    return mc.load("organism:bios")


def test_the_organism_is_too_sure_and_fails(bios):
    prompts = TASK.prompts(bios, 200, environment="balanced", truth="profession")
    finding = audit.Plan([audit.Calibration(prompts, at_most=0.1)]).run(bios, quiet=True).findings[0]
    assert finding.status == "fail"
    assert "too sure" in finding.answer.says
    table = finding.answer.table.set_index("measure")["value"]
    assert table["ECE"] == pytest.approx(1 - finding_accuracy(bios, prompts), abs=0.02)
    assert finding.estimate.value == pytest.approx(table["ECE"] - table["ECE of a calibrated model, mean"])
    assert table["confidence less accuracy"] > 0.2


def finding_accuracy(model, prompts):
    return (prompts.variables["answer"] == prompts.variables["profession"]).double().mean().item()


def test_a_calibrated_model_raises_no_alarm(bios, monkeypatch):
    """With outcomes drawn from the confidences themselves, no threshold of any size fails."""
    prompts = TASK.prompts(bios, 200, truth="profession")
    module = __import__("mechcausal.audits.accuracy.calibration", fromlist=["x"])
    failed = []
    for seed in range(20):
        log_odds, right = decided(np.random.default_rng(seed), 200)
        monkeypatch.setattr(module, "correct", lambda *_, right=right: right)
        monkeypatch.setattr(module, "confidence", lambda *_, log_odds=log_odds: log_odds)
        finding = audit.Plan([audit.Calibration(prompts, at_most=0.0, draws=99)]).run(bios, quiet=True).findings[0]
        failed.append(finding.status == "fail")
    assert np.mean(failed) <= 0.15


def test_a_preference_for_one_word_is_an_intercept(bios):
    rows = TASK.prompts(bios, 120, truth="profession")
    assert preference(Desk(bios, {"data": rows}), rows, 0.95) is None  # four words, so there is no one preference
    pairs = mc.contrast("bios/pronoun", bios, n=200).clean
    ids = {tuple(sorted(pair)) for pair in zip(pairs.answer.tolist(), pairs.foil.tolist(), strict=True)}
    first = sorted(ids)[0]
    keep = [row for row in range(len(pairs)) if tuple(sorted((int(pairs.answer[row]), int(pairs.foil[row])))) == first]
    part = pairs.take(keep)
    found = preference(Desk(bios, {"data": part}, quiet=True), part, 0.95)
    assert found is not None


def test_what_is_wrong_is_said_before_the_run(bios):
    few = TASK.prompts(bios, 20)
    assert "at least 50" in audit.Plan([audit.Calibration(few)]).problems(bios)[0]
    plan = plan_of({"data": {"x": {"task": "bios"}}, "question": [{"ask": "calibration", "data": "x", "bins": 10}]})
    assert plan.questions[0].bins == 10
