"""Interchange interventions: put a variable's place as it is in another run, and see if the network answers as the model.

The accuracy of that is interchange intervention accuracy, IIA (Geiger et al. 2021). Over all pairs it flatters: where
the answer should not change, a place that does nothing is right. So the value given here is the IIA over the pairs
whose answer changes, and the others stand beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from mechcausal.address import Place, Selection, Site, expand
from mechcausal.causal.alignment.exchange import Cell, Scores, placebos, score
from mechcausal.causal.alignment.pairs import (
    Pairs,
    answer_tokens,
    base_rows,
    check_exchange,
    check_movable,
    check_variables,
    draw_pairs,
    refuse_unchanged,
)
from mechcausal.causal.hypothesis import Hypothesis
from mechcausal.data.places import Positions, SiteSpec, places, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.scm import SCM
from mechcausal.data.tasks.definition import Task
from mechcausal.errors import DataError
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.results.intervals import mean_interval
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result
from mechcausal.results.table import tabulate

METRIC = "IIA on changed answers"
ALIGNED, PLACEBOS, WORST = "aligned", "placebos", "worst placebo"
_MOST_PLACEBOS = 4
_LAST = Selection(-1)
Found = TypeVar("Found", bound=Result)


@dataclass(frozen=True, repr=False)
class Interchange(Result):
    """The result of `interchange`: one row for each set of variables, and one each for the mean and the worst placebo.

    `value` is the IIA over the pairs whose answer the exchange changes, with its interval and their number `n`;
    `change` is what it gains over the unedited run on these pairs. Beside the columns of every result:

    - `variables`, `role` (`aligned`, `placebos`, `worst placebo`);
    - `iia`, the IIA over all `n_pairs` pairs, with its interval, and `blind`, what the best guess that knows all of the
      base and nothing of the sources would get there: more shows that something of the sources is carried;
    - `unchanged`, the IIA over the other pairs; `chance`, one over the number of answers;
    - `strict`, like `value` with the best token of the whole vocabulary;
    - `logit_diff`, the logit of the expected answer minus that of the base's own on the changed pairs, and
      `logit_diff_base`, the same in the unedited run.
    """

    def summary(self, k: int = 5) -> str:
        """Say for each set of variables how often the network answers as the causal model, and what placebos reach."""
        p = self.provenance
        lines = [
            f"{p.method}: {self.examples.shape[1]} pairs from {p.prompts['n']} prompts, {p.compute['forwards']} forwards; "
            "IIA where the answer changes"
        ]
        shown = ""
        for _, row in self.frame.iterrows():
            if row["role"] == ALIGNED:
                shown = row["label"]
                lines.append(f"  {row['variables'] + ' at ' + shown:<36} {_told(row)}")
            else:
                where = f" ({row['label']})" if row["label"] != shown else ""
                lines.append(f"    {row['role'] + where:<34} {_share(row, 'value')}")
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class Sweep(Interchange):
    """The result of `interchange_sweep`: one row for each place, in the columns of `Interchange`, without roles."""

    def summary(self, k: int = 5) -> str:
        """Say at which places the exchange gives the answers of the causal model most often."""
        p, first = self.provenance, self.frame.iloc[0]
        lines = [
            f"{p.method}: {p.arguments['variable']} at {len(self)} places, {self.examples.shape[1]} pairs from "
            f"{p.prompts['n']} prompts, {p.compute['forwards']} forwards",
            f"IIA where the answer changes, chance {first['chance']:.3f}",
        ]
        for _, row in self.frame.sort_values("value", ascending=False, kind="stable").head(k).iterrows():
            told = f"{_share(row, 'value')}, n {row['n']}" if p.arguments["changed_only"] else _told(row)
            lines.append(f"  {row['site'] + row['at']:<28} {told}")
        return "\n".join(lines)


def interchange(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    hypothesis: Hypothesis,
    prompts: PromptSet,
    *,
    variables: str | Sequence[str | tuple[str, ...]] = "each",
    n: int = 512,
    sources: Literal["distinct", "shared"] = "distinct",
    changed_only: bool = False,
    placebo: bool | int = True,
    batch_size: int = 64,
    seed: int = 0,
) -> Interchange:
    """Exchange variables between runs and compare the network's answer with the causal model's.

    Estimand: over pairs of a base and a source prompt drawn uniformly (one source for each variable of a set, unless
    shared), the probability that the network, run on the base with the places of the variables as in the sources' runs,
    gives the answer that the causal model gives to the base with the variables as in the sources.

    Args:
        model: The model.
        hypothesis: The causal model and where each variable is.
        prompts: The prompts that bases and sources are drawn from, with their variables.
        variables: `"each"` aligned variable on its own, or a list of variables and of tuples exchanged together. A
            variable that never changes an answer has no value; one that is listed is refused.
        n: How many pairs; every prompt is a base equally often.
        sources: Whether each variable of a tuple has a source of its own or all share one.
        changed_only: Draw only pairs whose answer changes, where there are such.
        placebo: Whether to exchange places that the hypothesis does not name as well, or how many (4 unless said).
        batch_size: How many pairs at a time.
        seed: The seed of the draw.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> prompts = mc.task("by_hand").prompts(model, 64)
        >>> found = interchange(model, mc.causal.Hypothesis.of("by_hand"), prompts, n=64)
        >>> float(found.frame.loc[0, "value"])
        1.0
    """
    started = time.perf_counter()
    sets = _sets(hypothesis, variables)
    if sources not in ("distinct", "shared"):
        raise DataError("sources are distinct or shared", got=repr(sources))
    table = check_exchange(model, hypothesis, prompts, [name for one in sets for name in one])
    words = answer_tokens(model, hypothesis)
    rows = _base(prompts, n, seed)
    able = abilities(model)
    cells: list[Cell] = []
    groups: list[tuple[tuple[str, ...], range]] = []
    for number, names in enumerate(sets):
        draw = np.random.default_rng([seed, 1, number])
        pairs = draw_pairs(hypothesis, table, names, rows, draw, shared=sources == "shared", changed_only=changed_only)
        if variables != "each":
            refuse_unchanged(pairs, names)
        parts = {name: hypothesis.alignment[name] for name in names}
        flat = [part for name in names for part in parts[name]]
        count = (_MOST_PLACEBOS if placebo is True else int(placebo)) if pairs.changed.any() else 0
        begin = len(cells)
        for chosen in [flat, *placebos(able, flat, hypothesis, count, draw)]:
            room = iter(chosen)
            cells.append(Cell(pairs, {name: [next(room) for _ in parts[name]] for name in names}))
        groups.append((names, range(begin, len(cells))))
    if not any(cell.pairs.changed.any() for cell in cells):
        refuse_unchanged(cells[0].pairs, hypothesis.variables)
    found = score(model, prompts, cells, words, batch_size=batch_size)
    lines = [line for names, group in groups for line in _lines(names, group, cells, found)]
    return assembled(
        Interchange, lines, prompts,
        chance=1 / len(words),
        provenance=Provenance(
            method="interchange",
            arguments={
                "metric": METRIC, "hypothesis": repr(hypothesis), "variables": [list(names) for names in sets],
                "sources": sources, "changed_only": changed_only, "placebo": placebo,
            },
            seed=seed,
            **facts(model, prompts, started=started, forwards=found.forwards, batch_size=found.batch_size),
        ),
    )  # fmt: skip


def interchange_sweep(
    model: Any,  # noqa: ANN401
    about: Hypothesis | SCM | Task,
    variable: str,
    prompts: PromptSet,
    *,
    sites: SiteSpec = "resid_post",
    positions: Positions = "each",
    n: int = 256,
    changed_only: bool = True,
    batch_size: int = 64,
    seed: int = 0,
) -> Sweep:
    """Exchange one variable at every place in turn: where in the network is it, as far as the answer is concerned?

    Estimand: as for `interchange`, for each cell. `.plot()` draws layers against positions.

    Args:
        model: The model.
        about: The causal model of the task; of a hypothesis only that is used.
        variable: What is exchanged; any variable of the causal model.
        prompts: The prompts that bases and sources are drawn from, with their variables.
        sites: Where to exchange it: a component word, a pattern, a site, or a list of these.
        positions: `"each"`, `"all"` (at once), a selection or a list of selections.
        n: How many pairs.
        changed_only: Draw only pairs whose answer changes, where there are such.
        batch_size: How many pairs at a time.
        seed: The seed of the draw.
    """
    started = time.perf_counter()
    able = abilities(model)
    where = places(expand(sites, able.shape), positions, prompts)
    able.require([place.site for place in where])
    if any(place.site.component == "pattern" for place in where):
        check_movable(Place(Site("pattern", 0), _LAST), prompts)
    question = asked(about, variable, Place(where[0].site, where[0].at))
    table = check_variables(model, question, prompts, [variable])
    words = answer_tokens(model, question)
    rows = _base(prompts, n, seed)
    pairs = draw_pairs(
        question, table, [variable], rows, np.random.default_rng([seed, 1]), changed_only=changed_only
    )  # fmt: skip
    refuse_unchanged(pairs, [variable])
    cells = [Cell(pairs, {variable: [Place(place.site, place.at)]}) for place in where]
    found = score(model, prompts, cells, words, batch_size=batch_size)
    lines = [Line.of(place.row(), pairs, found, [number]) for number, place in enumerate(where)]
    return assembled(
        Sweep, lines, prompts,
        chance=1 / len(words),
        provenance=Provenance(
            method="interchange_sweep",
            arguments={
                "metric": METRIC, "scm": question.scm.name, "variable": variable, "sites": plain(sites),
                "positions": plain(positions), "changed_only": changed_only,
            },
            seed=seed,
            **facts(model, prompts, started=started, forwards=found.forwards, batch_size=found.batch_size),
        ),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Line:
    """One row of a result before it is a row: where, the pairs, and the scores of every pair."""

    where: dict[str, Any]
    pairs: Pairs
    hits: np.ndarray
    strict: np.ndarray
    toward: np.ndarray
    unedited: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, where: dict[str, Any], pairs: Pairs, found: Scores, cells: Sequence[int]) -> Line:
        """Take the scores of a cell, or their mean over several."""
        mean = lambda scores: scores[list(cells)].mean(0)  # noqa: E731
        return cls(
            where, pairs, mean(found.hits), mean(found.strict), mean(found.toward),
            (mean(found.unedited[0]), mean(found.unedited[2])),
        )  # fmt: skip


def _lines(names: tuple[str, ...], group: range, cells: Sequence[Cell], found: Scores) -> list[Line]:
    """Return the row of a set of variables, and those of its placebos: their mean and the one nearest to it."""
    pairs = cells[group[0]].pairs
    flat = [[part for name in names for part in cells[number].parts[name]] for number in group]
    lines = [Line.of(row_of(flat[0], names, ALIGNED), pairs, found, [group[0]])]
    if len(group) > 1:
        worst = 1 + int(np.argmax([found.hits[number][pairs.changed].mean() for number in group[1:]]))
        others = f"{len(group) - 1} other place{'s' if len(group) > 2 else ''}"
        mean = row_of(flat[1], names, PLACEBOS, site=others)
        lines.append(Line.of(mean, pairs, found, group[1:]))
        lines.append(Line.of(row_of(flat[worst], names, WORST), pairs, found, [group[worst]]))
    return lines


def row_of(parts: Sequence[Place], names: Sequence[str], role: str, *, site: str | None = None) -> dict[str, Any]:
    """Return the columns that say what was exchanged and where."""
    one = parts[0].site if len(parts) == 1 and site is None else None
    components = {part.site.component for part in parts}
    return {
        "site": site or " + ".join(str(part.site) for part in parts),
        "component": components.pop() if len(components) == 1 else "several",
        "layer": one.layer if one else None,
        "head": one.head if one else None,
        "neuron": one.neuron if one else None,
        "at": " + ".join(dict.fromkeys(str(part.at) for part in parts)),
        "position": None,
        "label": site or " + ".join(map(str, parts)),
        "variables": " + ".join(names),
        "role": role,
    }


def assembled(
    kind: type[Found], lines: Sequence[Line], prompts: PromptSet, *, chance: float, provenance: Provenance
) -> Found:
    """Make the result of rows that share their base prompts."""
    base = lines[0].pairs.base
    clusters = tuple(prompts.clusters[i] if prompts.clusters else f"prompt {i}" for i in base)
    groups = tuple(prompts.groups[i] for i in base) if prompts.groups else ()
    examples = np.stack([np.where(line.pairs.changed, line.hits, np.nan) for line in lines])
    unedited = np.stack([np.where(line.pairs.changed, line.unedited[0], np.nan) for line in lines])
    where = []
    for line, hits in zip(lines, examples, strict=True):
        value, every = mean_interval(hits, clusters), mean_interval(line.hits, clusters)
        changed = line.pairs.changed
        where.append(
            line.where
            | {"value_low": value.low, "value_high": value.high}
            | {"iia": every.estimate, "iia_low": every.low, "iia_high": every.high, "n_pairs": every.n}
            | {"blind": line.pairs.blind, "unchanged": _mean(line.hits[~changed]), "chance": chance}
            | {"strict": _mean(line.strict[changed]), "logit_diff": _mean(line.toward[changed])}
            | {"logit_diff_base": _mean(line.unedited[1][changed])}
        )
    baselines = {"base": unedited}
    return kind(tabulate(where, examples, baselines, clusters), provenance, examples, baselines, groups, clusters)


def asked(about: Hypothesis | SCM | Task, variable: str, part: Place) -> Hypothesis:
    """Return the hypothesis that one variable of a causal model is at one part."""
    if isinstance(about, Hypothesis):
        return about.replaced(alignment={variable: part})
    if isinstance(about, Task):
        return Hypothesis(about.scm, {variable: part}, outcome=about.outcome)
    return Hypothesis(about, {variable: part})


def _sets(hypothesis: Hypothesis, variables: str | Sequence[str | tuple[str, ...]]) -> list[tuple[str, ...]]:
    if variables == "each":
        return [(name,) for name in hypothesis.variables]
    listed = [variables] if isinstance(variables, str) else list(variables)
    sets = [(one,) if isinstance(one, str) else tuple(one) for one in listed]
    if not sets or not all(sets):
        raise DataError("no variable is named", fix=f"name some of {', '.join(hypothesis.variables)}")
    return sets


def _base(prompts: PromptSet, n: int, seed: int) -> np.ndarray:
    if n < 1:
        raise DataError("at least one pair is needed", got=n)
    return base_rows(n, np.arange(len(prompts)), np.random.default_rng([seed, 0]))


def _mean(values: np.ndarray) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else np.nan


def _told(row: pd.Series) -> str:
    blind = f"all pairs {_share(row, 'iia')}, blind guess {row['blind']:.3f}"
    return f"{_share(row, 'value')}, n {row['n']}; {blind}" if row["n"] else f"changes no answer; {blind}"


def _share(row: pd.Series, column: str) -> str:
    return f"{row[column]:.3f} [{row[f'{column}_low']:.3f}, {row[f'{column}_high']:.3f}]"
