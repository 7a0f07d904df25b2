"""How a head or a neuron enters the residual stream: the linear map, measured by writing vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mechcausal.address import Site
from mechcausal.address.components import LINEAR_WRITERS, STREAM, SUBLAYERS
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Edit, Patch
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities
from mechcausal.models.attached import bound
from mechcausal.models.counting import uncounted
from mechcausal.models.hooked import forward

_ADDED = (*STREAM, *SUBLAYERS)  # what is in the stream as it is


class Readouts:
    """The contribution of a change at a site to the stream after it, measured once for each site.

    Args:
        model: The bridge.
        able: What it can do.
        maps: What was measured before, kept by the caller.
        modules: The modules that sites enter, as far as they are known: one call of such a module gives the whole map,
            which is then compared with what the model does.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a TransformerBridge
        able: Abilities,
        maps: dict[Site, Tensor] | None = None,
        modules: Mapping[Site, tuple[nn.Module, bool]] | None = None,
    ) -> None:
        self.model, self.able = model, able
        self._maps: dict[Site, Tensor] = {} if maps is None else maps
        self._modules = modules or {}

    def contribution(self, site: Site) -> Callable[[Tensor], Tensor]:
        """Return the function from a change of the site's activation to the change of the stream."""
        if site.dictionary is not None:
            return self._decoded(site)
        if site.component in _ADDED and site.neuron is None:
            return lambda change: change
        if site.component in _ADDED:
            before, after = site.neuron or 0, self.able.shape.d_model - 1 - (site.neuron or 0)
            return lambda change: nn.functional.pad(change[..., None], (before, after))
        if site.component == "result":
            return lambda change: change if site.head is not None else change.sum(-2)
        require_writer(site)
        matrix = self._map(site.whole)
        if site.neuron is not None:
            return lambda change: change[..., None] * matrix[site.neuron]
        rows = matrix if site.head is None else matrix[site.head]
        if site.component == "z" and site.head is None:
            return lambda change: torch.einsum("...hd,hdm->...m", change, rows)
        return lambda change: change @ rows

    def _decoded(self, site: Site) -> Callable[[Tensor], Tensor]:
        """Return the function from a change of features, or of the error, to the change of the stream."""
        dictionary, enters = bound(self.model, str(site.dictionary)), self.contribution(site.activation)
        if site.error:
            return enters
        shape, rows = self.able.shape_at(site.activation), dictionary.W_dec
        if site.feature is not None:
            return lambda change: enters((change[..., None] * rows[site.feature]).reshape(*change.shape, *shape))
        return lambda change: enters((change @ rows).reshape(*change.shape[:-1], *shape))

    def _map(self, site: Site) -> Tensor:
        """Return [feature... model]: what the model makes of each unit vector."""
        if site not in self._maps:
            shape = self.able.components[site.component].shape[2:]
            width = int(torch.Size(shape).numel())
            parameter = next(bridge.underlying(self.model).parameters())
            units = torch.eye(width, device=parameter.device, dtype=parameter.dtype)
            mixed = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).to(units)
            self._maps[site] = self._measured(site, units, mixed).reshape(*shape, -1)
        return self._maps[site]

    @uncounted()
    @torch.no_grad()
    def _measured(self, site: Site, units: Tensor, mixed: Tensor) -> Tensor:
        module, enters = self._modules.get(site, (None, False))
        if module is not None and enters:
            made = module(torch.cat([torch.zeros_like(mixed), units]))
            if made.ndim == 2 and _linear(made[1:] - made[0], mixed, self._written(site, mixed)):
                return made[1:] - made[0]
        written = self._written(site, torch.cat([units, mixed]))
        if not _linear(written[:-1], mixed, written[-1:]):
            raise UnsupportedError(
                f"{site} does not enter the stream linearly in this architecture, so it has no direct path",
                fix="let the edge stand for all paths",
            )
        return written[:-1]

    def _written(self, site: Site, values: Tensor) -> Tensor:
        """Return what each of these activations writes to the stream at a one-token prompt, over what zero writes."""
        assert site.layer is not None
        out = Site(LINEAR_WRITERS[site.component], site.layer)
        shape = self.able.components[site.component].shape[2:]
        rows = torch.cat([torch.zeros_like(values[:1]), values]).reshape(-1, 1, *shape)
        tokens = torch.zeros(len(rows), 1, dtype=torch.long, device=values.device)
        batch = PromptSet(tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool))
        written = forward(self.model, batch, [Edit(site, Patch())], read=[out], sources=[rows]).read[out][:, 0]
        return written[1:] - written[0]


def _linear(matrix: Tensor, mixed: Tensor, written: Tensor) -> bool:
    expected = mixed @ matrix
    return torch.allclose(written, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def require_writer(site: Site) -> None:
    """Refuse a site that does not itself write to the stream, from which no direct path leads."""
    if site.component not in (*_ADDED, *LINEAR_WRITERS, "result"):
        raise UnsupportedError(
            f"{site} has no direct path: it does not write to the stream",
            fix="use a head (z or result), neurons (mlp_post) or a residual site, or let the edge stand for all paths",
        )


def pick(activation: Tensor, site: Site, mask: Tensor) -> Tensor:
    """Return the part of a whole activation that `site` names at the masked positions, [batch k ...]."""
    part = view(activation, site)
    if site.component == "pattern" and site.head is None:
        part = part.transpose(1, 2)
    return part[mask].reshape(len(activation), -1, *part.shape[2:])


def place(values: Tensor, site: Site, mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a whole activation of this shape with the values at the masked positions of `site`, zero elsewhere."""
    activation = values.new_zeros(shape)
    part = view(activation, site)
    if site.component == "pattern" and site.head is None:
        part = part.transpose(1, 2)
    part[mask] = values.flatten(0, 1)
    return activation
