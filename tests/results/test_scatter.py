"""The scatter, drawn twice from the same points."""

import math
import re

import pytest

from mechcausal.errors import ResultError
from mechcausal.results.scatter import Point, Points, figure, still


@pytest.fixture
def scatter():
    points = (
        Point("F1", 1.0, 1.5, group="highest"), Point("<F2>", -2.0, -1.0, group="highest"), Point("F3", 0.1, 0.0, group="random"),
    )  # fmt: skip
    return Points(points, "Title", "estimate", "exact", diagonal=True, note="a note")


def test_with_a_diagonal_both_axes_have_one_range_that_holds_all_points_and_zero(scatter):
    across, upwards = scatter.axes
    assert across == upwards
    low, high, ticks = across
    assert low <= -2.0
    assert high >= 1.5
    assert 0 in ticks


def test_without_one_each_axis_has_its_own():
    across, upwards = Points((Point("a", 100.0, 0.1), Point("b", 200.0, 0.2)), "T", "x", "y").axes
    assert across[0] > 90
    assert upwards[1] < 1


def test_every_point_is_drawn_and_texts_stay_texts(scatter):
    drawn = still(scatter)
    assert drawn.count("<circle") == 3
    assert "&lt;F2&gt;" in drawn
    assert "<F2>" not in drawn
    assert "stroke-dasharray" in drawn
    assert scatter.color("highest") != scatter.color("random")
    assert "<F2> (-2, -1)" in scatter.describe()


def test_many_points_are_described_by_the_one_furthest_out():
    points = tuple(Point(f"p{i}", i, -i) for i in range(40))
    assert "furthest out p39 at 39, -39" in Points(points, "T", "x", "y").describe()


def test_a_point_that_is_not_a_number_is_left_out():
    bare = Points((Point("F1", math.nan, 1.0), Point("F2", 1.0, 1.0)), "T", "x", "y")
    assert still(bare).count("<circle") == 1


def test_intervals_are_crosses_and_a_front_is_joined():
    points = (
        Point("a", 1, 2, 0.5, 1.5, 1.8, 2.2, "front"),
        Point("b", 2, 3, group="front"),
        Point("c", 3, 1, group="rest"),
    )
    drawn = still(Points(points, "T", "x", "y", joined="front", named=True))
    assert drawn.count("<polyline") == 1
    assert drawn.count('opacity=".6"') == 1
    for name in "abc":
        assert f">{name}</text>" in drawn
    live = figure(Points(points, "T", "x", "y", joined="front"))
    assert [trace.mode for trace in live.data] == ["lines+markers", "markers"]
    assert live.data[0].error_x.array[0] == 0.5


def test_names_do_not_lie_on_one_another():
    points = (*(Point(f"p{i}", 1 + i / 1000, 1.0) for i in range(4)), Point("far", 9.0, 1.0))
    drawn = still(Points(points, "T", "x", "y", named=True))
    heights = re.findall(r'<text x="[0-9.]+" y="([0-9.]+)"[^>]*>p[0-9]</text>', drawn)
    assert len(set(heights)) == 4


def test_the_live_figure_has_a_trace_for_the_diagonal_and_for_each_group(scatter):
    live = figure(scatter)
    assert [trace.name for trace in live.data][1:] == ["highest", "random"]
    assert list(live.data[1].x) == [-2.0, 1.0]
    assert live.still == still(scatter)


def test_nothing_is_not_drawn():
    with pytest.raises(ResultError, match="nothing to draw"):
        still(Points((), "T", "x", "y"))


def test_a_ring_around_a_point():
    points = (Point("a", 0, 1), Point("b", 1, 2, ringed=True))
    scatter = Points(points, "t", "x", "y", note="ringed: survives")
    rings = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" fill="none"', still(scatter))
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3.4"', still(scatter))
    assert rings == dots[1:]
    assert "b (1, 2, ringed)" in scatter.describe()
    assert figure(scatter).data[0].marker.line.width == (0, 2)
