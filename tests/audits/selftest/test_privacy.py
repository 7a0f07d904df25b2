"""A10, A11 and A12 hold, and A11 does not for a network that was taught nothing."""

import pytest

from mechcausal.audits.selftest import privacy, run_checks


def test_a_network_that_was_taught_nothing_does_not_pass(monkeypatch):
    monkeypatch.setattr(privacy.memorizing, "taught", lambda network, rows, steps: network.eval())
    found = {check.what: check.passed for check in run_checks(["A11"])}
    assert not found["AUC of members"]
    assert not found["the finding fails its threshold"]
    assert found["AUC with shuffled labels"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["A10", "A11", "A12"])
def test_secrets_and_members(name):
    found = list(run_checks([name]))
    assert found
    assert all(check.passed for check in found), [str(check) for check in found if not check.passed]
