"""Scores of nodes and edges of a circuit of features, by integrated gradients, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Selection, Site
from mechcausal.circuits.features.ablating import Ablation, Move, Values, told_apart
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.dictionaries.screening.attribution import add_scores, fitting, through_decoder
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.attached import Bound
from mechcausal.models.engine import align, in_batches
from mechcausal.models.hooked import Run, Source, forward, gradient_reads, gradients

OUTPUT = Place(Site("logits"))


@dataclass
class Scorer:
    """Scores of nodes and of edges.

    Attributes:
        model: The bridge.
        dictionaries: The dictionaries, in the order in which the model meets them.
        metric: The metric.
        at: The positions at which nodes are told apart.
        steps: How many points on each path.
        batch_size: How many pairs at a time.
        how: What ablated nodes are set to.
        effects: The exact effect of ablating all nodes of each dictionary at these positions, once nodes are scored.
    """

    model: Any
    dictionaries: Sequence[Bound]
    metric: Metric
    at: Sequence[Selection]
    steps: int
    batch_size: int
    how: Ablation = field(default_factory=Ablation)
    effects: dict[str, float] = field(default_factory=dict)

    def nodes(self, pairs: Contrast) -> dict[str, np.ndarray]:
        """Return the score of every node of every dictionary, [place feature]; the error comes last."""
        n = len(pairs)
        totals = {
            dictionary.name: torch.zeros(len(self.at), dictionary.n_features + 1, dtype=torch.double)
            for dictionary in self.dictionaries
        }
        exact = dict.fromkeys(totals, 0.0)

        def one_batch(batch: _Batch) -> None:
            new = {dictionary.name: batch.shares(dictionary, self.steps) for dictionary in self.dictionaries}
            effects = {dictionary.name: batch.effect(dictionary) for dictionary in self.dictionaries}
            for name in new:  # only now: a batch that ran out of memory is tried again
                totals[name] += new[name].cpu()
                exact[name] += effects[name]

        self._over(pairs, one_batch)
        self.effects = {name: total / n for name, total in exact.items()}
        return {name: (total / n).numpy() for name, total in totals.items()}

    def edges(self, pairs: Contrast, nodes: Sequence[Place]) -> dict[tuple[Place, Place], float]:
        """Return the score of every edge between these nodes, and from them to the metric."""
        totals: dict[tuple[Place, Place], float] = {}

        def one_batch(batch: _Batch) -> None:
            new: dict[tuple[Place, Place], float] = {}
            for number, sender in enumerate(self.dictionaries):
                for receiver in (*self.dictionaries[number + 1 :], None):
                    new |= batch.between(sender, receiver, nodes, self.steps)
            for edge, value in new.items():
                totals[edge] = totals.get(edge, 0.0) + value

        self._over(pairs, one_batch)
        return {edge: value / len(pairs) for edge, value in totals.items() if value != 0}

    def coverage(self, scores: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return for each dictionary the effect of its activation, what its nodes sum to, and the share of the error."""
        rows = []
        for dictionary in self.dictionaries:
            total, error = float(scores[dictionary.name].sum()), float(scores[dictionary.name][:, -1].sum())
            rows.append(
                {
                    "dictionary": dictionary.name, "site": str(dictionary.site), "effect": self.effects[dictionary.name], "sum": total,
                    "error_share": error / total if abs(total) > 1e-12 else float("nan"),
                }
            )  # fmt: skip
        return rows

    def _over(self, pairs: Contrast, one_batch: Callable[[_Batch], None]) -> None:
        base, source, clean = align(pairs.clean, pairs.corrupt, pairs.clean)

        def run(index: Tensor) -> np.ndarray:
            device = bridge.device_of(self.model)
            one_batch(_Batch(self, *(side.take(index).to(device) for side in (base, source, clean))))
            return np.zeros((0, len(index)))

        with torch.inference_mode(False):
            in_batches(len(base), fitting(self.batch_size, base.tokens.shape[1], *self.dictionaries), run)


