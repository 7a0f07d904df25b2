"""The one result: a tidy frame with provenance, the numbers of every example behind it, and its pictures.

Reading, plotting and saving need neither torch nor the model.
"""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mechcausal.arguments import checked
from mechcausal.errors import ResultError
from mechcausal.results.intervals import mean_interval, mean_intervals, ratio_intervals
from mechcausal.results.kinds import Kept, name_of, named
from mechcausal.results.provenance import Provenance
from mechcausal.results.storage import replacing

if TYPE_CHECKING:
    import plotly.graph_objects as go

K = TypeVar("K", bound=Kept)

FORMAT = 1
_KEY = b"mechcausal"
COLUMNS = (
    "site", "component", "layer", "head", "neuron", "at", "position", "label",
    "value", "change", "change_low", "change_high", "effect", "effect_low", "effect_high", "n", "n_clusters",
)  # fmt: skip


@dataclass(frozen=True)
class Result(Kept):
    """One row per cell.

    Columns: `site component layer head neuron at position label` say where; `value` is the mean of the raw metric
    under the intervention, `change` is value minus the unedited run, `effect` is normalised over a contrast
    (0 = corrupt, 1 = clean), each of the last two with its interval; `n` examples in `n_clusters` clusters.

    Attributes:
        frame: The table.
        provenance: Where it comes from.
        examples: The metric of every example in every cell, [cell example]; NaN where a prompt lacks the position.
        baselines: The metric of every example in the unedited runs: `base`, and `clean` and `corrupt` of a contrast;
            [cell example] where every cell asks for something else.
        groups: The group of every example, where the prompts declare one.
        clusters: The cluster of every example, where the prompts declare one.
        tables: What else a method found, by name, as JSON data.
    """

    frame: pd.DataFrame
    provenance: Provenance
    examples: np.ndarray
    baselines: dict[str, np.ndarray] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    tables: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.frame)

    @property
    def normalised(self) -> bool:
        """Whether there is an effect, which needs a contrast whose two sides differ in the metric."""
        return bool(self.frame["effect"].notna().any())

    @property
    def shown(self) -> str:
        """The column that is drawn unless said otherwise: the value where it is a share, which then has its own interval."""
        if "value_low" in self.frame:
            return "value"
        return "effect" if self.normalised else "change"

    def top(self, k: int = 5, by: str | None = None) -> pd.DataFrame:
        """Return the `k` cells with the largest change, in absolute terms (or by another column)."""
        column = by or "change"
        if column not in self.frame:
            raise ResultError(f"there is no column {column!r}", expected=", ".join(self.frame.columns))
        return self.frame.loc[self.frame[column].abs().sort_values(ascending=False, kind="stable").index[:k]]

    def by_group(self) -> pd.DataFrame:
        """Return change and its interval for every cell in every group."""
        if not self.groups:
            raise ResultError("these prompts declare no groups", fix="build them with group=[...]")
        change, names = self.examples - np.atleast_2d(self.baselines["base"]), np.asarray(self.groups)
        rows = []
        for group in dict.fromkeys(self.groups):
            member = names == group
            clusters = tuple(np.asarray(self.clusters)[member]) if self.clusters else ()
            for number, cell in self.frame.iterrows():
                found = mean_interval(change[int(str(number)), member], clusters)
                rows.append(
                    {"site": cell["site"], "at": cell["at"], "label": cell["label"], "group": group}
                    | {"change": found.estimate}
                    | {"change_low": found.low, "change_high": found.high, "n": found.n}
                )
        return pd.DataFrame(rows)

    def summary(self, k: int = 5) -> str:
        """Say in a few lines what was done, between which values, and where the largest changes are."""
        p = self.provenance
        metric = p.arguments.get("metric", "metric")
        lines = [
            f"{p.method}: {len(self)} cells, {self.examples.shape[1]} examples, metric {metric}, {p.compute.get('forwards', '?')} forwards"
        ]
        means = ", ".join(
            f"{name} {np.nanmean(values):.3f}" for name, values in self.baselines.items() if name != "base"
        )
        if means:
            lines.append(f"unedited runs: {means}")
        if "clean" in self.baselines and not self.normalised:
            lines.append("clean and corrupt do not differ in this metric, so there is no normalised effect")
        for _, row in self.top(k).iterrows():
            place = row["site"] + ("" if row["at"] == "@all" else str(row["at"]))
            text = f"  {place:<24} change {row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}]"
            if np.isfinite(row["effect"]):
                text += f"  effect {row['effect']:.3f} [{row['effect_low']:.3f}, {row['effect_high']:.3f}]"
            lines.append(text)
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        from mechcausal.results.pictures import grids, svg

        pictures = "".join(svg(grid) for grid in grids(self, self.shown))
        return f"<div>{pictures}<pre>{html.escape(self.summary())}</pre></div>"

    def plot(self, column: str | None = None) -> go.Figure:
        """Draw a column as one heatmap per component; the figure shows offline and survives export to HTML."""
        from mechcausal.results.pictures import figure

        return figure(self, column or self.shown)

    def save(self, path: str | Path) -> Path:
        """Write everything to one parquet file, atomically."""
        return _write(self, Path(path), {"kind": name_of(type(self))})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a result as what it was when it was saved, with its properties and its pictures.

        `mc.Result.load` and `mc.results.load` read every result; a class of results reads those of its own kind.
        """
        return _load(cls, Path(path))

    @classmethod
    def restored(cls, path: Path, held: Mapping[str, Any], found: Mapping[str, Any]) -> Self:
        """Make one from what a file holds."""
        del path, found  # one file holds all there is
        return cls(**held)


class Judged(Kept):
    """Something that was found, with a result that judges it."""

    def told(self) -> tuple[Result, dict[str, Any]]:
        """Return the result and, as JSON data, what was found: `restored` makes it again of the two."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Write what was found and the result that judges it to one parquet file, atomically."""
        result, found = self.told()
        return _write(result, Path(path), {"kind": name_of(type(self)), "of": name_of(type(result)), "found": found})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""
        return _load(cls, Path(path))


