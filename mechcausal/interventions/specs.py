"""Interventions as data: frozen, hashable, JSON both ways. What they do is in `apply.py`; nothing here computes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Annotated, Any, ClassVar, Literal, get_args

from mechcausal.address import Selection, Site, Vector
from mechcausal.address import vector as vector
from mechcausal.arguments import Kind, Number, Seed, check_fields, described, fits
from mechcausal.errors import InterventionError, did_you_mean


def _is_vector(value: Any) -> bool:  # noqa: ANN401 - whatever a caller passes
    return isinstance(value, tuple) and all(
        math.isfinite(item) if type(item) is float else fits(item, Number) for item in value
    )


def _are_rows(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, tuple) and all(map(_is_vector, value)) and len({len(row) for row in value}) < 2


Amount = Annotated[
    float | Vector,
    Kind(
        "a finite number, or a vector of them",
        lambda value: fits(value, Number) or (_is_vector(value) and len(value) > 0),
    ),
]
Bias = Annotated[Vector, Kind("a vector of finite numbers", _is_vector)]
Rows = Annotated[tuple[Vector, ...], Kind("a list of vectors of one length, of finite numbers", _are_rows)]


@dataclass(frozen=True)
class Intervention:
    """What is done at a site. Subclasses are pure data; `needs_source` says whether another run supplies values.

    A vector may be given as a list, an array or a tensor; it is kept as a tuple.
    """

    needs_source: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for part in dataclass_fields(self):
            object.__setattr__(self, part.name, _data(getattr(self, part.name)))
        check_fields(self)

    @property
    def name(self) -> str:
        """The word used in JSON and in tables."""
        return type(self).__name__.lower()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object from which `from_json` makes an equal intervention."""
        return {"do": self.name, **asdict(self)}


@dataclass(frozen=True)
class Zero(Intervention):
    """Set the activation to zero."""


@dataclass(frozen=True)
class Mean(Intervention):
    """Set the activation to its mean over the reference prompts (per position where these line up)."""

    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Resample(Intervention):
    """Take the activation from another reference prompt, drawn with `seed`."""

    seed: Seed = 0
    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Patch(Intervention):
    """Take the activation from the source run, row by row and position by position."""

    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Interpolate(Intervention):
    """Move the activation a fraction of the way towards the source run; 1 is `Patch` (integrated gradients)."""

    fraction: Number = 1.0
    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Set(Intervention):
    """Set the activation to one number or to one vector."""

    value: Amount = 0.0


@dataclass(frozen=True)
class Add(Intervention):
    """Add `scale` times a number or a vector (steering)."""

    value: Amount = 0.0
    scale: Number = 1.0


@dataclass(frozen=True)
class AddDelta(Intervention):
    """Add the tensor that the caller supplies as source (path patching: one sender's direct contribution)."""

    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Scale(Intervention):
    """Multiply the activation by a factor."""

    factor: Number = 1.0


@dataclass(frozen=True)
class Project(Intervention):
    """Remove (or keep only) the part of the activation in the span of `directions`."""

    directions: Rows = ()
    keep: bool = False


@dataclass(frozen=True)
class Erase(Intervention):
    """Erase affinely: `x - left @ (right.T @ (x - bias))`, the form of a fitted LEACE eraser.

    With `left == right` orthonormal this is a projection that leaves `bias` unchanged (mean projection).
    """

    left: Rows = ()
    right: Rows = ()
    bias: Bias = ()


KINDS: dict[str, type[Intervention]] = {
    kind.__name__.lower(): kind
    for kind in (Zero, Mean, Resample, Patch, Interpolate, Set, Add, AddDelta, Scale, Project, Erase)
}


def from_json(data: dict[str, Any] | str) -> Intervention:
    """Make an intervention from its JSON object, or from its bare word (`"zero"`)."""
    fields = {"do": data} if isinstance(data, str) else dict(data)
    word = str(fields.pop("do", ""))
    if word not in KINDS:
        raise InterventionError(f"there is no intervention called {word!r}", fix=did_you_mean(word, KINDS))
    try:
        return KINDS[word](**fields)
    except TypeError as error:
        names = ", ".join(part.name for part in dataclass_fields(KINDS[word])) or "none"
        raise InterventionError(f"{word!r} was given wrong fields", got=", ".join(fields), expected=names) from error


def _data(value: Any) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Return lists, arrays and tensors as tuples, and numbers of other libraries as numbers."""
    if isinstance(value, tuple) and all(type(item) is float for item in value):
        return value
    if hasattr(value, "tolist"):
        try:
            value = value.tolist()
        except (NotImplementedError, RuntimeError):  # a tensor that holds no numbers
            return value
    return tuple(map(_data, value)) if isinstance(value, (list, tuple)) else value


When = Literal["prompt", "new", "both"]


@dataclass(frozen=True)
class Edit:
    """One intervention at one site on one selection of positions.

    Attributes:
        site: Where.
        do: What is done there.
        at: At which positions of a prompt.
        when: Where text is generated, whether it is done in the prompt (at these positions), at every new token, or both.
            None is both where `at` is all positions, else the prompt.
    """

    site: Site
    do: Intervention
    at: Selection = field(default_factory=Selection)
    when: When | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.site, Site) and isinstance(self.do, Intervention) and isinstance(self.at, Selection)):
            check_fields(self)  # asked one by one only where something is wrong, because edits are made by the thousand
        if self.when is not None and (not isinstance(self.when, str) or self.when not in get_args(When)):
            raise InterventionError(
                f"{self} says wrongly when it is made",
                got=described(self.when),
                fix=did_you_mean(self.when, get_args(When)),
            )

    @classmethod
    def of(
        cls,
        site: str | Site,
        do: str | Intervention,
        at: str | int | Selection | None = None,
        when: When | None = None,
    ) -> Edit:
        """Make an edit from words: `Edit.of("L3.z.H2", "zero", "@-1")`."""
        return cls(Site.parse(site), from_json(do) if isinstance(do, str) else do, Selection.parse(at), when)

    @property
    def in_prompt(self) -> bool:
        """Whether it is made in the prompt when text is generated."""
        return self.when != "new"

    @property
    def at_new(self) -> bool:
        """Whether it is made at every new token when text is generated."""
        return self.when in ("new", "both") or (self.when is None and self.at == Selection())

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object from which `edit_from_json` makes an equal edit."""
        when = {} if self.when is None else {"when": self.when}
        return {"site": str(self.site), "at": str(self.at), **when, **self.do.to_json()}

    def __str__(self) -> str:
        """Print as `zero L3.z.H2@-1`."""
        return f"{self.do.name} {self.site}{'' if self.at == Selection() else self.at}"


def edit_from_json(data: dict[str, Any]) -> Edit:
    """Make an edit from its JSON object."""
    fields = dict(data)
    site, at, when = fields.pop("site"), fields.pop("at", None), fields.pop("when", None)
    return Edit(Site.parse(site), from_json(fields), Selection.parse(at), when)


def canonical_json(edits: Sequence[Edit]) -> str:
    """Return the one JSON text of a list of edits, for hashing and for provenance."""
    return json.dumps([edit.to_json() for edit in edits], sort_keys=True)
