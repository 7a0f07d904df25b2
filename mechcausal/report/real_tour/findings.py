"""What the tour of a real model found: numbers for machines, a summary for people, and the files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mechcausal.report.real_tour.page import page_of
from mechcausal.report.writing import write_report
from mechcausal.results.result import Result


@dataclass
class RealFindings:
    """What the tour found.

    Attributes:
        model: The model, by name.
        numbers: Everything that is stated, as JSON data.
        sweeps: The results behind it, by name.
    """

    model: str
    numbers: dict[str, Any]
    sweeps: dict[str, Result] = field(default_factory=dict)

    def summary(self) -> str:
        """Return a dozen lines that a stranger understands."""
        objects, gender, steering = (self.numbers[name] for name in ("indirect_objects", "gender", "steering"))
        lines = [
            f"{self.model}: a language model whose mechanism nobody has written down. All shares have intervals in the report.",
            f"Indirect objects: {objects['accuracy'][0]:.0%} right, log-odds {objects['logit_diff'][0]:.2f}.",
            f"  Heads that carry it at the end: {_listed(objects['carriers'])}; against it: {_listed(objects['against'])}.",
            f"  Earlier, at the second mention of the subject: {_listed(objects['earlier'])}.",
        ]
        for row in objects["silenced"][:1]:
            controls = sum(row["controls"]) / max(1, len(row["controls"]))
            lines.append(
                f"  With these heads at their mean, log-odds fall from {row['before']:.2f} to {row['after']:.2f} on other pairs "
                f"(other heads of the same layers: {controls:+.2f})."
            )
        lines += [
            f"Gender of occupations: total effect {gender['total_effect'][0]:.2f} on the log-odds of the pronoun.",
            f"  It leaves the occupation for the end at {gender['passes_over'] or 'no layer'}; heads: {_listed(gender['heads'][:3])}.",
            f"  Readable but not used: {len(gender['readable_not_used'])} of {len(gender['stream'])} cells of the lens.",
        ]
        best = max(steering["doses"], key=lambda row: row["change"])
        asked = steering["asked"]
        lines += [
            f"Steering at {steering['site']}: dose {best['dose']:g} changes she against he by {best['change']:+.2f} "
            f"(random directions: {best['random_low']:+.2f} to {best['random_high']:+.2f}),",
            f"  and costs {best['kl']:.2f} nats a token on neutral text; asking changes it by {asked['change']:+.2f}, "
            f"at {asked['kl']:.2f} nats.",
        ]
        return "\n".join(lines)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write report.html and report.json, each atomically, and return their paths."""
        return write_report(folder, page_of(self.model, self.numbers, self.sweeps), self.numbers, self.sweeps)


def _listed(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['site']} ({row['effect']:.2f})" for row in rows) or "none"
