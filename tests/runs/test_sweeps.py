"""A part of the cells of a sweep gives the numbers that the whole gives, and results are put together again from numbers."""

import dataclasses

import numpy as np
import pytest

import mechcausal as mc
from mechcausal.errors import MechcausalError
from mechcausal.runs.sweeps import cells_of, narrowed

SPECS = {
    "heads": mc.methods.Patching(sites="z"),
    "positions": mc.methods.Patching(sites="resid_pre", at="each"),
    "mixed": mc.methods.Patching(sites=["z", "L1.mlp_out", ("L1.z.H1", "L1.z.H2")]),
    "silenced": mc.methods.Ablating(sites="z"),
    "estimated": mc.methods.Attributing(sites="z"),
    "paths": mc.methods.PathPatching(senders="L1.z.H*", receivers="L2.mlp_out"),
    "direct": mc.methods.DirectAttributing(),
}


@pytest.fixture(scope="module")
def pairs(hiring):
    return mc.contrast("hiring/gender", hiring, n=12)


@pytest.mark.parametrize("name", SPECS)
def test_the_cells_are_those_of_the_table(hiring, pairs, name):
    spec = SPECS[name]
    cells, frame = cells_of(spec, hiring, pairs), spec.run(hiring, pairs).frame
    assert [row["site"] for row in cells.rows] == frame["site"].tolist()
    assert [row["at"] for row in cells.rows] == frame["at"].tolist()
    assert [row["label"] for row in cells.rows] == frame["label"].tolist()
    assert cells.alone == (name != "silenced")


@pytest.mark.parametrize("name", [name for name in SPECS if name != "direct"])
def test_some_of_the_cells_give_the_same_numbers(hiring, pairs, name):
    spec = SPECS[name]
    whole, cells = spec.run(hiring, pairs), cells_of(spec, hiring, pairs)
    wanted = list(range(1, len(cells.rows), 3))
    covered = []
    for part, numbers in narrowed(spec, [cells.joint[n] for n in wanted], [cells.rows[n] for n in wanted]):
        result = part.run(hiring, pairs)
        np.testing.assert_allclose(result.examples, whole.examples[[wanted[n] for n in numbers]], atol=2e-5)
        covered += numbers
    assert sorted(covered) == list(range(len(wanted)))


def test_what_a_model_cannot_give_is_refused(hiring, pairs):
    for spec in (SPECS["heads"], SPECS["silenced"], SPECS["paths"]):
        field = "senders" if hasattr(spec, "senders") else "sites"
        with pytest.raises(MechcausalError, match="layer 9"):
            cells_of(dataclasses.replace(spec, **{field: "L9.z.H0"}), hiring, pairs)
