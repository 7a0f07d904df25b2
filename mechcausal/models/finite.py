"""NaN and infinity in what a model computes: refused, with the first place where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch

from mechcausal.address import GLOBAL_COMPONENTS, Site
from mechcausal.address.components import ORDER
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import NumericsError
from mechcausal.models import bridge
from mechcausal.models.hooked import forward

_LATE = ("pattern", "result")  # what is made of what stands before them


def refuse_nan(model: Any, batch: PromptSet, components: Mapping[str, Any]) -> NoReturn:  # noqa: ANN401
    """Raise because a model gave NaN or infinity on a batch, and say where it computes that first.

    Args:
        model: The bridge.
        batch: The prompts, on the model's device.
        components: What each component can do, by name.
    """
    layers = range(bridge.shape_of(model).n_layers)
    inside = [Site(name, layer) for layer in layers for name in ORDER if name not in (*GLOBAL_COMPONENTS, *_LATE)]
    sites = [site for site in (Site("embed"), *inside) if components[site.component].reads]
    read = forward(model, batch, read=sites).read
    where = next((site for site in sites if not bool(torch.isfinite(read[site])[batch.mask].all())), None)
    place = f"first in {where}" if where else "in the logits or in the edit itself"
    raise NumericsError(f"the model computes NaN or infinity, {place}", fix="check the weights, the dtype and the edit")
