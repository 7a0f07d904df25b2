"""MIB's protocol on any model (Mueller et al. 2025): circuits of nine sizes, and how far they are from the model.

Nobody knows the true circuit of a real model, so methods are compared by the circuits that their scores give: found on
some pairs, judged on others, at 0.1, 0.2, 0.5, 1, 2, 5, 10, 20 and 50 % of all edges, beside random circuits of the same
sizes. CMD (how far faithfulness is from 1, integrated over sizes) leads; CPR (its integral) has no upper bound.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from tqdm.auto import tqdm

from mechcausal.arguments import Count, CountOrZero, Model, Seed, Text, Texts, checked
from mechcausal.circuits.benchmark.methods import Scorer, forwards_of, scorers
from mechcausal.circuits.benchmark.records import Records, interval, short
from mechcausal.circuits.edges.wiring import Wiring
from mechcausal.data.contrast import Contrast
from mechcausal.data.tasks import contrast
from mechcausal.errors import MechcausalError
from mechcausal.models.abilities import abilities
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.results.charts import Lines, figure, line_chart, still
from mechcausal.results.page import Page

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from mechcausal.results.intervals import Interval

METHODS = ("eap-ig", "eap-ig-activations", "clean-corrupted", "eap", "atp*", "ifr", "random")
"""Those that a model of 70,000 edges allows; exact effects, ACDC and learned masks are asked for by name."""

PAIRS, RANDOM = 64, 3
_HELD_OUT = 10_000  # added to the seed of the pairs on which circuits are judged
_READ = (
    "Every method scores all edges on some pairs. Its circuits of nine sizes are run on other pairs: edges outside carry "
    "what they carry in the corrupt prompt. Faithfulness is 0 with every edge cut and 1 with none cut. CMD is the area between "
    "its curve and 1 on a linear axis of sizes: 0 is perfect. CPR is the area under the curve; it has no upper bound, and "
    "circuits that leave out what works against the behavior exceed 1. Intervals are 95 %, clustered."
)


@dataclass(frozen=True, eq=False, repr=False)
class Curves(Records):
    """How far the circuits of methods are from a model: a row for each method, with its curve over sizes."""

    kind: ClassVar[str] = "benchmark of circuits by MIB's protocol"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each method, the smallest CMD first."""
        names = ("method", "cmd", "cmd_low", "cmd_high", "cpr", "cpr_low", "cpr_high", "seconds", "forwards", "not_run")
        table = pd.DataFrame([{name: row.get(name) for name in names} for row in self.rows])
        return table.sort_values("cmd", kind="stable", na_position="last").reset_index(drop=True)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row for each method and size: edges, faithfulness with its interval, and random circuits of the same size."""
        return pd.DataFrame([{"method": row["method"], **point} for row in self.rows for point in row.get("curve", ())])

    def summary(self) -> str:
        """Say how far each method's circuits are from the model."""
        asked = self.settings
        lines = [
            f"{asked['contrast']} on {asked['model']}: {asked['edges']:,} edges, scored on {asked['n']} pairs, judged on "
            f"{asked['n']} others",
            f"{'':<20} {'CMD':>24} {'CPR':>24} {'seconds':>8} {'forwards':>9}",
        ]
        for _, row in self.frame.iterrows():
            if row["not_run"]:
                lines.append(f"{row['method']:<20} not run: {row['not_run']}")
                continue
            cmd, cpr = (interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("cmd", "cpr"))
            lines.append(
                f"{row['method']:<20} {cmd:>24} {cpr:>24} {row['seconds']:8.1f} {short(row['forwards'], '.0f'):>9}"
            )
        return "\n".join(lines)

    __repr__ = summary

    def chart(self) -> Lines:
        """Lay out faithfulness by size, one curve for each method, on a logarithmic axis."""
        series = [
            (
                row["method"],
                [(math.log10(p["share"] * 100), p["faithfulness"], p["low"], p["high"]) for p in row["curve"]],
            )
            for row in self.rows
            if row.get("curve")
        ]
        title = f"{self.settings['contrast']} on {self.settings['model']}"
        return line_chart(series, title, "log10 of % of edges kept", "faithfulness", marks=[("the model", 1.0)])

    def plot(self) -> go.Figure:
        """Draw faithfulness by size, one curve for each method."""
        return figure(self.chart())

    def _repr_html_(self) -> str:
        return still(self.chart())

    def page(self) -> str:
        """Return one self-contained HTML page with the table and the picture."""
        page = Page("How far are circuits from the model?", self.summary().splitlines()[0])
        page.text(_READ)
        if len(self.curves):
            page.figure(self._repr_html_(), "Faithfulness by the share of edges that are kept: -1 is 0.1 %, 0 is 1 %.")
        page.table(
            ("method", "CMD", "CPR", "seconds", "forwards"),
            [
                (
                    row["method"], interval(row["cmd"], row["cmd_low"], row["cmd_high"]) or row["not_run"],
                    interval(row["cpr"], row["cpr_low"], row["cpr_high"]), short(row["seconds"], ".1f"),
                    short(row["forwards"], ".0f"),
                )
                for _, row in self.frame.iterrows()
            ],
        )  # fmt: skip
        if len(self.curves):
            page.heading("Faithfulness at each size")
            names = ("method", "share", "edges", "faithfulness", "low", "high", "random")
            page.table(names, [[_cell(point[name]) for name in names] for _, point in self.curves.iterrows()])
        page.heading("Provenance")
        facts = {**self.settings, **self.provenance}
        page.table(("what", "value"), [(key, json.dumps(value)) for key, value in facts.items()])
        return page.render()


