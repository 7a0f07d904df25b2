"""A18 and A19: what is an alarm, and what makes a run another one."""

from dataclasses import replace

import pytest

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Answer, Control, Finding, Threshold
from mechcausal.audits.selftest import run_checks, running
from mechcausal.audits.selftest.running import is_alarm


def finding(question="flips", **more):
    answer = Answer(Estimate.exact(1.0), "all", (Control("no-learning", "x", guards=True),))
    return Finding(
        "X-1", question, "fairness", **{"status": "fail", "threshold": Threshold(at_most=0.1), "answer": answer, **more}
    )


def test_an_alarm_is_a_claim_of_an_effect():
    assert is_alarm(finding())
    assert not is_alarm(finding(status="inconclusive"))
    assert not is_alarm(finding(threshold=Threshold(at_least=0.9)))
    assert not is_alarm(finding("calibration"))
    assert is_alarm(finding("selective_invariance"))
    unchanged = replace(finding().answer, controls=(Control.inapplicable("no-learning", "it is to change"),))
    assert not is_alarm(finding("selective_invariance", answer=unchanged))


def test_runs_are_the_same():
    found = list(run_checks(["A19"]))
    assert len(found) >= 4
    assert all(check.passed for check in found), [str(check) for check in found if not check.passed]


def test_a_run_that_depends_on_the_time_does_not_pass(monkeypatch):
    count = iter(range(100))
    monkeypatch.setattr(running, "Flips", lambda *given, **more: running.Mediation(*given, **more))
    original = running.without_times
    monkeypatch.setattr(running, "without_times", lambda file: {**original(file), "drawn": next(count)})
    wrong = [check.what for check in run_checks(["A19"]) if not check.passed]
    assert len(wrong) == 2


@pytest.mark.slow
def test_an_audit_of_a_redrawn_network_raises_no_alarm():
    found = list(run_checks(["A18"], quick=True))
    assert all(check.passed for check in found), [str(check) for check in found if not check.passed]
