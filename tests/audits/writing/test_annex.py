from audited import report

from mechcausal.audits.writing.annex import annex_iv_md


def test_points_name_the_findings_that_speak_to_them():
    text = annex_iv_md(report())
    testing = next(line for line in text.splitlines() if line.startswith("| 2(g)"))
    assert all(name in testing for name in ("FAIR-1", "ACC-1", "ROB-1", "INV-1"))
    assert "PRIV-1" in next(line for line in text.splitlines() if line.startswith("| 2(h)"))
    assert "ACC-1" in text.split("would have missed: ")[1]


def test_it_claims_nothing():
    text = annex_iv_md(report())
    assert "claims no compliance" in text
    assert "| signed by | |" in text
