"""Compare methods of circuit discovery with circuits that are known, and by MIB's protocol on SmolLM2. See README.md.

The organisms are loaded, because which edges are true is read off them; no method is run.
"""

from __future__ import annotations

import argparse
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mechcausal as mc
from mechcausal.results.charts import Bar, bar_chart, line_chart, still
from mechcausal.results.page import Page
from mechcausal.results.pictures import Grid, svg

REAL, JUDGED = "real", "real_judged"
SCORES, PRICES = ["auc", "found", "precision", "recall"], ["kept", "seconds", "forwards"]


def answer(run: mc.Run) -> dict[str, pd.DataFrame]:
    """Return a row for each known circuit, method and draw, and a row for each method on the real model."""
    plan = tomllib.loads((run.folder / "experiment.toml").read_text(encoding="utf-8"))
    steps = [step for step in run.plan.steps if step not in (REAL, JUDGED)]
    seconds = processor_time(run)
    true_circuits: dict[tuple[str, str, int], Any] = {}
    rows = []
    for step in steps:
        for labels, circuit in run.results(step):
            question = labels["model"], labels["data"], labels["seed"]
            if question not in true_circuits:
                true_circuits[question] = true_circuit(labels["model"], plan["data"][labels["data"]], labels["seed"])
            name = f"{labels['model']}: {plan['data'][labels['data']]['contrast']}"
            rows.append(
                {
                    "question": name, "method": labels["method"], "seed": labels["seed"],
                    **compared(true_circuits[question], circuit),
                    **cost(circuit, seconds.get((step, *question, labels["method"]))),
                }
            )  # fmt: skip
    judged = []
    for labels, judgement in _if_run(run, JUDGED):
        method = labels["method"]
        search_labels, circuit = next(
            (search_labels, circuit)
            for search_labels, circuit in run.results(REAL)
            if search_labels["method"] == method
        )
        key = (REAL, search_labels["model"], search_labels["data"], search_labels["seed"], method)
        judged.append({"method": method, **faithful(judgement), **cost(circuit, seconds.get(key))})
    return {"organisms": pd.DataFrame(rows), "real": pd.DataFrame(judged), "curves": curves(run)}


def processor_time(run: mc.Run) -> dict[tuple[Any, ...], float]:
    """Return the CPU seconds of every search, by step, model, data, seed and method."""
    frame = run.seconds()
    keys = ["step", "model", "data", "seed", "method"]
    return frame.groupby(keys)["seconds"].sum().to_dict() if "method" in frame else {}


def true_circuit(organism: str, data: dict[str, Any], seed: int) -> Any:  # noqa: ANN401 - a `Known`
    """Return which edges are true in the pairs that methods saw."""
    model = mc.load(f"organism:{organism}")
    pairs = mc.contrast(data["contrast"], model, n=data["n"], seed=data.get("seed", seed))
    return mc.circuits.truth(model, pairs, organism=organism)


def compared(truth: Any, circuit: Any) -> dict[str, float]:  # noqa: ANN401 - a `Known`, a `Circuit`
    """Return how well scores tell true edges from others, and how many of those that are kept are true.

    Edges that truth does not tell apart (the three inputs of a head that was trained) count as one.
    """
    units, true = truth.units, truth.true_units
    size = np.nan_to_num(np.abs(circuit.scores), nan=-1.0).max(-1)
    best = np.full(len(true), -1.0)
    np.maximum.at(best, units[units >= 0], size[units >= 0])
    kept = np.zeros(len(true), dtype=bool)
    kept[units[circuit.kept.any(-1) & (units >= 0)]] = True
    first = np.argsort(-best, kind="stable")[: true.sum()]
    hits = int((kept & true).sum())
    return {
        "edges": len(true),
        "true": int(true.sum()),
        "auc": truth.edge_auc(circuit),
        "found": float((true[first] & (best[first] > 0)).mean()),
        "kept": int(kept.sum()),
        "precision": hits / kept.sum() if kept.any() else math.nan,
        "recall": hits / true.sum(),
    }


def cost(circuit: Any, seconds: float | None) -> dict[str, float]:  # noqa: ANN401 - a `Circuit`
    """Return what a circuit took to find; its own clock counts where the run did not keep the processor's."""
    compute = circuit.about["provenance"]["compute"]
    return {
        "seconds": float(compute["seconds"] if seconds is None else seconds), "forwards": float(compute["forwards"])
    }  # fmt: skip


def faithful(judged: Any) -> dict[str, float]:  # noqa: ANN401 - an `Evaluation`
    """Return the areas of a circuit's curve."""
    ends = {"cmd": judged.cmd, "cpr": judged.cpr}
    areas = {
        f"{name}{end}": float(getattr(area, word))
        for name, area in ends.items()
        for end, word in (("", "estimate"), ("_low", "low"), ("_high", "high"))
    }
    return {**areas, "faithfulness": judged.faithfulness.estimate, "edges": int(judged.provenance.arguments["edges"])}


