"""Sets of edges between places of a network, read and checked: which there are, and whether anything can pass along them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from mechcausal.address import Place, Site
from mechcausal.causal.fields import read_places
from mechcausal.causal.hypothesis import EDGES, EdgeKind, Hypothesis
from mechcausal.causal.mediation.worlds import Worlds
from mechcausal.errors import DataError, SiteError, UnsupportedError, of_each
from mechcausal.models.abilities import Abilities
from mechcausal.models.anatomy import entry

END = Place(Site("logits"))
# What writes to the stream, what reads it, and what acts within one sublayer.
SENDERS = ("embed", "z", "attn_out", "mlp_post", "mlp_out")
RECEIVERS = ("q", "k", "v", "pattern", "z", "attn_out", "mlp_post", "mlp_out", "logits")
WITHIN = (
    ("q", "pattern"), ("k", "pattern"), ("q", "z"), ("k", "z"), ("v", "z"), ("pattern", "z"), ("z", "attn_out"),
    ("mlp_post", "mlp_out"),
)  # fmt: skip
# The receivers that look at positions before their own, through these senders or through the stream.
_LOOK_BACK = ("pattern", "z", "attn_out")
_POINTWISE = (("q", "pattern"), ("q", "z"), ("pattern", "z"), ("z", "attn_out"))


@dataclass(frozen=True)
class Arrow:
    """One edge: the sender's value reaches the receiver directly, or along all paths between them."""

    sender: Place
    receiver: Place
    kind: EdgeKind = "direct"

    def __str__(self) -> str:
        """Print as `L0.z.H0@end -> logits`, with `=>` for all paths."""
        return f"{self.sender} {'=>' if self.kind == 'all' else '->'} {self.receiver}"


