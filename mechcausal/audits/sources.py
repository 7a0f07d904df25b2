"""Where the data of an audit come from: each source is named in the plan and read once.

    [data.applicants]
    contrast = "hiring/gender"        # pairs that ship
    n = 256

    [data.own]
    pairs = "pairs.csv"               # a file, beside the plan; docs/data.md has its columns

The key that names the source (`contrast`, `pairs`, `prompts`, `task`) says its kind; the others are its options.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from mechcausal.arguments import Count, Seed, Text, bound, described
from mechcausal.data.spans import Spans
from mechcausal.data.tokens import single_token, tokenizer_of
from mechcausal.errors import ArgumentError, DataError, MechcausalError, did_you_mean
from mechcausal.method import Spec
from mechcausal.organisms import folder as organism_folder
from mechcausal.registry import Registry

SOURCES: Registry[type[Source]] = Registry("source of data", ArgumentError)


@dataclass(frozen=True)
class Source(Spec):
    """A source of data. A subclass has a `word` and `read`.

    Attributes:
        name: What it is called, or the file.
    """

    verb: ClassVar[str] = "source"
    registry: ClassVar[Registry[Any]] = SOURCES
    of_file: ClassVar[bool] = False

    name: Text

    def read(self, model: Any, folder: Path) -> Any:  # noqa: ANN401 - a model; pairs, prompts, texts
        """Return the data.

        Args:
            model: The model whose tokenizer reads them.
            folder: The folder of the plan, where files are named from.
        """
        raise NotImplementedError

    def missing(self, folder: Path) -> str | None:
        """Say what is not there, without loading a model; None where all is well."""
        path = folder / self.name
        return f"there is no file {path}" if self.of_file and not path.is_file() else None

    def to_json(self) -> dict[str, Any]:
        """Return the source as it stands in a plan."""
        data = super().to_json()
        del data[self.verb]
        return {self.word: data.pop("name"), **data}


def source(data: Mapping[str, Any]) -> Source:
    """Return the source that a table of a plan describes."""
    if not isinstance(data, Mapping):
        raise ArgumentError("a source of data is a table", got=described(data), expected='such as {contrast = "ioi"}')
    kinds = [word for word in SOURCES if word in data]
    if len(kinds) != 1:
        got = " and ".join(kinds) or ", ".join(map(str, data)) or "nothing"
        fix = f"give one of {', '.join(SOURCES)}" if kinds or not data else did_you_mean(next(iter(data)), SOURCES)
        raise ArgumentError("a source of data names one kind", got=got, fix=fix)
    given, kind = dict(data), SOURCES[kinds[0]]
    name = given.pop(kinds[0])
    return kind(**bound(f"the source {kinds[0]!r}", inspect.signature(kind), (), {"name": name, **given}))


@dataclass(frozen=True)
class ContrastSource(Source):
    """Pairs that ship: of a task, or for any model.

    Attributes:
        name: Such as `hiring/gender` or `winobias/type2`.
        n: How many.
        seed: The seed of the draw.
        environment: Whose mechanisms draw them.
        swap: Whether the two prompts of every pair change places.
    """

    word: ClassVar[str] = "contrast"
    n: Count = 200
    seed: Seed = 0
    environment: str | None = None
    swap: bool = False

    def read(self, model: Any, folder: Path) -> Any:  # noqa: ANN401
        """Draw the pairs."""
        from mechcausal.data import contrast

        pairs = contrast(self.name, model, n=self.n, seed=self.seed, environment=self.environment)
        return replace(pairs, clean=pairs.corrupt, corrupt=pairs.clean) if self.swap else pairs


@dataclass(frozen=True)
class PairsSource(Source):
    """Pairs of a file.

    Attributes:
        name: The file, from the folder of the plan; or `organism:NAME/FILE`, pairs that ship with an organism.
        n: How many of its first rows; all of them unless said.
        group: Only the pairs of this group.
        environment: Only the pairs of this environment.
        perturbation: Only the pairs of which the column `perturbation` says this.
        factor: What differs within a pair.
        spans: What a span of several tokens counts as where lengths differ.
        drop_unfit: Whether rows that the tokenizer cannot take are dropped, and counted.
        whole: Whether each text counts as a whole, so that the two of a pair may differ anywhere and in length.
    """

    word: ClassVar[str] = "pairs"
    of_file: ClassVar[bool] = True
    n: Count | None = None
    group: str | None = None
    environment: str | None = None
    perturbation: str | None = None
    factor: str | None = None
    spans: Spans = "last"
    drop_unfit: bool = False
    whole: bool = False

    def read(self, model: Any, folder: Path) -> Any:  # noqa: ANN401
        """Read the file."""
        from mechcausal.data import Contrast

        unfit = "drop" if self.drop_unfit else "refuse"
        options: dict[str, Any] = {"factor": self.factor, "spans": self.spans, "unfit": unfit, "whole": self.whole}
        pairs = Contrast.read(self._path(folder), model, **options)
        kept = [True] * len(pairs)
        columns = {"group": pairs.clean.groups, "environment": pairs.clean.environments,
                   "perturbation": pairs.clean.given.get("perturbation", ())}  # fmt: skip
        for name, column in columns.items():
            if (wanted := getattr(self, name)) is None:
                continue
            there = [str(value) for value in column] or [""] * len(pairs)
            if wanted not in there:
                raise DataError(
                    f"{self.name} has no pairs of the {name} {wanted!r}", fix=did_you_mean(wanted, set(there))
                )
            kept = [keep and value == wanted for keep, value in zip(kept, there, strict=True)]
        rows = [number for number, keep in enumerate(kept) if keep]
        if not rows:
            asked = " and ".join(
                f"{name} {getattr(self, name)!r}" for name in columns if getattr(self, name) is not None
            )
            raise DataError(f"{self.name} has no pairs of {asked} together")
        return _first(pairs if len(rows) == len(pairs) else pairs.take(rows), self.n)

    def missing(self, folder: Path) -> str | None:
        """Say what is not there."""
        try:
            path = self._path(folder)
        except MechcausalError as error:
            return str(error)
        return None if path.is_file() else f"there is no file {path}"

    def _path(self, folder: Path) -> Path:
        organism, _, file = self.name.removeprefix("organism:").partition("/")
        return organism_folder(organism) / f"{file}.jsonl" if self.name.startswith("organism:") else folder / self.name


@dataclass(frozen=True)
class PromptsSource(Source):
    """Prompts of a file, with their labels, groups, environments and clusters.

    Attributes:
        name: The file, from the folder of the plan.
        n: How many of its first rows; all of them unless said.
        drop_unfit: Whether rows that the tokenizer cannot take are dropped, and counted.
    """

    word: ClassVar[str] = "prompts"
    of_file: ClassVar[bool] = True
    n: Count | None = None
    drop_unfit: bool = False

    def read(self, model: Any, folder: Path) -> Any:  # noqa: ANN401
        """Read the file."""
        from mechcausal.data import PromptSet

        prompts = PromptSet.read(folder / self.name, model, unfit="drop" if self.drop_unfit else "refuse")
        return _first(prompts, self.n)


@dataclass(frozen=True)
class TaskSource(Source):
    """Prompts drawn of a task that ships.

    Attributes:
        name: The task.
        n: How many.
        seed: The seed of the draw.
        environment: Whose mechanisms draw them.
        truth: The variable whose word is the right answer; what the model is asked for unless said.
        answer: One answer for all prompts, so that a decision means the same in each; the right answer of each unless said.
            The labels still say what is right.
        foil: What it is compared with.
        group: The variable that groups the prompts, by the names of its values; the task's own groups unless said.
    """

    word: ClassVar[str] = "task"
    n: Count = 200
    seed: Seed = 0
    environment: str | None = None
    truth: str | None = None
    answer: str | None = None
    foil: str | None = None
    group: str | None = None

    def read(self, model: Any, folder: Path) -> Any:  # noqa: ANN401
        """Draw the prompts."""
        from mechcausal.data import task

        options: dict[str, Any] = {"seed": self.seed, "environment": self.environment, "truth": self.truth}
        drawn = task(self.name)
        prompts = drawn.prompts(model, self.n, **options)
        if self.group is not None:
            if self.group not in prompts.variables:
                raise DataError(
                    f"the task {self.name!r} has no variable {self.group!r}",
                    fix=did_you_mean(self.group, prompts.variables),
                )
            names, codes = drawn.scm.values.get(self.group, ()), prompts.variables[self.group].tolist()
            groups = tuple(str(names[int(code)]) if names else f"{self.group} {code:g}" for code in codes)
            prompts = replace(prompts, groups=groups)
        given, tokens = dict(prompts.given), {}
        for name in ("answer", "foil"):
            if (word := getattr(self, name)) is not None:
                token = single_token(tokenizer_of(model), word)
                tokens[name] = torch.full((len(prompts),), token)
                given[name] = (word,) * len(prompts)
        return replace(prompts, given=given, **tokens) if tokens else prompts


def _first(data: Any, n: int | None) -> Any:  # noqa: ANN401 - pairs or prompts
    return data if n is None or n >= len(data) else data.take(slice(0, n))


def digest_of(data: Any) -> str:  # noqa: ANN401 - pairs, prompts, texts
    """Return the digest of data, columns of the user's own included; anything that a question takes has one under `hash`."""
    value = getattr(data, "hash", None)
    if not isinstance(value, str):
        raise DataError(
            f"a {type(data).__name__} is no data for an audit", expected="pairs, prompts, or what has a hash"
        )
    columns = _columns_of(data)
    return hashlib.sha256(f"{value}|{sorted(columns.items())}".encode()).hexdigest()[:16] if columns else value


