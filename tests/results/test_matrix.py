import pytest

from mechcausal.errors import ResultError
from mechcausal.results.matrix import Cell, Matrix, figure, still


@pytest.fixture
def matrix():
    lines = ((Cell(0.86, "86 %", "bad"), Cell(0.02, "2 %", "good")), (Cell(float("nan"), "<none>"), Cell(0.1, "10 %")))
    return Matrix(("swap gender", "swap job"), ("none", "erased"), lines, "What moves the decision", "share that flips")


def test_every_cell_is_drawn_and_told_apart_without_color(matrix):
    drawn = still(matrix)
    assert drawn.count("<rect") == 4
    assert "86 % \u2717" in drawn
    assert "2 % \u2713" in drawn
    assert "&lt;none&gt;" in drawn
    assert "<none>" not in drawn


def test_it_is_described_in_words(matrix):
    words = matrix.describe()
    assert "swap gender: none 86 % (not as declared), erased 2 % (as declared)" in words
    assert "share that flips" in words


def test_the_live_figure_carries_the_still_one(matrix):
    live = figure(matrix)
    assert live.still == still(matrix)
    assert live.data[0].z[1][0] is None


def test_nothing_is_not_drawn():
    with pytest.raises(ResultError, match="nothing to draw"):
        still(Matrix((), ("a",), (), "t", "m"))
