"""The picture of a circuit tells the truth."""

import re

import pytest
from small_graph import END, ERROR, HEAD, A, B, small

from mechcausal.circuits import Graph
from mechcausal.circuits.drawing import layout, still


@pytest.fixture
def graph():
    return small()


def test_the_picture_holds_every_node_and_edge_once(graph):
    drawn = still(graph)
    assert drawn.count("<circle") == 4
    assert drawn.count("<rect") == 1 + 2  # one error, two squares of the legend
    assert drawn.count("<path") == 5
    for node in graph.nodes:
        assert f"<title>{node}:" in drawn
    widths = {
        title: float(width)
        for width, title in re.findall(r'stroke-width="([\d.]+)" opacity="[\d.]+"><title>([^<]*)</title>', drawn)
    }
    assert widths[f"{B} to {END}: -0.8000"] == max(widths.values())
    assert "<script" not in drawn


def test_later_is_higher_and_nobody_stands_on_another(graph):
    plan = layout(graph)
    height = {str(node): y for node, (_, y) in plan.places.items()}
    assert height[END] < height[B] < height[HEAD] < height[A] == height[ERROR]
    assert len(set(plan.places.values())) == len(graph)
    assert [name for name, _ in plan.columns] == ["subject"]
    plain = layout(graph.subgraph([A, B, END]))
    assert [name for name, _ in plain.columns] == [""]
    assert len({x for x, _ in plain.places.values()}) == 1  # one above the other


def test_positions_stand_in_the_order_in_which_they_are_listed():
    nodes = [f"L0.mlp_post.N{i}{at}" for i, at in enumerate(("@second", "@first", "@4", "@-1", "@2"))]
    names = lambda about: [name for name, _ in layout(Graph.of(nodes, about=about)).columns]  # noqa: E731
    assert names({}) == ["2", "4", "first", "second", "-1"]
    assert names({"positions": ["@first", "@second"]})[:2] == ["first", "second"]


def test_a_large_graph_says_what_it_leaves_out():
    many = Graph.of({f"L0.mlp_post.N{i}": 1 / (i + 1) for i in range(100)})
    plan = layout(many, most_nodes=10)
    assert len(plan.places) == 10
    assert "90 nodes and 0 edges" in plan.title


def test_the_live_picture_carries_the_still_one(graph):
    figure = graph.plot()
    assert figure.still == still(graph)
    assert len(figure.data) == len(graph.edges) + 1
    assert "<svg" in graph._repr_html_()
