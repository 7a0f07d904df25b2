"""Edits made on the run itself, while a stack passes the place they belong to.

The first edits of a cell are known before anything is run and become a change of the stream (`changes`). Those that come
after them see what the first ones did, and those whose effect nobody can carry to the end of their layer see the rest
of the layer: they are made between two layers, or at the module of the layer where the unedited run reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.data.selected import Selected
from mechcausal.errors import UnsupportedError
from mechcausal.interventions.apply import added, edited
from mechcausal.interventions.specs import Edit, Intervention
from mechcausal.models.bare import hooked
from mechcausal.models.plan import Cell
from mechcausal.models.replay.changes import Sources
from mechcausal.models.replay.twin import Twin


class Inside:
    """The edits that cells of one batch make on the run.

    Args:
        twin: The bare model.
        selected: The selections of the batch.
        cells: What is left of each cell to be made on the run.
        sources: What interventions take from elsewhere.
    """

    def __init__(self, twin: Twin, selected: Selected, cells: Sequence[Cell], sources: Sources) -> None:
        self.twin, self.selected, self.sources = twin, selected, sources
        # For each activation, and each way to edit it in turn: at which places each cell does it, -1 where it does not.
        self.ways: dict[Site, dict[tuple[int, Site, Intervention], np.ndarray]] = {}
        for number, cell in enumerate(cells):
            turns: Counter[Site] = Counter()
            for edit in cell:
                activation = edit.site.whole
                way = turns[activation], edit.site, edit.do
                which = self.ways.setdefault(activation, {}).setdefault(way, np.full(len(cells), -1))
                which[number] = selected.number(edit.at)
                turns[activation] += 1

    def on(self, cells: np.ndarray, rows: Tensor, start: int) -> Passage:
        """Return what is made on a stack of these cells and examples that begins at a column."""
        made: dict[Site, list[Callable[[Tensor], Tensor]]] = {}
        for activation, ways in self.ways.items():
            for (_, site, do), which in sorted(ways.items(), key=lambda way: way[0][0]):
                some = np.flatnonzero(which[cells] >= 0)
                if len(some):
                    index, place = (torch.as_tensor(part, device=rows.device) for part in (some, which[cells[some]]))
                    mask = self.selected.masks[place, rows[index], start:]
                    step = partial(self._made, Edit(site, do), index, rows[index], mask, start)
                    made.setdefault(activation, []).append(step)
        return Passage(self.twin, made)

    def _made(self, edit: Edit, index: Tensor, rows: Tensor, mask: Tensor, start: int, value: Tensor) -> Tensor:
        """Return the activation of a stack after an edit on some entries, which are these examples of the batch."""
        # Those that join the stack at a later layer make none of their edits before.
        there = int((index < len(value)).sum())
        given = self.sources.get((edit.site.whole, edit.do))
        source = None if given is None else given[rows[:there], start:]
        return value.index_copy(0, index[:there], edited(value[index[:there]], edit, mask[:there], source))


@dataclass(frozen=True)
class Passage:
    """One stack on its way through the layers.

    Attributes:
        twin: The bare model.
        made: What is made at each activation, in this order.
    """

    twin: Twin
    made: Mapping[Site, Sequence[Callable[[Tensor], Tensor]]]

    def touches(self, layer: int) -> bool:
        """Say whether anything is made between the input of a layer and that of the next."""
        return any(site.layer == layer and site.component != "resid_pre" for site in self.made)

    def between(self, layer: int, stream: Tensor) -> Tensor:
        """Return the input of a layer after the edits made there."""
        return self._after(Site("resid_pre", layer), self._after(Site("resid_post", layer - 1), stream))

    @contextmanager
    def during(self, layer: int, stream: Tensor) -> Generator[None]:
        """Make the edits inside a layer while it is run on this input, each exactly once."""
        middle, by_head = Site("resid_mid", layer), Site("result", layer)
        inner = [s for s in self.made if s.layer == layer and s.component not in ("resid_pre", "resid_post")]
        modules = dict.fromkeys(Site("attn_out", layer) if site in (middle, by_head) else site for site in inner)
        if by_head in inner:
            modules[Site("z", layer)] = None
        fired: list[Site] = []
        heads: list[Tensor] = []

        def at(site: Site) -> Callable[[Tensor], Tensor]:
            def act(given: Tensor) -> Tensor:
                fired.append(site)
                value = given.reshape(*stream.shape[:2], *self.twin.able.components[site.component].shape[2:])
                if site.component == "attn_out" and by_head in self.made:
                    before = self.twin.results(layer, heads[-1])
                    value = value + (self._after(by_head, before) - before).sum(-2)
                value = self._after(site, value)
                if site.component == "z":
                    heads.append(value)
                if site.component == "attn_out" and middle in self.made:
                    value = added(stream, value, self._after(middle, stream + value))
                return value.reshape(given.shape)

            return act

        with ExitStack() as hooks:
            for site in modules:
                hooks.callback(hooked(self.twin.ports[site], at(site)).remove)
            yield
        if Counter(fired) != Counter(list(modules)):
            raise UnsupportedError(f"layer {layer} does not call each of its modules once")

    def _after(self, site: Site, value: Tensor) -> Tensor:
        for make in self.made.get(site, ()):
            value = make(value)
        return value
