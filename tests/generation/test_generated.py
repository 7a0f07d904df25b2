"""The table of texts, what it says and its picture."""

import mechcausal as mc

TEXT = "red blue gold white"


def test_what_it_says():
    model = mc.load("organism:induction")
    written = mc.generate(model, [TEXT, "red blue"], tokens=2)
    assert written.frame["before"].tolist() == [TEXT, "red blue"]
    assert written.examples.shape[0] == 2
    assert written.frame["logprob"].tolist() == [sum(row[row == row]) for row in written.examples]
    assert "texts" in repr(written)
    assert "<table>" in written._repr_html_()
    assert "log-probability" in written.plot().still
    assert not written.normalized
    assert written.edits.empty
