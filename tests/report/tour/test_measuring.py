"""The tour finds mechanisms where they are, also where the shipped truth does not say so, and nothing where there is none."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.data.tasks.hiring import SECRETS
from mechcausal.report.tour import findings, measuring
from mechcausal.report.tour.comparing import compare

pytestmark = pytest.mark.slow  # one long measurement that all tests here read

RECORDS = {name: SECRETS[name] for name in ("adam", "emma")}


def heads_moved(model):
    """Give every head of layers 1 and 2 the number after its own; what the model computes stays the same."""
    for layer in (1, 2):
        attention = model.blocks[layer].attn
        with torch.no_grad():
            for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
                weight = getattr(attention, name)
                weight.copy_(weight.roll(1, 0).clone())
    return model


@pytest.fixture(scope="module")
def moved():
    model = heads_moved(mc.load("organism:hiring"))
    numbers, sweeps = measuring.measure(model, n=40, seed=0, records=RECORDS, strangers=["boris", "diana"])
    return model, numbers, sweeps


def test_moving_heads_leaves_the_behavior(moved, hiring):
    prompts = mc.contrast("hiring/gender", hiring, n=8).clean
    with torch.no_grad():
        before, after = (model(prompts.tokens, return_type="logits") for model in (hiring, moved[0]))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_mechanisms_are_found_where_they_were_moved_to(moved):
    _, numbers, _ = moved
    assert numbers["carriers"] == {"gender": ["L1.z.H2", "L1.z.H3"], "merit": ["L1.z.H1"], "secret": ["L2.z.H0"]}
    assert numbers["reader"] == "L2.mlp_out"
    assert numbers["entry"]["arrived_before_layer"] == 2
    assert set(numbers["entry"]["positions"]) == {"gender", "hobby"}
    nothing, suppressed, control = numbers["suppression"]
    assert control["sites"] == ["L1.z.H0"]
    assert suppressed["flip_rate"] == 0 < 0.1 < nothing["flip_rate"] == control["flip_rate"]
    assert suppressed["merit_effect"] > 0.8 * nothing["merit_effect"]
    canary = numbers["canary"]
    assert canary["silenced_sites"] == ["L2.z.H0"]
    assert canary["control_sites"] == ["L2.z.H1"]
    assert canary["extracted"] == len(RECORDS)
    assert canary["control"] == pytest.approx(canary["memorized"], abs=0.5)
    assert np.mean(list(canary["silenced"].values())) < 0.7 * np.mean(list(canary["memorized"].values()))


def test_the_comparison_says_that_the_truth_is_elsewhere(moved):
    _, numbers, sweeps = moved
    rows = {row["mechanism"]: row for row in compare(numbers, mc.truth("hiring"))}
    assert [row["same"] for row in rows.values()] == [False, False, False, True]
    told = findings.Findings("moved", numbers | {"comparison": list(rows.values())}, sweeps)
    assert "1 of 4 mechanisms are where they were found. NOT: gender" in told.summary()


def test_nothing_is_found_where_nothing_is(tmp_path):
    """With the outputs of the two heads of layer 1 gone, gender reaches no decision, and merit is where it was."""
    model = mc.load("organism:hiring")
    with torch.no_grad():
        model.blocks[1].attn.W_O[1:3] = 0
    numbers, sweeps = measuring.measure(model, n=40, seed=0, records=RECORDS, strangers=["boris"])
    assert numbers["carriers"]["gender"] == []
    assert numbers["carriers"]["merit"] == ["L1.z.H0"]
    assert abs(numbers["behavior"]["total_effect_log_odds"]) < measuring.MATTERS
    assert numbers["reader"] is None
    assert "paths" not in sweeps
    numbers["comparison"] = compare(numbers, mc.truth("hiring"))
    told = findings.Findings("without", numbers, sweeps)
    assert "(share of the effect): none" in told.summary()
    page, _ = told.write(tmp_path)
    assert "there is no path to follow" in page.read_text()


def test_measuring_reads_no_truth():
    tree = ast.parse(Path(measuring.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {"patch", "contrast"} <= imported
    assert not imported & {"truth", "SECRETS", "organisms", "compare"}
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("truth", "SECRETS")
    ]
