"""Circuits side by side."""

import numpy as np
import pytest
from small_circuit import circuit_of, scored_circuit

from mechcausal.circuits.unique.compare import compare
from mechcausal.errors import ArgumentError

FIRST = [("embed", "L0.v.H0"), ("L0.z.H0", "logits"), ("embed", "logits")]
SECOND = [("embed", "L0.v.H0"), ("L0.z.H0", "logits"), ("embed", "L0.mlp_out"), ("L0.mlp_out", "logits")]


def test_the_table_has_a_row_for_every_two():
    compared = compare({"a": circuit_of(FIRST), "b": circuit_of(SECOND), "c": circuit_of(FIRST)})
    rows = compared.frame.set_index(["first", "second"])
    assert rows.loc[("a", "c"), "edges"] == 1
    assert rows.loc[("a", "b"), "edges"] == pytest.approx(2 / 5)
    assert rows.loc[("a", "b"), "shared"] == 2
    assert compared.edges.estimate == pytest.approx((1 + 2 * 2 / 5) / 3)


def test_the_core_is_in_all_of_them():
    compared = compare([circuit_of(FIRST), circuit_of(SECOND)])
    assert {(str(s.site), str(r.site)) for s, r in compared.core} == {("embed", "L0.v.H0"), ("L0.z.H0", "logits")}
    assert compared.counts["circuits"].tolist() == [2, 2, 1, 1, 1]
    assert "2 edges are in all of them" in compared.summary()
    assert "Jaccard" in compared._repr_html_()


def test_scores_are_compared_by_rank():
    first = scored_circuit()
    second = first.__class__(first.wiring, first.kept, first.scores**3)
    assert compare([first, second]).frame["rank"].item() == pytest.approx(1)
    assert np.isnan(compare([circuit_of(), circuit_of()]).frame["rank"].item())


def test_circuits_are_named_by_their_methods_where_these_differ():
    assert list(compare([circuit_of(method="eap"), circuit_of(method="exact")]).circuits) == ["eap", "exact"]
    assert list(compare([circuit_of(method="eap"), circuit_of(method="eap")]).circuits) == ["eap 0", "eap 1"]


def test_one_circuit_is_no_comparison():
    with pytest.raises(ArgumentError, match="at least two circuits"):
        compare([circuit_of()])
