"""The result of a link: the table of verdicts, null distributions, reference effects, and the picture available x used."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mechcausal.errors import ResultError
from mechcausal.links.figure import better_place, live, still
from mechcausal.links.verdict import CAUSAL, CORRELATE, INCOMPLETE, INCONCLUSIVE, NO, VERDICTS
from mechcausal.results.result import Result, mark_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, repr=False)
class Links(Result):
    """The result of `link`: one row for each concept and candidate.

    Columns beside those of every result:

    - `concept`, `candidate`, `kind`, `frequency` (the share of prompts in which it is active); `verdict` and `why`;
    - `auc` and `auc_pooled` with intervals, p and q, and `available`;
    - `share` of the total effect with its interval, p and q, `share_other_half` (where candidates are chosen) and `used`.
      A value of a concept with many values is judged on the pairs that differ in it, and so are `value`, `change` and
      `effect`;
    - `random_low`, `random_high`: the full range of random directions at its place; `turned_low`, `turned_high`: that of
      random directions that move the activation as far; `peers_low`, `peers_high`, `peers_percentile`: candidates of the
      same kind that are active about as often;
    - `on_probe` (the probe that was given) and `on_readout` (one after the last layer), as shares of their own total
      effects; `other_probe`, `on_other_probe`, `worst_group`, `worst_group_share`, `kl_neutral`;
    - `seed_in`, `half_in`, `other_in`, `matched_in`: the number of other dictionaries in which a counterpart was looked
      for; `seed_used`, ...: in how many it is alike and used in the same way; `matched_cosine`: the least cosine.

    `p`, `q` and `p_max` test "no change" over all rows. Verdicts rest on tests of their own: `auc_q`, `auc_pooled_q` and
    `share_q`, which bound the rate of false discoveries.

    `tables` holds the total effect and that of networks with redrawn weights, reference effects, the completeness of
    dictionaries, the set chosen on one half, and the number of tests.
    """

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts, in the order in which they were given."""
        return tuple(dict.fromkeys(self.frame["concept"]))

    @property
    def verdicts(self) -> dict[str, tuple[str, ...]]:
        """The candidates of each verdict, over all concepts, largest effects first."""
        order = self.frame.iloc[np.argsort(-self.frame["share"].abs().fillna(0).to_numpy(), kind="stable")]
        return {word: tuple(dict.fromkeys(order.loc[order["verdict"] == word, "candidate"])) for word in VERDICTS}

    @property
    def ceilings(self) -> pd.DataFrame:
        """Reference effects, as shares of the total effect: whole activations, errors, dense directions, erasure."""
        return pd.DataFrame(self.tables["ceilings"])

    def of(self, concept: str) -> pd.DataFrame:
        """Return the rows of one concept."""
        if concept not in self.concepts:
            raise ResultError(f"there is no concept {concept!r}", expected=", ".join(self.concepts))
        return self.frame[self.frame["concept"] == concept]

    def verdict_of(self, candidate: str, concept: str | None = None) -> str:
        """Return the verdict on one candidate."""
        rows = self.of(concept or self.concepts[0])
        words = rows.loc[(rows["candidate"] == candidate) | (rows["site"] == candidate), "verdict"]
        if words.empty:
            raise ResultError(f"{candidate!r} was not judged", fix="a feature that is never active is no candidate")
        return str(words.iloc[0])

    @property
    def _tested(self) -> str:
        """What is tested of each candidate."""
        return "candidates change the metric"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know of these pairs."""
        return [str(self.tables["fixed"])] if self.tables.get("fixed") else []

    def _head_lines(self) -> list[str]:
        """Say in a few lines what was asked, and how the total effect compares with null distributions."""
        p, tables = self.provenance, self.tables
        total, family = tables["total"], tables["family"]
        asked = p.arguments
        many = (
            f"{family['measured']} of {family['of']}" if family["of"] > family["measured"] else f"{family['measured']}"
        )
        head = f"link: {many} candidates, {len(self.concepts)} concepts ({', '.join(self.concepts)})"
        dead = f", {family['dead']} dead features left out" if family["dead"] else ""
        return [
            f"{head}{dead}",
            f"  {asked['metric']} under {asked['do']['do']}{asked['at']} ({asked['direction']}), concepts read at "
            f"{asked['read_at']}; chosen on "
            f"{tables['halves']['chosen']} pairs, estimated on {tables['halves']['estimated']} others{_about(asked)}",
            f"  total effect {total['effect']:+.3f} [{total['low']:+.3f}, {total['high']:+.3f}]",
            f"  {total['sentence']}",
            *(
                f"  {dictionary['name']}: the error carries {dictionary['error']:.1%} of the effect that passes its place"
                for dictionary in tables["complete"]
            ),
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say what was found of each concept, of the chosen set, and in other dictionaries."""
        lines = [line for concept in self.concepts for line in self._concept_lines(concept, k)]
        return [*lines, *self._chosen_lines(), *filter(None, [compared_with(self.tables)])]

    def _concept_lines(self, concept: str, k: int) -> list[str]:
        rows = self.of(concept)
        counts = rows["verdict"].value_counts()
        verdicts = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if word in counts)
        nothing = int(((rows["available"] == NO) & (rows["used"] == NO) & (rows["verdict"] == INCONCLUSIVE)).sum())
        note = f" ({nothing} neither available nor used)" if nothing else ""
        share = self.tables["family"]["shuffled"][concept]
        shuffled = f"; with shuffled labels any is found in {share:.1%}" if np.isfinite(share) else ""
        lines = [f"{concept}: {verdicts}{note}{shuffled}"]
        if rows["verdict"].iloc[0] in (INCOMPLETE, INCONCLUSIVE) and rows["why"].nunique() == 1:
            lines.append(f"  not judged: {rows['why'].iloc[0]}")
        for word in (CAUSAL, CORRELATE):
            rows_of_word = rows[rows["verdict"] == word]
            if rows_of_word.empty:
                continue
            by = (
                rows_of_word["share"].abs()
                if word == CAUSAL
                else rows_of_word.apply(lambda row: abs(row[better_place(row)] - 0.5), axis=1)
            )
            lines += [
                _line(row, word) for _, row in rows_of_word.loc[by.sort_values(ascending=False).index[:k]].iterrows()
            ]
        return lines

    def _chosen_lines(self) -> list[str]:
        chosen = self.tables["chosen"]
        if not chosen["members"]:
            return ["no candidate was chosen on the first half"]
        line = (
            f"the {len(chosen['members'])} chosen on the first half have {chosen['share']:.1%} "
            f"[{chosen['share_low']:.1%}, {chosen['share_high']:.1%}] of the total effect on the other half"
        )
        if chosen["random_sets"]:
            line += f"; {chosen['random_sets']} random sets of that size {chosen['random_low']:.1%} to {chosen['random_high']:.1%}"
        return [line]

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw what is available against what is used, or a column as heatmaps."""
        return live(self) if column is None else super().plot(column)

    def still(self) -> str:
        """Return the picture available x used as a self-contained SVG."""
        return still(self)

    def _repr_html_(self) -> str:
        return f"<div>{self.still()}<pre>{html.escape(self.summary())}</pre></div>"


def _about(asked: dict[str, Any]) -> str:
    """Say what claims are about, where that is narrower than usual."""
    return "; holds for these clusters in new texts" if asked.get("generalize") == "texts" else ""


def _line(row: pd.Series, word: str) -> str:
    name, auc = str(row["candidate"]), better_place(row)
    text = (
        f"{mark_of(row)}{word:<15}{name:<28} AUC {row[auc]:.3f} [{row[auc + '_low']:.3f}, {row[auc + '_high']:.3f}]"
        f"{' pooled' if auc == 'auc_pooled' else ''}  "
        f"share {row['share']:+.1%} [{row['share_low']:+.1%}, {row['share_high']:+.1%}]"
    )
    if np.isfinite(row["turned_high"]):
        text += f"  random {row['random_low']:+.1%} to {row['random_high']:+.1%}, "
        text += f"random of the same size {row['turned_low']:+.1%} to {row['turned_high']:+.1%}"
    return text + (f"  replicated in {replicated}" if (replicated := replicated_in(row)) and word == CAUSAL else "")


_MANY = {"seed": "seeds", "half": "halves", "other": "others"}


def replicated_in(row: pd.Series) -> str:
    """Say in how many other dictionaries a feature is replicated: alike, and used in the same way; empty without any."""
    asked = [kind for kind in _MANY if row.get(f"{kind}_in", 0)]
    return ", ".join(f"{row[f'{kind}_used']} of {row[f'{kind}_in']} {_MANY[kind]}" for kind in asked)


def compared_with(tables: dict[str, Any]) -> str:
    """Say with which other dictionaries features were compared; empty where there are no features."""
    compared = tables.get("stability")
    if not compared or not compared["features"]:
        return ""
    there = [f"{len(compared[kind])} {_MANY[kind]}" for kind in _MANY if compared[kind]]
    late = f"; not finished: {', '.join(compared['unfinished'])}" if compared["unfinished"] else ""
    if not there:
        return f"stability: no other dictionary to compare with{late} (mechcausal sae train --companions 2 makes some)"
    return (
        f"stability: compared with {' and '.join(there)}; a feature is replicated where one with a decoder cosine of "
        f"{compared['alike']:g} or more is used in the same way{late}"
    )