@dataclass(frozen=True)
class Graph:
    """A set of edges that is active together.

    Attributes:
        name: What it is called.
        arrows: The edges.
        able: What the model can do.
        others: Further places that no edge along all paths passes: the other variables of a hypothesis.
        end: The logits.
    """

    name: str
    arrows: tuple[Arrow, ...]
    able: Abilities
    others: tuple[Place, ...] = ()
    end: Place = END

    @cached_property
    def nodes(self) -> tuple[Place, ...]:
        """The places but the logits, in the order they are computed."""
        ends = dict.fromkeys(part for arrow in self.arrows for part in (arrow.sender, arrow.receiver))
        return tuple(sorted((part for part in ends if part != END), key=lambda part: (part.depth, str(part))))

    @cached_property
    def roots(self) -> tuple[Place, ...]:
        """The places into which no edge leads: they have their values of the high world."""
        return tuple(node for node in self.nodes if not self.into(node))

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The places but the logits, and those that no edge passes."""
        return tuple(dict.fromkeys((*self.nodes, *self.others)))

    def into(self, receiver: Place) -> tuple[Arrow, ...]:
        """Return the edges that lead to a place."""
        return tuple(arrow for arrow in self.arrows if arrow.receiver == receiver)

    def steps(self) -> list[tuple[Place, ...]]:
        """Return the places in the order they are computed; those that receive the same come together."""
        groups: dict[Any, list[Place]] = {}
        for node in self.nodes:
            incoming = frozenset((arrow.sender, arrow.kind) for arrow in self.into(node))
            stream = entry(node.site, self.able) if incoming else None
            groups.setdefault((stream, incoming, node.depth if incoming else None), []).append(node)
        return [tuple(group) for group in groups.values()]

    def row(self) -> dict[str, Any]:
        """Return the columns that say which edges these are."""
        return {
            "site": self.name, "component": "paths", "layer": None, "head": None, "neuron": None, "at": "@all",
            "position": None, "label": self.name, "edges": len(self.arrows),
        }  # fmt: skip


def within(arrow: Arrow) -> bool:
    """Say whether an edge stays inside one attention or one MLP."""
    a, b = arrow.sender.site, arrow.receiver.site
    return a.layer == b.layer and (a.component, b.component) in WITHIN


def read_edges(value: Any) -> Any:  # noqa: ANN401 - edges, named sets of edges, or a hypothesis
    """Return edges as tuples and texts, in lists and mappings as they were given."""
    if isinstance(value, Arrow):
        return read_places(value.sender), read_places(value.receiver), value.kind
    if isinstance(value, (list, tuple)):
        return tuple(map(read_edges, value))
    if isinstance(value, Mapping) and not {"site", "task"} & {*value}:
        return {name: read_edges(edges) for name, edges in value.items()}
    return read_places(value)


def graphs_of(edges: Any, worlds: Worlds) -> list[Graph]:  # noqa: ANN401 - edges, named sets of edges, or a hypothesis
    """Read sets of edges and refuse those along which nothing can pass."""
    others: tuple[Place, ...] = ()
    if isinstance(edges, Hypothesis):
        sets = _sets_of(edges)
        others = tuple(part for parts in edges.alignment.values() for part in parts)
    elif isinstance(edges, Mapping):
        read = of_each(lambda group: _arrows(group), edges.values())
        sets = {str(name): arrows for name, arrows in zip(edges, read, strict=True)}
    else:
        arrows = list(dict.fromkeys(_arrows(edges)))
        few = "; ".join(map(str, arrows)) or "no edge"
        sets = {few if len(arrows) < 4 else f"{len(arrows)} edges": arrows}
    if not sets:
        raise DataError("there is no set of edges", fix='name one, as {"direct": [("L0.z.H0@end", "logits")]}')
    graphs = [Graph(name, tuple(dict.fromkeys(arrows)), worlds.able, others) for name, arrows in sets.items()]
    of_each(lambda graph: _check(graph, worlds), graphs)
    return graphs


def _arrows(spec: Any) -> list[Arrow]:  # noqa: ANN401 - a chain, an edge, or several of these
    if isinstance(spec, Arrow):
        return [spec]
    if isinstance(spec, str):
        return _chain(spec)
    if not isinstance(spec, Sequence):
        raise DataError("an edge is (sender, receiver)", got=spec)
    if len(spec) in (2, 3) and not any(_is_edge(item) for item in spec):
        sender, receiver, kind = (*spec, "direct")[:3]
        if kind not in EDGES:
            raise DataError(f"an edge is 'all' or 'direct', not {kind!r}")
        return [Arrow(Place.parse(sender), Place.parse(receiver), kind)]
    return [arrow for arrows in of_each(_arrows, spec) for arrow in arrows]


def _is_edge(item: Any) -> bool:  # noqa: ANN401
    """Tell an edge in a list of edges from an end of one edge."""
    return isinstance(item, (Arrow, list, tuple)) or (isinstance(item, str) and ">" in item)


def _chain(text: str) -> list[Arrow]:
    """Read `A -> B => C`: direct from A to B, then along all paths to C."""
    ends = re.split(r"\s*(->|=>)\s*", text.strip())
    if len(ends) < 3:
        raise DataError(f"{text!r} is not an edge", expected="a form like 'L0.z.H0@end -> L1.mlp_out@end -> logits'")
    parts = of_each(Place.parse, ends[::2])
    kinds: list[EdgeKind] = ["all" if sign == "=>" else "direct" for sign in ends[1::2]]
    return [Arrow(*pair, kind) for pair, kind in zip(itertools.pairwise(parts), kinds, strict=True)]


def _sets_of(hypothesis: Hypothesis) -> dict[str, list[Arrow]]:
    """Return one set for each causal path among the aligned variables, and one for all together."""

    def trails(variable: str) -> list[tuple[str, ...]]:
        parents = hypothesis.parents(variable)
        return [(*trail, variable) for parent in parents for trail in trails(parent)] or [(variable,)]

    def arrows(parent: str, child: str) -> list[Arrow]:
        ends = (END,) if child == hypothesis.outcome else hypothesis.alignment[child]
        kind = hypothesis.edge(parent, child)
        return [Arrow(a, b, kind) for a in hypothesis.alignment[parent] for b in ends]

    sets = {
        " -> ".join(trail): [arrow for pair in itertools.pairwise(trail) for arrow in arrows(*pair)]
        for trail in trails(hypothesis.outcome)
        if len(trail) > 1
    }
    if len(sets) > 1:
        sets["all paths"] = [arrow for arrows in sets.values() for arrow in arrows]
    return sets


def _check(graph: Graph, worlds: Worlds) -> None:
    worlds.check(graph.places)
    of_each(lambda arrow: _check_arrow(arrow, worlds), graph.arrows)
    senders = {arrow.sender for arrow in graph.arrows}
    for arrow in graph.arrows:
        if arrow.receiver != END and arrow.receiver not in senders:
            near = [str(part) for part in senders if part.site == arrow.receiver.site]
            raise SiteError(
                f"{arrow} leads nowhere: no edge goes on from {arrow.receiver}",
                got=f"edges from {', '.join(near)}" if near else None,
                fix="write a place the same way wherever it occurs" if near else "add the edge on to 'logits'",
            )
    for receiver in dict.fromkeys(arrow.receiver for arrow in graph.arrows):
        for first, second in itertools.combinations([arrow.sender for arrow in graph.into(receiver)], 2):
            _refuse_twice(first, second, receiver, worlds)


def _check_arrow(arrow: Arrow, worlds: Worlds) -> None:
    _check_ends(arrow, worlds.able)
    if not _reaches(arrow, worlds):
        raise SiteError(
            f"{arrow} leads nowhere: nothing at the sender's positions is seen at the receiver's",
            fix="name positions at which the receiver reads the sender",
        )


def _check_ends(arrow: Arrow, able: Abilities) -> None:
    sender, receiver = arrow.sender.site, arrow.receiver.site
    if arrow.sender.depth >= arrow.receiver.depth:
        raise SiteError(f"nothing passes along {arrow}", expected="a sender that is computed before its receiver")
    if within(arrow):
        if not _same_head(sender, receiver, able):
            raise SiteError(f"nothing passes along {arrow}: {receiver} does not read that head")
        return
    if arrow.kind == "all":
        return
    for site, allowed, role in ((sender, SENDERS, "sender"), (receiver, RECEIVERS, "receiver")):
        if site.component not in allowed:
            raise SiteError(
                f"{site} cannot be the {role} of a direct edge",
                expected=", ".join(allowed),
                fix="or use all paths: '=>'",
            )
    if not able.additive:
        raise UnsupportedError(
            f"{able.architecture} does not add its sublayers to the stream unchanged, so it has no direct edges",
            fix="use edges along all paths: (sender, receiver, 'all')",
        )
    stream = entry(receiver, able)
    beside = receiver.component in ("mlp_post", "mlp_out") and stream.component == "resid_pre"
    if beside and sender.layer == receiver.layer:
        raise UnsupportedError(
            f"nothing passes along {arrow}: attention and MLP read the same stream in this architecture",
            fix="choose a later receiver",
        )


def _same_head(sender: Site, receiver: Site, able: Abilities) -> bool:
    if sender.head is None or receiver.head is None:
        return True
    share = able.shape.n_heads // able.shape.heads(sender.component)
    return receiver.head // share == sender.head


def _reaches(arrow: Arrow, worlds: Worlds) -> bool:
    sender, receiver = arrow.sender, arrow.receiver
    first = worlds.high.select(sender.at)
    if receiver == END and not worlds.reads_one_position:
        return True
    second = worlds.read_mask if receiver == END else worlds.high.select(receiver.at)
    inside = within(arrow) and (sender.site.component, receiver.site.component) in _POINTWISE
    back = arrow.kind == "all" or (receiver.site.component in _LOOK_BACK and not inside)
    if back:
        return worlds.before(first, second) or worlds.looks_ahead
    return bool((first & second).any())


def _refuse_twice(first: Place, second: Place, receiver: Place, worlds: Worlds) -> None:
    """Refuse two senders that hold some of the same, which would be passed on twice."""
    if not (_holds(first.site, second.site) or _holds(second.site, first.site)):
        return
    if not bool((worlds.high.select(first.at) & worlds.high.select(second.at)).any()):
        return
    if first.basis and second.basis and first.site == second.site:
        like = torch.zeros(1, dtype=torch.float64)
        these, those = first.columns(like), second.columns(like)
        assert these is not None
        assert those is not None
        if float((these.T @ those).abs().max()) < 1e-6:
            return
    raise SiteError(
        f"{first} and {second} hold some of the same, so {receiver} would receive it twice", fix="name only one of them"
    )


def _holds(container: Site, part: Site) -> bool:
    """Say whether a site contains another, as `attn_out` contains a head of its layer."""
    if container.layer != part.layer:
        return False
    if (part.component, container.component) in (("z", "attn_out"), ("mlp_post", "mlp_out")):
        return True
    if container.component != part.component or container.dictionary not in (None, part.dictionary):
        return False
    if container.dictionary is not None and container.error != part.error:
        return False
    return container.head in (None, part.head) and container.unit in (None, part.unit)