class _Batch:
    """One batch: what is read of both sides, what ablation makes of each activation, and what that does to the metric."""

    def __init__(self, job: Scorer, batch: PromptSet, other: PromptSet, clean: PromptSet) -> None:
        self.job, self.model, self.batch = job, job.model, batch
        self.compared = forward(self.model, clean).logits if job.metric.compares else None
        reads = list(
            dict.fromkeys(site for dictionary in job.dictionaries for site in (dictionary.site, dictionary.written))
        )
        self.here = forward(self.model, batch, read=reads).read
        there = forward(self.model, other, read=reads).read if job.how.kind == "counterfactual" else {}
        chosen = told_apart(job.at, batch)
        self.inside = torch.stack(chosen).any(0)
        self.moves = {
            dictionary.name: Move.of(dictionary, job.how, chosen, self.here, there) for dictionary in job.dictionaries
        }
        self._slopes: dict[str, list[tuple[float, Tensor]]] = {}
        self._changes: dict[tuple[str, tuple[int, ...]], Values] = {}

    def slopes(self, dictionary: Bound, steps: int) -> list[tuple[float, Tensor]]:
        """Return points of the path, and what a unit of the activation does to the metric there, [token d_out].

        Where the decoder is linear, a node does the same at every point, and the mean of them all says everything.
        """
        if dictionary.name not in self._slopes:
            points = []
            for part in _points(steps):
                reads = gradient_reads([dictionary.written])
                run = forward(
                    self.model, self.batch, [Edit(dictionary.written, Patch())], read=reads, sources=[self._at(dictionary, part)],
                    grad=True,
                )  # fmt: skip
                with torch.enable_grad():
                    output = run.score(self.job.metric, self.batch, self.compared).sum()
                    slope = gradients(output, run, [dictionary.written])[dictionary.written]
                points.append((part, slope[self.inside].flatten(1)))
            mean = torch.stack([slope for _, slope in points]).mean(0)
            self._slopes[dictionary.name] = [(0.0, mean)] if dictionary.linear else points
        return self._slopes[dictionary.name]

    def shares(self, dictionary: Bound, steps: int) -> Tensor:
        """Return the sum over examples of what each node does, [place feature]; the error comes last."""
        move, slopes = self.moves[dictionary.name], self.slopes(dictionary, steps)
        out = torch.zeros(len(self.job.at), dictionary.n_features + 1, dtype=torch.double, device=move.x.device)
        for some in move.chunks():
            (f, error), (new, strange) = move.ends(some)
            scores, place = out.new_zeros(len(out), dictionary.n_features), move.place[some]
            for part, slope in slopes:
                add_scores(scores, dictionary, f + part * (new - f), new - f, slope[some], place)
                of_error = ((strange - error).double() * slope[some].double()).sum(-1)
                out[:, -1].index_add_(0, place, of_error / len(slopes))
            out[:, :-1] += scores / len(slopes)
        return out

    @torch.no_grad()
    def effect(self, dictionary: Bound) -> float:
        """Return the sum over examples of what ablating all nodes of a dictionary changes."""
        moved = forward(
            self.model, self.batch, [Edit(dictionary.written, Patch())], sources=[self._at(dictionary, 1.0)]
        ).logits
        still = forward(self.model, self.batch).logits
        after, before = (self.job.metric(x, self.batch, self.compared).double().sum() for x in (moved, still))
        return float(after - before)

    def between(
        self, sender: Bound, receiver: Bound | None, nodes: Sequence[Place], steps: int
    ) -> dict[tuple[Place, Place], float]:
        """Return the edges from one dictionary to another, or to the metric, with everything between them held."""
        begin = sender.written.depth
        end = OUTPUT.depth if receiver is None else receiver.site.depth
        senders = [node for node in nodes if node.site.dictionary == sender.name]
        ends = [OUTPUT] if receiver is None else [node for node in nodes if node.site.dictionary == receiver.name]
        if begin >= end or not senders or not ends:
            return {}
        fixed = [dictionary.written for dictionary in self.job.dictionaries if begin < dictionary.written.depth < end]
        edits = [Edit(site, Patch()) for site in (sender.written, *fixed)]
        still = [Source(self.here[site], self.inside) for site in fixed]
        (leaf,) = gradient_reads([sender.written])
        reads = list(dict.fromkeys([leaf, *([] if receiver is None else [receiver.site, receiver.written])]))
        out: dict[tuple[Place, Place], float] = {}
        for part in _points(steps):
            sources = [self._at(sender, part), *still]
            run = forward(self.model, self.batch, edits, read=reads, sources=sources, grad=True)
            with torch.enable_grad():
                targets = self._targets(receiver, ends, run)
            for end_node, target in zip(ends, targets, strict=True):
                if not target.requires_grad:
                    return {}
                (gradient,) = torch.autograd.grad(target, run.read[leaf], retain_graph=True, allow_unused=True)
                if gradient is None:  # what is held cuts every way: the stream itself, between two of its own layers
                    return {}
                for node, value in self._shared(sender, senders, part, gradient[self.inside].flatten(1)):
                    out[node, end_node] = out.get((node, end_node), 0.0) + value / steps
        return out

    def _at(self, dictionary: Bound, part: float) -> Source:
        """Return an activation whose nodes have gone a part of their way."""
        values = self.here[dictionary.written].clone()
        values[self.inside] = self.moves[dictionary.name].at(part)
        return Source(values, self.inside)

    def _targets(self, receiver: Bound | None, ends: Sequence[Place], run: Run) -> list[Tensor]:
        """Return for each receiving node what it does to the metric, as a function of what it receives."""
        if receiver is None:
            return [run.score(self.job.metric, self.batch, self.compared).sum()]
        move = self.moves[receiver.name]
        numbers = _features(ends)
        weights, unit = self._weights(receiver, numbers)
        x, y = run.read[receiver.site][self.inside], run.read[receiver.written][self.inside]
        f = receiver.encode(x)
        error = None
        if any(node.site.error for node in ends):
            receiver.encode(move.x)  # decoded at the size of the unedited run, like the node's own score
            error = ((y - receiver.like(receiver.decode(f), y)).flatten(1) * unit).sum(-1)
        out = []
        for node in ends:
            if node.site.error:
                assert error is not None
                sent = error
            else:
                number = int(node.site.feature or 0)
                sent = f[:, number] * weights[:, numbers.index(number)]
            out.append(sent[move.place == self.job.at.index(node.at)].sum())
        return out

    def _weights(self, dictionary: Bound, numbers: Sequence[int]) -> Values:
        """Return what a unit of some features and of the error does to the metric, [token feature] and [token d_out]."""
        slopes = self.slopes(dictionary, self.job.steps)
        features = [self._through(dictionary, numbers, part, slope) for part, slope in slopes]
        return torch.stack(features).mean(0), torch.stack([slope for _, slope in slopes]).mean(0)

    @torch.no_grad()
    def _through(self, dictionary: Bound, numbers: Sequence[int], part: float, slope: Tensor) -> Tensor:
        """Return the slope by some features from that by what they decode to, [token feature]."""
        if dictionary.linear:
            return slope.to(dictionary.W_dec.dtype) @ dictionary.W_dec[list(numbers)].T
        by_feature, move = slope.new_zeros(len(slope), len(numbers)), self.moves[dictionary.name]
        for some in move.chunks():
            (f, _), (new, _) = move.ends(some)
            by_feature[some] = through_decoder(dictionary, f + part * (new - f), slope[some])[:, list(numbers)]
        return by_feature

    @torch.no_grad()
    def _shared(self, sender: Bound, nodes: Sequence[Place], part: float, slope: Tensor) -> list[tuple[Place, float]]:
        """Return what each sending node adds to one receiver at a point of the path, the receiver's slope given."""
        numbers = _features(nodes)
        change, missed = self._sent(sender, tuple(numbers))
        shares = change * self._through(sender, numbers, part, slope)
        sent = []
        for node in nodes:
            of_token = (
                (missed * slope).sum(-1) if node.site.error else shares[:, numbers.index(int(node.site.feature or 0))]
            )
            sent.append(
                (node, float(of_token[self.moves[sender.name].place == self.job.at.index(node.at)].double().sum()))
            )
        return sent

    def _sent(self, sender: Bound, numbers: tuple[int, ...]) -> Values:
        """Return how some features and the error of a dictionary change, [token feature] and [token d_out]."""
        if (sender.name, numbers) not in self._changes:
            move = self.moves[sender.name]
            features, missed = [], []
            for some in move.chunks():
                (f, error), (new, strange) = move.ends(some)
                features.append((new - f)[:, list(numbers)])
                missed.append(strange - error)
            self._changes[sender.name, numbers] = torch.cat(features), torch.cat(missed)
        return self._changes[sender.name, numbers]


def _points(steps: int) -> list[float]:
    """Return the middles of equal parts of a path."""
    return [(step + 0.5) / steps for step in range(steps)]


def _features(nodes: Sequence[Place]) -> list[int]:
    """Return the numbers of the features among nodes, each once."""
    return list(dict.fromkeys(node.site.feature for node in nodes if node.site.feature is not None))
