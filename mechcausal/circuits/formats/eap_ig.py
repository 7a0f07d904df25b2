"""Graphs of EAP-IG and of MIB's circuit track, both ways.

    {"cfg": {"n_layers": 12, "n_heads": 12, "parallel_attn_mlp": false, "d_model": 768},
     "nodes": {"input": {"in_graph": true}, "a0.h0": {"in_graph": false, "score": 0.1}, ..., "m0": ..., "logits": ...},
     "edges": {"input->a0.h0<q>": {"score": 0.02, "in_graph": false}, ..., "m11->logits": ...}}

**Sign.** Their score is (corrupted - clean activation) x the gradient of what was differentiated, or the exact change of
it when the edge is corrupted. Their examples differentiate a loss, the negative of the metric: then a score is how much
the metric falls when the edge is corrupted, which is the convention here, and nothing changes. Where the metric itself
was differentiated the sign is the other one. The file does not say which, so `score_of` asks. Files are written as of a
loss.

**Scale.** Theirs divides by the number of examples once for the mean and again for the sum where the metric is a mean
over a batch, and by the steps of all layers in the activations variant. Scores of one file can be compared with each
other, and with those of another file by rank only.

**Shared keys and values.** Their files have keys and values for every query head and do not say which are shared.
Say how many there are with `n_kv_heads`; `join=True` adds up those that belong together. A circuit over key-value heads
is written with each score divided among its query heads, and read back as it was.

**Neurons.** Masks of neurons are not read; `about` says that there were some.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from mechcausal.address import ALL, Site
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.formats.files import mapping_of, number_of
from mechcausal.circuits.grouped import grouped, ungrouped
from mechcausal.errors import ResultError, shortened

ScoreOf = Literal["loss", "metric"]
OURS = "mechcausal"
_MOST = 2 * 10**8  # pairs of a sender and a receiver: more than any model has that these graphs are made of
_NAME = re.compile(r"input|logits|m\d+|a\d+\.h\d+")


def is_eap_ig(data: Mapping[str, Any]) -> bool:
    """Say whether JSON data looks like a graph of EAP-IG."""
    return {"cfg", "nodes", "edges"} <= data.keys()


def to_eap_ig(circuit: Circuit, *, d_model: int | None = None, join: bool = False) -> dict[str, Any]:
    """Return a circuit as the JSON data of an EAP-IG graph.

    Args:
        circuit: The circuit.
        d_model: The width of the stream, which their reader asks for; that in `about` unless said.
        join: Whether positions that are told apart are joined: scores are added, an edge is kept that is kept anywhere.
    """
    if circuit.positions != (ALL,) and not join:
        raise ResultError(
            "an EAP-IG graph does not tell positions apart",
            got=f"{len(circuit.positions)} positions",
            fix="pass join=True to add up their scores",
        )
    width = circuit.about.get("d_model") if d_model is None else d_model
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ResultError("an EAP-IG graph says how wide the stream is", fix="pass d_model, as model.cfg.d_model")
    apart = ungrouped(circuit)
    wiring = apart.wiring
    joined = len(circuit.positions) > 1
    scores = _sum(apart.scores) if joined else apart.scores[..., 0]
    kept = np.asarray(apart.kept.any(-1))
    senders, receivers = [_sender(site) for site in wiring.senders], [_receiver(site) for site in wiring.receivers]
    node_scores = [math.nan] * len(senders) if circuit.nodes is None else _sum(circuit.nodes).tolist()
    in_graph = np.asarray(kept.any(1)).tolist()
    nodes: dict[str, Any] = {}
    for name, inside, score in zip(senders, in_graph, node_scores, strict=True):
        nodes[name] = {"in_graph": inside} | ({} if math.isnan(score) else {"score": score})
    nodes["logits"] = {"in_graph": True}
    listed = np.argwhere(wiring.possible)
    index = tuple(listed.T)
    edges = {}
    for (sender, receiver), score, inside in zip(
        listed.tolist(), scores[index].tolist(), kept[index].tolist(), strict=True
    ):
        edge = {"score": 0.0, "in_graph": inside, "scored": False} if math.isnan(score) else None
        edges[f"{senders[sender]}->{receivers[receiver]}"] = edge or {"score": score, "in_graph": inside}
    cfg = {
        "n_layers": wiring.n_layers,
        "n_heads": wiring.n_heads,
        "parallel_attn_mlp": wiring.parallel,
        "d_model": width,
    }
    ours = {"wiring": circuit.wiring.to_json(), "score_of": "loss", "about": dict(circuit.about)}
    return {"cfg": cfg, "nodes": nodes, "edges": edges, OURS: ours}


def from_eap_ig(
    data: Mapping[str, Any], *, score_of: ScoreOf = "loss", n_kv_heads: int | None = None, join: bool = False
) -> Circuit:
    """Make a circuit from the JSON data of an EAP-IG graph.

    Args:
        data: The JSON data.
        score_of: What was differentiated: a `"loss"`, as in their examples and MIB's, or the `"metric"`.
        n_kv_heads: How many key-value heads a layer has; as many as query heads unless said.
        join: Whether keys and values of query heads that share them are added up.
    """
    wiring = _wiring(data, n_kv_heads)
    senders = {_sender(site): number for number, site in enumerate(wiring.senders)}
    receivers = {_receiver(site): number for number, site in enumerate(wiring.receivers)}
    shape = (len(senders), len(receivers), 1)
    kept, scores = np.zeros(shape, dtype=bool), np.full(shape, np.nan)
    for name, edge in mapping_of(data["edges"], "the edges of this graph").items():
        sender, _, receiver = name.partition("->")
        row, column = senders.get(sender), receivers.get(receiver)
        if row is None or column is None or not wiring.possible[row, column]:
            raise ResultError(
                f"this graph has an edge that a model of its cfg has not: {shortened(name, 40)}",
                expected="such as input->a0.h0<q> or m0->logits",
            )
        edge = mapping_of(edge, f"the edge {name}")
        if not isinstance(inside := edge.get("in_graph", False), bool):
            raise ResultError(f"in_graph of the edge {name} is not true or false", got=shortened(repr(inside), 40))
        kept[row, column] = inside
        if edge.get("scored", True):
            scores[row, column] = number_of(edge.get("score"), f"the score of the edge {name}")
    if score_of == "metric":
        scores = -scores
    ours = _ours(data)
    about = dict(ours["about"]) if ours else {"format": "eap-ig", "score_of": score_of}
    width = data["cfg"].get("d_model")
    about |= {"d_model": width} if isinstance(width, int) else {}
    nodes, neurons = _nodes(data["nodes"], senders, -1.0 if score_of == "metric" else 1.0)
    about |= {"neurons": "not read"} if neurons else {}
    circuit = Circuit(wiring, kept, scores, nodes, about=about)
    return grouped(circuit) if join or (ours and ours["wiring"].get("split") is False) else circuit


def _wiring(data: Mapping[str, Any], n_kv_heads: int | None) -> Wiring:
    cfg, nodes = mapping_of(data["cfg"], "cfg"), mapping_of(data["nodes"], "the nodes of this graph")
    n_layers, n_heads = (_count(cfg.get(name), f"cfg.{name}") for name in ("n_layers", "n_heads"))
    if not isinstance(parallel := cfg.get("parallel_attn_mlp", False), bool):
        raise ResultError("cfg.parallel_attn_mlp is not true or false", got=shortened(repr(parallel), 40))
    ours = _ours(data)
    if n_kv_heads is None:
        n_kv_heads = _count(ours["wiring"].get("n_kv_heads"), "n_kv_heads") if ours else n_heads
    if n_heads % n_kv_heads:
        raise ResultError(f"{n_heads} query heads cannot share {n_kv_heads} key-value heads", fix="check n_kv_heads")
    if (1 + n_layers * (n_heads + 1)) * (1 + n_layers * (3 * n_heads + 1)) > _MOST:
        raise ResultError("cfg says that this model is larger than any", got=f"{n_layers} layers of {n_heads} heads")
    unknown = [name for name in nodes if not _NAME.fullmatch(name)]
    if unknown:
        raise ResultError(
            f"this graph has a node of another kind: {shortened(unknown[0], 40)}",
            expected="input, a0.h0, m0 or logits",
        )
    edges = mapping_of(data["edges"], "the edges of this graph")
    mlps = any(name.startswith("m") for name in nodes) or any(name.startswith("m") or "->m" in name for name in edges)
    return Wiring(n_layers, n_heads, n_kv_heads, mlps, parallel and mlps, split=n_heads != n_kv_heads)


def _ours(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what this package adds to a file that it writes."""
    ours = data.get(OURS)
    if not isinstance(ours, Mapping):
        return None
    return ours if all(isinstance(ours.get(part), Mapping) for part in ("wiring", "about")) else None


