import json
import math

import pytest

from mechcausal.audits.figures import Cell, Matrix, Point, Points, figure_from_json, figure_to_json, still
from mechcausal.errors import ResultError
from mechcausal.results.charts import bar_chart, line_chart

FIGURES = (
    Matrix(("swap",), ("none", "erased"), ((Cell(0.8, "80 %", "bad"), Cell(0.1, "10 %", "good")),), "matrix", "flips"),
    Points((Point("a", 1, 2, group="front"), Point("b", 2, 1, 1.5, 2.5)), "cost", "x", "y", joined="front"),
    bar_chart([("a", 0.5, 0.4, 0.6, "direct"), ("b", 0.1, 0.0, 0.2, "indirect")], "bars", "effect"),
    line_chart([("one", [(0, 0.1, 0.0, 0.2), (1, 0.3, 0.2, 0.4)])], "lines", "x", "y"),
)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_a_figure_comes_back_from_json(figure):
    again = figure_from_json(json.loads(json.dumps(figure_to_json(figure))))
    assert figure_to_json(again) == figure_to_json(figure)
    assert type(again) is type(figure)
    assert again.describe() == figure.describe()
    assert figure.title in figure.describe()


def test_numbers_that_are_not_known_stay_so():
    again = figure_from_json(figure_to_json(Points((Point("a", 1.0, 2.0),), "t", "x", "y")))
    assert math.isnan(again.points[0].x_low)
    matrix = figure_from_json(figure_to_json(Matrix(("r",), ("c",), ((Cell(float("nan"), "none"),),), "t", "m")))
    assert math.isnan(matrix.cells[0][0].value)


def test_other_things_are_no_figures():
    with pytest.raises(ResultError, match="no figure of the kind str"):
        figure_to_json("x")
    with pytest.raises(ResultError, match="no figure of the kind 'pie'"):
        figure_from_json({"kind": "pie"})


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_a_figure_is_drawn(figure):
    assert still(figure).startswith("<svg")
