"""Pairs for interchange: a base prompt, a source prompt for each variable, and the answer the causal model then calls for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechcausal.address import Place
from mechcausal.causal.hypothesis import Hypothesis, column_of, table_of
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import Table, rows
from mechcausal.errors import DataError, SiteError, did_you_mean
from mechcausal.models.abilities import abilities
from mechcausal.models.engine import check_prompts

_TRIES = 60
_GUESSES = 256


@dataclass(frozen=True, eq=False)
class Pairs:
    """Base prompts with a source for each exchanged variable.

    Attributes:
        base: The row of each base prompt.
        sources: For each exchanged variable the row of its source prompt.
        before: The number of the answer that the causal model gives to the base.
        expected: The number of its answer with the variables as they are in their sources.
        guess: How often the best guess at it is right that knows all of the base and nothing of the sources.
    """

    base: np.ndarray
    sources: Mapping[str, np.ndarray]
    before: np.ndarray
    expected: np.ndarray
    guess: np.ndarray

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.base)

    @property
    def changed(self) -> np.ndarray:
        """Whether the exchange changes the answer: elsewhere a place without effect does as well as the right one."""
        return self.expected != self.before

    def take(self, index: np.ndarray) -> Pairs:
        """Return some of the pairs."""
        sources = {name: column[index] for name, column in self.sources.items()}
        return Pairs(self.base[index], sources, self.before[index], self.expected[index], self.guess[index])

    @property
    def blind(self) -> float:
        """What a place that carries nothing of the sources can reach at most."""
        return float(self.guess.mean())


def draw_pairs(
    hypothesis: Hypothesis,
    table: Table,
    variables: Sequence[str],
    base: np.ndarray,
    draw: np.random.Generator,
    *,
    pool: np.ndarray | None = None,
    shared: bool = False,
    changed_only: bool = False,
) -> Pairs:
    """Draw sources for base prompts, uniformly from the other rows of the pool.

    Args:
        hypothesis: What the answers follow.
        table: The variables of all prompts.
        variables: What is exchanged.
        base: The rows of the base prompts.
        draw: The generator.
        pool: The rows that sources are drawn from; all of them unless said.
        shared: Whether one source serves all variables of a pair.
        changed_only: Draw sources again where the answer would not change, as long as that helps.
    """
    pool = np.arange(len(next(iter(table.values())))) if pool is None else pool
    before = hypothesis.answers(rows(table, base)).astype(int)

    def fresh() -> dict[str, np.ndarray]:
        return _each(variables, lambda: _others(base, pool, draw), shared=shared)

    def answers(sources: Mapping[str, np.ndarray]) -> np.ndarray:
        values = {v: table[v][index] for v, index in sources.items()}
        return hypothesis.answers(rows(table, base), **values).astype(int)

    sources = fresh()
    expected = answers(sources)
    guess = _best_guess(hypothesis, table, variables, base, pool, draw, shared=shared, changed_only=changed_only)
    for _ in range(_TRIES if changed_only else 0):
        same = expected == before
        if not same.any():
            break
        again = fresh()
        sources = {v: np.where(same, again[v], index) for v, index in sources.items()}
        expected = answers(sources)
    if shared:  # one array for all of them, so that its prompts are run once
        sources = dict.fromkeys(variables, sources[variables[0]])
    return Pairs(base, sources, before, expected, guess)


def _each(variables: Sequence[str], drawn: Callable[[], np.ndarray], *, shared: bool) -> dict[str, np.ndarray]:
    """Draw rows for each variable, or the same for all."""
    first_rows = drawn()
    return {name: first_rows if shared or number == 0 else drawn() for number, name in enumerate(variables)}


def _best_guess(
    hypothesis: Hypothesis,
    table: Table,
    variables: Sequence[str],
    base: np.ndarray,
    pool: np.ndarray,
    draw: np.random.Generator,
    *,
    shared: bool,
    changed_only: bool,
) -> np.ndarray:
    """Return how often, over sources, the commonest answer of each base is the right one."""
    units, where = np.unique(base, return_inverse=True)
    base_table = rows(table, units)
    before = hypothesis.answers(base_table).astype(int)
    tried = draw.permutation(pool)[:_GUESSES]
    sources = _each(variables, lambda: draw.permutation(tried), shared=shared)
    answers = np.empty((len(units), len(tried)), dtype=int)
    for number in range(len(tried)):
        values = {name: np.repeat(table[name][index[[number]]], len(units), 0) for name, index in sources.items()}
        answers[:, number] = hypothesis.answers(base_table, **values)
    most = max(answers.max(), before.max()) + 1
    counts = np.stack([(answers == answer).sum(1) for answer in range(most)], axis=1)
    if changed_only:
        others = counts.copy()
        others[np.arange(len(units)), before] = 0
        counts = np.where(others.any(1, keepdims=True), others, counts)
    return (counts.max(1) / counts.sum(1))[where]


def _others(base: np.ndarray, pool: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Draw a row of the pool for each base, never the base itself."""
    picks = draw.integers(len(pool), size=len(base))
    same = pool[picks] == base
    picks[same] = (picks[same] + draw.integers(1, len(pool), size=int(same.sum()))) % len(pool)
    return pool[picks]