def _count(value: Any, what: str) -> int:  # noqa: ANN401 - JSON data
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6:
        raise ResultError(f"{what} is not a count", got=shortened(repr(value), 40), expected="a whole number above 0")
    return value


def _nodes(data: Mapping[str, Any], senders: Mapping[str, int], sign: float) -> tuple[np.ndarray | None, bool]:
    """Return the scores of the senders where there are any, and whether neurons were masked."""
    scores, neurons = np.full((len(senders), 1), np.nan), False
    for name, node in data.items():
        if isinstance(node, bool):  # as older files have it
            continue
        node = mapping_of(node, f"the node {name}")
        neurons |= "neurons" in node
        if name == "logits":
            continue
        if name not in senders:
            raise ResultError(f"this graph has a node that a model of its cfg has not: {shortened(name, 40)}")
        scores[senders[name]] = sign * number_of(node.get("score"), f"the score of the node {name}")
    return (None if np.isnan(scores).all() else scores), neurons


def _sum(values: np.ndarray) -> np.ndarray:
    """Return the sum over positions; NaN where no position has a score."""
    return np.where(np.isnan(values).all(-1), np.nan, np.nansum(values, -1))


def _sender(site: Site) -> str:
    if site.component == "embed":
        return "input"
    return f"m{site.layer}" if site.component == "mlp_out" else f"a{site.layer}.h{site.head}"


def _receiver(site: Site) -> str:
    if site.component in ("q", "k", "v"):
        return f"a{site.layer}.h{site.head}<{site.component}>"
    return "logits" if site.component == "logits" else f"m{site.layer}"
