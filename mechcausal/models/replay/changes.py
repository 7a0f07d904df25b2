"""From edits to changes of the residual stream: what each edit adds to the input of a later layer, token by token.

An edit inside a layer is carried to the layer's end at the edited tokens alone: a head enters through its share of the
output matrix, and the MLP sees only the tokens at which the stream has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.interventions.apply import edited, new_value, view
from mechcausal.interventions.specs import Edit, Intervention
from mechcausal.models.abilities import Abilities
from mechcausal.models.readout import Readouts
from mechcausal.models.replay.twin import Base, Twin

# Components whose edits can be carried to the end of their layer.
WHOLE_STREAM = ("embed", "resid_pre", "resid_post")
AFTER_ATTENTION = ("resid_mid", "attn_out", "z")
AFTER_MLP = ("mlp_out", "mlp_post")
CARRIED = (*WHOLE_STREAM, *AFTER_ATTENTION, *AFTER_MLP)

Key = tuple[Site, Intervention]


@dataclass(frozen=True)
class Change:
    """What one intervention at one site does to the stream, wherever it may be made.

    Attributes:
        layer: The layer whose input changes; the number of layers stands for the final stream.
        delta: The change of that input at every token, [batch pos model].
        moved: Where the intervention changes anything at all, [batch pos].
    """

    layer: int
    delta: Tensor
    moved: Tensor


class Changes:
    """The changes of one batch.

    Args:
        twin: The bare model.
        able: What the bridge can do.
        readouts: How heads and neurons enter the stream.
        base: The unedited run.
        values: The activations of the unedited run that are edited, by whole site, as the bridge gives them.
        sources: The whole activations interventions take from elsewhere.
    """

    def __init__(
        self,
        twin: Twin,
        able: Abilities,
        readouts: Readouts,
        base: Base,
        values: Mapping[Site, Tensor],
        sources: Mapping[Key, Tensor],
    ) -> None:
        self.twin, self.able, self.readouts, self.base = twin, able, readouts, base
        self.values, self.sources = values, sources

    def of(self, edits: Sequence[Edit], masks: Sequence[Tensor], wanted: Tensor) -> Change:
        """Return the change that edits at one whole site make together, where `wanted` [batch pos] is true."""
        first = edits[0]
        if len(edits) == 1:
            site = first.site
            x = view(self.values[site.whole], site)
            source = self.sources.get((site.whole, first.do))
            own = None if source is None else view(source, site).to(x.dtype)
            change = new_value(first.do, x, own, first) - x
        else:
            site = first.site.whole
            old = new = self.values[site]
            for edit, mask in zip(edits, masks, strict=True):
                new = edited(new, edit, mask, self.sources.get((site, edit.do)))
            change = new - old
        flat = change.reshape(*change.shape[:2], -1)
        moved = (flat != 0).any(-1) & wanted
        return self._carried(site, change, moved)

    def _carried(self, site: Site, change: Tensor, moved: Tensor) -> Change:
        stream = self.base.hidden[0]
        delta = torch.zeros_like(stream)
        if not bool(moved.any()):
            return Change(self._layer(site), delta, moved)
        added = self.readouts.contribution(site)(change[moved]).to(stream.dtype)
        if site.component in AFTER_ATTENTION and self.able.components["resid_mid"].writes:
            assert site.layer is not None
            middle = self.values[Site("resid_mid", site.layer)][moved] + added
            old = self.values[Site("mlp_out", site.layer)][moved]
            added = added + self.twin.after_attention(site.layer, middle) - old
        delta[moved] = added
        return Change(self._layer(site), delta, moved)

    def _layer(self, site: Site) -> int:
        if site.layer is None:
            return 0
        return site.layer if site.component == "resid_pre" else site.layer + 1


def needed(sites: Sequence[Site], able: Abilities) -> list[Site]:
    """Return the whole sites of the unedited run that carrying these edits asks for."""
    found = dict.fromkeys(site.whole for site in sites)
    for site in sites:
        if site.component in AFTER_ATTENTION and able.components["resid_mid"].writes:
            found |= {Site("resid_mid", site.layer): None, Site("mlp_out", site.layer): None}
    return list(found)
