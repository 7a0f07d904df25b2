"""The tree of a scrubbing hypothesis: for every node a part of the network, what it is said to depend on, and its inputs.

A tree is made from a `Hypothesis`, or written by hand where the hypothesis is not a causal model of the task:

    Node("answer", children=[
        Node("count", "L2.z.H0@end", feature="balance", edge="direct"),
        Node("horizon", "L2.z.H1@end", feature="never_below", edge="direct", children=[...]),
    ])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.causal.fields import read_hypothesis
from mechcausal.causal.hypothesis import EDGES, EdgeKind, Hypothesis, column_of
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, DataError, SiteError, UnsupportedError, did_you_mean, shortened
from mechcausal.models.abilities import Abilities
from mechcausal.models.anatomy import entry
from mechcausal.models.readout import require_writer

EXACT = "exact"
MASK = "mask"

Feature = str | tuple[str, ...] | Callable[[PromptSet], Any]


@dataclass(frozen=True)
class Node:
    """One node of the interpretation.

    Attributes:
        name: What it is called; unique in its tree.
        parts: The parts of the network it stands for, which share one draw; none for the root, which is the output.
            `"mask"` is the attention mask of the run that its parent makes; that of a prompt of another length is laid
            over the end. Positions such as `@5` may be missing in some prompts: prompts that have them are exchanged
            among each other, and a prompt that lacks them has nothing there to exchange.
        feature: What it is said to depend on: a variable of the prompts, several, or a function of the prompts;
            `"exact"` for the whole input. Inputs that agree on it may be exchanged.
        edge: How it acts on its parent: `"all"` paths between them, or the `"direct"` one along the stream.
        children: Its important inputs; everything else that it reads is unimportant. A node without children reads
            the whole of its input.
        given: Variables on which its unimportant inputs agree with its own input: what it also reads, from a place that is
            no part of the hypothesis.
        estimate: The activation is said to be this function of the input, prompts -> [batch, ...] values of its one part,
            and a rest. Only the estimate is exchanged; the rest stays that of the parent's unimportant input.
    """

    name: str
    parts: Any = ()
    feature: Feature = EXACT
    edge: EdgeKind = "all"
    children: Sequence[Node] = ()
    given: tuple[str, ...] = ()
    estimate: Callable[[PromptSet], Tensor] | None = None

    def __post_init__(self) -> None:
        several = isinstance(self.parts, Sequence) and not isinstance(self.parts, str)
        listed = tuple(self.parts) if several else (self.parts,)
        parts = listed if listed == (MASK,) else tuple(map(Place.parse, listed))
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "children", tuple(self.children))
        if self.edge not in EDGES:
            raise DataError(f"an edge is 'all' or 'direct', not {self.edge!r}")
        names = [node.name for node in self.walk()]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(f"two nodes are called {twice[0]!r}", fix="give each place in the tree a name of its own")
        if self.is_mask and (self.children or self.edge == "direct"):
            raise DataError("the attention mask has no inputs and no direct path", fix="make it a plain leaf")
        if isinstance(self.feature, tuple) and not self.feature:
            raise DataError(f"{self.name!r} is said to depend on nothing", fix="leave the node out")
        if self.estimate is not None and (self.children or len(self.parts) != 1):
            raise DataError(f"the estimate of {self.name!r} is one of one part, and has no children")

    def to_json(self) -> dict[str, Any]:
        """Return the plain form of the tree, which `from_json` reads; functions have none."""
        if callable(self.feature) or self.estimate is not None:
            raise ArgumentError(
                f"the node {self.name!r} holds a function, which cannot be written to a file",
                fix="name a variable of the prompts as its feature, or run it from Python",
            )
        plain: dict[str, Any] = {"name": self.name}
        parts = [
            part if part == MASK else part.to_json() if part.basis else f"{part.site}{part.at}" for part in self.parts
        ]
        feature = list(self.feature) if isinstance(self.feature, tuple) else self.feature
        plain |= {"parts": parts} if parts else {}
        plain |= {"feature": feature} if feature != EXACT else {}
        plain |= {"edge": self.edge} if self.edge != "all" else {}
        plain |= {"children": [child.to_json() for child in self.children]} if self.children else {}
        return plain | ({"given": list(self.given)} if self.given else {})

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Node:
        """Read `{"name": ..., "parts": [...], "feature": ..., "children": [{...}, ...]}`."""
        unknown = [name for name in plain if name not in ("name", "parts", "feature", "edge", "children", "given")]
        if unknown or "name" not in plain:
            raise ArgumentError(
                "this is not a node of a tree",
                got=shortened(repr(dict(plain))),
                expected='{"name": ..., "parts": [...], "feature": ..., "edge": ..., "children": [...], "given": [...]}',
            )
        feature = plain.get("feature", EXACT)
        return cls(
            plain["name"],
            plain.get("parts", ()),
            feature if isinstance(feature, str) else tuple(feature),
            plain.get("edge", "all"),
            [cls.from_json(child) for child in plain.get("children", ())],
            tuple(plain.get("given", ())),
        )

    @property
    def is_mask(self) -> bool:
        """Whether it stands for the attention mask."""
        return MASK in self.parts

    @property
    def sites(self) -> tuple[Place, ...]:
        """The parts of the network it stands for, the attention mask left out."""
        return tuple(part for part in self.parts if part != MASK)

    def walk(self) -> Iterator[Node]:
        """Visit the node and everything below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> Node:
        """Return the node of that name."""
        for node in self.walk():
            if node.name == name:
                return node
        names = [node.name for node in self.walk()]
        raise DataError(f"there is no node {name!r}", fix=did_you_mean(name, names))

    def changed(self, name: str, **changes: Any) -> Node:  # noqa: ANN401 - any field of a node
        """Return the tree with one node's fields changed; `changed("score", children=())` prunes below it."""
        self.find(name)
        if self.name == name:
            return replace(self, **changes)
        return replace(self, children=[c.changed(name, **changes) if _within(c, name) else c for c in self.children])

    def dropped(self, name: str) -> Node:
        """Return the tree without a node and what is below it."""
        self.find(name)
        kept = [c for c in self.children if c.name != name]
        return replace(self, children=[c.dropped(name) if _within(c, name) else c for c in kept])

    def each(self, **changes: Any) -> Node:  # noqa: ANN401
        """Return the tree with fields of every node changed."""
        return replace(self, children=[child.each(**changes) for child in self.children], **changes)

    def apart(self) -> Node:
        """Return the tree in which each place is a node of its own, with a draw of its own and inputs of its own."""
        return self._apart("")

    def _apart(self, trail: str) -> Node:
        children: list[Node] = []
        for child in self.children:
            if len(child.sites) < 2:
                children.append(replace(child, name=f"{child.name}{trail}")._apart(trail))
                continue
            for part in child.sites:
                single = replace(child, name=f"{child.name} at {part}{trail}", parts=(part,))
                children.append(single._apart(f"{trail} of {part}"))
        return replace(self, children=children)

    def placed(self, move: Callable[[Place], Place]) -> Node:
        """Return the tree with every part moved."""
        parts = self.parts if self.is_mask else tuple(move(part) for part in self.sites)
        return replace(self, parts=parts, children=[child.placed(move) for child in self.children])

    def __str__(self) -> str:
        """Print the tree, one node a line."""
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> list[str]:
        places = " + ".join(map(str, self.parts)) or "output"
        feature_name = self.feature if isinstance(self.feature, str) else _feature_name(self.feature)
        lines = [f"{indent}{self.name}: {places}, by {feature_name}{' (direct)' if self.edge == 'direct' else ''}"]
        for child in self.children:
            lines += child._lines(indent + "  ")
        return lines


