"""From a circuit to a claim that can be scrubbed, and from a hypothesis to a circuit that can be evaluated.

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

The other way around, a hypothesis says where variables are and which of them read which. The circuit of it joins the heads and
MLPs of these places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mechcausal.address import Place, Site
from mechcausal.address.components import INSIDE
from mechcausal.arguments import Count, Model, checked
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.causal.scrubbing.tree import EXACT, Node
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import INPUTS, Wiring
from mechcausal.errors import SiteError, UnsupportedError, shortened
from mechcausal.models.abilities import abilities

Through = Literal["nothing", "everything"]
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
            fix="discover it with positions=None",
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


@checked
def circuit(model: Model, hypothesis: Hypothesis, *, through: Through = "nothing") -> Circuit:
    """Return the circuit of a hypothesis: the edges between the heads and MLPs at which its variables are.

    A variable at a head is read through its queries, keys and values, all three, where the hypothesis does not name one of
    them. A variable that reads an input which has no place reads the embedding. Several places of a variable are joined
    alike, and positions are not told apart.

    Args:
        model: The model.
        hypothesis: The hypothesis; its variables are at heads, at MLPs, inside them, or at the embedding.
        through: What lies between a variable and what reads it by an edge for all paths: `"nothing"` keeps the direct edge
            alone, as if everything else were irrelevant; `"everything"` keeps all ways between them that pass no place
            of another input of the reader, which is all that such an edge says.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> found = mc.claims.circuit(model, mc.causal.Hypothesis.of("hiring"))
        >>> len(found), found.about["variables"]["L2.mlp_out"]
        (15, 'score')
    """
    wiring = Wiring.of(abilities(model))
    kept = np.zeros(wiring.possible.shape, dtype=bool)
    parts = {name: _parts(wiring, name, places) for name, places in hypothesis.alignment.items()}
    outcome = _Parts((), (len(wiring.receivers) - 1,))
    for reader in (*hypothesis.variables, hypothesis.outcome):
        end = parts.get(reader, outcome)
        sources = {parent: parts[parent].senders for parent in hypothesis.parents(reader)}
        taken = {sender for senders in sources.values() for sender in senders} | set(end.senders)
        for parent, senders in sources.items():
            _keep(kept, wiring, senders, end.receivers)
            if through == "everything" and hypothesis.edge(parent, reader) == "all":
                kept |= _ways(wiring, senders, end.receivers, taken)
        if reader in parts and _reads_text(hypothesis, reader):
            _keep(kept, wiring, (0,), end.receivers)
            if through == "everything":
                kept |= _ways(wiring, (0,), end.receivers, taken)
    at: dict[str, list[str]] = {}
    for name, part in parts.items():
        for sender in part.senders:
            at.setdefault(str(wiring.senders[sender]), []).append(name)
    about = {
        "method": "hypothesis", "task": hypothesis.scm.name, "through": through,
        "variables": {site: ", ".join(names) for site, names in at.items()},
    }  # fmt: skip
    return Circuit(wiring, kept[..., None], np.full((*kept.shape, 1), np.nan), about=about)


# From a circuit to a tree


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


# From a hypothesis to a circuit


@dataclass(frozen=True)
class _Parts:
    """The senders and receivers, by number, that the places of a variable stand for."""

    senders: tuple[int, ...]
    receivers: tuple[int, ...]


def _parts(wiring: Wiring, variable: str, places: tuple[Place, ...]) -> _Parts:
    senders: dict[int, None] = {}
    receivers: dict[int, None] = {}
    for place in places:
        site = place.site
        block = next((block for block, inside in INSIDE.items() if site.component in (block, *inside)), None)
        if site.dictionary is not None or (block is None and site.component != "embed"):
            raise UnsupportedError(
                f"{variable!r} is at {place}, which is no node of a circuit",
                expected="heads, MLPs, places inside them, or the embedding",
                fix="a place in the stream is the sum of all senders before it: name those that carry the variable",
            )
        if site.component == "embed":
            senders[0] = None
        elif block == "mlp_out":
            number = Site("mlp_out", site.layer)
            senders[wiring.sender(number)] = receivers[wiring.receiver(number)] = None
        else:
            own = _read_with(wiring, site)
            receivers |= dict.fromkeys(map(wiring.receiver, own))
            senders |= dict.fromkeys(
                owner for receiver in own for owner in wiring.owners(receiver) if _of(site, owner, wiring)
            )
    return _Parts(tuple(senders), tuple(receivers))


def _read_with(wiring: Wiring, site: Site) -> list[Site]:
    """Return what a head, all heads of a layer, or a part of a head reads with."""
    kinds = (site.component,) if site.component in INPUTS else ("q", "k") if site.component == "pattern" else INPUTS
    if site.head is None:
        return [Site(kind, site.layer, head=head) for kind in kinds for head in range(wiring.heads(kind))]
    shared = wiring.n_heads // wiring.n_kv_heads
    if site.component in ("k", "v"):  # a key-value head, by its own number
        heads = range(site.head * shared, site.head * shared + shared) if wiring.split else [site.head]
        return [Site(site.component, site.layer, head=head) for head in heads]
    return [Site(kind, site.layer, head=site.head * wiring.heads(kind) // wiring.n_heads) for kind in kinds]


def _of(site: Site, owner: int, wiring: Wiring) -> bool:
    """Say whether a sender is the head that a place is in; heads that share its keys are not, unless these are the place."""
    return site.component in ("k", "v") or site.head in (None, wiring.senders[owner].head)


def _keep(kept: np.ndarray, wiring: Wiring, senders: tuple[int, ...], receivers: tuple[int, ...]) -> None:
    index = np.ix_(senders, receivers)
    kept[index] |= wiring.possible[index]


def _ways(wiring: Wiring, senders: tuple[int, ...], receivers: tuple[int, ...], taken: set[int]) -> np.ndarray:
    """Return all edges on ways from senders to receivers that pass none of the senders taken, [sender receiver]."""
    passing = np.array([number not in taken for number in range(len(wiring.senders))])
    reached = np.isin(np.arange(len(wiring.senders)), senders)
    for number in range(len(reached)):
        reads = wiring.possible[:, wiring.readers[number]] & reached[:, None]
        reached[number] |= bool(passing[number] and reads.any())
    ending = np.isin(np.arange(len(wiring.receivers)), receivers)
    leading = np.zeros(len(reached), dtype=bool)
    for number in reversed(range(len(reached))):
        leading[number] = bool((wiring.possible[number] & ending).any())
        if leading[number] and passing[number]:
            ending |= wiring.readers[number]
    starts = reached & (passing | np.isin(np.arange(len(reached)), senders))
    return wiring.possible & starts[:, None] & ending[None]


def _reads_text(hypothesis: Hypothesis, variable: str) -> bool:
    """Say whether a variable is computed from an input that has no place, other than through variables that have one."""
    scm = hypothesis.scm
    if variable in scm.noise:
        return True
    open_ends = list(scm.parents(variable))
    while open_ends:
        name = open_ends.pop()
        if name in hypothesis.alignment:
            continue
        if name in scm.noise:
            return True
        open_ends += scm.parents(name)
    return False
