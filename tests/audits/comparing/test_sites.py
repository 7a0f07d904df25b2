import pandas as pd
import pytest

from mechcausal.audits.comparing.sites import CHANGED_ITSELF, EFFECT_CHANGED, NOTHING_FOUND, ModelComparison
from mechcausal.audits.estimate import Estimate
from mechcausal.errors import ResultError


def make():
    names = [f"{column}{end}" for column in ("change", "weights") for end in ("", "_low", "_high", "_p", "_p_adjusted")]
    rows = [
        {"kind": "site", "site": site, "base": 1.0, "tuned": 2.0} | dict.fromkeys(names, size) | {"verdict": verdict}
        for site, size, verdict in (
            ("L0.z.H0", 0.1, CHANGED_ITSELF), ("L0.z.H1", -0.4, CHANGED_ITSELF), ("L1.z.H0", 0.2, EFFECT_CHANGED),
            ("L1.z.H1", 0.0, NOTHING_FOUND),
        )
    ]  # fmt: skip
    total = dict.fromkeys(("base", "tuned", "change"), Estimate.exact(1.0))
    return ModelComparison(pd.DataFrame(rows), total, {"base": {"name": "a"}, "tuned": {"name": "b"}})


def test_the_largest_changes_come_first():
    comparison = make()
    assert comparison.changed == ["L0.z.H1", "L0.z.H0"]
    assert comparison.affected == ["L1.z.H0"]
    assert comparison.summary().startswith("a -> b: total effect 1 [1, 1] -> 1 [1, 1]")
    assert "no change found at 1 of 4 places" in comparison.summary()
    assert "and 1 more" in comparison.summary(1)
    assert len(comparison.figures) == 2


def test_what_is_no_comparison_is_refused(tmp_path):
    with pytest.raises(ResultError, match="there is no comparison"):
        ModelComparison.load(tmp_path)
    for text in ("{}", "[1]", '{"version": 99}'):
        (tmp_path / "models.json").write_text(text)
        with pytest.raises(ResultError):
            ModelComparison.load(tmp_path)


def test_a_comparison_that_was_changed_is_refused(tmp_path):
    file = make().save(tmp_path)
    assert ModelComparison.load(tmp_path).summary() == make().summary()
    file.write_text(file.read_text().replace("changed itself", "effect changed", 1))
    with pytest.raises(ResultError, match="changed by hand"):
        ModelComparison.load(tmp_path)
