import json
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import pytest

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits import journal, plans
from mechcausal.audits.attaching import content_of
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.question import QUESTIONS
from mechcausal.audits.running import about_model
from mechcausal.audits.sources import FILE
from mechcausal.audits.sources import source as source_of
from mechcausal.errors import ArgumentError, DataError
from mechcausal.models.binding import attach


@pytest.fixture(scope="module")
def pairs(by_hand):
    return mc.contrast("by_hand/gender", by_hand, n=8)


@pytest.fixture
def fragile():
    """A question that counts its rows and stops where it is told."""
    calls, stop = [], {"at": None, "with": KeyboardInterrupt}

    @dataclass(frozen=True, kw_only=True)
    class Fragile(audit.Question):
        word = "fragile"
        estimand = "a number"

        def answer(self, desk):
            def compute(number):
                if number == stop["at"]:
                    raise stop["with"]("stop")
                calls.append(number)
                return number * 0.1

            values = [desk.rows.row(str(number), lambda number=number: compute(number)) for number in range(5)]
            return audit.Answer(desk.mean(values), "a number")

    yield Fragile, calls, stop
    del QUESTIONS._things["fragile"]


def without_times(folder: Path):
    data = json.loads((folder / "audit.json").read_text())
    del data["eval"]["created"], data["stats"], data["eval"]["revision"]
    for finding in data["results"]["findings"]:
        finding["cost"].pop("seconds", None)
    return data


def test_the_same_plan_gives_the_same_file(by_hand, pairs, tmp_path):
    plan = audit.Plan([audit.Flips(pairs, at_most=0.05)], networks=3)
    for name in ("a", "b"):
        plan.run(by_hand, tmp_path / name, quiet=True)
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_run_that_was_stopped_goes_on_at_the_row(by_hand, pairs, fragile, tmp_path, at):
    kind, calls, stop = fragile
    plan = audit.Plan([audit.Flips(pairs), kind(pairs)], networks=0)
    stop["at"] = at
    with pytest.raises(KeyboardInterrupt):
        plan.run(by_hand, tmp_path / "a", quiet=True)
    stop["at"] = None
    plan.run(by_hand, tmp_path / "a", quiet=True)
    assert sorted(calls) == [0, 1, 2, 3, 4]
    plan.run(by_hand, tmp_path / "b", quiet=True)
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")
    calls.clear()
    plan.run(by_hand, tmp_path / "a", quiet=True)
    assert calls == []


@pytest.mark.parametrize("error", [DataError, ZeroDivisionError])
def test_a_question_that_fails_is_a_finding(by_hand, pairs, fragile, tmp_path, error):
    kind, _, stop = fragile
    stop |= {"at": 1, "with": error}
    report = audit.Plan([kind(pairs), audit.Flips(pairs)], networks=0).run(by_hand, tmp_path, quiet=True)
    assert report["OWN-1"].status == "error"
    assert "stop" in report["OWN-1"].error
    assert report["FAIR-1"].status == "measured"
    assert report.exit_code == 4
    assert json.loads((tmp_path / "audit.json").read_text())["status"] == "error"


def test_only_some_questions_and_no_time(by_hand, pairs):
    plan = audit.Plan([audit.Flips(pairs), audit.Flips(pairs, id="mine")], networks=0)
    report = plan.run(by_hand, only=["mine"], quiet=True)
    assert [finding.status for finding in report] == ["not-run", "measured"]
    assert report.exit_code == 2
    report = plan.run(by_hand, max_minutes=0, quiet=True)
    assert {finding.status for finding in report} == {"not-run"}
    with pytest.raises(ArgumentError, match="did you mean 'mine'"):
        plan.run(by_hand, only=["mime"])


def test_p_values_are_adjusted_for_all_thresholds(by_hand, pairs):
    questions = [audit.Flips(pairs, at_most=bound) for bound in (0.05, 0.1)] + [audit.Flips(pairs)]
    report = audit.Plan(questions, networks=0).run(by_hand, quiet=True)
    first, second, third = report
    assert (first.family_size, second.family_size, third.family_size) == (2, 2, 0)
    assert min(first.p_adjusted, second.p_adjusted) == pytest.approx(min(1, 2 * min(first.p, second.p)))
    plain = audit.Plan(questions, networks=0, correction="none").run(by_hand, quiet=True)
    assert plain["FAIR-1"].p_adjusted == plain["FAIR-1"].p


