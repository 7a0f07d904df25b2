"""A mechanism is where the truth has it only if all of its places were found, and no other."""

import pytest

import mechcausal as mc
from mechcausal.report.tour.comparing import compare

TRUE = {"gender": ["L1.z.H2", "L1.z.H1"], "merit": ["L1.z.H0"], "secret": ["L2.z.H3"]}


def rows(carriers, reader="L2.mlp_out"):
    return {row["mechanism"]: row for row in compare({"carriers": carriers, "reader": reader}, mc.truth("hiring"))}


def test_the_truth_agrees_with_itself():
    assert all(row["same"] for row in rows(TRUE).values())


@pytest.mark.parametrize("found", [[], ["L1.z.H1"], ["L1.z.H1", "L1.z.H2", "L1.z.H3"], ["L1.z.H1", "L1.z.H3"]])
def test_a_missing_or_another_place_disagrees(found):
    compared = rows(TRUE | {"gender": found})
    gender, *others = compared.values()
    assert not gender["same"]
    assert gender["found"] == sorted(found)
    assert gender["true"] == ["L1.z.H1", "L1.z.H2"]
    assert all(row["same"] for row in others)


def test_no_reader_disagrees():
    assert [row["same"] for row in rows(TRUE, reader=None).values()] == [True, True, True, False]
