"""Which cells a sweep has, and what a result is made of."""

import numpy as np
import pytest
from zoo import make_pairs

from mechcausal.address import Site
from mechcausal.errors import MechcausalError
from mechcausal.interventions import Patch
from mechcausal.metrics import metric
from mechcausal.models.abilities import abilities
from mechcausal.patching.sweep import Recorder, sites_of, swept, two_sides


def test_the_sides_of_both_directions(pairs):
    assert two_sides(pairs, "denoise") == (pairs.corrupt, pairs.clean)
    assert two_sides(pairs, "noise") == (pairs.clean, pairs.corrupt)


@pytest.mark.parametrize(
    ("spec", "at", "count", "sites"),
    [
        ("z", None, 12, 12),  # three layers of four heads, at all positions at once
        ("resid_pre", None, 21, 3),  # three layers at each of seven positions
        (["z", "L0.z.H0"], None, 12, 12),  # a cell that is named twice is one cell
        ([("L0.z.H0", "L0.z.H1"), "L0.z.H0"], [0, "@-1"], 4, 2),
        ([("L0.resid_pre", "L2.resid_pre")], "each", 7, 2),
        ([("L0.z.H*",)], None, 1, 4),
    ],
)
def test_cells(gpt2, spec, at, count, sites):
    prompts = make_pairs((7, 5)).clean
    cells = swept(spec, at, abilities(gpt2).shape, prompts)
    assert len(cells) == count
    assert len(sites_of(cells)) == sites
    for cell in cells:
        edits = cell.cell(Patch())
        assert [edit.site for edit in edits] == list(cell.sites)
        assert {edit.at for edit in edits} == {cell.at}


def test_what_a_joint_cell_is_called(gpt2):
    prompts = make_pairs((7, 7)).clean
    shape = abilities(gpt2).shape
    (cell,) = swept([("L0.z.H1", "L0.mlp_out")], "@-1", shape, prompts)
    row = cell.row()
    assert (row["site"], row["layer"], row["component"], row["head"]) == ("L0.z.H1 + L0.mlp_out", 0, None, None)
    assert (row["at"], row["position"]) == ("@-1", -1)
    (alone,) = swept("L0.z.H1", "@-1", shape, prompts)
    assert alone.row()["site"] == str(Site("z", 0, head=1))


def test_a_recorder_measures_the_unedited_runs(gpt2, pairs):
    recorder = Recorder(gpt2, pairs, metric("logit_diff"), "test", {})
    baselines = recorder.baselines("corrupt", 2)
    assert set(baselines) == {"base", "clean", "corrupt"}
    np.testing.assert_array_equal(baselines["base"], baselines["corrupt"])
    cells = swept("L1.z.H0", None, abilities(gpt2).shape, pairs.clean)
    values = baselines["corrupt"][None] + 1
    result = recorder.result([cell.row() for cell in cells], values, baselines, forwards=3, batch_size=2)
    assert result.frame["change"].item() == pytest.approx(1)
    assert result.provenance.compute["forwards"] == 3


def test_prompts_that_lack_what_the_metric_needs(gpt2, pairs):
    from dataclasses import replace

    without = replace(pairs.clean, answer=None)
    with pytest.raises(MechcausalError, match="needs the answer"):
        Recorder(gpt2, without, metric("logit_diff"), "test", {})
