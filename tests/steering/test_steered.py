"""What a dose-response curve says of itself."""

import pytest

import mechcausal as mc
from mechcausal.errors import ResultError


def test_without_neutral_text_there_is_no_cost(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=16)
    found = mc.steer(hiring, pairs, "L2.resid_post", at="@decision", read_at="@decision", doses=[1, 2], n_random=0)
    assert found.site == "L2.resid_post"
    assert len(found.doses) == 2
    assert found.asked.empty
    assert found.chart().describe().startswith("steering at L2.resid_post")
    for ask in (found.cost_chart, lambda: found.within(1.0)):
        with pytest.raises(ResultError, match="cost was not measured"):
            ask()
