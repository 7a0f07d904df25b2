"""The graph of a circuit: what it holds, what it keeps, that it goes to JSON and back, and that its picture tells the truth."""

import json
import math
import re

import networkx as nx
import numpy as np
import pytest

from mechcausal.address import Place, Selection, Site
from mechcausal.circuits import Graph
from mechcausal.circuits.drawing import layout, still
from mechcausal.errors import ResultError, SiteError

A, B, ERROR, HEAD, END = (
    "L0.resid_post.sae:one.F3", "L1.resid_post.sae:two.F17", "L0.resid_post.sae:one.error", "L1.z.H2@subject", "logits",
)  # fmt: skip


@pytest.fixture
def graph():
    nodes = {A: 0.5, B: -0.8, ERROR: 0.01, HEAD: 0.2, END: math.nan}
    edges = {(A, B): 0.4, (ERROR, B): -0.02, (A, HEAD): 0.1, (B, END): -0.8, (A, END): 0.05}
    return Graph.of(nodes, edges, {"metric": "logit_diff"})


def test_nodes_print_and_parse():
    for text in (A, B, ERROR, HEAD, END, "embed@3:7"):
        assert str(Place.parse(text)) == text
    assert Place.parse(HEAD).at == Selection(name="subject")
    assert [Place.parse(text).short for text in (A, ERROR, HEAD, END)] == ["F3", "error", "H2", "logits"]


def test_the_order_of_computation():
    order = ["embed", "L0.resid_pre", "L0.q.H1", "L0.pattern.H1", "L0.z.H1", "L0.attn_out", "L0.resid_mid",
             "L0.mlp_post.N3", "L0.mlp_out", "L0.resid_post", "L1.resid_pre", "logits"]  # fmt: skip
    turns = [Place.parse(text).depth for text in order]
    assert turns == sorted(set(turns))


def test_edges_lead_forwards_between_nodes_of_the_graph():
    with pytest.raises(SiteError, match="no edge leads from L1"):
        Graph.of({A: 1, B: 1}, {(B, A): 1})
    with pytest.raises(SiteError, match="no edge leads"):
        Graph.of({A: 1, ERROR: 1}, {(A, ERROR): 1})
    with pytest.raises(SiteError, match=r"does not have.*L1\.resid_post\.sae:two\.F17"):
        Graph.of({A: 1}, {(A, B): 1})


def test_threshold_keeps_what_has_no_score(graph):
    kept = graph.threshold(node=0.2, edge=0.1)
    assert {str(node) for node in kept.nodes} == {A, B, HEAD, END}
    assert {(str(a), str(b)) for a, b in kept.edges} == {(A, B), (A, HEAD), (B, END)}
    assert graph.threshold() == graph


def test_top(graph):
    kept = graph.top(nodes=2, edges=1)
    assert {str(node) for node in kept.nodes} == {A, B, END}
    assert [(str(a), str(b)) for a, b in kept.edges] == [(B, END)]
    assert graph.top() == graph


def test_connected_drops_what_leads_nowhere(graph):
    kept = graph.connected()
    assert HEAD not in kept
    assert {str(node) for node in kept.nodes} == {A, B, ERROR, END}
    cut = graph.threshold(edge=0.3).connected()
    assert {str(node) for node in cut.nodes} == {A, B, END}
    with pytest.raises(SiteError, match="no node logits"):
        graph.subgraph([A, B]).connected()


def test_connected_is_what_networkx_says_on_random_graphs():
    draw = np.random.default_rng(0)
    names = [f"L{layer}.mlp_post.N{i}" for layer in range(4) for i in range(5)]
    for _ in range(20):
        pairs = [(a, b) for a in names for b in names if a[:2] < b[:2] and draw.random() < 0.15]
        pairs += [(a, "logits") for a in names if draw.random() < 0.1]
        graph = Graph.of({**dict.fromkeys(names, 1.0), "logits": math.nan}, dict.fromkeys(pairs, 1.0))
        plain = nx.DiGraph(pairs)
        plain.add_node("logits")
        expected = {name for name in plain if nx.has_path(plain, name, "logits")}
        assert {str(node) for node in graph.connected().nodes} == expected


def test_subgraph_and_the_rest(graph):
    some = graph.subgraph([A, Site.parse(B), END])
    assert set(some.edge_frame["score"]) == {0.4, -0.8, 0.05}
    rest = graph.without(some)
    assert {str(node) for node in rest.nodes} == {ERROR, HEAD, END}
    with pytest.raises(SiteError, match="does not have these nodes"):
        graph.subgraph(["L0.z.H0"])


def test_json_both_ways(graph, tmp_path):
    text = json.dumps(graph.to_json(), allow_nan=False)  # what has no score is null, not NaN, which is no JSON
    again = Graph.from_json(json.loads(text))
    assert again == graph
    assert again.about == {"metric": "logit_diff"}
    assert Graph.load(graph.save(tmp_path / "circuit.json")) == graph
    assert graph != graph.top(nodes=1)


def test_what_is_not_a_graph_is_said(tmp_path, graph):
    with pytest.raises(ResultError, match="saved as JSON"):
        graph.save(tmp_path / "circuit.txt")
    with pytest.raises(ResultError, match="no file"):
        Graph.load(tmp_path / "none.json")
    for name, text in (
        ("list", "[]"),
        ("other", '{"format": 99}'),
        ("half", '{"format": 1, "nodes": [{}], "edges": []}'),
    ):
        (tmp_path / f"{name}.json").write_text(text)
        with pytest.raises(ResultError):
            Graph.load(tmp_path / f"{name}.json")


def test_the_network_has_the_scores(graph):
    assert nx.is_directed_acyclic_graph(graph.network)
    assert graph.network.edges[Place.parse(A), Place.parse(B)]["score"] == 0.4


def test_tables_begin_with_the_largest(graph):
    assert graph.frame["node"].tolist() == [B, A, HEAD, ERROR, END]
    assert graph.edge_frame["score"].tolist() == [-0.8, 0.4, 0.1, 0.05, -0.02]
    assert "5 nodes, 5 edges" in graph.summary()


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
