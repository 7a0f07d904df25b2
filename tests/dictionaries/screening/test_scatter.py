"""The scatter of estimates against exact effects, drawn twice from the same points."""

import math

import pytest

from mechcausal.dictionaries.screening.scatter import Dot, Scatter, figure, still


@pytest.fixture
def scatter():
    dots = (Dot(1.0, 1.5, "F1", "highest"), Dot(-2.0, -1.0, "<F2>", "highest"), Dot(0.1, 0.0, "F3", "random"))
    return Scatter(dots, "Title", "estimate", "exact", "a note")


def test_both_axes_have_one_range_that_holds_all_points_and_zero(scatter):
    low, high, ticks = scatter.reach
    assert low <= -2.0
    assert high >= 1.5
    assert 0 in ticks


def test_every_point_is_drawn_and_texts_stay_texts(scatter):
    drawn = still(scatter)
    assert drawn.count("<circle") == 3
    assert "&lt;F2&gt;" in drawn
    assert "<F2>" not in drawn
    assert scatter.color("highest") != scatter.color("random")
    assert "furthest out <F2> at -2, -1" in scatter.describe()


def test_a_point_that_is_not_a_number_is_left_out():
    bare = Scatter((Dot(math.nan, 1.0, "F1", "random"), Dot(1.0, 1.0, "F2", "random")), "T", "x", "y")
    assert still(bare).count("<circle") == 1


def test_the_live_figure_has_a_trace_for_the_diagonal_and_for_each_group(scatter):
    live = figure(scatter)
    assert [trace.name for trace in live.data][1:] == ["highest", "random"]
    assert list(live.data[1].x) == [1.0, -2.0]
    assert live.still == still(scatter)
