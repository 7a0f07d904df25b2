"""What a search for directions found, and one sentence that says what to make of it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import subspace_angles

from mechcausal.address import Place
from mechcausal.causal.alignment.interchanged import ALIGNED, Interchange
from mechcausal.errors import DataError
from mechcausal.results.result import Judged

WHOLE, RANDOM, UNSEEN = "whole place", "random directions", "unseen values"
LABELS, PLACEBO, UNTRAINED = "random labels", "placebo place", "untrained network"
_NOTHING = (LABELS, UNTRAINED)  # where there is nothing to find; another place may well carry the variable too
_GAP = 0.1  # more than this lost between the prompts searched on and those held out is over-fitting


@dataclass(frozen=True)
class Aligned(Judged):
    """What a search found, judged on prompts that it never saw.

    Attributes:
        variable: The variable.
        part: The place with the subspace that was found; it can stand in the alignment of a `Hypothesis`.
        result: A row for what was found and one for each control, in the columns of `interchange`; `train` and
            `train_iia` are `value` and `iia` on the prompts searched on, `angle_least` and `angle` are the smallest
            and the largest principal angle in degrees to the subspace that the hypothesis names, where it names one.
        losses: The loss at every step, at the temperature of that step.
    """

    variable: str
    part: Place
    result: Interchange
    losses: tuple[float, ...]

    def told(self) -> tuple[Interchange, dict[str, Any]]:
        """Return the result, and variable, part and losses as JSON data."""
        return self.result, {"variable": self.variable, "part": self.part.to_json(), "losses": list(self.losses)}

    @classmethod
    def restored(cls, path: Path, fields: Mapping[str, Any], extras: Mapping[str, Any]) -> Aligned:
        """Make one from what a file holds."""
        del path  # one file holds all there is
        return cls(extras["variable"], Place.parse(extras["part"]), fields["result"], tuple(extras["losses"]))

    @property
    def basis(self) -> np.ndarray:
        """The directions, orthonormal rows, [k feature]."""
        return np.array(self.part.basis)

    @property
    def changed(self) -> float:
        """IIA over held-out pairs whose answer changes: the honest number."""
        return self._found("value")

    @property
    def test_iia(self) -> float:
        """IIA over all held-out pairs."""
        return self._found("iia")

    @property
    def train_changed(self) -> float:
        """IIA over the pairs searched on whose answer changes."""
        return self._found("train")

    @property
    def train_iia(self) -> float:
        """IIA over all pairs searched on."""
        return self._found("train_iia")

    @property
    def angle(self) -> float:
        """The largest principal angle to the subspace that the hypothesis names, in degrees; NaN if it names none."""
        return self._found("angle")

    @property
    def over_fits(self) -> bool:
        """Whether much of what was found on the prompts searched on is not there on held-out ones."""
        return self.train_changed - self.changed > _GAP

    @property
    def above_chance(self) -> bool:
        """Whether held-out pairs show that something of the variable is carried there."""
        return _above_chance(self.result.frame.iloc[0])

    @property
    def controls(self) -> pd.DataFrame:
        """What the same search finds where there is nothing to find, and what no search gives."""
        frame = self.result.frame
        return frame.loc[
            frame["role"] != ALIGNED, ["role", "label", "value", "value_low", "value_high", "iia", "train"]
        ]

    def angles(self, to: Any) -> np.ndarray:  # noqa: ANN401 - rows, or a part with a basis
        """Return the principal angles to another subspace in degrees, smallest first."""
        rows = np.atleast_2d(np.array(to.basis if isinstance(to, Place) else to, dtype=float))
        if rows.shape[1] != self.basis.shape[1]:
            raise DataError(
                "the other subspace is one of another activation",
                got=f"{rows.shape[1]} features",
                expected=self.basis.shape[1],
            )
        return angles_between(self.basis, rows)

    @property
    def verdict(self) -> str:
        """Say in one sentence what to make of it."""
        frame = self.result.frame
        row = frame.iloc[0]
        k = len(self.part.basis)
        place = f"{k} direction{'s' if k > 1 else ''} of {self.part.site}{self.part.at}"
        estimate = f"{row['value']:.2f} [{row['value_low']:.2f}, {row['value_high']:.2f}]"
        of_what = f"of the answers that {self.variable} changes"
        searched = frame[frame["role"].isin([*_NOTHING, PLACEBO])]
        comparison = ", ".join(f"{rival['role']} {rival['value']:.2f}" for _, rival in searched.iterrows())
        against = f" ({comparison})" if comparison else ""
        if not self.above_chance:
            if self.over_fits and row["train"] > row["chance"] + _GAP:
                return (
                    f"over-fits: {place} give {row['train']:.2f} {of_what} on the prompts searched on, "
                    f"and {estimate} on held-out ones, which is not above chance{against}"
                )
            return f"not above chance: {place} give {estimate} {of_what}{against}"
        rivals = searched[searched["role"].isin(_NOTHING)]
        if len(rivals) and rivals["value"].max() >= row["value_low"]:
            best = rivals.loc[rivals["value"].idxmax()]
            return f"no better than a control: {place} give {estimate} {of_what}, {best['role']} {best['value']:.2f}"
        if self.over_fits:
            return (
                f"over-fits: {place} give {row['train']:.2f} {of_what} on the prompts searched on, "
                f"but {estimate} on held-out ones{against}"
            )
        verb = ("carry" if k > 1 else "carries") + ("" if row["value"] >= 1 - _GAP else " part of")
        return f"{place} {verb} {self.variable}: {estimate} of the answers it changes on held-out prompts{against}{self._turned()}{self._elsewhere()}"

    def _elsewhere(self) -> str:
        """Say if the placebo does as well."""
        frame = self.result.frame
        alike = frame[(frame["role"] == PLACEBO) & (frame["value"] >= frame["value_low"].iloc[0])]
        return f"; {alike['label'].iloc[0]} does as well, so the place is not singled out" if len(alike) else ""

    def _turned(self) -> str:
        """Say how far the directions are from the known ones."""
        if np.isnan(self.angle):
            return ""
        least = f"{self._found('angle_least'):.0f} to " if len(self.part.basis) > 1 else ""
        return f"; {least}{self.angle:.0f} degrees from the subspace that the hypothesis names"

    def __repr__(self) -> str:
        """Say what was found, and the rows behind it."""
        return f"{self.verdict}\n{self.result.summary()}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.verdict)}</p>{self.result._repr_html_()}"

    def _found(self, column: str) -> float:
        return float(self.result.frame[column].iloc[0])


def angles_between(rows: np.ndarray, other_rows: np.ndarray) -> np.ndarray:
    """Return the principal angles between the spans of two sets of rows in degrees, smallest first."""
    return np.sort(np.degrees(subspace_angles(rows.T, other_rows.T)))


def _above_chance(row: pd.Series) -> bool:
    """Say whether a row beats both a random answer and every guess that knows nothing of the source."""
    return bool(row["value_low"] > row["chance"] and row["iia_low"] > row["blind"])
