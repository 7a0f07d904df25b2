"""A7 holds; not adjusted, or where another word is read too, it does not."""

import numpy as np
import pytest

from mechcausal.audits.selftest import observed, run_checks
from mechcausal.audits.selftest.biographies import draw


def test_the_pairs_swap_the_pronoun_alone():
    people = draw(20, seed=2)
    pairs = observed.edited(people)
    assert pairs.clean.variables["pronoun"].tolist() == people.he.astype(int).tolist()
    for clean, corrupt in zip(pairs.clean.texts, pairs.corrupt.texts, strict=True):
        assert {clean.split()[0], corrupt.split()[0]} == {"he", "she"}
        assert clean.split()[1:] == corrupt.split()[1:]


def test_without_the_adjustment_it_does_not_pass():
    fitted = observed.by_formula(1)
    assert abs(fitted.partially_linear.value / observed.DO - 1) < observed.CLOSE
    assert abs(fitted.naive.value / observed.DO - 1) > 4 * observed.CLOSE
    assert fitted.auc < 0.9


@pytest.mark.slow
def test_the_effect_of_the_pronoun():
    found = list(run_checks(["A7"], quick=True))
    assert len(found) == 9
    assert all(check.passed for check in found), [str(check) for check in found if not check.passed]


def test_a_confounder_that_is_not_counted_does_not_pass(monkeypatch):
    """Without any columns the adjusted number is the naive one."""
    monkeypatch.setattr(observed, "described", lambda prompts, *given, **more: (np.zeros((len(prompts), 1)), ("",)))
    fitted = observed.by_formula(1)
    assert fitted.partially_linear.value == pytest.approx(fitted.naive.value, rel=0.02)
    assert abs(fitted.partially_linear.value / observed.DO - 1) > observed.CLOSE
