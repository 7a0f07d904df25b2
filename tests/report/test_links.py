"""The command: from an organism and a suite to a page and JSON."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mechcausal.cli import app
from mechcausal.errors import DataError, MechcausalError
from mechcausal.features.links.studies import studies


def test_the_command(tmp_path):
    out = tmp_path / "link.html"
    asked = ["link", "organism:hiring", "--sites", "L1.z.H*", "--suite", "hiring", "-o", str(out), "-n", "64"]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    assert "hiring/fairness" in done.output
    assert "not run: there are too few independent pairs" in done.output  # eight people have a secret
    found = json.loads(out.with_suffix(".json").read_text())["hiring/fairness"]
    verdicts = {(row["concept"], row["candidate"]): row["verdict"] for row in found["rows"]}
    assert verdicts["gender", "L1.z.H2"] == verdicts["proxy", "L1.z.H1"] == "causal"
    assert verdicts["gender", "L1.z.H3"] == "correlate-only"
    assert "wrong decision among" in out.read_text()  # a question that these pairs cannot answer is named


def test_wrong_commands(hiring):
    with pytest.raises(MechcausalError, match="name what is linked"):
        CliRunner().invoke(app, ["link", "organism:hiring", "--suite", "hiring"], catch_exceptions=False)
    with pytest.raises(DataError, match="no pairs ship"):
        studies("hirring", hiring)
    with pytest.raises(DataError, match="too few independent pairs"):
        (study,) = studies("hiring/privacy", hiring)
        study.link(hiring, "z")