def test_another_plan_in_the_same_folder_is_written_down(by_hand, pairs, tmp_path):
    first, second = (audit.Plan([audit.Flips(pairs, at_most=bound)], networks=0) for bound in (0.05, 0.5))
    first.run(by_hand, tmp_path, quiet=True)
    report = second.run(by_hand, tmp_path, quiet=True)
    assert report.run["earlier_plans"] == [first.hash]
    assert report.run["plan_hash"] == second.hash


def test_the_plan_is_fixed_before_the_run(by_hand, pairs, fragile, tmp_path):
    kind, _, stop = fragile
    stop["at"] = 0
    plan = audit.Plan([kind(pairs)], networks=0)
    with pytest.raises(KeyboardInterrupt):
        plan.run(by_hand, tmp_path, quiet=True)
    assert (tmp_path / "plans.txt").read_text().split() == [plan.hash]


def test_a_report_says_what_the_model_is(by_hand):
    about = about_model(by_hand)
    assert about["name"] == "organism:by_hand"
    assert len(about["config"]) == 24
    assert {"weights", "tokenizer", "dtype", "device", "architecture"} <= set(about)


def test_nothing_is_run_where_the_data_are_wrong(by_hand, fragile):
    kind, calls, _ = fragile
    started = time.perf_counter()
    with pytest.raises(ArgumentError, match="asked of pairs"):
        audit.Plan([kind("p"), audit.Flips("p")], data={"p": mc.task("by_hand").prompts(by_hand, 4)}).run(by_hand)
    assert calls == []
    assert time.perf_counter() - started < 30


def test_another_outcome_is_not_answered_from_what_was_kept(by_hand, pairs, tmp_path):
    shifts = []
    for outcome in ("", "prob"):
        plan = audit.Plan([audit.Flips(pairs, cutoff=0.01)], networks=0, outcome=outcome)
        shifts.append(plan.run(by_hand, tmp_path, quiet=True)["FAIR-1"].answer.table["value"].tolist())
    assert shifts[0] != shifts[1]


def test_other_content_under_the_same_name_is_asked_again(fragile, by_hand, pairs, tmp_path):
    _, calls, _ = fragile

    @dataclass(frozen=True, kw_only=True)
    class Naming(audit.Question):
        word = "naming"
        estimand = "how long a file is"
        other: str = field(default="", metadata=FILE)

        def answer(self, desk):
            calls.append(self.other)
            return audit.Answer(Estimate.exact(len(Path(desk.path(self.other)).read_text())), "its length")

    plan, found = audit.Plan([Naming(pairs, other="./other.txt")], networks=0, folder=tmp_path), []
    try:
        for text in ("one", "one", "three"):
            (tmp_path / "other.txt").write_text(text)
            report = plan.run(by_hand, tmp_path / "out", quiet=True)
            found.append(report["OWN-1"].estimate.value)
    finally:
        del QUESTIONS._things["naming"]
    assert found == [3, 3, 5]
    assert len(calls) == 2
    assert report.run["files"] == {"./other.txt": content_of("./other.txt", tmp_path)}


def test_another_dictionary_of_the_same_name_is_asked_again(tmp_path):
    model = mc.load("organism:hiring")
    question = audit.Mediation("p", mediators=["L2.resid_post.sae:mine.F3", "L2.resid_post.sae:mine.F5"])
    source = {"p": source_of({"contrast": "hiring/gender", "n": 8})}
    effects = []
    for scale in (1.0, 1.0, 0.0):
        made = mc.features.load(model, "organism:hiring", name="mine")
        made.dictionary.W_dec.data.mul_(scale)
        attach(model, made.dictionary, "L2.resid_post", name="mine")
        report = audit.Plan([question], networks=0, data=source).run(model, tmp_path, quiet=True)
        effects.append(report["FAIR-1"].answer.table["nie_total"].iloc[:2].abs().max())
    assert effects[0] == effects[1] > 0.01
    assert effects[2] == pytest.approx(0, abs=1e-6)


