"""Causal mediation inside the network: what of an effect passes through a part of it, and what goes past.

M is a mediator and M(high), M(low) its activation in the unedited runs of the two worlds; Y is the outcome.

    total effect            TE   = Y(high) - Y(low)
    natural direct effect   NDE  = Y(high, M(low)) - Y(low)
    total direct effect     TDE  = Y(high) - Y(low, M(high))
    pure indirect effect    pure NIE  = Y(low, M(high)) - Y(low)
    total indirect effect   total NIE = Y(high) - Y(high, M(low))
    interaction             total NIE - pure NIE

TE = NDE + total NIE = TDE + pure NIE = NDE + pure NIE + interaction, for every example (Pearl 2001; Robins and Greenland
1992; VanderWeele 2013). Inside a network the two worlds are two runs, so that nothing has to be assumed for this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mechcausal.arguments import Count, Model, Seed
from mechcausal.causal.fields import read_places
from mechcausal.causal.mediation.mediators import Mediator, mediators_of
from mechcausal.causal.mediation.worlds import MetricSpec, Pairs, Worlds, family_of, swap, wholes
from mechcausal.data.places import Positions, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.method import Cost, Method, function
from mechcausal.results.charted import Charted
from mechcausal.results.charts import Bar, Bars, bar_chart
from mechcausal.results.intervals import mean_interval, ratio_interval
from mechcausal.results.result import mark_of, marked
from mechcausal.results.table import tabulate

EFFECTS = ("te", "nde", "tde", "nie_pure", "nie_total", "interaction")
_SHOWN = {"nde": "direct", "nie_pure": "indirect (pure)", "interaction": "interaction"}


@dataclass(frozen=True, repr=False)
class Mediation(Charted):
    """One row per mediator.

    `value` is Y(low, M(high)), `change` the pure indirect effect and `effect` its share of the total effect, as `mc.patch`
    measures them. Beyond that `te nde tde nie_pure nie_total interaction`, each with `_low` and `_high`; `proportion`,
    the total indirect effect as a share of the total effect; and for the hypothesis that the total indirect effect is
    zero `p`, `q` (Benjamini-Hochberg over the mediators) and `p_max` (max-T over the mediators). The baseline
    `reversed` holds Y(high, M(low)).
    """

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The effects of every example, each [mediator example]; NaN where a prompt lacks the mediator's position."""
        return effects_of(self.baselines["clean"], self.baselines["corrupt"], self.examples, self.baselines["reversed"])

    def by_group(self) -> pd.DataFrame:
        """Return all effects with their intervals for every mediator in every group."""
        names = np.asarray(self.groups) if self.groups else np.full(self.examples.shape[1], "all")
        parts, rows = self.parts, []
        for group in dict.fromkeys(names.tolist()):
            member = names == group
            clusters = tuple(np.asarray(self.clusters)[member]) if self.clusters else ()
            for number, mediator in enumerate(self.frame["mediator"]):
                effects = {name: values[number, member] for name, values in parts.items()}
                rows.append({"mediator": mediator, "group": group, **_estimates(effects, clusters)})
        return pd.DataFrame(rows)

    def chart(self, k: int = 12) -> Bars:
        """Lay out direct effect, indirect effect and interaction of the `k` mediators that carry most."""
        most = self.frame["nie_total"].abs().sort_values(ascending=False, kind="stable").index[:k]
        rows = [
            Bar(marked(row, row["mediator"]), row[name], row[f"{name}_low"], row[f"{name}_high"], word)
            for _, row in self.frame.loc[[i for i in self.frame.index if i in set(most)]].iterrows()
            for name, word in _SHOWN.items()
        ]
        metric = self.provenance.arguments["metric"]
        factor = self.provenance.prompts.get("factor", "the cause")
        title = f"The effect of {factor}, past and through each mediator"
        return bar_chart(rows, title, f"effect on {metric}", note=self._legend)

    @property
    def _tested(self) -> str:
        """What is tested of each mediator."""
        return "mediators have a total indirect effect"

    @property
    def _ranked_by(self) -> str:
        return "nie_total"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know of the metric."""
        return [str(self.provenance.arguments["note"])] if "note" in self.provenance.arguments else []

    def _head_lines(self) -> list[str]:
        """Say what the total effect is."""
        p = self.provenance
        high, low = (np.nanmean(self.baselines[name]) for name in ("clean", "corrupt"))
        total = mean_interval(self.baselines["clean"] - self.baselines["corrupt"], self.clusters)
        return [
            f"{p.method}: {len(self)} mediators, {self.examples.shape[1]} pairs, metric {p.arguments['metric']}, {p.compute['forwards']} forwards",
            f"total effect {total.estimate:+.3f} [{total.low:+.3f}, {total.high:+.3f}], from {low:.3f} to {high:.3f}",
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say what passes through the mediators that carry most."""
        lines, most = [], self._ranked(k)
        width = max(map(len, most["mediator"]), default=0)
        for _, row in most.iterrows():
            text = f"{mark_of(row)}{row['mediator']:<{width}}  direct {row['nde']:+.3f}  indirect {row['nie_pure']:+.3f}  interaction {row['interaction']:+.3f}"
            if np.isfinite(row["proportion"]):
                text += (
                    f"  mediates {row['proportion']:.1%} [{row['proportion_low']:.1%}, {row['proportion_high']:.1%}]"
                )
            lines.append(text + (f"  q {row['q']:.2g}" if np.isfinite(row["q"]) else ""))
        return lines


