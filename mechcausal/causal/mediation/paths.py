"""Path-specific effects: what a cause does along a declared set of edges, while every other edge carries the low world.

    path_effects(model, pairs, [("L1.z.H2@end", "L2.mlp_out@end"), ("L2.mlp_out@end", "logits")])

A place into which no declared edge leads has its value of the high world; every other place has the value it computes
when its declared inputs pass on theirs and everything else it reads is as in the low world (the edge-wise nested
counterfactual of Pearl 2001 and Avin et al. 2005). It passes that value on along its declared edges alone.

What a place reads is a sum, the residual stream, so a direct edge is exact: the change of the sender's contribution is
added to what the receiver alone reads, and the model itself computes norms, queries, keys and values. An edge of kind
`"all"` stands for every way from sender to receiver that passes no other declared place: in a low run that has the
sender's value, everything between reacts but those places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Site
from mechcausal.arguments import Count, Model, Seed
from mechcausal.causal.mediation.arrows import Arrow, Graph, graphs_of, read_edges, within
from mechcausal.causal.mediation.worlds import MetricSpec, Pairs, Worlds, family_of, swap, wholes
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.apply import edited
from mechcausal.interventions.specs import AddDelta, Edit
from mechcausal.method import Cost, Method, function
from mechcausal.models.anatomy import entry, exit_of
from mechcausal.models.hooked import Run, Source
from mechcausal.results.charted import Charted
from mechcausal.results.charts import Bar, Bars, bar_chart
from mechcausal.results.intervals import mean_interval
from mechcausal.results.result import mark_of, marked
from mechcausal.results.table import tabulate

Swap = tuple[Edit, Source]


@dataclass(frozen=True, repr=False)
class PathEffects(Charted):
    """One row per set of edges: `value` is the outcome with the set active, `change` its effect, `effect` its share.

    `edges` counts the edges of the set; for the hypothesis that its effect is zero `p`, `q` (Benjamini-Hochberg over
    the sets) and `p_max` (max-T over the sets).
    """

    def chart(self) -> Bars:
        """Lay out the effect of every set of edges."""
        rows = [
            Bar(marked(row, row["label"]), row["change"], row["change_low"], row["change_high"])
            for _, row in self.frame.iterrows()
        ]
        title = f"The effect of {self.provenance.prompts.get('factor', 'the cause')} along paths"
        return bar_chart(rows, title, f"effect on {self.provenance.arguments['metric']}", note=self._legend)

    @property
    def _tested(self) -> str:
        """What is tested of each set of edges."""
        return "sets of edges have an effect"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know of the metric."""
        return [str(self.provenance.arguments["note"])] if "note" in self.provenance.arguments else []

    def _head_lines(self) -> list[str]:
        """Say what the total effect is."""
        p = self.provenance
        total = mean_interval(self.baselines["clean"] - self.baselines["corrupt"], self.clusters)
        return [
            f"{p.method}: {len(self)} sets of edges, {self.examples.shape[1]} pairs, metric {p.arguments['metric']}, {p.compute['forwards']} forwards",
            f"total effect {total.estimate:+.3f} [{total.low:+.3f}, {total.high:+.3f}]",
        ]

    def _cell_lines(self, k: int = 9) -> list[str]:
        """Say what every set of edges passes on."""
        lines, width = [], max(map(len, self.frame["label"].head(k)), default=0)
        for _, row in self.frame.head(k).iterrows():
            text = f"{mark_of(row)}{row['label']:<{width}}  effect {row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}]"
            text += f"  share {row['effect']:.1%}" if np.isfinite(row["effect"]) else ""
            lines.append(text + (f"  q {row['q']:.2g}" if np.isfinite(row["q"]) else ""))
        if len(self) > k:
            lines.append(f"  and {len(self) - k} more")
        return lines


