"""The results of interchange interventions: the accuracy on the pairs whose answer changes, and what it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from mechcausal.address import Place
from mechcausal.causal.alignment.exchange import Scores
from mechcausal.causal.alignment.pairs import Pairs
from mechcausal.data.prompts import PromptSet
from mechcausal.results.intervals import mean_interval
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result, mark_of
from mechcausal.results.table import tabulate

METRIC = "IIA on changed answers"
ALIGNED, PLACEBOS, WORST = "aligned", "placebos", "worst placebo"
Kind = TypeVar("Kind", bound=Result)


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

    @property
    def _tested(self) -> str:
        """What is tested in each row."""
        return "rows differ from the unedited run"

    def _head_lines(self) -> list[str]:
        """Say how many pairs were run."""
        p = self.provenance
        return [
            f"{p.method}: {self.examples.shape[1]} pairs from {p.prompts['n']} prompts, {p.compute['forwards']} forwards; "
            "IIA where the answer changes"
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say for each set of variables how often the network answers as the causal model, and what placebos reach."""
        del k  # every row is said
        lines, shown = [], ""
        for _, row in self.frame.iterrows():
            if row["role"] == ALIGNED:
                shown = row["label"]
                lines.append(f"{mark_of(row)}{row['variables'] + ' at ' + shown:<36} {_in_words(row)}")
            else:
                where = f" ({row['label']})" if row["label"] != shown else ""
                lines.append(f"{mark_of(row)}  {row['role'] + where:<34} {_share(row, 'value')}")
        return lines


@dataclass(frozen=True, repr=False)
class Sweep(Interchange):
    """The result of `interchange_sweep`: one row for each place, in the columns of `Interchange`, without roles."""

    @property
    def _tested(self) -> str:
        """What is tested at each place."""
        return "places differ from the unedited run"

    def _head_lines(self) -> list[str]:
        """Say what was exchanged at how many places."""
        p, first = self.provenance, self.frame.iloc[0]
        return [
            f"{p.method}: {p.arguments['variable']} at {len(self)} places, {self.examples.shape[1]} pairs from "
            f"{p.prompts['n']} prompts, {p.compute['forwards']} forwards",
            f"IIA where the answer changes, chance {first['chance']:.3f}",
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say at which places the exchange gives the answers of the causal model most often."""
        lines, changed_only = [], self.provenance.arguments["changed_only"]
        for _, row in self.frame.sort_values("value", ascending=False, kind="stable").head(k).iterrows():
            shown = f"{_share(row, 'value')}, n {row['n']}" if changed_only else _in_words(row)
            lines.append(f"{mark_of(row)}{row['site'] + row['at']:<28} {shown}")
        return lines


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
    def of(cls, where: dict[str, Any], pairs: Pairs, scores: Scores, cells: Sequence[int]) -> Line:
        """Take the scores of a cell, or their mean over several."""
        mean = lambda values: values[list(cells)].mean(0)  # noqa: E731
        return cls(
            where, pairs, mean(scores.hits), mean(scores.strict), mean(scores.toward),
            (mean(scores.unedited[0]), mean(scores.unedited[2])),
        )  # fmt: skip


def row_of(parts: Sequence[Place], names: Sequence[str], role: str, *, site: str | None = None) -> dict[str, Any]:
    """Return the columns that say what was exchanged and where."""
    single = parts[0].site if len(parts) == 1 and site is None else None
    components = {part.site.component for part in parts}
    return {
        "site": site or " + ".join(str(part.site) for part in parts),
        "component": components.pop() if len(components) == 1 else "several",
        "layer": single.layer if single else None,
        "head": single.head if single else None,
        "neuron": single.neuron if single else None,
        "at": " + ".join(dict.fromkeys(str(part.at) for part in parts)),
        "position": None,
        "label": site or " + ".join(map(str, parts)),
        "variables": " + ".join(names),
        "role": role,
    }


def assembled(
    kind: type[Kind], lines: Sequence[Line], prompts: PromptSet, *, chance: float, provenance: Provenance
) -> Kind:
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


def _mean(values: np.ndarray) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else np.nan


def _in_words(row: pd.Series) -> str:
    blind = f"all pairs {_share(row, 'iia')}, blind guess {row['blind']:.3f}"
    return f"{_share(row, 'value')}, n {row['n']}; {blind}" if row["n"] else f"changes no answer; {blind}"


def _share(row: pd.Series, column: str) -> str:
    return f"{row[column]:.3f} [{row[f'{column}_low']:.3f}, {row[f'{column}_high']:.3f}]"
