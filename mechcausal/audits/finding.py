"""A finding: the answer to one question of an audit, with all that a sceptic asks about it.

A question returns an `Answer`; the plan makes a `Finding` of it, which adds what only the whole plan knows: the p-value
adjusted for all questions with a threshold, the status, and the cost.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import pandas as pd

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.figures import figure_from_json, figure_to_json, still
from mechcausal.audits.plain import number, plain

Status = Literal["pass", "fail", "inconclusive", "measured", "not-run", "error"]
STATUSES: tuple[Status, ...] = ("pass", "fail", "inconclusive", "measured", "not-run", "error")
Identified = Literal[
    "intervention", "paired-counterfactual", "observational-adjusted", "attack-lower-bound", "descriptive"
]
ControlKind = Literal["random", "no-learning", "trivial-input"]


@dataclass(frozen=True)
class Control:
    """The same number where there should be nothing to find, or where something trivial may explain it.

    Attributes:
        kind: `"random"` (another site or direction, drawn), `"no-learning"` (random weights, or shuffled labels) or
            `"trivial-input"` (what the input alone gives away).
        says: What was done, in a sentence; for a control that does not apply, why.
        estimate: What was found; None where it does not apply.
        p: The p-value of "the finding is no larger than this control"; NaN where it is not a test.
        guards: Whether the finding may fail a threshold only if it is beyond this control.
        holds: Whether the control was as it should be; None where nothing is expected of it.
    """

    kind: ControlKind
    says: str
    estimate: Estimate | None = None
    p: float = float("nan")
    guards: bool = False
    holds: bool | None = None

    @classmethod
    def inapplicable(cls, kind: ControlKind, why: str) -> Control:
        """Return a control that this question cannot have, with the reason."""
        return cls(kind, why)


@dataclass(frozen=True)
class Threshold:
    """What the user declared before the run: the estimate is to be at most, or at least, a number."""

    at_most: float | None = None
    at_least: float | None = None

    @property
    def declared(self) -> bool:
        """Whether anything was declared."""
        return self.at_most is not None or self.at_least is not None

    def p(self, estimate: Estimate) -> float:
        """Return the p-value of "the threshold is kept"."""
        tails = [estimate.at_most(self.at_most)] if self.at_most is not None else []
        tails += [estimate.at_least(self.at_least)] if self.at_least is not None else []
        return min(1.0, len(tails) * min(tails)) if tails else float("nan")

    def kept(self, estimate: Estimate) -> bool:
        """Say whether the whole interval keeps the threshold."""
        low = -math.inf if self.at_least is None else self.at_least
        return estimate.within(low, math.inf if self.at_most is None else self.at_most)

    def __str__(self) -> str:
        """Print as a phrase."""
        parts = [f"at most {self.at_most:g}"] if self.at_most is not None else []
        parts += [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return " and ".join(parts) or "none declared"


@dataclass(frozen=True)
class Answer:
    """What a question found.

    Attributes:
        estimate: The number that the question is about.
        says: What was found, in one sentence with its numbers.
        controls: The three controls, each run or with the reason why it does not apply.
        table: Further numbers, one row for each part; empty where there are none.
        figures: Charts (`audits.figures` lists the kinds).
        examples: The examples behind the number, as rows.
        n_tests: How many tests `table` was adjusted for; 0 where it holds none.
        dropped: What was left out before measuring, and how many.
        marks: Words that a reader must see beside the number, such as `"sae-incomplete"`; each with its reason.
        cannot_fail: Why no threshold can be judged by this number; empty where it can.
        assumptions: What must hold for the number to mean what it says, beyond what the question always assumes.
        limits: What it does not say, beyond what the question never says.
        smallest_detectable: The smallest effect that would have been found in 4 of 5 cases; NaN where not known.
        units: One number for each unit, in the order of the data, whose mean is the estimate: so edits, and reports, are
            compared unit by unit. Of a ratio or a gap it is the linearization. Empty where there is none.
        unit_clusters: The cluster of each unit; each is its own without them.
        resamples: The estimate under draws of these clusters, the same for all answers about the same units: so numbers are
            compared that no unit has a part of, such as a rank correlation. Empty where there are units.
        null: What the estimate would be if there were nothing to find, where that depends on the data; NaN where the question
            says it, or where no number means that.
    """

    estimate: Estimate
    says: str
    controls: tuple[Control, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: tuple[Any, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()
    n_tests: int = 0
    dropped: tuple[tuple[str, int], ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    cannot_fail: str = ""
    assumptions: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    smallest_detectable: float = float("nan")
    units: tuple[float, ...] = ()
    unit_clusters: tuple[str, ...] = ()
    resamples: tuple[float, ...] = ()
    null: float = float("nan")


@dataclass(frozen=True, repr=False)
class Finding:
    """One row of an audit's report.

    Attributes:
        id: The question's name in the plan.
        question: The word of the question.
        family: Fairness, links, privacy, robustness, explainability, accuracy, invariance.
        status: See `judged`.
        estimand: What the number is, in a sentence.
        contrast: What is compared with what.
        population: Whom or what it is about.
        held_fixed: What is held fixed while the contrast is made.
        identified: By what right the number is called an effect.
        site: Where in the model; empty for behavior.
        scale: The unit of the number.
        threshold: What the user declared.
        answer: What was found; None where nothing was.
        p: The p-value of "the threshold is kept"; where none was declared, of "there is nothing to find", if one number means
            that: no effect, no gap, an attack that only guesses. NaN else.
        p_adjusted: The same, adjusted for all questions of the plan with a threshold.
        family_size: How many questions that are.
        assumptions: What must hold.
        limits: What is not said.
        cost: Forwards and seconds.
        data: Name, digest, number of units of the data.
        error: Why there is no answer.
        spec: The question as it stands in the plan.
    """

    id: str
    question: str
    family: str
    status: Status
    estimand: str = ""
    contrast: str = ""
    population: str = ""
    held_fixed: str = ""
    identified: Identified = "descriptive"
    site: str = ""
    scale: str = ""
    threshold: Threshold = Threshold()
    answer: Answer | None = None
    p: float = float("nan")
    p_adjusted: float = float("nan")
    family_size: int = 0
    assumptions: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def estimate(self) -> Estimate | None:
        """The number, where there is one."""
        return self.answer.estimate if self.answer is not None else None

    def examples(self) -> pd.DataFrame:
        """Return the examples behind the number."""
        return pd.DataFrame(list(self.answer.examples) if self.answer is not None else [])

    def __str__(self) -> str:
        """Print as one line."""
        what = self.answer.says if self.answer is not None else self.error
        return f"{self.status.upper():<12} {self.id}: {what}"

    def __repr__(self) -> str:
        """Return the same line."""
        return str(self)

    def _repr_html_(self) -> str:
        """Show the sentence, the pictures and the controls, as a notebook does."""
        answer = self.answer
        pictures = "".join(still(figure) for figure in answer.figures) if answer is not None else ""
        lines = [str(self), f"declared: {self.threshold}; what the number is: {self.estimand}"]
        if answer is not None:
            lines += [f"{control.kind}: {control.says}" for control in answer.controls if control.estimate is not None]
            lines += [f"note, {mark}: {reason}" for mark, reason in answer.marks.items()]
        return f"<div><pre style='white-space:pre-wrap'>{html.escape(chr(10).join(lines))}</pre>{pictures}</div>"

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON data, from which `finding_from` makes an equal one."""
        data: dict[str, Any] = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "answer"}
        data["threshold"] = asdict(self.threshold)
        data["answer"] = None if self.answer is None else answer_to_json(self.answer)
        return plain(data)


