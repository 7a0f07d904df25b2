"""`mechcausal audit`: plans are written, checked and run, and every exit code means one thing."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from audited import report
from commands import refused, run

from mechcausal.audits.plans import SHIPPED
from mechcausal.audits.report import Report
from mechcausal.audits.writing import VIEWS, WORDS

PLAN = """title = "Hiring"
model = "organism:by_hand"
networks = 2
[data.people]
contrast = "by_hand/gender"
n = 8
[[question]]
ask = "flips"
data = "people"
"""
TEMPLATES = sorted(SHIPPED)


@pytest.fixture
def plan(tmp_path):
    def written(threshold="at_least = 0.0"):
        file = tmp_path / "audit.toml"
        file.write_text(PLAN + threshold)
        return file

    return written


@pytest.mark.parametrize(("threshold", "code"), [("at_least = 0.0", 0), ("at_most = 0.0\n[x]", 3), ("", 0)])
def test_exit_codes(plan, tmp_path, threshold, code):
    done = run("audit", "run", plan(threshold), "-o", tmp_path / "out", "--json")
    assert done.code == code, (done.output, done.error)
    if code != 3:
        assert done.document["exit_code"] == code
        assert Path(done.document["report"]).is_file()


def test_what_was_not_asked_is_open(plan, tmp_path):
    assert run("audit", "run", plan(), "-o", tmp_path / "out", "--max-minutes", "0").code == 2
    assert "no question 'X'" in refused("audit", "run", plan(), "-o", tmp_path / "out", "--only", "X")


def test_a_broken_threshold_exits_with_one(plan, tmp_path):
    done = run("audit", "run", plan("at_most = 0.0"), "-o", tmp_path / "out", "--model", "organism:by_hand")
    assert "report  " in done.output
    assert done.code in (1, 2)  # of eight pairs and two networks
    assert set(VIEWS) <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_plan_is_checked_without_running(plan, tmp_path):
    done = run("audit", "check", plan(), "--json")
    assert done.code == 0, done.error
    assert done.document["problems"] == []
    assert done.document["forwards"] == {"FAIR-1": 48}
    assert "no problems" in run("audit", "check", plan()).output
    bad = tmp_path / "bad.toml"
    bad.write_text('titel = "x"\n[data.people]\npairs = "none.csv"\n[[question]]\nask = "flip"\n')
    done = run("audit", "check", bad, "--json")
    assert done.code == 3
    assert len(done.document["problems"]) == 4  # the missing file and the missing model too
    assert run("audit", "run", bad, "-o", tmp_path / "out").code == 3
    assert "did you mean 'title'" in run("audit", "check", bad).error


def test_problems_of_data_are_found_by_check(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text(PLAN.replace("by_hand/gender", "by_hand/gendr"))
    assert run("audit", "check", file).code == 3
    file.write_text(PLAN.replace('"organism:by_hand"', '"organism:by_foot"'))
    assert run("audit", "check", file).code == 3


def test_a_file_of_ones_own_comes_before_a_plan_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted.toml").write_text("titel = 1")
    assert "no key 'titel'" in run("audit", "check", "planted.toml").error
    assert "of the plans that ship did you mean 'planted'" in run("audit", "check", "plantd.toml").error
    assert run("audit", "check", "plans/planted.toml").code == 3


@pytest.mark.parametrize("word", WORDS)
def test_a_report_is_written_again_in_every_form(tmp_path, word):
    report().save(tmp_path)
    done = run("audit", "report", tmp_path, "--to", word)
    assert done.code == report().exit_code == 4
    assert done.output == VIEWS[WORDS[word]](Report.load(tmp_path))
    done = run("audit", "report", tmp_path / "audit.json", "--to", word, "-o", tmp_path / "again", "--json")
    assert done.document["counts"]["fail"] == 1
    assert (tmp_path / "again").read_text() == VIEWS[WORDS[word]](report())


def test_a_wrong_form_is_refused(tmp_path):
    assert "did you mean 'html'" in refused("audit", "report", tmp_path, "--to", "htm")
    assert "there is no report" in refused("audit", "report", tmp_path)


def test_templates_are_plans(tmp_path):
    assert {"all", "fairness", "privacy", "real"} <= set(TEMPLATES)
    for name in TEMPLATES:
        done = run("audit", "init", "--template", name)
        assert done.code == 0
        assert tomllib.loads(done.output)["question"]
        assert "#" in done.output
    done = run("audit", "init", "--template", "fairness", "--model", "mine", "-o", tmp_path / "mine.toml")
    assert done.code == 0, done.error
    assert tomllib.loads((tmp_path / "mine.toml").read_text())["model"] == "mine"
    assert "did you mean 'fairness'" in refused("audit", "init", "--template", "fairnes")


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(plan, tmp_path):
    """Killed at some moment, the same command ends as if nothing had happened."""
    words = [sys.executable, "-m", "mechcausal.cli", "audit", "run", str(plan()), "-o", str(tmp_path / "out"), "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
    waited = time.monotonic() + 120
    while time.monotonic() < waited and process.poll() is None and not list((tmp_path / "out").glob("progress/*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = run(*words[3:])
    assert done.code == 0, done.error
    whole = run("audit", "run", plan(), "-o", tmp_path / "whole", "--json")
    assert done.document["findings"] == whole.document["findings"]
    first, second = (json.loads((tmp_path / name / "audit.json").read_text()) for name in ("out", "whole"))
    for data in (first, second):
        del data["eval"]["created"], data["eval"]["revision"], data["stats"]
        for finding in data["results"]["findings"]:
            finding["cost"] = {}
    assert first == second


def test_a_plan_with_edits_is_swept_and_reports_are_compared(plan, tmp_path):
    edit = '[[edit]]\ndo = "ablate"\nsites = "L0.z.H0"\n'
    done = run("audit", "run", plan(f"at_least = 0.0\n{edit}"), "-o", tmp_path / "a")
    assert done.code == 0, done.error
    assert f"edits   {tmp_path / 'a' / 'mitigations.html'}" in done.output
    assert (tmp_path / "a" / "sweep.json").is_file()
    assert run("audit", "run", plan(), "-o", tmp_path / "b").code == 0
    done = run("audit", "compare", tmp_path / "a", tmp_path / "b" / "audit.json", "-o", tmp_path / "c", "--json")
    assert done.code == 0, done.error
    assert done.document["moved"] == []
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"comparison.html", "comparison.json"}
    assert "there is no report" in refused("audit", "compare", tmp_path / "a", tmp_path / "none")


def test_the_self_test_prints_truth_measured_and_bound():
    done = run("audit", "selftest", "--only", "A3")
    assert done.code == 0, done.error
    assert "A3  published rates of COMPAS" in done.output
    assert done.output.rstrip().endswith("9 of 9 checks passed")
    document = run("audit", "selftest", "--only", "A3", "--only", "A1", "--json").document
    assert {check["id"] for check in document["checks"]} == {"A1", "A3"}
    assert set(document["checks"][0]) == {"id", "what", "truth", "measured", "bound", "passed", "seconds"}
    assert document["not_shipped"] == {}
    assert "there is no check 'A99'" in refused("audit", "selftest", "--only", "A99")


def test_a_failed_check_exits_with_one(monkeypatch):
    from mechcausal.audits.selftest import stored

    monkeypatch.setitem(stored.PUBLISHED["Caucasian"], "base_rate", 0.4)
    done = run("audit", "selftest", "--only", "A3")
    assert done.code == 1
    assert "  FAIL  Caucasian: base rate" in done.output
    assert done.output.rstrip().endswith("8 of 9 checks passed")


def test_what_goes_wrong_is_json_where_json_was_asked_for(plan, tmp_path):
    bad = run("audit", "run", plan("at_most = 2.0"), "-o", tmp_path / "out", "--json")
    assert bad.code == bad.document["exit_code"] == 3
    assert "out of range" in bad.document["problems"][0]
    assert "out of range" in bad.error
    for words in (("report", tmp_path / "none"), ("compare", tmp_path / "none", tmp_path / "none")):
        done = run("audit", *words, "--json")
        assert done.code == done.document["exit_code"] == 4
        assert done.document["error"] in done.error
        assert "none" in done.document["error"]
