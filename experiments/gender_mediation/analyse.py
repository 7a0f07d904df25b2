"""Say through which heads and layers gender acts, in log-odds and on the scale of Vig et al. (2020). See README.md."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import mechcausal as mc
from mechcausal import audit
from mechcausal.audits.selftest.stored import FOLDER as SHIPPED
from mechcausal.audits.selftest.stored import stored_heads
from mechcausal.results.charts import Line, Lines, still
from mechcausal.results.intervals import mean_interval

DATA = ("occupations", "winogender", "winobias")
TOTALS = ("occupations", "many_winogender", "many_winobias")
# Means that the authors published, for GPT-2 small on WinoBias; the first three on examples chosen by their total effect.
PUBLISHED = {"te": 0.249274, "nie": 0.182031, "nde": 0.079363, "te of all examples": 0.1146}


def on_both_scales(
    clean: np.ndarray, corrupt: np.ndarray, from_corrupt: np.ndarray | None = None, from_clean: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the effects of every pair, in log-odds and on the scale of Vig et al.

    With y = p(other answer) / p(stereotypical answer), x the clean prompt and x' the corrupt one, that scale is
    TE = y(x') / y(x) - 1, NIE = y(x, M(x')) / y(x) - 1, NDE = y(x', M(x)) / y(x) - 1.

    Args:
        clean: The log-odds of the stereotypical answer after each clean prompt.
        corrupt: The same after the corrupt prompt.
        from_corrupt: The same after the clean prompt, with the mediator as in the corrupt one.
        from_clean: The same after the corrupt prompt, with the mediator as in the clean one.
    """
    effects = {"te": clean - corrupt, "te_odds": np.expm1(clean - corrupt)}
    if from_corrupt is not None:
        effects |= {"nie": clean - from_corrupt, "nie_odds": np.expm1(clean - from_corrupt)}
    if from_clean is not None:
        effects |= {"nde": clean - from_clean, "nde_odds": np.expm1(clean - from_clean)}
    return effects


def answer(run: mc.Run, stored: Path | None = None) -> dict[str, Any]:
    """Return the effects on each data set, and how far the analysis is from the published numbers."""
    return {
        "published": published(stored), "totals": {name: _total(run, name) for name in TOTALS},
        "effects": {name: _of(run, name) for name in DATA}, "checked": _checked(run),
    }  # fmt: skip


def _sides(run: mc.Run, step: str, data: str) -> tuple[mc.Result, dict[str, np.ndarray]]:
    """Return the run of clean prompts with mediators of the corrupt ones, and the effects, [mediator pair]."""
    noise = run.result(step, data=data, direction="noise")
    denoise = run.result(step, data=data, direction="denoise")
    clean, corrupt = noise.baselines["clean"], noise.baselines["corrupt"]
    return noise, on_both_scales(clean, corrupt, noise.examples, denoise.examples)


def _total(run: mc.Run, data: str) -> dict[str, Any]:
    """Return the total effect on both scales, and in how many pairs it is as expected."""
    measured = run.result("total", data=data)
    sides = dict(zip(measured.frame["side"], measured.examples, strict=True))
    effects = on_both_scales(sides["clean"], sides["corrupt"])
    intervals = {name: _interval(values, measured.clusters) for name, values in effects.items()}
    return intervals | {"pairs": len(effects["te"]), "as expected": float((effects["te"] > 0).mean())}


