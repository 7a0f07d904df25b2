"""A circuit as a claim that causal scrubbing tests.

What a circuit claims: each of its heads and MLPs may depend on what its kept edges bring it, and on nothing else. Scrubbing
tests it as causal scrubbing tests any hypothesis (Chan et al. 2022). The output of a reference prompt x is computed by

    value(embedding)    that of x
    value(reader)       what the reader computes in a run of a random prompt, where the contribution of each kept sender
                        to the stream that the reader reads is replaced by value(sender); nothing else in that run moves

from the logits down, along every way through the circuit. A reader is a head, an MLP or the logits. A head whose kept
edges into queries, keys and values differ is computed from values of its own for each of the three. If everything that the
circuit needs is in it, nothing is lost; a missing edge brings the reader something of a random prompt instead.

`mc.scrub` draws the random prompt anew for every reader (`unimportant="joint"`), so that what is outside the circuit cannot
pass anything on. With `unimportant="together"` there is one random prompt for the whole tree, and the result is that of
resample ablation of all edges outside the circuit: the same random prompt is then the counterfactual of each reference.

Causal scrubbing works on trees: a sender that two readers read is computed for each. The tree grows with the number of ways,
so this is for small circuits; large ones are evaluated under `ablation="resample"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mechcausal.address import Site
from mechcausal.arguments import Count, checked
from mechcausal.causal.scrubbing.tree import EXACT, Node
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.errors import SiteError, UnsupportedError, shortened

OUTPUT = "answer"
_SEPARATOR = " > "


@checked
def tree(circuit: Circuit, *, depends: Mapping[str, Any] | None = None, most_nodes: Count = 300) -> Node:
    """Return the claim of a circuit as a tree that `mc.scrub` tests: each node depends on its kept edges and nothing else.

    Only edges on a way from the embedding to the logits count, because what nothing reaches carries nothing. All positions of
    the prompts take part, so they must have one length.

    Args:
        circuit: The circuit. Positions are not told apart.
        depends: What heads and MLPs are said to depend on besides, such as `{"L1.z.H0": "merit"}`: variables of the prompts.
            Prompts that agree on it may then be exchanged there. A circuit alone says nothing about it.
        most_nodes: How many nodes the tree may have.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> circuit = mc.claims.circuit(model, mc.causal.Hypothesis.of("by_hand"))
        >>> prompts = mc.task("by_hand").prompts(model, 64)
        >>> scrubbed = mc.scrub(model, prompts, mc.claims.tree(circuit), report=False, controls=False)
        >>> bool(scrubbed.recovered.estimate > 0.97)
        True
    """
    if len(circuit.positions) > 1:
        raise UnsupportedError(
            "a circuit that tells positions apart cannot be scrubbed", got=f"{len(circuit.positions)} positions",
            fix="discover it with at='all'",
        )  # fmt: skip
    joined = circuit.connected().kept[..., 0]
    if not joined.any():
        raise SiteError("no way leads from the embedding to the logits in this circuit", fix="keep more edges")
    inputs = _Inputs(circuit.wiring, joined)
    count = inputs.sizes[len(circuit.wiring.senders)]
    if count > most_nodes:
        raise UnsupportedError(
            f"this circuit has {count:,} nodes as a tree, more than most_nodes={most_nodes}",
            fix='keep fewer edges, as circuit.top(20), or evaluate it with ablation="resample"',
        )
    features = _features(circuit.wiring, depends or {})
    return Node(OUTPUT, children=inputs.below(circuit.wiring.receivers[-1:], features, ""))


class _Inputs:
    """What each reader reads in a circuit, and the trees below.

    Args:
        wiring: All edges of the model.
        kept: The edges on a way from the embedding to the logits, [sender receiver].
    """

    def __init__(self, wiring: Wiring, kept: np.ndarray) -> None:
        self.wiring, self.kept = wiring, kept
        self.sizes: list[int] = []  # nodes of the tree of each sender, and of the output
        for owned in (*map(self._owned, range(len(wiring.senders))), [wiring.receivers[-1]]):
            groups = self._groups(owned)
            below = sum(self.sizes[sender] for group in groups for sender in self._senders(group[0]))
            self.sizes.append(1 + below + (len(groups) if self._apart(groups, owned) else 0))

    def _owned(self, sender: int) -> list[Site]:
        return [self.wiring.receivers[number] for number in np.flatnonzero(self.wiring.readers[sender])]

    def _senders(self, receiver: Site) -> list[int]:
        return np.flatnonzero(self.kept[:, self.wiring.receiver(receiver)]).tolist()

    def _groups(self, receivers: list[Site]) -> list[list[Site]]:
        """Return the receivers of one head that read something: in one group where all of them read the same."""
        senders = [self._senders(receiver) for receiver in receivers]
        if len({tuple(some) for some in senders}) == 1:
            return [receivers] if senders[0] else []
        return [[receiver] for receiver, some in zip(receivers, senders, strict=True) if some]

    def _apart(self, groups: list[list[Site]], owned: list[Site]) -> bool:
        """Say whether what a head reads with are nodes of their own: not where all of it reads the same."""
        return bool(groups) and len(groups[0]) < len(owned)

    def below(self, receivers: Sequence[Site], features: Mapping[int, Any], trail: str) -> list[Node]:
        """Return the nodes of what these receivers, all of which read the same, read.

        Args:
            receivers: What a reader reads with.
            features: What senders are said to depend on.
            trail: What stands between them and the output.
        """
        nodes = []
        for sender in self._senders(receivers[0]):
            site = self.wiring.senders[sender]
            name = f"{site}{trail}"
            owned = self._owned(sender)
            groups = self._groups(owned)
            deeper = f"{_SEPARATOR}{site}{trail}"
            if self._apart(groups, owned):
                children = [self._input(group[0], features, deeper) for group in groups]
            else:
                children = [node for group in groups for node in self.below(group, features, deeper)]
            feature = features.get(sender, EXACT)
            nodes.append(Node(name, str(site), feature=feature, edge="direct", children=children))
        return nodes

    def _input(self, receiver: Site, features: Mapping[int, Any], trail: str) -> Node:
        """Return the node of what a head reads with its queries, its keys or its values."""
        site = self._as_computed(receiver)
        return Node(
            f"{site}{trail}", str(site), children=self.below([receiver], features, f"{_SEPARATOR}{site}{trail}")
        )

    def _as_computed(self, receiver: Site) -> Site:
        wiring = self.wiring
        if receiver.component in ("k", "v") and wiring.split and receiver.head is not None:
            return Site(receiver.component, receiver.layer, head=receiver.head // (wiring.n_heads // wiring.n_kv_heads))
        return receiver


def _features(wiring: Wiring, depends: Mapping[str, Any]) -> dict[int, Any]:
    features = {}
    for site, feature in depends.items():
        if not isinstance(feature, str) and not callable(feature):
            feature = tuple(feature) if isinstance(feature, (list, tuple)) else None
        if not feature or (isinstance(feature, tuple) and not all(isinstance(name, str) for name in feature)):
            raise SiteError(
                f"{shortened(str(site), 40)} cannot depend on this", got=shortened(repr(depends[site]), 40),
                expected="a variable of the prompts, or several",
            )  # fmt: skip
        features[wiring.sender(str(site))] = feature
    return features
