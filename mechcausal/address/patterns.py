"""Patterns of sites: `L*.z.H*`, `resid_pre` or a list becomes the sites of one model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mechcausal.address.components import COMPONENTS, GLOBAL_COMPONENTS, HEAD_COMPONENTS
from mechcausal.address.site import PATTERN, ModelShape, Site
from mechcausal.errors import SiteError, of_each

SiteSpec = str | Site | list[str] | list[Site] | tuple[str | Site, ...]


def expand(spec: SiteSpec, shape: ModelShape) -> list[Site]:
    """Turn a site, a pattern, a component word or a list of them into the checked sites of one model.

    A bare head component means every head (`z` is `L*.z.H*`); `L3.z` is the whole of it, all heads at once.
    """
    if isinstance(spec, (list, tuple)):
        if not spec:
            raise SiteError("the list of sites is empty", fix="name at least one site, for example 'resid_pre'")
        if any(isinstance(item, (list, tuple)) for item in spec):
            raise SiteError("a list of sites cannot hold lists here", fix="name the sites in one list")
        return list(dict.fromkeys(site for sites in of_each(lambda item: expand(item, shape), spec) for site in sites))
    if isinstance(spec, Site):
        return [spec.check(shape)]
    text = spec.strip()
    if text in GLOBAL_COMPONENTS or ("*" not in text and text not in COMPONENTS):
        return [Site.parse(text).check(shape)]
    if text in COMPONENTS:
        text = f"L*.{text}.H*" if text in HEAD_COMPONENTS else f"L*.{text}"
    if (match := PATTERN.fullmatch(text)) is None:
        raise SiteError(
            f"{spec!r} is not a pattern of sites", expected="a form like L*.z.H*, L3.z.H* or L*.mlp_post.N5"
        )
    if match["dictionary"] is not None:
        return _expand_dictionaries(spec, match, shape)
    component, kind, unit = match["component"], match["kind"], match["unit"]
    layers: Sequence[int | None] = range(shape.n_layers)
    if match["layer"] != "*":
        layers = [None if match["layer"] is None else int(match["layer"])]
    if unit is None:
        return [Site(component, layer).check(shape) for layer in layers]
    if kind == "H":
        heads = range(shape.heads(component)) if unit == "*" else [int(unit)]
        return [Site(component, layer, head=head).check(shape) for layer in layers for head in heads]
    neurons = range(shape.width(component)) if unit == "*" else [int(unit)]
    if not neurons:
        raise SiteError(f"{spec!r} matches nothing in this model", got="no neurons", expected="a model with MLPs")
    return [Site(component, layer, neuron=neuron).check(shape) for layer in layers for neuron in neurons]


def _expand_dictionaries(spec: str, match: re.Match[str], shape: ModelShape) -> list[Site]:
    """Return the sites of a pattern of features; `sae:*` stands for every dictionary attached at the activation."""
    name, layer, feature = match["dictionary"], match["layer"], match["feature"]
    if name == "*" or layer == "*":
        here = [
            (other, dictionary)
            for other, dictionary in shape.dictionaries.items()
            if name in ("*", other)
            and dictionary.site.component == match["component"]
            and layer in ("*", None if dictionary.site.layer is None else str(dictionary.site.layer))
        ]
        if not here:
            raise SiteError(
                f"{spec!r} matches nothing in this model",
                got=", ".join(f"{dictionary.site}.sae:{other}" for other, dictionary in shape.dictionaries.items())
                or "no dictionary attached",
            )
        wholes = [replace(dictionary.site, dictionary=other) for other, dictionary in here]
    else:
        wholes = [Site(match["component"], None if layer is None else int(layer), dictionary=name).check(shape)]
    if feature is None:
        return [replace(site, error=match["error"] is not None) for site in wholes]
    numbers = {site: range(shape.dictionaries[str(site.dictionary)].n_features) for site in wholes}
    return [
        replace(site, feature=number).check(shape)
        for site in wholes
        for number in (numbers[site] if feature == "*" else [int(feature)])
    ]