def read_claims(value: Any) -> Hypothesis | Node:  # noqa: ANN401 - whatever a caller passes
    """Return a hypothesis or a tree, also from its plain form."""
    if isinstance(value, Node):
        return value
    return Node.from_json(value) if isinstance(value, Mapping) and "name" in value else read_hypothesis(value)


def tree_of(hypothesis: Hypothesis) -> Node:
    """Return the scrubbing tree of a hypothesis: the output, and below each variable the variables it reads.

    A variable that several others read becomes one node for each, as causal scrubbing treeifies.
    """

    def below(reader: str, trail: str) -> list[Node]:
        nodes = []
        for parent in hypothesis.parents(reader):
            name = f"{parent}{trail}" if not _shared(hypothesis, parent) else f"{parent} > {reader}{trail}"
            deeper = name.removeprefix(parent) if " > " in name else ""
            nodes.append(
                Node(
                    name=name,
                    parts=hypothesis.alignment[parent],
                    feature=parent,
                    edge=hypothesis.edge(parent, reader),
                    children=below(parent, deeper),
                    given=hypothesis.read_besides(parent),
                )
            )
        return nodes

    outcome = hypothesis.outcome
    return Node(outcome, feature=EXACT, children=below(outcome, ""), given=hypothesis.read_besides(outcome))


