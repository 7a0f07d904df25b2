import json
from dataclasses import replace

import alike
import numpy as np
import pytest
from biographies import PRONOUN_HEAD, model, population
from small_questions import SmallAccuracy

from mechcausal import audit
from mechcausal.audits.accuracy.accuracy import Accuracy
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.finding import Finding
from mechcausal.audits.report import Report
from mechcausal.audits.robustness.environments import Environments
from mechcausal.errors import ArgumentError, ResultError


@pytest.fixture(scope="module")
def plan():
    people = population()
    return audit.Plan([
        audit.Flips(people.pairs(people.changed(he=~people.he), "gender"), id="flips", at_most=0.5),
        SmallAccuracy(people.prompts(), id="accuracy"),
        SmallAccuracy(people.prompts(clusters=[str(n // 10) for n in range(200)]), id="clustered"),
    ], networks=0)  # fmt: skip


@pytest.fixture(scope="module")
def reports(plan):
    """Return the report of the model, and that of the model whose pronoun head is silent."""
    first = plan.run(model(), quiet=True)
    with audit.Ablate(sites=PRONOUN_HEAD, to="zero").applied(audit.Desk(model(), {})) as edited:
        findings = []
        for finding, question in zip(first, plan.questions, strict=True):
            answer = question.answer(replace(edited, held={"data": plan.data[question.data]}, networks=0))
            findings.append(replace(finding, answer=answer, status="pass" if finding.id == "flips" else finding.status))
    return first, replace(first, findings=tuple(findings))


def test_findings_are_paired_example_by_example(reports):
    comparison = audit.compare(*reports)
    assert comparison.moved == ["flips", "accuracy"]
    change = comparison["accuracy"]
    first, second = (np.array(report["accuracy"].answer.units) for report in reports)
    by_hand = Estimate.mean(second - first)
    assert change.paired
    assert (change.difference.value, change.difference.low) == pytest.approx((by_hand.value, by_hand.low))
    assert comparison["flips"].difference.value == -1
    clustered = Estimate.mean(second - first, [str(n // 10) for n in range(200)])
    assert comparison["clustered"].difference.low == pytest.approx(clustered.low)
    assert (comparison["flips"].before.status, comparison["flips"].after.status) == ("fail", "pass")
    assert "flips (fail -> pass): 1 -> 0, difference -1" in comparison.summary()
    assert comparison.worse == []
    back = audit.compare(reports[1], reports[0])
    assert back.worse == ["flips"]
    assert "1 became worse" in back.summary()


def test_a_report_against_itself_moves_nothing(reports):
    comparison = audit.compare(reports[0], reports[0])
    assert comparison.moved == []
    assert (comparison.frame()["difference"] == 0).all()
    assert (comparison.frame()["p_adjusted"] == 1).all()


def test_without_units_it_is_said_that_numbers_are_not_paired(reports):
    first, second = (
        replace(report, findings=tuple(replace(f, answer=replace(f.answer, units=())) for f in report))
        for report in reports
    )
    change = audit.compare(first, second)["accuracy"]
    errors = [report["accuracy"].estimate.error for report in reports]
    assert change.difference.error == pytest.approx(np.hypot(*errors), rel=0.02)
    assert not change.paired
    assert "not paired" in str(change)
    assert "no number for each unit" in str(change)
    assert "no number for each unit" in change.row()["note"]


def test_it_is_said_why_numbers_of_the_same_data_are_not_paired(reports):
    def changed(report, **changes):
        return replace(report, findings=tuple(replace(f, answer=replace(f.answer, **changes)) for f in report))

    counts = [
        changed(report, units=(), estimate=Estimate.exact(number, 12))
        for report, number in zip(reports, (3, 4), strict=True)
    ]
    change = audit.compare(*counts)["accuracy"]
    assert change.difference.value == 1
    assert np.isnan(change.difference.low)
    assert not change.moved
    assert "whether it moved by more than chance is not known" in change.note
    other_half = changed(reports[1], unit_clusters=tuple(f"row {row}" for row in range(200)))
    assert "other examples of the data were judged" in audit.compare(reports[0], other_half)["accuracy"].note


def test_reports_are_read_from_their_folders(plan, reports, tmp_path):
    plan.run(model(), tmp_path / "a", quiet=True)
    reports[1].save(tmp_path / "b")
    comparison = audit.compare(tmp_path / "a", str(tmp_path / "b" / "audit.json"))
    assert comparison.frame().equals(audit.compare(*reports).frame())
    saved = json.loads(comparison.save(tmp_path / "out").read_text())
    assert saved["moved"] == ["flips", "accuracy"]
    assert len(saved["changes"]) == 3
    assert comparison.save(tmp_path / "own.json").name == "own.json"


def test_the_examples_that_changed_come_first(reports):
    table = audit.compare(*reports).examples("flips")
    assert (table["change"].iloc[:5] == -1).all()
    assert {"clean_before", "clean_after", "flips_before"} <= set(table.columns)


def test_examples_stand_beside_their_own_unit():
    """Those with the largest numbers come first in a finding, so their order is not that of the units."""
    people = population()
    asked = (
        Accuracy(people.prompts(), against="foil", id="accuracy"),
        Environments(people.prompts(environments=["first", "second"] * 100), against="foil", id="environments"),
    )
    report = audit.Plan(list(asked), networks=0).run(model(), quiet=True)
    table = audit.compare(report, report).examples("accuracy")
    assert (table["before"] == table["right_after"]).all()
    assert table["text_before"].tolist() == [people.texts[unit] for unit in table["unit"]]
    assert 0 < table["before"].mean() < 1
    # A number is one of each environment, so that it says of no example which unit it is.
    assert "text_before" not in audit.compare(report, report).examples("environments")


MADE = {
    "faithfulness": alike.shares_kept, "membership": alike.areas, "attribute_inference": alike.balanced_accuracies,
    "environments": alike.falls, "calibration": alike.errors_of_calibration,
    "interventional_validity": alike.rank_correlations,
}  # fmt: skip


def test_numbers_that_are_no_means_are_paired_too():
    """Ratios, areas, balanced accuracies, falls, errors, correlations of two models that are wrong about the same examples."""
    answers = {word: kind(np.random.default_rng(2)) for word, kind in MADE.items()}

    def report(which, **changes):
        findings = tuple(
            Finding(
                word, word, "own", "measured", answer=replace(pair[which], **changes), data={"data": {"digest": "same"}},
                spec={"ask": word, "data": "made"},
            )
            for word, (pair, _) in answers.items()
        )  # fmt: skip
        return Report("made", {}, findings, {"model": {"name": str(which)}})

    comparison = audit.compare(report(0), report(1))
    bare = audit.compare(report(0, units=(), resamples=()), report(1, units=(), resamples=()))
    assert "not paired" not in comparison.summary()
    for word, (_, truth) in answers.items():
        change = comparison[word]
        assert change.paired
        assert not bare[word].paired
        assert f"{word} (measured)" in str(change)
        assert ", paired, " in str(change)
        assert abs(change.difference.value - truth) < 0.1
        low, high = change.difference.low, change.difference.high
        assert high - low < 0.75 * (bare[word].difference.high - bare[word].difference.low)
    assert set(bare.moved) < set(comparison.moved) == set(MADE)
    assert len(comparison.examples("membership")) == alike.N
    with pytest.raises(ResultError, match="no single example has a part of"):
        comparison.examples("interventional_validity")


def test_what_is_not_the_same_is_said(reports):
    first, second = reports
    flips, accuracy, clustered = second.findings
    other_data = replace(flips, data={"data": {"digest": "other"}})
    older = {name: value for name, value in accuracy.spec.items() if name in ("ask", "id", "data")}
    other_threshold = replace(accuracy, spec=older, threshold=replace(accuracy.threshold, at_least=0.5))
    other_question = replace(clustered, spec={**clustered.spec, "cutoff": 1})
    comparison = audit.compare(first, replace(second, findings=(other_data, other_threshold, other_question)))
    assert not comparison["flips"].paired
    assert "the data differ" in str(comparison["flips"])
    assert comparison["accuracy"].paired
    assert "the thresholds differ" in str(comparison["accuracy"])
    assert comparison["clustered"].difference is None
    assert "differ in cutoff" in str(comparison["clustered"])
    lost = (
        replace(flips, id="other"),
        replace(accuracy, answer=None, error="it broke"),
        replace(clustered, question="x"),
    )
    comparison = audit.compare(first, replace(second, findings=lost))
    assert (comparison.only_before, comparison.only_after) == (("flips",), ("other",))
    assert "it broke" in str(comparison["accuracy"])
    assert "the questions differ" in str(comparison["clustered"])
    with pytest.raises(ResultError, match="not the same in both"):
        comparison.examples("accuracy")
    assert len(comparison) == 2


def test_wrong_reports(tmp_path):
    with pytest.raises(ResultError, match="there is no report"):
        audit.compare(tmp_path, tmp_path)
    with pytest.raises(ArgumentError):
        audit.compare(1, 2)


def test_figures_and_tables(reports):
    comparison = audit.compare(*reports)
    assert "flips, before 1.000" in comparison.figures[0].describe()
    assert "<table" in comparison._repr_html_()
    with pytest.raises(ResultError, match="did you mean 'flips'"):
        comparison["flip"]
