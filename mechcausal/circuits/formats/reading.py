"""One way to write a circuit, and one to read what this package or another tool wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

from mechcausal.arguments import Count, Texts, checked
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.formats.attribution_graph import (
    from_attribution_graph,
    is_attribution_graph,
    to_attribution_graph,
)
from mechcausal.circuits.formats.eap_ig import ScoreOf, from_eap_ig, is_eap_ig, to_eap_ig
from mechcausal.circuits.formats.files import json_of, text_of, write_text
from mechcausal.circuits.formats.networks import from_graphml, to_graphml
from mechcausal.circuits.graph import Graph
from mechcausal.errors import ArgumentError, ResultError

Format = Literal["mechcausal", "eap-ig", "graphml", "attribution-graph"]
FORMATS: tuple[str, ...] = get_args(Format)


@checked
def read(
    path: str | Path, *, score_of: ScoreOf = "loss", n_kv_heads: Count | None = None, join: bool = False
) -> Circuit | Graph:
    """Read a circuit from a file of this package or of another tool; the content says which.

    A graph of EAP-IG or MIB and a GraphML file of a circuit become a `Circuit`; an attribution graph, as circuit-tracer
    writes it, and any other GraphML file become a `Graph` of places. Scores follow the convention of this package.

    Args:
        path: The file.
        score_of: Of an EAP-IG graph: whether a `"loss"` was differentiated, as in its examples and MIB's, or the `"metric"`,
            whose scores have the other sign. The file does not say.
        n_kv_heads: Of an EAP-IG graph: how many key-value heads a layer has; as many as query heads unless said.
        join: Of an EAP-IG graph: whether keys and values of query heads that share them are added up.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import mechcausal as mc
        >>> from mechcausal.circuits.edges.wiring import Wiring
        >>> circuit = mc.circuits.Circuit.of(Wiring(n_layers=1, n_heads=2, n_kv_heads=2), [("embed", "L0.q.H1")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = circuit.write(Path(folder) / "circuit.json", format="eap-ig", d_model=16)
        ...     mc.circuits.read(path) == circuit
        True
    """
    path = Path(path)
    text = text_of(path)
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        return from_graphml(text, path.name)
    data = json_of(text, path.name)
    if data.get("kind") == "circuit":
        return Circuit.load(path)
    if is_eap_ig(data):
        return from_eap_ig(data, score_of=score_of, n_kv_heads=n_kv_heads, join=join)
    if is_attribution_graph(data):
        return from_attribution_graph(data)
    if {"format", "nodes", "edges"} <= data.keys():
        return Graph.load(path)
    raise ResultError(
        f"{path.name} is not a circuit",
        got=", ".join(list(data)[:5]) or "an empty object",
        expected="a file of this package, an EAP-IG graph (cfg, nodes, edges) or an attribution graph (metadata, nodes, links)",
    )


@checked
def write(
    circuit: Circuit | Graph,
    path: str | Path,
    *,
    format: Format | None = None,
    d_model: Count | None = None,
    join: bool = False,
    slug: str = "circuit",
    scan: str | None = None,
    tokens: Texts | None = None,
) -> Path:
    """Write a circuit to a file, in a format of this package or of another tool.

    Args:
        circuit: The circuit, or a graph of places.
        path: The file.
        format: `"mechcausal"` (JSON with a checksum), `"eap-ig"` (also for MIB), `"graphml"`, or `"attribution-graph"`
            (circuits of features, for circuit-tracer and Neuronpedia); by the ending of the name unless said.
        d_model: Of an EAP-IG graph: the width of the stream; that in `about` unless said.
        join: Of an EAP-IG graph: whether positions that are told apart are added up.
        slug: Of an attribution graph: what it is called.
        scan: Of an attribution graph: the model and the dictionaries by which viewers look features up.
        tokens: Of an attribution graph: the tokens of the prompt; the positions of the graph unless said.
    """
    path = Path(path)
    format = format or ("graphml" if path.suffix == ".graphml" else "mechcausal")
    if format == "mechcausal":
        return circuit.save(path)
    if format == "graphml":
        return write_text(path, to_graphml(circuit))
    if format == "eap-ig":
        return write_text(path, json.dumps(to_eap_ig(_edges(circuit), d_model=d_model, join=join)))
    return write_text(path, json.dumps(to_attribution_graph(_places(circuit), slug=slug, scan=scan, tokens=tokens)))


def _edges(circuit: Any) -> Circuit:  # noqa: ANN401 - a circuit or a graph
    if isinstance(circuit, Circuit):
        return circuit
    raise ArgumentError(
        "a graph of places cannot be written as an EAP-IG graph", expected="a Circuit", fix="write it as graphml"
    )


def _places(circuit: Any) -> Graph:  # noqa: ANN401 - a circuit or a graph
    if isinstance(circuit, Graph):
        return circuit
    raise ArgumentError(
        "a circuit of heads cannot be written as an attribution graph",
        expected="a graph of features",
        fix="write it as eap-ig or graphml",
    )
