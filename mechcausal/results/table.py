"""The table of a result: where each cell is, its numbers with intervals, and its tests, corrected for all cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mechcausal.results.intervals import FEW, around_and_bias, mean_intervals, ratio_intervals
from mechcausal.results.multiplicity import benjamini_hochberg, max_t, smallest_p, t_test

if TYPE_CHECKING:
    from mechcausal.results.result import Result

COLUMNS = {
    "site": "The site, such as `L1.z.H2`.",
    "component": "The component of the site: `z`, `resid_post`, `mlp_out`, ...",
    "layer": "Its layer.",
    "head": "Its attention head, where it is one.",
    "neuron": "Its neuron or coordinate, where it is one.",
    "at": "The positions at which the site is edited or read, such as `@-1` or `@all`.",
    "position": "The same as a number, where it is one position.",
    "label": "The same as the figure writes it: with the name that the prompts give the position.",
    "value": "Mean of the metric over examples, under the intervention.",
    "change": "`value` minus the mean of the metric in the unedited base run.",
    "change_low": "Lower end of the 95 % interval of `change`.",
    "change_high": "Upper end of the 95 % interval of `change`.",
    "effect": "`value` on the scale of the contrast: 0 is the corrupt run, 1 the clean run.",
    "effect_low": "Lower end of the 95 % interval of `effect`.",
    "effect_high": "Upper end of the 95 % interval of `effect`.",
    "n": "Number of examples that have this cell.",
    "n_clusters": "Number of clusters of these examples.",
    "effective_clusters": "Number of clusters of equal size that would tell as much about the spread.",
    "p": 'p-value of "no change" in this cell alone.',
    "q": "The same, corrected for all cells of the table by Benjamini and Hochberg: bounds the share of false findings.",
    "p_max": "The same, corrected for all cells by max-T with sign flips of clusters: bounds the chance of one false finding.",
    "dictionary": "The dictionary of the feature, where the site is one.",
    "feature": "The number of the feature.",
}
"""The columns that all sweeps share, and what they say; the last two only where there are features."""

_ALWAYS = tuple(COLUMNS)[:-2]
_FLIPS = 999
_ROUNDING = 8 * float(np.finfo(np.float32).eps)


def tabulate(
    where: Sequence[Mapping[str, Any]],
    examples: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    clusters: tuple[str, ...] = (),
    *,
    influence: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the frame of a result: where each cell is, its value, change and effect with intervals, and its tests.

    What else a method says of its cells follows in columns of its own. Of `p`, `q` and `p_max` those are computed that
    the method does not give. All rows are one family: call this once for a whole sweep.

    Args:
        where: The columns that a method gives, for each cell.
        examples: The metric of every example in every cell, [cell example].
        baselines: The metric of every example in the unedited runs, [example] or [cell example].
        clusters: The cluster of every example.
        influence: What each example adds through a quantity estimated on the same examples; see `mean_intervals`.
    """
    clean, corrupt = baselines.get("clean"), baselines.get("corrupt")
    finite = np.isfinite(examples)
    moved = examples - baselines["base"]
    around, bias = (np.zeros(1), 0.0) if influence is None else around_and_bias(influence)
    change = mean_intervals(moved, clusters, influence=influence)
    with np.errstate(invalid="ignore"):  # cells without a value: NaN
        value = np.where(finite, examples, 0.0).sum(1) / finite.sum(1)
    computed = {"value": value} | {name: change[name] for name in ("n", "n_clusters", "effective_clusters")}
    computed |= _named("change", change) | dict.fromkeys(
        ("effect", "effect_low", "effect_high"), np.full(len(examples), np.nan)
    )
    if clean is not None and corrupt is not None:
        computed |= _named(
            "effect", ratio_intervals(examples - corrupt + around, _between(clean, corrupt), clusters, bias=bias)
        )
    names = dict.fromkeys(name for place in where for name in place)
    given = {name: [place.get(name, np.nan) for place in where] for name in names}
    computed |= _tests(moved + around, examples, baselines["base"], clusters, given)
    frame = pd.DataFrame(given | computed, columns=[*_ALWAYS, *(name for name in names if name not in _ALWAYS)])
    counted = ("layer", "head", "neuron", "position", *(("feature",) if "feature" in frame else ()))
    return frame.astype(dict.fromkeys(counted, "Int64"))


