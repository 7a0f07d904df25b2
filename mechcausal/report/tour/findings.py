"""What the tour found: numbers for machines, a summary of ten lines, a page for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mechcausal.report.tour.page import kept, page_of
from mechcausal.report.writing import write_report
from mechcausal.results.result import Result


@dataclass
class Findings:
    """What the tour found.

    Attributes:
        model: The model, by name.
        numbers: Everything that is stated, as JSON data.
        sweeps: The sweeps behind it, by name.
    """

    model: str
    numbers: dict[str, Any]
    sweeps: dict[str, Result] = field(default_factory=dict)

    def summary(self) -> str:
        """Return ten lines that a stranger understands."""
        numbers = self.numbers
        behavior, canary, comparison = numbers["behavior"], numbers["canary"], numbers["comparison"]
        _, suppressed, control = numbers["suppression"]
        heads = self.sweeps["heads"].frame.set_index("site")["effect"]
        carriers = ", ".join(f"{site} ({heads[site]:.0%})" for site in numbers["carriers"]["gender"]) or "none"
        wrong = [row["mechanism"] for row in comparison if not row["same"]]
        secret_sites = ", ".join(canary["silenced_sites"]) or "no head"
        lines = [
            f"{self.model}: a small model that decides about applicants. Its mechanism is known, and not used until the end.",
            f"Written as 'he', {behavior['accepted_as_he']:.0%} of {numbers['pairs']} applicants are accepted; "
            f"as 'she', {behavior['accepted_as_she']:.0%}.",
            f"Swapping gender alone changes {behavior['flip_rate']:.0%} of the decisions.",
            f"Heads that carry gender to the decision (share of the effect): {carriers}.",
            f"With these heads taken from another applicant, {suppressed['flip_rate']:.0%} of decisions change with gender;",
            f"  the effect of qualification stays at {kept(numbers['suppression'])} "
            f"(control, other heads: {control['flip_rate']:.0%} of decisions change).",
            f"The model tells {canary['extracted']} of {len(canary['memorized'])} secret numbers: "
            f"{_mean(canary['memorized']):.1f} of {canary['most_possible_bits']:.1f} bits each "
            f"(numbers it never saw: {_mean(canary['never_seen']):.1f}; chance: 1.4).",
            f"Head that carries the secret: {secret_sites}. Set to zero, {_mean(canary['silenced']):.1f} bits are left;",
            f"  with {', '.join(canary['control_sites']) or 'no head'} set to zero instead, {_mean(canary['control']):.1f}.",
            f"Against the shipped truth: {len(comparison) - len(wrong)} of {len(comparison)} mechanisms are where they were "
            + ("found." if not wrong else f"found. NOT: {'; '.join(wrong)}."),
        ]
        return "\n".join(lines)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write report.html and report.json, each atomically, and return their paths."""
        return write_report(folder, page_of(self.model, self.numbers, self.sweeps), self.numbers, self.sweeps)


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))
