"""What a tour writes: a page, and its numbers with the tables behind them."""

import json

from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.report.writing import write_report
from mechcausal.results.page import Page


def test_the_numbers_and_the_tables_behind_them(tmp_path):
    sweep = mc.patch(loaded("gpt2"), make_pairs(), sites="L1.z.H*")
    html, data = write_report(tmp_path, Page("A title", "A lead"), {"pairs": 6}, {"heads": sweep})
    assert (html.name, data.name) == ("report.html", "report.json")
    assert "<h1>A title</h1>" in html.read_text()
    read = json.loads(data.read_text())
    assert read["pairs"] == 6
    assert [row["site"] for row in read["sweeps"]["heads"]["rows"]] == sweep.frame["site"].tolist()
    assert read["sweeps"]["heads"]["provenance"]["method"] == "patch"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
