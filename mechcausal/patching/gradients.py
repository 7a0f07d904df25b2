"""Gradients of the metric, taken through the layers and positions that an activation can reach and through no others.

What is asked for is never a gradient itself but its product with `source - base`, which is zero left of the first token
in which the two prompts differ. So a run begins there, at the layer of the site, on what was recorded of the unedited
run (`backward`). Along a path, the steps and the cells of one site are rows of the same stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Selection, Site
from mechcausal.interventions.apply import view
from mechcausal.models.plan import Economy
from mechcausal.models.replay.evaluate import BUDGET
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.stacks import Entries, chunks, merged
from mechcausal.models.replay.twin import Base, Twin
from mechcausal.patching.backward import first_layer, slopes


@dataclass
class Slopes:
    """One batch with all that its gradients need.

    Attributes:
        twin: The bare model.
        base: The unedited run, with the activations of the sites.
        goal: The activations of the source run, by whole site.
        differs: Where the tokens of the two prompts differ, [batch pos].
        meter: The metric.
        budget: How many bytes one stack and its graph may take.
        dry: Whether the stacks are only counted.
        economy: What was computed and what was not.
        passes: How many stacks were run and differentiated.
    """

    twin: Twin
    base: Base
    goal: Mapping[Site, Tensor]
    differs: Tensor
    meter: Meter
    budget: int = BUDGET
    dry: bool = False
    economy: Economy = field(default_factory=Economy)
    passes: int = 0

    def __post_init__(self) -> None:
        reached = (self.differs.cumsum(1) > 0) & self.meter.batch.mask
        self.delta = {
            site: (value - self.base.values[site]) * _over(reached, value.ndim) for site, value in self.goal.items()
        }
        self.selected: dict[Selection, Tensor] = {}

    def at_base(self, places: Sequence[Place]) -> np.ndarray:
        """Return `(source - base) . gradient`, the gradient that of the unedited run, [place example]."""
        live = self._live(places)
        self._count(live, runs=1)
        return self._shared(places, live, live.any(0), [])

    def joint(self, places: Sequence[Place], steps: int) -> np.ndarray:
        """Return the same with the mean gradient along a path on which the whole activation moves, [place example]."""
        out = np.zeros((len(places), len(self.differs)))
        for activation, numbers in _by_whole(places).items():
            here = [places[number] for number in numbers]
            live = self._live(here)
            self._count(live, runs=steps)
            out[numbers] = self._shared(here, live, _moves(self.delta[activation]), _midpoints(steps))
        return out

    def cells(self, places: Sequence[Place], steps: int) -> np.ndarray:
        """Return the same with the mean gradient along a path on which only the cell moves, [place example]."""
        out = np.zeros((len(places), len(self.differs)))
        for activation, numbers in _by_whole(places).items():
            here = [places[number] for number in numbers]
            live, delta = self._live(here), self.delta[activation]
            self._count(live, runs=steps * len(here))
            parts = list(dict.fromkeys(place.site for place in here))
            part = torch.tensor([parts.index(place.site) for place in here], device=delta.device)
            inside = torch.stack([_inside(delta[0, 0], site) for site in parts])
            fractions = delta.new_tensor(_midpoints(steps))
            for stack in self._stacks(live, live, first_layer(activation), steps):
                start, cell, row, step = self._indices(stack)
                change = delta[row, start:] * _over(live[cell, row, start:], delta.ndim) * inside[part[cell]][:, None]
                slope = self._slopes([activation], row, start, change * _over(fractions[step], delta.ndim))[activation]
                products = (change * slope).flatten(1).double().sum(1) / steps
                np.add.at(out, (np.asarray(numbers)[stack.cell], stack.row), products.cpu().numpy())
        return out

    def _shared(self, places: Sequence[Place], live: Tensor, moving: Tensor, fractions: Sequence[float]) -> np.ndarray:
        """Return the shares of places in the mean over points of a path; without points, in that of the base run."""
        wholes, steps = list(_by_whole(places)), max(1, len(fractions))
        total = {site: torch.zeros_like(self.delta[site]) for site in wholes}
        for stack in self._stacks(live.any(0)[None], moving[None], min(map(first_layer, wholes)), steps):
            start, _, row, step = self._indices(stack)
            change = None
            if fractions:
                delta = self.delta[wholes[0]][row, start:]
                change = delta * _over(delta.new_tensor(fractions)[step], delta.ndim)
            for site, slope in self._slopes(wholes, row, start, change).items():
                total[site][:, start:].index_add_(0, row, slope)
        shares: dict[Site, Tensor] = {}
        for site in dict.fromkeys(place.site for place in places):
            product = view(self.delta[site.whole] * total[site.whole], site)
            shares[site] = product.reshape(*product.shape[:2], -1).double().sum(-1) / steps
        sums = [(shares[place.site] * self._where(place.at)).sum(1) for place in places]
        return torch.stack(sums).cpu().numpy()

    def _slopes(self, wholes: Sequence[Site], row: Tensor, start: int, change: Tensor | None) -> dict[Site, Tensor]:
        self.passes += 1
        return slopes(self.twin, self.base, self.meter, wholes, row, start, change)

    def _where(self, at: Selection) -> Tensor:
        if at not in self.selected:
            self.selected[at] = self.meter.batch.select(at).to(self.differs.device)
        return self.selected[at]

    def _live(self, places: Sequence[Place]) -> Tensor:
        """Return at which positions of which examples each place moves, [place batch pos]."""
        sites = dict.fromkeys(place.site for place in places)
        moving = {site: _moves(view(self.delta[site.whole], site)) for site in sites}
        return torch.stack([moving[place.site] & self._where(place.at) for place in places])

    def _count(self, live: Tensor, *, runs: int) -> None:
        asked, skipped = live.shape[0] * live.shape[1], int((~live.any(-1)).sum())
        naive = runs * self.differs.numel() * len(self.twin.layers)
        self.economy += Economy(naive_token_layers=naive, skipped=skipped, asked=asked)

    def _stacks(self, live: Tensor, moving: Tensor, layer: int, steps: int) -> Iterator[Entries]:
        """Yield what has to be run: examples in which a cell moves at or before what is read; [cell batch pos] both."""
        width, layers = live.shape[-1], len(self.twin.layers)
        wanted = live.any(-1) & (live.byte().argmax(-1) <= self.meter.last)
        cell, row = (part.cpu().numpy() for part in wanted.nonzero(as_tuple=True))
        start = moving.byte().argmax(-1).cpu().numpy()[cell, row]
        step = np.repeat(np.arange(steps), len(cell))
        cell, row, start = (np.tile(part, steps) for part in (cell, row, start))
        entries = merged(Entries(cell, row, start, step, np.full(len(cell), layer)), self.twin.free_tokens)
        self.economy.token_layers += entries.token_layers(layers, width)
        if not self.dry:
            yield from chunks(entries, width, lambda tokens: tokens * self._token_bytes(layers - layer), self.budget)

    def _token_bytes(self, layers: int) -> int:
        """Return about how much a run and its graph hold for one token."""
        model, width = self.base.hidden[0].shape[-1], self.differs.shape[1]
        heads = self.base.cache[0][0].shape[1]
        inner = sum(len(weight) for weight in self.twin.layers[0].parameters())  # each map keeps what it gives
        logits = 0 if self.meter.read is not None else 4 * self.twin.head.out_features
        return 4 * ((layers + 1) * (4 * model + 2 * inner + 4 * heads * width) + logits)

    def _indices(self, stack: Entries) -> tuple[int, Tensor, Tensor, Tensor]:
        cell, row, step = (
            torch.as_tensor(part, device=self.differs.device) for part in (stack.cell, stack.row, stack.change)
        )
        return int(stack.start[0]), cell, row, step


def _by_whole(places: Sequence[Place]) -> dict[Site, list[int]]:
    numbers: dict[Site, list[int]] = {}
    for number, place in enumerate(places):
        numbers.setdefault(place.site.whole, []).append(number)
    return numbers


def _midpoints(steps: int) -> list[float]:
    return [(step + 0.5) / steps for step in range(steps)]


def _moves(change: Tensor) -> Tensor:
    """Return where something changes, [batch pos]."""
    return (change.reshape(*change.shape[:2], -1) != 0).any(-1)


def _inside(activation: Tensor, site: Site) -> Tensor:
    """Return one where an activation at one position belongs to the site, zero elsewhere."""
    ones = torch.zeros_like(activation)[None, None]
    view(ones, site)[...] = 1
    return ones[0, 0]


def _over(values: Tensor, ndim: int) -> Tensor:
    """Let the first axes of values be broadcast over the rest."""
    return values.reshape(*values.shape, *[1] * (ndim - values.ndim))
