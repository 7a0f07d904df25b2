"""A run as its folder tells it: what is done, its tables, and the results that the methods would have returned.

    run = mc.Run("out/r")
    run.status()                       # planned, done, failed, for each step
    run.result("heads")                # a Result, rebuilt from its rows
    run.table("heads")                 # the rows themselves

No model is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechcausal.arguments import checked
from mechcausal.errors import ArgumentError, ResultError, did_you_mean
from mechcausal.results.provenance import Provenance
from mechcausal.runs.numbers import SIDES, influence_of, result_of
from mechcausal.runs.plan import Group, Plan
from mechcausal.runs.store import Store

UNITS = "units.jsonl"
_RANKED = ("effect", "change", "used")  # by which sites are chosen unless said


@dataclass(frozen=True)
class Progress:
    """How far a step is.

    Attributes:
        step: The id of the step.
        method: The word of its method.
        planned: How many rows it has; None while it waits for an earlier step.
        done: How many are there.
        failed: How many could not be computed.
        errors: What went wrong, once each, with how many rows each.
        skipped: Whether it came to nothing, because an earlier step left nothing to take.
    """

    step: str
    method: str
    planned: int | None
    done: int
    failed: int
    errors: dict[str, int]
    skipped: bool = False


class Run:
    """What is in the folder of a run.

    Args:
        folder: The folder.

    Example:
        >>> import mechcausal as mc
        >>> mc.Run("there/is/none")
        Traceback (most recent call last):
        mechcausal.errors.ResultError: there/is/none is not the folder of a run: mechcausal run experiment.toml -o FOLDER makes one
    """

    @checked
    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.plan = Plan.load(self.folder)

    @classmethod
    def underway(cls, store: Store, plan: Plan) -> Run:
        """Return a run that is being computed, as its driver knows it."""
        run = cls.__new__(cls)
        run.folder, run.plan, run.store = store.folder, plan, store
        return run

    def __repr__(self) -> str:
        """Say how far each step is."""
        lines = [f"{self.plan.name}: {self.plan.question}".rstrip(": ")]
        for part in self.status():
            planned = "waits for an earlier step" if part.planned is None else f"{part.done} of {part.planned} rows"
            planned = "skipped: an earlier step left nothing to take" if part.skipped else planned
            lines.append(
                f"  {part.step} ({part.method}): {planned}" + (f", {part.failed} failed" if part.failed else "")
            )
        return "\n".join(lines)

    @cached_property
    def store(self) -> Store:
        """The rows."""
        return Store(self.folder)

    def status(self) -> list[Progress]:
        """Return how far each step is."""
        failed = self.store.failed()
        said = pd.DataFrame({"group": failed["group"].to_pylist(), "error": failed["error"].to_pylist()})
        parts = []
        for step, word in self.plan.steps.items():
            groups = list({group.id: group for group in self.plan.of(step)}.values())
            done = sum(int(self.done(group).sum()) for group in groups)
            errors = said.loc[said["group"].isin([group.key for group in groups]), "error"].value_counts()
            waits = step in self.plan.waiting
            counts = {str(error): int(count) for error, count in errors.items()}
            planned = None if waits else sum(group.rows for group in groups)
            parts.append(Progress(step, word, planned, done, sum(counts.values()), counts, not waits and not groups))
        return parts

    @property
    def complete(self) -> bool:
        """Whether every planned row is there."""
        return not self.plan.waiting and all(self.done(group).all() for group in self.plan.groups)

    def done(self, group: Group) -> np.ndarray:
        """Return which rows of a group are there, [cell distinct prompt]."""
        return self.store.done(group.key, group.cell_digests, group.prompt_digests[group.distinct])

    @checked
    def result(self, step: str, **labels: Any) -> Any:  # noqa: ANN401 - what the method returns
        """Return the result of a step, as its method would have returned it.

        Args:
            step: The id of the step.
            **labels: What tells one of several from the others: model, data, seed, and what the step lists in `each`.
        """
        return self.result_of(self.one(step, **labels))

    @checked
    def results(self, step: str, **labels: Any) -> list[tuple[dict[str, Any], Any]]:  # noqa: ANN401
        """Return all results of a step, each with its labels.

        Args:
            step: The id of the step.
            **labels: Only those with these labels.
        """
        return [(group.labels, self.result_of(group)) for group in self._found(step, labels)]

    @checked
    def table(self, step: str | None = None) -> pd.DataFrame:
        """Return rows as one tidy table: for each cell and prompt its number and those of the unedited runs.

        Rows of methods that are run whole are those of the tables of their results.

        Args:
            step: The id of the step; all steps unless said.
        """
        steps = list(self.plan.steps) if step is None else [step]
        frames = [self._frame(group) for name in steps for group in self._groups(name)]
        frames = [frame.dropna(axis="columns", how="all") for frame in frames if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def seconds(self) -> pd.DataFrame:
        """Return what was computed and how long it took: for each step and combination rows, seconds of processor and wall."""
        path = self.folder / UNITS
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:  # cut off when the machine was lost
                continue
        if not records:
            return pd.DataFrame(columns=["step", "model", "data", "seed", "rows", "seconds", "wall"])
        frame = pd.DataFrame(records).drop(columns="process")
        by = [name for name in frame.columns if name not in ("rows", "seconds", "wall")]
        plain = frame.assign(
            **{
                name: frame[name].map(
                    lambda value: value if isinstance(value, (str, int, float)) else json.dumps(value)
                )
                for name in by
            }
        )
        return plain.groupby(by, sort=False, dropna=False).sum().reset_index()

    def _groups(self, step: str) -> tuple[Group, ...]:
        if step not in self.plan.steps:
            raise ArgumentError(f"the run has no step {step!r}", fix=did_you_mean(step, self.plan.steps))
        return self.plan.of(step)

    def _found(self, step: str, labels: Mapping[str, Any]) -> list[Group]:
        groups = self._groups(step)
        if not groups:
            what = (
                "waits for an earlier step"
                if step in self.plan.waiting
                else "was skipped: an earlier step left nothing to take"
            )
            raise ResultError(f"step {step!r} {what}", fix="see run.status()")
        names = dict.fromkeys(name for group in groups for name in group.labels)
        for name in labels:
            if name not in names:
                raise ArgumentError(
                    f"the results of step {step!r} have no label {name!r}", fix=did_you_mean(name, names)
                )
        matches = [
            group for group in groups if all(same(group.labels.get(name), value) for name, value in labels.items())
        ]
        if not matches:
            there = "; ".join(dict.fromkeys(_said(group, labels) for group in groups))
            raise ArgumentError(f"step {step!r} has no result with {_pairs(labels)}", expected=there)
        return matches

    def one(self, step: str, *, among: Mapping[str, Any] | None = None, **labels: Any) -> Group:  # noqa: ANN401
        """Return the one group of a step with these labels.

        Args:
            step: The id of the step.
            among: Labels that count only where the step has them.
            **labels: Labels it must have.
        """
        matches = self._found(step, labels)
        if among:
            for name in matches[0].each:
                wanted = among.get(f"{step}_{name}", among.get(name))
                matches = [group for group in matches if wanted is None or same(group.each[name], wanted)]
        if len(matches) != 1:
            apart = (
                [name for name in matches[0].labels if len({json.dumps(g.labels.get(name)) for g in matches}) > 1]
                if matches
                else []
            )
            raise ArgumentError(
                f"step {step!r} has {len(matches)} results",
                expected=f"one: say which by {', '.join(apart) or 'its labels'}",
                fix="run.results(...) returns all of them",
            )  # fmt: skip
        return matches[0]

    def labels(self, step: str, **labels: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Return what the lists in `each` came to in a step, for each of its groups once."""
        groups = [
            g for g in self.plan.of(step) if all(same(g.labels.get(name), value) for name, value in labels.items())
        ]
        return list({json.dumps(group.each, sort_keys=True): group.each for group in groups}.values())

    def result_of(self, group: Group) -> Any:  # noqa: ANN401 - what the method returns
        """Return the result of a group."""
        from mechcausal.runs.packing import unpacked

        there = self.done(group)
        if not there.all():
            raise ResultError(
                f"step {group.step!r} is not done",
                got=f"{int(there.sum())} of {there.size} rows",
                fix="run it again, which resumes",
            )
        if group.kind in ("whole", "audit"):
            blob = self.store.blob(group.key, int(group.cell_digests[0]), int(group.prompt_digests[0]))
            assert blob is not None  # its row is there
            return unpacked(blob)
        if group.kind == "texts":
            from mechcausal.runs.texts import generated

            return generated(group, self._matrix(group)["more"][0], self.provenance(group))
        numbers = self._matrix(group)
        more = numbers.pop("more")
        influence = influence_of(more.reshape(-1).tolist())
        numbers = {name: values for name, values in numbers.items() if name == "value" or not np.isnan(values).all()}
        numbers |= {} if influence is None else {"influence": influence.reshape(more.shape)}
        return result_of(group.cells, numbers, self.provenance(group), group.groups, group.clusters)

    def rows_of(self, group: Group) -> pd.DataFrame:
        """Return the rows of a group that are there, by the names of their cells and prompts."""
        table = self._matrix(group)
        count = len(group.prompts)
        frame = pd.DataFrame(
            {
                "site": np.repeat([str(cell["site"]) for cell in group.cells], count),
                "at": np.repeat([str(cell.get("number", cell["at"])) for cell in group.cells], count),
                "prompt": list(group.prompts) * len(group.cells),
            }
        ).assign(**{name: values.reshape(-1) for name, values in table.items()})
        there = self.done(group)[:, np.searchsorted(group.distinct, _firsts(group))].reshape(-1)
        return frame[there].drop_duplicates(["site", "at", "prompt"]).reset_index(drop=True)

    def _matrix(self, group: Group) -> dict[str, np.ndarray]:
        """Return the columns of the rows of a group as matrices, [cell prompt]."""
        table = self.store.rows(group.key, ["cell", "prompt", "value", *SIDES, "more"])
        cells, prompts = group.cell_digests, group.prompt_digests
        order, columns = np.argsort(cells), np.argsort(prompts, kind="stable")
        cell, prompt = table["cell"].to_numpy(), table["prompt"].to_numpy()
        rank, place = np.searchsorted(cells[order], cell), np.searchsorted(prompts[columns], prompt)
        rank, place = np.minimum(rank, len(cells) - 1), np.minimum(place, len(prompts) - 1)
        mine = (cells[order][rank] == cell) & (prompts[columns][place] == prompt)
        i, j = order[rank[mine]], columns[place[mine]]
        matrices: dict[str, np.ndarray] = {}
        first = {digest: number for number, digest in reversed(list(enumerate(prompts.tolist())))}
        same_as = np.array([first[digest] for digest in prompts.tolist()])
        for name in ("value", *SIDES, "more"):
            column = table[name].to_numpy(zero_copy_only=False)
            empty = np.full((len(cells), len(prompts)), None if name == "more" else np.nan)
            empty[i, same_as[j]] = column[mine]
            matrices[name] = empty[:, same_as]
        return matrices

    def provenance(self, group: Group) -> Provenance:
        """Return where the numbers of a group come from."""
        about = group.about
        arguments = {name: value for name, value in group.spec.items() if name != "run"}
        compute = {key: about.get("compute", {}).get(key) for key in ("device", "dtype", "threads")}
        seed = group.seed if "seed" in group.spec else None
        return Provenance(
            method=group.word, arguments={"metric": "logit_diff", **arguments}, model=about.get("model", {}),
            prompts=about.get("prompts", {}), seed=seed, git=about.get("git", {}), packages=about.get("packages", {}),
            compute=compute | {"batch_size": group.spec.get("batch_size", 64), "run": self.plan.name, "step": group.step, "group": group.key},
            created=about.get("created", ""),
        )  # fmt: skip

    def _frame(self, group: Group) -> pd.DataFrame:
        labels = {"step": group.step, "method": group.word, **{n: _flat(v) for n, v in group.labels.items()}}
        if group.kind == "sweep":
            table = self._matrix(group)
            cells = pd.DataFrame([{k: v for k, v in cell.items() if k != "number"} for cell in group.cells])
            count = len(group.prompts)
            frame = cells.loc[cells.index.repeat(count)].reset_index(drop=True)
            frame["example"] = list(range(count)) * len(cells)
            frame["prompt"] = list(group.prompts) * len(cells)
            for name, values in (("cluster", group.clusters), ("group", group.groups)):
                if values:
                    frame[name] = list(values) * len(cells)
            for name in ("value", *SIDES):
                frame[name] = table[name].reshape(-1).astype(float)
            frame = frame[self.done(group)[:, np.searchsorted(group.distinct, _firsts(group))].reshape(-1)]
        elif not self.done(group).all():
            return pd.DataFrame()
        else:
            result = self.result_of(group)
            made = getattr(result, "frame", None)
            made = made() if callable(made) else made
            frame = pd.DataFrame({"result": [type(result).__name__]}) if made is None else made.reset_index(drop=True)
        for number, (name, value) in enumerate(labels.items()):
            if name in frame:
                frame = frame.rename(columns={name: f"{name}_of_result"})
            frame.insert(number, name, [value] * len(frame))
        return frame

    def chosen(self, group: Group, reference: Mapping[str, Any]) -> list[Any]:
        """Return the sites that a reference such as `{from = "heads", top = 5}` chooses of a table.

        Args:
            group: The group of the earlier step.
            reference: `by` (a column, `effect` unless said), `top`, `least`, `p_max`, `sign`, `where`, `joint`.
        """
        frame = self.result_of(group).frame
        by = str(
            reference.get("by")
            or next((name for name in _RANKED if name in frame and frame[name].notna().any()), "effect")
        )
        where = dict(reference.get("where", {}))
        for name in (by, *where, *(["p_max"] if "p_max" in reference else ()), "site"):
            if name not in frame:
                raise ResultError(
                    f"the table of step {group.step!r} has no column {name!r}", fix=did_you_mean(name, frame.columns)
                )
        for name, value in where.items():
            frame = frame[frame[name] == value]
        frame = frame[frame[by].notna()]
        if "sign" in reference:
            frame = frame[frame[by] > 0] if reference["sign"] == "+" else frame[frame[by] < 0]
        if "least" in reference:
            frame = frame[frame[by].abs() >= float(reference["least"])]
        if "p_max" in reference:
            frame = frame[frame["p_max"] <= float(reference["p_max"])]
        frame = frame.loc[frame[by].abs().sort_values(ascending=False, kind="stable").index]
        sites = list(dict.fromkeys(frame["site"]))[: reference.get("top")]
        split = [tuple(str(site).split(" + ")) for site in sites]
        if reference.get("joint") and split:
            return [[site for cell in split for site in cell]]
        return [cell[0] if len(cell) == 1 else list(cell) for cell in split]


def same(a: Any, b: Any) -> bool:  # noqa: ANN401 - of TOML or of Python
    """Say whether two labels are equal, tuples and lists alike."""
    return json.dumps(a, sort_keys=True, default=list) == json.dumps(b, sort_keys=True, default=list)


def _firsts(group: Group) -> np.ndarray:
    """Return for each prompt the number of the first that is equal to it."""
    first = {digest: number for number, digest in reversed(list(enumerate(group.prompt_digests.tolist())))}
    return np.array([first[digest] for digest in group.prompt_digests.tolist()])


def _flat(value: Any) -> Any:  # noqa: ANN401
    return value if isinstance(value, (str, int, float, bool)) or value is None else json.dumps(value)


def _said(group: Group, labels: Mapping[str, Any]) -> str:
    return _pairs({name: group.labels.get(name) for name in labels})


def _pairs(labels: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in labels.items())
