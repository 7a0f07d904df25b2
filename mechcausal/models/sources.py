"""What an edit takes from elsewhere: an activation of the source run, or a mean; and who makes the source run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, SiteError
from mechcausal.interventions.specs import Edit, Interpolate, Mean, Patch, Resample
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.fingerprint import tokenizer_fingerprint
from mechcausal.models.hooked import Run, forward


@dataclass(frozen=True)
class SourceRun:
    """Who makes the source run, and which of its positions stand against which of the base run.

    Attributes:
        model: The model that makes it; the edited model itself where None.
        at: The positions that are matched in their order where source and base prompts differ in length; None where
            token i stands against token i.
        by_number: Whether positions are those that a pair shares (`PromptSet.aligned`), of which several tokens may be one.
    """

    model: Any = None
    at: Selection | None = None
    by_number: bool = False

    def recorded(
        self,
        model: Any,  # noqa: ANN401 - a TransformerBridge
        base: PromptSet,
        rows: PromptSet,
        sites: Sequence[Site],
    ) -> tuple[dict[Site, Tensor], Run]:
        """Run the source prompts once; return whole activations laid out as those of the base run, and the run.

        Args:
            model: The model that is edited.
            base: The base prompts.
            rows: The source prompts, row against row.
            sites: The whole sites to read.
        """
        makes = model if self.model is None else self.model
        run = forward(makes, rows.to(bridge.device_of(makes)), read=sites)
        like = next(bridge.underlying(model).parameters())
        values = {site: value.to(device=like.device, dtype=like.dtype) for site, value in run.read.items()}
        if self.at is not None or self.by_number:
            values = {site: self._matched(value, site, base, rows) for site, value in values.items()}
        run.output = run.output.to(like.device)
        return values, run

    def _matched(self, values: Tensor, site: Site, base: PromptSet, rows: PromptSet) -> Tensor:
        """Return the values at the matched positions, put where these are in the base run; zero elsewhere."""
        if site.component == "pattern":
            raise SiteError(
                "an attention pattern cannot be taken from a prompt of another length, because its keys are positions",
                fix="take z, or source prompts of the same length",
            )
        if self.by_number:
            return by_number(values, base, rows)
        activation = values.new_zeros(*base.tokens.shape, *values.shape[2:])
        activation[base.select(self.at)] = values[rows.select(self.at).to(values.device)]
        return activation


def by_number(values: Tensor, base: PromptSet, source: PromptSet) -> Tensor:
    """Return source activations at the positions that prompts share: the mean over the tokens that count as one position.

    Args:
        values: Activations of the source run, [batch pos ...].
        base: The prompts whose positions are filled.
        source: The prompts that were run.

    Returns:
        [batch pos ...] in the columns of the base prompts; zero where there is no counterpart.
    """
    here, there = (side.numbers.to(values.device) for side in (base, source))
    count = int(max(here.max(), there.max())) + 1
    flat = values.flatten(2)
    index = torch.where(there < 0, count, there)[..., None]
    sums = flat.new_zeros(len(flat), count + 1, flat.shape[-1]).scatter_add(1, index.expand_as(flat), flat)
    times = flat.new_zeros(len(flat), count + 1, 1).scatter_add(1, index, torch.ones_like(flat[..., :1]))
    means = torch.cat([(sums / times.clamp(min=1))[:, :count], torch.zeros_like(sums[:, :1])], dim=1)
    wanted = torch.where(here < 0, count, here)[..., None].expand(-1, -1, flat.shape[-1])
    return means.gather(1, wanted).reshape(*here.shape, *values.shape[2:])


def check_source(model: Any, other: Any, sites: Sequence[Site]) -> None:  # noqa: ANN401
    """Refuse another model as the source of activations at these sites, before any compute, where it does not fit."""
    bridge.require_bridge(other)
    if any(site.dictionary is not None for site in sites):
        raise SiteError(
            "features belong to the weights of one model, and the source run is made by another",
            fix="name the activation itself, such as 'L1.resid_post'",
        )
    able, others = abilities(model), abilities(other)
    for site in dict.fromkeys(site.whole for site in sites):
        if site.layer is not None and site.layer >= others.shape.n_layers:
            raise DataError(f"the source model has no {site}", got=f"{others.shape.n_layers} layers")
        others.require([site], writes=False)
        if able.shape_at(site) != others.shape_at(site):
            raise DataError(
                f"{site} has another shape in the source model",
                got=others.shape_at(site),
                expected=able.shape_at(site),
                fix="take a source model of the same sizes",
            )
    tokenizers = [tokenizer_fingerprint(getattr(each, "tokenizer", None)) for each in (model, other)]
    if None not in tokenizers and tokenizers[0] != tokenizers[1]:
        raise DataError(
            "the source model has another tokenizer, so the same token ids are other texts",
            fix="take a source model with the same vocabulary",
        )


def from_elsewhere(cells: Sequence[Sequence[Edit]]) -> list[Site]:
    """Return the whole sites at which cells take values of the source run."""
    return list(dict.fromkeys(edit.site.whole for cell in cells for edit in cell if _from_rows(edit)))


def _from_rows(edit: Edit) -> bool:
    return isinstance(edit.do, (Patch, Resample, Interpolate))


def source_of(
    edit: Edit, taken: Mapping[Site, Tensor], means: Mapping[Site, Tensor], batch: PromptSet
) -> Tensor | None:
    """Return the whole activation that an edit puts in or compares with: of the source run, or a mean; else None.

    Args:
        edit: The edit.
        taken: The activations of the source run, by whole site.
        means: Means by whole site, each [feature...] or [pos feature...].
        batch: The base prompts.
    """
    if _from_rows(edit):
        return taken[edit.site.whole]
    if not isinstance(edit.do, Mean):
        return None
    mean = means[edit.site.whole]
    n, width = batch.tokens.shape
    if edit.site.component == "pattern":  # [head query key] or [head key]
        mean = mean[:, None] if mean.ndim == 2 else mean
        return mean.expand(n, mean.shape[0], width, mean.shape[-1]).float()
    whole_width = mean.ndim >= 2 and _has_positions(edit.site, mean)
    return (mean[None] if whole_width else mean[None, None]).expand(n, width, *mean.shape[int(whole_width) :]).float()


def _has_positions(site: Site, mean: Tensor) -> bool:
    return mean.ndim == (3 if site.by_head else 2)
