"""The command: from an organism and a suite to a page and JSON."""

from __future__ import annotations

import json

import pytest
from commands import refused, run

from mechcausal.errors import DataError
from mechcausal.links.asking import answer, questions
from mechcausal.organisms import folder


@pytest.mark.slow
def test_a_question_that_is_not_answered_says_why(tmp_path, monkeypatch):
    out = tmp_path / "link.html"
    asked = ["link", "organism:hiring", "--sites", "L2.z.H3", "--suite", "hiring/privacy", "-o", str(out)]
    sentence = refused(*asked, "-n", "64", "--generalize", "clusters")
    assert "none of these 2 questions can be answered" in sentence
    assert "too few independent pairs" in sentence
    link = answer

    def sometimes(model, question, *given, **options):
        if question.concept == "name":
            raise DataError("there are too few")
        return link(model, question, *given, **options)

    monkeypatch.setattr("mechcausal.links.asking.answer", sometimes)
    done = run(*asked, "-n", "64")
    assert "not run: there are too few" in done.output
    assert "sixteen people are fixed" in done.output
    page = out.read_text()
    assert "Not run: there are too few" in page
    assert "sixteen people are fixed" in page


@pytest.mark.slow
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
    assert run(*asked).code == 0
    page, found = out.read_text(), json.loads(out.with_suffix(".json").read_text())
    for answered in found.values():
        causal = sorted(
            (row for row in answered["rows"] if row["verdict"] == "causal"), key=lambda row: -abs(row["share"])
        )
        assert causal
        assert all(f"<h3>{row['candidate']}</h3>" in page for row in causal[:3])
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_wrong_commands(hiring):
    assert refused("link", "organism:hiring", "--suite", "hiring").startswith("name what is linked")
    with pytest.raises(DataError, match="no pairs ship"):
        questions("hirring", hiring)