def _of(run: mc.Run, data: str) -> dict[str, Any]:
    noise, heads = _sides(run, "heads", data)
    layers, by_layer = _sides(run, "layers", data)
    clusters, frame = noise.clusters, noise.frame
    indirect = heads["nie"].mean(1)
    order = np.argsort(-np.abs(indirect), kind="stable")
    total = float(heads["te"].mean())
    results: dict[str, Any] = {
        "pairs": heads["te"].size, "te": _interval(heads["te"], clusters), "te_odds": _interval(heads["te_odds"], clusters),
        "in the expected direction": float((heads["te"] > 0).mean()),
        "heads": [
            {
                "site": str(frame["site"].iloc[number]), "nie": _interval(heads["nie"][number], clusters),
                "nde": _interval(heads["nde"][number], clusters), "nie_odds": float(heads["nie_odds"][number].mean()),
                "p_max": float(frame["p_max"].iloc[number]),
            }
            for number in order[:8]
        ],
        "heads with an effect": int((frame["p_max"] < 0.05).sum()), "of heads": len(frame),
        "heads for half of what all heads have": _fewest(indirect),
        "layers": [
            {
                "site": str(row["site"]), "layer": int(row["layer"]), "component": str(row["component"]),
                "nie": _interval(by_layer["nie"][number], clusters), "nde": _interval(by_layer["nde"][number], clusters),
                "share": float(by_layer["nie"][number].mean()) / total,
            }
            for number, (_, row) in enumerate(layers.frame.iterrows())
        ],
    }  # fmt: skip
    if data != "occupations":  # there the prompts do not look the same to attention: only a word differs
        _, attention = _sides(run, "attention", data)
        results["through attention alone"] = {
            name: _interval(attention[name][0], clusters) for name in ("nie", "nde", "nie_odds", "nde_odds")
        }
    return results


def _fewest(indirect: np.ndarray) -> int:
    """Return how many heads make up half of the sum of all absolute indirect effects."""
    sizes = np.sort(np.abs(indirect))[::-1]
    return int(np.searchsorted(np.cumsum(sizes), sizes.sum() / 2) + 1)


def _interval(values: np.ndarray, clusters: tuple[str, ...]) -> tuple[float, float, float]:
    interval = mean_interval(values, clusters)
    return interval.estimate, interval.low, interval.high


def _checked(run: mc.Run) -> float:
    """Return the largest difference between these effects and those that the method for mediation gives."""
    mediated = run.result("checked")
    layers, effects = _sides(run, "layers", "occupations")
    rows = {site: number for number, site in enumerate(layers.frame["site"])}
    gaps = []
    for number, site in enumerate(mediated.frame["site"]):
        gaps.append(np.abs(mediated.parts["nie_total"][number] - effects["nie"][rows[site]]).max())
        through = mediated.parts["tde"][number]  # Y(high) - Y(low, M(high))
        gaps.append(np.abs(through - effects["nde"][rows[site]]).max())
    return float(max(gaps))


def published(folder: Path | None = None) -> list[dict[str, Any]]:
    """Recompute the published effects of GPT-2 by the functions of this file.

    Args:
        folder: The folder `results` of Vig et al.; what ships of it unless said.
    """
    if folder is None:
        kept = json.loads((SHIPPED / "vig2020.json").read_text(encoding="utf-8"))
        chosen, everyone = np.array(kept["filtered"]), np.array(kept["unfiltered"])
        stored = {"nie": np.array(kept["filtered_nie"]), "nde": np.array(kept["filtered_nde"])}
        heads = stored_heads().heads()
    else:
        parts = {}
        for name in ("filtered", "unfiltered"):
            content = json.loads((folder / f"winobias_gpt2_{name}_dev.json").read_text(encoding="utf-8"))
            parts[name] = np.array(
                [
                    [row[f"candidate{number}_{when}_prob"] for when in ("base", "alt") for number in (1, 2)]
                    for row in content["results"]
                ]
            )
        chosen, everyone = parts["filtered"], parts["unfiltered"]
        effects = audit.stored_effects(folder / "winobias_gpt2_filtered_dev.json")
        stored, heads = {"nie": effects.nie, "nde": effects.nde}, None
        heads = audit.stored_effects(folder / "winobias_gpt2_unfiltered_dev.json").heads()
    totals = [
        on_both_scales(np.log(part[:, 0] / part[:, 1]), np.log(part[:, 2] / part[:, 3]))["te_odds"].mean()
        for part in (chosen, everyone)
    ]
    rows = {"te": totals[0], "te of all examples": totals[1]} | {name: values.mean() for name, values in stored.items()}
    table = [{"what": name, "published": PUBLISHED[name], "here": float(rows[name])} for name in PUBLISHED]
    top = heads.iloc[0]
    table.append(
        {"what": "head with the largest effect", "published": "5.8", "here": f"{top['layer']:.0f}.{top['head']:.0f}"}
    )
    table.append({"what": "heads with an effect, of 144", "published": 14, "here": int((heads["p_max"] < 0.05).sum())})
    return table


