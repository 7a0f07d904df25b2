"""The graph of a circuit: what it holds, what it keeps, that it goes to JSON and back."""

import json
import math

import networkx as nx
import numpy as np
import pytest
from small_graph import END, ERROR, HEAD, A, B, small

from mechcausal.address import Place, Selection, Site
from mechcausal.circuits import Graph
from mechcausal.errors import ResultError, SiteError


@pytest.fixture
def graph():
    return small()


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
