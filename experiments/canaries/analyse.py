"""Say how often a secret must be shown until it is given away, where it is kept, and what removes it. See README.md."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

import mechcausal as mc
from mechcausal.results.charts import Bar, bar_chart, line_chart, still
from mechcausal.results.page import Page

UNSEEN = 1.443
"""The mean exposure, in bits, of a secret that was never shown, whatever the model."""
COUNTED = {"counted": "organism", "planted": "SmolLM2 with an adapter"}
LOCATED = {"located": "organism", "removed": "SmolLM2 with an adapter"}


def answer(run: mc.Run) -> dict[str, Any]:
    """Return what was found by the steps that were run, beside what is true."""
    results: dict[str, Any] = {}
    for step in COUNTED:
        if step in run.plan.steps:
            results[step] = counted(_finding(run, step))
    for step in LOCATED:
        if step in run.plan.steps:
            results[step] = located(_finding(run, step))
    if "planted" in results:
        results["planted"]["stated"] = {
            int(count): value
            for count, value in mc.truth("smollm2_canaries")["measured"]["adapted"]["mean_exposure"].items()
        }
    if "located" in results:
        results["located"]["true"] = mc.truth("hiring")["variables"]["secret"]["site"]
    if "removed" in results:
        results["removed"]["changed_layers"] = mc.truth("smollm2_canaries")["adapter"]["layers"]
    return results


def counted(finding: Any) -> dict[str, Any]:  # noqa: ANN401 - a `Finding`
    """Return the mean exposure of the secrets that were shown so often, and that of other readings."""
    table = finding.answer.table
    means = table[table["measure"].str.startswith("mean exposure")]
    rise = table.loc[table["measure"].str.startswith("Spearman"), "value"]
    return {
        "by_count": {int(row["count"]): (row["value"], row["low"], row["high"]) for _, row in means.iterrows()},
        "rise": float(rise.iloc[0]),
        "controls": {control.kind: control.says for control in finding.answer.controls},
        "control_means": {c.kind: c.estimate.value for c in finding.answer.controls if c.estimate is not None},
    }


def located(finding: Any) -> dict[str, Any]:  # noqa: ANN401 - a `Finding`
    """Return which units hold the secrets, and what is lost without them and without others."""
    table = finding.answer.table.set_index("measure")
    without = {}
    for name in ("found by ablation", "found by attribution", "most active", "random 0"):
        row = table.loc[name]
        without["random units" if name == "random 0" else name] = {
            column: float(row[column])
            for column in ("logprob_fall", "loss_rise", "exposure", "exposure_before")
            if column in row and not math.isnan(row[column])
        }
    units = str(table.loc["found by ablation", "units"]).split(", ")
    return {
        "units": units,
        "layers": sorted({int(match[1]) for unit in units if (match := re.match(r"L(\d+)\.", unit))}),
        "without": without,
        "says": finding.answer.says,
    }


def say(results: dict[str, Any]) -> str:
    """Say it in words."""
    lines = []
    for step, name in COUNTED.items():
        if step in results:
            lines.append(f"{name}: mean exposure in bits, of at most 13.29, by how often a secret was shown")
            for count, (mean, low, high) in results[step]["by_count"].items():
                stated = results[step].get("stated", {}).get(count)
                remark = "" if stated is None else f", stated {stated:.2f}"
                lines.append(f"  {count:>3} times {mean:6.2f} [{max(0, low):.2f}, {min(13.29, high):.2f}]{remark}")
            lines.append(f"  rank correlation with the count {results[step]['rise']:.2f}")
            lines += [f"  {text}" for text in results[step]["controls"].values()]
    for step, name in LOCATED.items():
        if step in results:
            part = results[step]
            lines.append(f"{name}: {part['says']}")
            if "true" in part:
                lines.append(f"  the organism keeps them at {part['true']}")
            if "changed_layers" in part:
                outside = [layer for layer in part["layers"] if layer not in part["changed_layers"]]
                lines.append(
                    f"  units are in layers {part['layers']}; outside of the adapter's layers: {outside or 'none'}"
                )
            for what, numbers in part["without"].items():
                remark = f", exposure {numbers['exposure']:.2f}" if "exposure" in numbers else ""
                lines.append(
                    f"  without {what}: the secrets lose {numbers['logprob_fall']:.2f} nats{remark}, "
                    f"other texts {numbers['loss_rise']:.4f} nats a token"
                )
    return "\n".join(lines)


def page(run: mc.Run, results: dict[str, Any]) -> str:
    """Return the figures as one page."""
    out = Page(
        "What does a model give away of what it was shown?", "Exposure, where secrets are kept, and their removal."
    )
    curves = {name: results[step]["by_count"] for step, name in COUNTED.items() if step in results}
    if curves:
        series = [
            (
                name,
                [(math.log2(1 + n), mean, max(0.0, low), min(13.29, high)) for n, (mean, low, high) in means.items()],
            )
            for name, means in curves.items()
        ]
        ticks = [(math.log2(1 + n), str(n)) for n in (0, 1, 2, 4, 8, 16, 32, 64)]
        chart = line_chart(
            series, "Exposure by how often a secret was shown", "times shown", "mean exposure (bits)",
            marks=[("never shown", UNSEEN), ("first of 10,000", math.log2(10_000))], ticks=ticks,
        )  # fmt: skip
        out.figure(still(chart), "The organism drew each text about 19 times from its pool; SmolLM2 read each once.")
    for step, name in LOCATED.items():
        if step in results:
            bars = [
                bar
                for what, numbers in results[step]["without"].items()
                for bar in (
                    Bar(what, numbers["logprob_fall"], math.nan, math.nan, "a secret loses"),
                    Bar(what, numbers["loss_rise"], math.nan, math.nan, "a token of other texts loses"),
                )
            ]
            out.figure(
                still(bar_chart(bars, f"Ablated together, {name}", "nats")),
                "Units are found on half of the secrets; the other half is shown.",
            )
    out.heading("In words")
    out.code(say(results))
    return out.render()


def _finding(run: mc.Run, step: str) -> Any:  # noqa: ANN401 - a `Finding`
    return next(iter(run.result(step)))


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