def base_rows(n: int, pool: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return `n` base rows, every row of the pool equally often."""
    rounds = -(-n // len(pool))
    return np.concatenate([draw.permutation(pool) for _ in range(rounds)])[:n]


def check_exchange(
    model: Any,  # noqa: ANN401
    hypothesis: Hypothesis,
    prompts: PromptSet,
    variables: Sequence[str],
) -> Table:
    """Refuse, before any compute, what cannot be exchanged between these prompts; return all their variables."""
    for variable in variables:
        if variable not in hypothesis.alignment:
            raise DataError(
                f"the hypothesis gives {variable!r} no place", fix=did_you_mean(variable, hypothesis.variables)
            )
    parts = [part for variable in variables for part in hypothesis.alignment[variable]]
    abilities(model).require([part.site for part in parts])
    for part in parts:
        check_movable(part, prompts)
    return check_variables(model, hypothesis, prompts, variables)


def check_variables(
    model: Any,  # noqa: ANN401
    hypothesis: Hypothesis,
    prompts: PromptSet,
    variables: Sequence[str],
) -> Table:
    """Refuse prompts that do not say what these variables are, or in which one never varies; return all variables."""
    check_prompts(model, prompts)
    if len(prompts) < 2:
        raise DataError("an interchange needs a base and a source", got="1 prompt", expected="at least 2 prompts")
    for name in (*variables, hypothesis.outcome):
        column_of(prompts, name)
    table = table_of(prompts)
    for variable in variables:
        if bool((table[variable] == table[variable][:1]).all()):
            raise DataError(
                f"{variable!r} has the same value in every prompt, so there is nothing to exchange",
                got=f"{len(prompts)} prompts with {variable} = {table[variable][0]}",
                fix='draw more varied prompts, for example with environment="broad"',
            )
    return table


def check_movable(part: Place, prompts: PromptSet) -> None:
    """Refuse a part whose values cannot be moved from any of these prompts to any other."""
    counts = prompts.select(part.at).sum(1)
    if int(counts.min()) != int(counts.max()) or int(counts.max()) == 0:
        raise SiteError(
            f"{part} has no value to move in some prompts, or several numbers of positions",
            got=f"{int(counts.min())} to {int(counts.max())} positions",
            expected="the same number in every prompt",
            fix="use a position that every prompt names, or prompts of one length",
        )
    if part.site.component == "pattern" and len(prompts.lengths.unique()) > 1:
        raise SiteError(f"{part} cannot move between prompts of unequal length", fix="use prompts of one length")


def refuse_unchanged(pairs: Pairs, variables: Sequence[str]) -> None:
    """Refuse pairs none of which changes the answer: there would be nothing to measure."""
    if not pairs.changed.any():
        raise DataError(
            f"exchanging {' and '.join(variables)} changes the answer of none of {len(pairs)} pairs",
            fix='draw prompts in which it matters, for example with environment="broad"',
        )
