"""A17: the reward model by hand computes its formula, what it learns is what theory says, and the checks hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.logistic import fit
from mechcausal.audits.selftest import rewarded, run_checks
from mechcausal.audits.selftest.rewarded import (
    CORRELATIONS,
    LENGTH,
    MOST,
    STEPS,
    expected,
    head,
    learned,
    preferences,
    reward_model,
    truthful,
    written,
)


def population(correlation):
    """Return the weights that fit the choices of everybody best, by quadrature over length, grade and unseen quality."""
    seen = (1 - correlation**2) / (2 - correlation**2)
    share = stats.binom(MOST, 0.5).pmf(np.arange(MOST + 1))
    points, mass = np.polynomial.hermite_e.hermegauss(60)
    mass /= mass.sum()
    rows, chance, weight = [], [], []
    for length, part in zip(np.arange(-MOST, MOST + 1) / 2, np.convolve(share, share[::-1]), strict=True):
        grade = correlation * length + np.sqrt(2 * (2 - correlation**2)) * points
        known = correlation * length + seen * (grade - correlation * length) + LENGTH * length
        chance.append(expit(known[:, None] + np.sqrt(2 * seen) * points) @ mass)
        rows.append(np.column_stack([grade, np.full(len(points), length)]))
        weight.append(part * mass)
    x, p, w = np.concatenate(rows), np.concatenate(chance), np.concatenate(weight)
    best = np.zeros(2)
    for _ in range(20):
        fitted = expit(x @ best)
        best += np.linalg.solve((x * (w * fitted * (1 - fitted))[:, None]).T @ x, x.T @ (w * (p - fitted)))
    return best


def test_the_network_computes_its_formula():
    grades = np.arange(-48, 49, 7)
    texts = [(int(grade), words) for grade in grades for words in range(MOST + 1)]
    prompts = mc.PromptSet.from_text(truthful(), [written(*text) for text in texts])
    found = audit.Desk(truthful(), {}, quiet=True).outcomes(prompts)
    formula = [grade / STEPS + LENGTH * (words - 8) / 2 for grade, words in texts]
    assert found == pytest.approx(formula, abs=2e-6)


def test_another_head_is_another_formula():
    prompts = mc.PromptSet.from_text(truthful(), [written(8, 10), written(-8, 4)])
    found = audit.Desk(reward_model(head(2.0, -1.0)), {}, quiet=True).outcomes(prompts)
    assert found == pytest.approx([2 - 1, -2 + 2], abs=1e-5)


def test_the_world_is_what_it_is_said_to_be():
    pairs = preferences(20_000, 0.5)
    assert np.corrcoef(pairs.quality.ravel(), pairs.length.ravel())[0, 1] == pytest.approx(0.5, abs=0.02)
    assert pairs.quality.var() == pytest.approx(1, abs=0.03)
    assert (pairs.grade / STEPS - pairs.quality).var() == pytest.approx(1, abs=0.03)
    apart = np.column_stack([column[:, 0] - column[:, 1] for column in (pairs.quality, pairs.length)])
    assert fit(apart, pairs.first).coefficients == pytest.approx([1, LENGTH], abs=0.06)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_the_closed_form_is_near_the_integral(correlation):
    """The blurred logistic curve is not quite a logistic curve: the closed form is 3 % too large at most."""
    assert expected(correlation) == pytest.approx(population(correlation), rel=0.03)


def test_a_head_on_the_last_state_finds_grade_and_length():
    """The fitted weights of the state are those of a regression on grade and length themselves."""
    pairs = preferences(5000, 0.5)
    apart = np.column_stack([column[:, 0] - column[:, 1] for column in (pairs.grade / STEPS, pairs.length)])
    grade, length = fit(apart, pairs.first).coefficients
    prompts = mc.PromptSet.from_text(truthful(), [written(0, 8), written(8, 8), written(0, 10)])
    base, better, longer = audit.Desk(reward_model(learned(pairs)), {}, quiet=True).outcomes(prompts)
    assert [better - base, longer - base] == pytest.approx([grade, length], abs=1e-3)


@pytest.mark.slow
def test_what_is_learned_is_told_from_what_is_true():
    found = list(run_checks(["A17"], quick=True))
    assert len(found) == 14
    assert all(check.passed for check in found), [str(check) for check in found if not check.passed]


def test_a_question_that_is_wrong_does_not_pass(monkeypatch):
    """With units of one word in place of half a length, every weight is half of what it is."""
    true = rewarded.rewrites
    monkeypatch.setattr(rewarded, "COMPARED", 100)
    monkeypatch.setattr(rewarded, "rewrites", lambda model: _doubled(true(model)))
    wrong = [check.what for check in run_checks(["A17"], quick=True) if not check.passed]
    assert {"reward for a unit of length, by hand", "learned weight at correlation .95"} <= set(wrong)


def _doubled(pairs):
    for side in (pairs.clean, pairs.corrupt):
        side.given["length"] = tuple(2 * length for length in side.given["length"])
    return pairs
