"""The command line and the page it makes, as a stranger meets them."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from commands import run

from mechcausal.catalog import ORGANISMS
from mechcausal.report import doctor
from mechcausal.report.canary import candidate_logprobs, exposure
from mechcausal.results.page import Page


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    out = tmp_path_factory.mktemp("tour")
    done = run("demo", "-o", out, "-n", "40")
    assert done.code == 0, done.error
    return out, done.output


def test_the_tour_finds_the_truth(toured):
    out, said = toured
    told = json.loads((out / "report.json").read_text())
    assert set(told["found_heads"]) == {told["truth"]["bias"], told["truth"]["proxy"]}
    assert "found, all and only these" in said
    nothing, suppressed, control = told["suppression"]
    assert suppressed["flip_rate"] == 0 < 0.1 < nothing["flip_rate"] == control["flip_rate"]
    assert suppressed["merit_effect"] > 0.8 * nothing["merit_effect"]
    canary = told["canary"]
    assert canary["extracted"] == 8
    assert np.mean(list(canary["never_seen"].values())) < 5
    assert np.mean(list(canary["silenced"].values())) < 0.5 * np.mean(list(canary["memorised"].values()))
    assert told["sweeps"]["heads"]["provenance"]["prompts"]["n"] == 40


def test_the_summary_is_ten_lines(toured):
    lines = toured[1].split("\n\n")[0].splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) < 130


def test_the_page_is_whole_and_asks_for_nothing(toured):
    page = (toured[0] / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=|url\((?!#none)|@import|<script|<link", page)
    assert page.count("<svg") == 2

    for picture in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        assert ElementTree.fromstring(picture).attrib["aria-label"]
    for tag in ("table", "figure", "p", "h2", "ul", "pre"):
        assert len(re.findall(f"<{tag}[ >]", page)) == page.count(f"</{tag}>") > 0
    assert sorted(path.name for path in toured[0].iterdir()) == ["report.html", "report.json"]


def test_text_is_escaped():
    page = Page("<b>", "<script>")
    page.text("<i>")
    page.table(("<a>",), [("<x>",)])
    page.code("<pre>")
    assert not re.search("<(b|script|i|a|x)>", page.render().split("<body>")[1].replace("<body>", ""))


def test_exposure_is_the_exact_rank(hiring):
    scores = candidate_logprobs(hiring, "<id> adam <key>", tuple("0123456789"), 2)
    assert len(scores) == 100
    assert np.exp(scores).sum() == pytest.approx(1, abs=0.05)
    best = int(scores.argmax())
    assert exposure(scores, f"{best:02d}", "0123456789") == pytest.approx(np.log2(100))
    worst = int(scores.argmin())
    assert exposure(scores, f"{worst:02d}", "0123456789") == pytest.approx(0, abs=1e-9)


def test_the_null_of_exposure_has_its_mean():
    """A secret drawn at random has an exposure of 1 / ln 2 bits on average."""
    draw = np.random.default_rng(0)
    scores = draw.normal(size=10_000)
    found = [exposure(scores, f"{draw.integers(10_000):04d}", "0123456789") for _ in range(3000)]
    assert np.mean(found) == pytest.approx(1 / np.log(2), abs=0.08)


def test_doctor_finds_nothing_wrong_here():
    checks = {check.topic: check for check in doctor.diagnose()}
    assert not any(check.fix for check in checks.values())
    assert checks["organisms"].finding == ", ".join(f"organism:{name}" for name in ORGANISMS)


def test_doctor_names_the_command_that_mends(monkeypatch):
    versions = {"torch": None, "transformer-lens": "4.3.0", "sae-lens": "6.54.0"}
    installed = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: versions.get(name, installed(name)))
    checks = {check.topic: check for check in doctor.diagnose()}
    assert checks["torch"].fix == "pip install torch"
    assert "cannot be imported beside" in checks["pairing"].finding
    assert "fix: " in str(checks["pairing"])
