"""ACDC: remove edges one by one, from the logits up, as long as the run loses little by each (Conmy et al. 2023).

    for each receiver, the last first; for each sender of it, the last first:
        remove the edge if  loss(circuit without it) - loss(circuit) < threshold

When a receiver's turn comes, everything in front of its layer is still the clean run, so each run begins at that layer.
Several edges are tried in one batch. What will become of those in front of an edge is foretold: an edge goes, unless
another walk has seen it cost more than the threshold. Up to the first edge for which that is wrong, these are exactly the
runs that the algorithm makes one after the other; what comes behind it is run again. A receiver that nothing reads loses
its edges without a run.

Several thresholds walk together until they first decide differently. The outcome for each is exactly its own walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from mechcausal.circuits.edges.masked import Masked
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.circuits.scores.scored import SCORERS, Scored, Scoring, impossible
from mechcausal.circuits.search.damage import damage, whole
from mechcausal.errors import ArgumentError

THRESHOLDS = tuple(float(f"{share:.3g}") for share in np.geomspace(1e-3, 0.3, 10))
"""The thresholds of a sweep, as shares of the loss with every edge cut."""
_LARGEST = 64  # edges that are tried in one batch


@dataclass(frozen=True)
class Removed:
    """What ACDC leaves at each threshold.

    Attributes:
        thresholds: The thresholds, ascending.
        kept: The edges that stay, [threshold sender receiver position].
        losses: What each edge cost, or would have cost, when it was tried, [threshold sender receiver position].
        damage: The loss of what stays, [threshold].
        runs: How many circuits were run.
        tried: How many edges were decided by a run, over all thresholds: the runs of one walk after the other.
    """

    thresholds: tuple[float, ...]
    kept: np.ndarray
    losses: np.ndarray
    damage: np.ndarray
    runs: int
    tried: int

    @property
    def scores(self) -> np.ndarray:
        """The largest threshold at which an edge stays, [sender receiver position], made finer by what it cost there.

        What an edge cost at that threshold lies above it, and counts up to the next threshold. An edge that never stays
        scores what it cost at the smallest threshold, up to that.
        """
        best = np.clip(self.losses[0], 0, self.thresholds[0])
        above = (*self.thresholds[1:], np.inf)
        for number, (threshold, following) in enumerate(zip(self.thresholds, above, strict=True)):
            best = np.where(self.kept[number], np.clip(self.losses[number], threshold, following), best)
        return best


@dataclass
class _Walk:
    """A state of the search that some thresholds share.

    Attributes:
        kept: The edges that are still there.
        losses: What each edge that was tried cost.
        damage: The loss of the run as it is.
        thresholds: The thresholds whose walk this is.
        at: How many edges of the stage have been decided.
        size: How many edges are tried next.
    """

    kept: np.ndarray
    losses: np.ndarray
    damage: float
    thresholds: tuple[float, ...]
    at: int = 0
    size: int = 8

    def fork(self, thresholds: tuple[float, ...], at: int) -> _Walk:
        return _Walk(self.kept.copy(), self.losses.copy(), self.damage, thresholds, at, 4)


class Search:
    """The walk of several thresholds through the edges of a model.

    Args:
        masked: The pairs.
        most: How many edges are tried in one batch at most; 1 is the algorithm as it is written.
        progress: Whether a progress bar is shown.
    """

    def __init__(self, masked: Masked, most: int = _LARGEST, *, progress: bool = False) -> None:
        self.masked, self.wiring, self.most = masked, masked.wiring, most
        self.runs = self.tried = 0
        self.seen = np.zeros(masked.shape)  # what each edge cost when it was last tried, in any walk
        self.bar = tqdm(
            total=masked.wiring.count, desc="acdc", unit="edge", disable=None if progress else True, leave=False
        )

    def run(self, thresholds: Sequence[float]) -> Removed:
        """Remove edges at each threshold."""
        ascending = tuple(sorted(set(thresholds)))
        if not ascending or ascending[0] <= 0:
            raise ArgumentError("a threshold of acdc is a number above 0", got=list(thresholds))
        possible = np.broadcast_to(self.wiring.possible[..., None], self.masked.shape)
        start = damage(self.masked, self.masked.clean[None])[0]
        walks = [_Walk(possible.copy(), np.zeros(self.masked.shape), float(start), ascending)]
        for layer, receivers in stages(self.wiring):
            walks = _joined([done for walk in walks for done in self._stage(walk, layer, receivers)])
            self.bar.update(int(self.wiring.possible[:, receivers].sum()))
        self.bar.close()
        of = {threshold: walk for walk in walks for threshold in walk.thresholds}
        kept, losses = (np.stack([getattr(of[t], name) for t in ascending]) for name in ("kept", "losses"))
        return Removed(ascending, kept, losses, np.array([of[t].damage for t in ascending]), self.runs, self.tried)

    def _stage(self, walk: _Walk, layer: int, receivers: list[int]) -> list[_Walk]:
        """Decide the edges into some receivers of one layer; return a walk for each outcome."""
        edges = [edge for receiver in receivers if self._read(walk, receiver) for edge in self._into(receiver)]
        for receiver in receivers:
            if not self._read(walk, receiver):
                walk.kept[:, receiver] = False  # no run can change by it
        walk.at, walk.size = 0, min(max(walk.size, 8), self.most)
        waiting, done = [walk], []
        while waiting:
            current = waiting.pop()
            while current.at < len(edges):
                waiting += self._decide(current, layer, edges[current.at : current.at + current.size])
            done.append(current)
        return done

    def _decide(self, walk: _Walk, layer: int, edges: list[tuple[int, int, int]]) -> list[_Walk]:
        """Try some edges, and go up to the first that was foretold wrongly; return walks that go another way."""
        goes = [self.seen[edge] < max(walk.thresholds) for edge in edges]
        losses = self._tried(walk, layer, edges, goes)
        forks, start = [], walk.at
        for number, edge in enumerate(edges):
            cost = float(losses[number]) - walk.damage
            stays = tuple(threshold for threshold in walk.thresholds if not cost < threshold)
            self.tried += len(walk.thresholds)
            walk.losses[edge] = self.seen[edge] = cost
            walk.at = start + number + 1
            gone = len(stays) < len(walk.thresholds)
            if gone and stays:
                forks.append(walk.fork(stays, walk.at))
                walk.thresholds = tuple(threshold for threshold in walk.thresholds if threshold not in stays)
            if gone:
                walk.kept[edge], walk.damage = False, float(losses[number])
            if gone != goes[number]:
                walk.size = min(self.most, max(2, 2 * number))
                return forks
        walk.size = min(self.most, 2 * walk.size)
        return forks

    def _tried(self, walk: _Walk, layer: int, edges: list[tuple[int, int, int]], goes: Sequence[bool]) -> np.ndarray:
        """Return the loss without each edge, and without those in front of it that are foretold to go, [edge]."""
        cut = self.masked.cut(walk.kept)[None].repeat(len(edges), 1, 1, 1)
        for number, edge in enumerate(edges):
            cut[(slice(number, None if goes[number] else number + 1), *edge)] = 1
        self.runs += len(edges)
        return damage(self.masked, self.masked.of(cut, first=layer))

    def _into(self, receiver: int) -> list[tuple[int, int, int]]:
        """Return the edges into a receiver, the last sender first."""
        senders = np.flatnonzero(self.wiring.possible[:, receiver])[::-1].tolist()
        return [(sender, receiver, place) for sender in senders for place in range(self.masked.shape[2])]

    def _read(self, walk: _Walk, receiver: int) -> bool:
        """Say whether anything reads what is computed from a receiver; all edges behind it are decided."""
        owners = self.wiring.owners(self.wiring.receivers[receiver])
        return not owners or bool(walk.kept[list(owners)].any())


def stages(wiring: Wiring) -> list[tuple[int, list[int]]]:
    """Return the receivers in the order of the search, by layer, those together that nothing of each other reads."""
    order = [(wiring.n_layers, [len(wiring.receivers) - 1])]
    for layer in reversed(range(wiring.n_layers)):
        numbers = range(len(wiring.receivers))[wiring.receivers_of(layer)]
        of_mlp = [number for number in numbers if wiring.receivers[number].component == "mlp_out"]
        into_heads = [number for number in reversed(numbers) if number not in of_mlp]
        order += [(layer, part) for part in (of_mlp, into_heads) if part]
    return order


def _joined(walks: list[_Walk]) -> list[_Walk]:
    """Join walks that have come to the same circuit with the same losses on record."""
    by_state: dict[bytes, _Walk] = {}
    for walk in walks:
        same = by_state.setdefault(np.packbits(walk.kept).tobytes() + walk.losses.tobytes(), walk)
        if same is not walk:
            same.thresholds = tuple(sorted({*same.thresholds, *walk.thresholds}))
    return list(by_state.values())


def acdc(masked: Masked, thresholds: Sequence[float], *, most: int = _LARGEST, progress: bool = False) -> Removed:
    """Remove edges as long as each costs less than a threshold, for several thresholds at once.

    Args:
        masked: The pairs; with the metric `"kl"` the loss is that of the paper.
        thresholds: What one edge may cost.
        most: How many edges are tried in one batch at most.
        progress: Whether a progress bar is shown.
    """
    return Search(masked, most, progress=progress).run(thresholds)


@SCORERS.register("acdc")
def score_by_acdc(masked: Masked, scoring: Scoring) -> Scored:
    """Score edges by the largest threshold at which ACDC keeps them; with a threshold, keep what it keeps there."""
    total = whole(masked)
    chosen = [share * total for share in THRESHOLDS] if scoring.threshold is None else [scoring.threshold]
    result = acdc(masked, chosen, progress=scoring.progress)
    about = {
        "thresholds": list(result.thresholds), "edges_at_threshold": result.kept.sum((1, 2, 3)).tolist(),
        "loss_at_threshold": result.damage.tolist(), "runs": result.runs, "sequential_runs": result.tried,
        "signed": False,
    }  # fmt: skip
    kept = result.kept[0] if scoring.threshold is not None else None
    return Scored(impossible(masked, result.scores), about=about, kept=kept)