def finding_from(data: Mapping[str, Any]) -> Finding:
    """Return the finding that `to_json` wrote."""
    given = {part.name: data[part.name] for part in fields(Finding) if part.name in data}
    given |= {"threshold": Threshold(**data["threshold"]), "p": number(data["p"])}
    given["p_adjusted"] = number(data["p_adjusted"])
    given["answer"] = None if data["answer"] is None else answer_from(data["answer"])
    given |= {name: tuple(data[name]) for name in ("assumptions", "limits")}
    return Finding(**given)


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON data."""
    data: dict[str, Any] = {part.name: getattr(answer, part.name) for part in fields(answer)}
    data["estimate"] = asdict(answer.estimate)
    data["controls"] = [asdict(control) for control in answer.controls]
    data["table"] = {
        "columns": [str(name) for name in answer.table.columns],
        "rows": answer.table.astype(object).to_numpy().tolist(),
    }
    data["figures"] = [figure_to_json(figure) for figure in answer.figures]
    data["dropped"] = [list(pair) for pair in answer.dropped]
    return plain(data)


def answer_from(data: Mapping[str, Any]) -> Answer:
    """Return the answer that `answer_to_json` wrote."""
    given = dict(data)
    given["estimate"] = estimate_from(data["estimate"])
    given["controls"] = tuple(map(_control, data["controls"]))
    given["table"] = pd.DataFrame(data["table"]["rows"], columns=data["table"]["columns"])
    given["figures"] = tuple(figure_from_json(figure) for figure in data["figures"])
    given["dropped"] = tuple((str(what), int(count)) for what, count in data["dropped"])
    given["smallest_detectable"] = number(data["smallest_detectable"])
    given["null"] = number(data.get("null"))
    given |= {name: tuple(data[name]) for name in ("examples", "assumptions", "limits")}
    given["units"] = tuple(map(number, data.get("units", ())))
    given["resamples"] = tuple(map(number, data.get("resamples", ())))
    given["unit_clusters"] = tuple(map(str, data.get("unit_clusters", ())))
    return Answer(**given)


def _control(data: Mapping[str, Any]) -> Control:
    estimate = data["estimate"] and estimate_from(data["estimate"])
    given: dict[str, Any] = {**data, "p": number(data["p"]), "estimate": estimate}
    return Control(**given)


def estimate_from(data: Mapping[str, Any]) -> Estimate:
    """Return the estimate that `plain` made JSON data of."""
    given: dict[str, Any] = {name: number(value) if name in _REAL else value for name, value in data.items()}
    return Estimate(**given)


_REAL = ("value", "low", "high", "level", "error", "freedom")


def judged(answer: Answer, threshold: Threshold, p_adjusted: float, alpha: float) -> Status:
    """Return the status of an answer.

    It fails where "the threshold is kept" is rejected at `alpha` after the adjustment for the plan, where every guarding
    control was passed. It passes where the whole interval keeps the threshold. Everything else is inconclusive, and
    without a threshold it is only measured.
    """
    if not threshold.declared:
        return "measured"
    if answer.cannot_fail:
        return "inconclusive"
    if p_adjusted <= alpha:
        return "fail"
    return "pass" if threshold.kept(answer.estimate) else "inconclusive"


def p_of(answer: Answer, threshold: Threshold, null: float | None = None) -> float:
    """Return the p-value of "the threshold is kept, or a guarding control explains the number".

    Args:
        answer: The answer.
        threshold: What was declared.
        null: Without a threshold the p-value is that of this number, which the question says there is where there is nothing
            to find; None where there is no such number, and then there is no p-value.
    """
    if not threshold.declared:
        nothing = answer.null if math.isfinite(answer.null) else null
        return float("nan") if nothing is None else answer.estimate.equals(nothing)
    guards = [control.p for control in answer.controls if control.guards]
    values = [threshold.p(answer.estimate), *guards]
    return float("nan") if any(math.isnan(value) for value in values) else max(values)
