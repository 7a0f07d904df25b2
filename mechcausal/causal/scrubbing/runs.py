"""Run prompts with values in place: on the exact engine from where something changes, or else whole, through hooks.

The engine needs the unedited run of each prompt once. What is put in place then costs the tokens from the first place on
and the layers from there up to the one that is read, which for a head at the last token is almost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Place, Selection, Site
from mechcausal.causal.scrubbing.route import Route, arrival, layer_after, layer_before
from mechcausal.causal.scrubbing.written import at_output
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.apply import edited, view
from mechcausal.interventions.specs import AddDelta, Edit, Patch
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities
from mechcausal.models.engine import Exact, in_batches
from mechcausal.models.hooked import Source, forward
from mechcausal.models.readout import pick, place
from mechcausal.models.replay.inside import Passage
from mechcausal.models.replay.twin import Base
from mechcausal.models.replay.verify import replayer

_BUDGET = 512 * 2**20  # bytes of unedited runs that are kept


@dataclass(frozen=True)
class Forced:
    """What is put in place in every run of a batch.

    Attributes:
        part: Where.
        values: One row for each run, [run k ...].
        added: Whether the values are added to what is there.
        everywhere: Whether there is a value for each position of the prompt, padding too.
    """

    part: Place
    values: Tensor
    added: bool = False
    everywhere: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was read off a batch of runs.

    Attributes:
        values: The values of each part that was asked for, [run k ...].
        logits: The logits at the output, if they were asked for: at the read position, or at each token of an answer.
    """

    values: dict[Place, Tensor]
    logits: Tensor | None


@dataclass
class _Recorded:
    rows: np.ndarray
    base: Base | None


