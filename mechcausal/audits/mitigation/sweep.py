"""What mitigations change and what they cost: every question under every edit, on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mechcausal.arguments import Count, Seed, checked
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import Points
from mechcausal.audits.filed import read_document, write_document
from mechcausal.audits.finding import Answer, answer_from, answer_to_json
from mechcausal.audits.plain import plain
from mechcausal.audits.question import Better
from mechcausal.errors import ResultError, did_you_mean
from mechcausal.results.charts import Bars, bar_chart
from mechcausal.results.multiplicity import holm

if TYPE_CHECKING:
    from mechcausal.audits.mitigation.pareto import Pareto

VERSION = 1


@dataclass(frozen=True)
class Measure:
    """A number that mitigations are compared by.

    Attributes:
        name: The id of the question, or `"kl"` or `"loss"`.
        word: The word of the question.
        better: Whether it should be low, high, or near zero.
        estimand: What the number is.
        scale: Its unit.
        threshold: What the user declared, in words.
    """

    name: str
    word: str
    better: Better = "low"
    estimand: str = ""
    scale: str = ""
    threshold: str = ""


KL = Measure("kl", "kl", "low", "how far the next-token distributions on neutral text move from the unedited model's", "nats a token")  # fmt: skip
LOSS = Measure("loss", "loss", "low", "how much worse neutral text is predicted than by the unedited model", "nats a token")  # fmt: skip
COSTS = (KL, LOSS)


@dataclass(frozen=True)
class Edited:
    """One mitigation of a sweep.

    Attributes:
        name: How it is called.
        spec: The mitigation as data.
        control: Whether nothing is expected of it.
        notes: What a reader must know of it, such as `"biased fit"`, each with its reason.
    """

    name: str
    spec: Mapping[str, Any]
    control: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


def paired(answer: Answer, base: Answer) -> bool:
    """Say whether two answers have the same units, which can be compared one by one, or the same draws of these."""
    if answer.unit_clusters != base.unit_clusters:
        return False
    return any(
        len(these) == len(those) > 0
        for these, those in ((answer.units, base.units), (answer.resamples, base.resamples))
    )


def difference(answer: Answer, base: Answer, level: float = 0.95) -> tuple[Estimate, bool]:
    """Return how much an answer exceeds another one, and whether they were paired unit by unit.

    Paired where both have the same units, or were computed on the same draws of them; else the two numbers are taken to be
    independent, which makes the interval of a difference on the same examples too wide rather than too narrow. Of two
    counts, which have no standard error, the difference has no interval.
    """
    value = answer.estimate.value - base.estimate.value
    if paired(answer, base):
        if answer.units:
            return Estimate.mean(np.subtract(answer.units, base.units), answer.unit_clusters, level), True
        apart = np.subtract(answer.resamples, base.resamples)
        low, high = np.quantile(apart, [(1 - level) / 2, (1 + level) / 2])
        count = len(set(answer.unit_clusters)) or answer.estimate.n_clusters
        return Estimate.interval(
            value, min(float(low), value), max(float(high), value), answer.estimate.n, count, level
        ), True
    widths = [np.array([each.value - each.low, each.high - each.value]) for each in (answer.estimate, base.estimate)]
    reach = [float(np.hypot(widths[0][0], widths[1][1])), float(np.hypot(widths[0][1], widths[1][0]))]
    n = min(answer.estimate.n, base.estimate.n)
    if answer.estimate.law == base.estimate.law == "exact":
        return Estimate(value, n=n, level=level), False
    return Estimate.interval(value, value - reach[0], value + reach[1], n, level=level), False


@dataclass(frozen=True, eq=False)
class Sweep:
    """The answers to all questions under all edits. There is no score that sums them up.

    Attributes:
        title: The title of the plan.
        edits: The mitigations; the model as it is stands first.
        measures: What they are compared by.
        answers: What was found, by (edit, measure).
        errors: Why there is no answer, by (edit, measure).
        left_out: Questions that cannot be asked under edits, and why.
        run: When, with which model and data.
        level: The level of the intervals.
    """

    title: str
    edits: tuple[Edited, ...]
    measures: tuple[Measure, ...]
    answers: Mapping[tuple[str, str], Answer]
    errors: Mapping[tuple[str, str], str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    level: float = 0.95

    @property
    def base(self) -> str:
        """The name of the model as it is."""
        return self.edits[0].name

    def measure(self, name: str) -> Measure:
        """Return a measure by its name, or by the word of its question where only one has it."""
        named = [each for each in self.measures if each.name == name]
        worded = [each for each in self.measures if each.word == name]
        if named or len(worded) == 1:
            return (named or worded)[0]
        names = [each.name for each in self.measures]
        fix = f"name one: {', '.join(each.name for each in worded)}" if worded else did_you_mean(name, names)
        raise ResultError(f"the sweep has no measure {name!r}", fix=fix)

    def answer(self, edit: str, measure: str) -> Answer:
        """Return what was found under an edit."""
        names, key = [each.name for each in self.edits], (edit, self.measure(measure).name)
        if edit not in names:
            raise ResultError(f"the sweep has no edit {edit!r}", fix=did_you_mean(edit, names))
        if key not in self.answers:
            raise ResultError(f"{key[1]} has no answer under {edit!r}", got=self.errors.get(key, "nothing"))
        return self.answers[key]

    def change(self, edit: str, measure: str) -> Estimate:
        """Return how much an edit changes a measure, paired where the questions give a number for each unit."""
        return difference(self.answer(edit, measure), self.answer(self.base, measure), self.level)[0]

    def frame(self) -> pd.DataFrame:
        """Return one row for each edit and measure.

        `value` has the interval `low`, `high`; `change` is the difference to the model as it is, with the interval
        `change_low`, `change_high` of paired units (`paired`), the p-value of no change, and `p_adjusted` for all
        edits and measures of the sweep (Holm).
        """
        rows = []
        for edit in self.edits:
            for measure in self.measures:
                key = edit.name, measure.name
                row: dict[str, Any] = {
                    "edit": edit.name, "control": edit.control, "measure": measure.name, "question": measure.word,
                    "better": measure.better, "scale": measure.scale, "threshold": measure.threshold,
                    "notes": ", ".join(edit.notes), "error": self.errors.get(key, ""),
                }  # fmt: skip
                if key in self.answers:
                    row |= self._numbers(key)
                rows.append(row)
        frame = pd.DataFrame(rows)
        for name in ("value", "low", "high", "change", "change_low", "change_high", "p"):
            frame[name] = frame[name].astype(float) if name in frame else np.nan
        return frame.assign(p_adjusted=holm(frame["p"].to_numpy()))

    def _numbers(self, key: tuple[str, str]) -> dict[str, Any]:
        estimate = self.answers[key].estimate
        row = {
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "n": estimate.n,
            "n_clusters": estimate.n_clusters,
        }
        base = self.answers.get((self.base, key[1]))
        if key[0] == self.base or base is None:
            return row
        apart, by_unit = difference(self.answers[key], base, self.level)
        return row | {
            "change": apart.value, "change_low": apart.low, "change_high": apart.high, "p": apart.zero(), "paired": by_unit,
        }  # fmt: skip

    @checked
    def pareto(self, x: str, y: str, *, draws: Count = 2000, seed: Seed = 0) -> Pareto:
        """Return which edits are worth a look by two measures: those that no other edit beats on both.

        An edit is dominated only if some other one is at least as good on both measures and better on one in 95 % of
        paired resamples of clusters. A measure without the same units under every edit is drawn from the standard error
        of each edit's number, independently, and the front says so.

        Args:
            x: A measure: the id or the word of a question, `"kl"` or `"loss"`.
            y: Another one.
            draws: How many resamples.
            seed: Their seed.
        """
        from mechcausal.audits.mitigation.pareto import pareto

        return pareto(self, x, y, draws=draws, seed=seed)

    @property
    def unpaired(self) -> list[str]:
        """The measures that have not the same units under every edit, so that changes are not paired."""
        return [
            measure.name
            for measure in self.measures
            if (
                answers := [
                    self.answers[key] for edit in self.edits if (key := (edit.name, measure.name)) in self.answers
                ]
            )
            and not all(paired(answer, answers[0]) for answer in answers)
        ]

    @property
    def figures(self) -> list[Bars | Points]:
        """Each measure under each edit, and what each edit costs on neutral text against what it changes."""
        made: list[Bars | Points] = [self._bars(measure) for measure in self.measures if self._has(measure)]
        costs = [measure for measure in self.measures if measure.name == KL.name and self._has(measure)]
        questions = [measure for measure in self.measures if measure not in COSTS and self._has(measure)]
        seconds = costs or questions[1:]
        if questions and seconds:
            made.append(self.pareto(questions[0].name, seconds[0].name).figure)
        return made

    def _has(self, measure: Measure) -> bool:
        return any((edit.name, measure.name) in self.answers for edit in self.edits)

    def _bars(self, measure: Measure) -> Bars:
        rows = [
            (edit.name, estimate.value, estimate.low, estimate.high, "control" if edit.control else "edit")
            for edit in self.edits
            if (estimate := self._estimate(edit, measure)) is not None
        ]
        return bar_chart(rows, f"{measure.name}: {measure.word} under every edit", measure.scale, order=("edit",))

    def _estimate(self, edit: Edited, measure: Measure) -> Estimate | None:
        key = edit.name, measure.name
        return self.answers[key].estimate if key in self.answers else None

    def summary(self) -> str:
        """Say for each edit what it changes."""
        lines = [f"{self.title}: {len(self.edits)} edits, {len(self.measures)} measures"]
        for edit in self.edits:
            parts = [self._said(edit, measure) for measure in self.measures]
            marks = f"  [{', '.join(edit.notes)}]" if edit.notes else ""
            lines.append(f"  {edit.name}{' (control)' if edit.control else ''}: {'; '.join(parts)}{marks}")
        lines += [f"  left out: {name}, {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)

    def _said(self, edit: Edited, measure: Measure) -> str:
        key = edit.name, measure.name
        if key not in self.answers:
            return f"{measure.name} not measured: {self.errors.get(key, 'it was left out')}"
        base = self.answers.get((self.base, key[1]))
        change = ""
        if edit.name != self.base and base is not None:
            gap, by_unit = difference(self.answers[key], base, self.level)
            change = f" (change {gap}{'' if by_unit else ', not paired'})"
        return f"{measure.name} {self.answers[key].estimate}{change}"

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        columns = ["edit", "measure", "value", "low", "high", "change", "change_low", "change_high", "p_adjusted"]
        frame = self.frame()
        marks = ["notes"] if (frame["notes"] != "").any() else []
        marks += ["error"] if (frame["error"] != "").any() else []
        table = frame[[*columns, *marks]].to_html(index=False, na_rep="", float_format=lambda x: f"{x:.3g}")
        return f"<div>{table}</div>"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data, from which `load` makes an equal sweep."""
        return plain(
            {
                "version": VERSION, "title": self.title, "level": self.level, "run": self.run,
                "edits": [asdict(edit) for edit in self.edits],
                "measures": [asdict(measure) for measure in self.measures],
                "answers": [
                    {"edit": edit, "measure": measure, "answer": answer_to_json(answer)}
                    for (edit, measure), answer in self.answers.items()
                ],
                "errors": [{"edit": edit, "measure": name, "error": error} for (edit, name), error in self.errors.items()],
                "left_out": self.left_out,
            }
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the sweep to a JSON file, atomically.

        Args:
            path: The file, or a folder, in which it is called sweep.json.
        """
        return write_document(path, "sweep.json", self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Sweep:
        """Read a sweep from its file or its folder."""
        words = {"what": "a sweep of mitigations", "fix": "make one with audit.sweep"}
        return read_document(path, "sweep.json", cls._of, version=VERSION, **words)

    @classmethod
    def _of(cls, data: Mapping[str, Any]) -> Sweep:
        return cls(
            data["title"],
            tuple(Edited(**edit) for edit in data["edits"]),
            tuple(Measure(**measure) for measure in data["measures"]),
            {(row["edit"], row["measure"]): answer_from(row["answer"]) for row in data["answers"]},
            {(row["edit"], row["measure"]): row["error"] for row in data["errors"]},
            data["left_out"], data["run"], float(data["level"]),
        )  # fmt: skip


def costs_of(values: Sequence[np.ndarray], clusters: Sequence[str], level: float) -> dict[str, Answer]:
    """Return the answers that say what an edit costs on neutral text."""
    made = {}
    for measure, units in zip(COSTS, values, strict=True):
        estimate = Estimate.mean(units, clusters, level)
        made[measure.name] = Answer(
            estimate, f"{measure.estimand}: {estimate}", units=tuple(map(float, units)), unit_clusters=tuple(clusters)
        )
    return made
