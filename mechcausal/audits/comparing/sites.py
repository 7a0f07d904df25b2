"""What became of each place of a model: its effect in both models, and what its own weights changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mechcausal.audits.estimate import Estimate
from mechcausal.audits.filed import read_document, write_document
from mechcausal.audits.finding import estimate_from
from mechcausal.audits.plain import plain
from mechcausal.results.charts import Bars, bar_chart

VERSION = 1
CHANGED_ITSELF, EFFECT_CHANGED, NOTHING_FOUND = "changed itself", "effect changed", "no change found"
_SHOWN = 12  # bars of the figure


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Two models of one shape on the same pairs, place by place.

    Columns of `frame()`: `kind` (`site` or `edge`) and `site`; `base` and `tuned`, the effect of the place in each model: by how
    much the metric of the clean prompt falls when the place takes what it is in the corrupt one; `change` = tuned - base
    with its interval and the p-value of no change, adjusted for all places of the kind (max-T); `weights` with the same:
    by how much the total effect of the base model changes when the place alone computes with the weights of the
    tuned model, from what it reads in the base model. `verdict` is `changed itself` where `weights` is significant,
    `effect changed` where only `change` is (something before or behind it changed), else `no change found`.

    Attributes:
        rows: The table.
        total: The total effect in the base model, in the tuned one, and their difference, by the words `base`, `tuned`, `change`.
        run: The models, the pairs, the metric.
    """

    rows: pd.DataFrame
    total: Mapping[str, Estimate]
    run: Mapping[str, Any] = field(default_factory=dict)

    def frame(self) -> pd.DataFrame:
        """Return one row for each place."""
        return self.rows

    @property
    def changed(self) -> list[str]:
        """The places whose own weights changed what they do to the metric, the largest change first."""
        return self._named(CHANGED_ITSELF, "weights")

    @property
    def affected(self) -> list[str]:
        """The places whose effect changed because of others, the largest change first."""
        return self._named(EFFECT_CHANGED, "change")

    def _named(self, verdict: str, by: str) -> list[str]:
        chosen = self.rows[self.rows["verdict"] == verdict]
        return [str(site) for site in chosen.sort_values(by, key=lambda column: -column.abs(), kind="stable")["site"]]

    @property
    def figures(self) -> list[Bars]:
        """What the own weights of each place changed, and how its effect changed; the largest first."""
        made = []
        for column, title in (
            ("weights", "What the new weights of each place do to the total effect"),
            ("change", "Change of the effect of each place"),
        ):
            rows = self.rows[self.rows[column].notna()].sort_values(column, key=lambda x: -x.abs(), kind="stable")
            bars = [
                (row["site"], row[column], row[f"{column}_low"], row[f"{column}_high"], row["verdict"])
                for _, row in rows.head(_SHOWN).iterrows()
            ]
            if bars:
                order = (CHANGED_ITSELF, EFFECT_CHANGED, NOTHING_FOUND)
                made.append(bar_chart(bars, title, str(self.run.get("metric", "metric")), order=order))
        return made

    def summary(self, k: int = 8) -> str:
        """Say how the total effect changed, and which places did."""
        names = [str(self.run.get(word, {}).get("name", word)) for word in ("base", "tuned")]
        total = self.total
        lines = [
            f"{names[0]} -> {names[1]}: total effect {total['base']} -> {total['tuned']}, change {total['change']}"
        ]
        for verdict, by in ((CHANGED_ITSELF, "weights"), (EFFECT_CHANGED, "change")):
            sites = self._named(verdict, by)
            rows = self.rows.set_index("site")
            for site in sites[:k]:
                row = rows.loc[site]
                lines.append(f"  {site} {verdict}: {row[by]:.3g} [{row[f'{by}_low']:.3g}, {row[f'{by}_high']:.3g}]")
            lines += [f"  and {len(sites) - k} more with {verdict!r}"] if len(sites) > k else []
        quiet = int((self.rows["verdict"] == NOTHING_FOUND).sum())
        return "\n".join([*lines, f"  no change found at {quiet} of {len(self.rows)} places"])

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<div>{self.rows.to_html(index=False, float_format=lambda x: f'{x:.3g}')}</div>"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data, from which `load` makes an equal comparison."""
        total = {name: vars(estimate) for name, estimate in self.total.items()}
        rows = {"columns": list(self.rows.columns), "rows": self.rows.astype(object).to_numpy().tolist()}
        return plain({"version": VERSION, "total": total, "rows": rows, "run": self.run})

    def save(self, path: str | Path) -> Path:
        """Write the comparison to a JSON file, atomically.

        Args:
            path: The file, or a folder, in which it is called models.json.
        """
        return write_document(path, "models.json", self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> ModelComparison:
        """Read a comparison from its file or its folder."""
        words = {"what": "a comparison of two models", "fix": "make one with audit.compare_models"}
        return read_document(path, "models.json", cls._of, version=VERSION, **words)

    @classmethod
    def _of(cls, data: Mapping[str, Any]) -> ModelComparison:
        rows = pd.DataFrame(data["rows"]["rows"], columns=data["rows"]["columns"])
        numbers = [name for name in rows if name not in ("kind", "site", "verdict")]
        rows[numbers] = rows[numbers].astype(float)
        return cls(rows, {name: estimate_from(estimate) for name, estimate in data["total"].items()}, data["run"])
