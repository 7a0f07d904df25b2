"""Which edges a model has: everything that writes to the residual stream, everything that reads it, who reaches whom.

    sender     the embedding, a head (`L3.z.H1`), an MLP (`L3.mlp_out`): what it adds to the stream
    receiver   the query, key or value of a head (`L3.q.H1`), an MLP (`L3.mlp_out`), the logits: what it reads there
    edge       a sender's contribution as one receiver reads it

Keys and values that several query heads share are one receiver for each key-value head. With `split` each query head
reads keys and values of its own, which is what implementations that repeat the shared weights compute.

Arrays over edges are [sender, receiver, position]; the last axis has one entry where positions are not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from mechcausal.address import Site
from mechcausal.address.components import KV_COMPONENTS
from mechcausal.errors import SiteError, UnsupportedError, shortened
from mechcausal.models.abilities import Abilities

INPUTS = ("q", "k", "v")
"""What a head reads, each for itself."""
_MOST = 1000  # layers, or heads of a layer: more than any model has


@dataclass(frozen=True)
class Wiring:
    """The senders and receivers of one model, in the order of computation.

    Attributes:
        n_layers: How many layers there are.
        n_heads: How many query heads each layer has.
        n_kv_heads: How many key-value heads each layer has.
        mlps: Whether layers have MLPs.
        parallel: Whether an MLP reads the stream before the attention of its layer.
        split: Whether each query head has keys and values of its own, where they are shared.

    Example:
        >>> wiring = Wiring(n_layers=2, n_heads=2, n_kv_heads=1)
        >>> len(wiring.senders), len(wiring.receivers), wiring.count
        (7, 11, 36)
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    mlps: bool = True
    parallel: bool = False
    split: bool = False

    @classmethod
    def of(cls, able: Abilities, *, split: bool = False) -> Wiring:
        """Return the wiring of a model.

        Args:
            able: What the model can do.
            split: Whether query heads that share keys and values are told apart as their readers.
        """
        if not able.additive:
            raise UnsupportedError(
                f"{able.architecture} does not add its sublayers to the stream unchanged, so it has no edges",
                fix="use mc.patch, which works on every architecture",
            )
        shape, mlps = able.shape, able.components["mlp_out"].reads
        parallel = mlps and not able.components["resid_mid"].writes
        split = split and shape.n_heads != shape.n_kv_heads
        return cls(shape.n_layers, shape.n_heads, shape.n_kv_heads, mlps, parallel, split)

    @cached_property
    def senders(self) -> tuple[Site, ...]:
        """Everything that writes to the stream."""
        sites = [Site("embed")]
        for layer in range(self.n_layers):
            sites += [Site("z", layer, head=head) for head in range(self.n_heads)]
            sites += [Site("mlp_out", layer)] if self.mlps else []
        return tuple(sites)

    @cached_property
    def receivers(self) -> tuple[Site, ...]:
        """Everything that reads the stream; the logits are last."""
        sites = []
        for layer in range(self.n_layers):
            sites += [Site(kind, layer, head=head) for kind in INPUTS for head in range(self.heads(kind))]
            sites += [Site("mlp_out", layer)] if self.mlps else []
        return (*sites, Site("logits"))

    def heads(self, kind: str) -> int:
        """Return how many receivers of a kind a layer has."""
        return self.n_kv_heads if kind in KV_COMPONENTS and not self.split else self.n_heads

    @property
    def per_layer(self) -> tuple[int, int]:
        """How many senders and receivers a layer has."""
        mlp = int(self.mlps)
        return self.n_heads + mlp, sum(map(self.heads, INPUTS)) + mlp

    def senders_of(self, layer: int) -> slice:
        """Return where the senders of a layer stand among all."""
        size, first = self.per_layer[0], 1 + layer * self.per_layer[0]
        return slice(first, first + size)

    def receivers_of(self, layer: int) -> slice:
        """Return where the receivers of a layer stand among all; the logits stand in a layer after the last."""
        size = self.per_layer[1]
        return slice(layer * size, layer * size + size if layer < self.n_layers else layer * size + 1)

    def reach(self, receiver: Site) -> int:
        """Return how many senders are computed before a receiver reads the stream: the first so many of all."""
        if receiver.layer is None:
            return len(self.senders)
        first = self.senders_of(receiver.layer).start
        return first + self.n_heads if receiver.component == "mlp_out" and not self.parallel else first

    @cached_property
    def possible(self) -> np.ndarray:
        """Which sender reaches which receiver, [sender receiver]."""
        reach = np.array([self.reach(receiver) for receiver in self.receivers])
        return np.arange(len(self.senders))[:, None] < reach[None]

    @property
    def count(self) -> int:
        """How many edges there are, positions not told apart."""
        return int(self.possible.sum())

    def sender(self, site: str | Site) -> int:
        """Return the number of a sender."""
        return _number(self._sender_numbers, site, "writes to the stream", self.senders)

    def receiver(self, site: str | Site) -> int:
        """Return the number of a receiver."""
        return _number(self._receiver_numbers, site, "reads the stream", self.receivers)

    def owners(self, receiver: Site) -> tuple[int, ...]:
        """Return the senders that compute with what a receiver reads: heads that share a key, say; none for the logits."""
        if receiver.layer is None:
            return ()
        if receiver.component == "mlp_out":
            return (self.sender(receiver),)
        assert receiver.head is not None
        shared = self.n_heads // self.heads(receiver.component)
        heads = range(receiver.head * shared, (receiver.head + 1) * shared)
        return tuple(self.sender(Site("z", receiver.layer, head=head)) for head in heads)

    @cached_property
    def readers(self) -> np.ndarray:
        """Which receiver belongs to which sender, [sender receiver]: what a head or an MLP reads of the stream."""
        table = np.zeros(self.possible.shape, dtype=bool)
        for number, receiver in enumerate(self.receivers):
            table[list(self.owners(receiver)), number] = True
        return table

    @cached_property
    def _sender_numbers(self) -> dict[Site, int]:
        return {site: number for number, site in enumerate(self.senders)}

    @cached_property
    def _receiver_numbers(self) -> dict[Site, int]:
        return {site: number for number, site in enumerate(self.receivers)}

    def to_json(self) -> dict[str, Any]:
        """Return JSON data from which `from_json` makes an equal wiring."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Wiring:
        """Make a wiring from its JSON data."""
        names = {part.name: bool if isinstance(part.default, bool) else int for part in fields(cls)}
        if not data.keys() <= names.keys() or any(type(data[name]) is not names[name] for name in data):
            raise SiteError("this does not say which edges a model has", got=shortened(repr(dict(data))))
        n_layers, n_heads, n_kv_heads = (data.get(name, 0) for name in ("n_layers", "n_heads", "n_kv_heads"))
        sizes = (n_layers, n_heads, n_kv_heads)
        if min(sizes) < 1 or max(sizes) > _MOST or n_heads % n_kv_heads:
            raise SiteError("no model has these edges", got=shortened(repr(dict(data))))
        return cls(**data)


def _number(numbers: Mapping[Site, int], site: str | Site, role: str, all_sites: Sequence[Site]) -> int:
    wanted = Site.parse(site)
    if wanted not in numbers:
        examples = ", ".join(map(str, dict.fromkeys((all_sites[0], all_sites[1], all_sites[-1]))))
        raise SiteError(f"{wanted} is nothing that {role} in this model", expected=f"such as {examples}")
    return numbers[wanted]
