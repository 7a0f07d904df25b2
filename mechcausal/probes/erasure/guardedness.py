"""How well a concept is guarded after its erasure: what fresh probes, linear and not, read on prompts held out from it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from mechcausal.address import Place, expand
from mechcausal.arguments import Model, Share
from mechcausal.data.places import SiteSpec, plain
from mechcausal.data.prompts import PromptSet
from mechcausal.data.splits import units
from mechcausal.errors import DataError
from mechcausal.method import function
from mechcausal.models.abilities import abilities
from mechcausal.models.facts import facts
from mechcausal.probes.erasure.erasing import Erasure
from mechcausal.probes.held_out import HeldOut
from mechcausal.probes.labels import Labels, labels_of
from mechcausal.probes.procedure import ProbeCost, ProbingMethod, examples
from mechcausal.probes.readings import Pool, Reading, readings
from mechcausal.results.intervals import mean_interval
from mechcausal.results.provenance import Provenance
from mechcausal.results.result import Result, mark_of
from mechcausal.results.table import p_values, tabulate

Adversary = Literal["means", "logistic", "sparse", "quadratic", "mlp"]
ADVERSARIES: tuple[Adversary, ...] = ("logistic", "quadratic", "mlp")


@dataclass(frozen=True, repr=False)
class Guardedness(Result):
    """One row for each place, concept and kind of probe.

    `value` is the held-out accuracy of a probe that was fitted after the erasure, `before` that of one fitted without it,
    `change` the difference. `excess` is by how much `value` exceeds the best constant guess (`guess`), and what is drawn;
    `information` is what the probe gains over that guess in bits, which is what linear erasure bounds (a line may
    still be right more often than a guess where the classes differ in spread). Both have intervals. `effect` is the
    share of what could be read that is still read: 0 is guarded, 1 as before.

    `p`, `q` and `p_max` test "the excess is zero", corrected for all rows.

    `verdict` is `leaks` where the interval of either begins above zero, else `guarded` where both end within the
    tolerance, else `open`; of what should stay readable it is `kept`, `lost` or `open`.
    """

    @property
    def shown(self) -> str:
        """The column that is drawn unless said otherwise."""
        return "excess"

    @property
    def _tested(self) -> str:
        """What is tested of each probe."""
        return "rows differ from guessing after the erasure"

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know of the erasure."""
        warning = self.provenance.arguments["warning"]
        return [str(warning)] if warning else []

    def _head_lines(self) -> list[str]:
        """Say what was erased."""
        p = self.provenance
        return [
            f"{p.method}: {p.arguments['method']} of {p.arguments['concept']}, accuracy of fresh probes on "
            f"{self.examples.shape[1]} held-out prompts"
        ]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say for each place and probe what is read before and after."""
        del k  # every row is said
        lines = []
        for _, row in self.frame.iterrows():
            lines.append(
                f"{mark_of(row)}{row['variables']:<38} {row['kind']:<10} {row['before']:.3f} -> {row['value']:.3f}, guessing {row['guess']:.3f}, "
                f"excess {row['excess']:+.3f} [{row['excess_low']:+.3f}, {row['excess_high']:+.3f}], "
                f"{row['information']:+.3f} bits [{row['information_low']:+.3f}, {row['information_high']:+.3f}]  {row['verdict']}"
            )
        return lines


@dataclass(frozen=True, kw_only=True)
class Guarding(ProbingMethod[Erasure, Guardedness]):
    """Measure what probes still read after an erasure, on prompts that it was not fitted to.

    Estimand: the chance that a probe, fitted to edited activations of held-out prompts, reads the concept of another
    held-out prompt, by cross-validation within them. Probes are fitted anew because one that was fitted to the eraser's
    own prompts would have learned that there is nothing: there the erasure is exact.

    Attributes:
        kinds: The probes: one that is linear, and adversaries that are not.
        sites: Where to read, at the positions of the first edit; by default where it was erased. Later places may have
            the concept again, from positions that were not edited.
        others: What should still be readable, by name: labels of all prompts, as for `probe`.
        pool: What becomes of several positions.
        tolerance: How far above guessing a guarded concept may be read at most, in accuracy and in bits.

    Example:
        >>> import mechcausal as mc
        >>> model, task = mc.load("organism:hiring"), mc.task("hiring")
        >>> erasure = mc.features.erase(model, task.prompts(model, 200), "gender", "L2.resid_post", at="@decision")
        >>> mc.features.guardedness(model, erasure, kinds=["logistic"]).frame["before"][0] > 0.9
        np.True_
    """

    word: ClassVar[str] = "guardedness"
    kinds: Sequence[Adversary] = ADVERSARIES
    sites: SiteSpec | None = None
    others: Mapping[str, Any] | None = None
    pool: Pool = "mean"
    tolerance: Share = 0.05

    def run(self, model: Model, data: Erasure) -> Guardedness:
        """Fit probes before and after the erasure, and compare them."""
        started, erasure = time.perf_counter(), data
        where, asked = self._asked(model, erasure)
        part = erasure.prompts.take(erasure.held_out.tolist())
        before, after = (
            readings(model, part, where, pool=self.pool, edits=edits, batch_size=self.batch_size)
            for edits in ((), erasure.edits)
        )
        rows, hits, hits_before, guesses = [], [], [], []
        for place, old, new in zip(where, before, after, strict=True):
            for labels in asked:
                for kind in self.kinds if labels is asked[0] else self.kinds[:1]:
                    pair = [self._held_out(kind, part, reading, labels) for reading in (old, new)]
                    rows_read = examples(part, new, labels).rows
                    first, second = (_spread(held_out.hits, rows_read, len(part)) for held_out in pair)
                    rows.append(_row(place, labels, kind, pair, self.tolerance, labels is asked[0]))
                    hits.append(second)
                    hits_before.append(first)
                    guesses.append(_spread(pair[1].guesses, rows_read, len(part)))
        forwards = 2 * -(-len(part) // self.batch_size)
        provenance = Provenance(
            method=self.word,
            arguments={
                "metric": "accuracy", "concept": erasure.concept, "method": erasure.method, "ranks": erasure.ranks,
                "warning": erasure.warning, "sites": plain(self.sites), "kinds": list(self.kinds),
                "tolerance": self.tolerance, "fitted_to": len(erasure.fit),
            },
            seed=self.seed,
            **facts(model, part, started=started, forwards=forwards, batch_size=self.batch_size),
        )  # fmt: skip
        clusters = tuple(f"unit {unit}" for unit in units(part))
        after, before, guessed = map(np.stack, (hits, hits_before, guesses))
        frame = tabulate(rows, after, {"base": before, "clean": before, "corrupt": guessed}, clusters)
        frame = frame.assign(**p_values(after - guessed, (after, guessed), clusters))
        return Guardedness(frame, provenance, after, {"base": before}, part.groups, clusters)

    def cost(self, model: Model, data: Erasure) -> ProbeCost:
        """Return what it would take: the held-out prompts with and without the edits; nothing is run."""
        where, asked = self._asked(model, data)
        cells = len(where) * (len(self.kinds) + len(asked) - 1)
        forwards = 2 * len(data.held_out)
        return ProbeCost(cells, len(data.held_out), forwards, cells * forwards, 2 * cells * self.folds)

    def _held_out(self, kind: str, prompts: PromptSet, reading: Reading, labels: Labels) -> HeldOut:
        held_out = self.procedure(kind).held_out(examples(prompts, reading, labels))
        assert isinstance(held_out, HeldOut)
        return held_out

    def _asked(self, model: Model, erasure: Erasure) -> tuple[list[Place], list[Labels]]:
        """Return where to read, and the labels of the held-out prompts: the erased concept first."""
        if not self.kinds:
            raise DataError("no probe is named", fix="name at least one, for example 'logistic'")
        where = erasure.places
        if self.sites is not None:
            at = where[0].at
            where = [Place(site, at) for site in expand(self.sites, abilities(model).shape)]
        others = [labels_of(erasure.prompts, values, name) for name, values in (self.others or {}).items()]
        asked = [replace(labels, codes=labels.codes[erasure.held_out]) for labels in (erasure.labels, *others)]
        return where, asked


guardedness = function(Guarding, data="erasure", about="What `erase` returned.")


def _row(
    place: Place, labels: Labels, kind: str, pair: Sequence[HeldOut], tolerance: float, erased: bool
) -> dict[str, Any]:
    old, new = pair
    excess = mean_interval(new.hits - new.guesses, new.clusters)
    information = new.information
    verdict = "open"
    if excess.low > 0 or information.low > 0:
        verdict = "leaks" if erased else "kept"
    elif excess.high <= tolerance and information.high <= tolerance:
        verdict = "guarded" if erased else "lost"
    return place.row() | {
        "role": kind, "variables": f"{labels.concept} at {place.site}{place.at}", "concept": labels.concept, "kind": kind,
        "before": old.accuracy.estimate, "guess": float(new.guesses.mean()), "auc": new.auc,
        "excess": excess.estimate, "excess_low": excess.low, "excess_high": excess.high,
        "information": information.estimate, "information_low": information.low, "information_high": information.high, "verdict": verdict,
    }  # fmt: skip


def _spread(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Return one number per prompt: the mean over its examples, NaN where it has none."""
    counts = np.bincount(rows, minlength=n)
    return np.where(counts > 0, np.bincount(rows, weights=values, minlength=n) / np.maximum(counts, 1), np.nan)
