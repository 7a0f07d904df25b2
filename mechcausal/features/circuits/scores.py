"""Scores of nodes and edges of a circuit of features, by integrated gradients, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.circuits.graph import Node, turn_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.features.circuits.kept import told_apart
from mechcausal.features.screening.attribution import BUDGET, add_scores, changes, fitting, slope
from mechcausal.interventions.specs import Edit, Interpolate, Patch
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.attached import Bound
from mechcausal.models.engine import align, in_batches
from mechcausal.models.hooked import Source, forward, gradient_reads
from mechcausal.patching.sweep import two_sides

OUTPUT = Node(Site("logits"))


@dataclass
class Scorer:
    """Scores of nodes and of edges.

    Attributes:
        model: The bridge.
        known: The dictionaries, in the order in which the model meets them.
        metric: The metric.
        at: The positions at which nodes are told apart.
        steps: How many points on each path.
        direction: Which side of a pair is the base.
        batch_size: How many pairs at a time.
        effects: The exact effect of the whole activation of each dictionary at these positions, once nodes are scored.
    """

    model: Any
    known: Sequence[Bound]
    metric: Metric
    at: Sequence[Selection]
    steps: int
    direction: str
    batch_size: int
    effects: dict[str, float] = field(default_factory=dict)

    def nodes(self, pairs: Contrast) -> dict[str, np.ndarray]:
        """Return the score of every node of every dictionary, [place feature]; the error comes last."""
        n = len(pairs)
        totals = {one.name: torch.zeros(len(self.at), one.n_features + 1, dtype=torch.double) for one in self.known}
        exact = dict.fromkeys(totals, 0.0)

        def one_batch(batch: _Batch) -> None:
            new = {one.name: batch.shares(one, self.steps) for one in self.known}
            effects = {one.name: batch.effect(one) for one in self.known}
            for name in new:  # only now: a batch that ran out of memory is tried again
                totals[name] += new[name].cpu()
                exact[name] += effects[name]

        self._over(pairs, one_batch)
        self.effects = {name: total / n for name, total in exact.items()}
        return {name: (total / n).numpy() for name, total in totals.items()}

    def edges(self, pairs: Contrast, nodes: Sequence[Node]) -> dict[tuple[Node, Node], float]:
        """Return the score of every edge between these nodes, and from them to the metric."""
        totals: dict[tuple[Node, Node], float] = {}

        def one_batch(batch: _Batch) -> None:
            new: dict[tuple[Node, Node], float] = {}
            for number, sender in enumerate(self.known):
                for receiver in (*self.known[number + 1 :], None):
                    new |= batch.between(sender, receiver, nodes, self.steps)
            for edge, value in new.items():
                totals[edge] = totals.get(edge, 0.0) + value

        self._over(pairs, one_batch)
        return {edge: value / len(pairs) for edge, value in totals.items() if value != 0}

    def coverage(self, scores: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return for each dictionary the effect of its activation, what its nodes sum to, and the share of the error."""
        rows = []
        for one in self.known:
            total, error = float(scores[one.name].sum()), float(scores[one.name][:, -1].sum())
            rows.append(
                {
                    "dictionary": one.name, "site": str(one.site), "effect": self.effects[one.name], "sum": total,
                    "error_share": error / total if abs(total) > 1e-12 else float("nan"),
                }
            )  # fmt: skip
        return rows

    def _over(self, pairs: Contrast, one_batch: Callable[[_Batch], None]) -> None:
        base, source = two_sides(pairs, self.direction)
        base, source, clean = align(base, source, pairs.clean)

        def run(index: Tensor) -> np.ndarray:
            device = bridge.device_of(self.model)
            one_batch(_Batch(self, *(side.take(index).to(device) for side in (base, source, clean))))
            return np.zeros((0, len(index)))

        with torch.inference_mode(False):
            in_batches(len(base), fitting(self.batch_size, base.tokens.shape[1], *self.known), run)


