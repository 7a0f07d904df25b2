"""Attach a dictionary to a model: checked once, so that no wrong width, place or number passes silently."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mechcausal.address import Site
from mechcausal.arguments import Model, checked
from mechcausal.errors import ModelError, NumericsError, SiteError, UnsupportedError
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.attached import Bound as Bound
from mechcausal.models.attached import Dictionary as Dictionary
from mechcausal.models.attached import attached as attached
from mechcausal.models.attached import bound as bound
from mechcausal.models.attached import detach as detach
from mechcausal.models.attached import file
from mechcausal.models.fingerprint import weights_fingerprint

_PROBES = 4  # activations with which a dictionary is tried when it is attached


@checked
def attach(
    model: Model,
    dictionary: Any,  # noqa: ANN401 - a Dictionary
    site: str | Site,
    *,
    name: str,
    site_out: str | Site | None = None,
    model_digest: str | None = None,
    folder: str | Path | None = None,
) -> Bound:
    """Attach a dictionary to a model under a name, so that its features are sites.

    Args:
        model: The model.
        dictionary: Anything with `encode`, `decode` and `W_dec`.
        site: The activation it reads.
        name: What sites call it; what was attached under this name before is replaced.
        site_out: The activation it reconstructs, for a transcoder.
        model_digest: The digest of the model it was trained on, if known; another model is refused.
        folder: Where it is kept, if anywhere.

    Example:
        >>> import mechcausal as mc, torch
        >>> from mechcausal.models.binding import attach
        >>> class Turned:
        ...     W_dec = torch.linalg.qr(torch.randn(48, 48)).Q
        ...     encode = lambda self, x: x @ self.W_dec.T
        ...     decode = lambda self, f: f @ self.W_dec
        >>> model = mc.load("organism:hiring")
        >>> str(attach(model, Turned(), "L1.resid_post", name="turned").feature(3))
        'L1.resid_post.sae:turned.F3'
    """
    place, out = Site.parse(site), None if site_out is None else Site.parse(site_out)
    able = abilities(model)
    Site(place.component, place.layer, dictionary=name)  # refuses a wrong name, or a site that no dictionary reads
    able.require([place], writes=out is None)
    if out is not None:
        Site(out.component, out.layer, dictionary=name)
        able.require([out])
        _check_order(place, out)
    for endpoint in (place, out):
        if endpoint is not None and endpoint != endpoint.whole:
            raise SiteError(
                "a dictionary reads a whole activation", got=str(endpoint), fix=f"attach it to {endpoint.whole}"
            )
    weights_digest = weights_fingerprint(model)
    if model_digest is not None and model_digest != weights_digest:
        raise ModelError(
            f"the dictionary {name!r} belongs to another model",
            got=f"weights {weights_digest}", expected=f"weights {model_digest}",
            fix="load the model it was trained on, or train one: mechcausal sae train MODEL --site SITE",
        )  # fmt: skip
    missing = [word for word in ("encode", "decode", "W_dec") if not hasattr(dictionary, word)]
    if missing:
        raise UnsupportedError(
            f"a dictionary has encode, decode and W_dec; a {type(dictionary).__name__} lacks {', '.join(missing)}"
        )
    for word, tensor in _tensors(dictionary).items():
        if not bool(torch.isfinite(tensor).all()):
            raise NumericsError(f"the weights {word} of the dictionary {name!r} hold NaN or infinity")
    linear = _tried(dictionary, name, able, place, out)
    where = None if folder is None else Path(folder)
    return file(model, Bound(name, place, dictionary, digest_of(dictionary), weights_digest, out, linear, where))


def _check_order(site: Site, out: Site) -> None:
    if site.depth >= out.depth:
        raise SiteError("a transcoder writes to what comes after what it reads", got=f"{site} to {out}")


@torch.no_grad()
def _tried(dictionary: Any, name: str, able: Abilities, site: Site, out: Site | None) -> bool:  # noqa: ANN401
    """Encode and decode noise; refuse wrong widths and NaN, and say whether decoding is linear."""
    width, width_out = (_width(able, place) for place in (site, out or site))
    features, decoded = dictionary.W_dec.shape
    weight = dictionary.W_dec
    where = f"the dictionary {name!r} does not fit {site}" + ("" if out is None else f" and {out}")
    if decoded != width_out:
        raise SiteError(where, got=f"it writes {decoded} numbers", expected=width_out, fix="attach it where it belongs")
    noise = torch.randn(_PROBES, width, generator=torch.Generator().manual_seed(0)).to(weight)
    try:
        encoded = dictionary.encode(noise)
        plain = dictionary.decode(encoded) if encoded.shape == (_PROBES, features) else None
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise SiteError(
            where, got=str(error).splitlines()[0][:120], expected=f"one that reads {width} numbers"
        ) from error
    if plain is None or plain.shape != (_PROBES, decoded):
        shapes = [tuple(encoded.shape), *([] if plain is None else [tuple(plain.shape)])]
        expected = f"{(_PROBES, features)} features and {(_PROBES, decoded)} decoded"
        raise SiteError(where, got=" and ".join(map(str, shapes)), expected=expected)
    change = torch.zeros_like(encoded)
    change[:, : min(features, 512)] = torch.randn(change[:, :512].shape, generator=torch.Generator().manual_seed(1)).to(
        weight
    )
    moved, expected = dictionary.decode(encoded + change) - plain, change @ weight
    if not bool(torch.isfinite(plain).all() and torch.isfinite(moved).all()):
        raise NumericsError(f"the dictionary {name!r} makes NaN or infinity of ordinary activations")
    return torch.allclose(moved, expected, rtol=1e-3, atol=1e-3 * max(float(expected.abs().max()), 1e-6))


def _width(able: Abilities, site: Site) -> int:
    return int(torch.Size(able.components[site.component].shape[2:]).numel())


def _tensors(dictionary: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """Return everything it is made of, by name."""
    if isinstance(dictionary, torch.nn.Module):
        return dict(dictionary.state_dict())
    tensors = {name: value for name, value in vars(dictionary).items() if isinstance(value, Tensor)}
    return tensors or {"W_dec": dictionary.W_dec}


def digest_of(dictionary: Any) -> str:  # noqa: ANN401 - a Dictionary
    """Return a digest of the weights of a dictionary and of what else it does with them."""
    settings = {name: value for name, value in vars(dictionary).items() if isinstance(value, (int, float, str))}
    settings.pop("training", None)
    digest = hashlib.sha256(f"{type(dictionary).__qualname__}{sorted(settings.items())}".encode())
    for name, tensor in sorted(_tensors(dictionary).items()):
        plain = tensor.detach().to("cpu").contiguous()
        digest.update(f"{name}{tuple(plain.shape)}{plain.dtype}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