@dataclass(frozen=True, kw_only=True)
class PathEffecting(Method[Pairs, PathEffects]):
    """Measure the effect that is passed on along declared edges alone.

    Estimand: the mean over pairs of Y(low world in which the declared edges are active) - Y(low). All edges from the
    embedding to the logits give the total effect, none gives zero. `effect` is the share of the total effect: 1 where
    the edges pass on all of it, 0 where nothing, negative against it.

    Attributes:
        edges: A list of (sender, receiver) or (sender, receiver, "direct" or "all"), or of chains as text, in which
            `->` is direct and `=>` all paths (`"L0.z.H0@end -> L1.mlp_out@end => logits"`); or such lists by name, one row
            each; or a `Hypothesis`, one row for each of its causal paths and one for all of them. Senders are `embed`,
            heads (`z`), `attn_out`, `mlp_out` and neurons (`mlp_post`); receivers are heads, their `q`, `k`, `v` or
            `pattern`, sublayers and `logits`. Within an attention or an MLP, (`L1.v.H0`, `L1.z.H0`) and the like are
            edges too. A place is written the same way wherever it occurs. Direct edges need a model that adds its
            sublayers to the stream.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time.
        seed: The seed of the sign flips behind `p_max`.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> pairs = mc.contrast("by_hand/gender", model, n=8)
        >>> through = [("L0.z.H0@end", "L1.mlp_out@end"), ("L1.mlp_out@end", "logits")]
        >>> len(mc.causal.path_effects(model, pairs, {"through the MLP": through, "past it": [("L0.z.H0@end", "logits")]}))
        2
    """

    word: ClassVar[str] = "path_effects"
    edges: Any = field(kw_only=False, metadata={"read": read_edges})
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Pairs) -> PathEffects:
        """Run the low world with each set of edges active."""
        worlds, graphs = self._graphs(model, data)
        roots = [node for graph in graphs for node in graph.roots]
        places = [place for graph in graphs for place in graph.places]
        direct = [
            arrow.sender for graph in graphs for arrow in graph.arrows if arrow.kind == "direct" and not within(arrow)
        ]
        watched = list(dict.fromkeys([*wholes(places), *(exit_of(sender.site) for sender in direct)]))

        def one_batch(high: PromptSet, low: PromptSet) -> list[Tensor]:
            up, down = worlds.run(high, read=wholes(roots)), worlds.run(low, read=watched)
            outcomes = [worlds.outcome(up, high, up), worlds.outcome(down, low, up)]
            for graph in graphs:
                run = _Trace(worlds, graph, high, low, up, down).run()
                outcomes.append(worlds.outcome(run, low, up))
            return outcomes

        values, used = worlds.evaluate(one_batch, self.batch_size)
        baselines = {"base": values[1], "clean": values[0], "corrupt": values[1]}
        clean = worlds.high
        tests = worlds.tested(values[2:] - values[1], (values[0], values[1]), self.seed)
        rows = [graph.row() | {name: column[i] for name, column in tests.items()} for i, graph in enumerate(graphs)]
        frame = tabulate(rows, values[2:], baselines, clean.clusters)
        named = {graph.name: [str(arrow) for arrow in graph.arrows] for graph in graphs}
        family = family_of(graphs, "path-specific effects, one per set of edges")
        provenance = worlds.provenance(self.word, used, self.seed, edges=named, family=family)
        return PathEffects(frame, provenance, values[2:], baselines, clean.groups, clean.clusters)

    def cost(self, model: Model, data: Pairs) -> Cost:
        """Return how many runs it takes: both worlds, and for each set one a receiver and one for what senders add to it."""
        worlds, graphs = self._graphs(model, data)
        n = worlds.n_rows
        runs = [_runs(graph) for graph in graphs]
        return Cost(len(graphs), len(worlds.pairs), (2 + sum(runs)) * n, sum(2 + count for count in runs) * n)

    def _graphs(self, model: Model, pairs: Pairs) -> tuple[Worlds, list[Graph]]:
        """Return the two worlds and the sets of edges, which are refused where nothing can pass along them."""
        worlds = Worlds.of(model, pairs, self.metric)
        return worlds, graphs_of(self.edges, worlds)


