"""Compare two reports: which findings moved, paired by example where both have the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype

from mechcausal.arguments import checked
from mechcausal.audits.estimate import Estimate
from mechcausal.audits.filed import write_document
from mechcausal.audits.finding import Answer, Finding
from mechcausal.audits.mitigation.sweep import difference
from mechcausal.audits.plain import plain
from mechcausal.audits.question import QUESTIONS
from mechcausal.audits.report import Report
from mechcausal.errors import MechcausalError, ResultError, did_you_mean
from mechcausal.results.charts import Bars, bar_chart
from mechcausal.results.multiplicity import holm

VERSION = 1
ALPHA = 0.05
"""From which adjusted p-value on a finding is said to have moved."""
_RANK = {"pass": 0, "measured": 0, "not-run": 1, "inconclusive": 1, "fail": 2, "error": 3}
_NUMBERS = ("unit", "pair", "prompt", "item")
"""The columns of examples that say which unit of the data they are."""
_FREE = ("id", "at_most", "at_least", "data")  # what may differ between two questions about the same number


@dataclass(frozen=True)
class Change:
    """One finding in two reports.

    Attributes:
        before: The finding of the first report.
        after: That of the second.
        difference: By how much the second number exceeds the first; None where they cannot be compared.
        paired: Whether it rests on the same examples, one by one.
        p_adjusted: The p-value of no difference, adjusted for all findings (Holm); NaN without a difference.
        note: Why there is no difference, or what else differs between the two questions.
    """

    before: Finding
    after: Finding
    difference: Estimate | None = None
    paired: bool = False
    p_adjusted: float = float("nan")
    note: str = ""

    @property
    def moved(self) -> bool:
        """Whether the number differs by more than chance."""
        return bool(self.p_adjusted <= ALPHA)

    def row(self) -> dict[str, Any]:
        """Return it as one row of a table."""
        row: dict[str, Any] = {
            "id": self.before.id, "question": self.before.question, "status_before": self.before.status,
            "status_after": self.after.status,
        }  # fmt: skip
        for name, finding in (("before", self.before), ("after", self.after)):
            row[name] = np.nan if finding.estimate is None else finding.estimate.value
        gap = self.difference
        return row | {
            "difference": np.nan if gap is None else gap.value, "low": np.nan if gap is None else gap.low,
            "high": np.nan if gap is None else gap.high, "p": np.nan if gap is None else gap.zero(),
            "p_adjusted": self.p_adjusted, "moved": self.moved, "paired": self.paired, "note": self.note,
        }  # fmt: skip

    def __str__(self) -> str:
        """Print as one line."""
        status = (
            self.before.status
            if self.before.status == self.after.status
            else f"{self.before.status} -> {self.after.status}"
        )
        if self.difference is None:
            return f"{self.before.id} ({status}): not compared, {self.note}"
        how = "paired" if self.paired else "not paired"
        verdict = "moved" if self.moved else "no change found"
        note = f"; {self.note}" if self.note else ""
        values = f"{self.row()['before']:.3g} -> {self.row()['after']:.3g}"
        return f"{self.before.id} ({status}): {values}, difference {self.difference}, {how}, {verdict}{note}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two reports, finding by finding.

    Attributes:
        before: The first report.
        after: The second.
        changes: The findings that both have.
        only_before: The ids that only the first has.
        only_after: The ids that only the second has.
    """

    before: Report
    after: Report
    changes: tuple[Change, ...]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Change:
        """Return the finding of that id."""
        ids = {change.before.id: change for change in self.changes}
        if name not in ids:
            raise ResultError(f"the comparison has no finding {name!r}", fix=did_you_mean(name, ids))
        return ids[name]

    def __len__(self) -> int:
        """Return the number of findings that both have."""
        return len(self.changes)

    @property
    def moved(self) -> list[str]:
        """The ids of the findings that moved."""
        return [change.before.id for change in self.changes if change.moved]

    @property
    def worse(self) -> list[str]:
        """The ids of the findings whose status became worse: from pass to inconclusive or fail, or to an error."""
        return [change.before.id for change in self.changes if _RANK[change.after.status] > _RANK[change.before.status]]

    def frame(self) -> pd.DataFrame:
        """Return one row for each finding that both reports have."""
        return pd.DataFrame([change.row() for change in self.changes])

    def examples(self, name: str) -> pd.DataFrame:
        """Return the examples behind a finding, those of both reports side by side, the largest changes first.

        Args:
            name: The id of the finding.
        """
        change = self[name]
        if not change.paired or change.before.answer is None or change.after.answer is None:
            raise ResultError(
                f"the examples of {name} are not the same in both reports", got=change.note or "not paired"
            )
        if not change.before.answer.units:
            raise ResultError(f"no single example has a part of {name}, which was compared draw by draw")
        first, second = (np.array(finding.answer.units) for finding in (change.before, change.after) if finding.answer)
        table = pd.DataFrame(
            {"unit": np.arange(len(first)), "before": first, "after": second, "change": second - first}
        )
        sides = [_by_unit(finding, len(first)) for finding in (change.before, change.after)]
        if sides[0] is not None and sides[1] is not None:
            table = table.join(sides[0].add_suffix("_before")).join(sides[1].add_suffix("_after"))
        return table.sort_values("change", key=np.abs, ascending=False, kind="stable").reset_index(drop=True)

    @property
    def figures(self) -> list[Bars]:
        """The numbers of both reports side by side."""
        rows = [
            (change.before.id, estimate.value, estimate.low, estimate.high, name)
            for change in self.changes
            for name, estimate in (("before", change.before.estimate), ("after", change.after.estimate))
            if estimate is not None
        ]
        return (
            [bar_chart(rows, "Findings in both reports", "each in its own unit", order=("before", "after"))]
            if rows
            else []
        )

    def summary(self) -> str:
        """Say in a line for each finding whether it moved."""
        names = [report.run["model"].get("name", "?") for report in (self.before, self.after)]
        lines = [
            f"{self.before.title}: {names[0]} -> {names[1]}, {len(self.moved)} of {len(self)} findings moved"
            + (f", {len(self.worse)} became worse" if self.worse else "")
        ]
        lines += [f"  {change}" for change in self.changes]
        lines += [f"  {name}: only in the first report" for name in self.only_before]
        lines += [f"  {name}: only in the second report" for name in self.only_after]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<div>{self.frame().to_html(index=False, float_format=lambda x: f'{x:.3g}')}</div>"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        reports = [
            {"title": report.title, **{name: report.run[name] for name in ("created", "model", "plan_hash")}}
            for report in (self.before, self.after)
        ]
        return plain(
            {
                "version": VERSION, "before": reports[0], "after": reports[1],
                "changes": [change.row() for change in self.changes], "moved": self.moved, "worse": self.worse,
                "only_before": self.only_before, "only_after": self.only_after,
            }
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the comparison to a JSON file, atomically.

        Args:
            path: The file, or a folder, in which it is called comparison.json.
        """
        return write_document(path, "comparison.json", self.to_json())


@checked
def compare(before: Report | str | Path, after: Report | str | Path) -> Comparison:
    """Compare two reports, finding by finding: of two models, of a model before and after, of two versions.

    Findings are matched by their ids. Where both reports have the same examples (the same digest of the data), the
    difference is that of each example with itself; else the two numbers are taken to be independent.

    Args:
        before: A report, its folder or its audit.json.
        after: Another one.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> plan = mc.audit.Plan([mc.audit.Flips(mc.contrast("hiring/gender", model, n=16))], networks=0)
        >>> report = plan.run(model, quiet=True)
        >>> mc.audit.compare(report, report).moved
        []
    """
    first, second = (report if isinstance(report, Report) else Report.load(report) for report in (before, after))
    others = {finding.id: finding for finding in second}
    changes = [_change(finding, others[finding.id]) for finding in first if finding.id in others]
    p = np.array([np.nan if change.difference is None else change.difference.zero() for change in changes])
    adjusted = holm(p) if len(p) else p
    changes = [
        Change(c.before, c.after, c.difference, c.paired, float(value), c.note)
        for c, value in zip(changes, adjusted, strict=True)
    ]
    ids = {finding.id for finding in first}
    return Comparison(
        first, second, tuple(changes), tuple(finding.id for finding in first if finding.id not in others),
        tuple(finding.id for finding in second if finding.id not in ids),
    )  # fmt: skip


def _change(before: Finding, after: Finding) -> Change:
    if before.question != after.question:
        return Change(before, after, note=f"the questions differ: {before.question} and {after.question}")
    specs = [_set(each.spec) for each in (before, after)]
    if specs[0] != specs[1]:
        names = sorted(name for name in {**specs[0], **specs[1]} if specs[0].get(name) != specs[1].get(name))
        return Change(before, after, note=f"the questions differ in {', '.join(names)}")
    missing = [each for each in (before, after) if each.answer is None]
    if missing:
        return Change(before, after, note=f"one of them has no answer: {missing[0].error}")
    assert before.answer is not None
    assert after.answer is not None
    same = _digests(before) == _digests(after)
    gap, paired = difference(after.answer, before.answer) if same else (_apart(before, after), False)
    notes = [] if same else ["the data differ"]
    if same and not paired:
        notes.append(_why_not_paired(after.answer, before.answer))
    notes += ["the thresholds differ"] if before.threshold != after.threshold else []
    return Change(before, after, gap, paired, note=", ".join(notes))


def _why_not_paired(*answers: Answer) -> str:
    """Say why two numbers from the same data are not compared unit by unit."""
    if all(answer.estimate.law == "exact" for answer in answers):
        return "the number is a count or a maximum without a standard error, so whether it moved by more than chance is not known"
    if all(answer.units or answer.resamples for answer in answers):
        return (
            "other examples of the data were judged (another seed chose them), so the numbers are taken as independent"
        )
    return "there is no number for each unit, so the two standard errors are combined as if independent"


def _set(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was set in a question; older reports hold nothing else, newer ones every field."""
    kind = QUESTIONS[spec["ask"]] if spec.get("ask") in QUESTIONS else None
    try:
        defaults = {} if kind is None else plain(kind("data").in_full())
    except (MechcausalError, TypeError):  # it needs more than data: labels, a mediator
        listed = () if kind is None else fields(kind)
        defaults = {part.name: plain(part.default) for part in listed if part.default is not MISSING}
    kept = [name for name in spec if name == "ask" or name not in defaults or spec[name] != defaults[name]]
    return {name: spec[name] for name in kept if name not in _FREE}


def _apart(before: Finding, after: Finding) -> Estimate:
    """Return the difference of two numbers from different examples."""
    assert before.answer is not None
    assert after.answer is not None
    from dataclasses import replace

    return difference(replace(after.answer, units=()), replace(before.answer, units=()))[0]


def _by_unit(finding: Finding, count: int) -> pd.DataFrame | None:
    """Return the examples in the order of the units; None where they are not one for each.

    Examples stand with the largest first, so it is their number in the data that says which unit they are.
    """
    examples = finding.examples()
    if len(examples) != count or "site" in examples:  # of sites, of which there may be as many
        return None
    numbers = next((examples[name] for name in _NUMBERS if name in examples and is_integer_dtype(examples[name])), None)
    if numbers is None:
        return examples
    return None if numbers.duplicated().any() else examples.loc[numbers.sort_values().index].reset_index(drop=True)


def _digests(finding: Finding) -> dict[str, Any]:
    return {name: data.get("digest") for name, data in finding.data.items()}