@checked
def bench_model(
    model: Model,
    task: Text = "ioi",
    *,
    methods: Texts | Mapping[str, Callable[..., Any]] | None = None,
    n: Count = PAIRS,
    random: CountOrZero = RANDOM,
    seed: Seed = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Curves:
    """Compare methods of circuit discovery on a model whose circuit is not known, by MIB's protocol.

    Estimand: the CMD of each method's circuits on held-out pairs (Mueller et al. 2025): the integral over sizes of the
    distance of faithfulness from 1. 0 is perfect; random circuits of the same sizes are the null.

    Args:
        model: The model, from `mc.load`.
        task: The name of the pairs, as `mc.contrast` takes it.
        methods: The methods, by the names that `mc.discover` takes; those that a large model allows if None. A mapping
            gives scorers of your own: functions of (model, pairs, seed) that return a circuit.
        n: How many pairs edges are scored on, and how many circuits are judged on.
        random: How many random circuits are drawn at every size, once for all methods.
        seed: The seed of everything random.
        out: A .json file that is written after each method, with a page beside it. A file that is there already is gone
            on with.
        progress: Whether to show a bar.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:ioi")
        >>> found = mc.circuits.bench_model(model, "ioi/answer", methods=["eap"], n=16, random=1, progress=False)
        >>> list(found.frame["method"])
        ['eap']
    """
    chosen = scorers(METHODS if methods is None else methods)
    settings = {
        "model": str(model.cfg.model_name), "weights": weights_fingerprint(model), "contrast": task, "n": n,
        "random": random, "seed": seed, "edges": Wiring.of(abilities(model)).count,
    }  # fmt: skip
    pairs, others = (contrast(task, model, n, seed=seed + more) for more in (0, _HELD_OUT))
    rows = Curves.begun(out, settings)
    wanted = []
    for method, scorer in tqdm(chosen.items(), desc="circuits", unit="method", disable=None if progress else True):
        row = next((row for row in rows if row["method"] == method), None)
        if row is None:
            drawn = 0 if any(row.get("random_cmd") for row in rows) else random  # all methods have one null
            row = {"method": method, **_measured(model, scorer, pairs, others, drawn, seed)}
            rows.append(row)
            if out is not None:
                Curves.made(rows, settings).save(out)
        wanted.append(row)
    if out is not None:
        Curves.made(rows, settings).save(out)
    return Curves.made(wanted, settings)


def _measured(
    model: Any,  # noqa: ANN401 - a bridge
    scorer: Scorer,
    pairs: Contrast,
    others: Contrast,
    random: int,
    seed: int,
) -> dict[str, Any]:
    """Score edges on some pairs and judge the circuits of all sizes on others."""
    try:
        began = time.perf_counter()
        circuit = scorer(model, pairs, seed)
        seconds = time.perf_counter() - began
        judged = circuit.evaluate(model, others, random=random, minimality=0, seed=seed)
    except MechcausalError as error:
        return {"not_run": str(error)}
    return {
        "seconds": seconds, "forwards": forwards_of(circuit),
        **_ends("cmd", judged.cmd), **_ends("cpr", judged.cpr), "curve": [_plain(point) for point in judged.curve.to_dict("records")],
        "random_cmd": list(judged.cmd_of_random) if random else None,
    }  # fmt: skip


def _cell(value: Any) -> Any:  # noqa: ANN401 - a name or a number
    return value if isinstance(value, str) else short(value, ".4g")


def _plain(point: Mapping[Any, Any]) -> dict[str, float | None]:
    """Return the numbers of one size as JSON data; without random circuits theirs are not known."""
    return {str(name): None if math.isnan(value) else float(value) for name, value in point.items()}


def _ends(name: str, area: Interval | None) -> dict[str, float | None]:
    values = (None, None, None) if area is None else (area.estimate, area.low, area.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
