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

_TOKENS = 4096  # at most, in one call of an MLP

Key = tuple[Site, Intervention]


@dataclass(frozen=True)
class Asked:
    """Edits at one whole site whose change is wanted.

    Attributes:
        edits: The edits; none where a run begins with the stream as it is.
        masks: Where each is made, [batch pos], if there are several.
        wanted: Where their change is asked for, [batch pos].
        layer: The layer whose input the run begins with.
        later: What is made on the run: for each whole site its edits, their masks, and where they are wanted.
    """

    edits: Sequence[Edit]
    masks: Sequence[Tensor]
    wanted: Tensor
    layer: int
    later: Sequence[tuple[Sequence[Edit], Sequence[Tensor], Tensor]] = ()


@dataclass(frozen=True)
class Made:
    """The changes of the stream that were asked for.

    Attributes:
        layers: For each the layer whose input changes; the number of layers stands for the final stream.
        delta: How that input changes at every token, [change batch pos model].
        moved: Where it changes at all, or an edit made on the run may do something, [change batch pos].
    """

    layers: Tensor
    delta: Tensor
    moved: Tensor


class Changes:
    """The changes of one batch.

    Args:
        twin: The bare model.
        able: What the bridge can do.
        readouts: How heads and neurons enter the stream.
        base: The unedited run, with the activations that `needed` names.
        sources: The whole activations interventions take from elsewhere.
        read: The only positions of the final stream that matter, [batch pos]; None where all do.
    """

    def __init__(
        self,
        twin: Twin,
        able: Abilities,
        readouts: Readouts,
        base: Base,
        sources: Mapping[Key, Tensor],
        read: Tensor | None = None,
    ) -> None:
        self.twin, self.able, self.readouts, self.base = twin, able, readouts, base
        self.sources, self.read = sources, read

    def of(self, asked: Sequence[Asked]) -> Made:
        """Return the changes that were asked for; MLPs are called once for all changes in front of them."""
        stream = self.base.hidden[0]
        delta = stream.new_zeros(len(asked), *stream.shape)
        moved = torch.zeros(delta.shape[:-1], dtype=torch.bool, device=stream.device)
        before_mlp: dict[int, list[tuple[int, Tensor]]] = {}
        for number, ask in enumerate(asked):
            for edits, masks, wanted in ask.later:
                # An edit that leaves the unedited value alone does nothing before another edit has done something.
                moved[number] |= _differs(self._difference(edits, masks)[1]) & wanted
            if not ask.edits:
                continue
            site, change = self._difference(ask.edits, ask.masks)
            live = _differs(change) & ask.wanted
            if ask.layer == len(self.twin.layers) and self.read is not None:
                live &= self.read
            moved[number] |= live
            delta[number][live] = self.readouts.contribution(site)(change[live]).to(stream.dtype)
            if site.component in AFTER_ATTENTION and self.able.components["resid_mid"].writes:
                assert site.layer is not None
                before_mlp.setdefault(site.layer, []).append((number, live))
        for layer, changed in before_mlp.items():
            self._through_mlp(layer, changed, delta)
        return Made(torch.tensor([ask.layer for ask in asked]), delta, moved)

    def _difference(self, edits: Sequence[Edit], masks: Sequence[Tensor]) -> tuple[Site, Tensor]:
        first = edits[0]
        if len(edits) == 1:
            x = view(self.base.values[first.site.whole], first.site)
            source = self.sources.get((first.site.whole, first.do))
            own = None if source is None else view(source, first.site).to(x.dtype)
            return first.site, new_value(first.do, x, own, first) - x
        site = first.site.whole
        old = new = self.base.values[site]
        for edit, mask in zip(edits, masks, strict=True):
            new = edited(new, edit, mask, self.sources.get((site, edit.do)))
        return site, new - old

    def _through_mlp(self, layer: int, changed: Sequence[tuple[int, Tensor]], delta: Tensor) -> None:
        """Add to changes between attention and MLP of a layer what the MLP makes of them."""
        middle, old = (self.base.values[Site(name, layer)] for name in ("resid_mid", "mlp_out"))
        number = torch.cat([torch.full((int(live.sum()),), which) for which, live in changed]).to(delta.device)
        row, column = torch.cat([live.nonzero() for _, live in changed]).unbind(1)
        for some in torch.arange(len(number), device=delta.device).split(_TOKENS):
            at = row[some], column[some]
            entered = delta[number[some], *at]
            delta[number[some], *at] = entered + self.twin.after_attention(layer, middle[at] + entered) - old[at]


def _differs(change: Tensor) -> Tensor:
    return (change.reshape(*change.shape[:2], -1) != 0).any(-1)


def entered(site: Site) -> int:
    """Return the layer whose input a change at a site is carried to; the number of layers is the final stream."""
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
