import io

import pandas as pd

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.writing import VIEWS


def test_findings_as_a_table(by_hand):
    pairs = mc.contrast("by_hand/gender", by_hand, n=8)
    report = audit.Plan([audit.Flips(pairs, at_most=0.5)], networks=0).run(by_hand, quiet=True)
    table = pd.read_csv(io.StringIO(VIEWS["findings.csv"](report)))
    assert table["id"].tolist() == ["FAIR-1"]
    assert table["threshold"].tolist() == ["at most 0.5"]
