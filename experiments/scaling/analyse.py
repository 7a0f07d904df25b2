"""Lay the measured cost of each sweep beside the formula of the engine. See README.md."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import pandas as pd

import mechcausal as mc
from mechcausal.results.charts import line_chart, still
from mechcausal.results.page import Page
from mechcausal.results.scatter import Point, Points
from mechcausal.results.scatter import still as draw

BASE = {"layers": 4, "heads": 4, "positions": 16, "pairs": 16}
STEPS = {"patched": None, "estimated": "attribute z", "path": "path z"}
"""What sweep each pair of steps runs; patching says it by its sites."""
CURVES = {"measured": "seconds_ratio", "formula": "token_layers_ratio", "loop": "naive_ratio"}
"""Costs over those of the base: the loop is one full forward for each cell."""


def computed(sweep: str, layers: int, heads: int, positions: int, pairs: int) -> float:
    """Return how many tokens all layers together compute again for the cells of a sweep, in closed form.

    The first token is the same in all texts, so a cell there is answered without a run.
    """
    changed = positions - 1
    suffixes = changed * (changed + 1) / 2  # of each position, it and all later ones are computed again
    per_pair = {
        "resid_pre": layers * (layers + 1) / 2 * suffixes,  # all layers from the patched one on
        "mlp_out": layers * (layers - 1) / 2 * suffixes,  # all layers after it
        "z": heads * layers * (layers - 1) / 2 * changed,  # all positions of a head are patched at once
        "attribute z": layers * changed,  # one forward for all heads together, whose gradients are taken
        "path z": 0,  # what a head adds is changed at the end, and no layer is run again
    }
    return pairs * per_pair[sweep]


def formula(sweep: str, layers: int, heads: int, positions: int, pairs: int) -> float:
    """Return the same with the two unedited runs of every pair; a backward counts as two forwards."""
    again = computed(sweep, layers, heads, positions, pairs)
    return 2 * pairs * layers * positions + (3 if sweep == "attribute z" else 1) * again


def naive(sweep: str, layers: int, heads: int, positions: int, pairs: int) -> float:
    """Return how many tokens a loop of full forwards computes, one forward for each cell."""
    cells = layers * (positions if sweep in ("resid_pre", "mlp_out") else heads)
    return pairs * cells * layers * positions


def shape(model: str, data: str) -> tuple[str, dict[str, int]]:
    """Return along which axis a model and a file of pairs depart from the base, and their size."""
    size = dict(BASE)
    axis = "base"
    for name in (model, data):
        word, _, count = name.partition("_")
        if count and size[word] != int(count):
            axis, size[word] = word, int(count)
    return axis, size


def answer(run: mc.Run) -> pd.DataFrame:
    """Return a row for each sweep and size: the CPU seconds measured, and what the formula says."""
    measured = run.seconds()
    rows = []
    for step, sweep in STEPS.items():
        part = measured[measured["step"].isin([f"{step}_by_model", f"{step}_by_data"]) & (measured["data"] != "warm")]
        keys = ["model", "data", *(["sites"] if sweep is None else [])]
        for key, group in part.groupby(keys, sort=False):
            labels = dict(zip(keys, key, strict=True))
            axis, size = shape(labels["model"], labels["data"])
            name = sweep or labels["sites"]
            rows.append(
                {
                    "sweep": name, "axis": axis, **size, "seconds": float(group["seconds"].sum()),
                    "token_layers": formula(name, **size), "naive": naive(name, **size),
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    base = table[table["axis"] == "base"].set_index("sweep")
    for column in ("seconds", "token_layers", "naive"):
        table[f"{column}_ratio"] = table[column] / table["sweep"].map(base[column])
    return table


def axes(table: pd.DataFrame) -> list[str]:
    """Return the axes along which more than the base was run."""
    return [axis for axis in BASE if (table["axis"] == axis).any()]


def along(table: pd.DataFrame, sweep: str, axis: str) -> pd.DataFrame:
    """Return the rows of a sweep along one axis, the base among them."""
    part = table[(table["sweep"] == sweep) & table["axis"].isin(["base", axis])]
    return part.sort_values(axis)


def slope(part: pd.DataFrame, axis: str, column: str) -> float:
    """Return the exponent with which a column grows along an axis, between its two largest sizes."""
    last, before = part.iloc[-1], part.iloc[-2]
    return math.log(last[column] / before[column]) / math.log(last[axis] / before[axis])


def say(table: pd.DataFrame) -> str:
    """Say it in words."""
    lines = [
        "CPU seconds over those of the base (4 layers, 4 heads, 16 tokens, 16 pairs), by the formula and measured;",
        "the exponent is that of growth between the two largest sizes",
        f"{'sweep':<17} {'along':<10} {'to':>4} {'formula':>8} {'measured':>9} {'exponent':>9} {'measured':>9}",
    ]
    for sweep in table["sweep"].unique():
        for axis in axes(table):
            part = along(table, sweep, axis)
            last = part.iloc[-1]
            lines.append(
                f"{sweep:<17} {axis:<10} {last[axis]:>4} {last['token_layers_ratio']:8.1f} {last['seconds_ratio']:9.1f} "
                f"{slope(part, axis, 'token_layers'):9.2f} {slope(part, axis, 'seconds'):9.2f}"
            )
    return "\n".join(lines)


def page(table: pd.DataFrame) -> str:
    """Return the figures as one page."""
    out = Page("What does a sweep cost?", "CPU seconds by size, beside the formula of the engine.")
    points = tuple(
        Point(f"{row['axis']} {row[row['axis']]}" if row["axis"] != "base" else "base",
              math.log10(row["token_layers"]), math.log10(row["seconds"]), group=row["sweep"])
        for _, row in table.iterrows()
    )  # fmt: skip
    scatter = Points(
        points, "All sweeps and sizes", "log10 of tokens times layers, by the formula", "log10 of CPU seconds"
    )
    out.figure(
        draw(scatter), "Where the formula holds, points lie on lines that rise by one for each step to the right."
    )
    for axis in axes(table):
        out.heading(f"By {axis}")
        series, sizes = [], sorted(table[axis].unique())
        for sweep in table["sweep"].unique():
            part = along(table, sweep, axis)
            excess = part["seconds_ratio"] / part["token_layers_ratio"]
            series.append((sweep, [_point(size, value) for size, value in zip(part[axis], excess, strict=True)]))
        ticks = [(math.log2(size), f"{size}") for size in sizes]
        chart = line_chart(
            series, "Measured over formula", axis, "log2 of the ratio", marks=[("the formula", 0.0)], ticks=ticks
        )
        out.figure(still(chart), "0 is the formula, 1 is twice as dear as it says, -1 half as dear; 0 at the base.")
        with out.folded("each sweep"):
            for sweep in table["sweep"].unique():
                part = along(table, sweep, axis)
                series = [
                    (name, [_point(row[axis], row[column]) for _, row in part.iterrows()])
                    for name, column in CURVES.items()
                ]
                chart = line_chart(series, sweep, axis, "log2 of cost", ticks=ticks)
                out.figure(still(chart), f"{sweep}: cost over that of the base, by {axis}.")
    out.heading("In words")
    out.code(say(table))
    out.table(list(table), [[_cell(value) for value in row] for row in table.to_numpy().tolist()])
    return out.render()


def _point(size: float, cost: float) -> tuple[float, float, float, float]:
    height = math.log2(cost)
    return math.log2(size), height, height, height


def _cell(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def main() -> None:
    """Print the answer of a run and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of the run")
    folder = parser.parse_args().run
    table = answer(mc.Run(folder))
    print(say(table))
    (folder / "answer.html").write_text(page(table), encoding="utf-8")
    print(f"figures  {folder / 'answer.html'}")


if __name__ == "__main__":
    main()
