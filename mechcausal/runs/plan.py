"""What a run is to compute: groups of rows, each a matrix of cells and prompts; and the file that says so.

Everything that asks about a run (`status`, `collect`, `diff`) compares this file with the store, and needs no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mechcausal.errors import ResultError
from mechcausal.results.storage import read_json, write_json
from mechcausal.runs.store import digest64

Kind = Literal["sweep", "texts", "whole", "audit"]
FILE = "plan.json"
VERSION = 1
_EVERYTHING = "all of it"


@dataclass(frozen=True)
class Unit:
    """What is computed at once, and always in the same composition.

    Attributes:
        group: The id of the group.
        cells: The numbers of its cells.
        prompts: The numbers of its prompts.
        batch: The prompts that are computed together, of which `prompts` are some; no others unless said. They come along
            because the last bit of a number depends on how many there are.
    """

    group: str
    cells: tuple[int, ...]
    prompts: tuple[int, ...]
    batch: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.batch:
            object.__setattr__(self, "batch", self.prompts)

    @property
    def rows(self) -> int:
        """How many rows it gives."""
        return len(self.cells) * len(self.prompts)

    @property
    def columns(self) -> list[int]:
        """Where its prompts are in the batch."""
        return [self.batch.index(prompt) for prompt in self.prompts]

    def only(self, prompts: Sequence[int]) -> Unit:
        """Return the unit of some of its prompts; they take the places of the others in a batch of the same size."""
        places = {prompt: self.batch.index(prompt) for prompt in prompts}
        batch = tuple(min(places, key=lambda prompt: abs(places[prompt] - place)) for place in range(len(self.batch)))
        return replace(self, prompts=tuple(prompts), batch=batch)


@dataclass(frozen=True)
class Group:
    """The rows of one method with one setting on one model and one set of data.

    Attributes:
        key: The digest of everything that its numbers depend on, besides cell and prompt.
        step: The id of the step.
        model: The name of the model.
        data: The name of the data.
        seed: The seed.
        each: What was chosen of the lists in `each`.
        word: The word of the method.
        kind: `sweep` (a number for each cell and prompt), `texts` (what is written after each prompt), or run `whole`.
        values: The fields of the specification, as they stand in the file.
        spec: The specification in plain form, with digests for objects.
        cells: Where each cell is: the columns that a result has for it.
        joint: For each cell its sites, which are edited together.
        prompts: The digest of each prompt or pair.
        block: How many prompts are computed at once; all where their numbers depend on each other.
        chunk: How many cells are computed at once.
        about: Facts about the model, the data, the precision and the packages, for provenance.
        groups: The group of each prompt, where they declare one.
        clusters: The cluster of each prompt, where they declare one.
        forwards: What it would take, in forwards of one prompt.
    """

    key: str
    step: str
    model: str
    data: str
    seed: int
    each: dict[str, Any]
    word: str
    kind: Kind
    values: dict[str, Any]
    spec: dict[str, Any]
    cells: tuple[dict[str, Any], ...]
    joint: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...]
    block: int
    chunk: int
    about: dict[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    forwards: float | None = None

    @property
    def labels(self) -> dict[str, Any]:
        """What tells this group from the others of its step."""
        return {"model": self.model, "data": self.data, "seed": self.seed, **self.each}

    @cached_property
    def cell_digests(self) -> np.ndarray:
        """The digest of each cell."""
        return np.array([digest64(_text_of(cell)) for cell in self.cells], dtype=np.uint64)

    @cached_property
    def prompt_digests(self) -> np.ndarray:
        """The digest of each prompt; equal prompts share one, and so their rows."""
        return np.array([digest64(prompt) for prompt in self.prompts], dtype=np.uint64)

    @cached_property
    def distinct(self) -> np.ndarray:
        """The numbers of the prompts that are computed: the first of those that are equal."""
        return np.sort(np.unique(self.prompt_digests, return_index=True)[1])

    @cached_property
    def id(self) -> str:
        """What tells it from other groups that share its key, and so rows: those of other cells or other prompts."""
        return key_of(self.key, self.cells, self.prompts)

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.cells) * len(self.distinct)

    def units(self, done: np.ndarray) -> Iterator[Unit]:
        """Yield what is left to do: blocks of prompts times chunks of cells, cut down to the rows that are missing.

        Args:
            done: Which rows there are, [cell distinct prompt].
        """
        for first in range(0, len(self.distinct), self.block):
            batch = tuple(self.distinct[first : first + self.block].tolist())
            for start in range(0, len(self.cells), self.chunk):
                there = done[start : start + self.chunk, first : first + self.block]
                cells, prompts = (np.flatnonzero(~there.all(axis)) for axis in (1, 0))
                if len(cells):
                    wanted = self.distinct[prompts + first]
                    yield Unit(self.id, tuple((cells + start).tolist()), tuple(wanted.tolist()), batch)

    def to_json(self) -> dict[str, Any]:
        """Return the group as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Group:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = dict(data)
        fields |= {name: tuple(data[name]) for name in ("cells", "prompts", "groups", "clusters")}
        fields["joint"] = tuple(tuple(sites) for sites in data["joint"])
        return cls(**fields)


