"""What an edit takes from elsewhere: an activation of the source run, or a mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.specs import Edit, Interpolate, Mean, Patch, Resample


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
