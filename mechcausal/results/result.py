"""The one result: a tidy frame with provenance, the numbers of every example behind it, and its pictures.

Reading, plotting and saving need neither torch nor the model.
"""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mechcausal.arguments import Count, check, checked
from mechcausal.errors import MechcausalError, ResultError, shortened
from mechcausal.results.intervals import mean_interval
from mechcausal.results.kinds import Kept, name_of, named
from mechcausal.results.provenance import Provenance
from mechcausal.results.storage import SEAL, check_seal, write_sealed
from mechcausal.results.table import notes_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

K = TypeVar("K", bound=Kept)

FORMAT = 1
_KEY = b"mechcausal"
SURVIVES = 0.05
"""A cell survives the correction for all cells of its sweep where `p_max` is at most this."""
MARK, NO_MARK = "* ", "  "
_LEGEND = f"marked *: p_max <= {SURVIVES}"
_LEFT_OUT = ("component", "layer", "head", "neuron", "position", "label", "p", "q", "n_clusters", "effective_clusters")


@dataclass(frozen=True)
class Result(Kept):
    """One row per cell.

    The columns are described in `docs/results.md`. In short: `value` is the mean of the metric under the intervention,
    `change` is value minus the unedited run, `effect` is normalized over a contrast (0 = corrupt, 1 = clean), each of
    the last two with its interval. `p` tests "no change" in one cell; `q` and `p_max` are corrected for all cells of the
    table: `q` bounds the share of false findings, `p_max` the chance of a single one.

    A kind of result says what is its own in `_head_lines`, `_own_notes` and `_cell_lines`. `summary` and `notes` put that
    together with what holds for every kind, so that none can leave out what weakens it.

    Attributes:
        frame: The table.
        provenance: Where it comes from.
        examples: The metric of every example in every cell, [cell example]; NaN where a prompt lacks the position.
        baselines: The metric of every example in the unedited runs: `base`, and `clean` and `corrupt` of a contrast;
            [cell example] where every cell asks for something else.
        groups: The group of every example, where the prompts declare one.
        clusters: The cluster of every example, where the prompts declare one.
        tables: What else a method found, by name, as JSON data.
        influence: What each example adds to each cell through a quantity estimated on the same examples, such as the mean
            of an ablation: the intervals count it. It is not saved.
    """

    frame: pd.DataFrame
    provenance: Provenance
    examples: np.ndarray
    baselines: dict[str, np.ndarray] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    tables: dict[str, Any] = field(default_factory=dict)
    influence: np.ndarray | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.frame)

    @property
    def normalized(self) -> bool:
        """Whether there is an effect, which needs a contrast whose two sides differ in the metric."""
        return bool(self.frame["effect"].notna().any())

    @property
    def shown(self) -> str:
        """The column that is drawn unless said otherwise: the value where it is a share, which then has its own interval."""
        if "value_low" in self.frame:
            return "value"
        return "effect" if self.normalized else "change"

    @property
    def survives(self) -> pd.Series:
        """Which cells differ from no change after the correction for all cells: `p_max` is at most 0.05."""
        if "p_max" not in self.frame:
            return pd.Series(data=False, index=self.frame.index)
        return self.frame["p_max"].le(SURVIVES).fillna(value=False).astype(bool)

    @property
    def family(self) -> int:
        """How many cells were tested; `q` and `p_max` are corrected for all of them."""
        return int(self.frame["p_max"].notna().sum()) if "p_max" in self.frame else 0

    @property
    @final
    def notes(self) -> list[str]:
        """What a reader must know before believing intervals and p-values; empty where there is nothing."""
        return [*self._own_notes, *notes_of(self)]

    @property
    def _own_notes(self) -> list[str]:
        """What a reader must know of this kind of result, or of this very one."""
        return []

    @property
    def _tested(self) -> str:
        """What the summary says of cells that survive; empty where the rows are not cells among which to look for some."""
        return "cells differ from no change"

    @property
    def _ranked_by(self) -> str:
        """The column by which cells are ranked unless said otherwise."""
        return "change"

    def top(self, k: int = 5, by: str | None = None) -> pd.DataFrame:
        """Return the `k` cells with the largest change, or what the result ranks by, in absolute terms (or by another column).

        The largest of many cells is large by chance as well. Two columns say how much of that is accounted for:
        `survives` (`p_max` is at most 0.05) and `family`, the number of cells that this is corrected for. So that it fits
        a screen, what `site` and `at` say already is left out, and columns without a value; `frame` has them all.
        """
        check("top cannot take this 'k'", k, Count)
        check("top cannot take this 'by'", by, str | None)
        rows = self._ranked(k, by)
        kept = rows.loc[:, [name for name in rows if name not in _LEFT_OUT or name == by]]
        return kept.dropna(axis="columns", how="all").assign(survives=self.survives[rows.index], family=self.family)

    def _ranked(self, k: int, by: str | None = None) -> pd.DataFrame:
        """Return the rows of the `k` cells that are largest in a column, in absolute terms."""
        column = by or self._ranked_by
        if column not in self.frame:
            raise ResultError(f"there is no column {column!r}", expected=", ".join(self.frame.columns))
        return self.frame.loc[self.frame[column].abs().sort_values(ascending=False, kind="stable").index[:k]]

    def by_group(self) -> pd.DataFrame:
        """Return change and its interval for every cell in every group."""
        if not self.groups:
            raise ResultError("these prompts declare no groups", fix="build them with groups=[...]")
        change, names = self.examples - np.atleast_2d(self.baselines["base"]), np.asarray(self.groups)
        rows = []
        for group in dict.fromkeys(self.groups):
            member = names == group
            clusters = tuple(np.asarray(self.clusters)[member]) if self.clusters else ()
            for number, cell in self.frame.iterrows():
                interval = mean_interval(change[int(str(number)), member], clusters)
                rows.append(
                    {"site": cell["site"], "at": cell["at"], "label": cell["label"], "group": group}
                    | {"change": interval.estimate}
                    | {"change_low": interval.low, "change_high": interval.high, "n": interval.n}
                )
        return pd.DataFrame(rows)

    @final
    def summary(self, k: int | None = None) -> str:
        """Say in a few lines what was done, how many cells survive the correction, what to know, and the main cells.

        Args:
            k: How many cells at most; None for as many as this kind of result shows.
        """
        notes = [f"note: {note}" for note in self.notes]
        cells = self._cell_lines() if k is None else self._cell_lines(k)
        return "\n".join([*self._head_lines(), *self._survival_lines(), *notes, *cells])

    def _head_lines(self) -> list[str]:
        """Say what was done, and between which values."""
        p = self.provenance
        metric = p.arguments.get("metric", "metric")
        ran = f", {p.compute['forwards']} forwards" if "forwards" in p.compute else ""
        lines = [f"{p.method}: {len(self)} cells, {self.examples.shape[1]} examples, metric {metric}{ran}"]
        means = ", ".join(
            f"{name} {np.nanmean(values):.3f}" for name, values in self.baselines.items() if name != "base"
        )
        if means:
            lines.append(f"unedited runs: {means}")
        if "clean" in self.baselines and not self.normalized:
            lines.append("clean and corrupt do not differ in this metric, so there is no normalized effect")
        return lines

    @property
    def _legend(self) -> str:
        """What charts write below marked labels; empty where nothing is marked."""
        return f"{MARK}survives the correction for all {self.family} cells" if self.survives.any() else ""

    @property
    def _ring_legend(self) -> str:
        """What charts write below ringed points."""
        return f"ringed: {self._legend.removeprefix(MARK)}"

    def _ringed(self, rows: pd.DataFrame, column: str) -> dict[str, Any]:
        """Return the options of a line chart of rows that ring the survivors, at their places along a column."""
        survivors = rows.loc[self.survives[rows.index], column].astype(float).tolist()
        return {"ringed": survivors, "note": self._ring_legend} if survivors else {}

    def _survival_lines(self) -> list[str]:
        """Say how many cells survive the correction for all of them."""
        if not self._tested or not self.family:
            return []
        survivors = int(self.survives.sum())
        return [f"{survivors} of {self.family} {self._tested} after correction for all of them ({_LEGEND})"]

    def _cell_lines(self, k: int = 5) -> list[str]:
        """Say what the main cells are, one a line."""
        lines = []
        for _, row in self._ranked(k).iterrows():
            place = row["site"] + ("" if row["at"] == "@all" else str(row["at"]))
            text = f"{mark_of(row)}{place:<24} change {_with_interval(row, 'change', '+.3f')}"
            if np.isfinite(row["effect"]):
                text += f"  effect {_with_interval(row, 'effect', '.3f')}"
            lines.append(text)
        return lines

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

    @checked
    def save(self, path: str | Path) -> Path:
        """Write everything to one parquet file, atomically."""
        return _write(self, Path(path), {"kind": name_of(type(self))})

    @classmethod
    @checked
    def load(cls, path: str | Path) -> Self:
        """Read a result as what it was when it was saved, with its properties and its pictures.

        `mc.Result.load` and `mc.results.load` read every result; a class of results reads those of its own kind.
        """
        return _load(cls, Path(path))

    @classmethod
    def restored(cls, path: Path, fields: Mapping[str, Any], extras: Mapping[str, Any]) -> Self:
        """Make one from what a file holds."""
        del path, extras  # one file holds all there is
        return cls(**fields)


