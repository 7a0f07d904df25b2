"""Structural causal models: variables, parents and mechanisms as plain functions, evaluated exactly.

    scm = SCM(
        "sprinkler",
        noise={"cloud": 2, "luck": [0.9, 0.1]},                    # uniform over two values; two probabilities
        mechanisms={
            "rain": lambda cloud, luck: np.where(luck == 1, 1 - cloud, cloud),
            "wet": lambda rain: rain,
        },
        values={"rain": ("dry", "rain")},
    )

A mechanism's parameters name its parents. All randomness is in the noise, so a counterfactual of one unit is the same
noise pushed through changed mechanisms, and with finite noise every effect is an exact sum. Tables are dictionaries of
arrays, one row per unit, noise included.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import networkx as nx
import numpy as np

from mechcausal.arguments import Seed, checked, number
from mechcausal.data.table import (
    Noise,
    Outcome,
    Table,
    computed,
    drawn,
    n_units,
    numbers_of,
    outcome_of,
    parents_of,
    probabilities,
    rows,
)
from mechcausal.errors import DataError, did_you_mean

Mechanism = Callable[..., Any]
Path = Sequence[str]

_MOST_UNITS = 4_000_000
Units = Annotated[
    int, number("a whole number from 0 to 10,000,000, because all are in memory at once", 0, 10**7, integer=True)
]


class SCM:
    """A structural causal model; frozen once made.

    Attributes:
        name: What it is called.
        noise: The exogenous variables: an integer k (uniform over k values), a list of probabilities (of 0, 1, ...), or
            a function `(generator, n) -> array` (which can be sampled, not enumerated).
        mechanisms: For each endogenous variable a function of its parents' arrays, row by row.
        values: The names of a variable's values, in order; those of the outcome are the words, or token ids, of the answer.
        order: The endogenous variables, parents first.
        graph: The graph as a networkx DiGraph, noise included.
    """

    @checked
    def __init__(
        self,
        name: str,
        *,
        noise: Mapping[str, Noise],
        mechanisms: Mapping[str, Mechanism],
        values: Mapping[str, Sequence[str | int]] | None = None,
        check: bool = True,
    ) -> None:
        self.name = name
        self.noise = dict(noise)
        self.mechanisms = dict(mechanisms)
        self.values = {variable: tuple(words) for variable, words in (values or {}).items()}
        self._parents = {variable: parents_of(variable, f) for variable, f in mechanisms.items()}
        self.graph = self._graph()
        self.order = tuple(
            v for v in nx.lexicographical_topological_sort(self.graph, key=self._rank) if v in self.mechanisms
        )
        if check:
            self._check()

    def __repr__(self) -> str:
        """Say what depends on what."""
        arrows = [f"{', '.join(self._parents[v]) or '()'} -> {v}" for v in self.order]
        return f"SCM({self.name!r}: {'; '.join(arrows)})"

    def _repr_svg_(self) -> str:
        from mechcausal.data.drawing import draw

        return draw(self)

    def draw(self) -> str:
        """Return the graph as an SVG picture, causes above effects."""
        return self._repr_svg_()

    # Structure

    def parents(self, variable: str) -> tuple[str, ...]:
        """Return the parents of a variable, noise included."""
        self.require(variable)
        return self._parents.get(variable, ())

    def ancestors(self, variable: str) -> set[str]:
        """Return everything upstream of a variable, noise included."""
        self.require(variable)
        return set(nx.ancestors(self.graph, variable))

    def descendants(self, variable: str) -> set[str]:
        """Return everything downstream of a variable."""
        self.require(variable)
        return set(nx.descendants(self.graph, variable))

    def paths(self, cause: str, outcome: str) -> list[tuple[str, ...]]:
        """Return all directed paths, shortest first."""
        self.require(cause, outcome)
        return sorted((tuple(p) for p in nx.all_simple_paths(self.graph, cause, outcome)), key=lambda p: (len(p), p))

    def d_separated(self, first: str | Iterable[str], second: str | Iterable[str], given: Iterable[str] = ()) -> bool:
        """Say whether the graph implies that `first` and `second` are independent given `given`."""
        sides = [{s} if isinstance(s, str) else set(s) for s in (first, second, given)]
        self.require(*set().union(*sides))
        twice = [name for a, b in itertools.combinations(sides, 2) for name in a & b]
        if twice:
            raise DataError(f"{twice[0]!r} stands on two sides", fix="name each variable once")
        return bool(nx.is_d_separator(self.graph, *sides))

    def require(self, *names: str) -> None:
        """Refuse a variable that does not exist."""
        for name in names:
            if name not in self.graph:
                raise DataError(
                    f"the causal model {self.name!r} has no variable {name!r}", fix=did_you_mean(name, list(self.graph))
                )

    def index(self, variable: str, word: Any) -> Any:  # noqa: ANN401 - a name, or the value itself
        """Return the number of a variable's value given by its name; what is no name is the value."""
        if not isinstance(word, str):
            return word
        self.require(variable)
        words = self.values.get(variable, ())
        if word not in words:
            raise DataError(f"{variable!r} has no value {word!r}", fix=did_you_mean(word, words))
        return words.index(word)

    # Evaluation

    @checked
    def sample(self, n: Units, seed: Seed | np.random.Generator = 0) -> Table:
        """Draw `n` units."""
        draw = np.random.default_rng(seed)
        return self._solved({name: drawn(name, spec, draw, n) for name, spec in self.noise.items()}, n)

    def solve(self, noise: Table) -> Table:
        """Compute every variable from the noise."""
        missing = [name for name in self.noise if name not in noise]
        if missing:
            raise DataError(f"the noise of {self.name!r} lacks {missing[0]!r}", expected=", ".join(self.noise))
        return self._solved({name: np.asarray(noise[name]) for name in self.noise}, n_units(noise) if noise else 1)

    def counterfactual(self, table: Table, /, **do: Any) -> Table:  # noqa: ANN401 - a value, a word, or one per unit
        """Return the same units with some variables set: only what is downstream of them changes.

        The value may be a number, a value's name, or an array with one entry per unit. Earlier interventions in the
        table stay, wherever they are not downstream.
        """
        self.require(*do)
        n = n_units(table)
        new = dict(table)
        downstream: set[str] = set()
        for variable, value in do.items():
            array = numbers_of(self.index(variable, value))
            if array.ndim and len(array) != n:
                raise DataError(f"{variable!r} is set with the wrong number of values", got=len(array), expected=n)
            new[variable] = array if array.ndim else np.full(n, array)
            downstream |= self.descendants(variable)
        for variable in self.order:
            if variable in downstream and variable not in do:
                new[variable] = self._apply(variable, new, n)
        return new

    def do(self, /, **settings: Any) -> SCM:  # noqa: ANN401
        """Return the causal model in which these variables are constants (or follow new mechanisms)."""
        self.require(*settings)
        changed = dict(self.mechanisms)
        noise = dict(self.noise)
        for variable, value in settings.items():
            noise.pop(variable, None)
            changed[variable] = value if callable(value) else _constant(variable, self.index(variable, value))
        return SCM(f"{self.name}, do({', '.join(settings)})", noise=noise, mechanisms=changed, values=self.values)

    def uniform(self, *variables: str) -> SCM:
        """Return the causal model in which these variables are drawn uniformly over their named values.

        With all inputs uniform every combination occurs, as training and interchange ask for.
        """
        changed, noise = dict(self.mechanisms), dict(self.noise)
        for variable in variables:
            self.require(variable)
            if variable not in self.values:
                raise DataError(f"the values of {variable!r} are not named", fix="pass values={...} to the SCM")
            noise.pop(variable, None)
            noise[f"any_{variable}"] = len(self.values[variable])
            changed[variable] = _renamed(f"any_{variable}")
        return SCM(f"{self.name}, uniform", noise=noise, mechanisms=changed, values=self.values)

    def enumerate(self, given: Mapping[str, Any] | None = None) -> tuple[Table, np.ndarray]:
        """Return every unit with its probability; `given` keeps those that agree and renormalises.

        The counterfactual of what `given` leaves is the answer to "had it been otherwise" (abduction, action,
        prediction).
        """
        chances = [probabilities(name, spec) for name, spec in self.noise.items()]
        count = math.prod(len(p) for p in chances)
        if count > _MOST_UNITS:
            raise DataError(f"{self.name!r} has {count} units, too many to enumerate", fix="sample instead")
        grids = np.indices([len(p) for p in chances]).reshape(len(chances), count)
        weights = np.ones(count)
        for row, p in zip(grids, chances, strict=True):
            weights = weights * p[row]
        table = self._solved(dict(zip(self.noise, grids, strict=True)), count)
        keep = weights > 0
        for variable, value in (given or {}).items():
            self.require(variable)
            keep &= (table[variable] == self.index(variable, value)).reshape(count, -1).all(axis=1)
        if not keep.any():
            raise DataError(f"nothing in {self.name!r} agrees with {dict(given or {})}", fix="condition on less")
        return rows(table, keep), weights[keep] / weights[keep].sum()

    # Effects, exact by enumeration

    def expectation(self, outcome: Outcome, *, do: Mapping[str, Any] | None = None, given: Any = None) -> float:  # noqa: ANN401
        """Return E[outcome | given] under do(...), in which conditioning comes first (counterfactual)."""
        table, weights = self.enumerate(given)
        return float(weights @ outcome_of(self.counterfactual(table, **(do or {})), outcome))

    def total_effect(self, cause: str, outcome: Outcome, *, low: Any = 0, high: Any = 1) -> float:  # noqa: ANN401
        """TE = E[Y(high)] - E[Y(low)]."""
        return self.expectation(outcome, do={cause: high}) - self.expectation(outcome, do={cause: low})

    def direct_effect(self, cause: str, outcome: Outcome, mediators: Sequence[str], **levels: Any) -> float:  # noqa: ANN401
        """Natural direct effect: E[Y(high, M(low))] - E[Y(low)]."""
        table, weights, low, high = self._two_worlds(cause, **levels)
        fixed = {m: low[m] for m in mediators}
        mixed = self.counterfactual(table, **{cause: high[cause]}, **fixed)
        return float(weights @ (outcome_of(mixed, outcome) - outcome_of(low, outcome)))

    def indirect_effect(
        self,
        cause: str,
        outcome: Outcome,
        mediators: Sequence[str],
        *,
        total: bool = False,
        **levels: Any,  # noqa: ANN401
    ) -> float:
        """Natural indirect effect: pure, E[Y(low, M(high))] - E[Y(low)], or total, E[Y(high)] - E[Y(high, M(low))]."""
        table, weights, low, high = self._two_worlds(cause, **levels)
        world, other = (high, low) if total else (low, high)
        mixed = self.counterfactual(table, **{cause: world[cause]}, **{m: other[m] for m in mediators})
        moved = outcome_of(mixed, outcome) - outcome_of(world, outcome)
        return float(weights @ (-moved if total else moved))

    def controlled_effect(self, cause: str, outcome: Outcome, fixed: Mapping[str, Any], **levels: Any) -> float:  # noqa: ANN401
        """Controlled direct effect: E[Y(high, m)] - E[Y(low, m)] with the mediators fixed."""
        table, weights, low, high = self._two_worlds(cause, **levels)
        a, b = (self.counterfactual(table, **{cause: world[cause]}, **fixed) for world in (high, low))
        return float(weights @ (outcome_of(a, outcome) - outcome_of(b, outcome)))

    def path_effect(self, cause: str, outcome: Outcome, paths: Iterable[Path], **levels: Any) -> float:  # noqa: ANN401
        """Return the effect along these paths alone: only there does the cause pass from low to high.

        Every path gets its own nested counterfactual, so sets of paths that share edges are told apart.
        """
        table, weights, low, high = self._two_worlds(cause, **levels)
        mixed = self.along_paths(table, cause, paths, low=low[cause], high=high[cause])
        return float(weights @ (outcome_of(mixed, outcome) - outcome_of(low, outcome)))

    def along_paths(self, table: Table, cause: str, paths: Iterable[Path], *, low: Any, high: Any) -> Table:  # noqa: ANN401
        """Return the units with `cause` at `low`, except as seen along `paths`, where it is at `high`.

        What is downstream of the end of a path follows from it.
        """
        chosen = {tuple(path) for path in paths}
        ends = {path[-1] for path in chosen}
        for path in chosen:
            self.require(*path)
            if path[0] != cause or not all(a in self.parents(b) for a, b in itertools.pairwise(path)):
                raise DataError(f"{' -> '.join(path)} is not a path of {self.name!r} from {cause!r}")
        base = self.counterfactual(table, **{cause: low})
        other = self.counterfactual(table, **{cause: high})[cause]
        live = {path[i:] for path in chosen for i in range(len(path))}

        def value(variable: str, tail: tuple[str, ...]) -> np.ndarray:
            here = (variable, *tail)
            if here not in live:
                return base[variable]
            if variable == cause:
                return other
            return computed(
                variable, self.mechanisms[variable], {p: value(p, here) for p in self.parents(variable)}, n_units(table)
            )

        new = dict(base)
        for end in ends:
            new[end] = value(end, ())
        return self.counterfactual(new, **{end: new[end] for end in ends}) if ends else new

    def _two_worlds(self, cause: str, low: Any = 0, high: Any = 1) -> tuple[Table, np.ndarray, Table, Table]:  # noqa: ANN401
        table, weights = self.enumerate()
        return table, weights, self.counterfactual(table, **{cause: low}), self.counterfactual(table, **{cause: high})

    # Inside

    def _graph(self) -> nx.DiGraph:
        graph = nx.DiGraph()
        both = [name for name in self.noise if name in self.mechanisms]
        if both:
            raise DataError(f"{both[0]!r} is both noise and a variable", fix="give the noise another name")
        graph.add_nodes_from([*self.noise, *self.mechanisms])
        for variable, parents in self._parents.items():
            for parent in parents:
                if parent not in graph:
                    raise DataError(
                        f"the mechanism of {variable!r} reads {parent!r}, which does not exist",
                        fix=did_you_mean(parent, list(graph)),
                    )
                graph.add_edge(parent, variable)
        if not nx.is_directed_acyclic_graph(graph):
            cycle = [edge[0] for edge in nx.find_cycle(graph)]
            loop = " -> ".join([*cycle, cycle[0]])
            raise DataError(f"the mechanisms form a cycle: {loop}", fix="a causal model has no cycles")
        return graph

    def _rank(self, name: str) -> int:
        return list(self.graph).index(name)

    def _solved(self, noise: Table, n: int) -> Table:
        table = dict(noise)
        for variable in self.order:
            table[variable] = self._apply(variable, table, n)
        return table

    def _apply(self, variable: str, table: Table, n: int) -> np.ndarray:
        missing = [p for p in self._parents[variable] if p not in table]
        if missing:
            raise DataError(
                f"{variable!r} cannot be computed: the table has no {missing[0]!r}",
                fix="keep the noise in the table, as SCM.sample does",
            )
        return computed(variable, self.mechanisms[variable], {p: table[p] for p in self._parents[variable]}, n)

    def _check(self) -> None:
        """Find mechanisms that draw their own randomness, or that look at other rows."""
        draw = np.random.default_rng(0)
        noise = {name: drawn(name, spec, draw, 48) for name, spec in self.noise.items()}
        if not noise:
            return
        # Fewer units, in another order: neither a mean nor a sum over rows survives that.
        some = draw.permutation(48)[:29]
        first, again, alone = self.solve(noise), self.solve(noise), self.solve(rows(noise, some))
        for variable in self.order:
            if not np.array_equal(first[variable], again[variable]):
                raise DataError(
                    f"the mechanism of {variable!r} is not a function of its parents: it gave two answers to the same input",
                    fix="move its randomness into the noise",
                )
            if not np.array_equal(first[variable][some], alone[variable]):
                raise DataError(
                    f"the mechanism of {variable!r} mixes units: a unit's value depends on which rows stand beside it",
                    fix="compute it row by row",
                )


def _constant(variable: str, value: Any) -> Mechanism:  # noqa: ANN401
    if np.ndim(value):
        raise DataError(
            f"do() sets {variable!r} to one value for all units",
            got=f"{len(value)} values",
            fix="use counterfactual(table, ...) for one per unit",
        )
    return lambda: np.asarray(value)


def _renamed(name: str) -> Mechanism:
    function = lambda **noise: noise[name]  # noqa: E731
    function.__signature__ = inspect.Signature([inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)])  # ty: ignore[missing-attribute]
    return function
