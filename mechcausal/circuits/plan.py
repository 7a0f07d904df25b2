"""Where everything stands in the picture of a circuit, and which lines are drawn: one plan for all circuits of a model.

A node stands where the model has it, whatever is kept: a row for each layer, its heads in their order, its MLP beside and
above them, the embedding at the bottom and the logits on top. So a discovered circuit and a hypothesis of the same model
are drawn on one another. Queries, keys and values that read the same sender are one line with their letters. Keys and values
that heads share are read at a bar under these heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mechcausal.address import ALL, Site
from mechcausal.address.components import KV_COMPONENTS
from mechcausal.circuits.circuit import Circuit, require_wiring
from mechcausal.circuits.edges.wiring import INPUTS, Wiring
from mechcausal.circuits.grouped import grouped, ungrouped

FOUND, MISSED, FALSE = "true, found", "true, missed", "found, not true"
FATES = (FOUND, MISSED, FALSE)

Point = tuple[float, float]


@dataclass(frozen=True)
class Spots:
    """Where the nodes of a model stand, in points of the still picture.

    Attributes:
        wiring: The model.
        step: How far heads stand from each other.
        row: How high a layer is.
        radius: How large a node is.
    """

    wiring: Wiring
    step: float
    row: float
    radius: float

    @classmethod
    def of(cls, wiring: Wiring) -> Spots:
        """Return the plan of a model: large models get smaller steps."""
        step = max(24.0, min(62.0, 720 / (wiring.n_heads + 1)))
        row = max(40.0, min(92.0, 1500 / wiring.n_layers))
        return cls(wiring, step, row, min(10.0, 0.36 * step, 0.24 * row))

    left, top = 62.0, 78.0

    @property
    def size(self) -> Point:
        """Width and height."""
        wide = self.left + self.step * (self.wiring.n_heads + int(self.wiring.mlps) + 0.6) + 24
        return wide, self.top + self.row * self.wiring.n_layers + 118

    @property
    def middle(self) -> float:
        """Where the embedding and the logits stand."""
        return self.left + self.step * (self.wiring.n_heads + int(self.wiring.mlps)) / 2

    def level(self, layer: int) -> float:
        """Return how far down the heads of a layer stand."""
        return self.top + self.row * (self.wiring.n_layers - layer - 0.1)

    def node(self, site: Site) -> Point:
        """Return where a sender or the logits stand."""
        if site.component == "logits":
            return self.middle, self.top - 12
        if site.component == "embed" or site.layer is None:
            return self.middle, self.top + self.row * self.wiring.n_layers + 44
        if site.head is not None:
            return self.left + self.step * (site.head + 0.5), self.level(site.layer)
        above = 0.0 if self.wiring.parallel else 0.42 * self.row
        return self.left + self.step * (self.wiring.n_heads + 0.9), self.level(site.layer) - above

    def bar(self, layer: int, head: int) -> tuple[Point, Point]:
        """Return the ends of the bar at which heads that share keys and values read them."""
        shared = self.wiring.n_heads // self.wiring.n_kv_heads
        first, last = (self.node(Site("z", layer, head=h)) for h in (head * shared, head * shared + shared - 1))
        below = first[1] + self.radius + 5
        return (first[0] - self.radius, below), (last[0] + self.radius, below)

    @property
    def has_bars(self) -> bool:
        """Whether heads share keys and values, and are not told apart as their readers."""
        return self.wiring.n_heads != self.wiring.n_kv_heads and not self.wiring.split


@dataclass(frozen=True)
class Line:
    """One line of the picture: what a sender sends to a head, an MLP or the logits.

    Attributes:
        sender: The sender.
        reader: The head, MLP or logits; of shared keys and values the first receiver of them.
        letters: Which inputs of a head read it: `q`, `kv`, `qkv`; empty elsewhere.
        scores: The score of each edge that is in the line, in the order of the letters.
        fate: What it is beside the truth, where that is known.
    """

    sender: Site
    reader: Site
    letters: str
    scores: tuple[float, ...]
    fate: str = ""

    @property
    def score(self) -> float:
        """The score of the edge that matters most; NaN where none has one."""
        scored = [score for score in self.scores if not math.isnan(score)]
        return max(scored, key=abs) if scored else math.nan

    @property
    def size(self) -> float:
        """How much it matters; 0 where it has no score."""
        return 0.0 if math.isnan(self.score) else abs(self.score)

    @property
    def tip(self) -> str:
        """What it is in words."""
        number = lambda score: "no score" if math.isnan(score) else f"{score:+.4f}"  # noqa: E731
        score_text = (
            ", ".join(f"{letter} {number(score)}" for letter, score in zip(self.letters, self.scores, strict=True))
            if self.letters
            else number(self.scores[0])
        )
        return f"{self.sender} to {self.reader}: {score_text}" + (f" ({self.fate})" if self.fate else "")


@dataclass(frozen=True)
class Plan:
    """All that is drawn of a circuit.

    Attributes:
        spots: Where everything stands.
        lines: The lines, what matters most last.
        fates: What each node of the circuit or the truth is beside the truth; empty strings where there is no truth.
        scores: The score of each sender, where senders have one.
        names: What stands beside a node: the variables of a hypothesis.
        count: How many edges the circuit has, and how many of them are drawn.
        joined: How many positions were joined.
        counts: How many edges, or edges into a head as one, have each fate.
    """

    spots: Spots
    lines: tuple[Line, ...]
    fates: Mapping[Site, str]
    scores: Mapping[Site, float]
    names: Mapping[Site, str]
    count: tuple[int, int]
    joined: int
    counts: Mapping[str, int]

    @cached_property
    def largest(self) -> float:
        """The largest absolute score of a line; 1 where none has a score."""
        return max((line.size for line in self.lines), default=0.0) or 1.0

    @property
    def title(self) -> str:
        """What the picture is of."""
        total, drawn = self.count
        text = f"circuit of {total:,} edges"
        text += f" (the {drawn:,} with the largest scores are drawn)" if drawn < total else ""
        return text + (f", {self.joined} positions joined" if self.joined > 1 else "")

    def describe(self) -> str:
        """Say in words what the picture shows, for those who cannot see it."""
        tallies = [f"{count} {fate}" for fate, count in self.counts.items()]
        scored = [line.tip for line in reversed(self.lines) if line.size][:3]
        return "; ".join([self.title, *tallies, *scored])


def plan(circuit: Circuit, truth: Any = None, *, by_head: bool | None = None, most_edges: int = 1000) -> Plan:  # noqa: ANN401
    """Plan the picture of a circuit, beside the truth where that is given.

    Args:
        circuit: The circuit; positions that are told apart are joined.
        truth: The circuit that is known to be true, or what holds it as `circuit`.
        by_head: Whether a head counts as one reader beside the truth; None where the truth itself does not tell its
            inputs apart.
        most_edges: How many edges are drawn at most, those with the largest scores.
    """
    true_circuit = getattr(truth, "circuit", truth)
    if by_head is None and isinstance(true_circuit, Circuit):
        by_head = true_circuit.about.get("method") in ("hypothesis", "known, trained")
    kept = np.asarray(circuit.kept.any(-1))
    scores = _largest(np.where(kept[..., None] & ~circuit.kept, np.nan, circuit.scores))
    total = int(kept.sum())
    drawn = _most(kept, scores, most_edges)
    true = None
    if isinstance(true_circuit, Circuit):
        require_wiring(true_circuit, circuit.wiring)
        true = np.asarray((ungrouped(true_circuit) if circuit.wiring.split else grouped(true_circuit)).kept.any(-1))
    lines = _lines(circuit.wiring, drawn, scores, true, kept, bool(by_head))
    counts = {}
    if true is not None:
        ends = _readers(circuit.wiring) if by_head else np.arange(kept.shape[1])
        for fate, edges in zip(FATES, _fates(kept, true, ends), strict=True):
            counts[fate] = len({(sender, ends[receiver]) for sender, receiver in np.argwhere(edges)})
    nodes = {} if circuit.nodes is None else dict(zip(circuit.wiring.senders, _largest(circuit.nodes), strict=True))
    return Plan(
        Spots.of(circuit.wiring),
        tuple(sorted(lines, key=lambda line: (line.fate != FALSE, line.size))),
        _node_fates(circuit.wiring, kept, true),
        nodes,
        _names(true_circuit) | _names(circuit),
        (total, int(drawn.sum())),
        len(circuit.positions) if circuit.positions != (ALL,) else 1,
        counts,
    )


def _largest(values: np.ndarray) -> np.ndarray:
    """Return the value with the largest absolute value over positions; NaN where there is none."""
    index = np.nan_to_num(np.abs(values), nan=-1.0).argmax(-1)
    return np.take_along_axis(values, index[..., None], -1)[..., 0]


def _most(kept: np.ndarray, scores: np.ndarray, most: int) -> np.ndarray:
    if kept.sum() <= most:
        return kept
    size = np.where(kept, np.nan_to_num(np.abs(scores), nan=0.0), -1.0).ravel()
    drawn = np.zeros(size.shape, dtype=bool)
    drawn[np.argsort(-size, kind="stable")[:most]] = True
    return drawn.reshape(kept.shape)


def _readers(wiring: Wiring) -> np.ndarray:
    """Return for each receiver the number of what it belongs to in the picture: a head, an MLP, shared keys, the logits."""
    numbers: dict[Site, int] = {}
    return np.array([numbers.setdefault(reader(wiring, site), len(numbers)) for site in wiring.receivers])


def reader(wiring: Wiring, receiver: Site) -> Site:
    """Return what a receiver belongs to in the picture: a head, the keys and values that heads share, an MLP, the logits."""
    if receiver.component not in INPUTS:
        return receiver
    shared = wiring.n_heads != wiring.n_kv_heads and not wiring.split
    if receiver.component in KV_COMPONENTS and shared:
        return replace(receiver, component="k")
    return replace(receiver, component="z")


def _fates(kept: np.ndarray, true: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which edges are found, missed and false, [sender receiver]; edges into one end count as one."""
    both = []
    for edges in (kept, true):
        joined = np.zeros((len(edges), int(ends.max()) + 1), dtype=bool)
        np.logical_or.at(joined.T, ends, edges.T)
        both.append(joined[:, ends])
    kept_there, true_there = both
    return kept & true_there, true & ~kept_there, kept & ~true_there


