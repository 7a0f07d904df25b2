"""One forward with edits and readings, where every intervention proves that it happened.

Three things go silently wrong with plain hooks: a hook that never fires, one whose shape is broadcast, and one whose
edit lands on a branch instead of the stream. Here each hook must fire exactly once, keep its shape, and `resid_mid`,
which has no hook point that carries the whole stream, is written as the difference it makes at `attn_out`. Features of
attached dictionaries are edited and read where their activation passes (`splice`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import InterventionError, SiteError, UnsupportedError
from mechcausal.interventions.apply import added, edited
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric
from mechcausal.models import bridge
from mechcausal.models.attached import bound as dictionary_of
from mechcausal.models.attached import with_dictionaries
from mechcausal.models.counting import count
from mechcausal.models.heads import results
from mechcausal.models.splice import Arrival, Latents, Splice, Step

Sources = Mapping[Site, Tensor]


@dataclass(frozen=True)
class Source:
    """What an edit takes from another run, where that says more than the edit itself can.

    Attributes:
        values: The whole activation of the other run.
        mask: Where it is taken, [batch pos], instead of the edit's own selection: any subset of examples and positions.
        basis: The orthonormal columns, [feature k], inside which it is taken; all of the activation without it. It
            may carry a gradient.
        share: How much of it is taken, [k] along each column or [feature] of each number; all without it. It may carry
            a gradient.
    """

    values: Tensor
    mask: Tensor | None = None
    basis: Tensor | None = None
    share: Tensor | None = None


@dataclass
class Run:
    """What one forward gave.

    Attributes:
        output: The logits, [batch pos vocab], or the last hidden state of a model without a head, [batch pos d_model].
        read: The activations asked for, after all edits, by whole site.
        fired: How often each hook point fired; every one is 1.
        headed: Whether the model has a language-model head.
    """

    output: Tensor
    read: dict[Site, Tensor] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    headed: bool = True

    @property
    def logits(self) -> Tensor:
        """The logits; refused where the model has no head."""
        return self.output_for(needs_logits=True)

    def score(self, metric: Metric, batch: PromptSet, reference: Tensor | None = None) -> Tensor:
        """Return a metric of the output; without a head, one that can read hidden states."""
        return metric(self.output_for(needs_logits=metric.needs_logits), batch, reference)

    def output_for(self, *, needs_logits: bool) -> Tensor:
        """Return the output, for a metric that needs logits or one that can read hidden states instead."""
        if needs_logits and not self.headed:
            raise UnsupportedError(
                "this model has no language-model head, so it gives no logits",
                fix="read its sites, or pass metric= as a function of (last hidden states, batch)",
            )
        return self.output


@dataclass(frozen=True)
class _Bound:
    """An edit with what it needs of this batch."""

    edit: Edit
    mask: Tensor
    source: Source | None
    keys: Tensor | None

    def __call__(self, activation: Tensor) -> Tensor:
        given = self.source
        # Layers that attend to a window keep the last keys alone in their cache.
        keys = None if self.keys is None else self.keys[:, -activation.shape[-1] :]
        if given is None:
            return edited(activation, self.edit, self.mask, keys=keys)
        return edited(activation, self.edit, self.mask, given.values, given.basis, given.share, keys)


@dataclass
class _Point:
    """All that happens at one hook point in one forward, in order: edits, then readings."""

    site: Site
    steps: list[Step] = field(default_factory=list)
    fired: int = 0
    value: Tensor | None = None


class _Plan:
    def __init__(self, model: Any, grad: bool) -> None:  # noqa: ANN401
        self.model, self.grad = model, grad
        self.leaves = False  # as soon as every point has fired
        self.points: dict[Site, _Point] = {}
        self.mid_steps: dict[int, list[Step]] = {}
        self.result_steps: dict[int, list[Step]] = {}
        self.results: dict[int, Tensor] = {}  # of each layer after all edits
        self.latents: dict[str, Latents] = {}  # of each dictionary the last that met its activation

    def point(self, site: Site) -> _Point:
        return self.points.setdefault(site, _Point(site))

    def steps(self, site: Site) -> list[Step]:
        """Return what is done at a plain whole site, to be added to."""
        if site.component not in ("resid_mid", "result"):
            return self.point(site).steps
        assert site.layer is not None
        if site.component == "result":
            self.point(Site("z", site.layer))
            self.point(Site("attn_out", site.layer))
            return self.result_steps.setdefault(site.layer, [])
        self.point(Site("resid_pre", site.layer))
        self.point(Site("attn_out", site.layer))
        return self.mid_steps.setdefault(site.layer, [])

    def latents_of(self, name: str, *, edits: bool) -> Latents:
        """Return a dictionary where its activation has passed all earlier edits."""
        bound = dictionary_of(self.model, name)
        steps = self.steps(bound.site)
        trailing = takewhile(lambda step: isinstance(step, Splice), reversed(steps))
        splices = [step for step in trailing if isinstance(step, Splice)]
        if (existing := next((splice for splice in splices if name in splice.latents), None)) is not None:
            return existing.latents[name]
        # Edits of several dictionaries meet the same activation; who only reads comes after them.
        last = splices[0] if splices and edits else Splice()
        if last not in splices:
            steps.append(last)
        latents = self.latents[name] = last.latents[name] = Latents(bound, self.grad)
        if bound.site_out is not None:
            self.steps(bound.site_out).append(Arrival(latents))
        return latents


def forward(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    batch: PromptSet,
    edits: Sequence[Edit] = (),
    *,
    read: Sequence[Site] = (),
    sources: Sequence[Tensor | Source | None] = (),
    grad: bool = False,
    masks: Sequence[Tensor] | None = None,
    keys: Tensor | None = None,
    run: Callable[[], Tensor] | None = None,
) -> Run:
    """Run the model once on `batch` under `edits`, and read activations.

    Args:
        model: The bridge.
        batch: The prompts, on the model's device.
        edits: What to change, applied in the order of the list at each hook point.
        read: Whole sites to read (heads and neurons are views of these).
        sources: For each edit the whole activation of its source (or a `Source`, which says more), or None.
        grad: Keep the graph, and make every reading a point to differentiate by.
        masks: For each edit where it is made, [batch pos], instead of its own selection.
        keys: The tokens that can be attended to, [batch key], where they are more than those of the batch.
        run: What runs the model on the batch, where it is not simply called: with a cache, say. It counts what it runs.
    """
    plan = _plan(_Plan(model, grad), batch, edits, read, sources or [None] * len(edits), masks, keys)
    if run is None:
        count(len(batch))
    with torch.set_grad_enabled(grad), _hooked(model, plan, grad):
        output = run() if run is not None else bridge.run(model, batch.tokens, batch.mask)
    _check_fired(plan)
    if isinstance(output, Tensor) and edits and output.shape[0] != len(batch):
        raise InterventionError("the edits changed the batch size", got=output.shape[0], expected=len(batch))
    kept = {site: _reading(plan, site) for site in read}
    fired = {str(point.site): point.fired for point in plan.points.values()}
    return Run(output, kept, fired, bridge.has_head(model))


def readings(model: Any, batch: PromptSet, sites: Sequence[Site]) -> dict[Site, Tensor]:  # noqa: ANN401
    """Read activations, and run the model no further than the last of them.

    Args:
        model: The bridge.
        batch: The prompts, on the model's device.
        sites: Whole sites to read.
    """
    plan = _plan(_Plan(model, grad=False), batch, (), sites, ())
    plan.leaves = bool(plan.points)
    count(len(batch))
    with torch.no_grad(), _hooked(model, plan, grad=False), suppress(_Left):
        bridge.run(model, batch.tokens, batch.mask)
    _check_fired(plan)
    return {site: _reading(plan, site) for site in sites}


class _Left(Exception):
    """The model was left on purpose: everything that was asked for has been read."""


def gradients(output: Tensor, run: Run, sites: Sequence[Site]) -> dict[Site, Tensor]:
    """Return d output / d activation for each whole site read with `grad=True`.

    `resid_mid` and `result` are differentiated at `attn_out`: a change of them is the same change of it.
    """
    leaves = [run.read[_gradient_site(site)] for site in sites]
    slopes = torch.autograd.grad(output, leaves, allow_unused=True)
    return {
        site: by_heads(site, torch.zeros_like(leaf) if slope is None else slope, run.read)
        for site, leaf, slope in zip(sites, leaves, slopes, strict=True)
    }


def by_heads(site: Site, slope: Tensor, values: Mapping[Site, Tensor]) -> Tensor:
    """Return the slope of a site from that of `attn_out`: what any head adds counts alike."""
    return slope.unsqueeze(-2).expand_as(values[site]) if _is_result(site) else slope


def _is_result(site: Site) -> bool:
    return site.component == "result" and site.dictionary is None


def gradient_reads(sites: Sequence[Site]) -> list[Site]:
    """Return the sites that must be read so that `gradients` can be taken at `sites`."""
    shapes = [site for site in sites if _is_result(site)]
    return list(dict.fromkeys([*map(_gradient_site, sites), *shapes]))


def _gradient_site(site: Site) -> Site:
    at_attention = site.component in ("resid_mid", "result") and site.dictionary is None
    return Site("attn_out", site.layer) if at_attention else site


def _check_fired(plan: _Plan) -> None:
    for point in plan.points.values():
        if point.fired != 1:
            raise InterventionError(
                f"the hook of {point.site} fired {point.fired} times in one forward",
                expected="once",
                fix="this architecture does not support the site: see mechcausal sites MODEL",
            )


def _plan(
    plan: _Plan,
    batch: PromptSet,
    edits: Sequence[Edit],
    read: Sequence[Site],
    sources: Sequence[Tensor | Source | None],
    masks: Sequence[Tensor] | None = None,
    keys: Tensor | None = None,
) -> _Plan:
    selected: dict[str, Tensor] = {}
    keys = batch.mask if keys is None else keys
    for number, (edit, source) in enumerate(zip(edits, sources, strict=True)):
        given = source if isinstance(source, Source) else Source(source) if source is not None else None
        mask = given.mask if given is not None else None
        if masks is not None:
            mask = masks[number]
        if mask is None:
            mask = selected[str(edit.at)] if str(edit.at) in selected else batch.select(edit.at)
            selected[str(edit.at)] = mask
        bound = _Bound(edit, mask, given, keys if edit.site.component == "pattern" else None)
        _check_name(plan, edit.site)
        if edit.site.dictionary is None:
            plan.steps(edit.site.whole).append(bound)
        else:
            latents = plan.latents_of(edit.site.dictionary, edits=True)
            (latents.error_edits if edit.site.error else latents.edits).append(bound)
    for site in read:
        _check_name(plan, site)
        if site != site.whole:
            raise SiteError(f"whole activations are read, not parts of them: {site}", fix=f"read {site.whole}")
        if site.dictionary is None:
            plan.steps(site)
        elif site.error:
            plan.latents_of(site.dictionary, edits=False).wants_error = True
        else:
            plan.latents_of(site.dictionary, edits=False)
    return plan


def _check_name(plan: _Plan, site: Site) -> None:
    """Refuse a feature whose dictionary is not attached, or belongs elsewhere."""
    if site.dictionary is not None:
        site.check(with_dictionaries(plan.model, bridge.shape_of(plan.model)))


def _reading(plan: _Plan, site: Site) -> Tensor:
    def value(part: Site) -> Tensor:
        recorded = plan.points[part].value
        assert recorded is not None  # it fired once
        return recorded

    if site.dictionary is not None:
        latents = plan.latents[site.dictionary]
        reading = latents.error if site.error else latents.features
        assert reading is not None  # its activation was met, because its hooks fired once
        return reading
    if site.component == "result":
        assert site.layer is not None
        return plan.results[site.layer]
    if site.component == "resid_mid":
        return value(Site("resid_pre", site.layer)) + value(Site("attn_out", site.layer))
    return value(site)


def _with_results(plan: _Plan, layer: int, attention: Tensor) -> Tensor:
    """Return the output of attention with the edits of what its heads add to it."""
    z = plan.points[Site("z", layer)].value
    assert z is not None  # z comes before attn_out in every block
    before = after = results(plan.model, layer, z)
    for step in plan.result_steps[layer]:
        after = step(after)
    plan.results[layer] = after
    # Exactly zero for heads and positions that no edit names.
    return attention if after is before else attention + (after - before).sum(-2)


@contextmanager
def _hooked(model: Any, plan: _Plan, grad: bool) -> Generator[None]:  # noqa: ANN401
    placed: list[bridge.HookPoint] = []
    try:
        for site, point in plan.points.items():
            hook_point = bridge.hook_point(model, site)
            if hook_point is None:
                raise SiteError(f"this model has no hook point for {site}", fix="see mechcausal sites MODEL")
            hook_point.add_hook(_hook(plan, point, grad), level=bridge.LEVEL)
            placed.append(hook_point)
        yield
    finally:
        for hook_point in placed:
            hook_point.remove_hooks("fwd", level=bridge.LEVEL)


def _hook(plan: _Plan, point: _Point, grad: bool) -> Any:  # noqa: ANN401 - a hook function
    site = point.site

    def act(tensor: Tensor, hook: Any) -> Tensor | None:  # noqa: ANN401
        point.fired += 1
        new = tensor
        if site.component == "attn_out" and site.layer in plan.result_steps:
            new = _with_results(plan, site.layer, new)
        for step in point.steps:
            new = step(new)
        if site.component == "attn_out" and site.layer in plan.mid_steps:
            before = plan.points[Site("resid_pre", site.layer)].value
            assert before is not None  # resid_pre comes before attn_out in every block
            stream = before + new
            for step in plan.mid_steps[site.layer]:
                stream = step(stream)
            new = added(before, new, stream)
        if new.shape != tensor.shape:
            raise InterventionError(
                f"an edit changed the shape at {site}", got=tuple(new.shape), expected=tuple(tensor.shape)
            )
        if grad and not new.requires_grad:
            new = new.detach().requires_grad_(True)
        point.value = new
        if plan.leaves and all(other.fired for other in plan.points.values()):
            raise _Left
        # Returned even if nothing was edited when differentiating: a hook may be shown a reshaped copy (heads split),
        # and only what it returns is part of the graph.
        return new if grad or new is not tensor else None

    return act