@dataclass(frozen=True, kw_only=True)
class Mediating(Method[Pairs, Mediation]):
    """Split the effect of a contrast into what passes through each mediator and what goes past it.

    Estimands: see the head of this module. The clean side of the pairs is the high world and the corrupt side the low
    one. A mediator's two values are those of the unedited runs, so it is as if the cause had changed for it alone.
    `proportion`, the share of the total effect that passes through the mediator, is 1 where all of it does and 0 where
    nothing does; negative is against the total effect. The identities hold on any scale; on the log-odds an interaction
    is not made by the scale itself.

    Attributes:
        mediators: Sites or patterns of sites (one mediator each), a list of them, a list within the list for parts that
            mediate together, a `Place` with a subspace, a mapping from names to any of these, or a `Hypothesis`, whose
            variables are mediators where they live.
        at: Where, for sites that do not say it: `"each"`, `"all"`, or selections, as in `mc.patch`. Parts that mediate
            together take one selection, all positions unless said.
        metric: A metric's name, or a function of (logits, batch).
        batch_size: How many pairs at a time.
        seed: The seed of the sign flips behind `p_max`.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:by_hand")
        >>> effects = mc.causal.mediate(model, mc.contrast("by_hand/gender", model, n=8), "z")
        >>> effects.frame["mediator"].tolist()[:2]
        ['L0.z.H0', 'L0.z.H1']
    """

    word: ClassVar[str] = "mediate"
    mediators: Any = field(default="z", kw_only=False, metadata={"read": read_places})
    at: Positions = None
    metric: MetricSpec = "logit_diff"
    batch_size: Count = 64
    seed: Seed = 0

    def run(self, model: Model, data: Pairs) -> Mediation:
        """Run both worlds, and each with the mediator as it is in the other."""
        worlds, chosen = self._chosen(model, data)
        read = wholes([part for mediator in chosen for part in mediator.parts])

        def one_batch(high: PromptSet, low: PromptSet) -> list[Tensor]:
            up, down = worlds.run(high, read=read), worlds.run(low, read=read)

            def mixed(batch: PromptSet, mediator: Mediator, values: dict[Any, Tensor]) -> Tensor:
                run = worlds.run(batch, [swap(part, values, high) for part in mediator.parts])
                outcome = worlds.outcome(run, batch, up)
                reached = torch.stack([high.select(part.at).any(1) for part in mediator.parts]).any(0)
                return outcome.double().masked_fill(~reached, float("nan"))

            plain_runs = [worlds.outcome(up, high, up), worlds.outcome(down, low, up)]
            through = [mixed(low, mediator, up.read) for mediator in chosen]
            return [*plain_runs, *through, *(mixed(high, mediator, down.read) for mediator in chosen)]

        values, used = worlds.evaluate(one_batch, self.batch_size)
        high, low, through, past = values[0], values[1], values[2 : 2 + len(chosen)], values[2 + len(chosen) :]
        clean = worlds.high
        baselines = {"base": low, "clean": high, "corrupt": low, "reversed": past}
        effects = effects_of(high, low, through, past)
        tests = worlds.tested(effects["nie_total"], (high, low), self.seed)
        rows = [
            {
                **mediator.row(),
                **_estimates({name: values[number] for name, values in effects.items()}, clean.clusters),
                **{name: values[number] for name, values in tests.items()},
            }
            for number, mediator in enumerate(chosen)
        ]
        frame = tabulate(rows, through, baselines, clean.clusters)
        named = self.mediators if isinstance(self.mediators, str) else [mediator.name for mediator in chosen]
        family = family_of(rows, "total indirect effects, one per mediator")
        provenance = worlds.provenance(self.word, used, self.seed, mediators=named, at=plain(self.at), family=family)
        return Mediation(frame, provenance, through, baselines, clean.groups, clean.clusters)

    def cost(self, model: Model, data: Pairs) -> Cost:
        """Return how many runs it takes; nothing is run unless the metric may look ahead."""
        worlds, chosen = self._chosen(model, data)
        rows = worlds.n_rows
        return Cost(len(chosen), len(worlds.pairs), (2 + 2 * len(chosen)) * rows, 4 * len(chosen) * rows)

    def _chosen(self, model: Model, pairs: Pairs) -> tuple[Worlds, list[Mediator]]:
        """Return the two worlds and the mediators, which are refused where they cannot act on the outcome."""
        worlds = Worlds.of(model, pairs, self.metric)
        chosen = mediators_of(self.mediators, self.at, worlds.able, worlds.high)
        for mediator in chosen:
            worlds.check(mediator.parts)
        return worlds, chosen


def effects_of(high: np.ndarray, low: np.ndarray, through: np.ndarray, past: np.ndarray) -> dict[str, np.ndarray]:
    """Return the effects of every example.

    Args:
        high: Y(high).
        low: Y(low).
        through: Y(low, M(high)), [mediator example].
        past: Y(high, M(low)), [mediator example].
    """
    nie_pure, nie_total = through - low, high - past
    total = np.where(np.isfinite(through), high - low, np.nan)
    effects = (total, past - low, high - through, nie_pure, nie_total, nie_total - nie_pure)
    return dict(zip(EFFECTS, effects, strict=True))


def _estimates(effects: dict[str, np.ndarray], clusters: tuple[str, ...]) -> dict[str, float]:
    """Return the mean of each effect with its interval, and the share that is mediated."""
    columns: dict[str, float] = {}
    intervals = {name: mean_interval(values, clusters) for name, values in effects.items()}
    intervals["proportion"] = ratio_interval(effects["nie_total"], effects["te"], clusters)
    for name, interval in intervals.items():
        columns |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return columns


mediate = function(Mediating)
