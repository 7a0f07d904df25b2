"""`mechcausal organisms` and `mechcausal sites`: tables for people, and the same as JSON."""

from commands import run

import mechcausal as mc
from mechcausal.catalog import ORGANISMS


def test_the_table_of_organisms():
    lines = run("organisms").output.splitlines()
    assert lines[0].split() == ["name", "tasks", "size", "accuracy", "IIA", "true", "circuit"]
    assert [line.split()[0] for line in lines[1 : len(ORGANISMS) + 1]] == list(ORGANISMS)
    rows = {row["name"]: row for row in run("organisms", "--json").document}
    assert rows["hiring"]["iia"] == min(mc.truth("hiring")["measured"]["iia_on_changed_answers"].values())
    assert rows["hiring_natural"]["circuit"] == "to be found (twin of hiring)"
    assert rows["hiring_natural"]["iia"] is None


def test_the_table_of_sites():
    text = run("sites", "organism:hiring").output
    assert text.startswith("organism:hiring: GPT2LMHeadModel, 4 layers, 4 heads, d_model 48, d_mlp 96\n")
    rows = {row["component"]: row for row in run("sites", "organism:hiring", "--json").document}
    assert rows["resid_mid"]["writes"] is True
    assert set(rows) <= {line.split()[0] for line in text.splitlines()[2:]}
