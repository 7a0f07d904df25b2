"""Dictionaries that are attached to models: what a dictionary must be, and which model has which under what name.

Every model remembers its own dictionaries for as long as it lives. Sites name them (`L2.resid_post.sae:NAME.F17`), and
whatever reads or writes a site finds here what the name stands for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from torch import Tensor

from mechcausal.address import DictionaryShape, ModelShape, Site
from mechcausal.arguments import Model, checked
from mechcausal.errors import InterventionError, SiteError, did_you_mean


@runtime_checkable
class Dictionary(Protocol):
    """A sparse autoencoder or a transcoder: what sae-lens calls an SAE, and anything else that has these three.

    Attributes:
        W_dec: What one unit of each feature adds to what is decoded, [feature d_out].
    """

    W_dec: Tensor

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of activations, [... feature] from [... d_in]."""
        ...

    def decode(self, feature_acts: Tensor, /) -> Tensor:
        """Return the reconstruction, [... d_out] from [... feature]."""
        ...


@dataclass(frozen=True, eq=False)
class Bound:
    """A dictionary at its place in a model.

    Attributes:
        name: What sites call it.
        site: The activation it reads.
        dictionary: The dictionary itself.
        digest: A digest of its weights.
        model_digest: A digest of the weights of the model it belongs to.
        site_out: What it reconstructs: None where that is what it reads, another activation for a transcoder.
        linear: Whether a change of features changes the reconstruction by `change @ W_dec`, as measured.
        folder: Where it was read from or written to, if anywhere.
    """

    name: str
    site: Site
    dictionary: Any
    digest: str
    model_digest: str
    site_out: Site | None = None
    linear: bool = True
    folder: Path | None = None

    @property
    def n_features(self) -> int:
        """How many features it has."""
        return self.dictionary.W_dec.shape[0]

    @property
    def W_dec(self) -> Tensor:
        """What one unit of each feature adds, [feature d_out], without a gradient."""
        return self.dictionary.W_dec.detach()

    @property
    def features(self) -> Site:
        """The site of all features at once."""
        return replace(self.site, dictionary=self.name)

    @property
    def error(self) -> Site:
        """The site of what is not reconstructed."""
        return replace(self.site, dictionary=self.name, error=True)

    @property
    def written(self) -> Site:
        """The activation that an edit of a feature changes."""
        return self.site if self.site_out is None else self.site_out

    def feature(self, number: int) -> Site:
        """Return the site of one feature."""
        return replace(self.features, feature=number)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of whole activations, [batch pos feature]."""
        return self.dictionary.encode(_flat(x, self.site).to(self.dictionary.W_dec.dtype))

    def decode(self, f: Tensor) -> Tensor:
        """Return the reconstruction, [batch pos d_out]; heads in one row where the activation has heads."""
        return self.dictionary.decode(f)

    def read(self, site: Site, x: Tensor) -> Tensor:
        """Return what one of its whole sites holds, features or error, where it reads this activation."""
        features = self.encode(x)
        return x - self.like(self.decode(features), x) if site.error else features

    def like(self, decoded: Tensor, y: Tensor) -> Tensor:
        """Return something decoded in the shape and the dtype of the activation it belongs to."""
        if decoded.shape != _flat(y, self.written).shape:
            raise InterventionError(
                f"the dictionary {self.name!r} decoded another shape",
                got=tuple(decoded.shape), expected=tuple(_flat(y, self.written).shape),
            )  # fmt: skip
        return decoded.reshape(y.shape).to(y.dtype)


def _flat(x: Tensor, site: Site) -> Tensor:
    return x.flatten(-2) if site.by_head else x


_attached: WeakKeyDictionary[Any, dict[str, Bound]] = WeakKeyDictionary()


def file(model: Any, bound: Bound) -> Bound:  # noqa: ANN401 - a TransformerBridge
    """Remember a dictionary under its name; what had this name before is forgotten."""
    _attached.setdefault(model, {})[bound.name] = bound
    return bound


@checked
def attached(model: Model) -> dict[str, Bound]:
    """Return the dictionaries of a model by name."""
    return dict(_attached.get(model, {}))


def bound(model: Any, name: str) -> Bound:  # noqa: ANN401 - a TransformerBridge
    """Return the dictionary that is attached to the model under this name."""
    dictionaries = _attached.get(model, {})
    if name not in dictionaries:
        how = "mc.features.load(model, PATH) attaches one"
        raise SiteError(
            f"no dictionary called {name!r} is attached to this model",
            fix=f"{did_you_mean(name, dictionaries)} ({how})" if dictionaries else how,
        )
    return dictionaries[name]


@checked
def detach(model: Model, name: str) -> Bound:
    """Forget a dictionary, and return it."""
    detached = bound(model, name)
    del _attached[model][name]
    return detached


def with_dictionaries(model: Any, shape: ModelShape, digest: str | None = None) -> ModelShape:  # noqa: ANN401
    """Return the sizes of a model with those of its dictionaries; those of other weights than `digest` are stale."""
    shapes = {
        name: DictionaryShape(
            dictionary.site, dictionary.n_features, digest is not None and dictionary.model_digest != digest
        )
        for name, dictionary in _attached.get(model, {}).items()
    }
    return replace(shape, dictionaries=shapes) if shapes or shape.dictionaries else shape


def resolved(model: Any, dictionary: Bound | str) -> Bound:  # noqa: ANN401 - a TransformerBridge
    """Return a dictionary that is attached to this model, given itself or by its name."""
    if isinstance(dictionary, str):
        return bound(model, dictionary)
    if attached(model).get(dictionary.name) is not dictionary:
        raise SiteError(
            f"the dictionary {dictionary.name!r} is attached to another model, or no longer to this one",
            fix="attach it again: mc.features.load(model, PATH)",
        )
    return dictionary
