"""Edits made on the run itself, while a stack passes the place they belong to.

The first edits of a cell are known before anything is run and become a change of the stream (`changes`). Those that come
after them see what the first ones did, and those whose effect nobody can carry to the end of their layer see the rest
of the layer: they are made between two layers, or at the module of the layer where the unedited run reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mechcausal.address import Selection, Site
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError
from mechcausal.interventions.apply import edited
from mechcausal.interventions.specs import Edit, Intervention
from mechcausal.models.abilities import Abilities
from mechcausal.models.replay.changes import Key, entered
from mechcausal.models.replay.twin import Twin

# In the order in which a layer computes them.
_AT_MODULES = ("q", "k", "v", "z", "attn_out", "resid_mid", "mlp_post", "mlp_out")
MADE = ("resid_pre", *_AT_MODULES, "resid_post")
_ORDER = ("embed", *MADE)

Cell = tuple[Edit, ...]
Made = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Divided:
    """The edits of a cell.

    Attributes:
        carried: Those that become a change of the stream, all at one activation.
        later: Those that are made on the run.
        layer: The layer whose input the run begins with.
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
    if len(cell) == 1 and cell[0].site.kind in carried:
        return Divided(cell, (), entered(cell[0].site))
    first, *others = sorted({edit.site.whole for edit in cell}, key=_turn)
    if first.kind in carried and all(_turn(site) >= (entered(first), 0) for site in others):
        own = tuple(edit for edit in cell if edit.site.whole == first)
        return Divided(own, tuple(edit for edit in cell if edit.site.whole != first), entered(first))
    return Divided((), cell, first.layer or 0)


def _turn(site: Site) -> tuple[int, int]:
    return site.layer or 0, _ORDER.index(site.component)


class Inside:
    """The edits that cells of one batch make on the run.

    Args:
        twin: The bare model.
        able: What the bridge can do.
        batch: The prompts.
        cells: What is left of each cell to be made on the run.
        sources: What interventions take from elsewhere, by whole site and intervention.
    """

    def __init__(
        self, twin: Twin, able: Abilities, batch: PromptSet, cells: Sequence[Cell], sources: Mapping[Key, Tensor]
    ) -> None:
        self.twin, self.able, self.sources = twin, able, sources
        selections: dict[Selection, int] = {}
        # For each activation, and each edit of it in turn: which cells make which edit at which places.
        self.turns: dict[Site, list[dict[tuple[Site, Intervention], np.ndarray]]] = {}
        for number, cell in enumerate(cells):
            met: dict[Site, int] = {}
            for edit in cell:
                whole = edit.site.whole
                turn = met[whole] = met.get(whole, -1) + 1
                turns = self.turns.setdefault(whole, [])
                turns += [{}] * (turn == len(turns))
                which = turns[turn].setdefault((edit.site, edit.do), np.full(len(cells), -1))
                which[number] = selections.setdefault(edit.at, len(selections))
        self.masks = torch.stack([batch.select(at) for at in selections]).to(batch.tokens.device)

    def on(self, cells: np.ndarray, rows: Tensor, start: int) -> Passage:
        """Return what is made on a stack of these cells and examples that begins at a column."""
        made = {site: [step for turn in turns for step in self._steps(turn, cells, rows, start)]
                for site, turns in self.turns.items()}  # fmt: skip
        return Passage(self.twin, self.able, {site: steps for site, steps in made.items() if steps})

    def _steps(
        self, turn: Mapping[tuple[Site, Intervention], np.ndarray], cells: np.ndarray, rows: Tensor, start: int
    ) -> list[Made]:
        steps = []
        for (site, do), which in turn.items():
            index = np.flatnonzero(which[cells] >= 0)
            if len(index):
                mask = self.masks[torch.as_tensor(which[cells[index]], device=rows.device), :, start:]
                steps.append(self._step(Edit(site, do), torch.as_tensor(index, device=rows.device), mask, rows, start))
        return steps

    def _step(self, edit: Edit, index: Tensor, mask: Tensor, rows: Tensor, start: int) -> Made:
        given = self.sources.get((edit.site.whole, edit.do))

        def make(value: Tensor) -> Tensor:
            # Those that join the stack at a later layer make none of their edits before.
            there = index[index < len(value)]
            own = rows[there]
            source = None if given is None else given[own, start:]
            places = mask[torch.arange(len(there), device=own.device), own]
            return value.index_copy(0, there, edited(value[there], edit, places, source))

        return make


@dataclass(frozen=True)
class Passage:
    """One stack on its way through the layers.

    Attributes:
        twin: The bare model.
        able: What the bridge can do.
        made: What is made at each activation, in this order.
    """

    twin: Twin
    able: Abilities
    made: Mapping[Site, Sequence[Made]]

    def touches(self, layer: int) -> bool:
        """Say whether anything is made between the input of a layer and that of the next."""
        return any(site.layer == layer and site.component != "resid_pre" for site in self.made)

    def between(self, layer: int, stream: Tensor) -> Tensor:
        """Return the input of a layer after the edits made there."""
        return self._after(Site("resid_pre", layer), self._after(Site("resid_post", layer - 1), stream))

    @contextmanager
    def during(self, layer: int, stream: Tensor) -> Generator[None]:
        """Make the edits inside a layer while it is run on this input, each exactly once."""
        middle = Site("resid_mid", layer)
        sites = [site for name in _AT_MODULES if (site := Site(name, layer)) in self.made]
        modules = dict.fromkeys(Site("attn_out", layer) if site == middle else site for site in sites)
        fired: list[Site] = []

        def at(site: Site) -> Made:
            def act(given: Tensor) -> Tensor:
                fired.append(site)
                value = given.reshape(*stream.shape[:2], *self.able.components[site.component].shape[2:])
                value = self._after(site, value)
                if site.component == "attn_out" and middle in self.made:
                    before = stream + value
                    value = value + (self._after(middle, before) - before)
                return value.reshape(given.shape)

            return act

        with ExitStack() as hooks:
            for site in modules:
                hooks.callback(_writer(*self.twin.places[site], at(site)).remove)
            yield
        if sorted(map(str, fired)) != sorted(map(str, modules)):
            raise UnsupportedError(f"layer {layer} does not call each of its modules once")

    def _after(self, site: Site, value: Tensor) -> Tensor:
        for make in self.made.get(site, ()):
            value = make(value)
        return value


def _writer(module: nn.Module, enters: bool, make: Made) -> Any:  # noqa: ANN401 - a handle
    """Change what enters or leaves a module."""
    if enters:
        return module.register_forward_pre_hook(lambda _, args: (make(args[0]), *args[1:]))
    return module.register_forward_hook(
        lambda _, args, out: (make(out[0]), *out[1:]) if isinstance(out, tuple) else make(out)
    )
