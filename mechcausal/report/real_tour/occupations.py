"""Gender: where it enters an occupation, how it reaches the pronoun, and whether what a lens reads is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechcausal.arguments import Model
from mechcausal.data import Contrast, contrast
from mechcausal.inspection import lens
from mechcausal.models.abilities import abilities
from mechcausal.patching import patch
from mechcausal.results.intervals import mean_interval
from mechcausal.results.result import Result

_TOP, _DEEP = 5, 10
AT = ["@who", "@end"]


def gender(model: Model, *, n: int, seed: int) -> tuple[dict[str, Any], dict[str, Result]]:
    """Return what was found, as JSON data, and the sweeps behind it."""
    pairs = contrast("professions/gender", model, n=3 * n, seed=seed)
    stream = lens(model, pairs, at=AT)
    sublayers = patch(model, pairs, sites=["attn_out", "mlp_out"], at="@end")
    deep = abilities(model).shape.n_layers
    layers = range(max(0, deep - _DEEP), deep)
    heads = patch(model, pairs, sites=[f"L{layer}.z.H*" for layer in layers], at="@end")
    total = _total(stream, pairs)
    tuned = _tuned(model, pairs, deep, seed)
    numbers = {
        "pairs": len(pairs), "total_effect": total,
        "stream": _stream(stream), "passes_over": _passes_over(stream),
        "sublayers": _largest(sublayers), "heads": _largest(heads), "tuned": tuned,
        "readable_not_used": [
            {"site": str(row["site"]), "at": str(row["at"]), "readable": float(row["readable"]), "used": float(row["used"])}
            for _, row in stream.unused.iterrows()
        ],
    }  # fmt: skip
    return numbers, {"gender stream": stream, "gender sublayers": sublayers, "gender heads": heads}


def _total(stream: Result, pairs: Contrast) -> list[float]:
    total = mean_interval(stream.baselines["clean"] - stream.baselines["corrupt"], pairs.clean.clusters)
    return [total.estimate, total.low, total.high]


def _stream(stream: Result) -> list[dict[str, Any]]:
    """Return what is readable and used at each layer, at the occupation and at the end."""
    names = ("readable", "readable_low", "readable_high", "used", "used_low", "used_high")
    return [
        {"site": str(row["site"]), "at": str(row["at"])} | {name: float(row[name]) for name in names}
        for _, row in stream.frame.iterrows()
    ]


def _passes_over(stream: Result) -> str | None:
    """Return the first layer after which the end carries more of the effect than the occupation."""
    wide = stream.frame.pivot(index="layer", columns="at", values="used")
    later = wide[wide["@end"] > wide["@who"]]
    return f"L{int(later.index[0])}.resid_post" if len(later) else None


def _largest(sweep: Result) -> list[dict[str, Any]]:
    rows = sweep.frame.loc[sweep.frame["effect"].abs().sort_values(ascending=False).index[:_TOP]]
    return [
        {"site": str(row["site"]), "effect": row["effect"], "low": row["effect_low"], "high": row["effect_high"]}
        for _, row in rows.iterrows()
    ]


def _tuned(model: Model, pairs: Contrast, deep: int, seed: int) -> list[dict[str, Any]]:
    """Return how near both lenses come to the output on held-out occupations, at some layers."""
    layers = np.unique(np.linspace(0, deep - 1, 6).astype(int))
    sites = [f"L{layer}.resid_post" for layer in layers]
    read = lens(model, pairs.clean, kind="tuned", sites=sites, at="@end", seed=seed)
    names = ["site", "logit_lens", "tuned_lens", "low", "high"]
    return [dict(zip(names, row, strict=True)) for row in read.tuning[names].values.tolist()]
