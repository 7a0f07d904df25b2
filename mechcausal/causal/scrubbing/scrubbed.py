"""What scrubbing found: the share recovered, and the claim that loses most of the rest."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mechcausal.causal.scrubbing.sampling import CLAIM, REST
from mechcausal.errors import ResultError
from mechcausal.results.charts import Bar, Bars, bar_chart, figure, still
from mechcausal.results.intervals import Interval
from mechcausal.results.result import Result, mark_of, marked

if TYPE_CHECKING:
    import plotly.graph_objects as go

# The smallest share of the performance whose loss is worth a name.
_NOTABLE = 0.005
_SHARE = "share of the performance"
_BLAMED = {CLAIM: "what it is said to depend on", REST: "what else it reads"}


@dataclass(frozen=True, repr=False)
class Scrubbed(Result):
    """The result of `scrub` or `ladder`: one row for the hypothesis, one for each claim spared, one for each control.

    `effect` is the share of performance recovered: 0 for outputs of other prompts, 1 for the unedited network. Beside
    the columns of every result: `node`, `kind` (`hypothesis`, `claim`, `rest`, `control`), `accuracy`, `agreement` with
    the unedited network's answers, `kl` from its distribution, `self_hits` (how often a draw was the prompt itself), and
    for claims that were spared `gain`, the share that this gives back. Intervals and `p` count every prompt that a score
    rests on, as a reference or as a draw. `p` tests "no change", of a claim that was spared "it gives nothing back";
    `p_max` is Holm's correction of `p`.
    """

    @property
    def recovered(self) -> Interval:
        """The share of performance that the hypothesis explains, with its interval over prompts and draws."""
        named = "hypothesis" in set(self.frame["kind"])
        row = self.frame.iloc[self._number(kind="hypothesis") if named else len(self) - 1]
        ends = (float(row[name]) for name in ("effect", "effect_low", "effect_high"))
        return Interval(*ends, int(row["n"]), int(row["n_clusters"]), float(row["effective_clusters"]))

    @property
    def by_node(self) -> pd.DataFrame:
        """What sparing each claim gives back, largest first.

        `claim`: the node is not only said to depend on this. `rest`: the node reads something that matters and that
        the hypothesis does not name.
        """
        if not self._reported:
            raise ResultError("no claim was spared in turn", fix="scrub with report=True")
        spared = self.frame[self.frame["kind"].isin([CLAIM, REST])]
        columns = ["node", "kind", "gain", "gain_low", "gain_high", "p_max"]
        table = spared[columns].assign(recovered=spared["effect"])
        return table.sort_values("gain", ascending=False, ignore_index=True, kind="stable")

    def by_group(self) -> pd.DataFrame:
        """Return change and its interval for every row in every group."""
        return pd.DataFrame(self.tables["by_group"]) if "by_group" in self.tables else super().by_group()

    @property
    def culprit(self) -> tuple[str, str] | None:
        """The node and the kind of claim that loses most, or None if no claim loses a notable share."""
        first = self.by_node.iloc[0]
        return (str(first["node"]), str(first["kind"])) if first["gain_low"] > _NOTABLE else None

    @property
    def controls(self) -> pd.DataFrame:
        """The hypotheses that should fail, with the share they recover."""
        control_rows = self.frame[self.frame["kind"] == "control"]
        return control_rows[["node", "effect", "effect_low", "effect_high"]].reset_index(drop=True)

    @property
    def _tested(self) -> str:
        """What is tested in each row."""
        return "rows change the performance" + (", or give some of it back," if self._reported else "")

    def chart(self) -> Bars:
        """Lay out the share recovered: by the hypothesis and its controls, or going down the ladder."""
        if self.provenance.method == "ladder":
            rows = [_bar(row, row["label"]) for _, row in self.frame.iterrows()]
            return bar_chart(rows, "What is left as more is scrubbed", f"{_SHARE} recovered", reach=1, stair=True)
        shown = self.frame[self.frame["kind"].isin(["hypothesis", "control"])]
        rows = [_bar(row, row["label"], row["kind"]) for _, row in shown.iterrows()]
        title = "What is left of the performance when all else is scrubbed"
        return bar_chart(rows, title, f"{_SHARE} recovered", reach=1)

    def damage(self, k: int = 12) -> Bars:
        """Lay out what sparing each claim gives back, for the `k` nodes whose claims lose most."""
        by_node = self.by_node
        # Both claims of a node stand under one label: it is marked where one of them survives.
        least = by_node.sort_values("p_max", kind="stable").groupby("node").first()
        rows = [
            Bar(marked(least.loc[node], node), row["gain"], row["gain_low"], row["gain_high"], _BLAMED[row["kind"]])
            for node in by_node["node"].unique()[:k]
            for _, row in by_node[by_node["node"] == node].sort_values("kind").iterrows()
        ]
        title, order = "What sparing each claim gives back", tuple(_BLAMED.values())
        return bar_chart(rows, title, _SHARE, order=order, reach=0.1, note=self._legend)

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw the share recovered (for a ladder as a stair), `"damage"`: what each claim loses, or a column as heatmaps."""
        if column == "damage":
            return figure(self.damage())
        return figure(self.chart()) if column is None else super().plot(column)

    def _repr_html_(self) -> str:
        charts = [self.chart(), *([self.damage()] if self._reported else [])]
        return f"<div>{''.join(map(still, charts))}<pre>{html.escape(self.summary())}</pre></div>"

    @property
    def _reported(self) -> bool:
        """Whether claims were spared one by one."""
        return self.provenance.method != "ladder" and bool(self.frame["kind"].isin([CLAIM, REST]).any())

    def _head_lines(self) -> list[str]:
        """Say between which values the share lies."""
        p = self.provenance
        clean, corrupt = (np.nanmean(self.baselines[name]) for name in ("clean", "corrupt"))
        return [
            f"{p.method}: {p.arguments['references']} prompts x {p.arguments['draws']} draws, metric {p.arguments['metric']}, "
            f"{p.compute['forwards']} forwards ({p.compute['naive_forwards']} without sharing)",
            f"unedited {clean:.3f}, outputs of other prompts {corrupt:.3f}",
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say what was recovered, what loses the rest, and how the controls fared."""
        if self.provenance.method == "ladder":
            return [f"{mark_of(row)}{row['label']:<28} {_percent(row)}" for _, row in self.frame.iterrows()]
        row = self.frame.iloc[self._number(kind="hypothesis")]
        lines = [
            f"{mark_of(row)}recovered {_percent(row)}; accuracy {row['accuracy']:.3f}, same answer {row['agreement']:.3f}, "
            f"KL {row['kl']:.3f}"
        ]
        if row["self_hits"] > 0.1:
            lines.append(f"{row['self_hits']:.0%} of the draws were the prompt itself: small classes scrub little")
        if self._reported:
            lines += _blame(self.by_node, self.culprit, k)
        controls = self.frame[self.frame["kind"] == "control"]
        lines += [
            f"{mark_of(row)}control, {row['node']:<24} recovers {_percent(row)}" for _, row in controls.iterrows()
        ]
        return lines

    def _number(self, kind: str) -> int:
        return int(np.flatnonzero((self.frame["kind"] == kind).to_numpy())[0])


def _bar(row: pd.Series, label: str, group: str = "") -> Bar:
    return Bar(label, row["effect"], row["effect_low"], row["effect_high"], group)


def _percent(row: pd.Series) -> str:
    return f"{row['effect']:.1%} [{row['effect_low']:.1%}, {row['effect_high']:.1%}]"


def _blame(by_node: pd.DataFrame, culprit: tuple[str, str] | None, k: int) -> list[str]:
    if culprit is None:
        return ["no claim of the hypothesis loses a notable share"]
    name, kind = culprit
    explanation = {
        CLAIM: f"most is lost by the claim about {name!r}: inputs that agree on it are not interchangeable there",
        REST: f"most is lost by what {name!r} reads beside the inputs the hypothesis names",
    }[kind]
    shown = by_node[by_node["gain_low"] > _NOTABLE].head(k)
    return [explanation] + [
        f"{mark_of(row)}sparing {row['node']}: {row['kind']:<6} gives back {row['gain']:+.1%} [{row['gain_low']:+.1%}, {row['gain_high']:+.1%}]"
        for _, row in shown.iterrows()
    ]
