"""Prompts in batches, and what is exchanged within them: variables, and all that must not matter.

A batch is run once as it is. In the second run each example takes some variables from other examples of the batch, at
the places where the hypothesis puts them, and some of everything else from others again. The label follows the
variables alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import HEAD_COMPONENTS, Place, Site
from mechcausal.causal.hypothesis import table_of
from mechcausal.causal.training.lessons import STREAM, Lesson, require_closed, require_teachable, words
from mechcausal.data.prompts import PromptSet
from mechcausal.data.table import Table, rows
from mechcausal.errors import DataError
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.models.abilities import Abilities
from mechcausal.models.anatomy import heads, mlps
from mechcausal.models.hooked import Source

# What a named site stands for among the nodes that strictness covers: heads and MLPs.
_ATTENTION = ("q", "k", "v", "z", "attn_out")
_MLP = ("mlp_post", "mlp_out")


@dataclass
class Slot:
    """One kind of exchange: a whole site, all its heads, or a subspace of it.

    Attributes:
        site: Where the edit is made.
        units: How many heads are exchanged independently; 1 for anything else.
        basis: The orthonormal columns inside which it is made; None for all of the activation.
        free: Where it must not matter, [row pos unit].
        name: How the thing that must not matter is printed.
    """

    site: Site
    units: int
    basis: Tensor | None
    free: np.ndarray
    name: str

    def unit_name(self, unit: int) -> str:
        """Return the printed name of one head, or of the whole."""
        return f"{self.name}.H{unit}" if self.units > 1 else self.name


@dataclass(frozen=True)
class _Place:
    """Where one part of a variable is: the slot, the units in it, the columns in each row of the pool (-1: none)."""

    slot: int
    units: tuple[int, ...]
    columns: np.ndarray


class Pool:
    """All prompts of some lessons in one matrix, with everything that never changes from step to step.

    Attributes:
        slots: The kinds of exchange, in the order in which they are made.
        offsets: The first row of each lesson, and the number of rows at the end.
    """

    def __init__(self, model: Any, able: Abilities, lessons: Sequence[Lesson], *, strict: bool = True) -> None:  # noqa: ANN401
        if not lessons:
            raise DataError("there is nothing to learn", fix="give at least one Lesson(hypothesis, prompts)")
        self.able, self.lessons = able, lessons
        for lesson in lessons:
            require_teachable(model, able, lesson)
            if strict:
                require_closed(lesson.hypothesis)
        side = lessons[0].prompts.side
        width = max(lesson.prompts.tokens.shape[1] for lesson in lessons)
        sets = [lesson.prompts.to("cpu").padded(width, side) for lesson in lessons]
        self.offsets = np.cumsum([0, *map(len, sets)])
        self.tokens, self.mask = (
            torch.cat([getattr(prompts, what) for prompts in sets]) for what in ("tokens", "mask")
        )
        self.real = self.mask.numpy()
        self.reads = torch.cat([prompts.read_columns for prompts in sets])
        self.tables: list[Table] = [table_of(prompts) for prompts in sets]
        self.words = [words(model, lesson) for lesson in lessons]
        self.device = next(iter(model.parameters())).device
        self.side = side
        self.slots: list[Slot] = []
        self.places: dict[tuple[int, str], list[_Place]] = {}
        self._lay_out(sets, strict)
        self.alike = self._groups(lambda number: self._counts(number))
        self.alike_strictly = self._groups(lambda number: self._lengths_and_given(number))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.tokens)

    def rows_of(self, lesson: int) -> np.ndarray:
        """Return the rows of a lesson."""
        return np.arange(self.offsets[lesson], self.offsets[lesson + 1])

    def read_sites(self) -> list[Site]:
        """Return the whole sites that must be recorded."""
        return list(dict.fromkeys(slot.site.whole for slot in self.slots))

    # Laying out

    def _lay_out(self, sets: Sequence[PromptSet], strict: bool) -> None:
        """Make the slots: where each variable is, and where nothing may matter."""
        slot_numbers: dict[Any, int] = {}

        def slot(site: Site, basis: Tensor | None, key: Any, name: str) -> int:  # noqa: ANN401
            if key not in slot_numbers:
                heads = self.able.shape.heads(site.component) if site.component in HEAD_COMPONENTS else 1
                units = heads if site == site.whole else 1
                slot_numbers[key] = len(self.slots)
                self.slots.append(Slot(site, units, basis, np.zeros((*self.real.shape, units), dtype=bool), name))
            return slot_numbers[key]

        def activation_slot(site: Site) -> int:
            return slot(site, None, site, str(site))

        for number, (lesson, prompts) in enumerate(zip(self.lessons, sets, strict=True)):
            mine = slice(self.offsets[number], self.offsets[number + 1])
            named: list[tuple[Place, np.ndarray]] = []
            for variable, parts in lesson.hypothesis.alignment.items():
                places = self.places[number, variable] = []
                for part in parts:
                    at = prompts.select(part.at).numpy()
                    columns = np.full((len(self), max(1, int(at.sum(1).max()))), -1)
                    columns[mine] = _columns(at, columns.shape[1])
                    named.append((part, at))
                    basis = part.columns(torch.zeros((), dtype=torch.float32))
                    if basis is not None or part.site.unit is not None:
                        places.append(_Place(slot(part.site, basis, (number, part), str(part)), (0,), columns))
                    else:
                        index = activation_slot(part.site.whole)
                        head = part.site.head
                        units = tuple(range(self.slots[index].units)) if head is None else (head,)
                        places.append(_Place(index, units, columns))
            if not strict:
                continue
            if not any(part.site.component in STREAM for part, _ in named):
                for site in nodes(self.able):
                    free = prompts.mask.numpy().copy()
                    for part, at in named:
                        if _stands_for(part, site):
                            free &= ~at
                    self.slots[activation_slot(site.whole)].free[mine, :, site.head or 0] = free
            for site in dict.fromkeys(part.site for part, _ in named if part.basis or part.site.component in STREAM):
                named_here = [(part, at) for part, at in named if part.site == site]
                at = np.any([at for _, at in named_here], axis=0)
                if site.component in STREAM:
                    self.slots[activation_slot(site)].free[mine, :, 0] = prompts.mask.numpy() & ~at
                if all(part.basis for part, _ in named_here):
                    rest = _rest([part for part, _ in named_here])
                    index = slot(site, rest, (number, site, "rest"), f"{site} outside the subspaces")
                    self.slots[index].free[mine, :, 0] = at

    def _groups(self, keys: Any) -> np.ndarray:  # noqa: ANN401 - from a lesson's number to a matrix of keys
        """Return for each row the number of its group: the rows among which it may be exchanged."""
        out, first = np.zeros(len(self), dtype=int), 0
        for number in range(len(self.lessons)):
            groups = np.unique(keys(number), axis=0, return_inverse=True)[1].reshape(-1)
            out[self.rows_of(number)] = groups + first
            first += int(groups.max()) + 1
        return out

    def _counts(self, number: int) -> np.ndarray:
        """Return how many positions each part has in each row: activations go from one row to another if they agree."""
        parts = [place for (lesson, _), places in self.places.items() if lesson == number for place in places]
        return np.stack([(part.columns[self.rows_of(number)] >= 0).sum(1) for part in parts], axis=1)

    def _lengths_and_given(self, number: int) -> np.ndarray:
        mine, table = self.rows_of(number), self.tables[number]
        given = [table[name].reshape(len(mine), -1) for name in self.lessons[number].hypothesis.given]
        return np.concatenate([self.real[mine].sum(1)[:, None], *given], axis=1)


class Batch:
    """Some rows of a pool, and what is exchanged between them."""

    def __init__(self, pool: Pool, chosen: np.ndarray) -> None:
        self.pool, self.chosen = pool, chosen
        index = torch.from_numpy(chosen)
        self.prompts = PromptSet(pool.tokens[index], pool.mask[index], pool.side).to(pool.device)
        self.lesson = np.searchsorted(pool.offsets, chosen, side="right") - 1
        self.local = chosen - pool.offsets[self.lesson]
        self.read = pool.reads[index].to(pool.device)
        self.targets = np.empty(len(chosen), dtype=np.int64)
        for number in np.unique(self.lesson):
            mine = np.flatnonzero(self.lesson == number)
            self.targets[mine] = self.answers(int(number), mine, {})
        self._clear()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.chosen)

    def fresh(self) -> Batch:
        """Return the same rows with nothing exchanged."""
        other = copy.copy(self)
        other._clear()
        return other

    def _clear(self) -> None:
        shapes = [(len(self), self.pool.real.shape[1], slot.units) for slot in self.pool.slots]
        self.masks = [np.zeros(shape, dtype=bool) for shape in shapes]
        self.sources = [np.zeros(shape, dtype=np.int64) for shape in shapes]

    def partners(self, draw: np.random.Generator, *, strictly: bool = False) -> np.ndarray:
        """Return a random permutation that exchanges rows of one lesson (and of one length, if `strictly`)."""
        groups = (self.pool.alike_strictly if strictly else self.pool.alike)[self.chosen]
        order = np.empty(len(self), dtype=int)
        order[np.argsort(groups, kind="stable")] = np.lexsort((draw.random(len(self)), groups))
        return order

    def answers(self, lesson: int, mine: np.ndarray, taken: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the token each of these rows calls for when variables are taken from the rows given for them."""
        pool = self.pool
        table, hypothesis = pool.tables[lesson], pool.lessons[lesson].hypothesis
        if not taken:
            return pool.words[lesson][table[hypothesis.outcome][self.local[mine]].astype(int)]
        values = {variable: table[variable][self.local[source]] for variable, source in taken.items()}
        base_table = rows(table, self.local[mine])
        return pool.words[lesson][hypothesis.answers(base_table, **values).astype(int)]

    def take(self, lesson: int, variable: str, mine: np.ndarray, source: np.ndarray) -> None:
        """Let these rows take a variable from the rows `source`, at all its parts."""
        width = self.pool.real.shape[1]
        for place in self.pool.places[lesson, variable]:
            here, there = place.columns[self.chosen[mine]], place.columns[self.chosen[source]]
            row, number = np.nonzero(here >= 0)
            columns = here[row, number]
            origin = source[row] * width + there[row, number]
            for unit in place.units:
                self.masks[place.slot][mine[row], columns, unit] = True
                self.sources[place.slot][mine[row], columns, unit] = origin

    def resample(
        self,
        mine: np.ndarray,
        source: np.ndarray,
        *,
        rate: np.ndarray | None = None,
        draw: np.random.Generator | None = None,
        only: tuple[int, int] | None = None,
    ) -> None:
        """Let these rows take what must not matter from the rows `source`, position by position.

        Args:
            mine: The rows.
            source: For each of them another one of equal length.
            rate: How likely each thing is taken in each of the rows; everything is without it.
            draw: The randomness of that.
            only: One slot and unit instead of all.
        """
        width = self.pool.real.shape[1]
        origin = source[:, None] * width + np.arange(width)
        for number, slot in enumerate(self.pool.slots):
            if only is not None and only[0] != number:
                continue
            free = slot.free[self.chosen[mine]]
            if rate is not None and draw is not None:
                free &= draw.random(free.shape, dtype=np.float32) < rate[:, None, None]
            if only is not None:
                free[..., np.arange(slot.units) != only[1]] = False
            self.masks[number][mine] |= free
            self.sources[number][mine] = np.where(free, origin[:, :, None], self.sources[number][mine])

    def edits(self, recorded: Mapping[Site, Tensor]) -> tuple[list[Edit], list[Source]]:
        """Return the exchange as edits, with what each takes from the recorded run."""
        edits, sources = [], []
        for slot, mask, index in zip(self.pool.slots, self.masks, self.sources, strict=True):
            if not mask.any():
                continue
            activation = recorded[slot.site.whole]
            where, origin = torch.from_numpy(mask).to(activation.device), torch.from_numpy(index).to(activation.device)
            if slot.units > 1:  # each head has its own origin
                origin = origin * slot.units + torch.arange(slot.units, device=activation.device)
                values = activation.flatten(0, 2).index_select(0, origin.flatten()).view(activation.shape)
            else:
                where, origin = where[..., 0], origin[..., 0]
                values = activation.flatten(0, 1).index_select(0, origin.flatten()).view(activation.shape)
            basis = None if slot.basis is None else slot.basis.to(activation)
            edits.append(Edit(slot.site, Patch()))
            sources.append(Source(values, where, basis))
        return edits, sources


def nodes(able: Abilities) -> list[Site]:
    """Return the heads and the MLPs: the nodes of which most must not matter."""
    return [*heads(able), *mlps(able)]


def _stands_for(part: Place, node: Site) -> bool:
    """Say whether a node is (part of) what an aligned part names, or what the part acts through."""
    site = part.site
    if site.layer != node.layer:
        return False
    if node.component == "mlp_out":
        return site.component in _MLP
    return site.component in _ATTENTION and (site.head in (None, node.head) or site.component in ("k", "v"))


def _rest(parts: Iterable[Place]) -> Tensor:
    """Return the orthonormal columns of everything outside the subspaces of these parts."""
    spanned = [part.columns(torch.zeros((), dtype=torch.float64)) for part in parts]
    together = torch.cat([columns for columns in spanned if columns is not None], dim=1)
    every, sizes, _ = torch.linalg.svd(together, full_matrices=True)
    return every[:, int((sizes > 1e-8).sum()) :].float()


def _columns(at: np.ndarray, most: int) -> np.ndarray:
    """Return the selected columns of each row, in order, filled up with -1."""
    order = np.argsort(~at, axis=1, kind="stable")[:, :most]
    return np.where(np.take_along_axis(at, order, axis=1), order, -1)
