"""Attribution graphs as circuit-tracer and Neuronpedia read them, for circuits of features.

    {"metadata": {"slug": ..., "scan": ..., "prompt_tokens": [...], "prompt": ..., "node_threshold": ..., "schema_version": 1},
     "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
     "nodes": [{"node_id": "2_17_4", "layer": "2", "feature": ..., "ctx_idx": 4, "feature_type": ..., "influence": ...}],
     "links": [{"source": "2_17_4", "target": "27_0_4", "weight": 0.3}]}

A node is a feature, the error of a dictionary, the embedding of a token or a logit, at one token. A feature goes by its layer
and number, so two dictionaries of one layer must not have features of the same number in one file. `feature` is the
Cantor pairing of layer and number. `influence` is cumulative: the share of all influence that this node and all more
influential ones have together. The weight of a link is signed, and in the units of the metric where this package wrote it.

Their graphs are of one prompt. A graph of places at positions of many prompts is written with its positions as tokens,
unless tokens are given. What a file of theirs cannot say (the place, the signed score) stands in keys that they ignore.

Reading one of theirs: a feature of layer 2 is taken to be one of `L2.mlp_out`, which is what a transcoder writes; a
cross-layer transcoder writes to later layers too. The score of a node is its own share of the influence, without sign. Of
several logits the target is kept, or the likeliest; `about` counts those that were left out with their links.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mechcausal.address import ALL, Place, Selection, Site
from mechcausal.circuits.formats.files import list_of, mapping_of, number_of
from mechcausal.circuits.graph import Graph, reading_order
from mechcausal.errors import ResultError, shortened

FEATURE, ERROR, TOKEN, LOGIT = "cross layer transcoder", "mlp reconstruction error", "embedding", "logit"
_KINDS = (FEATURE, ERROR, TOKEN, LOGIT)


def is_attribution_graph(data: Mapping[str, Any]) -> bool:
    """Say whether JSON data looks like an attribution graph."""
    return {"metadata", "nodes", "links"} <= data.keys()


def to_attribution_graph(
    graph: Graph, *, slug: str = "circuit", scan: str | None = None, tokens: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return a graph of features as the JSON data of an attribution graph.

    Args:
        graph: Features, errors, the embedding and the logits.
        slug: What the graph is called.
        scan: The model, and the dictionaries by which viewers look features up; the model in `about` unless said.
        tokens: The tokens of the prompt; the positions of the graph unless given. A place at all positions, and the
            logits, stand at the last.
    """
    columns = _columns(graph, tokens)
    n_layers = max((node.site.layer + 1 for node in graph.nodes if node.site.layer is not None), default=0)
    influence = _cumulative(graph)
    rows, names = [], {}
    for place, score in graph.nodes.items():
        row = _row(place, columns[place.at], n_layers, graph) | {
            "influence": influence.get(place), "activation": None,
            "place": place.to_json(), "score": None if math.isnan(score) else float(score),
        }  # fmt: skip
        if (twin := names.get(row["node_id"])) is not None:
            raise ResultError(
                f"{place} and {twin} have the same id in an attribution graph",
                got=row["node_id"],
                fix="write the features of one dictionary of each layer",
            )
        names[row["node_id"]] = place
        rows.append(row)
    ids = {place: name for name, place in names.items()}
    links = [
        {"source": ids[a], "target": ids[b], "weight": 0.0 if math.isnan(weight) else float(weight)}
        | ({"scored": False} if math.isnan(weight) else {})
        for (a, b), weight in graph.edges.items()
    ]
    named = {column: str(at) for at, column in columns.items() if at != ALL}
    shown = list(tokens) if tokens is not None else [named.get(n, str(ALL)) for n in range(max(columns.values()) + 1)]
    model = graph.about.get("model")
    metadata = {
        "slug": slug, "scan": scan or (model if isinstance(model, str) else "mechcausal"), "transcoder_list": [],
        "prompt_tokens": shown, "prompt": "".join(shown), "node_threshold": None, "schema_version": 1,
    }  # fmt: skip
    asked = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": asked, "nodes": rows, "links": links, "mechcausal": dict(graph.about)}


def from_attribution_graph(data: Mapping[str, Any]) -> Graph:
    """Make a graph from the JSON data of an attribution graph.

    Args:
        data: The JSON data.
    """
    metadata = mapping_of(data["metadata"], "metadata")
    dictionary = re.sub(r"[^\w-]+", "-", str(metadata.get("scan") or "transcoder"))[:40].strip("-") or "transcoder"
    rows = [mapping_of(row, "a node of this graph") for row in list_of(data["nodes"], "nodes")]
    target = _target(rows)
    places: dict[str, Place] = {}
    scores: dict[str, float] = {}
    left_out = 0
    for row in rows:
        name = row.get("node_id")
        if not isinstance(name, str):
            raise ResultError("a node of this graph has no node_id", got=shortened(repr(dict(row)), 60))
        if row.get("feature_type") == LOGIT and "place" not in row and name != target:
            left_out += 1
            continue
        places[name] = _place(row, name, dictionary)
        scores[name] = number_of(row.get("score"), f"the score of {name}")
    if not any("score" in row for row in rows):
        scores |= _shares(rows, places)
    if len(set(places.values())) != len(places):
        raise ResultError("two nodes of this graph stand for the same place", fix="check its node_ids")
    edges, ids = {}, {row["node_id"] for row in rows}
    for link in list_of(data["links"], "links"):
        link = mapping_of(link, "a link of this graph")
        ends = link.get("source"), link.get("target")
        if not all(isinstance(end, str) for end in ends):
            raise ResultError("a link of this graph has no source or no target", got=shortened(repr(dict(link)), 60))
        if ends[0] in places and ends[1] in places:
            weight = number_of(link.get("weight"), "the weight of a link")
            edges[places[ends[0]], places[ends[1]]] = weight if link.get("scored", True) else math.nan
        elif not ids.issuperset(ends):
            raise ResultError(f"a link leads to a node that this graph has not: {shortened(str(ends), 60)}")
    ours = data.get("mechcausal")
    about = dict(ours) if isinstance(ours, Mapping) else _about(metadata, left_out)
    return Graph({places[name]: scores[name] for name in places}, edges, about)


