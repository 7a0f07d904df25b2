"""A hypothesis as a circuit: it says where variables are and which of them read which, so which edges there are.

The circuit joins the heads and MLPs of these places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechcausal.address import Place, Site
from mechcausal.address.components import INSIDE
from mechcausal.arguments import Model, checked
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.circuits.circuit import Circuit
from mechcausal.circuits.edges.wiring import INPUTS, Wiring
from mechcausal.errors import UnsupportedError
from mechcausal.models.abilities import abilities

Through = Literal["nothing", "everything"]


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
        (13, 'score')
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
            readers = _read_with(wiring, site)
            receivers |= dict.fromkeys(map(wiring.receiver, readers))
            senders |= dict.fromkeys(
                owner for receiver in readers for owner in wiring.owners(receiver) if _of(site, owner, wiring)
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
