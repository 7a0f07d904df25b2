"""The tour as a stranger meets it: ten lines, one page that asks for nothing, and the numbers as JSON."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from commands import run

pytestmark = pytest.mark.slow  # one long measurement that all tests here read


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    out = tmp_path_factory.mktemp("tour")
    done = run("demo", "-o", out, "-n", "40")
    assert done.code == 0, done.error
    return out, done.output


def test_everything_is_where_the_truth_has_it(toured):
    out, said = toured
    numbers = json.loads((out / "report.json").read_text())
    assert [row["same"] for row in numbers["comparison"]] == [True] * 4
    assert numbers["comparison"][0]["found"] == numbers["comparison"][0]["true"] == ["L1.z.H1", "L1.z.H2"]
    assert "4 of 4 mechanisms are where they were found." in said
    canary = numbers["canary"]
    assert canary["extracted"] == len(canary["memorized"]) == 8
    assert np.mean(list(canary["never_seen"].values())) < 5
    assert np.mean(list(canary["silenced"].values())) < 0.5 * np.mean(list(canary["memorized"].values()))
    assert canary["numbers_when_silenced"] < 8
    assert numbers["sweeps"]["heads"]["provenance"]["prompts"]["n"] == 40


def test_the_summary_is_ten_lines(toured):
    lines = toured[1].split("\n\n")[0].splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) < 130


def test_the_page_is_whole_and_asks_for_nothing(toured):
    page = (toured[0] / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=|url\((?!#none)|@import|<script|<link", page)
    assert page.count("<svg") == 3
    for picture in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        assert ElementTree.fromstring(picture).attrib["aria-label"]
    for tag in ("table", "figure", "p", "h2", "ul", "pre"):
        assert len(re.findall(f"<{tag}[ >]", page)) == page.count(f"</{tag}>") > 0
    assert sorted(path.name for path in toured[0].iterdir()) == ["report.html", "report.json"]


def test_the_page_says_what_was_given(toured):
    page = (toured[0] / "report.html").read_text()
    assert page.index("They use no knowledge of where") < page.index("6. Comparison with the truth")
    assert "The effect enters at: gender, hobby. It is at the decision position before layer 2." in page
