"""Metrics of an activation instead of the logits: the last receiver of a circuit is then what reads the stream there.

A metric of the stream behind layer k sees nothing of the layers after it. So the edges are those of the first k layers,
and the stream behind them stands where the logits stand otherwise: every method scores edges into a probe as it scores
edges into the logits, and nothing is run that cannot matter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.arguments import Kind, Text, checked
from mechcausal.circuits.edges.inputs import Inputs
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import ArgumentError, DataError, SiteError
from mechcausal.metrics import Metric, at_read_position
from mechcausal.models.abilities import Abilities
from mechcausal.models.replay.twin import Base, Twin
from mechcausal.probes.fitted import Probe


@dataclass(frozen=True)
class StateMetric(Metric):
    """A metric of the residual stream; `state_metric` makes one.

    Attributes:
        site: The stream that it reads.
    """

    site: Site | None = None

    @property
    def depth(self) -> int:
        """How many layers lie in front of it."""
        layer = None if self.site is None else self.site.layer
        assert layer is not None  # `state_metric` has refused anything else
        return layer + (self.site is not None and self.site.component == "resid_post")


def _reads(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    if isinstance(value, Tensor):
        return value.ndim == 1 and value.is_floating_point() and bool(value.isfinite().all())
    return isinstance(value, Probe) or (callable(value) and not isinstance(value, type))


Reads = Annotated[Any, Kind("a probe, a direction [d_model], or a function of states [example d_model]", _reads)]


@checked
def state_metric(
    reads: Reads, site: Text | Site | None = None, *, at: Text | int | Selection | None = None, name: Text | None = None
) -> StateMetric:
    """Return a metric of the residual stream, for circuits of what a probe reads there.

    Estimand of a circuit under it: which edges carry what the probe reads: `mc.discover(model, pairs, metric=...)` scores
    the edges of the layers in front of the site, and the last receiver, called `logits`, is the probe. The circuit is judged
    by passing the same metric to `evaluate` and `certify`. Nothing but circuits can take such a metric.

    Args:
        reads: A probe for two classes or a number (its log-odds, or the number), a direction (its product with the stream),
            or a differentiable function from states, [example d_model], to one number each.
        site: `L3.resid_post` or `L3.resid_pre`; that of the probe if None.
        at: At which positions, whose states are averaged; those of the probe if None, of anything else the read position
            of each prompt.
        name: What it is called in results.

    Example:
        >>> import torch
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> direction = torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(0))
        >>> metric = mc.circuits.state_metric(direction, "L1.resid_post")
        >>> circuit = mc.discover(model, pairs, method="exact", metric=metric, edges=5)
        >>> circuit.wiring.n_layers
        2
    """
    if site is None and not isinstance(reads, Probe):
        raise ArgumentError("it is not said where the stream is read", fix="site='L3.resid_post'")
    stream = Site.parse(reads.site if site is None else site)
    if stream.component not in ("resid_pre", "resid_post") or stream.layer is None:
        raise SiteError(
            f"a circuit ends in the residual stream, and {stream} is no part of it between layers",
            expected="such as L3.resid_pre or L3.resid_post",
        )
    if isinstance(reads, Probe) and len(reads.classes) > 2:
        raise ArgumentError(
            "a probe of more than two classes gives no one number", got=f"{len(reads.classes)} classes",
            fix="pass a function of states, such as the log-odds of two of its classes",
        )  # fmt: skip
    if isinstance(reads, Probe) and at is None:
        at = reads.at
        if reads.pool != "mean" and not (reads.at.is_single or reads.at.name):
            raise ArgumentError(
                f"this probe takes the {reads.pool} of several positions, and a metric their mean", fix="give at='@-1'"
            )
    where = None if at is None else Selection.parse(at)
    label = name or (
        f"probe of {reads.concept}" if isinstance(reads, Probe) else getattr(reads, "__name__", "direction")
    )
    wide = _width(reads)

    def function(states: Tensor, batch: PromptSet) -> Tensor:
        if wide is not None and states.shape[-1] != wide:
            raise DataError(
                f"this metric reads {stream}, and was given something else", got=f"{states.shape[-1]} numbers at a position",
                expected=f"{wide}", fix="use it in mc.discover, evaluate and certify of the model that it is made for",
            )  # fmt: skip
        return _scores(reads, at_read_position(states, batch) if where is None else _mean(states, batch, where))

    return StateMetric(
        f"{label} at {stream}{'' if where is None else where}", function,
        reads="position" if where is None else "all", needs_logits=False, site=stream,
    )  # fmt: skip


def _width(reads: Any) -> int | None:  # noqa: ANN401
    """Return how many numbers a reader takes, where it says so."""
    if isinstance(reads, Tensor):
        return len(reads)
    return len(reads.direction) if isinstance(reads, Probe) and reads.linear else None


def _scores(reads: Any, states: Tensor) -> Tensor:  # noqa: ANN401
    if isinstance(reads, Tensor):
        return states @ reads.to(states)
    return reads.scores(states) if isinstance(reads, Probe) else reads(states)


def _mean(states: Tensor, batch: PromptSet, at: Selection) -> Tensor:
    mask = batch.select(at).to(states.device)
    if not bool(mask.any(1).all()):
        raise DataError(f"some prompt has no position {at}", fix="choose a position that every prompt has")
    weight = mask.to(states.dtype)
    return torch.einsum("bpd,bp->bd", states, weight / weight.sum(1, keepdim=True))


def wiring_for(able: Abilities, metric: Metric, *, split: bool = False) -> Wiring:
    """Return the edges that can matter to a metric: all of a model, or those in front of a site of it."""
    wiring = Wiring.of(able, split=split)
    if not isinstance(metric, StateMetric):
        return wiring
    if not 0 < metric.depth <= wiring.n_layers:
        raise SiteError(
            f"there are no edges in front of {metric.site}" if metric.depth < 1 else f"this model has no {metric.site}",
            expected=f"L0.resid_post to L{wiring.n_layers - 1}.resid_post",
        )
    return replace(wiring, n_layers=metric.depth)


def inputs_for(inputs: Inputs, metric: Metric) -> Inputs:
    """Return the receivers in front of what a metric reads; the same where it reads logits."""
    if not isinstance(metric, StateMetric):
        return inputs
    front = copy.copy(inputs)
    front.twin = _Front(inputs.twin, metric.depth)
    front.layers = inputs.layers[: metric.depth]
    return front


class _Front(Twin):
    """The first layers of a twin, whose final states are read as they are.

    Args:
        twin: The whole model.
        depth: How many layers.
    """

    def __init__(self, twin: Twin, depth: int) -> None:
        vars(self).update(vars(twin))
        self.whole, self.layers, self.chains = twin, twin.layers[:depth], twin.chains[:depth]
        self.leaves_early = False

    def record(self, batch: PromptSet, read: Mapping[Site, tuple[int, ...]] | None = None) -> Base:
        base, depth = self.whole.record(batch, read), len(self.layers)
        return Base(base.hidden[: depth + 1], base.cache[:depth], base.calls[:depth], base.values)

    def logits(self, hidden: Tensor, columns: Tensor | None = None) -> Tensor:
        return hidden
