"""`mechcausal demo`: where it writes, and what it prints; what it finds is tested with the tour."""

import json
from pathlib import Path

import pytest
from commands import refused, run

from mechcausal.report import real_tour, tour


class Findings:
    """Findings of a tour that was not made."""

    numbers = {"pairs": 16}  # noqa: RUF012

    def summary(self):
        return "ten lines"

    def write(self, folder):
        Path(folder, "report.json").write_text(json.dumps(self.numbers))
        return folder / "report.html", folder / "report.json"


@pytest.fixture
def asked(monkeypatch):
    calls = []
    monkeypatch.setattr(tour, "tour", lambda **options: calls.append(options) or Findings())
    return calls


def test_it_names_its_files(tmp_path, asked):
    done = run("demo", "-o", tmp_path / "new", "-n", "16", "--seed", "3")
    assert asked == [{"n": 16, "seed": 3}]
    assert done.output.splitlines() == [
        "ten lines",
        "",
        f"report  {tmp_path / 'new' / 'report.html'}",
        f"data    {tmp_path / 'new' / 'report.json'}",
    ]


def test_json_is_the_numbers_and_the_files(tmp_path, asked):
    document = run("demo", "-o", tmp_path, "--json").document
    assert document == {"pairs": 16, "report": f"{tmp_path}/report.html", "data": f"{tmp_path}/report.json"}


def test_a_place_that_cannot_be_written_is_refused_before_the_tour(tmp_path, asked):
    (tmp_path / "file").touch()
    assert "nothing can be written" in refused("demo", "-o", tmp_path / "file")
    assert asked == []


def test_a_real_model_has_a_tour_of_its_own(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(real_tour, "tour", lambda model, **options: calls.append((model, options)) or Findings())
    assert run("demo", "--model", "smollm2", "-o", tmp_path).code == 0
    assert calls == [("smollm2", {"n": 16, "seed": 0})]
