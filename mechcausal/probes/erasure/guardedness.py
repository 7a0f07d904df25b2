"""How well a concept is guarded after its erasure: what fresh probes, linear and not, read on prompts held out from it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mechcausal.address import Place, expand
from mechcausal.data.places import SiteSpec, plain
from mechcausal.data.splits import units
from mechcausal.errors import DataError
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.probes.erasure.erasing import Erasure
from mechcausal.probes.held_out import HeldOut
from mechcausal.probes.kinds import Settings
from mechcausal.probes.labels import Labels, labels_of
from mechcausal.probes.probing import Procedure, examples
from mechcausal.probes.readings import Pool, readings
from mechcausal.results.intervals import mean_interval
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result
from mechcausal.results.table import tabulate

ADVERSARIES = ("logistic", "quadratic", "mlp")


@dataclass(frozen=True, repr=False)
class Guardedness(Result):
    """One row for each place, concept and kind of probe.

    `value` is the held-out accuracy of a probe that was fitted after the erasure, `before` that of one fitted without it,
    `change` the difference. `excess` is by how much `value` exceeds the best constant guess (`guess`), and what is drawn;
    `information` is what the probe gains over that guess in bits, which is what linear erasure bounds (a line may
    still be right more often than a guess where the classes differ in spread). Both have intervals. `effect` is the
    share of what could be read that is still read: 0 is guarded, 1 as before.

    `verdict` is `leaks` where the interval of either begins above zero, else `guarded` where both end within the
    tolerance, else `open`; of what should stay readable it is `kept`, `lost` or `open`.
    """

    @property
    def shown(self) -> str:
        """The column that is drawn unless said otherwise."""
        return "excess"

    def summary(self, k: int = 5) -> str:
        """Say for each place and probe what is read before and after."""
        p = self.provenance
        lines = [
            f"{p.method}: {p.arguments['method']} of {p.arguments['concept']}, accuracy of fresh probes on "
            f"{self.examples.shape[1]} held-out prompts"
        ]
        for _, row in self.frame.iterrows():
            lines.append(
                f"  {row['variables']:<38} {row['kind']:<10} {row['before']:.3f} -> {row['value']:.3f}, guessing {row['guess']:.3f}, "
                f"excess {row['excess']:+.3f} [{row['excess_low']:+.3f}, {row['excess_high']:+.3f}], "
                f"{row['information']:+.3f} bits [{row['information_low']:+.3f}, {row['information_high']:+.3f}]  {row['verdict']}"
            )
        if p.arguments["warning"]:
            lines.append(f"beware: {p.arguments['warning']}")
        return "\n".join(lines)


def guardedness(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    erasure: Erasure,
    *,
    kinds: Sequence[str] = ADVERSARIES,
    sites: SiteSpec | None = None,
    others: Mapping[str, Any] | None = None,
    pool: Pool = "mean",
    tolerance: float = 0.05,
    folds: int = 5,
    settings: Settings | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> Guardedness:
    """Measure what probes still read after an erasure, on prompts that it was not fitted to.

    Estimand: the chance that a probe, fitted to edited activations of held-out prompts, reads the concept of another
    held-out prompt, by cross-validation within them. Probes are fitted anew because one that was fitted to the eraser's
    own prompts would have learned that there is nothing: there the erasure is exact.

    Args:
        model: The model.
        erasure: What `erase` returned.
        kinds: The probes: one that is linear, and adversaries that are not.
        sites: Where to read, at the positions of the first edit; where it was erased unless said otherwise. Later places
            may have the concept again, from positions that were not edited.
        others: What should still be readable, by name: labels of all prompts, as for `probe`.
        pool: What becomes of several positions.
        tolerance: How far above guessing a guarded concept may be read at most, in accuracy and in bits.
        folds: How many folds.
        settings: How probes are fitted.
        batch_size: How many prompts at a time.
        seed: The seed of folds and networks.
    """
    started = time.perf_counter()
    if not kinds:
        raise DataError("no probe is named", fix="name at least one, for example 'logistic'")
    part = erasure.prompts.take(erasure.held_out.tolist())
    where = erasure.places
    if sites is not None:
        at = where[0].at
        where = [Place(site, at) for site in expand(sites, abilities(model).shape)]
    asked = [erasure.labels, *(labels_of(erasure.prompts, values, name) for name, values in (others or {}).items())]
    asked = [replace(one, codes=one.codes[erasure.held_out]) for one in asked]
    settings = settings or Settings(seed=seed)
    before, after = (
        readings(model, part, where, pool=pool, edits=edits, batch_size=batch_size) for edits in ((), erasure.edits)
    )
    rows, hits, base, guesses = [], [], [], []
    for place, old, new in zip(where, before, after, strict=True):
        for labels in asked:
            for kind in kinds if labels is asked[0] else kinds[:1]:
                asked_of = Procedure(kind, settings, folds, seed)
                pair = [asked_of.held_out(examples(part, read, labels)) for read in (old, new)]
                kept = examples(part, new, labels).rows
                first, second = (_spread(one.hits, kept, len(part)) for one in pair)
                rows.append(_row(place, labels, kind, pair, tolerance, labels is asked[0]))
                hits.append(second)
                base.append(first)
                guesses.append(_spread(pair[1].guesses, kept, len(part)))
    provenance = Provenance(
        method="guardedness",
        arguments={
            "metric": "accuracy", "concept": erasure.concept, "method": erasure.method, "ranks": erasure.ranks,
            "warning": erasure.warning, "sites": plain(sites), "kinds": list(kinds), "tolerance": tolerance,
            "fitted_to": len(erasure.fit),
        },
        seed=seed,
        **facts(model, part, started=started, forwards=2 * -(-len(part) // batch_size), batch_size=batch_size),
    )  # fmt: skip
    clusters = tuple(f"unit {unit}" for unit in units(part))
    before = np.stack(base)
    frame = tabulate(rows, np.stack(hits), {"base": before, "clean": before, "corrupt": np.stack(guesses)}, clusters)
    return Guardedness(frame, provenance, np.stack(hits), {"base": np.stack(base)}, part.groups, clusters)


def _row(
    place: Place, labels: Labels, kind: str, pair: Sequence[HeldOut], tolerance: float, erased: bool
) -> dict[str, Any]:
    old, new = pair
    excess = mean_interval(new.hits - new.guesses, new.clusters)
    told = new.information
    verdict = "open"
    if excess.low > 0 or told.low > 0:
        verdict = "leaks" if erased else "kept"
    elif excess.high <= tolerance and told.high <= tolerance:
        verdict = "guarded" if erased else "lost"
    return place.row() | {
        "role": kind, "variables": f"{labels.concept} at {place.site}{place.at}", "concept": labels.concept, "kind": kind,
        "before": old.accuracy.estimate, "guess": float(new.guesses.mean()), "auc": new.auc,
        "excess": excess.estimate, "excess_low": excess.low, "excess_high": excess.high,
        "information": told.estimate, "information_low": told.low, "information_high": told.high, "verdict": verdict,
    }  # fmt: skip


def _spread(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Return one number per prompt: the mean over its examples, NaN where it has none."""
    counts = np.bincount(rows, minlength=n)
    return np.where(counts > 0, np.bincount(rows, weights=values, minlength=n) / np.maximum(counts, 1), np.nan)
