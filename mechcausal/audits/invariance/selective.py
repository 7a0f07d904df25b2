"""Selective invariance: which changes of the input move the decision, against which may and which must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from mechcausal.arguments import Share, Texts
from mechcausal.audits import perturbed
from mechcausal.audits.decisions import forwards_of, undecidable, unnamed
from mechcausal.audits.desk import Desk
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Cell, Matrix, Tone
from mechcausal.audits.finding import Answer, Control, Identified
from mechcausal.audits.linear import as_units, of_part
from mechcausal.audits.moved import OfMoves
from mechcausal.audits.question import Family
from mechcausal.audits.sources import DATA, digest_of
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import did_you_mean

Declared = Literal["must stay", "must change", "undeclared"]
DECLARED: tuple[Declared, ...] = ("must stay", "must change", "undeclared")
GENERATED = ("swap", "delete", "permute")
_SHOWN = 40  # examples of each perturbation


@dataclass(frozen=True)
class Perturbed:
    """What a perturbation did: decisions and log-odds before and after, prompt by prompt."""

    name: str
    declared: Declared
    before: PromptSet
    after: PromptSet
    flips: np.ndarray
    shift: np.ndarray

    @property
    def violations(self) -> np.ndarray:
        """1 for each prompt on which the declaration is broken."""
        return 1 - self.flips if self.declared == "must change" else self.flips


@dataclass(frozen=True, kw_only=True)
class SelectiveInvariance(OfMoves):
    """Hold each perturbation of the input against what was declared: the decision must stay, must change, or neither.

    A decision that moves though it must stay is false sensitivity; one that stays though it must change is false
    invariance. Both are failures, and a model can trade one for the other. The estimate is the largest share of broken
    decisions among the declared perturbations: 0 where all are kept, 1 where one is always broken. Its interval and its
    p-value hold for all of them at once.

    Perturbations are pairs by name (`pairs`), or are made of the prompts in `data`: `"swap POSITION"` exchanges the word
    at a named position for one of another prompt, `"delete POSITION"` leaves it out, `"permute"` puts the words into
    another order.

    Attributes:
        pairs: Pairs by the name of the perturbation that they show.
        must_stay: The perturbations under which the decision must stay.
        must_change: Those under which it must change.
        also: Generated perturbations of which nothing is declared; pairs that are not declared are shown as well.
        against: Whether a decision is that between answer and foil, the likeliest of all words (of a classifier the likeliest
            label), or (`"written"`) which of answer and foil stands first in what the model writes, or neither.
        cutoff: The log-odds above which the answer is taken, for decisions against the foil.
        tokens: How many tokens are written at most, where decisions are written.
        tolerance: The share of broken decisions up to which a cell of the picture counts as kept.
    """

    word: ClassVar[str] = "selective_invariance"
    family: ClassVar[Family] = "invariance"
    estimand: ClassVar[str] = (
        "the largest share, among the declared perturbations, of prompts whose decision moves though it must stay, or "
        "stays though it must change"
    )
    contrast: ClassVar[str] = "each prompt against its perturbed counterpart"
    held_fixed: ClassVar[str] = "all that the perturbation leaves as it is"
    population: ClassVar[str] = "prompts and perturbations like those given"
    identified: ClassVar[Identified] = "paired-counterfactual"
    scale: ClassVar[str] = "share of prompts"
    assumptions: ClassVar[tuple[str, ...]] = ("what must stay and what must change was declared rightly, by people",)
    limits: ClassVar[tuple[str, ...]] = ("it speaks of perturbations like these, and of no others",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    pairs: Any = field(default=None, metadata=DATA)
    must_stay: Texts = ()
    must_change: Texts = ()
    also: Texts = ()
    tolerance: Share = 0.05

    def answer(self, desk: Desk) -> Answer:
        """Return the matrix, and the worst violation."""
        perturbations = [self._perturbed(desk, name) for name in self._names]
        declared = [each for each in perturbations if each.declared != "undeclared"]
        broken = [desk.rate(each.violations, each.before.clusters) for each in declared]
        estimate = Estimate.largest(broken)
        worst = declared[int(np.argmax([each.value for each in broken]))]
        kind = "false sensitivity" if worst.declared == "must stay" else "false invariance"
        table = pd.DataFrame([self._row(desk, each) for each in perturbations])
        violated = int((table["broken_low"] > self.tolerance).sum())
        says = (
            f"{violated} of {len(declared)} declarations are clearly broken; the worst is {worst.name!r}, which "
            f"{worst.declared}: {kind} in {estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}] of the prompts"
        )
        return Answer(
            estimate,
            says,
            self._controls(desk, worst, estimate),
            table,
            (self._figure(desk, perturbations),),
            tuple(example for each in perturbations for example in self._examples(desk, each)),
            n_tests=len(declared),
            marks=unnamed(desk, worst.before, self.against, self.tokens),
            units=as_units(of_part(np.concatenate([each.violations for each in declared]), _rows_of(worst, declared))),
            unit_clusters=_clusters(declared),
        )

    def forwards(self, desk: Desk) -> float:
        """Return how many prompts are run at most: each perturbation once, that which moves most again in redrawn networks."""
        prompts = perturbed.plain_prompts(desk.data)
        pairs = {name: desk.held[f"pairs.{name}"] for name in self._of_pairs}
        sides = {name: (swapped.clean, swapped.corrupt) for name, swapped in pairs.items()}
        asked = {digest_of(side): side for both in sides.values() for side in both}
        made = sum(name not in sides for name in self._names)
        if made:
            asked[digest_of(prompts)] = prompts
        runs_once = self.forwards_of_sides(desk, *asked.values()) + made * self.forwards_of_sides(desk, prompts)
        if not (perturbed.unchangeable(prompts) or undecidable(desk, prompts, self.against)):  # words at random places
            runs_once += (1 + (digest_of(prompts) not in asked)) * forwards_of(desk, prompts, self.against, self.tokens)
        moved = [self.forwards_of_sides(desk, *sides.get(name, (prompts, prompts))) for name in self.must_stay]
        return runs_once + desk.networks * max(moved, default=0.0)

    def problems(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Say what is wrong with the declarations and the data."""
        yield from super().problems(data)
        if not (self.must_stay or self.must_change):
            yield "it declares nothing: name perturbations under must_stay or must_change"
        for name in sorted(set(self.must_stay) & set(self.must_change)):
            yield f"the perturbation {name!r} cannot be declared both to stay and to change the decision"
        main = data.get("data")
        if not isinstance(main, (PromptSet, Contrast)):
            return
        prompts = perturbed.plain_prompts(main)
        for name in self._names:
            if name in self._of_pairs:
                yield from self._wrong_pairs(name, data.get(f"pairs.{name}"))
            elif (why := self._cannot(prompts, name)) is not None:
                yield why

    def unreadable(self, desk: Desk) -> Iterator[str]:
        """Say why the model makes no decision about the prompts, or about pairs."""
        made = any(name not in self._of_pairs for name in self._names)
        if made and (why := undecidable(desk, desk.data, self.against, tokens=self.tokens)) is not None:
            yield f"the prompts in {self._name_of('data')} {why}"
        for name in self._names:
            if name not in self._of_pairs:
                continue
            pairs = desk.held[f"pairs.{name}"]
            sides = (pairs.clean, pairs.corrupt) if isinstance(pairs, Contrast) else ()
            said = (undecidable(desk, side, self.against, tokens=self.tokens) for side in sides)
            if why := next(filter(None, said), None):
                yield f"the pairs of {name!r} {why}"

    def _wrong_pairs(self, name: str, pairs: Any) -> Iterator[str]:  # noqa: ANN401
        if not isinstance(pairs, Contrast):
            yield f"the perturbation {name!r} must be given as pairs"

    def _cannot(self, prompts: PromptSet, name: str) -> str | None:
        """Say why a perturbation cannot be made of the prompts; None where it can."""
        kind, _, position = name.partition(" ")
        if kind not in GENERATED:
            names = [*self._of_pairs, *(f"{word} POSITION" for word in GENERATED[:2]), "permute"]
            return f"there is no perturbation {name!r}: {did_you_mean(name, names)}"
        if (why := perturbed.unchangeable(prompts)) is not None:
            return f"{name!r} cannot be made: the prompts {why}"
        if kind != "permute" and position not in prompts.positions:
            return f"{name!r} names no position of the prompts: {did_you_mean(position, sorted(prompts.positions) or ['positions='])}"
        if kind == "swap":
            at = prompts.positions[position].tolist()
            if len({row[place] for row, place in zip(prompts.real_tokens, at, strict=True)}) < 2:
                return f"{name!r} cannot be made: the same word stands there in every prompt"
        return None

    @property
    def _of_pairs(self) -> tuple[str, ...]:
        return tuple(self.pairs) if isinstance(self.pairs, Mapping) else ()

    @property
    def _names(self) -> tuple[str, ...]:
        """The perturbations: those that must leave the decision, those that must change it, all others."""
        return tuple(dict.fromkeys((*self.must_stay, *self.must_change, *self.also, *self._of_pairs)))

    def _declared(self, name: str) -> Declared:
        return "must stay" if name in self.must_stay else "must change" if name in self.must_change else "undeclared"

    def _sides(self, desk: Desk, name: str) -> tuple[PromptSet, PromptSet]:
        """Return the prompts before and after a perturbation."""
        if name in self._of_pairs:
            pairs = desk.held[f"pairs.{name}"]
            return pairs.clean, pairs.corrupt
        before = perturbed.plain_prompts(desk.data)
        kind, _, position = name.partition(" ")
        match kind:
            case "swap":
                after = perturbed.swapped(before, position, seed=desk.seed, model=desk.model)
            case "delete":
                after = perturbed.deleted(before, position, model=desk.model)
            case _:
                after = perturbed.permuted(before, desk.model, seed=desk.seed)
        return before, after

    def _perturbed(self, desk: Desk, name: str) -> Perturbed:
        before, after = self._sides(desk, name)
        moves, shift = self.moves(desk, before, after), self.shift(desk, before, after)
        return Perturbed(name, self._declared(name), before, after, moves, shift)

    def _row(self, desk: Desk, each: Perturbed) -> dict[str, Any]:
        clusters = each.before.clusters
        flips, broken = (desk.rate(values, clusters) for values in (each.flips, each.violations))
        shift = desk.mean(each.shift, clusters)
        undeclared = each.declared == "undeclared"
        return {
            "perturbation": each.name, "declared": each.declared, "flips": flips.value, "flips_low": flips.low,
            "flips_high": flips.high, "shift": shift.value, "shift_low": shift.low, "shift_high": shift.high,
            "broken": float("nan") if undeclared else broken.value,
            "broken_low": float("nan") if undeclared else broken.low,
            "broken_high": float("nan") if undeclared else broken.high, "n": flips.n, "n_clusters": flips.n_clusters,
        }  # fmt: skip

    def _controls(self, desk: Desk, worst: Perturbed, estimate: Estimate) -> tuple[Control, ...]:
        if worst.declared == "must stay":
            redraws = self.beyond_redraws(desk, worst.before, worst.after, estimate.value)
        else:
            redraws = Control.inapplicable(
                "no-learning", "a network that has learned nothing keeps its decision as well, and that is the failure"
            )
        return (
            self._random(desk),
            redraws,
            Control.inapplicable("trivial-input", "the perturbations are themselves changes of the input alone"),
        )

    def _random(self, desk: Desk) -> Control:
        """Return the control of a word exchanged anywhere, where words can be."""
        before = perturbed.plain_prompts(desk.data)
        why = perturbed.unchangeable(before) or undecidable(desk, before, self.against)
        if why is not None:
            return Control.inapplicable("random", f"the prompts {why}")
        return self.moved_anywhere(desk, before)

    def _figure(self, desk: Desk, perturbations: list[Perturbed]) -> Matrix:
        rows = []
        for each in perturbations:
            flips = desk.rate(each.flips, each.before.clusters)
            text = f"{flips.value:.1%}" + (f" [{flips.low:.1%}, {flips.high:.1%}]" if np.isfinite(flips.low) else "")
            shift = desk.mean(each.shift, each.before.clusters)
            cells = [
                Cell(flips.value, text, self._tone(each, flips)) if each.declared == name else Cell(float("nan"), "")
                for name in DECLARED
            ]
            rows.append((*cells, Cell(float("nan"), f"{shift.value:+.2f}" if np.isfinite(shift.value) else "")))
        return Matrix(
            tuple(each.name for each in perturbations),
            (*DECLARED, "mean shift of the log-odds"),
            tuple(rows),
            "Selective invariance",
            "share of decisions that move",
        )

    def _tone(self, each: Perturbed, flips: Estimate) -> Tone:
        if each.declared == "undeclared":
            return "plain"
        broken = 1 - flips.value if each.declared == "must change" else flips.value
        return "bad" if broken > self.tolerance else "good"

    def _examples(self, desk: Desk, each: Perturbed) -> list[dict[str, Any]]:
        order = np.argsort(-each.violations, kind="stable")[:_SHOWN]
        few = order.tolist()
        before, after = (perturbed.written(side.take(few), desk.model) for side in (each.before, each.after))
        return [
            {
                "perturbation": each.name, "declared": each.declared, "prompt": number, "before": before[place],
                "after": after[place], "moves": bool(each.flips[number]), "shift_of_log_odds": float(each.shift[number]),
            }
            for place, number in enumerate(few)
        ]  # fmt: skip


def _rows_of(worst: Perturbed, declared: Sequence[Perturbed]) -> np.ndarray:
    """Return which of the prompts of all declared perturbations are those of the worst, which need not be it in all models."""
    return np.repeat([each is worst for each in declared], [len(each.flips) for each in declared])


def _clusters(declared: Sequence[Perturbed]) -> tuple[str, ...]:
    """Return the clusters of the prompts of all declared perturbations."""
    if len(declared) == 1:
        return declared[0].before.clusters
    names = [each.before.clusters or [f"{each.name} {row}" for row in range(len(each.flips))] for each in declared]
    return tuple(str(name) for clusters in names for name in clusters)