def _between(clean: np.ndarray, corrupt: np.ndarray) -> np.ndarray:
    """Return what the sides of a contrast differ by; nothing at all where that is rounding in every example."""
    total = np.asarray(clean - corrupt, dtype=float)
    size = np.maximum(np.abs(clean), np.abs(corrupt)).max(initial=0.0, where=np.isfinite(total))
    rounding = ~np.isfinite(total) | (np.abs(total) <= _ROUNDING * size)
    return np.where(rounding.all(-1, keepdims=True), 0.0 * total, total)


def _tests(
    moved: np.ndarray, examples: np.ndarray, base: np.ndarray, clusters: tuple[str, ...], given: Mapping[str, list[Any]]
) -> dict[str, np.ndarray]:
    """Return those of `p`, `q` and `p_max` that the method does not give."""
    missing = [name for name in ("p", "q", "p_max") if name not in given]
    if not missing or not len(moved):
        return dict.fromkeys(missing, np.full(len(moved), np.nan))
    p = np.asarray(given["p"], dtype=float) if "p" in given else None
    columns = p_values(moved, (examples, base), clusters, p=p, flips="p_max" in missing)
    return {name: columns[name] for name in missing}


def p_values(
    moved: np.ndarray,
    measured: Sequence[np.ndarray],
    clusters: Sequence[str] = (),
    *,
    p: np.ndarray | None = None,
    flips: bool = True,
) -> dict[str, np.ndarray]:
    """Return `p`, `q` and `p_max` of "the mean is zero" for every cell; the cells are one family.

    Args:
        moved: The difference that is tested, [cell example]; NaN where a cell lacks the example.
        measured: What it is a difference of; its size says what is rounding.
        clusters: The cluster of each example.
        p: The p-values, where another test gives them.
        flips: Whether to compute `p_max`.
    """
    # A difference in the last digits repeats from example to example, and would pass for a finding.
    size = max((float(np.abs(part[np.isfinite(part)]).max(initial=0.0)) for part in measured), default=0.0)
    tested = np.where(np.abs(moved) <= _ROUNDING * size, 0.0, moved)
    p = t_test(tested, clusters)[1] if p is None else p
    columns = {"p": p, "q": benjamini_hochberg(p)}
    return columns | ({"p_max": max_t(tested, clusters, draws=_FLIPS)} if flips else {})


def notes_of(result: Result) -> list[str]:
    """Return what a reader must know before believing the intervals and p-values of a result."""
    frame, notes = result.frame, []
    templates = result.provenance.prompts.get("undeclared_templates")
    if templates:
        stated = result.provenance.prompts
        n = stated.get("n_with_templates", stated.get("n", "the"))
        notes.append(
            f"no clusters are declared, but the {n} texts look like {templates} "
            f"{'template' if templates == 1 else 'templates'}: intervals count every text as independent; declare "
            "clusters=[...], one template (or person) each"
        )
    if rough := result.provenance.arguments.get("mean_note"):
        notes.append(str(rough))
    if not len(frame) or "n_clusters" not in frame:
        return notes
    clusters = int(frame["n_clusters"].max())
    if clusters < 2:
        notes.append(
            "there are no intervals and no tests, because there is one cluster: nothing says how clusters differ"
        )
        return notes
    if "effective_clusters" in frame and frame["effective_clusters"].min() < FEW:
        notes.append(
            f"the intervals rest on {frame['effective_clusters'].min():.1f} effective clusters "
            f"(declared: {clusters}), fewer than {FEW:.0f}: read them as rough, or bring more clusters"
        )
    if result.family and smallest_p(clusters, _FLIPS) > 0.05:
        notes.append(
            f"with {clusters} clusters p_max cannot be below {smallest_p(clusters, _FLIPS):.2f}: no cell can survive the correction"
        )
    return notes


def _named(what: str, interval: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {what: interval["estimate"], f"{what}_low": interval["low"], f"{what}_high": interval["high"]}