def classes(feature: Feature, prompts: PromptSet) -> np.ndarray:
    """Return for each prompt the number of its class: prompts in one class agree on the feature."""
    if isinstance(feature, str) and feature == EXACT:
        return np.arange(len(prompts))
    if isinstance(feature, str):
        columns = [column_of(prompts, feature)]
    elif callable(feature):
        value = feature(prompts)
        columns = [value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)]
        if len(columns[0]) != len(prompts):
            raise DataError(
                f"the feature {_feature_name(feature)!r} must give one value per prompt",
                got=len(columns[0]),
                expected=len(prompts),
            )
    else:
        columns = [column_of(prompts, name) for name in feature]
    rows = np.concatenate([column.reshape(len(prompts), -1).astype(float) for column in columns], axis=1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def check_tree(able: Abilities, root: Node, pool: PromptSet) -> None:
    """Refuse, before any compute, what cannot be evaluated."""
    if root.parts or not root.children:
        raise DataError(
            "the root of a tree is the output, and something below it explains it", fix='Node("answer", children=[...])'
        )
    for node in root.walk():
        for part in node.sites:
            able.require([part.site])
            _check_positions(node, part, pool)
        inputs = [child for child in node.children if not child.is_mask]
        for child in inputs:
            if not child.sites:
                raise DataError(f"the node {child.name!r} stands for no part of the network", fix="give it a site")
            _check_edge(able, child, node)
        forced = [
            (part.site, str(part.at))
            for child in inputs
            if child.edge == "all"
            for part in child.sites
            if not part.basis
        ]
        if len(forced) != len(set(forced)):
            raise DataError(
                f"two inputs of {node.name!r} stand for the same place along all paths", fix="make one of them direct"
            )


def _check_positions(node: Node, part: Place, pool: PromptSet) -> None:
    counts = sorted(set(pool.select(part.at).sum(1).tolist()))
    if counts == [0]:
        raise SiteError(
            f"no prompt has the position of {node.name!r} at {part}",
            got=f"prompts of at most {int(pool.n_positions.max())} positions", fix="count positions from 0, or from the end: @-1",
        )  # fmt: skip
    if len(counts) > 2 or (len(counts) == 2 and counts[0] > 0):
        raise SiteError(
            f"{node.name!r} at {part} covers different numbers of positions in these prompts",
            got=f"{counts[0]} to {counts[-1]} positions",
            expected="the same number in every prompt that has them",
            fix="name single positions, such as @-1 or @5, or use prompts of one length",
        )
    if len(counts) == 2 and node.estimate is not None:
        raise SiteError(
            f"{part}, which is estimated, is not there in every prompt", fix="use a position that every prompt has"
        )
    if part.site.component == "pattern" and len(pool.lengths.unique()) > 1:
        raise SiteError(f"{part} cannot move between prompts of unequal length", fix="use prompts of one length")


def presence(parts: Sequence[Place], pool: PromptSet) -> np.ndarray:
    """Return for each prompt the number of its class: prompts in one class have the same of these places."""
    have = [pool.select(part.at).any(1).cpu().numpy() for part in parts]
    return (
        np.unique(np.stack(have, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        if have
        else np.zeros(len(pool), int)
    )


def _check_edge(able: Abilities, child: Node, node: Node) -> None:
    late = max(child.sites, key=lambda part: part.depth)
    early = min((part.depth for part in node.sites), default=Site("logits").depth)
    where = " + ".join(map(str, node.parts)) or "the output"
    if late.depth >= early:
        raise SiteError(
            f"{child.name!r} at {late} is not computed before {node.name!r} at {where}, which reads it",
            fix="put a node's children upstream of it",
        )
    if child.edge == "all":
        return
    if not able.additive:
        raise UnsupportedError(
            f"{able.architecture} does not add its sublayers to the stream unchanged, so it has no direct paths",
            fix="let the edges stand for all paths",
        )
    streams = [entry(part.site, able) for part in node.sites] or [entry(Site("logits"), able)]
    for part in child.sites:
        require_writer(part.site)
        if not any(part.depth < Place(stream).depth or part.site == stream for stream in streams):
            raise SiteError(f"no direct path leads from {part} to {where}", fix="choose a later reader, or all paths")


def _shared(hypothesis: Hypothesis, variable: str) -> bool:
    readers = [r for r in (*hypothesis.alignment, hypothesis.outcome) if variable in hypothesis.parents(r)]
    return len(readers) > 1


def _within(node: Node, name: str) -> bool:
    return any(descendant.name == name for descendant in node.walk())


def _feature_name(feature: Feature) -> str:
    if isinstance(feature, tuple):
        return ", ".join(feature)
    return feature if isinstance(feature, str) else getattr(feature, "__name__", "a function")