@dataclass(frozen=True)
class Plan:
    """All groups of a run.

    Attributes:
        name: The name of the experiment.
        question: What it is to answer.
        steps: The ids of the steps, in order, each with the word of its method.
        groups: The groups that are planned.
        waiting: The steps that wait for results of earlier ones.
        folder: The folder that files are named from.
    """

    name: str
    question: str
    steps: Mapping[str, str]
    groups: tuple[Group, ...] = ()
    waiting: tuple[str, ...] = ()
    folder: str = ""

    @property
    def rows(self) -> int:
        """How many rows are planned."""
        return sum(group.rows for group in self.distinct)

    @property
    def distinct(self) -> tuple[Group, ...]:
        """The groups that differ: two steps that ask the same share their rows."""
        return tuple({group.id: group for group in self.groups}.values())

    def of(self, step: str) -> tuple[Group, ...]:
        """Return the groups of a step."""
        return tuple(group for group in self.groups if group.step == step)

    def with_groups(self, step: str, groups: Sequence[Group]) -> Plan:
        """Return the plan with the groups of a step that was waiting."""
        others = [group for group in self.groups if group.step != step]
        waiting = tuple(name for name in self.waiting if name != step)
        order = list(self.steps)
        every = sorted([*others, *groups], key=lambda group: order.index(group.step))
        return replace(self, groups=tuple(every), waiting=waiting)

    def save(self, folder: Path) -> None:
        """Write the plan into the folder of a run."""
        write_json(
            folder / FILE, {"version": VERSION, **asdict(self), "steps": [list(step) for step in self.steps.items()]}
        )

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read the plan of a run."""
        path = folder / FILE
        if not path.is_file():
            raise ResultError(
                f"{folder} is not the folder of a run", fix="mechcausal run experiment.toml -o FOLDER makes one"
            )
        data = read_json(path, "the plan of a run")
        if (version := data.pop("version", None)) != VERSION:
            raise ResultError(
                f"{path} has another version", got=version, expected=VERSION, fix="run again into a new folder"
            )
        data["groups"] = tuple(Group.from_json(group) for group in data["groups"])
        data["steps"], data["waiting"] = dict(data["steps"]), tuple(data["waiting"])
        return cls(**data)


def whole_cell(word: str) -> dict[str, Any]:
    """Return the one cell of a method that is run whole."""
    return {"site": _EVERYTHING, "at": "", "method": word}


def key_of(*parts: Any) -> str:  # noqa: ANN401 - JSON data
    """Return the key of a group: a digest of JSON data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def _text_of(cell: Mapping[str, Any]) -> str:
    """Return what tells a cell from the others of its group: its site and positions, or its number where it says more."""
    return json.dumps([cell.get("site"), cell.get("at"), cell.get("number")], ensure_ascii=False)
