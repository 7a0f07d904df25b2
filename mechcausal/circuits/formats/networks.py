"""Circuits as networks of networkx, and as GraphML, both ways.

The nodes are printed places. What a head reads (`L3.q.H1`) is a node of its own with an edge of kind `within` to the head
(`L3.z.H1`), so that a way through the network is a way through the circuit. What the model is, is an attribute of the network;
one that somebody else made has none, and `wiring` says it.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np

from mechcausal.address import ALL, Place, Selection
from mechcausal.circuits.circuit import CONVENTION, Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.formats.files import json_of, list_of, mapping_of, number_of
from mechcausal.circuits.graph import Graph
from mechcausal.errors import MechcausalError, ResultError, SiteError, shortened

EDGE, WITHIN = "edge", "within"


def to_network(circuit: Circuit | Graph) -> nx.DiGraph:
    """Return a circuit as a network: `score` and its standard `error` where there are any, `kept`, the `kind` of an edge.

    All edges with a score are in it; `kept` says which of them are in the circuit.

    Args:
        circuit: A circuit, or a graph of places.
    """
    return _of_graph(circuit) if isinstance(circuit, Graph) else _of_circuit(circuit)


def from_network(network: nx.DiGraph, wiring: Wiring | None = None) -> Circuit | Graph:
    """Make a circuit of a network, or a graph of places where nothing says which model it is of.

    Args:
        network: Nodes are printed sites or places; edges without `kept` are in the circuit.
        wiring: All edges that the model has; those that the network itself names unless given.
    """
    facts = network.graph
    about = _facts(facts, "about", mapping_of, {})
    if wiring is None and "wiring" not in facts:
        places = {name: _place(name, data) for name, data in network.nodes(data=True)}
        nodes = {places[name]: _score(data, name) for name, data in network.nodes(data=True)}
        edges = {(places[a], places[b]): _score(data, f"{a} -> {b}") for a, b, data in network.edges(data=True)}
        return Graph(nodes, edges, about)
    wiring = wiring or _wiring(facts)
    positions = _positions(facts, network)
    shape = (*wiring.possible.shape, len(positions))
    kept, scores, spread = np.zeros(shape, dtype=bool), np.full(shape, np.nan), np.full(shape, np.nan)
    for start, end, data in network.edges(data=True):
        sender, receiver = _place(start, {}), _place(end, {})
        if data.get("kind", EDGE) == WITHIN or _is_within(wiring, sender, receiver):
            continue
        index = wiring.sender(sender.site), wiring.receiver(receiver.site)
        if not wiring.possible[index]:
            raise SiteError(f"no edge leads from {start} to {end}", expected="a sender before its receiver")
        at = positions.index(receiver.at)
        scores[(*index, at)] = _score(data, f"{start} -> {end}")
        spread[(*index, at)] = number_of(data.get("error"), f"the error of {start} -> {end}")
        kept[(*index, at)] = bool(data.get("kept", True))
    nodes = np.full((len(wiring.senders), len(positions)), np.nan)
    for name, data in network.nodes(data=True):
        place = _place(name, {})
        if place.site in wiring.senders and not math.isnan(score := _score(data, name)):
            nodes[wiring.sender(place.site), positions.index(place.at)] = score
    tables = [None if np.isnan(table).all() else table for table in (nodes, spread)]
    return Circuit(wiring, kept, scores, tables[0], positions, about, tables[1])


def to_graphml(circuit: Circuit | Graph) -> str:
    """Return a circuit as the text of a GraphML file."""
    buffer = io.BytesIO()
    nx.write_graphml_xml(to_network(circuit), buffer)
    return buffer.getvalue().decode()


def from_graphml(text: str, name: str, wiring: Wiring | None = None) -> Circuit | Graph:
    """Make a circuit of the text of a GraphML file.

    Args:
        text: The content of the file.
        name: What it is called, for the error message.
        wiring: All edges that the model has, if the file does not say.
    """
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise ResultError(f"{name} declares a document type, which no GraphML file needs", fix="remove the declaration")
    try:
        network = nx.parse_graphml(text)
    except MechcausalError:
        raise
    except Exception as error:  # the reader of networkx raises whatever it stumbles over
        raise ResultError(f"{name} is not readable as GraphML", got=shortened(str(error))) from None
    if network.is_multigraph() or not network.is_directed():
        raise ResultError(f"{name} is not a directed graph with one edge from a node to another")
    return from_network(network, wiring)


def _of_circuit(circuit: Circuit) -> nx.DiGraph:
    wiring = circuit.wiring
    senders, receivers = [list(map(str, sites)) for sites in (wiring.senders, wiring.receivers)]
    suffixes = ["" if at == ALL else str(at) for at in circuit.positions]
    network = nx.DiGraph(
        wiring=json.dumps(wiring.to_json()),
        positions=json.dumps([str(at) for at in circuit.positions]),
        about=json.dumps(dict(circuit.about)),
        convention=CONVENTION,
    )
    listed = np.argwhere(circuit.kept | ~np.isnan(circuit.scores))
    index = tuple(listed.T)
    for (sender, receiver, at), score, kept in zip(
        listed.tolist(), circuit.scores[index].tolist(), circuit.kept[index].tolist(), strict=True
    ):
        error = math.nan if circuit.spread is None else float(circuit.spread[sender, receiver, at])
        numbers = {"score": score, "error": error}
        facts = {"kept": kept, "kind": EDGE} | {
            word: number for word, number in numbers.items() if not math.isnan(number)
        }
        network.add_edge(f"{senders[sender]}{suffixes[at]}", f"{receivers[receiver]}{suffixes[at]}", **facts)
    for owner, receiver in np.argwhere(wiring.readers).tolist():
        for suffix in suffixes:
            read, head = f"{receivers[receiver]}{suffix}", f"{senders[owner]}{suffix}"
            if read != head and read in network and head in network:
                network.add_edge(read, head, kind=WITHIN)
    for name in network:
        network.nodes[name].update(_described(Place.parse(name)))
    if circuit.nodes is not None:
        for sender, at in np.argwhere(~np.isnan(circuit.nodes)).tolist():
            name = f"{senders[sender]}{suffixes[at]}"
            network.add_node(name, score=float(circuit.nodes[sender, at]), **_described(Place.parse(name)))
    return network


def _of_graph(graph: Graph) -> nx.DiGraph:
    network = nx.DiGraph(about=json.dumps(dict(graph.about)))
    for place, score in graph.nodes.items():
        facts = _described(place) | ({} if math.isnan(score) else {"score": float(score)})
        network.add_node(str(place), **facts, **({"place": json.dumps(place.to_json())} if place.basis else {}))
    for (sender, receiver), score in graph.edges.items():
        network.add_edge(str(sender), str(receiver), **({} if math.isnan(score) else {"score": float(score)}))
    if len(network) != len(graph):
        raise ResultError("two subspaces of this graph print alike, so a network cannot tell them apart")
    return network


def _described(place: Place) -> dict[str, Any]:
    site = place.site
    facts = {"component": site.component, "layer": site.layer, "head": site.head, "feature": site.feature}
    return {name: value for name, value in facts.items() if value is not None}


def _place(name: Any, data: Mapping[str, Any]) -> Place:  # noqa: ANN401 - what a node of networkx is
    if isinstance(name, Place):
        return name
    if "place" in data:
        return Place.parse(json_of(str(data["place"]), f"the place of {name}"))
    return Place.parse(str(name))


def _score(data: Mapping[str, Any], what: Any) -> float:  # noqa: ANN401 - what a node of networkx is
    return number_of(data.get("score"), f"the score of {what}")


def _facts(facts: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:  # noqa: ANN401 - JSON data
    if name not in facts:
        return default
    try:
        return kind(json.loads(facts[name]), f"{name} of this network")
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, MechcausalError):
            raise
        raise ResultError(f"{name} of this network is not readable as JSON", got=shortened(str(error))) from None


def _wiring(facts: Mapping[str, Any]) -> Wiring:
    return Wiring.from_json(_facts(facts, "wiring", mapping_of, None))


def _positions(facts: Mapping[str, Any], network: nx.DiGraph) -> tuple[Selection, ...]:
    listed = _facts(facts, "positions", list_of, None)
    if listed is not None:
        return tuple(map(Selection.parse, listed))
    return tuple(dict.fromkeys(_place(end, {}).at for _, end in network.edges)) or (ALL,)


def _is_within(wiring: Wiring, read: Place, head: Place) -> bool:
    return head.site.component == "z" and read.site.component in ("q", "k", "v") and read.site in wiring.receivers