def _lines(
    wiring: Wiring, drawn: np.ndarray, scores: np.ndarray, true: np.ndarray | None, kept: np.ndarray, by_head: bool
) -> list[Line]:
    if true is None:
        groups = {"": drawn}
    else:
        ends = _readers(wiring) if by_head else np.arange(kept.shape[1])
        hits, missed, false = _fates(kept, true, ends)
        groups = {FOUND: hits & drawn, MISSED: missed, FALSE: false & drawn}
    lines = []
    for fate, edges in groups.items():
        merged: dict[tuple[int, Site], list[int]] = {}
        for sender, receiver in np.argwhere(edges).tolist():
            merged.setdefault((sender, reader(wiring, wiring.receivers[receiver])), []).append(receiver)
        for (sender, end), receivers in merged.items():
            sites = [wiring.receivers[number] for number in receivers]
            letters = "".join(site.component for site in sites if site.component in INPUTS)
            line_scores = tuple(float(scores[sender, number]) for number in receivers)
            lines.append(Line(wiring.senders[sender], end, letters, line_scores, fate))
    return lines


def _node_fates(wiring: Wiring, kept: np.ndarray, true: np.ndarray | None) -> dict[Site, str]:
    """Return each node that has an edge in the circuit or the truth; a node counts where an edge starts or ends at it."""

    def having(edges: np.ndarray) -> set[Site]:
        ends = {wiring.senders[number] for number in np.flatnonzero(edges.any(1))}
        for number in np.flatnonzero(edges.any(0)):
            site = wiring.receivers[number]
            owners = wiring.owners(site)
            ends |= {wiring.senders[owner] for owner in owners} if len(owners) == 1 else set()
            ends |= {site} if site.component == "logits" else set()
        return ends

    in_circuit = having(kept)
    if true is None:
        return dict.fromkeys(in_circuit, "")
    in_truth = having(true)
    fates = dict.fromkeys(in_circuit & in_truth, FOUND) | dict.fromkeys(in_truth - in_circuit, MISSED)
    return fates | dict.fromkeys(in_circuit - in_truth, FALSE)


def _names(circuit: Any) -> dict[Site, str]:  # noqa: ANN401 - a circuit, or nothing
    about = circuit.about.get("variables") if isinstance(circuit, Circuit) else None
    return {Site.parse(site): str(name) for site, name in about.items()} if isinstance(about, Mapping) else {}
