"""The one graph of a circuit: places of a model, the edges between them, and what each contributes.

    node   a site at some positions: L9.z.H6, L2.resid_post.sae:NAME.F17@end, L2.resid_post.sae:NAME.error, logits
    edge   from a node to one that is computed later
    score  what the node or the edge contributes to the metric; nodes without one (inputs, the output) are always kept

A graph is data. Who measured the scores and how is said in `about`; thresholding and pruning return new graphs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import pandas as pd

from mechcausal.address import ALL, Place, Selection, Site
from mechcausal.errors import ResultError, SiteError
from mechcausal.results.storage import check_seal, write_json

if TYPE_CHECKING:
    import plotly.graph_objects as go

FORMAT = 1

Edge = tuple[Place, Place]


@dataclass(frozen=True, eq=False)
class Graph:
    """A circuit, or the candidates for one.

    Attributes:
        nodes: The score of every node; NaN where it has none.
        edges: The score of every edge, from a node to a later one.
        about: What the scores are and where they come from, as JSON data.
    """

    nodes: Mapping[Place, float]
    edges: Mapping[Edge, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for sender, receiver in self.edges:
            if missing := [str(node) for node in (sender, receiver) if node not in self.nodes]:
                raise SiteError("an edge ends at a node that the graph does not have", got=", ".join(missing))
            if sender.depth >= receiver.depth:
                raise SiteError(f"no edge leads from {sender} to {receiver}", expected="a sender before its receiver")

    @classmethod
    def of(
        cls,
        nodes: Mapping[Any, float] | Iterable[Any],
        edges: Mapping[tuple[Any, Any], float] | Iterable[tuple[Any, Any]] = (),
        about: Mapping[str, Any] | None = None,
    ) -> Graph:
        """Make a graph of printed nodes: `Graph.of({"L0.z.H1": 0.4, "logits": nan}, {("L0.z.H1", "logits"): 0.4})`."""
        scored = nodes if isinstance(nodes, Mapping) else dict.fromkeys(nodes, math.nan)
        joined = edges if isinstance(edges, Mapping) else dict.fromkeys(edges, math.nan)
        return cls(
            {Place.parse(node): float(score) for node, score in scored.items()},
            {(Place.parse(a), Place.parse(b)): float(score) for (a, b), score in joined.items()},
            about or {},
        )

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.nodes)

    def __contains__(self, node: object) -> bool:
        """Say whether the graph has a node, given as such, as a site or printed."""
        return isinstance(node, (str, Site, Place)) and Place.parse(node) in self.nodes

    def __eq__(self, other: object) -> bool:
        """Say whether two graphs hold the same nodes and edges with the same scores."""
        return isinstance(other, Graph) and self._said == other._said

    __hash__ = None

    @property
    def _said(self) -> tuple[Any, ...]:
        scores = [{name: _plain(score) for name, score in scored.items()} for scored in (self.nodes, self.edges)]
        return *scores, dict(self.about)

    @cached_property
    def network(self) -> nx.DiGraph:
        """The same graph for networkx, with `score` on nodes and edges."""
        made = nx.DiGraph()
        made.add_nodes_from((node, {"score": score}) for node, score in self.nodes.items())
        made.add_edges_from((*edge, {"score": score}) for edge, score in self.edges.items())
        return made

    @property
    def frame(self) -> pd.DataFrame:
        """One row per node, the largest score first."""
        rows = [
            {
                "node": str(node), "site": str(node.site), "component": node.site.component, "layer": node.site.layer,
                "unit": node.short, "error": node.site.error, "at": str(node.at), "score": score,
            }
            for node, score in self.nodes.items()
        ]  # fmt: skip
        return _sorted(rows, ["node", "site", "component", "layer", "unit", "error", "at", "score"])

    @property
    def edge_frame(self) -> pd.DataFrame:
        """One row per edge, the largest score first."""
        rows = [{"sender": str(a), "receiver": str(b), "score": score} for (a, b), score in self.edges.items()]
        return _sorted(rows, ["sender", "receiver", "score"])

    def subgraph(self, nodes: Iterable[str | Site | Place]) -> Graph:
        """Return these nodes and the edges between them."""
        wanted = {Place.parse(node) for node in nodes}
        if missing := sorted(str(node) for node in wanted - set(self.nodes)):
            raise SiteError("the graph does not have these nodes", got=", ".join(missing[:5]))
        return self._kept(wanted, self.edges)

    def threshold(self, *, node: float = 0.0, edge: float = 0.0) -> Graph:
        """Return nodes and edges whose scores are at least so large, whatever their sign."""
        kept = {name for name, score in self.nodes.items() if math.isnan(score) or abs(score) >= node}
        return self._kept(kept, (name for name, score in self.edges.items() if math.isnan(score) or abs(score) >= edge))

    def top(self, *, nodes: int | None = None, edges: int | None = None) -> Graph:
        """Return the nodes with the largest scores, in absolute terms, and the edges with the largest among them."""
        scored = [name for name, score in self.nodes.items() if not math.isnan(score)]
        largest = sorted(scored, key=lambda name: -abs(self.nodes[name]))[:nodes]
        kept = self._kept({*largest, *(self.nodes.keys() - set(scored))}, self.edges)
        if edges is None:
            return kept
        ranked = sorted(kept.edges, key=lambda name: -abs(kept.edges[name]))
        return self._kept(set(kept.nodes), ranked[:edges])

    def connected(self, target: str | Site | Place = "logits") -> Graph:
        """Return what lies on a way to the target: no edge of a circuit leads nowhere."""
        end = Place.parse(target)
        if end not in self.nodes:
            raise SiteError(f"the graph has no node {end} to lead to", got=f"{len(self)} nodes")
        return self._kept({end, *nx.ancestors(self.network, end)}, self.edges)

    def without(self, other: Graph) -> Graph:
        """Return the nodes that another graph does not have, and those without a score."""
        return self._kept(
            {n for n, score in self.nodes.items() if n not in other.nodes or math.isnan(score)}, self.edges
        )

    def _kept(self, nodes: set[Place], edges: Iterable[Edge]) -> Graph:
        wanted = {(a, b) for a, b in edges if a in nodes and b in nodes}
        return replace(
            self,
            nodes={node: score for node, score in self.nodes.items() if node in nodes},
            edges={edge: score for edge, score in self.edges.items() if edge in wanted},
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON data from which `from_json` makes an equal graph."""
        return {
            "format": FORMAT,
            "nodes": [{"node": _written(node), "score": _plain(score)} for node, score in self.nodes.items()],
            "edges": [
                {"from": _written(sender), "to": _written(receiver), "score": _plain(score)}
                for (sender, receiver), score in self.edges.items()
            ],
            "about": dict(self.about),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Graph:
        """Make a graph from its JSON data."""
        if data.get("format") != FORMAT:
            raise ResultError("this is not a graph, or one of another format", got=data.get("format"), expected=FORMAT)
        number = lambda value: math.nan if value is None else float(value)  # noqa: E731
        try:
            nodes = {Place.parse(row["node"]): number(row["score"]) for row in data["nodes"]}
            edges = {(Place.parse(row["from"]), Place.parse(row["to"])): number(row["score"]) for row in data["edges"]}
        except (KeyError, TypeError) as error:
            raise ResultError("a node or an edge of this graph is incomplete", got=str(error)) from error
        return cls(nodes, edges, data.get("about", {}))

    def save(self, path: str | Path) -> Path:
        """Write the graph to a JSON file with a checksum, atomically."""
        return save_document(Path(path), self.to_json(), "graph")

    @classmethod
    def load(cls, path: str | Path) -> Graph:
        """Read what `save` wrote."""
        return cls.from_json(load_document(Path(path), "graph"))

    def write(self, path: str | Path, **options: Any) -> Path:  # noqa: ANN401 - those of formats.reading.write
        """Write the graph for another tool: `format="attribution-graph"` or `"graphml"`; `mc.circuits.write` has the options."""
        from mechcausal.circuits.formats.reading import write

        return write(self, path, **options)

    def summary(self, k: int = 5) -> str:
        """Say how large the graph is and which nodes and edges contribute most."""
        lines = [f"circuit: {len(self.nodes)} nodes, {len(self.edges)} edges"]
        for _, row in self.frame.dropna(subset=["score"]).head(k).iterrows():
            lines.append(f"  {row['node']:<44} {row['score']:+.3f}")
        for _, row in self.edge_frame.dropna(subset=["score"]).head(k).iterrows():
            lines.append(f"  {row['sender']} -> {row['receiver']}  {row['score']:+.3f}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        import html

        from mechcausal.circuits.drawing import still

        return f"<div>{still(self)}<pre>{html.escape(self.summary())}</pre></div>"

    def plot(self, *, most_nodes: int = 80, most_edges: int = 240) -> go.Figure:
        """Draw the graph, layer above layer; of a large one only the largest scores."""
        from mechcausal.circuits.drawing import figure

        return figure(self, most_nodes=most_nodes, most_edges=most_edges)


def reading_order(at: Selection) -> tuple[int, int, str]:
    """Return a key that sorts positions in reading order; named ones and those counted from the end come later."""
    if at == ALL:
        return 3, 0, ""
    if at.name is not None:
        return 1, 0, at.name
    start = at.start or 0
    return (0, start, str(at)) if start >= 0 else (2, start, str(at))


def _written(place: Place) -> Any:  # noqa: ANN401 - JSON data
    return place.to_json() if place.basis else str(place)


def _plain(score: float) -> float | None:
    return None if math.isnan(score) else float(score)


def _sorted(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    if "layer" in frame:
        frame = frame.astype({"layer": "Int64"})
    order = frame["score"].astype(float).abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def save_document(path: Path, data: Mapping[str, Any], what: str) -> Path:
    """Write a graph or a circuit to a JSON file with a checksum, atomically.

    Args:
        path: The file.
        data: Its content.
        what: `"graph"` or `"circuit"`, for the error message.
    """
    if path.suffix != ".json":
        raise ResultError(f"a {what} is saved as JSON", got=path.name, fix=f"save to {path.stem or what}.json")
    return write_json(path, dict(data))


def load_document(path: Path, what: str) -> dict[str, Any]:
    """Return the content of a file that `save_document` wrote, or that was written by hand, without a checksum."""
    if not path.is_file():
        raise ResultError(f"there is no file {path}", fix="check the path")
    try:
        data = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path} is not a {what}", fix=f"load what {what.title()}.save wrote") from error
    if not isinstance(data, dict):
        raise ResultError(f"{path} is not a {what}", fix=f"load what {what.title()}.save wrote")
    if "checksum" in data:
        check_seal(path, f"a {what}")
    return data