@checked
def load(path: str | Path) -> Any:  # noqa: ANN401 - whatever was saved
    """Read what was saved as what it was: a result, or what was found together with its result."""
    return _load(Kept, Path(path))


def _write(result: Result, path: Path, told: Mapping[str, Any]) -> Path:
    if path.suffix != ".parquet":
        raise ResultError(
            "results are saved as parquet", got=path.name, fix=f"save to {path.with_suffix('.parquet').name}"
        )
    header = {
        "format": FORMAT,
        "provenance": result.provenance.to_json(),
        "baselines": {name: values.tolist() for name, values in result.baselines.items()},
        "types": {name: str(values.dtype) for name, values in result.baselines.items()},
        "groups": list(result.groups),
        "clusters": list(result.clusters),
        "tables": result.tables,
        **told,
    }
    table = pa.Table.from_pandas(result.frame.assign(examples=list(result.examples)), preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: json.dumps(header).encode()})
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
    return path


def _load(wanted: type[K], path: Path) -> K:
    """Read a file as the class that wrote it, which is to be of the kind that is wanted."""
    held, header = _read(path)
    # A file of before does not say what wrote it.
    kind: type[Kept] | None = wanted if issubclass(wanted, Result) else Result
    if "kind" in header:
        kind = named(header["kind"])
        if kind is None:
            told = f"{path} was written by {header['kind']}, which is not there: it is read as a plain result"
            warnings.warn(told, stacklevel=3)
            kind = Result
    if not issubclass(kind, wanted):
        fix = "mc.results.load reads it as what it is"
        raise ResultError(f"{path} is not a {wanted.__name__}", got=kind.__name__, fix=fix)
    if issubclass(kind, Judged):
        of = named(header["of"])
        judge = of if of is not None and issubclass(of, Result) else Result
        held = {"result": judge.restored(path, held, {})}
    return kind.restored(path, held, header.get("found", {}))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of the plain result that a file holds, and its header."""
    if not path.is_file():
        raise ResultError(f"there is no file {path}", fix="check the path")
    try:
        table = pq.read_table(path)
        header = json.loads((table.schema.metadata or {})[_KEY])
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise ResultError(f"{path} is not a mechcausal result", fix="load what Result.save wrote") from error
    if header["format"] != FORMAT:
        raise ResultError(f"{path} has another format", got=header["format"], expected=FORMAT, fix="update mechcausal")
    frame = table.to_pandas()
    examples = np.stack(frame.pop("examples").to_numpy()) if len(frame) else np.zeros((0, 0))
    types = header.get("types", {})
    held = {
        "frame": frame,
        "provenance": Provenance.from_json(header["provenance"]),
        "examples": examples,
        "baselines": {
            name: np.asarray(values, dtype=types.get(name, float)) for name, values in header["baselines"].items()
        },
        "groups": tuple(header["groups"]),
        "clusters": tuple(header["clusters"]),
        "tables": header.get("tables", {}),
    }
    return held, header


def tabulate(
    where: list[dict[str, Any]],
    examples: np.ndarray,
    baselines: dict[str, np.ndarray],
    clusters: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Return the frame of a result: where each cell is, and its value, change and effect with intervals.

    What else a method says of its cells follows in columns of its own.
    """
    clean, corrupt = baselines.get("clean"), baselines.get("corrupt")
    finite = np.isfinite(examples)
    change = mean_intervals(examples - baselines["base"], clusters)
    with np.errstate(invalid="ignore"):  # cells without a value: NaN
        value = np.where(finite, examples, 0.0).sum(1) / finite.sum(1)
    found = {"value": value, "n": change["n"], "n_clusters": change["n_clusters"]} | _named("change", change)
    found |= dict.fromkeys(("effect", "effect_low", "effect_high"), np.full(len(examples), np.nan))
    if clean is not None and corrupt is not None:
        found |= _named("effect", ratio_intervals(examples - corrupt, clean - corrupt, clusters))
    said = dict.fromkeys(name for place in where for name in place)
    told = {name: [place.get(name, np.nan) for place in where] for name in said}
    frame = pd.DataFrame(told | found, columns=[*COLUMNS, *(name for name in said if name not in COLUMNS)])
    counted = ("layer", "head", "neuron", "position", *(("feature",) if "feature" in frame else ()))
    return frame.astype(dict.fromkeys(counted, "Int64"))


def _named(what: str, interval: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {what: interval["estimate"], f"{what}_low": interval["low"], f"{what}_high": interval["high"]}