def _columns_of(data: Any) -> dict[str, Any]:  # noqa: ANN401 - pairs, prompts, texts
    """Return the columns of the user's own, by side; the digest of prompts leaves them out."""
    sides = (data.clean, data.corrupt) if hasattr(data, "clean") else (data,)
    return {
        f"{number}.{name}": column
        for number, side in enumerate(sides)
        for name, column in getattr(side, "given", {}).items()
        if "." not in name and name not in ("answer", "foil")
    }


def _written(value: Any) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Source):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(name): _written(item) for name, item in value.items()}
    return {"digest": digest_of(value)}


def beside(folder: Path, name: str) -> str:
    """Return a file or folder that a plan names: from the folder of the plan; a name that is no path there stays as it is.

    Args:
        folder: The folder of the plan.
        name: A path, or what is loaded by its name: of an organism, of a hub.
    """
    path = folder / Path(name).expanduser()
    return str(path) if path.exists() or _is_path(name) else name


def missing_files(spec: Spec, folder: Path) -> Iterator[str]:
    """Say which files and folders are not there that a question or an edit names, besides its data.

    Args:
        spec: The question or the edit.
        folder: The folder of the plan.
    """
    for part in fields(spec):
        name = getattr(spec, part.name) if part.metadata.get("file") else None
        if isinstance(name, str) and (what := missing(name, folder)):
            yield f"{what}, which {part.name} names"


def missing(name: str, folder: Path) -> str:
    """Say that the file or folder is not there that a plan names; empty where it is, or where the name is no path.

    Args:
        name: The name.
        folder: The folder of the plan.
    """
    path = beside(folder, name)
    return f"there is no file or folder {path}" if _is_path(name) and not Path(path).exists() else ""


def _is_path(name: str) -> bool:
    """Return whether a name can only be meant as a path."""
    return name.startswith((".", "/", "~"))


DATA: dict[str, Any] = {"data": True, "write": _written}
"""The metadata of a field of a question that holds data, or the name that the plan gives to data."""

FILE: dict[str, Any] = {"file": True}
"""The metadata of a field of a question or an edit that may name a file or a folder, which is looked for beside the plan."""
