"""Networks of networkx and GraphML: equal after the way back, usable by networkx, safe from what files may hold."""

import json
import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from random_circuits import WIRINGS, random_circuit
from small_graph import small

import mechcausal as mc
from mechcausal.address import Selection
from mechcausal.circuits import Graph
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.formats.networks import from_graphml, from_network, to_graphml, to_network
from mechcausal.errors import MechcausalError, ResultError, SiteError


@pytest.mark.parametrize("kind", WIRINGS)
def test_a_circuit_there_and_back_is_equal(kind, tmp_path):
    circuit = random_circuit(WIRINGS[kind])
    for again in (from_network(to_network(circuit)), mc.circuits.read(circuit.write(tmp_path / "circuit.graphml"))):
        assert again == circuit
        np.testing.assert_array_equal(again.nodes, circuit.nodes)
        assert again.about == circuit.about


def test_standard_errors_there_and_back():
    circuit = random_circuit(WIRINGS["gpt2"])
    spread = np.where(np.isnan(circuit.scores), np.nan, 0.1 * np.abs(circuit.scores))
    again = from_network(to_network(replace(circuit, spread=spread)))
    np.testing.assert_array_equal(again.spread, spread)
    assert from_network(to_network(circuit)).spread is None


def test_positions_that_are_told_apart(tmp_path):
    circuit = random_circuit(WIRINGS["gpt2"], positions=(Selection.parse(0), Selection.parse("end")), nodes=False)
    assert mc.circuits.read(circuit.write(tmp_path / "circuit.graphml")) == circuit


def test_a_graph_of_features_there_and_back_is_equal(tmp_path):
    graph = small()
    assert from_network(to_network(graph)) == graph
    assert mc.circuits.read(graph.write(tmp_path / "graph.graphml")) == graph


def test_a_graph_of_subspaces_there_and_back_is_equal():
    graph = Graph.of({}, {}).__class__.of(["logits"])
    place = mc.Place.parse({"site": "L0.resid_post", "at": "@-1", "basis": [[1.0, 0.0], [0.0, 1.0]]})
    graph = Graph({place: 0.5, **graph.nodes}, {(place, next(iter(graph.nodes))): math.nan})
    assert from_network(to_network(graph)) == graph


def test_a_way_through_the_network_is_a_way_through_the_circuit():
    wiring = WIRINGS["gpt2"]
    whole = Circuit.of(wiring, [("embed", "L0.q.H1"), ("L0.z.H1", "L1.mlp_out"), ("L1.mlp_out", "logits")])
    cut = Circuit.of(wiring, [("embed", "L0.q.H0"), ("L0.z.H1", "L1.mlp_out"), ("L1.mlp_out", "logits")])
    assert nx.has_path(to_network(whole), "embed", "logits")
    assert not nx.has_path(to_network(cut), "embed", "logits")


def test_a_network_that_somebody_made():
    network = nx.DiGraph([("embed", "L0.q.H1"), ("L0.q.H1", "L0.z.H1"), ("L0.z.H1", "logits")])
    circuit = from_network(network, WIRINGS["gpt2"])
    assert {(str(a), str(b)) for a, b in circuit.edges} == {("embed", "L0.q.H1"), ("L0.z.H1", "logits")}
    assert isinstance(from_network(network), Graph)
    with pytest.raises(SiteError, match=r"no edge leads from L1\.z\.H0 to L0\.mlp_out"):
        from_network(nx.DiGraph([("L1.z.H0", "L0.mlp_out")]), WIRINGS["gpt2"])


HEAD = '<?xml version="1.0"?>'
GRAPHML = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{}</graphml>'


@pytest.mark.parametrize(
    "text",
    [
        "<", "<graphml", "<html><body>not found</body></html>", HEAD, GRAPHML.format(""),
        GRAPHML.format("<graph edgedefault='undirected'><node id='embed'/></graph>"),
        GRAPHML.format("<graph edgedefault='directed'><node id='no site'/></graph>"),
        GRAPHML.format("<graph edgedefault='directed'><edge source='logits' target='embed'/></graph>"),
        GRAPHML.format("<graph edgedefault='directed'><edge source='embed'/></graph>"),
        GRAPHML.format("<graph edgedefault='directed'><node id='embed'><data key='k'>1</data></node></graph>"),
        HEAD + '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;&b;">]>' + GRAPHML.format("&c;"),
        HEAD + '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + GRAPHML.format("&b;"),
        "<a>" * 100_000,
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_graphml_is_refused_in_one_sentence(text):
    with pytest.raises(MechcausalError) as caught:
        from_graphml(text, "file.graphml")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("wiring", "{", "wiring of this network is not readable as JSON"),
        ("wiring", "[]", "wiring of this network is not a JSON object"),
        ("wiring", '{"n_layers": 1000000000, "n_heads": 1, "n_kv_heads": 1}', "no model has these edges"),
        ("wiring", '{"n_layers": "2"}', "does not say which edges"),
        ("wiring", '{"n_layers": 2, "n_heads": 3, "n_kv_heads": 2}', "no model has these edges"),
        ("positions", "7", "positions of this network is not a JSON list"),
        ("about", "[" * 100_000, "about of this network is not readable"),
    ],
)
def test_facts_of_a_network_that_are_wrong(fact, value, said):
    network = to_network(random_circuit(WIRINGS["gpt2"]))
    network.graph[fact] = value
    with pytest.raises(MechcausalError, match=said):
        from_network(network)


def test_scores_that_are_none():
    network = to_network(random_circuit(WIRINGS["gpt2"]))
    network.edges["embed", "logits"]["score"] = "much"
    with pytest.raises(ResultError, match="the score of embed -> logits is not a number"):
        from_network(network)


def test_graphml_says_what_a_score_means():
    assert "score &gt; 0: leaving the edge as it is raises the metric" in to_graphml(random_circuit(WIRINGS["gpt2"]))


@pytest.mark.slow
def test_a_large_circuit_takes_seconds():
    circuit = random_circuit(Wiring(12, 12, 12), nodes=False, unscored=0)
    assert json.loads(to_network(circuit).graph["wiring"])["n_layers"] == 12
    assert from_network(to_network(circuit)) == circuit
