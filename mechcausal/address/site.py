"""Sites: one place inside a model, as a component of a layer, and a head, neuron or feature of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mechcausal.address.components import (
    COMPONENTS,
    GLOBAL_COMPONENTS,
    HEAD_COMPONENTS,
    KV_COMPONENTS,
    VECTOR_COMPONENTS,
    depth,
)
from mechcausal.errors import SiteError, did_you_mean, shortened

PATTERN = re.compile(
    r"(?:L(?P<layer>\d+|\*)\.)?(?P<component>[a-z]\w*)"
    r"(?:\.(?P<kind>[HN])(?P<unit>\d+|\*)"
    r"|\.sae:(?P<dictionary>[\w-]+|\*)(?:\.F(?P<feature>\d+|\*)|\.(?P<error>error))?)?"
)
_DICTIONARY_NAME = re.compile(r"[\w-]+")
_HOOK = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<name>.+)")
_HOOK_NAMES = (
    {f"hook_{word}": word for word in VECTOR_COMPONENTS if word != "mlp_post"}
    | {f"attn.hook_{word}": word for word in HEAD_COMPONENTS}
    | {"mlp.hook_post": "mlp_post"}
)


@dataclass(frozen=True)
class DictionaryShape:
    """What sites need to know of a dictionary.

    Attributes:
        site: The activation it reads.
        n_features: How many features it has.
        stale: Whether the weights of the model have changed since it was attached.
    """

    site: Site
    n_features: int
    stale: bool = False


@dataclass(frozen=True)
class ModelShape:
    """The sizes against which sites are checked and expanded."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int
    dictionaries: Mapping[str, DictionaryShape] = field(default_factory=dict, compare=False)

    def heads(self, component: str) -> int:
        """Return how many heads a component has: keys and values may be shared (grouped-query attention)."""
        return self.n_kv_heads if component in KV_COMPONENTS else self.n_heads

    def width(self, component: str) -> int:
        """Return the number of neurons (last-axis entries) of a vector component."""
        return self.d_mlp if component == "mlp_post" else self.d_model


