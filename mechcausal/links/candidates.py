"""The candidates of a link: features, directions, heads, neurons and whole activations.

A candidate is a site. A link needs two things of it: the edit that takes its value from another run, and the numbers
that it holds. A direction is a feature of a dictionary that is linear: `directions` attaches one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site, expand
from mechcausal.arguments import Model, checked
from mechcausal.errors import SiteError, did_you_mean, of_each
from mechcausal.interventions.specs import Edit, Intervention
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities
from mechcausal.models.binding import Bound, attach, attached, bound

Kind = Literal["feature", "direction", "head", "neuron", "activation"]


@dataclass(frozen=True)
class Candidate:
    """Something in the network that may carry a concept and may be used.

    Attributes:
        name: What it is called.
        site: Where it is.
        kind: What it is.
    """

    name: str
    site: Site
    kind: Kind

    @property
    def family(self) -> str:
        """What it is compared with: the other features of its dictionary, the other heads or neurons of its kind."""
        if self.site.dictionary is not None:
            return str(self.site.whole)
        return f"{self.kind} of {self.site.component}"

    @property
    def has_one_number(self) -> bool:
        """Whether it holds one number at each token; a head and a whole activation hold a vector."""
        return self.kind in ("feature", "direction", "neuron")

    def edit(self, do: Intervention, at: Selection) -> Edit:
        """Return the edit that does something to it."""
        return Edit(self.site, do, at)

    def of(self, activation: np.ndarray, n_heads: int) -> np.ndarray:
        """Return its own columns, [prompt number], of those of its whole activation."""
        number = self.site.neuron if self.site.feature is None else self.site.feature
        if number is not None:
            return activation[:, [number]]
        if self.site.head is None:
            return activation
        width = activation.shape[1] // n_heads
        return activation[:, self.site.head * width : (self.site.head + 1) * width]


class Directions:
    """Directions of an activation as a dictionary: the number of each is the projection on its unit vector.

    Taking one number from another run moves the activation along that direction only, by the difference of the
    projections (a patch of a subspace of one dimension).
    """

    def __init__(
        self, vectors: Mapping[str, Any] | Tensor | np.ndarray, device: torch.device | str | None = None
    ) -> None:
        if isinstance(vectors, Mapping):
            self.names = tuple(str(name) for name in vectors)
            rows = [_on_cpu(row) for row in vectors.values()]
            if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1:
                raise SiteError("directions are vectors of one length", got=[tuple(row.shape) for row in rows])
            matrix = torch.stack(rows)
        else:
            matrix = _on_cpu(vectors)
            self.names = tuple(f"direction {number}" for number in range(len(matrix)))
        sizes = matrix.norm(dim=-1)
        if not bool(torch.isfinite(matrix).all()) or not bool((sizes > 0).all()):
            wrong = self.names[int((~torch.isfinite(sizes) | (sizes == 0)).nonzero()[0])]
            raise SiteError(f"the direction {wrong!r} points nowhere", got="zero, NaN or infinity")
        self.W_dec = (matrix / sizes[:, None]).to(device)

    def encode(self, x: Tensor) -> Tensor:
        """Return the projections."""
        return x @ self.W_dec.to(x).T

    def decode(self, feature_acts: Tensor, /) -> Tensor:
        """Return the sum of the directions, each times its number."""
        return feature_acts @ self.W_dec.to(feature_acts)


@checked
def directions(
    model: Model,
    site: str | Site,
    vectors: Mapping[str, Any] | Tensor | np.ndarray,
    *,
    name: str = "directions",
) -> Bound:
    """Attach directions of an activation to a model, so that each is a site that can be patched and linked.

    Args:
        model: The model.
        site: The activation.
        vectors: A vector for each name, or rows [direction d]; their length does not matter.
        name: What sites call the set.

    Example:
        >>> import mechcausal as mc, numpy as np
        >>> model = mc.load("organism:hiring")
        >>> str(mc.features.directions(model, "L1.resid_post", {"first": np.eye(48)[0]}).feature(0))
        'L1.resid_post.sae:directions.F0'
    """
    return attach(model, Directions(vectors, bridge.device_of(model)), site, name=name)


def _on_cpu(values: Any) -> Tensor:  # noqa: ANN401 - a tensor, an array or numbers
    values = values.detach().cpu() if isinstance(values, Tensor) else np.asarray(values)
    return torch.as_tensor(values, dtype=torch.float32)


def candidates_of(model: Any, what: Any, able: Abilities) -> list[Candidate]:  # noqa: ANN401 - a bridge; many forms
    """Read what a caller may link: a dictionary or its name, sites and patterns of sites, or a list of these."""
    items = list(what) if isinstance(what, (list, tuple)) else [what]
    if not items:
        raise SiteError("there is nothing to link", fix="give a dictionary, a pattern of sites such as 'z', or a list")

    def of_item(item: Any) -> list[Candidate]:  # noqa: ANN401 - a dictionary, its name, a site or a pattern
        if isinstance(item, str) and item in attached(model):
            item = bound(model, item)
        if isinstance(item, Bound):
            return [_candidate(model, item.feature(number)) for number in range(item.n_features)]
        if isinstance(item, (str, Site)):
            return [candidate for site in expand(item, able.shape) for candidate in _of_site(model, site)]
        raise SiteError(
            f"a {type(item).__name__} is no candidate of a link",
            expected="a dictionary that is attached, a site or a pattern of sites",
            fix="attach vectors with mc.features.directions(model, site, {name: vector})",
        )

    candidates = list(dict.fromkeys(candidate for made in of_each(of_item, items) for candidate in made))
    able.require([candidate.site for candidate in candidates])
    return candidates


def _of_site(model: Any, site: Site) -> list[Candidate]:  # noqa: ANN401
    if site.error:
        raise SiteError(f"{site} is what a dictionary leaves out, so it is no candidate", fix="its share is reported")
    if site.dictionary is not None and site.feature is None:
        dictionary = bound(model, site.dictionary)
        return [_candidate(model, dictionary.feature(number)) for number in range(dictionary.n_features)]
    return [_candidate(model, site)]


def _candidate(model: Any, site: Site) -> Candidate:  # noqa: ANN401
    if site.dictionary is not None:
        dictionary = bound(model, site.dictionary).dictionary
        assert site.feature is not None  # whole dictionaries have been expanded
        if isinstance(dictionary, Directions):
            return Candidate(dictionary.names[site.feature], site, "direction")
        return Candidate(str(site), site, "feature")
    kind: Kind = "head" if site.head is not None else "neuron" if site.neuron is not None else "activation"
    return Candidate(str(site), site, kind)


def named(candidates: Sequence[Candidate], name: str) -> Candidate:
    """Return the candidate of that name or site."""
    by_name = {key: candidate for candidate in candidates for key in (str(candidate.site), candidate.name)}
    if name not in by_name:
        raise SiteError(f"there is no candidate {name!r}", fix=did_you_mean(name, by_name))
    return by_name[name]