def test_a_report_says_what_nobody_set(by_hand, pairs, tmp_path):
    plan = audit.Plan([audit.Flips(pairs)], networks=0)
    plan.run(by_hand, tmp_path, quiet=True)
    data = json.loads((tmp_path / "audit.json").read_text())
    assert data["eval"]["settings"] == {
        "outcome": "", "alpha": 0.05, "level": 0.95, "correction": "holm", "seed": 0, "networks": 0, "batch_size": 64,
        "dictionaries": [],
    }  # fmt: skip
    assert "seed" not in data["plan"]
    spec = data["results"]["findings"][0]["spec"]
    assert spec["cutoff"] == 0
    assert set(spec) == {"ask", *(part.name for part in fields(audit.Flips))}


@pytest.mark.slow
def test_what_questions_share_counts_for_each_and_a_run_in_parts_counts_the_same(tmp_path):
    model = mc.load("organism:hiring")
    prompts, gender = mc.task("hiring").prompts(model, 60), mc.contrast("hiring/gender", model, n=16)
    plan = audit.Plan([
        audit.Accuracy(prompts, id="first"), audit.Calibration(prompts, id="second"), audit.Flips(gender, id="third"),
        audit.WorstGroup(prompts, id="fourth", least=2), audit.Mediation(gender, id="fifth", mediators="z"),
        audit.Mediation(gender, id="sixth", mediators="z", through="L1.z.H2"),
    ], networks=2)  # fmt: skip
    plan.run(model, tmp_path / "once", quiet=True)
    for only in (["fourth"], ["second", "sixth"], []):
        plan.run(model, tmp_path / "parts", only=only, quiet=True)
    once, parts = (without_times(tmp_path / name) for name in ("once", "parts"))
    assert once == parts
    costs = {finding["id"]: finding["cost"]["forwards"] for finding in once["results"]["findings"]}
    assert costs["first"] == costs["fourth"] == 3 * 60
    assert costs["second"] == plan.cost(model).forwards["second"] == 2 * 60
    assert costs["third"] == 3 * 32  # both numbers that are compared with redrawn networks are of the same runs
    assert costs == plan.cost(model).forwards
    assert costs["sixth"] > costs["fifth"] > costs["third"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_run_stopped_among_redrawn_networks_counts_the_same(by_hand, pairs, tmp_path, monkeypatch, at):
    plan = audit.Plan([audit.Flips(pairs, id="a"), audit.EntitySwaps(pairs, id="b")], networks=3)
    plan.run(by_hand, tmp_path / "once", quiet=True)
    append, written = journal._append, []

    def stopping(path, line):
        append(path, line)
        written.append(line)
        if len(written) == at + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(journal, "_append", stopping)
    with pytest.raises(KeyboardInterrupt):
        plan.run(by_hand, tmp_path / "parts", quiet=True)
    plan.run(by_hand, tmp_path / "parts", quiet=True)
    assert without_times(tmp_path / "once") == without_times(tmp_path / "parts")


def test_a_threshold_on_one_side_says_what_it_does_not(by_hand, pairs):
    swapped = replace(pairs, clean=pairs.corrupt, corrupt=pairs.clean)
    effect = audit.Plan([audit.Mediation(pairs)], networks=0).run(by_hand, quiet=True)["FAIR-1"].estimate.value
    sides = [swapped, pairs] if effect > 0 else [pairs, swapped]
    for data, one, both in zip(sides, ("pass", "fail"), ("fail", "fail"), strict=True):
        questions = [audit.Mediation(data, at_most=0.01), audit.Mediation(data, at_most=0.01, at_least=-0.01)]
        first, second = audit.Plan(questions, networks=0).run(by_hand, quiet=True)
        assert (first.status, second.status) == (one, both)
        assert any("the threshold bounds one side: any number below it keeps it" in limit for limit in first.limits)
        assert not any("one side" in limit for limit in second.limits)


@pytest.mark.parametrize("name", ["all", "fairness", "privacy", "robustness", "real", "planted", "planted_secrets"])
def test_plans_that_ship_bound_both_sides(name):
    for question in audit.read(Path(plans.__file__).parent / f"{name}.toml").questions:
        bounds = question.threshold
        if question.better == "zero" and bounds.declared:
            assert None not in (bounds.at_most, bounds.at_least), question.id