@dataclass(frozen=True, order=True)
class Site:
    """One place inside a model; `str(site)` and `Site.parse` are inverse to each other."""

    component: str
    layer: int | None = None
    head: int | None = None
    neuron: int | None = None
    dictionary: str | None = None
    feature: int | None = None
    error: bool = False

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise SiteError(
                f"there is no component called {self.component!r}", fix=did_you_mean(self.component, COMPONENTS)
            )
        if (self.layer is None) != (self.component in GLOBAL_COMPONENTS):
            wants = "no layer" if self.component in GLOBAL_COMPONENTS else "a layer"
            raise SiteError(f"the component {self.component!r} takes {wants}", fix=f"write {self._example()!r}")
        if self.head is not None and self.component not in HEAD_COMPONENTS:
            raise SiteError(
                f"{self.component!r} has no heads",
                got=f"head {self.head}",
                fix="use one of q, k, v, z, result, pattern",
            )
        if self.neuron is not None and self.component not in ("embed", *VECTOR_COMPONENTS):
            raise SiteError(f"{self.component!r} has no neurons", fix="use mlp_post or a residual component")
        self._check_dictionary()

    def _check_dictionary(self) -> None:
        if self.dictionary is None:
            if self.feature is not None or self.error:
                raise SiteError("a feature and an error belong to a dictionary", fix="name one: dictionary='NAME'")
            return
        if not _DICTIONARY_NAME.fullmatch(self.dictionary):
            raise SiteError(
                f"{self.dictionary!r} is not the name of a dictionary", expected="letters, digits, hyphens, underscores"
            )
        if self.component in ("pattern", "logits") or self.head is not None or self.neuron is not None:
            raise SiteError(
                "a dictionary reads a whole activation, and not a pattern or the logits",
                got=str(self.activation if self.component in ("pattern", "logits") else replace(self, dictionary=None)),
                fix="for example L2.resid_post.sae:NAME.F17",
            )
        if self.feature is not None and self.error:
            raise SiteError("a site is a feature or the error of a dictionary, not both")

    def _example(self) -> str:
        return self.component if self.component in GLOBAL_COMPONENTS else f"L0.{self.component}"

    def __str__(self) -> str:
        """Print the site in the form that `parse` reads."""
        text = self.component if self.layer is None else f"L{self.layer}.{self.component}"
        if self.head is not None:
            text += f".H{self.head}"
        if self.neuron is not None:
            text += f".N{self.neuron}"
        if self.dictionary is not None:
            text += f".sae:{self.dictionary}"
        if self.feature is not None:
            text += f".F{self.feature}"
        return text + (".error" if self.error else "")

    @property
    def whole(self) -> Site:
        """The site without its head, neuron or feature: the activation that one hook sees, or all features at once."""
        if self.head is None and self.neuron is None and self.feature is None:
            return self
        return replace(self, head=None, neuron=None, feature=None)

    @property
    def activation(self) -> Site:
        """The plain activation in which the site lies, as one hook sees it: that of the model, not of a dictionary."""
        return Site(self.component, self.layer)

    @property
    def unit(self) -> int | None:
        """The entry of the last axis that the site is: a neuron or a feature."""
        return self.neuron if self.feature is None else self.feature

    @property
    def depth(self) -> tuple[float, int]:
        """When it is computed: the layer, then the step within it; the embedding is first, the logits are last."""
        return depth(self.component, self.layer)

    @property
    def kind(self) -> str:
        """What the engine compares with the loop as one: a component, or the features and the error of a dictionary."""
        return self.component if self.dictionary is None else f"{self.component}.sae:{self.dictionary}"

    @property
    def by_head(self) -> bool:
        """Whether the whole site has an axis of heads; a dictionary reads all heads as one vector."""
        return self.component in HEAD_COMPONENTS and (self.dictionary is None or self.error)

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """Read one site from its printed form or from a transformer-lens hook name."""
        if isinstance(text, Site):
            return text
        if not isinstance(text, str):
            raise SiteError(
                "this is not a site", got=shortened(repr(text)), expected="a form like L3.resid_post or L9.z.H6"
            )
        if "*" in text:
            raise SiteError(f"{text!r} stands for many sites and one is wanted here", fix="write one layer and head")
        return _read(text)

    def check(self, shape: ModelShape) -> Site:
        """Return the site itself if a model of this shape has it; say what the range is otherwise."""
        if self.layer is not None and not 0 <= self.layer < shape.n_layers:
            raise SiteError(
                f"{self} is not in this model", got=f"layer {self.layer}", expected=f"0 to {shape.n_layers - 1}"
            )
        if self.head is not None and not 0 <= self.head < shape.heads(self.component):
            kind = "key-value head" if self.component in KV_COMPONENTS else "head"
            raise SiteError(
                f"{self} is not in this model",
                got=f"{kind} {self.head}",
                expected=f"0 to {shape.heads(self.component) - 1}",
            )
        if self.neuron is not None and not 0 <= self.neuron < shape.width(self.component):
            raise SiteError(
                f"{self} is not in this model",
                got=f"neuron {self.neuron}",
                expected=f"0 to {shape.width(self.component) - 1}",
            )
        if self.dictionary is not None:
            self._check_attached(shape)
        return self

    def _check_attached(self, shape: ModelShape) -> None:
        if (attached := shape.dictionaries.get(str(self.dictionary))) is None:
            how = "mc.features.load(model, PATH) attaches one"
            raise SiteError(
                f"no dictionary called {self.dictionary!r} is attached to this model",
                fix=f"{did_you_mean(str(self.dictionary), shape.dictionaries)} ({how})" if shape.dictionaries else how,
            )
        if attached.stale:
            raise SiteError(
                f"the weights of the model have changed since the dictionary {self.dictionary!r} was attached to it",
                fix="attach it again if it still belongs to them",
            )
        if attached.site != self.activation:
            raise SiteError(
                f"the dictionary {self.dictionary!r} belongs to another site",
                got=self.activation,
                expected=attached.site,
            )
        if self.feature is not None and not 0 <= self.feature < attached.n_features:
            raise SiteError(
                f"{self} is not in this dictionary",
                got=f"feature {self.feature}",
                expected=f"0 to {attached.n_features - 1}",
            )


def _read(text: str) -> Site:
    text = text.strip()
    if text in GLOBAL_COMPONENTS:
        return Site(text)
    if text == "hook_embed":
        return Site("embed")
    plain, dot, rest = text.partition(".sae:")
    if (hook := _HOOK.fullmatch(plain)) and hook["name"] in _HOOK_NAMES:
        site = Site(_HOOK_NAMES[hook["name"]], int(hook["layer"]))
        return _read(f"{site}{dot}{rest}") if dot else site
    if (match := PATTERN.fullmatch(text)) is None:
        word = re.split(r"[.@]", text.removeprefix("blocks."))[-1].removeprefix("hook_")
        raise SiteError(
            f"{text!r} is not a site",
            expected="a form like L3.resid_post, L9.z.H6, L2.mlp_post.N17, L2.resid_post.sae:NAME.F3 or embed",
            fix=did_you_mean(word, COMPONENTS),
        )
    unit = None if match["unit"] is None else int(match["unit"])
    return Site(
        match["component"],
        None if match["layer"] is None else int(match["layer"]),
        head=unit if match["kind"] == "H" else None,
        neuron=unit if match["kind"] == "N" else None,
        dictionary=match["dictionary"],
        feature=None if match["feature"] is None else int(match["feature"]),
        error=match["error"] is not None,
    )
