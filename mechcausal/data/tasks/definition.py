"""A task: a causal model with the texts that show it, and so a source of prompts and of contrasts for any variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mechcausal.arguments import Draws, Reader, Seed, check_fields, checked
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet, Side
from mechcausal.data.scm import SCM
from mechcausal.data.table import Table, n_units, rows
from mechcausal.errors import DataError, did_you_mean

Words = Callable[[Table], Sequence[str]]
Pair = Callable[[SCM, Table], tuple[Table, Table]]
_Twins = Callable[[SCM, Table, str, np.random.Generator], tuple[Table, Table]]
_TRIES, _PATIENCE = 240, 4


@dataclass(frozen=True)
class Task:
    """A causal model and how it is written down.

    Attributes:
        name: What it is called.
        scm: The causal model; the named values of `outcome` are the words of the answer, one token each.
        outcome: The variable that the model is asked for.
        inputs: The variables that the text shows.
        write: Texts from a table, up to the token after which the answer follows.
        positions: Named positions as word numbers, one for all, or one for each unit of a table.
        free: The inputs that are drawn uniformly in `broad`, so that every combination occurs.
        words: The answer and foil of every contrast; without them those of the two outcomes.
        pairs: Contrasts with a name of their own: (scm, table) -> (clean, corrupt) tables.
        groups: The group of each unit, from its table.
        clusters: The unit of independence, from a table; each unit is its own without it.
        environments: The same task with other mechanisms, by name.
    """

    name: str
    scm: SCM
    outcome: str
    inputs: tuple[str, ...]
    write: Words
    positions: Mapping[str, int] | Callable[[Table], Mapping[str, Any]] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    words: tuple[str, str] | None = None
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    groups: Words | None = None
    clusters: Words | None = None
    environments: Mapping[str, SCM] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        self.scm.require(self.outcome, *self.inputs, *self.free)
        if self.outcome not in self.scm.values:
            raise DataError(
                f"the values of the outcome {self.outcome!r} have no words", fix="pass values={...} to the SCM"
            )

    @property
    def answers(self) -> tuple[str | int, ...]:
        """The word of each value of the outcome."""
        return self.scm.values[self.outcome]

    @property
    def broad(self) -> SCM:
        """The causal model with its free inputs drawn uniformly."""
        return self.scm.uniform(*self.free) if self.free else self.scm

    def environment(self, name: str | None) -> SCM:
        """Return the causal model of an environment: one that is declared, `"broad"`, or None for the task's own."""
        if name is None:
            return self.scm
        names = {"broad": self.broad, **self.environments}
        if name not in names:
            raise DataError(f"the task {self.name!r} has no environment {name!r}", fix=did_you_mean(name, list(names)))
        return names[name]

    @checked
    def table(self, n: Draws, *, seed: Seed = 0, environment: str | None = None) -> Table:
        """Draw `n` units; `"mixed"` is one half as the world is and one half broad."""
        if environment != "mixed":
            return self.environment(environment).sample(n, seed)
        draw = np.random.default_rng(seed)
        world, broad = self.scm.sample(n, draw), self.broad.sample(n, draw)
        first = draw.random(n) < 0.5
        return {name: np.where(_like(first, column), column, broad[name]) for name, column in world.items()}

    @checked
    def prompts(
        self,
        model: Reader,
        n: Draws = 256,
        *,
        seed: Seed = 0,
        environment: str | None = None,
        table: Mapping[str, Any] | None = None,
        truth: str | None = None,
        side: Side = "right",
    ) -> PromptSet:
        """Return prompts with the value of every variable beside them.

        Args:
            model: The model whose tokenizer reads them.
            n: How many.
            seed: The seed of the draw.
            environment: Whose mechanisms draw them: `"broad"`, `"mixed"` or one that the task declares.
            table: The units themselves, instead of a draw.
            truth: The variable whose word is the answer and the label; what the model is asked for unless said. Where the
                model guesses, it may differ from what is true.
            side: The side to pad on.
        """
        table = self.table(n, seed=seed, environment=environment) if table is None else self._complete(table)
        answers = self.answers if truth is None else self._words_of(truth)
        outcome = table[self.outcome if truth is None else truth].astype(int)
        return PromptSet.from_text(
            model,
            list(self.write(table)),
            answer=[answers[i] for i in outcome],
            foil=[answers[(i + 1) % len(answers)] for i in outcome],
            labels=[answers[i] for i in outcome],
            environments=[environment or "world"] * len(outcome),
            side=side,
            **self._told(table),
        )

    @checked
    def contrast(
        self,
        model: Reader,
        variable: str,
        n: Draws = 128,
        *,
        seed: Seed = 0,
        environment: str | None = None,
        side: Side = "right",
    ) -> Contrast:
        """Return pairs that differ in one variable (and in what follows from it), or a pair the task has a name for.

        A variable that the text shows and whose values are named is set: to 1 and 0 if it has two values, else to its
        own and to another one. For any other variable its causes are drawn again until it differs, and what else the
        text shows is held where that is possible. The texts of a pair differ and have as many words. Where there are
        too few such pairs, fewer are returned.
        """
        scm = self.environment(environment)
        table = scm.sample(n, seed)
        if variable in self.pairs:
            clean, corrupt = self.pairs[variable](scm, table)
        elif variable in scm.mechanisms:
            clean, corrupt = self._pair(scm, table, variable, np.random.default_rng([seed, 1]))
        else:
            names = [*dict.fromkeys([*self.pairs, *scm.order])]
            raise DataError(f"the task {self.name!r} has no contrast {variable!r}", fix=did_you_mean(variable, names))
        first, second = clean[self.outcome].astype(int), corrupt[self.outcome].astype(int)
        if self.words:
            answer, foil = ([word] * n_units(clean) for word in self.words)
        else:
            other = np.where(first != second, second, (first + 1) % len(self.answers))
            answer, foil = ([self.answers[i] for i in column] for column in (first, other))
        columns = self._told(clean)
        return Contrast.from_text(
            model,
            list(self.write(clean)),
            list(self.write(corrupt)),
            answer=answer,
            foil=foil,
            factor=variable,
            groups=columns["groups"],
            clusters=columns["clusters"],
            environments=[environment] * n_units(clean) if environment else (),
            labels=[self.answers[i] for i in first],
            positions=columns["positions"],
            variables=clean,
            corrupt_variables=corrupt,
            side=side,
            name=f"{self.name}/{variable}",
        )

    def _complete(self, table: Mapping[str, Any]) -> Table:
        """Return a table that was given as columns of one length, or say what it lacks."""
        columns = {name: np.asarray(column) for name, column in table.items()}
        missing = [name for name in (*self.inputs, self.outcome) if name not in columns]
        if missing:
            raise DataError(
                f"the table lacks the variable {missing[0]!r} of the task {self.name!r}",
                got=", ".join(map(str, columns)),
            )
        lengths = {column.shape[:1] for column in columns.values()}
        if len(lengths) > 1 or lengths == {()}:
            raise DataError("the columns of the table are not of one length", got=", ".join(map(str, lengths)))
        return columns

    def _words_of(self, variable: str) -> tuple[str | int, ...]:
        """Return the words of a variable's values."""
        if variable not in self.scm.values:
            named = ", ".join(self.scm.values)
            raise DataError(f"the values of {variable!r} have no words in the task {self.name!r}", expected=named)
        return self.scm.values[variable]

    def _told(self, table: Table) -> dict[str, Any]:
        places = self.positions if isinstance(self.positions, Mapping) else self.positions(table)
        return {
            "positions": {name: [int(i) for i in np.broadcast_to(at, n_units(table))] for name, at in places.items()},
            "groups": list(self.groups(table)) if self.groups else (),
            "clusters": list(self.clusters(table)) if self.clusters else [f"unit {i}" for i in range(n_units(table))],
            "variables": table,
        }

    def _pair(self, scm: SCM, table: Table, variable: str, draw: np.random.Generator) -> tuple[Table, Table]:
        """Return pairs, without the units for which none was found."""
        ways: list[_Twins] = [self._redrawn_alone, self._redrawn]
        if self._settable(scm, table, variable):
            ways = [self._set]
        for twins in ways:
            clean, corrupt, apart = self._search(twins, scm, table, variable, draw)
            if apart.any():
                return rows(clean, apart), rows(corrupt, apart)
        raise DataError(
            f"{variable!r} never differs between two texts of equal length", fix="choose a variable that varies"
        )

    def _search(
        self, twins: _Twins, scm: SCM, table: Table, variable: str, draw: np.random.Generator
    ) -> tuple[Table, Table, np.ndarray]:
        """Make pairs until all are apart, or patience is at an end; a unit that none suits gives way to another."""
        clean, corrupt = twins(scm, table, variable, draw)
        apart = self._apart(clean, corrupt, variable)
        for attempt in range(1, _TRIES):
            if apart.all():
                break
            missing = ~apart
            again = rows(clean, missing) if attempt % _PATIENCE else scm.sample(int(missing.sum()), draw)
            first, other = twins(scm, again, variable, draw)
            clean, corrupt = _put(clean, missing, first), _put(corrupt, missing, other)
            apart[missing] = self._apart(first, other, variable)
        return clean, corrupt, apart

    def _settable(self, scm: SCM, table: Table, variable: str) -> bool:
        """Say whether the text shows the variable, or what follows from it, and which values it can be set to."""
        shown = {variable, *scm.descendants(variable)} & set(self.inputs)
        return bool(shown) and variable in scm.values and table[variable].ndim == 1

    def _set(self, scm: SCM, table: Table, variable: str, draw: np.random.Generator) -> tuple[Table, Table]:
        """Set the variable to 1 and 0 if it has two values, else to its own and to another one."""
        size = len(scm.values[variable])
        if size < 2:
            raise DataError(f"{variable!r} has one value only, so there is no contrast", got=size)
        if size == 2:
            return scm.counterfactual(table, **{variable: 1}), scm.counterfactual(table, **{variable: 0})
        shift = draw.integers(1, size, n_units(table))
        return table, scm.counterfactual(table, **{variable: (table[variable] + shift) % size})

    def _redrawn(
        self, scm: SCM, table: Table, variable: str, draw: np.random.Generator, **fixed: np.ndarray
    ) -> tuple[Table, Table]:
        """Draw the causes of the variable again."""
        causes = scm.ancestors(variable)
        fresh = scm.sample(n_units(table), draw)
        redrawn = {noise: fresh[noise] for noise in scm.noise if noise in causes}
        return table, scm.counterfactual(table, **redrawn, **fixed)

    def _redrawn_alone(self, scm: SCM, table: Table, variable: str, draw: np.random.Generator) -> tuple[Table, Table]:
        """Draw the causes of the variable again, and hold what else the text shows."""
        related = {variable, *scm.ancestors(variable), *scm.descendants(variable)}
        fixed = {name: table[name] for name in self.inputs if name not in related}
        return self._redrawn(scm, table, variable, draw, **fixed)

    def _apart(self, clean: Table, corrupt: Table, variable: str) -> np.ndarray:
        """Say which pairs differ in the variable and in their texts, which have the same number of words."""
        differ = (clean[variable] != corrupt[variable]).reshape(n_units(clean), -1).any(axis=1)
        texts = zip(self.write(clean), self.write(corrupt), strict=True)
        return differ & np.array([a != b and len(a.split()) == len(b.split()) for a, b in texts])


def _put(table: Table, where: np.ndarray, new: Table) -> Table:
    """Return the table with these units taken from `new`."""
    changed = {name: column.copy() for name, column in table.items()}
    for name, column in changed.items():
        column[where] = new[name]
    return changed


def _like(mask: np.ndarray, column: np.ndarray) -> np.ndarray:
    return mask.reshape(-1, *([1] * (column.ndim - 1)))
