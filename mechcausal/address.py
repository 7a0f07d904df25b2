"""The language of *where*: sites (component x layer x head or neuron) and selections (which positions).

    L3.resid_post          a whole activation            @-1        the last token of each prompt
    L9.z.H6                one head                      @3:7       tokens 3 to 6
    L2.mlp_post.N17        one neuron                    @subject   the position each prompt calls "subject"
    embed, logits          no layer                      @all       every token (the default)

    L2.resid_post.sae:NAME        all features of a dictionary that is attached to the model under this name
    L2.resid_post.sae:NAME.F17    one feature
    L2.resid_post.sae:NAME.error  what the dictionary does not reconstruct

Position is a selection, not a part of the site. `*` stands for every layer, head or neuron when a site is
*expanded* over a model (`L*.z.H*`), and a bare component word means all of it (`resid_pre`, `z`). Hook names as
transformer-lens writes them (`blocks.3.hook_resid_post`) are read as sites. Everything here is pure: no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import SupportsIndex

from mechcausal.errors import SiteError, did_you_mean

VECTOR_COMPONENTS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post")
HEAD_COMPONENTS = ("q", "k", "v", "z", "pattern")
KV_COMPONENTS = ("k", "v")
GLOBAL_COMPONENTS = ("embed", "logits")
COMPONENTS = ("embed", *VECTOR_COMPONENTS, *HEAD_COMPONENTS, "logits")

_SITE = re.compile(
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
                f"{self.component!r} has no heads", got=f"head {self.head}", fix="use one of q, k, v, z, pattern"
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
        if (known := shape.dictionaries.get(str(self.dictionary))) is None:
            how = "mc.features.load(PATH, model) attaches one"
            raise SiteError(
                f"no dictionary called {self.dictionary!r} is attached to this model",
                fix=f"{did_you_mean(str(self.dictionary), shape.dictionaries)} ({how})" if shape.dictionaries else how,
            )
        if known.stale:
            raise SiteError(
                f"the weights of the model have changed since the dictionary {self.dictionary!r} was attached to it",
                fix="attach it again if it still belongs to them",
            )
        if known.site != self.activation:
            raise SiteError(
                f"the dictionary {self.dictionary!r} belongs to another site", got=self.activation, expected=known.site
            )
        if self.feature is not None and not 0 <= self.feature < known.n_features:
            raise SiteError(
                f"{self} is not in this dictionary",
                got=f"feature {self.feature}",
                expected=f"0 to {known.n_features - 1}",
            )


def _read(text: str) -> Site:
    text = text.strip()
    if text in GLOBAL_COMPONENTS:
        return Site(text)
    if text == "hook_embed":
        return Site("embed")
    plain, dot, rest = text.partition(".sae:")
    if (hook := _HOOK.fullmatch(plain)) and hook["name"] in _HOOK_NAMES:
        found = Site(_HOOK_NAMES[hook["name"]], int(hook["layer"]))
        return _read(f"{found}{dot}{rest}") if dot else found
    if (match := _SITE.fullmatch(text)) is None:
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


def expand(spec: str | Site | list[str] | list[Site] | tuple[str | Site, ...], shape: ModelShape) -> list[Site]:
    """Turn a site, a pattern, a component word or a list of them into the checked sites of one model.

    A bare head component means every head (`z` is `L*.z.H*`); `L3.z` is the whole of it, all heads at once.
    """
    if isinstance(spec, (list, tuple)):
        if not spec:
            raise SiteError("the list of sites is empty", fix="name at least one site, for example 'resid_pre'")
        if any(isinstance(item, (list, tuple)) for item in spec):
            raise SiteError("a list of sites cannot hold lists here", fix="name the sites in one list")
        return list(dict.fromkeys(site for item in spec for site in expand(item, shape)))
    if isinstance(spec, Site):
        return [spec.check(shape)]
    text = spec.strip()
    if text in GLOBAL_COMPONENTS or ("*" not in text and text not in COMPONENTS):
        return [_read(text).check(shape)]
    if text in COMPONENTS:
        text = f"L*.{text}.H*" if text in HEAD_COMPONENTS else f"L*.{text}"
    if (match := _SITE.fullmatch(text)) is None:
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
            (other, known)
            for other, known in shape.dictionaries.items()
            if name in ("*", other)
            and known.site.component == match["component"]
            and layer in ("*", None if known.site.layer is None else str(known.site.layer))
        ]
        if not here:
            raise SiteError(
                f"{spec!r} matches nothing in this model",
                got=", ".join(f"{known.site}.sae:{other}" for other, known in shape.dictionaries.items())
                or "no dictionary attached",
            )
        wholes = [replace(known.site, dictionary=other) for other, known in here]
    else:
        wholes = [Site(match["component"], None if layer is None else int(layer), dictionary=name).check(shape)]
    if feature is None:
        return [replace(whole, error=match["error"] is not None) for whole in wholes]
    numbers = {whole: range(shape.dictionaries[str(whole.dictionary)].n_features) for whole in wholes}
    return [
        replace(whole, feature=number).check(shape)
        for whole in wholes
        for number in (numbers[whole] if feature == "*" else [int(feature)])
    ]


@dataclass(frozen=True)
class Selection:
    """Which positions of each prompt: all, one index, a range, or a named position.

    Indices count the real tokens of a prompt, so they mean the same with padding on either side; negative ones
    count from the end.
    """

    start: int | None = None
    stop: int | None = None
    name: str | None = None

    @classmethod
    def parse(cls, text: str | SupportsIndex | slice | Selection | None) -> Selection:
        """Read `@-1`, `@3:7`, `@subject`, `@all` (the `@` may be left out), an int, a slice, or None for all."""
        if isinstance(text, Selection):
            return text
        if text is None:
            return ALL
        if isinstance(text, slice):
            if text.step not in (None, 1):
                raise SiteError("a selection cannot skip positions", got=f"step {text.step}", expected="step 1")
            return ALL if text.start is None and text.stop is None else cls(text.start or 0, text.stop)
        if isinstance(text, SupportsIndex):  # an int of Python's, numpy's or torch's
            index = int(text.__index__())
            return cls(index, index + 1 if index != -1 else None)
        word = text.strip().removeprefix("@")
        if word in ("", "all"):
            return ALL
        if re.fullmatch(r"-?\d+", word):
            return cls.parse(int(word))
        if match := re.fullmatch(r"(-?\d+)?:(-?\d+)?", word):
            start, stop = (None if part is None else int(part) for part in match.groups())
            return ALL if start is None and stop is None else cls(start or 0, stop)
        if re.fullmatch(r"[A-Za-z_]\w*", word):
            return cls(name=word)
        raise SiteError(f"{text!r} is not a selection", expected="a form like @-1, @3:7, @subject or @all")

    def __str__(self) -> str:
        """Print the selection in the form that `parse` reads."""
        if self.name is not None:
            return f"@{self.name}"
        if self.start is None:
            return "@all"
        if self.is_single:
            return f"@{self.start}"
        return f"@{self.start}:{'' if self.stop is None else self.stop}"

    @property
    def is_single(self) -> bool:
        """Whether this picks one position by its index."""
        return self.start is not None and (self.stop == self.start + 1 or (self.start == -1 and self.stop is None))

    def bounds(self, length: int) -> tuple[int, int]:
        """Return (start, stop) within a prompt of `length` real tokens; empty where the prompt is too short."""
        if self.start is None:
            return 0, length
        if self.is_single:
            index = self.start + length if self.start < 0 else self.start
            return (index, index + 1) if 0 <= index < length else (0, 0)
        start, stop, _ = slice(self.start, self.stop).indices(length)
        return start, max(start, stop)


ALL = Selection()


def parse_address(text: str) -> tuple[Site, Selection]:
    """Read a site with an optional selection: `L3.resid_post@-1`."""
    site, at, selection = text.partition("@")
    return Site.parse(site), Selection.parse(selection if at else None)
