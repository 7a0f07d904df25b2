"""What fresh probes read after an erasure, on prompts that it was not fitted to."""

import numpy as np
import pytest
from saved import assert_kept

import mechcausal as mc
from mechcausal.features import erase, guardedness


@pytest.fixture(scope="module")
def prompts(hiring):
    return mc.task("hiring").prompts(hiring, 500)


@pytest.mark.slow
def test_on_held_out_prompts_a_line_reads_little_and_a_network_reads_on(hiring, prompts, tmp_path):
    found = erase(hiring, prompts, "gender", "L2.resid_post", at="@decision")
    told = guardedness(hiring, found, others={"decision": "decision"})
    rows = told.frame.set_index(["concept", "kind"])
    linear, bent = rows.loc[("gender", "logistic")], rows.loc[("gender", "mlp")]
    assert linear["before"] > 0.95
    assert linear["information"] < 0.1 < 0.5 < bent["information"]
    assert bent["verdict"] == "leaks"
    assert bent["value"] > 0.9
    assert rows.loc[("decision", "logistic")]["verdict"] == "kept"
    np.testing.assert_allclose(told.frame["change"], told.frame["value"] - told.frame["before"], atol=1e-9)
    assert told.examples.shape == (4, len(found.held_out))
    assert "note: 'gender' is correlated with 'the label'" in repr(told)
    assert told.survives[rows.index.get_loc(("gender", "mlp"))]
    assert (rows["p"] < 0.05).tolist() == ((rows["excess_low"] > 0) | (rows["excess_high"] < 0)).tolist()
    assert "gender at L2.resid_post@decision" in told.plot().still
    assert_kept(told, tmp_path / "guarded.parquet")


@pytest.mark.slow
def test_a_head_that_holds_one_bit_is_guarded_against_all(hiring, prompts):
    """The head's output is one of two values, so what is equal in the mean is equal altogether."""
    found = erase(hiring, prompts, "gender", "L1.z.H2", at="@decision")
    told = guardedness(hiring, found).frame.set_index("kind")
    assert (told["before"] > 0.97).all()
    assert told.loc["logistic", "information"] < 0.05


def test_what_it_would_cost(hiring, prompts):
    erasure = erase(hiring, prompts, "gender", "L1.z.H2", at="@decision")
    cost = guardedness.cost(hiring, erasure, kinds=["logistic", "mlp"], others={"decision": "decision"})
    assert cost.cells == 3
    assert cost.forwards == 2 * len(erasure.held_out)
