import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Point, Points
from mechcausal.audits.finding import Answer, Control, Finding, Threshold, finding_from, judged, p_of

FEW, MANY = Estimate.share(1, 200), Estimate.share(60, 200)


def test_a_threshold_is_kept_broken_or_open():
    bound = Threshold(at_most=0.05)
    for estimate, status in ((FEW, "pass"), (MANY, "fail"), (Estimate.share(12, 200), "inconclusive")):
        answer = Answer(estimate, "so much")
        assert judged(answer, bound, p_of(answer, bound), 0.05) == status
    floor = Threshold(at_least=0.2)
    answer = Answer(FEW, "so much")
    assert judged(answer, floor, p_of(answer, floor), 0.05) == "fail"
    assert str(Threshold(0.1, 0.0)) == "at most 0.1 and at least 0"
    assert Threshold(0.5, 0.1).p(FEW) == pytest.approx(min(1, 2 * min(FEW.at_most(0.5), FEW.at_least(0.1))))


def test_without_a_threshold_a_number_is_only_measured():
    answer = Answer(MANY, "so much")
    assert judged(answer, Threshold(), p_of(answer, Threshold()), 0.05) == "measured"
    assert np.isnan(p_of(answer, Threshold()))
    assert p_of(answer, Threshold(), 0.0) == MANY.zero()


def test_without_a_threshold_p_is_that_of_nothing_to_find():
    half, more = Estimate.share(100, 200), Estimate.share(140, 200)
    assert p_of(Answer(half, "a half"), Threshold(), 0.5) == 1.0
    assert p_of(Answer(more, "more"), Threshold(), 0.5) == pytest.approx(stats.binomtest(140, 200).pvalue, rel=1e-6)
    assert p_of(Answer(half, "a half", null=0.5), Threshold()) == 1.0
    assert p_of(Answer(half, "a half"), Threshold(), 0.0) < 1e-9


def test_a_guarding_control_keeps_a_finding_from_failing():
    guard = Control("no-learning", "as much in random networks", MANY, p=0.6, guards=True)
    answer, bound = Answer(MANY, "so much", (guard,)), Threshold(at_most=0.05)
    assert p_of(answer, bound) == 0.6
    assert judged(answer, bound, p_of(answer, bound), 0.05) == "inconclusive"
    beside = Answer(MANY, "so much", (Control("random", "beside", MANY, p=0.6),))
    assert judged(beside, bound, p_of(beside, bound), 0.05) == "fail"


def test_what_cannot_fail_does_not():
    answer = Answer(MANY, "so much", cannot_fail="members differ from the others in their topic")
    assert judged(answer, Threshold(at_most=0.05), 0.0, 0.05) == "inconclusive"


def test_a_finding_comes_back_from_json():
    figure = Points((Point("a", 1.0, 2.0),), "points", "x", "y")
    answer = Answer(
        MANY, "so much", (Control("random", "nothing", FEW, 0.5), Control.inapplicable("trivial-input", "none")),
        pd.DataFrame({"head": ["a", "b"], "value": [1.0, np.nan]}), (figure,), ({"text": "x", "flips": True},), 2,
        (("too long", 3),), {"mark": "because"}, "", ("assumed",), ("limited",), 0.1, null=0.5,
    )  # fmt: skip
    finding = Finding(
        "FAIR-1", "flips", "fairness", "fail", threshold=Threshold(0.05), answer=answer, p=0.01, p_adjusted=0.02,
        family_size=2, cost={"forwards": 3}, data={"data": {"n": 3}}, spec={"ask": "flips"},
    )  # fmt: skip
    again = finding_from(finding.to_json())
    assert again.to_json() == finding.to_json()
    assert (again.answer.estimate.value, again.answer.estimate.low) == (MANY.value, MANY.low)
    assert [each.describe() for each in again.answer.figures] == [figure.describe()]
    pd.testing.assert_frame_equal(again.answer.table, answer.table)
    assert again.examples().to_dict("records") == [{"text": "x", "flips": True}]
    assert str(again).startswith("FAIL")


def test_a_notebook_shows_pictures_and_escapes_text():
    figure = Points((Point("<b>", 1.0, 2.0),), "points", "x", "y")
    controls = (Control("random", "<script>", FEW), Control.inapplicable("trivial-input", "not shown"))
    shown = Finding(
        "A-1", "flips", "fairness", "fail", answer=Answer(MANY, "<script>", controls, figures=(figure,))
    )._repr_html_()
    assert "<svg" in shown
    assert "<script>" not in shown
    assert "not shown" not in shown


def test_a_finding_without_an_answer():
    finding = Finding("FAIR-1", "flips", "fairness", "error", error="no pairs")
    assert finding_from(finding.to_json()).to_json() == finding.to_json()
    assert finding.estimate is None
    assert len(finding.examples()) == 0
    assert "no pairs" in str(finding)
