"""Places: a site at some positions, and the subspace of it if it is not all of the activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mechcausal.address.selection import ALL, Selection
from mechcausal.address.site import Site
from mechcausal.errors import SiteError

if TYPE_CHECKING:
    from torch import Tensor

Vector = tuple[float, ...]


def vector(values: Any) -> Vector:  # noqa: ANN401 - a tensor, an array or a sequence
    """Turn a tensor, array or sequence into the tuple of floats that plain data holds."""
    values = values.tolist() if hasattr(values, "tolist") else values
    return tuple(float(value) for value in values)


@dataclass(frozen=True)
class Place:
    """A place in a network: the cell of a sweep, the place of a variable of a hypothesis, the node of a circuit.

    `str(place)` and `Place.parse` are inverse to each other where the place is no subspace; `to_json` and `parse` always.

    Attributes:
        site: The site.
        at: The positions.
        basis: Rows that span the subspace; empty for the whole activation.
        label: What tables and figures call the positions, if not by the selection; it is no part of what the place is.

    Example:
        >>> place = Place.parse("L1.z.H0@decision")
        >>> place.site.head, str(place.at), place == Place.parse(place.to_json())
        (0, '@decision', True)
    """

    site: Site
    at: Selection = ALL
    basis: tuple[Vector, ...] = ()
    label: str = field(default="", compare=False, kw_only=True)

    @classmethod
    def parse(cls, spec: str | Site | Place | Mapping[str, Any]) -> Place:
        """Read `L1.z.H0@decision`, a site, or `{"site": ..., "at": ..., "basis": [[...], ...]}`."""
        if isinstance(spec, Place):
            return spec
        if isinstance(spec, Site):
            return cls(spec)
        if isinstance(spec, str):
            site, at, selection = spec.partition("@")
            return cls(Site.parse(site), Selection.parse(selection) if at else ALL)
        if not isinstance(spec, Mapping) or "site" not in spec:
            raise SiteError(
                "this is not a place in a network",
                got=repr(spec)[:100],
                expected='a form like "L1.z.H0@decision" or {"site": "L1.z.H0", "at": "decision", "basis": [[...]]}',
            )
        basis = spec.get("basis")
        try:
            rows = () if basis is None else tuple(vector(row) for row in basis)
        except (TypeError, ValueError):
            raise SiteError(
                "the basis of a place is no list of vectors", got=repr(basis)[:100], expected="rows of numbers"
            ) from None
        return cls(Site.parse(spec["site"]), Selection.parse(spec.get("at")), rows)

    def __str__(self) -> str:
        """Print as `L1.z.H0@decision`, with the dimension of a subspace."""
        text = f"{self.site}{'' if self.at == ALL else self.at}"
        return f"{text}[{len(self.basis)}d]" if self.basis else text

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `parse` reads."""
        data: dict[str, Any] = {"site": str(self.site), "at": str(self.at)}
        return data | ({"basis": [list(row) for row in self.basis]} if self.basis else {})

    @property
    def depth(self) -> tuple[float, int]:
        """When it is computed: the layer, then the step within it; the embedding is first, the logits are last."""
        return self.site.depth

    @property
    def short(self) -> str:
        """The part of its name that tells it from other places in one activation."""
        site = self.site
        for letter, number in (("F", site.feature), ("H", site.head), ("N", site.neuron)):
            if number is not None:
                return f"{letter}{number}"
        return "error" if site.error else site.component

    def row(self) -> dict[str, Any]:
        """Return the columns of a table that say where this is."""
        site = self.site
        columns = {
            "site": str(site), "component": site.component, "layer": site.layer, "head": site.head,
            "neuron": site.neuron, "at": str(self.at), "position": self.at.start if self.at.is_single else None,
            "label": self.label or str(self.at).removeprefix("@"),
        }  # fmt: skip
        return (
            columns if site.dictionary is None else columns | {"dictionary": site.dictionary, "feature": site.feature}
        )

    def columns(self, like: Tensor) -> Tensor | None:
        """Return the subspace as orthonormal columns, [feature k], or None for all of the activation."""
        import torch

        if not self.basis:
            return None
        matrix = torch.tensor(self.basis, dtype=torch.float64)
        columns, upper = torch.linalg.qr(matrix.T)
        if bool((upper.diagonal().abs() < 1e-8).any()):
            raise SiteError(f"the directions of {self} are not independent", fix="leave out those that repeat others")
        return columns.to(dtype=like.dtype, device=like.device)
