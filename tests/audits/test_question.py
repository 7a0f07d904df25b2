from dataclasses import dataclass

import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.question import QUESTIONS
from mechcausal.errors import ArgumentError
from mechcausal.method import read_spec


@pytest.fixture(scope="module")
def model(by_hand):
    return by_hand


@pytest.fixture(scope="module")
def pairs(model):
    return mc.contrast("by_hand/gender", model, n=8)


@pytest.fixture
def question():
    """A question of a third party: one class."""

    @dataclass(frozen=True, kw_only=True)
    class MeanShift(audit.Question):
        """Measure how far the log-odds move."""

        word = "mean_shift"
        estimand = "the mean change of the log-odds"
        scale = "log-odds"

        def answer(self, desk):
            clean, corrupt = desk.both(desk.data)
            estimate = desk.mean(clean - corrupt)
            return audit.Answer(estimate, f"the log-odds move by {estimate}")

    yield MeanShift
    del QUESTIONS._things["mean_shift"]


def test_a_third_party_adds_a_question_with_one_class(question, model, pairs):
    report = audit.Plan([question(pairs, at_most=0.1)], networks=0).run(model, quiet=True)
    clean, corrupt = (mc.measure(model, side, "logit_diff").value() for side in (pairs.clean, pairs.corrupt))
    assert report["OWN-1"].estimate.value == pytest.approx(clean - corrupt, abs=1e-5)
    assert report["OWN-1"].status == "fail"
    assert read_spec({"ask": "mean_shift", "data": "x"}, audit.Question) == question("x")


def test_a_threshold_out_of_range_is_refused():
    with pytest.raises(ArgumentError, match="out of range"):
        audit.Flips("x", at_most=1.5)
    with pytest.raises(ArgumentError, match="no number is at least"):
        audit.Flips("x", at_most=0.1, at_least=0.2)
    with pytest.raises(ArgumentError, match="at_most"):
        audit.Flips("x", at_most="much")


def test_an_unknown_question_is_refused():
    with pytest.raises(ArgumentError, match="did you mean 'flips'"):
        read_spec({"ask": "flip", "data": "x"}, audit.Question)
    with pytest.raises(ArgumentError, match="names its question"):
        read_spec({"run": "flips"}, audit.Question)


def test_data_of_the_wrong_kind_are_a_problem(model, pairs):
    assert list(audit.Flips("x").problems({"data": pairs})) == []
    assert "asked of pairs" in next(audit.Flips("x").problems({"data": pairs.clean}))


def test_a_question_without_an_answer():
    with pytest.raises(NotImplementedError):
        audit.Question.answer(audit.Flips("x"), None)
