"""Whole activations replaced in one batch: only the layers after them are run again, on the bare model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.models import bridge
from mechcausal.models.replay.twin import Twin
from mechcausal.models.replay.verify import replayer

_ENDS = ("resid_post", "mlp_out")  # what is in the stream, or added to it, where a layer ends


def suffix_twin(model: Any, site: Site) -> Twin | None:  # noqa: ANN401 - a TransformerBridge
    """Return the bare model if the layers after a whole site can be run by themselves, in agreement with the loop."""
    has_layers_after = site.component == "resid_pre" or site.component in _ENDS
    if not has_layers_after or site != site.whole or bridge.foreign(model) or not bridge.has_head(model):
        return None
    engine = replayer(model)
    if engine.twin is None or not engine.twin.reads(site) or not engine.carries(site.component):
        return None
    return engine.twin if site.component != "mlp_out" or engine.able.additive else None


def layers_after(site: Site, n_layers: int) -> int:
    """Return how many layers are run again after a site of `suffix_twin`."""
    return n_layers - (site.layer or 0) - (site.component in _ENDS)


class Suffix:
    """The unedited run of one batch, from which layers are run again.

    Args:
        twin: What `suffix_twin` returned for this site.
        batch: The prompts, on the model's device.
        site: The activation.

    Attributes:
        value: The activation, [batch pos ...].
    """

    def __init__(self, twin: Twin, batch: PromptSet, site: Site) -> None:
        self.twin, self.site = twin, site
        self.base = twin.record(batch, {site: twin.able.shape_at(site)})
        self.value = self.base.values[site]

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Return the logits of the unedited run."""
        return self.twin.logits(self.base.hidden[-1])

    @torch.no_grad()
    def logits_with(self, value: Tensor) -> Tensor:
        """Return the logits with another activation in its place."""
        first = len(self.twin.layers) - layers_after(self.site, len(self.twin.layers))
        hidden = value if self.site.component != "mlp_out" else self.base.hidden[first] + (value - self.value)
        rows = torch.arange(len(hidden), device=hidden.device)
        for number in range(first, len(self.twin.layers)):
            hidden = self.twin.layer(self.base, number, hidden, rows, 0)
        return self.twin.logits(hidden)
