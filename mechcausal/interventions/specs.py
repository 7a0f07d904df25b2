"""Interventions as data: frozen, hashable, JSON both ways. What they do is in `apply.py`; nothing here computes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any, ClassVar, Literal, get_args

from mechcausal.address import Selection, Site, Vector
from mechcausal.address import vector as vector
from mechcausal.errors import InterventionError, did_you_mean


@dataclass(frozen=True)
class Intervention:
    """What is done at a site. Subclasses are pure data; `needs_source` says whether another run supplies values."""

    needs_source: ClassVar[bool] = False

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

    seed: int = 0
    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Patch(Intervention):
    """Take the activation from the source run, row by row and position by position."""

    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Interpolate(Intervention):
    """Move the activation a fraction of the way towards the source run; 1 is `Patch` (integrated gradients)."""

    fraction: float = 1.0
    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Set(Intervention):
    """Set the activation to one number or to one vector."""

    value: float | Vector = 0.0


@dataclass(frozen=True)
class Add(Intervention):
    """Add `scale` times a number or a vector (steering)."""

    value: float | Vector = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class AddDelta(Intervention):
    """Add the tensor that the caller supplies as source (path patching: one sender's direct contribution)."""

    needs_source: ClassVar[bool] = True


@dataclass(frozen=True)
class Scale(Intervention):
    """Multiply the activation by a factor."""

    factor: float = 1.0


@dataclass(frozen=True)
class Project(Intervention):
    """Remove (or keep only) the part of the activation in the span of `directions`."""

    directions: tuple[Vector, ...] = ()
    keep: bool = False


@dataclass(frozen=True)
class Erase(Intervention):
    """Erase affinely: `x - left @ (right.T @ (x - bias))`, the form of a fitted LEACE eraser.

    With `left == right` orthonormal this is a projection that leaves `bias` unchanged (mean projection).
    """

    left: tuple[Vector, ...] = ()
    right: tuple[Vector, ...] = ()
    bias: Vector = ()


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
        return KINDS[word](**{key: _tuples(value) for key, value in fields.items()})
    except TypeError as error:
        names = ", ".join(part.name for part in dataclass_fields(KINDS[word])) or "none"
        raise InterventionError(f"{word!r} was given wrong fields", got=", ".join(fields), expected=names) from error


def _tuples(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


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
        if self.when not in (None, *get_args(When)):
            raise InterventionError(
                f"{self} says wrongly when it is made", got=repr(self.when), fix=did_you_mean(self.when, get_args(When))
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
