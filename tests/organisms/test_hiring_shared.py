"""Two variables in one subspace."""

import pytest

from mechcausal.causal.selftest import selftest


@pytest.mark.slow
def test_the_self_test_covers_it():
    checks = list(selftest(("hiring_shared",), n=128))
    assert {check.task for check in checks} == {"hiring_shared"}
    assert {"scrubbing, true", "missing variable", "IIA, unfair", "effects, largest gap"} <= {c.what for c in checks}
    assert all(check.passed for check in checks), [str(check) for check in checks if not check.passed]