def _about(metadata: Mapping[str, Any], left_out: int) -> dict[str, Any]:
    about = {
        "format": "attribution-graph",
        "score": "share of the influence, without sign",
        "logits_left_out": left_out,
    }
    return about | {name: metadata[name] for name in ("slug", "scan", "prompt", "prompt_tokens") if name in metadata}


def _columns(graph: Graph, tokens: Sequence[str] | None) -> dict[Selection, int]:
    """Return at which token each position stands."""
    positions = {node.at for node in graph.nodes}
    if tokens is None:
        listed = [at for at in sorted(positions, key=reading_order) if at != ALL]
        columns = {at: number for number, at in enumerate(listed)}
        return columns | ({ALL: max(len(listed) - 1, 0)} if ALL in positions else {})
    columns = {}
    for at in positions:
        start, stop = at.bounds(len(tokens)) if at.name is None else (0, 0)
        if at != ALL and stop - start != 1:
            raise ResultError(
                f"{at} is not one of the {len(tokens)} tokens", fix="leave tokens out, then positions stand for them"
            )
        columns[at] = stop - 1
    return columns


def _row(place: Place, column: int, n_layers: int, graph: Graph) -> dict[str, Any]:
    site = place.site
    usual: dict[str, Any] = {
        "ctx_idx": column, "token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0,
        "clerp": str(place),
    }  # fmt: skip
    if site.component == "embed":
        kind, layer, number, feature = TOKEN, "E", 0, column
    elif site.component == "logits":
        kind, layer, number, feature = LOGIT, str(n_layers + 1), 0, 0
        usual |= {"is_target_logit": True, "clerp": str(graph.about.get("metric", "logits"))}
    elif site.feature is not None and site.layer is not None:
        kind, layer, number, feature = FEATURE, str(site.layer), site.feature, _cantor(site.layer, site.feature)
    elif site.error and site.layer is not None:
        kind, layer, number, feature = ERROR, str(site.layer), -1, -1
    else:
        raise ResultError(
            f"{place} has no place in an attribution graph",
            expected="features, errors, embed and logits",
            fix='write heads and MLPs as "eap-ig" or "graphml"',
        )
    name = f"{layer}_{number}_{column}"
    return {
        "node_id": name, "feature": feature, "layer": layer, "feature_type": kind, "jsNodeId": f"{layer}_{number}-{column}",
    } | usual  # fmt: skip


def _cantor(layer: int, number: int) -> int:
    return (layer + number) * (layer + number + 1) // 2 + number


def _cumulative(graph: Graph) -> dict[Place, float]:
    """Return for each node with a score the share of all influence that it and larger ones have."""
    ranked = sorted((n for n, s in graph.nodes.items() if not math.isnan(s)), key=lambda node: -abs(graph.nodes[node]))
    total = sum(abs(graph.nodes[node]) for node in ranked) or 1.0
    shares, so_far = {}, 0.0
    for node in ranked:
        so_far += abs(graph.nodes[node])
        shares[node] = so_far / total
    return shares


def _shares(rows: Sequence[Mapping[str, Any]], places: Mapping[str, Place]) -> dict[str, float]:
    """Return each node's own share of the influence, from cumulative ones."""
    cumulative = {row["node_id"]: number_of(row.get("influence"), "an influence") for row in rows}
    ranked = sorted((name for name, value in cumulative.items() if not math.isnan(value)), key=lambda n: cumulative[n])
    shares, before = {}, 0.0
    for name in ranked:
        shares[name] = cumulative[name] - before
        before = cumulative[name]
    return {name: share for name, share in shares.items() if name in places}


def _target(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the id of the logit that a graph is about."""
    logits = [row for row in rows if row.get("feature_type") == LOGIT and isinstance(row.get("node_id"), str)]
    likely = sorted(
        logits,
        key=lambda row: (row.get("is_target_logit") is not True, -number_of(row.get("token_prob", 0.0), "token_prob")),
    )
    return likely[0]["node_id"] if likely else None


def _place(row: Mapping[str, Any], name: str, dictionary: str) -> Place:
    if "place" in row:
        return Place.parse(row["place"])
    kind, column = row.get("feature_type"), row.get("ctx_idx")
    if kind not in _KINDS:
        raise ResultError(
            f"the node {name} is of another kind", got=shortened(repr(kind), 40), expected=", ".join(_KINDS)
        )
    if isinstance(column, bool) or not isinstance(column, int) or not 0 <= column <= 10**9:
        raise ResultError(f"ctx_idx of the node {name} is not a position", got=shortened(repr(column), 40))
    at = Selection.parse(column)
    if kind in (TOKEN, LOGIT):
        return Place(Site("embed" if kind == TOKEN else "logits"), at)
    match = re.fullmatch(r"(\d{1,6})_(-?\d{1,12})_\d+", name)
    if match is None:
        raise ResultError(f"{shortened(name, 40)} is not the id of a feature", expected="LAYER_FEATURE_POSITION")
    layer, number = int(match[1]), int(match[2])
    if kind == ERROR:
        return Place(Site("mlp_out", layer, dictionary=dictionary, error=True), at)
    return Place(Site("mlp_out", layer, dictionary=dictionary, feature=abs(number)), at)
