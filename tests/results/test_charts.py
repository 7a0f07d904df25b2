"""Bars and curves: what is drawn is where the numbers say, in both forms."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mechcausal.errors import ResultError
from mechcausal.results.charts import PALETTE, bar_chart, figure, line_chart, still

NONE = float("nan")
ROWS = [
    ("first", 2.0, 1.0, 3.0, "direct"),
    ("first", -1.0, -1.5, -0.5, "indirect"),
    ("second", 0.5, NONE, NONE, "direct"),
    ("second", NONE, NONE, NONE, "indirect"),
]
CURVE = [(1.0, 3.0, 2.0, 4.0), (0.0, 1.0, 0.5, 1.5), (0.5, 2.0, 1.0, 3.0)]


def bars(rows, *labels):
    return still(bar_chart(rows, *labels))


def lines(series, *labels, **options):
    return still(line_chart(series, *labels, **options))


def parts(picture, kind):
    return ElementTree.fromstring(picture).findall(f".//{{*}}{kind}")


def texts(picture):
    return [node.text for node in parts(picture, "text")]


def test_bars_are_as_long_as_their_values():
    picture = bars(ROWS, "What it does", "log-odds")
    drawn = [node for node in parts(picture, "rect") if float(node.attrib["height"]) != 11]
    starts, lengths = ([float(node.attrib[key]) for node in drawn] for key in ("x", "width"))
    np.testing.assert_allclose(np.array(lengths) / lengths[0], [1, 0.5, 0.25], atol=2e-3)
    zero = starts[0]
    assert starts[2] == zero
    assert starts[1] + lengths[1] == pytest.approx(zero, abs=0.2)  # what is negative ends at zero
    assert [node.attrib["fill"] for node in drawn] == [PALETTE[0], PALETTE[1], PALETTE[0]]
    whiskers = [node.attrib["d"] for node in parts(picture, "path") if "v8" in node.attrib["d"]]
    ends = [[float(x) for x in re.match(r"M([\d.]+) [\d.]+H([\d.]+)", whisker).groups()] for whisker in whiskers]
    unit = lengths[0] / 2
    np.testing.assert_allclose(ends, [[zero + unit, zero + 3 * unit], [zero - 1.5 * unit, zero - 0.5 * unit]], atol=0.3)


def test_bars_say_what_they_show():
    picture = bars(ROWS, "What it does", "log-odds")
    written = texts(picture)
    assert [written.count(word) for word in ("first", "second", "direct", "indirect")] == [1, 1, 1, 1]
    assert "2.000 [1.000, 3.000]" in written
    assert "no value" in written
    assert {"0", "1", "2", "3"} <= set(written)
    assert "first, indirect -1.000 [-1.500, -0.500]" in ElementTree.fromstring(picture).attrib["aria-label"]
    plain = bars([("a", 1, NONE, NONE)], "t", "x")
    noted = bar_chart([("* a", 1, NONE, NONE)], "t", "x", note="* survives")
    assert {"* a", "* survives"} <= set(texts(still(noted)))
    assert noted.describe().endswith("; * survives")
    assert figure(noted).layout.xaxis.title.text == "x<br>* survives"
    assert "* survives" not in plain
    assert len(parts(plain, "rect")) == 1
    assert "v8" not in plain


def test_axes_where_there_is_little_to_see():
    assert "0" in texts(bars([("a", 0.0, 0.0, 0.0)], "t", "x"))
    assert {"0", "200", "400"} <= set(texts(bars([("a", 412.0, NONE, NONE), ("b", 1e-6, NONE, NONE)], "t", "x")))
    assert {"-0.1", "-0.05", "0"} <= set(texts(bars([("a", -0.11, NONE, NONE)], "t", "x")))


def test_points_lie_on_their_lines():
    picture = lines([("effect", CURVE)], "A curve", "level", "log-odds", marks=[("total", 2.0)])
    points = [(float(node.attrib["cx"]), float(node.attrib["cy"])) for node in parts(picture, "circle")]
    across, down = np.diff(points, axis=0).T
    np.testing.assert_allclose(across[0], across[1], atol=0.11)
    np.testing.assert_allclose(down[0], down[1], atol=0.11)
    assert across[0] > 0 > down[0]  # sorted from left to right, and up is more
    mark = next(node.attrib["d"] for node in parts(picture, "path") if "stroke-dasharray" in node.attrib)
    assert float(re.findall(r" ([\d.]+)L", mark)[0]) == pytest.approx(points[1][1], abs=0.11)
    band = next(iter(parts(picture, "polygon"))).attrib["points"].split()
    assert len(band) == 6
    assert "total 2.000" in texts(picture)
    assert "effect from 1.000 at 0 to 3.000 at 1; total is 2.000" in picture


def test_several_lines_have_a_legend_and_no_band_without_intervals():
    picture = lines([("a", [(0, 1, NONE, NONE), (1, 2, NONE, NONE)]), ("b", CURVE)], "t", "x", "y")
    assert {"a", "b"} <= set(texts(picture))
    assert len(parts(picture, "polygon")) == 1


def test_points_with_a_ring():
    other = ("b", [(0.5, 1, NONE, NONE)])
    chart = line_chart([("a", CURVE), other], "t", "x", "y", ringed=[0.5], note="ringed: survives")
    picture = still(chart)
    dots, rings = (
        [node for node in parts(picture, "circle") if (node.attrib["fill"] == "none") == ring] for ring in (0, 1)
    )
    assert len(dots) == 4
    assert [node.attrib["cx"] for node in rings] == [dots[1].attrib["cx"]]
    assert [node.attrib["cy"] for node in rings] == [dots[1].attrib["cy"]]
    assert "ringed: survives" in texts(picture)
    assert chart.describe().endswith("ringed at 0.5; ringed: survives")
    drawn = figure(chart)
    widths = {trace.name: trace.marker.line.width for trace in drawn.data if trace.name}
    assert widths == {"a": (0, 2, 0), "b": (0,)}
    assert "ringed: survives" in drawn.layout.xaxis.title.text
    assert "ringed" not in line_chart([("a", CURVE)], "t", "x", "y").describe()


def test_live_figures():
    drawn = figure(bar_chart(ROWS, "What it does", "log-odds"))
    assert [trace.name for trace in drawn.data] == ["direct", "indirect"]
    assert drawn.data[0].x == (2.0, 0.5)
    assert drawn.data[0].error_x.array[0] == 1.0
    assert drawn.still == still(bar_chart(ROWS, "What it does", "log-odds"))
    curve = figure(line_chart([("effect", CURVE)], "A curve", "level", "y", marks=[("total", 2.0)]))
    assert curve.data[-1].x == (0.0, 0.5, 1.0)
    assert curve.data[-1].y == (1.0, 2.0, 3.0)
    assert len(curve.layout.shapes) == 1


def test_names_are_escaped():
    for picture in (bars([("<b>&", 1, 0, 2, "<n>")], "<t>", "<x>"), lines([("<n>", CURVE)], "<t>", "<x>", "<y>")):
        assert not re.search(r"<[btxyn]>", picture)
        assert "&lt;t&gt;" in picture
        ElementTree.fromstring(picture)


def test_long_labels_are_cut_and_told_in_full():
    picture = bars([("a" * 80, 1, 0, 2)], "t", "x")
    assert "a" * 80 not in texts(picture)
    assert "a" * 80 in ElementTree.fromstring(picture).attrib["aria-label"]


def test_what_is_refused():
    for empty in (lambda: bars([], "t", "x"), lambda: lines([("a", [])], "t", "x", "y")):
        with pytest.raises(ResultError, match="nothing to draw"):
            empty()
    with pytest.raises(ResultError, match="a bar is"):
        bars([("a", 1)], "t", "x")


def test_a_stair_steps_from_bar_to_bar():
    chart = bar_chart([("all", 1, 0.9, 1), ("less", 0.5, 0.4, 0.6), ("none", 0, 0, 0)], "t", "x", stair=True)
    picture = still(chart)
    bars_drawn = [node for node in parts(picture, "rect") if "opacity" in node.attrib]
    ends = [float(node.attrib["x"]) + float(node.attrib["width"]) for node in bars_drawn]
    (line,) = parts(picture, "polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert [x for x, _ in points] == sorted((x for x, _ in points), reverse=True)
    np.testing.assert_allclose(list(dict.fromkeys(x for x, _ in points))[:2], ends[:2], atol=0.11)
    for (x, y), (to_x, to_y) in itertools.pairwise(points):  # right angles, ever down
        assert (x == to_x and y < to_y) or (x > to_x and y == to_y)
    drawn = figure(chart)
    assert drawn.data[-1].x == (1, 0.5, 0)
    assert not parts(still(bar_chart(ROWS, "t", "x")), "polyline")


def test_what_is_next_to_nothing_looks_like_it():
    tiny = bar_chart([("a", 1e-5, 0, 2e-5)], "t", "x", reach=0.1)
    (bar,) = parts(still(tiny), "rect")
    assert float(bar.attrib["width"]) < 1
    assert figure(tiny).layout.xaxis.range[1] > 0.1


def test_groups_keep_their_colors_and_labels_their_places():
    rows = [("a", 1, 0, 2, "second"), ("b", 1, 0, 2, "first"), ("c", 1, 0, 2, "second")]
    chart = bar_chart(rows, "t", "x", order=("first", "second"))
    assert [chart.color(group) for group in ("first", "second")] == list(PALETTE[:2])
    drawn = figure(chart)
    assert [trace.name for trace in drawn.data] == ["first", "second"]
    assert drawn.layout.yaxis.categoryarray == ("a", "b", "c")
