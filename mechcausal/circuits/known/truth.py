"""The true circuit of an organism, as far as its construction tells it.

    model = mc.load("organism:hiring")
    pairs = mc.contrast("hiring/gender", model)
    mc.circuits.truth(model, pairs)

Nothing here is found by running a method on the model. There are two kinds of truth:

compiled  `by_hand`, `reverse`, `fraction`: an edge is true if the weights connect it, what it carries differs in some
          pair, and its reader's variable depends on it in the causal model. Queries, keys and values are told apart.
trained   `hiring` and its relatives, `ioi`, `induction`, `brackets`, `bios`: interchange training put each variable at
          one head or MLP, and strictness made everything else irrelevant. Through which of its inputs a head reads is not
          laid down, so the edges from one sender into one head count as one, with the largest of their scores. The
          largest of three is large by chance, so it is compared with the largest of three others. Training was on answers:
          no false edge changes an answer, but some move the log-odds. Most do so in `brackets`, where the head that reads
          the first bracket also listens to the head that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file
from torch import Tensor

from mechcausal.address import Site
from mechcausal.arguments import Model, checked
from mechcausal.catalog import ORGANISMS, TASKS
from mechcausal.circuits.circuit import Circuit, require_wiring
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.known.auc import roc_auc
from mechcausal.circuits.known.compiled import is_compiled, live_edges
from mechcausal.circuits.known.stated import LOGITS, Link, Mechanism
from mechcausal.data.contrast import Contrast, require_even
from mechcausal.data.tasks import task
from mechcausal.errors import DataError, ModelError, UnsupportedError
from mechcausal.models.abilities import abilities
from mechcausal.models.files import sha256
from mechcausal.models.origin import origin_of
from mechcausal.organisms import truth as statement

Kind = Literal["compiled", "trained"]
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, eq=False)
class Known:
    """Which edges and nodes of an organism are true in a set of pairs.

    Attributes:
        organism: The organism.
        contrast: The name of the pairs.
        kind: Whether the truth is read off the weights (`"compiled"`) or was trained (`"trained"`).
        wiring: All edges of the model.
        true: The true edges, [sender receiver]; of a trained organism all inputs of a head that reads a sender.
        units: Which edges count as one, [sender receiver]: the number of the unit, -1 where there is no edge.
    """

    organism: str
    contrast: str
    kind: Kind
    wiring: Wiring
    true: np.ndarray
    units: np.ndarray

    @property
    def true_units(self) -> np.ndarray:
        """Which units are true, [unit]."""
        out = np.zeros(int(self.units.max()) + 1, dtype=bool)
        out[self.units[self.true]] = True
        return out

    @property
    def nodes(self) -> np.ndarray:
        """Which senders are true, [sender]: those from which a true edge starts, and the embedding among them."""
        return np.any(self.true, axis=1)

    @property
    def circuit(self) -> Circuit:
        """The true edges as a circuit; of a trained organism with all three inputs of a head that reads a sender."""
        scores = np.full((*self.true.shape, 1), np.nan)
        return Circuit(
            self.wiring, self.true[..., None], scores,
            about={"method": f"known, {self.kind}", "model": f"organism:{self.organism}", "pairs": self.contrast},
        )  # fmt: skip

    @property
    def edges(self) -> list[tuple[str, str]]:
        """The true edges, printed; of a trained organism the reader is a whole head."""
        return list(dict.fromkeys(self._printed(*edge) for edge in np.argwhere(self.true)))

    def _printed(self, sender: int, receiver: int) -> tuple[str, str]:
        site = self.wiring.receivers[receiver]
        return str(self.wiring.senders[sender]), str(_owner(self.wiring, site) if self.kind == "trained" else site)

    def edge_auc(self, circuit: Circuit) -> float:
        """Return how well its scores tell true edges from others: 1 if all true ones are above all others, 0.5 by chance.

        The area under the ROC curve. In a trained organism it is the mean over true edges of the chance to be above a
        false one: an edge into an MLP or the logits against each false edge, the inputs of a head taken together against
        those of a head that does not read the sender.

        Args:
            circuit: The circuit whose scores are compared with the truth; of several positions the largest score counts.
        """
        require_wiring(circuit, self.wiring)
        size, wanted = _largest(_ungrouped(circuit, self.wiring).scores), self.true_units
        unit_of_edge = self.units[self.wiring.possible]
        edges, false = size[self.wiring.possible], ~wanted[unit_of_edge]
        largest = np.full(len(wanted), -1.0)
        np.maximum.at(largest, unit_of_edge, edges)
        several = np.bincount(unit_of_edge) > 1
        areas, counts = [], []
        for kind, others in ((several, largest[several & ~wanted]), (~several, edges[false])):
            mine = largest[kind & wanted]
            if len(mine):
                true = np.repeat([True, False], [len(mine), len(others)])
                areas.append(roc_auc(_with_nan(np.concatenate([mine, others])), true))
                counts.append(len(mine))
        if not counts:
            roc_auc(edges, ~false)  # which says that no edge is true
        return float(np.average(areas, weights=counts))

    def node_auc(self, circuit: Circuit) -> float:
        """Return the same of heads and MLPs. The embedding is left out: it is in every circuit.

        Args:
            circuit: A circuit with scores of nodes; where it has none, a node has the largest score of its edges.
        """
        require_wiring(circuit, self.wiring)
        scores = _largest(circuit.scores).max(1) if circuit.nodes is None else _largest(circuit.nodes)
        return roc_auc(_with_nan(scores)[1:], self.nodes[1:])

    def summary(self) -> str:
        """Say how many edges are true of how many, and which."""
        resolution = "q, k and v told apart" if self.kind == "compiled" else "the inputs of a head count as one"
        lines = [
            f"organism:{self.organism}, {self.contrast}: {int(self.true_units.sum())} of {len(self.true_units)} edges are "
            f"true ({self.kind}; {resolution}), {int(self.nodes[1:].sum())} of {len(self.nodes) - 1} nodes"
        ]
        return "\n".join([*lines, *(f"  {sender} -> {reader}" for sender, reader in self.edges)])

    __repr__ = summary


@checked
def truth(model: Model, pairs: Contrast, *, organism: str | None = None) -> Known:
    """Return the true circuit of an organism in a set of pairs, as its construction tells it.

    Estimand: the edges that carry something which differs between the prompts of some pair, and whose reader's variable
    depends on it in the causal model. They follow from the weights of compiled organisms, and from what trained ones were
    trained to do; no method is run. An edge that has a backup is true, though replacing it alone changes nothing.

    Args:
        model: The organism, from `mc.load("organism:...")`.
        pairs: Pairs of its task, from `mc.contrast`.
        organism: Its name; None finds it by the digest of its weights.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> known = mc.circuits.truth(model, mc.contrast("hiring/merit", model, n=16))
        >>> known.edges
        [('embed', 'L1.z.H0'), ('L1.z.H0', 'L2.mlp_out'), ('L2.mlp_out', 'logits')]
    """
    require_even(pairs, "the known circuit")
    organism = organism_of(model) if organism is None else organism
    stated = statement(organism)
    name = pairs.name.partition("/")[0]
    if name not in TASKS:
        raise DataError(
            f"these pairs are of no task with a causal model (they are {pairs.name!r})",
            fix=f"take pairs of its task: mc.contrast('{stated['tasks'][0]}/FACTOR', model)",
        )
    wiring = Wiring.of(abilities(model))
    mechanism = Mechanism.of(organism, stated, task(name))
    links = mechanism.links(_table(pairs.clean.variables, pairs), _table(pairs.corrupt.variables, pairs))
    weights = _weights(organism)
    if is_compiled(weights):
        tokens = np.stack([pairs.clean.tokens.numpy(), pairs.corrupt.tokens.numpy()], -1)[pairs.clean.mask.numpy()]
        true = live_edges(wiring, weights, tokens) & _linked(wiring, links)
        return Known(organism, pairs.name, "compiled", wiring, true, _each(wiring))
    return Known(organism, pairs.name, "trained", wiring, _linked(wiring, links) & wiring.possible, _joined(wiring))


def organism_of(model: Any) -> str:  # noqa: ANN401 - a bridge
    """Return which organism a model is, by the digest of the file it was read from."""
    digests = set(origin_of(model).files.values())
    for name in ORGANISMS:
        file = ORGANISMS[name] / "weights" / WEIGHTS
        if file.is_file() and sha256(file) in digests:
            return name
    raise ModelError(
        "this model is no organism whose circuit is known", got=str(getattr(model.cfg, "model_name", "a model"))[:60],
        fix="load one: mc.load('organism:hiring'), or name it: organism='hiring'",
    )  # fmt: skip


def _weights(organism: str) -> Mapping[str, np.ndarray]:
    file = ORGANISMS[organism] / "weights" / WEIGHTS
    return load_file(file) if file.is_file() else {}


def _table(variables: Mapping[str, Tensor], pairs: Contrast) -> dict[str, np.ndarray]:
    if not variables:
        raise DataError(
            f"the pairs {pairs.name!r} do not say what their variables are", fix="take pairs from mc.contrast"
        )
    return {name: column.cpu().numpy() for name, column in variables.items()}


def _owner(wiring: Wiring, receiver: Site) -> Site:
    """Return the head or MLP that a receiver belongs to; the logits belong to none."""
    owners = wiring.owners(receiver)
    return wiring.senders[owners[0]] if owners else receiver


def _linked(wiring: Wiring, links: set[Link]) -> np.ndarray:
    """Return the edges of these links, [sender receiver]: into a key that is a place of its own, else into the whole head."""
    places = {reader for _, reader in links}
    table = np.zeros(wiring.possible.shape, dtype=bool)
    for number, receiver in enumerate(wiring.receivers):
        owner = LOGITS if receiver == LOGITS else _owner(wiring, receiver)
        reader = receiver if receiver in places else owner
        for sender, read in links:
            if read == reader and sender in wiring.senders:
                table[wiring.sender(sender), number] = True
    return table


def _each(wiring: Wiring) -> np.ndarray:
    """Let each edge be a unit of its own."""
    units = np.full(wiring.possible.shape, -1)
    units[wiring.possible] = np.arange(wiring.count)
    return units


def _joined(wiring: Wiring) -> np.ndarray:
    """Let the edges from one sender into one head be one unit."""
    if wiring.n_kv_heads != wiring.n_heads:
        raise UnsupportedError(
            "heads that share keys and values cannot be told apart as readers",
            fix="use an organism without shared keys",
        )
    owners = [_owner(wiring, receiver) for receiver in wiring.receivers]
    numbers: dict[tuple[int, Site], int] = {}
    units = np.full(wiring.possible.shape, -1)
    for sender, receiver in np.argwhere(wiring.possible):
        units[sender, receiver] = numbers.setdefault((int(sender), owners[receiver]), len(numbers))
    return units


def _largest(scores: np.ndarray) -> np.ndarray:
    """Return the largest absolute score over positions; -1 where there is none."""
    return np.nan_to_num(np.abs(scores), nan=-1.0).max(-1)


def _with_nan(size: np.ndarray) -> np.ndarray:
    return np.where(size < 0, np.nan, size)


def _ungrouped(circuit: Circuit, wiring: Wiring) -> Circuit:
    if circuit.wiring != wiring:
        raise ModelError(
            "this circuit tells query heads apart as readers of one key", fix="discover it with split=False"
        )
    return circuit
