"""Say which features are used for gender and for number, and what removing those of gender costs. See README.md."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mechcausal as mc
from mechcausal.links.figure import still
from mechcausal.results.intervals import mean_interval, ratio_interval

CONCEPTS = ("gender", "number")
READABLE = 0.8  # an AUC above which a feature is said to tell a concept


def answer(run: mc.Run) -> dict[str, Any]:
    """Return the verdicts for each concept, the correlates that were unmasked, and the mitigation with its cost."""
    concepts = {name: _concept(run, name) for name in CONCEPTS if _ran(run, f"{name}_links")}
    both = set.intersection(*(set(part["causal"]) for part in concepts.values())) if len(concepts) > 1 else set()
    return {
        "concepts": concepts, "used for both": sorted(both),
        "mitigations": {name: _mitigation(run, name) for name in ("mitigated", "control") if _ran(run, name)},
    }  # fmt: skip


def _ran(run: mc.Run, step: str) -> bool:
    return any(part.step == step and part.done for part in run.status())


def _concept(run: mc.Run, concept: str) -> dict[str, Any]:
    links = run.result(f"{concept}_links")
    rows = links.of(concept)
    auc = 0.5 + np.maximum((rows["auc"] - 0.5).abs(), (rows["auc_pooled"] - 0.5).abs())
    rows = rows.assign(tells=auc)
    causal = rows[rows["verdict"] == "causal"].sort_values("share", key=abs, ascending=False)
    unused = rows[(rows["verdict"] == "correlate-only") & (auc > READABLE)].sort_values("tells", ascending=False)
    total = links.tables["total"]
    return {
        "total": (total["effect"], total["low"], total["high"]), "sentence": total["sentence"],
        "judged": len(rows), "verdicts": rows["verdict"].value_counts().to_dict(),
        "by dictionary": pd.crosstab(rows["dictionary"], rows["verdict"]).to_dict("index"),
        "error": {part["name"]: part["error"] for part in links.tables["complete"]},
        "causal": {
            row["candidate"]: (row["share"], row["share_low"], row["share_high"], row["tells"])
            for _, row in causal.iterrows()
        },
        "unmasked": {
            row["candidate"]: (row["tells"], row["share"], row["share_low"], row["share_high"])
            for _, row in unused.iterrows()
        },
    }  # fmt: skip


def _mitigation(run: mc.Run, step: str) -> dict[str, Any]:
    """Return the gap of each concept before and after, and the cost on other text."""
    results: dict[str, Any] = {}
    for concept in ("occupations", *CONCEPTS):
        sides = [run.result(step, data=name) for name in (concept, f"{concept}_swapped")]
        before, after = (
            sum(values[name] for values in map(_values, sides)) for name in ("before", "after")
        )  # the swapped answer is the other one, so that the sum is the gap
        clusters = sides[0].clusters
        share = ratio_interval(after, before, clusters)
        results[concept] = {
            "before": float(before.mean()), "after": float(after.mean()),
            "left": (share.estimate, share.low, share.high),
            "right before": float(np.mean([(_values(side)["before"] > 0).mean() for side in sides])),
            "right after": float(np.mean([(_values(side)["after"] > 0).mean() for side in sides])),
        }  # fmt: skip
        results["features"] = str(sides[0].frame["site"].iloc[0]).split(" + ")
    text = run.result(f"{step}_text")
    lost = mean_interval(text.examples[0] - text.baselines["base"])
    results["loss"] = (lost.estimate, lost.low, lost.high)
    return results


def _values(result: mc.Result) -> dict[str, np.ndarray]:
    return {"before": result.baselines["base"], "after": result.examples[0]}


def text(results: dict[str, Any]) -> str:
    """Say the answer."""
    lines = []
    for concept, part in results["concepts"].items():
        counts = ", ".join(f"{count} {verdict}" for verdict, count in part["verdicts"].items())
        lines.append(
            f"{concept}: total effect {part['total'][0]:+.2f} log-odds; {part['judged']} features judged: {counts}"
        )
        errors = ", ".join(f"{name} {share:.0%}" for name, share in part["error"].items())
        lines.append(f"  what the dictionaries leave out carries {errors} of the effect at their places")
        for name, (share, low, high, auc) in list(part["causal"].items())[:6]:
            lines.append(f"  used: {name} {share:+.1%} [{low:+.1%}, {high:+.1%}], AUC {auc:.2f}")
        lines.append(f"  {len(part['unmasked'])} features tell {concept} with an AUC above {READABLE} and are not used")
        for name, (auc, share, low, high) in list(part["unmasked"].items())[:4]:
            lines.append(f"  not used: {name} AUC {auc:.2f}, share {share:+.1%} [{low:+.1%}, {high:+.1%}]")
    lines.append(f"used for both: {', '.join(results['used for both']) or 'none'}")
    for name, part in results["mitigations"].items():
        lines.append(
            f"{name} ({len(part['features'])} features at their mean); text about other things is predicted worse by "
            "{:.3f} [{:.3f}, {:.3f}] nats a token".format(*part["loss"])
        )
        for concept in ("occupations", *CONCEPTS):
            gap = part[concept]
            lines.append(
                f"  {concept}: the gap goes from {gap['before']:.2f} to {gap['after']:.2f} ("
                + "{:.0%} [{:.0%}, {:.0%}] is left)".format(*gap["left"])
                + f", expected answers from {gap['right before']:.0%} to {gap['right after']:.0%}"
            )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, print the answer, and write the figures into the run folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder that mechcausal run wrote")
    run = mc.Run(parser.parse_args().run)
    print(text(answer(run)))
    for concept in CONCEPTS:
        path = Path(run.folder) / f"{concept}.svg"
        path.write_text(still(run.result(f"{concept}_links")), encoding="utf-8")
        print(f"figure  {path}")


if __name__ == "__main__":
    main()
