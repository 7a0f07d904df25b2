"""Interchange interventions: put a variable's place as it is in another run, and see if the network answers as the model.

The accuracy of that is interchange intervention accuracy, IIA (Geiger et al. 2021). Over all pairs it flatters: where
the answer should not change, a place that does nothing is right. So the value given here is the IIA over the pairs
whose answer changes, and the others stand beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from mechcausal.address import Place, Selection, Site, expand
from mechcausal.arguments import Count, CountOrZero, Model, Seed
from mechcausal.causal.alignment.exchange import Cell, Scores, forwards_of, placebos, score
from mechcausal.causal.alignment.interchanged import (
    ALIGNED,
    METRIC,
    PLACEBOS,
    WORST,
    Interchange,
    Line,
    Sweep,
    assembled,
    row_of,
)
from mechcausal.causal.alignment.pairs import (
    base_rows,
    check_exchange,
    check_movable,
    check_variables,
    draw_pairs,
    refuse_unchanged,
)
from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.fields import hypothesis_about, read_hypothesis, read_question, write_question
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.places import Positions, SiteSpec, places, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import SCM
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.method import Cost, Method, function
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts, source_facts
from mechcausal.results.provenance import Provenance

_MOST_PLACEBOS = 4
_LAST = Selection(-1)
_ABOUT = "The prompts that bases and sources are drawn from, with the value of every variable."


@dataclass(frozen=True, kw_only=True)
class Interchanging(Method[PromptSet, Interchange]):
    """Exchange variables between runs and compare the network's answer with the causal model's.

    Estimand: over pairs of a base and a source prompt drawn uniformly (one source for each variable of a set, unless
    shared), the probability that the network, run on the base with the places of the variables as in the sources' runs,
    gives the answer that the causal model gives to the base with the variables as in the sources. `value` is that
    probability over the pairs whose answer changes: 1 where the place carries the variable, 0 where the network never
    gives the new answer; `chance` stands beside it.

    Attributes:
        hypothesis: The causal model and where each variable is.
        variables: `"each"` aligned variable on its own, or a list of variables and of tuples exchanged together. A
            variable that never changes an answer has no value; one that is listed is refused.
        n: How many pairs; every prompt is a base equally often.
        sources: Whether each variable of a tuple has a source of its own or all share one.
        changed_only: Draw only pairs whose answer changes, where there are such.
        placebo: Whether to exchange places that the hypothesis does not name as well, or how many (4 unless said).
        batch_size: How many pairs at a time.
        seed: The seed of the draw.
        source_model: The model that runs the source prompts; the model itself where None.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> prompts = mc.task("by_hand").prompts(model, 64)
        >>> result = mc.causal.interchange(model, prompts, mc.causal.Hypothesis.of("by_hand"), n=64)
        >>> float(result.frame.loc[0, "value"])
        1.0
    """

    word: ClassVar[str] = "interchange"
    hypothesis: Hypothesis = field(kw_only=False, metadata={"read": read_hypothesis})
    variables: str | Sequence[str | tuple[str, ...]] = "each"
    n: Count = 512
    sources: Literal["distinct", "shared"] = "distinct"
    changed_only: bool = False
    placebo: bool | CountOrZero = True
    batch_size: Count = 64
    seed: Seed = 0
    source_model: Model | None = field(default=None, repr=False)

    def run(self, model: Model, data: PromptSet) -> Interchange:
        """Exchange every set of variables, and the placebos."""
        started = time.perf_counter()
        cells, groups = self._cells(model, data)
        words = answer_tokens(model, self.hypothesis)
        scores = score(model, data, cells, words, batch_size=self.batch_size, source_model=self.source_model)
        lines = [line for names, group in groups for line in _lines(names, group, cells, scores)]
        return assembled(
            Interchange, lines, data,
            chance=1 / len(words),
            provenance=Provenance(
                method=self.word,
                arguments={
                    "metric": METRIC, "hypothesis": repr(self.hypothesis), "variables": [list(names) for names, _ in groups],
                    "sources": self.sources, "changed_only": self.changed_only, "placebo": self.placebo, **source_facts(self.source_model),
                },
                seed=self.seed,
                **facts(model, data, started=started, forwards=scores.forwards, batch_size=scores.batch_size),
            ),
        )  # fmt: skip

    def cost(self, model: Model, data: PromptSet) -> Cost:
        """Return how many runs it takes; nothing is run."""
        answer_tokens(model, self.hypothesis)
        return exchange_cost(self._cells(model, data)[0])

    def _cells(self, model: Model, prompts: PromptSet) -> tuple[list[Cell], list[tuple[tuple[str, ...], range]]]:
        """Return what is exchanged: for each set of variables its own places, then those of its placebos."""
        hypothesis, sets = self.hypothesis, _sets(self.hypothesis, self.variables)
        table = check_exchange(model, hypothesis, prompts, [name for names in sets for name in names])
        rows = base_rows(self.n, np.arange(len(prompts)), np.random.default_rng([self.seed, 0]))
        able = abilities(model)
        cells: list[Cell] = []
        groups: list[tuple[tuple[str, ...], range]] = []
        for number, names in enumerate(sets):
            draw = np.random.default_rng([self.seed, 1, number])
            pairs = draw_pairs(
                hypothesis, table, names, rows, draw, shared=self.sources == "shared", changed_only=self.changed_only
            )
            if self.variables != "each":
                refuse_unchanged(pairs, names)
            parts = {name: hypothesis.alignment[name] for name in names}
            flat = [part for name in names for part in parts[name]]
            wanted = _MOST_PLACEBOS if self.placebo is True else int(self.placebo)
            begin = len(cells)
            for chosen in [flat, *placebos(able, flat, hypothesis, wanted if pairs.changed.any() else 0, draw)]:
                room = iter(chosen)
                cells.append(Cell(pairs, {name: [next(room) for _ in parts[name]] for name in names}))
            groups.append((names, range(begin, len(cells))))
        if not any(cell.pairs.changed.any() for cell in cells):
            refuse_unchanged(cells[0].pairs, hypothesis.variables)
        return cells, groups


@dataclass(frozen=True, kw_only=True)
class InterchangeSweeping(Method[PromptSet, Sweep]):
    """Exchange one variable at every place in turn: where in the network is it, as far as the answer is concerned?

    Estimand: as for `interchange`, for each cell. `.plot()` draws layers against positions.

    Attributes:
        task: The task, or its causal model; of a hypothesis only the causal model is used.
        variable: What is exchanged; any variable of the causal model.
        sites: Where to exchange it: a component word, a pattern, a site, or a list of these.
        at: `"each"` position, `"all"` (at once), a selection or a list of selections.
        n: How many pairs.
        changed_only: Draw only pairs whose answer changes, where there are such.
        batch_size: How many pairs at a time.
        seed: The seed of the draw.
        source_model: The model that runs the source prompts; the model itself where None.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> prompts = mc.task("by_hand").prompts(model, 64)
        >>> sweep = mc.causal.interchange_sweep(model, prompts, "by_hand", "gender", sites="z", at="@end", n=64)
        >>> sweep.top(1)["site"].tolist()
        ['L0.z.H0']
    """

    word: ClassVar[str] = "interchange_sweep"
    task: Hypothesis | SCM | Task = field(kw_only=False, metadata={"read": read_question, "write": write_question})
    variable: str = field(kw_only=False)
    sites: SiteSpec = "resid_post"
    at: Positions = "each"
    n: Count = 256
    changed_only: bool = True
    batch_size: Count = 64
    seed: Seed = 0
    source_model: Model | None = field(default=None, repr=False)

    def run(self, model: Model, data: PromptSet) -> Sweep:
        """Exchange the variable at every place."""
        started = time.perf_counter()
        where, cells, question = self._cells(model, data)
        words = answer_tokens(model, question)
        scores = score(model, data, cells, words, batch_size=self.batch_size, source_model=self.source_model)
        lines = [Line.of(place.row(), cells[number].pairs, scores, [number]) for number, place in enumerate(where)]
        return assembled(
            Sweep, lines, data,
            chance=1 / len(words),
            provenance=Provenance(
                method=self.word,
                arguments={
                    "metric": METRIC, "scm": question.scm.name, "variable": self.variable, "sites": plain(self.sites),
                    "at": plain(self.at), "changed_only": self.changed_only, **source_facts(self.source_model),
                },
                seed=self.seed,
                **facts(model, data, started=started, forwards=scores.forwards, batch_size=scores.batch_size),
            ),
        )  # fmt: skip

    def cost(self, model: Model, data: PromptSet) -> Cost:
        """Return how many runs it takes; nothing is run."""
        _, cells, question = self._cells(model, data)
        answer_tokens(model, question)
        return exchange_cost(cells)

    def _cells(self, model: Model, prompts: PromptSet) -> tuple[list[Place], list[Cell], Hypothesis]:
        """Return the places, what is exchanged at each, and the hypothesis that the variable is at the first."""
        able = abilities(model)
        where = places(expand(self.sites, able.shape), self.at, prompts)
        able.require([place.site for place in where])
        if any(place.site.component == "pattern" for place in where):
            check_movable(Place(Site("pattern", 0), _LAST), prompts)
        question = hypothesis_about(self.task, self.variable, Place(where[0].site, where[0].at))
        table = check_variables(model, question, prompts, [self.variable])
        rows = base_rows(self.n, np.arange(len(prompts)), np.random.default_rng([self.seed, 0]))
        draw = np.random.default_rng([self.seed, 1])
        pairs = draw_pairs(question, table, [self.variable], rows, draw, changed_only=self.changed_only)
        refuse_unchanged(pairs, [self.variable])
        return where, [Cell(pairs, {self.variable: [Place(place.site, place.at)]}) for place in where], question


def exchange_cost(cells: Sequence[Cell]) -> Cost:
    """Return the cost of exchanging these cells: the unedited bases, each set of sources once, and a run for each cell."""
    n = len(cells[0].pairs)
    alone = sum(1 + len(cell.parts) for cell in cells) + len(cells)
    return Cost(len(cells), n, forwards_of(cells) * n, alone * n)


def _lines(names: tuple[str, ...], group: range, cells: Sequence[Cell], scores: Scores) -> list[Line]:
    """Return the row of a set of variables, and those of its placebos: their mean and the one nearest to it."""
    pairs = cells[group[0]].pairs
    flat = [[part for name in names for part in cells[number].parts[name]] for number in group]
    lines = [Line.of(row_of(flat[0], names, ALIGNED), pairs, scores, [group[0]])]
    if len(group) > 1:
        worst = 1 + int(np.argmax([scores.hits[number][pairs.changed].mean() for number in group[1:]]))
        others = f"{len(group) - 1} other place{'s' if len(group) > 2 else ''}"
        mean = row_of(flat[1], names, PLACEBOS, site=others)
        lines.append(Line.of(mean, pairs, scores, group[1:]))
        lines.append(Line.of(row_of(flat[worst], names, WORST), pairs, scores, [group[worst]]))
    return lines


def _sets(hypothesis: Hypothesis, variables: str | Sequence[str | tuple[str, ...]]) -> list[tuple[str, ...]]:
    if variables == "each":
        return [(name,) for name in hypothesis.variables]
    listed = [variables] if isinstance(variables, str) else list(variables)
    sets = [(names,) if isinstance(names, str) else tuple(names) for names in listed]
    if not sets or not all(sets):
        raise DataError("no variable is named", fix=f"name some of {', '.join(hypothesis.variables)}")
    return sets


interchange = function(Interchanging, data="prompts", about=_ABOUT)
interchange_sweep = function(InterchangeSweeping, data="prompts", about=_ABOUT)
