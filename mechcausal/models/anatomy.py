"""What is where in one model: its heads and MLPs, and which stream each component reads.

Facts about components that hold for every model are in `address.components`; here are those that depend on the model.
"""

from __future__ import annotations

from collections.abc import Iterable

from mechcausal.address import Site
from mechcausal.address.components import READS_FROM, STREAM, WRITES_TO, holds
from mechcausal.models.abilities import Abilities


def entry(site: Site, able: Abilities) -> Site:
    """Return the stream that a site reads: where a direct path to it arrives."""
    if site.component == "logits":
        return Site("resid_post", able.shape.n_layers - 1)
    if site.component in STREAM:
        return site.activation if site.layer is not None else Site("resid_pre", 0)
    component = READS_FROM[site.component]
    if component == "resid_mid" and not able.components["resid_mid"].writes:
        component = "resid_pre"  # attention and MLP are parallel and read the same stream
    return Site(component, site.layer)


def exit_of(site: Site) -> Site:
    """Return the activation through which a change of a site enters the stream: where a direct path from it begins."""
    component = WRITES_TO.get(site.component, site.component)
    return Site(component, 0 if site.layer is None else site.layer)


def heads(able: Abilities, layers: Iterable[int] | None = None) -> list[Site]:
    """Return the heads of some layers, all layers unless said, by what they compute (`z`)."""
    shape = able.shape
    numbers = range(shape.n_layers) if layers is None else layers
    return [Site("z", layer, head=head) for layer in numbers for head in range(shape.n_heads)]


def mlps(able: Abilities, layers: Iterable[int] | None = None) -> list[Site]:
    """Return the MLPs of some layers, all layers unless said; none where the model has no MLPs that can be read."""
    numbers = range(able.shape.n_layers) if layers is None else layers
    return [Site("mlp_out", layer) for layer in numbers] if able.components["mlp_out"].reads else []


def belongs(site: Site, block: Site) -> bool:
    """Say whether a site is (part of) this head or MLP, or holds it."""
    if site.layer != block.layer:
        return False
    if block.component == "mlp_out":
        return holds("mlp_out", site.component)
    return holds("attn_out", site.component) and site.head in (None, block.head)
