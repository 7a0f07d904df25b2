"""The command: from an organism and a suite to a page and JSON."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mechcausal.cli import app
from mechcausal.errors import DataError, MechcausalError
from mechcausal.links.questions import answer, questions
from mechcausal.organisms import folder


def test_the_command(tmp_path):
    out = tmp_path / "link.html"
    asked = ["link", "organism:hiring", "--sites", "L1.z.H*", "--suite", "hiring/fairness", "-o", str(out), "-n", "64"]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(out.with_suffix(".json").read_text())
    verdicts = {name: {row["candidate"]: row["verdict"] for row in one["rows"]} for name, one in found.items()}
    gender, proxy = verdicts["hiring/fairness/gender"], verdicts["hiring/fairness/proxy"]
    assert [gender[f"L1.z.H{head}"] for head in (1, 2, 3)] == ["causal", "causal", "correlate-only"]
    assert proxy["L1.z.H1"] == "causal"
    assert proxy["L1.z.H2"] != "causal"  # it carries the pronoun, which these pairs leave alone


def test_a_study_that_is_not_run_says_why(tmp_path, monkeypatch):
    out = tmp_path / "link.html"
    asked = ["link", "organism:hiring", "--sites", "L2.z.H3", "--suite", "hiring/privacy", "-o", str(out)]
    with pytest.raises(DataError, match=r"can be run.*8 clusters of 64 pairs"):
        CliRunner().invoke(app, [*asked, "-n", "64", "--generalize", "clusters"], catch_exceptions=False)
    run = answer

    def sometimes(model, question, *given, **options):
        if question.concept == "name":
            raise DataError("there are too few")
        return run(model, question, *given, **options)

    monkeypatch.setattr("mechcausal.links.questions.answer", sometimes)
    done = CliRunner().invoke(app, [*asked, "-n", "64"], catch_exceptions=False)
    assert "not run: there are too few" in done.output
    assert "sixteen people are fixed" in done.output
    page = out.read_text()
    assert "Not run: there are too few" in page
    assert "sixteen people are fixed" in page


def test_cards_of_the_causal_features_stand_in_the_report(tmp_path):
    out = tmp_path / "link.html"
    shipped = folder("hiring") / "dictionary"
    asked = [
        "link",
        "organism:hiring",
        "--dictionary",
        str(shipped),
        "--suite",
        "hiring/fairness",
        "-o",
        str(out),
        "-n",
        "96",
    ]
    assert CliRunner().invoke(app, asked, catch_exceptions=False).exit_code == 0
    page, found = out.read_text(), json.loads(out.with_suffix(".json").read_text())
    for study in found.values():
        causal = sorted(
            (row for row in study["rows"] if row["verdict"] == "causal"), key=lambda row: -abs(row["share"])
        )
        assert causal
        assert all(f"<h3>{row['candidate']}</h3>" in page for row in causal[:3])
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_wrong_commands(hiring):
    with pytest.raises(MechcausalError, match="name what is linked"):
        CliRunner().invoke(app, ["link", "organism:hiring", "--suite", "hiring"], catch_exceptions=False)
    with pytest.raises(DataError, match="no pairs ship"):
        questions("hirring", hiring)
