"""The fast way to write: the bare model beneath the bridge, with hooks at its own modules.

A bridge calls a hook point at every activation of every layer, edited or not. The bare model shares its weights and calls
none. Which sites can be edited there as on the bridge is not assumed: the very sites of the edits are compared with the
bridge on a few tokens, with and without a cache, before they are used. What differs is left to the bridge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.errors import InterventionError, UnsupportedError
from mechcausal.interventions.apply import edited
from mechcausal.interventions.specs import Edit
from mechcausal.models import bridge
from mechcausal.models.abilities import abilities
from mechcausal.models.bare import Port, bare, hooked, ports
from mechcausal.models.masks import finite_masks

_AT_LAYERS = {"resid_pre": True, "resid_post": False}  # whether it goes in or comes out
_AT_MODULES = ("q", "k", "v", "z", "attn_out", "mlp_post", "mlp_out")


class Fast:
    """The bare model beneath a bridge, and where its activations are edited.

    Args:
        model: The bridge.
        sites: The whole sites that are to be edited; one that stands at no module of its own is refused.
    """

    def __init__(self, model: Any, sites: Sequence[Site]) -> None:  # noqa: ANN401 - a TransformerBridge
        if reason := bridge.foreign(model):
            raise UnsupportedError(reason)
        self.model, components = bare(model), abilities(model).components
        taken = signature(self.model.forward).parameters
        self._takes = {name for name in ("position_ids", "logits_to_keep") if name in taken}
        inner = [site for site in sites if site.component in _AT_MODULES and site.dictionary is None]
        located: dict[Site, Port] = ports(model, self.model, inner)
        for site in sites:
            if site.component in _AT_LAYERS and site.dictionary is None and site.layer is not None:
                layer = self.model.get_submodule(model.blocks[site.layer].name)
                located[site] = layer, _AT_LAYERS[site.component]
            if site not in located:
                raise UnsupportedError(f"{site} does not enter or leave one module")
        self._ports = located
        self._shapes = {site: components[site.component].shape[2:] for site in sites}

    def step(self, tokens: Tensor, mask: Tensor, cache: Any, edits: Sequence[Edit], masks: Sequence[Tensor]) -> Tensor:  # noqa: ANN401
        """Return the logits of the last column of tokens that continue what a cache holds, [batch vocab]."""
        options: dict[str, Any] = {"attention_mask": None if bool(mask.all()) else mask.long()}
        if "logits_to_keep" in self._takes:
            options["logits_to_keep"] = 1
        if "position_ids" in self._takes:
            options["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        by_site: dict[Site, list[Callable[[Tensor], Tensor]]] = {}
        for edit, where in zip(edits, masks, strict=True):
            by_site.setdefault(edit.site.whole, []).append(partial(edited, edit=edit, mask=where))
        fired: list[Site] = []
        with ExitStack() as hooks, torch.no_grad(), finite_masks():
            for site, steps in by_site.items():
                act = partial(self._act, site, steps, tokens.shape, fired)
                hooks.callback(hooked(self._ports[site], act).remove)
            logits = self.model(tokens, past_key_values=cache, use_cache=True, **options).logits
        if sorted(map(str, fired)) != sorted(map(str, by_site)):
            raise InterventionError(
                "an edit did not fire exactly once in a forward", got=", ".join(map(str, fired)) or "none",
                expected=", ".join(map(str, by_site)),
            )  # fmt: skip
        return logits[:, -1]

    def _act(
        self,
        site: Site,
        steps: Sequence[Callable[[Tensor], Tensor]],
        shape: torch.Size,
        fired: list[Site],
        given: Tensor,
    ) -> Tensor:
        fired.append(site)
        value = given.reshape(*shape, *self._shapes[site])
        for step in steps:
            value = step(value)
        return value.reshape(given.shape)