def curves(run: mc.Run) -> pd.DataFrame:
    """Return faithfulness by size of each method on the real model."""
    return pd.DataFrame(
        [
            {"method": labels["method"], **point}
            for labels, judged in _if_run(run, JUDGED)
            for point in judged.curve.to_dict("records")
        ]
    )


def by_method(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each method: means over known circuits, medians of what it takes; the best first."""
    over_draws = rows.groupby(["method", "question"])[[*SCORES, *PRICES]].mean()
    table = over_draws[SCORES].groupby("method").mean()
    table.insert(1, "worst", over_draws["auc"].groupby("method").min())
    table = table.join(over_draws[PRICES].groupby("method").median())
    return table.sort_values("auc", ascending=False, kind="stable").reset_index()


def say(results: dict[str, pd.DataFrame]) -> str:
    """Say it in words."""
    lines = []
    if len(rows := results["organisms"]):
        lines += [
            f"{rows['question'].nunique()} known circuits, {rows['seed'].nunique()} draws of pairs; means over circuits, medians of the cost",
            f"{'':<20} {'AUC':>5} {'worst':>6} {'found':>6} {'kept':>5} {'precision':>9} {'recall':>7} {'seconds':>8} {'forwards':>9}",
        ]
        lines += [
            f"{row['method']:<20} {row['auc']:5.3f} {row['worst']:6.3f} {row['found']:6.2f} {row['kept']:5.0f} "
            f"{row['precision']:9.2f} {row['recall']:7.2f} {row['seconds']:8.2f} {row['forwards']:9.0f}"
            for _, row in by_method(rows).iterrows()
        ]
    if len(real := results["real"]):
        lines += ["SmolLM2, indirect objects, MIB's protocol", f"{'':<20} {'CMD':>22} {'CPR':>22} {'seconds':>8}"]
        lines += [
            f"{row['method']:<20} {_text(row, 'cmd'):>22} {_text(row, 'cpr'):>22} {row['seconds']:8.1f}"
            for _, row in real.sort_values("cmd").iterrows()
        ]
    return "\n".join(lines)


def page(run: mc.Run, results: dict[str, pd.DataFrame]) -> str:
    """Return the figures as one page."""
    out = Page("Which method finds known circuits?", "Every method on every organism whose circuit is known.")
    if len(rows := results["organisms"]):
        out.figure(
            svg(_grid(rows, "auc", 0.5, "Area under the ROC curve")),
            "Whether scores tell true edges from others: white is chance, red is perfect, blue worse than chance.",
        )
        out.figure(
            svg(_grid(rows, "found", 0.0, "Share of the true edges among as many best scores")),
            "Both precision and recall of the circuit that has as many edges as are true.",
        )
        table = by_method(rows)
        out.table(list(table), [[f"{v:.3g}" if isinstance(v, float) else v for v in row] for row in table.to_numpy()])
    if len(real := results["real"]):
        out.heading("SmolLM2: circuits that nobody knows")
        bars = [Bar(row["method"], row["cmd"], row["cmd_low"], row["cmd_high"]) for _, row in real.iterrows()]
        out.figure(
            still(bar_chart(bars, "How far circuits of all sizes are from the model", "CMD, 0 is perfect")),
            "Scored on 32 pairs of indirect objects, judged on 32 others.",
        )
        series = [
            (name, [(math.log10(100 * p["share"]), p["faithfulness"], p["low"], p["high"]) for _, p in part.iterrows()])
            for name, part in results["curves"].groupby("method", sort=False)
        ]
        ticks = [(math.log10(share), f"{share:g} %") for share in (0.1, 1, 10, 50)]
        chart = line_chart(
            series, "Faithfulness by size", "edges kept", "faithfulness", marks=[("model", 1.0)], ticks=ticks
        )
        out.figure(still(chart), "1 is the whole model, 0 is every edge cut.")
    out.heading("In words")
    out.code(say(results))
    return out.render()


def _grid(rows: pd.DataFrame, column: str, middle: float, title: str) -> Grid:
    table = rows.pivot_table(index="question", columns="method", values=column, aggfunc="mean", sort=False)
    table = table[list(by_method(rows)["method"])]
    words = tuple(tuple("" if math.isnan(value) else f"{value:.2f}" for value in row) for row in table.to_numpy())
    values = table.to_numpy() - middle
    return Grid(
        title, tuple(table.columns), tuple(table.index), "method", "known circuit", values, words, 1 - middle, column,
        np.zeros(values.shape, dtype=bool), words,
    )  # fmt: skip


def _if_run(run: mc.Run, step: str) -> list[tuple[dict[str, Any], Any]]:
    """Return the results of a step that may have been left out."""
    return run.results(step) if step in run.plan.steps else []


def _text(row: pd.Series, name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"


def main() -> None:
    """Print the answer of a run and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of the run")
    folder = parser.parse_args().run
    run = mc.Run(folder)
    results = answer(run)
    print(say(results))
    (folder / "answer.html").write_text(page(run, results), encoding="utf-8")
    print(f"figures  {folder / 'answer.html'}")


if __name__ == "__main__":
    main()
