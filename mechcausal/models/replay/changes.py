"""From edits to changes of the residual stream: what each edit adds to the input of a later layer, token by token.

An edit inside a layer is carried to the layer's end at the edited tokens alone: a head enters through its share of the
output matrix, and the MLP sees only the tokens at which the stream has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.address.components import ORDER
from mechcausal.data.selected import Selected
from mechcausal.interventions.apply import edited, new_value, spread, view
from mechcausal.interventions.specs import Intervention
from mechcausal.models.abilities import Abilities
from mechcausal.models.plan import Cell
from mechcausal.models.replay.twin import Base, Twin

_AFTER_ATTENTION = ("resid_mid", "attn_out", "result", "z")
# Components whose edits can be carried to the end of their layer, and those whose edits can be made on the run.
CARRIED = ("embed", "resid_pre", "resid_post", *_AFTER_ATTENTION, "mlp_out", "mlp_post")
MADE = tuple(name for name in ORDER if name not in ("embed", "pattern", "logits"))

_TOKENS = 4096  # at most, in one call of an MLP

Sources = Mapping[tuple[Site, Intervention], Tensor]


@dataclass(frozen=True)
class Divided:
    """The edits of a cell.

    Attributes:
        carried: Those that become a change of the stream, all at one activation.
        later: Those that are made on the run.
        layer: The layer whose input the run begins with; the number of layers stands for the final stream.
    """

    carried: Cell
    later: Cell
    layer: int


def divided(cell: Cell, carried: Collection[str]) -> Divided:
    """Divide a cell, so that the run begins as late as it can.

    Args:
        cell: The edits.
        carried: The kinds of sites whose edits can be carried to the end of their layer.
    """
    first, *others = sorted({edit.site.whole for edit in cell}, key=lambda site: (site.depth, str(site)))
    enters = 0 if first.layer is None else first.layer + (first.component != "resid_pre")
    if first.kind in carried and all(site.depth >= (enters, 0) for site in others):
        first_edits, later = (tuple(e for e in cell if (e.site.whole == first) == here) for here in (True, False))
        return Divided(first_edits, later, enters)
    return Divided((), cell, first.layer or 0)


@dataclass(frozen=True)
class Made:
    """The changes of the stream that were asked for.

    Attributes:
        layers: For each the layer whose input changes.
        delta: How that input changes at every token, [change batch pos model].
        moved: Where it changes at all, or an edit made on the run may do something, [change batch pos].
    """

    layers: Sequence[int]
    delta: Tensor
    moved: Tensor


@dataclass(frozen=True)
class Changes:
    """The changes of one batch.

    Attributes:
        twin: The bare model.
        base: The unedited run, with the activations that `needed` names.
        selected: The selections of the batch.
        sources: The whole activations interventions take from elsewhere.
        decisive: The only positions of the final stream that matter, [batch pos]; None where all do.
    """

    twin: Twin
    base: Base
    selected: Selected
    sources: Sources
    decisive: Tensor | None

    def of(self, parts: Sequence[Divided], masks: Sequence[Tensor | None]) -> Made:
        """Return the changes that were asked for; MLPs are called once for all changes in front of them.

        Args:
            parts: The edits.
            masks: Where they are made, [batch pos], if that is not what each of them selects.
        """
        stream, able = self.base.hidden[0], self.twin.able
        delta = stream.new_zeros(len(parts), *stream.shape)
        moved = torch.zeros(delta.shape[:-1], dtype=torch.bool, device=stream.device)
        before_mlp: dict[int, list[tuple[int, Tensor]]] = {}
        for number, (part, mask) in enumerate(zip(parts, masks, strict=True)):
            for activation in dict.fromkeys(edit.site.whole for edit in part.later):
                # An edit that leaves the unedited value alone does nothing before another edit has done something.
                edits = tuple(edit for edit in part.later if edit.site.whole == activation)
                moved[number] |= _differs(self._difference(edits, mask)[1])
            if not part.carried:
                continue
            site, change = self._difference(part.carried, mask)
            live = _differs(change)
            if part.layer == len(self.twin.layers) and self.decisive is not None:
                live &= self.decisive
            moved[number] |= live
            delta[number][live] = self.twin.readouts.contribution(site)(change[live]).to(stream.dtype)
            if _passes_mlp(site, able):
                assert site.layer is not None
                before_mlp.setdefault(site.layer, []).append((number, live))
        for layer, changed in before_mlp.items():
            self._through_mlp(layer, changed, delta)
        return Made([part.layer for part in parts], delta, moved)

    def _difference(self, edits: Cell, mask: Tensor | None) -> tuple[Site, Tensor]:
        """Return what edits of one activation change in it, and the part of it that they name together."""
        activation = edits[0].site.whole
        old = new = self.base.values[activation]
        if len(edits) == 1:  # of its part alone: one feature of many
            site, given = edits[0].site, self.sources.get((activation, edits[0].do))
            part, other = view(old, site), None if given is None else view(given, site).to(old.dtype)
            where = spread(self.selected.of(edits[0].at) if mask is None else mask, site, part.ndim)
            return site, (new_value(edits[0].do, part, other, edits[0]) - part).masked_fill(~where, 0)
        for edit in edits:
            where = self.selected.of(edit.at) if mask is None else mask
            new = edited(new, edit, where, self.sources.get((activation, edit.do)))
        site = edits[0].site if len({edit.site for edit in edits}) == 1 else activation
        return site, view(new, site) - view(old, site)

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


def _passes_mlp(site: Site, able: Abilities) -> bool:
    return site.component in _AFTER_ATTENTION and able.components["resid_mid"].writes


def needed(sites: Sequence[Site], able: Abilities) -> list[Site]:
    """Return the whole sites of the unedited run that carrying these edits asks for."""
    needed_sites = dict.fromkeys(site.whole for site in sites)
    for site in sites:
        if _passes_mlp(site, able):
            needed_sites |= {Site("resid_mid", site.layer): None, Site("mlp_out", site.layer): None}
    return list(needed_sites)