class _Batch:
    """One batch: what is read of both sides, and what a unit of each activation does to the metric."""

    def __init__(self, job: Scorer, batch: PromptSet, other: PromptSet, clean: PromptSet) -> None:
        self.job, self.model, self.batch = job, job.model, batch
        self.compared = forward(self.model, clean).logits if job.metric.compares else None
        reads = list(dict.fromkeys(site for one in job.known for site in (one.site, one.written)))
        self.here = forward(self.model, batch, read=reads).read
        self.there = forward(self.model, other, read=reads).read
        self.chosen = told_apart(job.at, batch)
        self.inside = torch.stack(self.chosen).any(0)
        self._slopes: dict[str, Tensor] = {}
        self._changes: dict[tuple[str, tuple[int, ...]], tuple[Tensor, Tensor]] = {}

    def slope(self, one: Bound, steps: int) -> Tensor:
        """Return what a unit of the activation does to the metric, on average along the path, [batch pos d_out]."""
        if one.name not in self._slopes:
            path = Source(self.there[one.written], self.inside), steps
            found = slope(self.model, self.batch, self.job.metric, self.compared, one.written, path=path)[0]
            self._slopes[one.name] = found.flatten(2)
        return self._slopes[one.name]

    def shares(self, one: Bound, steps: int) -> Tensor:
        """Return the sum over examples of what each node does, [place feature]; the error comes last."""
        weights = self.slope(one, steps)
        moved = (self.there[one.written] - self.here[one.written]).flatten(2)
        out = torch.zeros(len(self.chosen), one.n_features + 1, dtype=torch.double, device=moved.device)
        place = torch.stack(self.chosen).byte().argmax(0)[self.inside]
        x, source, moved, weights = (
            part[self.inside] for part in (self.here[one.site], self.there[one.site], moved, weights)
        )
        for some in _chunks(len(x), one):
            f, change = changes(one, x[some], source[some])
            scores = out.new_zeros(len(out), one.n_features)
            add_scores(scores, one, f, change, weights[some], place[some])
            out[:, :-1] += scores
            missed = moved[some] - change @ one.W_dec
            out[:, -1].index_add_(0, place[some], (missed.double() * weights[some].double()).sum(-1))
        return out

    @torch.no_grad()
    def effect(self, one: Bound) -> float:
        """Return the sum over examples of what taking the whole activation from the other prompt changes."""
        edit, source = Edit(one.written, Patch()), Source(self.there[one.written], self.inside)
        moved = forward(self.model, self.batch, [edit], sources=[source]).logits
        still = forward(self.model, self.batch).logits
        after, before = (self.job.metric(x, self.batch, self.compared).double().sum() for x in (moved, still))
        return float(after - before)

    def between(
        self, sender: Bound, receiver: Bound | None, nodes: Sequence[Node], steps: int
    ) -> dict[tuple[Node, Node], float]:
        """Return the edges from one dictionary to another, or to the metric, with everything between them held."""
        begin = turn_of(sender.written)
        end = OUTPUT.turn if receiver is None else turn_of(receiver.site)
        senders = [node for node in nodes if node.site.dictionary == sender.name]
        ends = [OUTPUT] if receiver is None else [node for node in nodes if node.site.dictionary == receiver.name]
        if begin >= end or not senders or not ends:
            return {}
        held = [one.written for one in self.job.known if begin < turn_of(one.written) < end]
        edits = [Edit(site, Patch()) for site in held]
        taken = [self.there[sender.written], *(self.here[site] for site in held)]
        sources = [Source(values, self.inside) for values in taken]
        (leaf,) = gradient_reads([sender.written])
        reads = [leaf, *([] if receiver is None else [receiver.site, receiver.written])]
        slopes = [torch.zeros_like(self.here[sender.written]).flatten(2) for _ in ends]
        for step in range(steps):
            moving = Edit(sender.written, Interpolate((step + 0.5) / steps))
            run = forward(
                self.model, self.batch, [moving, *edits], read=list(dict.fromkeys(reads)), sources=sources, grad=True
            )
            with torch.enable_grad():
                targets = self._targets(receiver, ends, run)
            for total, target in zip(slopes, targets, strict=True):
                if not target.requires_grad:
                    return {}
                (found,) = torch.autograd.grad(target, run.read[leaf], retain_graph=True, allow_unused=True)
                if found is None:  # what is held cuts every way: the stream itself, between two of its own layers
                    return {}
                total += found.flatten(2) / steps
        out: dict[tuple[Node, Node], float] = {}
        for end_node, weights in zip(ends, slopes, strict=True):
            out |= {(node, end_node): value for node, value in self._shared(sender, senders, weights)}
        return out

    def _targets(self, receiver: Bound | None, ends: Sequence[Node], run: Any) -> list[Tensor]:  # noqa: ANN401 - a Run
        """Return for each receiving node what it does to the metric, as a function of what it receives."""
        if receiver is None:
            return [self.job.metric(run.logits, self.batch, self.compared).sum()]
        unit = self.slope(receiver, self.job.steps)
        x, y = run.read[receiver.site], run.read[receiver.written]
        f = receiver.encode(x)
        error = None
        if any(node.site.error for node in ends):
            error = ((y - receiver.like(receiver.decode(f), y)).flatten(2) * unit).sum(-1)
        out = []
        for node in ends:
            chosen = self.chosen[list(self.job.at).index(node.at)]
            if node.site.error:
                assert error is not None
                out.append(error[chosen].sum())
            else:
                number = int(node.site.feature or 0)
                out.append((f[..., number] * (unit @ receiver.W_dec[number]))[chosen].sum())
        return out

    @torch.no_grad()
    def _shared(self, sender: Bound, nodes: Sequence[Node], weights: Tensor) -> list[tuple[Node, float]]:
        """Return what each sending node adds to one receiver, the receiver's slope given."""
        numbers = [int(node.site.feature) for node in nodes if node.site.feature is not None]
        change, missed = self._sent(sender, tuple(numbers))
        shares = change * (weights @ sender.W_dec[numbers].T)
        found = []
        for node in nodes:
            chosen = self.chosen[list(self.job.at).index(node.at)]
            own = (missed * weights).sum(-1) if node.site.error else shares[..., numbers.index(node.site.feature or 0)]
            found.append((node, float(own[chosen].double().sum())))
        return found

    def _sent(self, sender: Bound, numbers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return how some features and the error of a dictionary change, [batch pos feature] and [batch pos d_out]."""
        if (sender.name, numbers) not in self._changes:
            moved = (self.there[sender.written] - self.here[sender.written]).flatten(2)
            x, source = (side[sender.site].flatten(0, 1) for side in (self.here, self.there))
            own, decoded = x.new_zeros(len(x), len(numbers)), moved.flatten(0, 1).clone()
            for some in _chunks(len(x), sender):
                change = changes(sender, x[some], source[some])[1]
                own[some], decoded[some] = change[:, list(numbers)], change @ sender.W_dec
            self._changes[sender.name, numbers] = own.unflatten(0, moved.shape[:2]), moved - decoded.view_as(moved)
        return self._changes[sender.name, numbers]


def _chunks(tokens: int, known: Bound) -> Iterator[slice]:
    """Yield tokens, as many at a time as may be held with all features of a dictionary."""
    size = max(1, BUDGET // (16 * known.n_features))
    for low in range(0, tokens, size):
        yield slice(low, low + size)
