"""The registry of checks: what passes, what is run, what is refused."""

import pytest

from mechcausal.audits.selftest import NOT_SHIPPED, TITLES, checks, columns_of, ids, run_checks
from mechcausal.audits.selftest.checks import above, answered, below, between, checks_of, holds, near, no, yes
from mechcausal.errors import ArgumentError, ResultError


@pytest.fixture
def registry(monkeypatch):
    """Two groups of checks, of which one is slow, and what was run."""
    ran = []
    monkeypatch.setattr(checks, "GROUPS", [])

    @checks_of("A2", "slow ones", "slow")
    def slow(quick):
        ran.append(("A2", quick))
        yield near("a number", 1, 1.5, 0.1)

    @checks_of("A1", "quick ones")
    def quick(quick):
        ran.append(("A1", quick))
        yield yes("it is so", True)
        yield no("it is not", True)

    return ran


def test_what_passes():
    assert near("x", 1, 1.05, 0.1).passed
    assert not near("x", 1, 1.05, 0.01).passed
    assert not near("x", 1, float("nan"), 1).passed
    assert above("x", 2, 1).passed
    assert not above("x", 1, 1).passed
    assert below("x", 0, 1).passed
    assert not below("x", float("nan"), 1).passed
    assert between("x", 1, 0, 1).passed
    assert not between("x", 1.1, 0, 1).passed
    assert holds("x", 3, 3).passed
    assert not holds("x", 2, 3).passed


def test_a_check_is_a_line_with_truth_measured_and_bound():
    line = str(near("total effect", 3.1625, 3.1, 0.01))
    assert line.split() == ["FAIL", "total", "effect", "3.1625", "3.1", "within", "0.01"]
    assert columns_of().split() == ["pass", "check", "truth", "measured", "bound"]
    assert columns_of().index("bound") == line.index("within")


def test_all_are_run_in_order_with_their_ids(registry):
    found = list(run_checks())
    assert [(check.id, check.passed) for check in found] == [("A1", True), ("A1", False), ("A2", False)]
    assert all(check.seconds >= 0 for check in found)


def test_a_quick_one_leaves_out_what_is_slow_unless_it_is_named(registry):
    assert {check.id for check in run_checks(quick=True)} == {"A1"}
    assert {check.id for check in run_checks(["a2"], quick=True)} == {"A2"}
    assert registry == [("A1", True), ("A2", True)]


def test_an_error_is_a_failed_check_and_the_others_are_run(registry):
    @checks_of("A1", "what breaks")
    def broken(quick):
        yield yes("it is so", True)
        raise ZeroDivisionError("by nothing")

    found = list(run_checks())
    assert [check.what for check in found if not check.passed] == [
        "it is not",
        "ZeroDivisionError: by nothing",
        "a number",
    ]


def test_a_question_without_an_answer_is_an_error(hiring, monkeypatch):
    from mechcausal import audit, contrast

    def fails(*_):
        raise ResultError("there is nothing to see")

    monkeypatch.setattr(audit.Mediation, "answer", fails)
    with pytest.raises(ResultError, match="mediation has no answer"):
        answered(audit.Mediation(contrast("hiring/gender", hiring, n=8), mediators="z"), hiring)


def test_nothing_is_run_before_an_unknown_id_is_refused(registry, monkeypatch):
    with pytest.raises(ArgumentError, match="use one of A1, A2"):
        run_checks(["A1", "B1"])
    monkeypatch.setitem(NOT_SHIPPED, "A3", "what it needs is not shipped")
    with pytest.raises(ArgumentError, match="there is no check A3: what it needs is not shipped"):
        run_checks(["A3"])
    assert registry == []


def test_every_acceptance_check_is_there_or_is_named_as_missing():
    assert sorted([*ids(), *NOT_SHIPPED], key=lambda name: int(name[1:])) == [f"A{number}" for number in range(1, 21)]
    assert set(TITLES) == set(ids())