def mark_of(row: Any, column: str = "p_max") -> str:  # noqa: ANN401 - a row of a data frame
    """Return the mark of a cell that survives the correction for all cells, or as much space."""
    return MARK if row.get(column, np.nan) <= SURVIVES else NO_MARK


def marked(row: Any, label: str) -> str:  # noqa: ANN401 - a row of a data frame
    """Return the label of a cell as charts write it: with the mark where the cell survives the correction."""
    return f"{MARK}{label}" if mark_of(row) == MARK else label


def _with_interval(row: Any, name: str, form: str) -> str:  # noqa: ANN401 - a row of a data frame
    """Return an estimate as text, with its interval where there is one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    text = format(row[name], form)
    return f"{text} [{format(low, form)}, {format(high, form)}]" if np.isfinite(low) and np.isfinite(high) else text


class Judged(Kept):
    """Something that was found, with a result that judges it."""

    def told(self) -> tuple[Result, dict[str, Any]]:
        """Return the result and, as JSON data, what was found: `restored` makes it again of the two."""
        raise NotImplementedError

    @checked
    def save(self, path: str | Path) -> Path:
        """Write what was found and the result that judges it to one parquet file, atomically."""
        result, record = self.told()
        return _write(result, Path(path), {"kind": name_of(type(self)), "of": name_of(type(result)), "found": record})

    @classmethod
    @checked
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""
        return _load(cls, Path(path))


@checked
def load(path: str | Path) -> Any:  # noqa: ANN401 - whatever was saved
    """Read what was saved as what it was: a result, or what was found together with its result."""
    return _load(Kept, Path(path))


def _write(result: Result, path: Path, extra: Mapping[str, Any]) -> Path:
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
        **extra,
    }
    table = pa.Table.from_pandas(result.frame.assign(examples=list(result.examples)), preserve_index=False)
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(header).encode(), b"checksum": SEAL.encode()}
    table = table.replace_schema_metadata(metadata)
    return write_sealed(path, lambda temporary: pq.write_table(table, temporary))


def _load(wanted: type[K], path: Path) -> K:
    """Read a file as the class that wrote it, which is to be of the kind that is wanted."""
    fields, header = _read(path)
    with _readable(path):
        kind = _kind_of(header, wanted, path)
        if not issubclass(kind, wanted):
            fix = "mc.results.load reads it as what it is"
            raise ResultError(f"{path} is not a {wanted.__name__}", got=kind.__name__, fix=fix)
        if issubclass(kind, Judged):
            of = named(header["of"])
            judge = of if of is not None and issubclass(of, Result) else Result
            fields = {"result": judge.restored(path, fields, {})}
        return kind.restored(path, fields, header.get("found", {}))


def _kind_of(header: Mapping[str, Any], wanted: type[Kept], path: Path) -> type[Kept]:
    """Return the class that a file names; a plain result where there is no such class."""
    if "kind" not in header:  # a file of before does not say what wrote it
        return wanted if issubclass(wanted, Result) else Result
    kind = named(header["kind"])
    if kind is None:
        said = (
            f"{path} was written by {shortened(str(header['kind']))}, which is not there: it is read as a plain result"
        )
        warnings.warn(said, stacklevel=4)
        return Result
    return kind


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """Say of a file whose content is not what its class expects that it is no result of ours."""
    try:
        yield
    except MechcausalError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, pa.ArrowException) as error:
        raise ResultError(
            f"{path} is not a mechcausal result", got=shortened(f"{type(error).__name__}: {error}"),
            fix="load what Result.save wrote",
        ) from error  # fmt: skip


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of the plain result that a file holds, and its header."""
    check_seal(path, "a mechcausal result")
    with _readable(path):
        table = pq.read_table(path)
        header = json.loads((table.schema.metadata or {})[_KEY])
        if header["format"] != FORMAT:
            raise ResultError(
                f"{path} has another format",
                got=shortened(str(header["format"])),
                expected=FORMAT,
                fix="update mechcausal",
            )
        frame = table.to_pandas()
        examples = np.stack(frame.pop("examples").to_numpy()) if len(frame) else np.zeros((0, 0))
        types = header.get("types", {})
        baselines = {
            str(name): np.asarray(values, dtype=types.get(name, float)) for name, values in header["baselines"].items()
        }
        fields = {
            "frame": frame,
            "provenance": Provenance.from_json(header["provenance"]),
            "examples": examples,
            "baselines": baselines,
            "groups": tuple(header["groups"]),
            "clusters": tuple(header["clusters"]),
            "tables": dict(header.get("tables", {})),
        }
    return fields, header
