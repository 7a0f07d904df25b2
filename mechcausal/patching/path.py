"""Path patching: the effect of one direct path, sender to receiver, with everything between frozen.

The sender's activation is changed in the base run and the change of its contribution to the residual stream is
taken. That difference is added to what the receiver alone reads; the receiver's new value is taken, and the base
run is made once more with the receiver set to it and everything after the receiver free to react (Wang et al. 2022,
"Interpretability in the wild"; Goldowsky-Dill et al. 2023). No linearisation: norms, queries, keys and values are
computed by the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from mechcausal.address import Place, Selection, Site, expand
from mechcausal.arguments import Count, Model
from mechcausal.data.contrast import Contrast
from mechcausal.data.forced import forced
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import NumericsError, SiteError, UnsupportedError
from mechcausal.interventions.specs import AddDelta, Edit, Patch
from mechcausal.method import Method, function
from mechcausal.metrics import Metric
from mechcausal.metrics import metric as metric_of
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.anatomy import entry, exit_of
from mechcausal.models.engine import Exact, in_batches
from mechcausal.models.hooked import forward
from mechcausal.models.plan import Economy
from mechcausal.models.replay.verify import Replayer, replayer
from mechcausal.models.rows import align, in_two, of_prompts, side_by_side, uneven, why_matched
from mechcausal.models.sources import by_number
from mechcausal.patching.activation import Direction, SweepCost
from mechcausal.patching.direct import can_trace, trace
from mechcausal.patching.sweep import (
    At,
    MetricSpec,
    Positions,
    Recorder,
    SiteSpec,
    Swept,
    as_text,
    places,
    plain,
    two_sides,
)
from mechcausal.results.result import Result

SENDERS = ("embed", "z", "result", "v", "attn_out", "mlp_post", "mlp_out")
RECEIVERS = ("q", "k", "v", "attn_out", "mlp_out", "logits")


@dataclass(frozen=True, kw_only=True)
class PathPatching(Method[Contrast, Result]):
    """Measure the effect of the direct paths from each sender to the receivers, exactly.

    Estimand: the mean over pairs of `metric(base run in which the receivers react to the sender's source value and
    nothing else between them changes)`. Several receivers react together. `effect` is 1 where the run behaves as
    clean, 0 as corrupt, and negative where it is worse than corrupt. Senders after a receiver have no path to it and
    are refused.

    Attributes:
        senders: Heads (`z`), neurons (`mlp_post`), `attn_out`, `mlp_out` or `embed`; one row each.
        receivers: `"logits"`, `mlp_out` and `attn_out` of a layer, or the `q`, `k`, `v` of heads.
        at: Where the sender is changed; all positions at once unless said otherwise.
        receiver_at: Where the receivers read the change and react; everywhere unless said otherwise.
        direction: `"denoise"` (clean into corrupt) or `"noise"`.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time.
        exact: `"replay"` computes only what can have changed, where it can; `"naive"` runs three forwards for each cell.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> len(mc.path_patch(model, pairs, senders="L1.z.H*", receivers="L2.mlp_out"))
        4
        >>> mc.path_patch.cost(model, pairs, senders="L1.z.H*", receivers="L2.mlp_out").cells
        4
    """

    word: ClassVar[str] = "path_patch"
    senders: SiteSpec = field(default="z", metadata={"read": as_text})
    receivers: SiteSpec = field(default="logits", metadata={"read": as_text})
    at: Positions = field(default="all", metadata={"read": as_text})
    receiver_at: At = field(default=None, metadata={"read": as_text})
    direction: Direction = "denoise"
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    exact: Exact = "replay"

    def run(self, model: Model, data: Contrast) -> Result:
        """Trace every path and measure it."""
        recorder = Recorder(
            model, data, metric_of(self.metric), self.word,
            {
                "senders": plain(self.senders), "receivers": plain(expand(self.receivers, abilities(model).shape)),
                "at": plain(self.at), "receiver_at": str(Selection.parse(self.receiver_at)),
                "direction": self.direction,
            },
        )  # fmt: skip
        where, tracer = self._tracer(model, data, recorder.metric)
        baselines = recorder.baselines("corrupt" if self.direction == "denoise" else "clean", self.batch_size)
        values, used = tracer.traced(where, data, self.direction, recorder.batch_size)
        rows = [place.row() for place in where]
        return recorder.result(
            rows, values, baselines, forwards=tracer.forwards, batch_size=used, **tracer.compute(len(data))
        )

    def cost(self, model: Model, data: Contrast) -> SweepCost:
        """Return what it would take; only the unedited runs are made."""
        where, tracer = self._tracer(model, data, metric_of(self.metric))
        n, width = len(data), max(side.tokens.shape[1] for side in (data.clean, data.corrupt))
        per_forward = width * tracer.able.shape.n_layers
        streams = {entry(site, tracer.able) for site in tracer.receivers if site.component != "logits"}
        each = len(where) * (2 + len(streams)) * per_forward  # the sender, what is felt, what follows
        by_the_loop = computed = each * n
        if tracer.engine is not None:
            tracer.dry = True
            tracer.traced(where, data, self.direction, self.batch_size)
            computed = tracer.economy.token_layers + each * tracer.matched
        return SweepCost(
            cells=len(where),
            examples=n,
            forwards=computed / per_forward,
            naive_forwards=by_the_loop / per_forward,
            token_layers=computed,
            naive_token_layers=by_the_loop,
            skipped=tracer.economy.skipped,
            naive_because=tracer.reasons(n),
        )

    def cells(self, model: Model, data: Contrast) -> list[Swept]:
        """Return the senders, in the order of the table; nothing is run."""
        return [Swept((place,)) for place in self._tracer(model, data, metric_of(self.metric))[0]]

    def _tracer(self, model: Model, pairs: Contrast, metric: Metric) -> tuple[list[Place], _Tracer]:
        """Return the senders, and what traces the paths from them."""
        base, _ = two_sides(pairs, self.direction)
        able, receiver_at = abilities(model), Selection.parse(self.receiver_at)
        receivers = expand(self.receivers, able.shape)
        where = places(expand(self.senders, able.shape), self.at, base)
        _refuse(able, [place.site for place in where], receivers)
        base.select(receiver_at)
        engine, reason = _replayed(model, [place.site for place in where], receivers, self.exact)
        return where, _Tracer(model, able, receivers, receiver_at, metric, engine, reason)


def _replayed(
    model: Any,  # noqa: ANN401
    senders: Sequence[Site],
    receivers: Sequence[Site],
    exact: Exact,
) -> tuple[Replayer | None, str]:
    """Return what the engine knows of the model if it can trace these paths; else why not."""
    if exact == "naive":
        return None, "asked for"
    if foreign := bridge.foreign(model):
        return None, foreign
    engine = replayer(model)
    reason = can_trace(engine, senders, receivers)
    return (None, reason) if reason else (engine, "")


def _refuse(able: Abilities, senders: Sequence[Site], receivers: Sequence[Site]) -> None:
    for sites, components, role in ((senders, SENDERS, "sender"), (receivers, RECEIVERS, "receiver")):
        for site in sites:
            if site.component not in components:
                raise SiteError(f"{site} cannot be a {role} of a path", fix="use one of " + ", ".join(components))
    if not able.additive:
        raise UnsupportedError(
            f"{able.architecture} does not add its sublayers to the stream unchanged, so it has no direct paths",
            fix="use mc.patch, which works on every architecture",
        )
    able.require(senders)
    able.require([site for site in receivers if site.component != "logits"])
    into_mlps = [site.layer for site in receivers if site.component == "mlp_out"]
    if any(site.layer in into_mlps for site in senders) and not able.components["resid_mid"].writes:
        note = able.components["resid_mid"].note
        raise UnsupportedError(
            f"no path leads from attention to the MLP of one layer: {note}", fix="choose a later receiver"
        )
    for sender in senders:
        for receiver in receivers:
            if exit_of(sender).depth >= entry(receiver, able).depth and sender.layer is not None:
                raise SiteError(f"no path leads from {sender} to {receiver}", expected="a sender before its receiver")


class _Tracer:
    """Run the three steps for each sender on one batch."""

    def __init__(
        self,
        model: Model,
        able: Abilities,
        receivers: Sequence[Site],
        at: Selection,
        metric: Metric,
        engine: Replayer | None,
        reason: str,
    ) -> None:
        self.model, self.receivers, self.at, self.metric = model, receivers, at, metric
        self.engine, self.reason, self.dry = engine, reason, False
        self.last = able.shape.n_layers - 1
        self.able, self.forwards, self.economy = able, 0, Economy()
        self.matched = 0  # how many pairs differ in length

    def traced(
        self, where: Sequence[Place], pairs: Contrast, direction: str, batch_size: int
    ) -> tuple[np.ndarray, int]:
        """Return the metric of each path, [sender example], and the batch size that fitted."""
        sides = [*two_sides(pairs, direction), pairs.clean]
        apart = uneven(sides[0], sides[1])
        self.matched = int(apart.sum())

        def some(rows: np.ndarray, matched: bool) -> tuple[np.ndarray, int]:
            taken = [side.take(rows.tolist()) for side in sides]
            return self._traced(where, side_by_side(*taken) if matched else align(*taken), batch_size, matched)

        values, sizes = in_two(apart, some)
        return values, min(sizes)

    def _traced(
        self, where: Sequence[Place], aligned: Sequence[PromptSet], batch_size: int, matched: bool
    ) -> tuple[np.ndarray, int]:
        """Trace the paths in rows that stand token against token, or that are `matched` by the positions they share."""

        def one_batch(index: Tensor) -> np.ndarray:
            device = bridge.device_of(self.model)
            sides = [side.take(index).to(device) for side in aligned]
            metric, answers = self.metric, None
            if self.metric.forces(sides[0]):
                answers, metric = forced(sides[0]), self.metric.piece
                sides = [answers.prompts, forced(sides[1], sides[0]).prompts, answers.prompts]
            if self.engine is None or matched:
                return of_prompts(self.metric, self.run(where, *sides, metric, matched=matched), answers)
            return of_prompts(self.metric, self.replay(self.engine, where, *sides, metric), answers)

        return in_batches(len(aligned[0]), batch_size, one_batch, progress="tracing paths")

    def reasons(self, n: int) -> dict[str, str]:
        """Return why the loop traced all of the pairs, or some."""
        if self.engine is None:
            return {"all": self.reason}
        return why_matched(self.matched, n) if self.matched else {}

    def compute(self, n: int) -> dict[str, Any]:
        """Return what provenance says of the engine."""
        if self.engine is None or self.matched == n:
            return {"engine": "naive", "naive_because": self.reason or self.reasons(n)}
        counts = self.economy.counts()
        return {**counts, "engine": "replay and naive", "naive_because": self.reasons(n)} if self.matched else counts

    def replay(
        self,
        engine: Replayer,
        where: Sequence[Place],
        batch: PromptSet,
        source: PromptSet,
        clean: PromptSet,
        metric: Metric,
    ) -> np.ndarray:
        compared = self._forward(clean).logits if metric.compares else None
        edits = [Edit(place.site, Patch(), place.at) for place in where]
        (receiver,) = self.receivers
        values, forwards, economy = trace(
            self.model, self.able, engine, edits, receiver, self.at, batch, source, metric, compared, dry=self.dry
        )
        self.forwards += forwards
        self.economy += economy
        for place, value in zip(where, values, strict=True):
            _refuse_nan(place, batch, value)
        return values

    def run(
        self,
        where: Sequence[Place],
        batch: PromptSet,
        source: PromptSet,
        clean: PromptSet,
        metric: Metric,
        *,
        matched: bool = False,
    ) -> np.ndarray:
        if self.dry:
            return np.zeros((len(where), len(batch)))
        entries = list(dict.fromkeys(exit_of(place.site) for place in where))
        wholes = list(dict.fromkeys(place.site.whole for place in where))
        before = self._forward(batch, read=entries)
        goal = self._forward(source, read=wholes).read
        if matched:  # values of the source stand where the base run has the same position
            goal = {site: by_number(value, batch, source) for site, value in goal.items()}
        compared = self._forward(clean).logits if metric.compares else None
        out = np.empty((len(where), len(batch)))
        for number, place in enumerate(where):
            enters = exit_of(place.site)
            edit = Edit(place.site, Patch(), place.at)
            moved = self._forward(batch, [edit], read=[enters], sources=[goal[place.site.whole]])
            delta = moved.read[enters] - before.read[enters]
            logits = self._react(batch, delta)
            out[number] = metric(logits, batch, compared).float().cpu().numpy()
            out[number][~_refuse_nan(place, batch, out[number])] = np.nan
        return out

    def _react(self, batch: PromptSet, delta: Tensor) -> Tensor:
        """Let each receiver react to the difference, then run with the reactions in place."""
        edits: list[Edit] = []
        sources: list[Tensor | None] = []
        for stream in dict.fromkeys(entry(site, self.able) for site in self.receivers if site.component != "logits"):
            reading = [
                site for site in self.receivers if site.component != "logits" and entry(site, self.able) == stream
            ]
            wholes = list(dict.fromkeys(site.whole for site in reading))
            felt = self._forward(batch, [Edit(stream, AddDelta(), self.at)], read=wholes, sources=[delta]).read
            edits += [Edit(site, Patch(), self.at) for site in reading]
            sources += [felt[site.whole] for site in reading]
        if any(site.component == "logits" for site in self.receivers):
            # The last stream is what the unembedding reads; attention no longer mixes positions there.
            final = Site("resid_post", self.last)
            edits.append(Edit(final, AddDelta(), self.at))
            sources.append(delta)
        return self._forward(batch, edits, sources=sources).logits

    def _forward(self, batch: PromptSet, edits: Sequence[Edit] = (), **options: Any) -> Any:  # noqa: ANN401
        self.forwards += 1
        return forward(self.model, batch, edits, **options)


def _refuse_nan(place: Place, batch: PromptSet, values: np.ndarray) -> np.ndarray:
    """Refuse a path that gives no number; return which examples have the positions of the sender."""
    reached = batch.select(place.at).any(1).cpu().numpy()
    if not np.isfinite(values[reached]).all():
        raise NumericsError(f"the path from {place.site} gives NaN or infinity", fix="check the weights")
    return reached


path_patch = function(PathPatching)
