"""What an experiment would take, before it is run."""

import pytest
from runs.trials import HEADS, experiment, step

import mechcausal as mc
from mechcausal.runs.config import ExperimentError


def test_rows_and_forwards_are_those_of_the_methods(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=20)
    made = experiment(
        HEADS, step("later", "patch", sites={"from": "heads", "top": 2}), step("mediated", "mediate", mediators="z")
    )
    cost = made.cost()
    assert cost.steps["heads"]["rows"] == 320
    assert cost.steps["mediated"] == pytest.approx(
        {
            "rows": 1,
            "forwards": mc.causal.mediate.cost(hiring, pairs, "z").forwards,
            "seconds": cost.steps["mediated"]["seconds"],
        }
    )
    # The first block of prompts stands for all.
    few = mc.patch.cost(hiring, pairs.take(slice(0, 8)), sites="z").forwards
    assert cost.steps["heads"]["forwards"] == pytest.approx(few * 20 / 8)
    assert cost.steps["later"] == {"rows": None, "forwards": None, "seconds": None}
    assert cost.total("rows") == 321
    assert cost.memory > 80_000 * 4
    assert "which wait for earlier steps" in str(cost)
    assert cost.to_json()["rows"] == 321


def test_what_is_wrong_is_said_here_too():
    with pytest.raises(ExperimentError, match="layer 9"):
        experiment(step("heads", "patch", sites="L9.z.H0")).cost()