class _Trace:
    """One set of edges on one batch: places in the order they are computed, each from its declared inputs."""

    def __init__(self, worlds: Worlds, graph: Graph, high: PromptSet, low: PromptSet, up: Run, down: Run) -> None:
        self.worlds, self.graph, self.high, self.low, self.up, self.down = worlds, graph, high, low, up, down
        # For each place the whole activation of the low world in which that place has the value it passes on.
        self.values: dict[Place, Tensor] = {}
        self._added: dict[tuple[Any, ...], Tensor] = {}

    def run(self) -> Run:
        """Return the low run whose logits have received what the declared edges bring."""
        for group in self.graph.steps():
            incoming = self.graph.into(group[0])
            read = self._received(group[0], incoming, wholes(group)).read if incoming else self.up.read
            for node in group:
                edit, source = swap(node, read, self.high)
                low, mask = self.down.read[node.site.whole], self.high.select(node.at)
                self.values[node] = edited(low, edit, mask, source.values, source.basis)
        arrows = self.graph.into(self.graph.end)
        return self._received(self.graph.end, arrows, []) if arrows else self.down

    def _received(self, receiver: Place, arrows: Sequence[Arrow], read: Sequence[Site]) -> Run:
        """Run the low world in which these arrows bring a receiver what their senders pass on."""
        inside, far, direct = _by_kind(arrows)
        stream = entry(receiver.site, self.worlds.able)
        edits = self._forced(far | inside, receiver, since=Place(stream))
        if direct:
            delta = self._delta(direct, self._forced(far, receiver) if far else [], (far, receiver))
            edits.append((Edit(stream, AddDelta()), Source(delta, torch.ones_like(self.low.mask))))
        return self.worlds.run(self.low, edits, read)

    def _forced(self, senders: frozenset[Place], receiver: Place, since: Place | None = None) -> list[Swap]:
        """Return the edits that force senders, with the other declared places on the way held where the low world is.

        What passes through those is another edge, which is declared or not in its own right.
        """
        first = min(part.depth for part in (*senders, *([since] if since else [])))
        others = [part for part in self.graph.places if first <= part.depth < receiver.depth and part not in senders]
        low = [swap(part, self.down.read, self.high) for part in others]
        return [*low, *(swap(part, {part.site.whole: self.values[part]}, self.high) for part in _ordered(senders))]

    def _delta(self, senders: frozenset[Place], edits: list[Swap], context: tuple[frozenset[Place], Place]) -> Tensor:
        """Return the change of the stream when these senders contribute what they pass on, in a run under `edits`."""
        by_exit = _by_exit(senders)
        return torch.stack([self._contributed(at, group, edits, context) for at, group in by_exit.items()]).sum(0)

    def _contributed(
        self, at: Site, senders: list[Place], edits: list[Swap], context: tuple[frozenset[Place], Place]
    ) -> Tensor:
        # Without edits it is the low run, whoever receives.
        key = (at, tuple(senders), *(context if edits else ()))
        if key not in self._added:
            before = self.worlds.run(self.low, edits, [at]).read[at] if edits else self.down.read[at]
            moved = [swap(part, {part.site.whole: self.values[part]}, self.high) for part in senders]
            self._added[key] = self.worlds.run(self.low, [*edits, *moved], [at]).read[at] - before
        return self._added[key]


def _runs(graph: Graph) -> int:
    """Return how many runs `_Trace.run` makes."""
    count, added = 0, set()
    for receiver in (*(group[0] for group in graph.steps()), graph.end):
        arrows = graph.into(receiver)
        _, far, direct = _by_kind(arrows)
        made = {
            (at, tuple(senders), *((far, receiver) if far else ())) for at, senders in _by_exit(direct).items()
        } - added
        added |= made
        count += bool(arrows) + (1 + bool(far)) * len(made)
    return count


def _by_kind(arrows: Sequence[Arrow]) -> tuple[frozenset[Place], frozenset[Place], frozenset[Place]]:
    """Return the senders within the receiver's own sublayer, those by all paths, and those along the direct path."""
    inside = frozenset(arrow.sender for arrow in arrows if within(arrow))
    far = frozenset(arrow.sender for arrow in arrows if arrow.kind == "all") - inside
    return inside, far, frozenset(arrow.sender for arrow in arrows) - inside - far


def _by_exit(senders: frozenset[Place]) -> dict[Site, list[Place]]:
    """Return the senders by where they enter the stream."""
    exits: dict[Site, list[Place]] = {}
    for sender in _ordered(senders):
        exits.setdefault(exit_of(sender.site), []).append(sender)
    return exits


def _ordered(parts: Iterable[Place]) -> list[Place]:
    return sorted(parts, key=lambda part: (part.depth, str(part)))


path_effects = function(PathEffecting)
