"""Indirect objects: the heads that carry who receives, where they look, and what is left without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mechcausal.address import Site
from mechcausal.arguments import Model
from mechcausal.data import Contrast, contrast
from mechcausal.generation import generate
from mechcausal.inspection import attention, lens
from mechcausal.interventions.specs import Edit
from mechcausal.models.abilities import abilities
from mechcausal.patching import ablate, measure, patch
from mechcausal.results.intervals import mean_interval
from mechcausal.results.result import Result

CARRIES, AGAINST = 0.1, -0.05  # shares of the effect that count, by the whole interval
_MOST, _CONTROLS = 6, 3


def indirect_objects(model: Model, *, n: int, seed: int) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return what was found, as JSON data, and the sweeps behind it."""
    pairs = contrast("ioi", model, n=3 * n, seed=seed)
    found_on, checked_on = pairs.take(slice(0, n)), pairs.take(slice(n, 3 * n))
    behavior = measure(model, checked_on, ["accuracy", "logit_diff"])
    heads = patch(model, found_on, sites="z", at="@end")
    carriers, against = chosen(heads)
    earlier = _earlier(model, found_on, carriers)
    sweeps = {"heads": heads, **({} if earlier is None else {"earlier heads": earlier})}
    stream = lens(model, found_on, at=["@subject", "@end"])
    looks = attention(model, found_on, heads=[*carriers[:3], *against[:1]]) if carriers else None
    sweeps |= {"stream": stream, **({} if looks is None else {"attention": looks})}
    silenced = _silenced(model, checked_on, carriers, seed)
    numbers = {
        "pairs_found_on": len(found_on), "pairs_checked_on": len(checked_on),
        "accuracy": _interval(behavior.frame, "accuracy"), "logit_diff": _interval(behavior.frame, "logit_diff"),
        "carriers": _rows(heads, carriers), "against": _rows(heads, against),
        "earlier": [] if earlier is None else _rows(earlier, chosen(earlier)[0]),
        "leaves_subject_by": _last_above(stream, "@subject"), "arrives_at_end_by": _first_above(stream, "@end"),
        "silenced": silenced, "texts": _texts(model, checked_on, carriers),
    }  # fmt: skip
    return numbers, sweeps


def chosen(sweep: Result) -> tuple[list[str], list[str]]:
    """Return the heads whose interval lies above `CARRIES`, largest first, and those that lie below `AGAINST`."""
    frame = sweep.frame.sort_values("effect", ascending=False, kind="stable")
    above, below = frame[frame["effect_low"] > CARRIES], frame[frame["effect_high"] < AGAINST]
    return [str(site) for site in above["site"][:_MOST]], [str(site) for site in below["site"][::-1][:_MOST]]


def _earlier(model: Model, pairs: Contrast, carriers: Sequence[str]) -> Result | None:
    """Return the heads at the second mention of the subject, in layers before the carriers."""
    layers = [Site.parse(site).layer or 0 for site in carriers]
    if not layers or max(layers) == 0:
        return None
    below = [f"L{layer}.z" for layer in range(max(0, max(layers) - 12), max(layers))]
    n_heads = abilities(model).shape.n_heads
    sites = [f"{site}.H{head}" for site in below for head in range(n_heads)]
    return patch(model, pairs, sites=sites, at="@subject")


def _silenced(model: Model, pairs: Contrast, carriers: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Return what is left of the log-odds with heads at their mean, and with as many other heads of the same layers."""
    if not carriers:
        return []
    draw, n_heads = np.random.default_rng(seed), abilities(model).shape.n_heads
    layers = [Site.parse(site).layer for site in carriers]
    cells = [tuple(carriers)]
    for _ in range(_CONTROLS):
        others = [
            str(
                draw.choice([f"L{layer}.z.H{head}" for head in range(n_heads) if f"L{layer}.z.H{head}" not in carriers])
            )
            for layer in layers
        ]
        cells.append(tuple(dict.fromkeys(others)))
    result = ablate(model, pairs, sites=cells, at="@end", do="mean")
    odds = {"log-odds": (result.baselines["base"], result.examples)}
    odds["answer before foil"] = tuple((values > 0).astype(float) for values in odds["log-odds"])
    rows = []
    for name, (before, after) in odds.items():
        change = mean_interval(after[0] - before, pairs.clean.clusters)
        rows.append(
            {
                "metric": name, "heads": list(carriers), "before": float(before.mean()), "after": float(after[0].mean()),
                "change": change.estimate, "change_low": change.low, "change_high": change.high,
                "controls": [float(values.mean() - before.mean()) for values in after[1:]],
            }
        )  # fmt: skip
    return rows


def _texts(model: Model, pairs: Contrast, carriers: Sequence[str]) -> list[dict[str, str]]:
    """Return what the model writes, as it is and with the heads at their mean."""
    some = pairs.clean.take(slice(0, 2))
    edits = [Edit.of(site, "mean") for site in carriers]
    options: dict[str, Any] = {"tokens": 8, "stop": ["."]}
    plain = generate(model, some, **options)
    without = generate(model, some, edits=edits, reference=pairs, **options)
    return [
        {"prompt": before, "text": text, "silenced": other}
        for before, text, other in zip(plain.frame["before"], plain.texts, without.texts, strict=True)
    ]


def _rows(sweep: Result, sites: Sequence[str]) -> list[dict[str, Any]]:
    frame = sweep.frame.set_index("site")
    names = {"effect": "effect", "low": "effect_low", "high": "effect_high"}
    return [{"site": site} | {name: float(frame.loc[site, key]) for name, key in names.items()} for site in sites]


def _interval(frame: Any, metric: str) -> list[float]:  # noqa: ANN401 - a data frame
    row = frame[(frame["metric"] == metric) & (frame["side"] == "clean")].iloc[0]
    return [float(row[name]) for name in ("value", "value_low", "value_high")]


def _last_above(stream: Result, at: str) -> str | None:
    rows = stream.frame[(stream.frame["at"] == at) & (stream.frame["used"] > 0.5)]
    return str(rows["site"].iloc[-1]) if len(rows) else None


def _first_above(stream: Result, at: str) -> str | None:
    rows = stream.frame[(stream.frame["at"] == at) & (stream.frame["used"] > 0.5)]
    return str(rows["site"].iloc[0]) if len(rows) else None
