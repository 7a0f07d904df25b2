"""The rows of an interchange result, computed by hand from scores that are made up."""

import numpy as np
import pytest

from mechcausal.address import Place
from mechcausal.causal.alignment.exchange import Scores
from mechcausal.causal.alignment.interchanged import ALIGNED, WORST, Interchange, Line, assembled, row_of
from mechcausal.causal.alignment.pairs import Pairs
from mechcausal.data import PromptSet, pad
from mechcausal.results.provenance import Provenance

# Of four pairs the exchange changes the answer of three.
PAIRS = Pairs(
    base=np.array([2, 0, 1, 2]), sources={"a": np.array([1, 1, 0, 0])}, before=np.array([0, 0, 1, 0]),
    expected=np.array([1, 1, 0, 0]), guess=np.array([0.5, 0.5, 0.25, 0.75]),
)  # fmt: skip
HITS = np.array([[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
STRICT = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
TOWARD = np.array([[3.0, 2.0, -1.0, 9.0], [1.0, 0.0, 0.0, 5.0]])
UNEDITED = (np.zeros((2, 4)), np.zeros((2, 4)), np.full((2, 4), -2.0))
SCORES = Scores(HITS, STRICT, TOWARD, UNEDITED, forwards=6, batch_size=4)


def made():
    parts = [Place.parse("L1.z.H2@-1")]
    lines = [
        Line.of(row_of(parts, ["a"], ALIGNED), PAIRS, SCORES, [0]),
        Line.of(row_of([Place.parse("L0.z.H1@-1")], ["a"], WORST), PAIRS, SCORES, [1]),
    ]
    prompts = PromptSet(*pad([[1, 2], [3, 4], [5, 6]]), groups=("x", "y", "x"), clusters=("k", "l", "m"))
    provenance = Provenance("interchange", {}, {}, {"n": 3}, {"forwards": 6})
    return assembled(Interchange, lines, prompts, chance=0.5, provenance=provenance)


def test_the_accuracy_counts_the_pairs_whose_answer_changes():
    row = made().frame.iloc[0]
    assert row["value"] == pytest.approx(2 / 3)
    assert (row["iia"], row["n_pairs"]) == (0.75, 4)
    assert row["n"] == 3
    assert row["unchanged"] == 1
    assert row["strict"] == pytest.approx(1 / 3)
    assert row["logit_diff"] == pytest.approx(4 / 3)
    assert row["logit_diff_base"] == -2
    assert row["blind"] == 0.5
    assert row["chance"] == 0.5
    assert row["change"] == pytest.approx(2 / 3)  # no unedited run gives the expected answer


def test_examples_bear_the_clusters_and_groups_of_their_base_prompt():
    result = made()
    assert np.isnan(result.examples[:, 3]).all()
    np.testing.assert_array_equal(result.examples[:, :3], HITS[:, :3])
    assert result.clusters == ("m", "k", "l", "m")
    assert result.groups == ("x", "x", "y", "x")


def test_a_line_over_several_cells_is_their_mean():
    line = Line.of({}, PAIRS, SCORES, [0, 1])
    np.testing.assert_array_equal(line.hits, [0.5, 1, 0, 0.5])
    np.testing.assert_array_equal(line.toward, [2, 1, -0.5, 7])


def test_a_row_says_what_was_exchanged_and_where():
    one_head = row_of([Place.parse("L1.z.H2@-1")], ["a"], ALIGNED)
    assert (one_head["site"], one_head["component"], one_head["layer"], one_head["head"]) == ("L1.z.H2", "z", 1, 2)
    several = row_of([Place.parse("L1.z.H2@-1"), Place.parse("L2.mlp_out@-1")], ["a", "b"], ALIGNED)
    assert several["site"] == "L1.z.H2 + L2.mlp_out"
    assert (several["component"], several["layer"], several["at"]) == ("several", None, "@-1")
    assert several["variables"] == "a + b"


def test_the_summary_names_each_set_of_variables_and_its_placebos():
    first, *_, aligned, placebo = made().summary().splitlines()
    assert "4 pairs from 3 prompts, 6 forwards" in first
    assert aligned.split()[:4] == ["a", "at", "L1.z.H2@-1", "0.667"]
    assert "all pairs 0.750" in aligned
    assert "worst placebo (L0.z.H1@-1)" in placebo
    assert "0.333" in placebo