def text(results: dict[str, Any]) -> str:
    """Say the answer."""
    lines = ["published for GPT-2 small on WinoBias, and recomputed here:"]
    for row in results["published"]:
        here = row["here"] if isinstance(row["here"], (int, str)) else f"{row['here']:.6f}"
        lines.append(f"  {row['what']}: {row['published']}, {here}")
    lines.append("")
    for name, total in results["totals"].items():
        lines.append(
            f"total effect, {name}, {total['pairs']} pairs: {_says(total['te'])} log-odds ({_says(total['te_odds'])} on the "
            f"scale of odds), {total['as expected']:.0%} of the pairs as expected"
        )
    for name, effects in results["effects"].items():
        lines.append("")
        lines.append(
            f"{name}, {effects['pairs']} pairs: total effect {_says(effects['te'])} log-odds "
            f"({_says(effects['te_odds'])} on the scale of odds), {effects['in the expected direction']:.0%} of the pairs as expected"
        )
        lines.append(
            f"  {effects['heads with an effect']} of {effects['of heads']} heads have an effect (max-T); "
            f"{effects['heads for half of what all heads have']} heads make up half of it"
        )
        for row in effects["heads"][:5]:
            lines.append(
                f"  {row['site']}: indirect {_says(row['nie'])}, direct {_says(row['nde'])}"
                + (" *" if row["p_max"] < 0.05 else "")
            )
        for component in ("attn_out", "mlp_out"):
            most = sorted(
                (row for row in effects["layers"] if row["component"] == component), key=lambda row: -abs(row["share"])
            )[:3]
            lines.append("  " + "; ".join(f"{row['site']} carries {row['share']:+.0%}" for row in most))
        if "through attention alone" in effects:
            through = effects["through attention alone"]
            lines.append(
                f"  where all heads look: indirect {_says(through['nie'])}, direct {_says(through['nde'])} log-odds; "
                f"on the scale of odds {_says(through['nie_odds'])} and {_says(through['nde_odds'])}"
            )
    lines.append("")
    lines.append(f"largest difference from mc.causal.mediate: {results['checked']:.1e} log-odds")
    return "\n".join(lines)


def _says(interval: tuple[float, float, float]) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval)


def figure(results: dict[str, Any]) -> str:
    """Draw the share of the total effect that passes through each layer's attention and MLP, of occupations.

    The other data have an effect too small, on too few pairs, for a share of it to be seen.
    """
    effects, series = results["effects"]["occupations"], []
    for component, word in (("attn_out", "attention"), ("mlp_out", "MLP")):
        points = tuple(
            (float(row["layer"]), *(value / effects["te"][0] for value in row["nie"]))
            for row in effects["layers"] if row["component"] == component
        )  # fmt: skip
        series.append(Line(word, points))
    title = "Indirect effect of gender by layer: occupations"
    return still(Lines(tuple(series), title, "layer", "share of the total effect"))


def main() -> None:
    """Read the command line, print the answer, and write the figure into the run folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder that mechcausal run wrote")
    parser.add_argument("--stored", type=Path, help="the results of Vig et al. (2020); by default what ships of them")
    given = parser.parse_args()
    stored = given.stored
    if stored is None and "MECHCAUSAL_DATA" in os.environ:
        stored = Path(os.environ["MECHCAUSAL_DATA"]) / "vig2020" / "results"
    run = mc.Run(given.run)
    results = answer(run, stored)
    print(text(results))
    path = Path(given.run) / "layers.svg"
    path.write_text(figure(results), encoding="utf-8")
    print(f"figure  {path}")


if __name__ == "__main__":
    main()