class Runs:
    """All runs of the prompts of one pool.

    Args:
        model: The bridge.
        able: What it can do.
        pool: The prompts.
        batch_size: How many prompts at a time.
        exact: Whether the engine may be used (`"replay"`).
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        able: Abilities,
        pool: PromptSet,
        batch_size: int,
        *,
        exact: Exact = "replay",
    ) -> None:
        self.model, self.able, self.batch_size = model, able, batch_size
        self.pool = replace(pool, texts=(), labels=(), groups=(), environments=(), clusters=(), variables={})
        self.replayer = None if exact == "naive" or bridge.is_hooked(model) else replayer(model)
        self.twin = self.replayer.twin if self.replayer else None
        self.token_layers = 0
        self.values: dict[tuple[Site, Selection], Tensor] = {}
        self._recorded: list[_Recorded] = []
        self._group_of = np.zeros(0, dtype=int)
        self._within = np.zeros(0, dtype=int)

    # What the exact engine can do, and where a run begins

    @property
    def causal(self) -> bool:
        """Whether what is computed at a position is known not to depend on later ones.

        The engine runs a changed prompt from the first change on; it agrees with the loop only where that is so.
        """
        return self.replayer is not None and self.replayer.makes("resid_pre")

    def reads(self, sites: Collection[Site]) -> bool:
        """Say whether the engine reads these sites; embeddings are looked up."""
        return self.twin is not None and all(
            site.dictionary is None and (site.component == "embed" or self.twin.reads(site.whole)) for site in sites
        )

    def writes(self, sites: Collection[Site]) -> bool:
        """Say whether the engine makes edits of these sites in one run."""
        if self.replayer is None or self.twin is None:
            return False
        if any(site.component == "embed" for site in sites) and not self.replayer.carries("embed"):
            return False
        wholes = {arrival(site) for site in sites}
        if len(wholes) == 1:
            return self.replayer.makes(next(iter(wholes)).kind)
        return {activation.kind for activation in wholes} <= self.replayer.together

    def route(self, changed: Sequence[Place], read: Sequence[Place], *, logits: bool) -> Route:
        """Return where a run begins in which these parts change, and where it ends if these are read."""
        width, n_layers = self.pool.tokens.shape[1], self.able.shape.n_layers
        if not (self.writes([part.site for part in changed]) and self.reads([part.site for part in read])):
            return Route(0, n_layers, 0, fast=False)
        masks = [self.pool.select(part.at) for part in (*changed, *read)]
        columns = [int(mask[mask.any(1)].int().argmax(1).min()) for mask in masks]
        columns += [int(self.pool.read_columns.min())] if logits else []
        first = min(layer_before(arrival(part.site)) for part in changed)
        stop = n_layers if logits else max(layer_after(part.site) for part in read)
        return Route(first, stop, min(*columns, width - 1), fast=True)

    # Prompts as they are

    def bare(
        self,
        rows: np.ndarray,
        wanted: Collection[tuple[Site, Selection]],
        *,
        keep: bool,
        tick: Callable[[int], object],
    ) -> None:
        """Run prompts as they are and keep the values that are wanted of them.

        Args:
            rows: The prompts.
            wanted: Sites, and the positions at which they are read.
            keep: Whether the unedited runs themselves are wanted, for the engine.
            tick: Called with the number of prompts run.
        """
        looked_up = [where for where in wanted if where[0].component == "embed" and keep]
        read = [where for where in wanted if where not in looked_up]
        wholes = list(dict.fromkeys(site.whole for site, _ in read))
        self._look_up(looked_up)
        self._group_of = np.full(len(self.pool), -1)
        self._within = np.zeros(len(self.pool), dtype=int)
        bytes_kept = 0

        def one_batch(index: Tensor) -> np.ndarray:
            nonlocal bytes_kept
            batch_rows = rows[index.numpy()]
            batch = self.prompts(batch_rows)
            if keep:
                base = self._record(batch, wholes)
                values = base.values
                bytes_kept += len(batch_rows) * self._bytes_of_one()
                self._group_of[batch_rows] = len(self._recorded)
                self._within[batch_rows] = np.arange(len(batch_rows))
                self._recorded.append(
                    _Recorded(batch_rows, replace(base, values={}) if bytes_kept <= _BUDGET else None)
                )
            else:
                values = self._whole(batch, wholes)
            for site, at in read:
                value = self._picked(values[site.whole], Place(site, at), batch.select(at))
                if (site, at) not in self.values:
                    self.values[site, at] = value.new_zeros(len(self.pool), *value.shape[1:])
                self.values[site, at][torch.as_tensor(batch_rows, device=value.device)] = value
            tick(len(batch_rows))
            return np.zeros((1, len(batch_rows)))

        if len(rows) and (wholes or keep):
            in_batches(len(rows), self.batch_size, one_batch)

    def prompts(self, rows: np.ndarray) -> PromptSet:
        """Return some of the prompts, on the model's device."""
        return self.pool.take(torch.as_tensor(rows)).to(bridge.device_of(self.model))

    def embedding_cost(self) -> int:
        """Return how many token-layers it takes to look the embeddings up."""
        return len(self.pool.tokens.unique()) * self.able.shape.n_layers

    def _look_up(self, wanted: Sequence[tuple[Site, Selection]]) -> None:
        """Keep the embeddings at these positions; a token has the same one everywhere."""
        if not wanted:
            return
        distinct, number = self.pool.tokens.unique(return_inverse=True)
        site = Site("embed")
        rows: list[Tensor] = []

        def one_batch(index: Tensor) -> np.ndarray:
            tokens = distinct[index][:, None].to(bridge.device_of(self.model))
            batch = PromptSet(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool))
            rows.append(self._whole(batch, [site])[site][:, 0])
            return np.zeros((1, len(index)))

        in_batches(len(distinct), max(self.batch_size, 64), one_batch)
        table = torch.cat(rows)
        everywhere = table[number.to(table.device)]
        for embedding, at in wanted:
            self.values[embedding, at] = self._picked(
                everywhere, Place(embedding, at), self.pool.select(at).to(table.device)
            )

    def _whole(self, batch: PromptSet, sites: Sequence[Site]) -> dict[Site, Tensor]:
        self.token_layers += batch.tokens.numel() * self.able.shape.n_layers
        return forward(self.model, batch, read=sites).read

    def _record(self, batch: PromptSet, sites: Sequence[Site]) -> Base:
        assert self.twin is not None  # nothing is kept without it
        self.token_layers += batch.tokens.numel() * self.able.shape.n_layers
        return self.twin.record(batch, {site: self.able.shape_at(site) for site in sites})

    def _bytes_of_one(self) -> int:
        shape = self.able.shape
        numbers = (shape.n_layers + 1) * shape.d_model + 2 * shape.n_layers * shape.n_kv_heads * shape.d_head
        return 4 * self.pool.tokens.shape[1] * numbers

    # Prompts with values in place

    def groups(self, rows: np.ndarray, route: Route) -> Iterator[tuple[np.ndarray, int]]:
        """Cut runs into groups whose unedited runs are at hand together; yield them with how many fit into one batch."""
        if not route.fast:
            yield np.arange(len(rows)), self.batch_size
            return
        width = self.pool.tokens.shape[1]
        group = self._group_of[rows]
        for number in np.unique(group):
            recorded = self._recorded[number]
            again = recorded.base is None
            if again:
                recorded.base = self._record(self.prompts(recorded.rows), [])
            yield np.flatnonzero(group == number), self.batch_size * max(1, width // (width - route.start))
            if again:
                recorded.base = None

    def repeated(self) -> int:
        """Return how many prompts are run again for each node, since not all unedited runs fit into memory."""
        return sum(len(recorded.rows) for recorded in self._recorded if recorded.base is None)

    @torch.no_grad()
    def patched(
        self,
        rows: np.ndarray,
        route: Route,
        forced: Sequence[Forced],
        parts: Sequence[Place],
        *,
        seen: PromptSet | None = None,
        logits: bool = False,
    ) -> Outcome:
        """Run prompts with values in place.

        Args:
            rows: The prompts, one for each run; on the engine all of one group.
            route: Where the runs begin and end.
            forced: What is put in place.
            parts: What is read.
            seen: The prompts to be run if they are not those of the pool (another attention mask).
            logits: Whether the logits at the output are wanted.
        """
        batch = self.prompts(rows)
        edits = [self._edit(force, batch, route.start) for force in forced]
        if route.fast:
            return self._replayed(rows, batch, route, edits, parts, logits)
        self.token_layers += batch.tokens.numel() * self.able.shape.n_layers
        wholes = list(dict.fromkeys(part.site.whole for part in parts))
        run = forward(self.model, seen or batch, [e for e, _ in edits], read=wholes, sources=[s for _, s in edits])
        values = {part: self._picked(run.read[part.site.whole], part, batch.select(part.at)) for part in parts}
        return Outcome(values, at_output(run.logits, batch) if logits else None)

    def _edit(self, force: Forced, batch: PromptSet, start: int) -> tuple[Edit, Source]:
        part, mask = force.part, batch.select(force.part.at)[:, start:]
        do = AddDelta() if force.added else Patch()
        if force.everywhere:
            return Edit(part.site, do), Source(force.values[:, start:], mask=torch.ones_like(mask))
        n, width = mask.shape
        heads = self.able.shape.n_heads
        pattern = part.site.component == "pattern"
        shape = (n, heads, width, width) if pattern else (n, width, *self.able.shape_at(part.site))
        source = Source(_placed(force.values, part.site, mask, shape), mask=mask, basis=part.columns(force.values))
        return Edit(part.site, do, part.at), source

    def _replayed(
        self,
        rows: np.ndarray,
        batch: PromptSet,
        route: Route,
        edits: Sequence[tuple[Edit, Source]],
        parts: Sequence[Place],
        logits: bool,
    ) -> Outcome:
        twin, start = self.twin, route.start
        base = self._recorded[self._group_of[rows[0]]].base
        assert twin is not None  # `groups` has seen to it
        assert base is not None
        within = torch.as_tensor(self._within[rows], device=batch.tokens.device)
        kept: dict[Site, Tensor] = {}
        made: dict[Site, list[Callable[[Tensor], Tensor]]] = {}
        for edit, source in edits:
            if edit.site.component == "embed":
                here = self.values[edit.site, edit.at][torch.as_tensor(rows)]
                before = _placed(here, edit.site, _mask(source), tuple(source.values.shape))
                made.setdefault(arrival(edit.site), []).append(partial(_moved, edit=edit, before=before, source=source))
            else:
                made.setdefault(edit.site.whole, []).append(partial(_edited, edit=edit, source=source))
        for activation in dict.fromkeys(part.site.whole for part in parts):
            made.setdefault(activation, []).append(partial(_kept, site=activation, kept=kept))
        passage = Passage(twin, made)
        before_it = base.executed
        stack = base.hidden[route.first][within, start:]
        early = logits and batch.forced is None  # only one position is read
        for layer in range(route.first, route.stop):
            stack = passage.between(layer, stack)
            if early and layer == len(twin.layers) - 1 and not passage.touches(layer):
                stack = twin.last_layer(base, stack, within, start, batch.read_columns)[:, None]
                continue
            with passage.during(layer, stack) if passage.touches(layer) else nullcontext():
                stack = twin.layer(base, layer, stack, within, start)
        if stack.shape[1] == batch.tokens.shape[1] - start:
            stack = passage.between(route.stop, stack)
            last = at_output(stack, batch, start) if logits else stack
        else:
            last = stack[:, 0]
        self.token_layers += base.executed - before_it
        values = {
            part: self._picked(kept[part.site.whole], part, batch.select(part.at)[:, start:])
            if part.site.whole in kept
            else self.values[part.site, part.at][torch.as_tensor(rows)]  # upstream of everything that changes
            for part in parts
        }
        return Outcome(values, twin.logits(last) if logits else None)

    def _picked(self, activation: Tensor, at: Place, mask: Tensor) -> Tensor:
        """Return what a place holds in each run, [run k ...]; zeros in runs that lack its positions."""
        present = mask.any(1)
        if bool(present.all()):
            return pick(activation, at.site, mask)
        part = view(activation, at.site)
        picked = part.new_zeros(len(part), int(self.pool.select(at.at).sum(1).max()), *part.shape[2:])
        picked[present] = part[mask].reshape(int(present.sum()), -1, *part.shape[2:])
        return picked

    def unedited_logits(self, rows: np.ndarray) -> Tensor:
        """Return the logits at the output of unedited runs, all of one group."""
        base, twin = self._recorded[self._group_of[rows[0]]].base, self.twin
        assert twin is not None  # `groups` has seen to it
        assert base is not None
        return twin.logits(at_output(base.hidden[-1][torch.as_tensor(self._within[rows])], self.prompts(rows)))


def _placed(values: Tensor, site: Site, mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a whole activation with the values at the masked positions, in the runs that have them."""
    present = mask.any(1)
    return place(values if bool(present.all()) else values[present], site, mask, shape)


def _edited(value: Tensor, *, edit: Edit, source: Source) -> Tensor:
    return edited(value, edit, _mask(source), source.values, source.basis)


def _moved(stream: Tensor, *, edit: Edit, before: Tensor, source: Source) -> Tensor:
    """Return the stream after the embedding was changed from what it is before to the source."""
    return stream + (edited(before, edit, _mask(source), source.values, source.basis) - before)


def _kept(value: Tensor, *, site: Site, kept: dict[Site, Tensor]) -> Tensor:
    kept[site] = value
    return value


def _mask(source: Source) -> Tensor:
    assert source.mask is not None  # `_edit` has given it one
    return source.mask
