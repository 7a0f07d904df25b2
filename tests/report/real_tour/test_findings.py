"""The tour of a real model, on a small random one: it runs to its end, and its files say what was measured."""

import json

import pytest
from real_tour_findings import findings
from small_english import small_english

from mechcausal.report.real_tour import indirect

pytestmark = pytest.mark.slow


def test_the_files(tmp_path):
    found = findings()
    page, data = found.write(tmp_path)
    document = json.loads(data.read_text())
    assert document["indirect_objects"]["pairs_checked_on"] == 12
    assert set(document["sweeps"]) == set(found.sweeps)
    assert all(table["rows"] for table in document["sweeps"].values())
    text = page.read_text()
    for heading in ("1. Who receives", "2. Gender", "3. What a lens reads", "4. One steering vector", "5. Provenance"):
        assert heading in text
    assert "<script" not in text


def test_the_summary_states_what_the_numbers_say():
    found = findings()
    said = found.summary()
    numbers = found.numbers
    assert f"log-odds {numbers['indirect_objects']['logit_diff'][0]:.2f}" in said
    assert f"total effect {numbers['gender']['total_effect'][0]:.2f}" in said
    assert len(said.splitlines()) >= 9


def test_nothing_found_is_said_too(monkeypatch):
    monkeypatch.setattr(indirect, "CARRIES", 1e9)
    monkeypatch.setattr(indirect, "AGAINST", -1e9)
    numbers, sweeps = indirect.indirect_objects(small_english(), n=6, seed=1)
    assert numbers["carriers"] == numbers["silenced"] == numbers["earlier"] == []
    assert "attention" not in sweeps
