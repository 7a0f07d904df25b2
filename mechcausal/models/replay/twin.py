"""The bare model beneath a bridge, one decoder layer at a time, on a suffix of its positions.

The twin shares its weights with the bridge and carries no hooks. How a layer is called (masks, rotary positions, what
kind of attention) is not written down here for any architecture: one run of the whole model is watched, and a layer is
called again as it was called then, with the rows and the positions that are wanted. No weight of the twin asks for a
gradient, so a graph grows only from an input that does (`patching/backward`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mechcausal.address import Site
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import UnsupportedError
from mechcausal.models.abilities import abilities
from mechcausal.models.attached import bound
from mechcausal.models.bare import bare, chain, first, hooked, ports
from mechcausal.models.compared import theirs
from mechcausal.models.counting import count
from mechcausal.models.heads import results
from mechcausal.models.hooked import forward
from mechcausal.models.masks import finite_masks
from mechcausal.models.readout import Readouts
from mechcausal.models.replay.memory import Memory

# What is read at a module of its own; residual sites are read between the layers.
_AT_MODULES = ("q", "k", "v", "z", "attn_out", "mlp_post", "mlp_out")
READ = (*_AT_MODULES, "result", "resid_pre", "resid_mid", "resid_post")
_READ_AT = {"resid_mid": "attn_out", "result": "z"}  # what is computed from what is read at a module
# One more call of a layer costs about as much as so many operations, and as the products of so many tokens with
# weights that have to be fetched from memory anyway.
_CALL, _FETCH = 15_000_000, 8


@dataclass
class Base:
    """The unedited run of one batch.

    Attributes:
        hidden: The input of every layer, and last the output of the last: [batch pos model] each.
        cache: The keys, after rotation, and the values of every layer, [batch head pos feature].
        calls: How each layer was called: positional and keyword arguments.
        values: The activations that were asked for, by whole site, as the bridge gives them.
        executed: How many token-layers have been run on top of it so far.
    """

    hidden: list[Tensor]
    cache: list[tuple[Tensor, Tensor]]
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    values: dict[Site, Tensor] = field(default_factory=dict)
    executed: int = 0

    @property
    def width(self) -> int:
        """How many columns it has."""
        return self.hidden[0].shape[1]


class Twin:
    """A bare model that shares the weights of a bridge.

    Attributes:
        wrapped: The bridge, as long as it is there.
        able: What the bridge can do.
        model: The `transformers` model.
        layers: Its decoder layers.
        free_tokens: How many tokens take as long in a layer as calling the layer once more.
        readable: The components that are read here as the bridge reads them; `verify` finds out.
        leaves_early: Whether the last layer may be left for all positions but one as soon as it has their keys and
            values; `verify` finds out.
    """

    def __init__(self, wrapped: Any) -> None:  # noqa: ANN401 - a TransformerBridge
        self.wrapped, self.able = ref(wrapped), abilities(wrapped)
        self.model = bare(wrapped)
        try:
            self.layers = [self.model.get_submodule(block.name) for block in wrapped.blocks]
            self.norm = self.model.get_submodule(wrapped.ln_final.name)
            head = self.model.get_submodule(wrapped.unembed.name)
            self.chains = [chain(block, self.model) for block in wrapped.blocks]
        except (AttributeError, TypeError) as error:
            raise UnsupportedError(f"its parts are not where the bridge says they are: {error}") from error
        if not isinstance(head, nn.Linear):
            raise UnsupportedError("its unembedding is no linear map", got=type(head).__name__)
        self.head = head
        weights = sum(parameter.numel() for parameter in self.layers[0].parameters())
        self.free_tokens = _FETCH + _CALL // (2 * max(1, weights))
        inner = [Site(name, layer) for layer in range(len(self.layers)) for name in _AT_MODULES]
        self.ports = ports(wrapped, self.model, inner)
        self.readable: frozenset[str] = frozenset()
        self.leaves_early = False
        self._leaving = False
        caps = ("final_logit_softcapping", "logits_scaling")
        self.softcap, self.scaling = (getattr(self.model.config, name, None) for name in caps)
        # The logits of recorded runs are not read, so the model beneath the head is run where there is one.
        self._body = getattr(self.model, "base_model", self.model)
        self._parameters = signature(self._body.forward).parameters
        self._maps: dict[Site, Tensor] = {}

    def reads(self, site: Site) -> bool:
        """Say whether a whole site is read here as the bridge reads it."""
        return site.component in self.readable

    @property
    def readouts(self) -> Readouts:
        """How heads and neurons enter the stream; what was measured of it before is remembered."""
        return Readouts(self.wrapped(), self.able, self._maps, self.ports)

    def results(self, layer: int, z: Tensor) -> Tensor:
        """Return what the heads of a layer add to the output of attention, [batch pos head model]."""
        return results(self.wrapped(), layer, z)

    @torch.no_grad()
    def record(self, batch: PromptSet, read: Mapping[Site, tuple[int, ...]] | None = None) -> Base:
        """Run the model as it is, remember how every layer was called, and read activations.

        Args:
            batch: The prompts.
            read: Whole sites to read, with the shape that the bridge gives the activation at one position.
        """
        read = read or {}
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        taken: dict[Site, Tensor] = {}
        last: list[Tensor] = []
        handles = [
            layer.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
            for layer in self.layers
        ]
        handles.append(hooked((self.layers[-1], False), last.append))
        for site in dict.fromkeys(Site(_READ_AT.get(site.component, site.component), site.layer) for site in read):
            if site in self.ports:
                handles.append(hooked(self.ports[site], partial(taken.__setitem__, site)))
        count(len(batch))
        padded = not bool(batch.mask.all())
        options: dict[str, Any] = {"attention_mask": batch.mask.long()} if padded else {}
        if padded and "position_ids" in self._parameters:
            options["position_ids"] = (batch.mask.long().cumsum(1) - 1).clamp(min=0)
        if "logits_to_keep" in self._parameters:
            options["logits_to_keep"] = 1
        cache = DynamicCache()
        try:
            with theirs("it cannot be run with a cache"), finite_masks():
                self._body(batch.tokens, past_key_values=cache, use_cache=True, **options)
        finally:
            for handle in handles:
                handle.remove()
        kept: list[Any] = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
        if not len(calls) == len(kept) == len(self.layers) or any(part is None for pair in kept for part in pair):
            raise UnsupportedError("its layers are not called once each, with a cache of keys and values")
        hidden = [args[0] if args else kwargs["hidden_states"] for args, kwargs in calls]
        base = Base([*hidden, last[0]], kept, calls)
        for site, shape in read.items():  # some MLPs see the tokens of all examples in one row
            base.values[site] = self._value(site, base, taken).reshape(*batch.tokens.shape, *shape)
        return base

    def _value(self, site: Site, base: Base, taken: Mapping[Site, Tensor]) -> Tensor:
        layer = site.layer or 0
        if site.component == "result":
            z = self._value(Site("z", site.layer), base, taken)
            return self.results(layer, z.reshape(*base.hidden[0].shape[:2], *self.able.components["z"].shape[2:]))
        if site.component == "resid_mid":
            return base.hidden[layer] + self._value(Site("attn_out", layer), base, taken)
        streams = {"resid_pre": layer, "resid_post": layer + 1}
        if site.component in streams:
            return base.hidden[streams[site.component]]
        if site not in taken:
            raise UnsupportedError(f"{site} is not what enters or leaves one module")
        return taken[site]

    def layer(self, base: Base, number: int, hidden: Tensor, rows: Tensor, start: int) -> Tensor:
        """Run one layer on the columns from `start` on, for these rows of the base run, changed left of nothing."""
        tokens = hidden.shape[0] * hidden.shape[1]
        base.executed += tokens
        count(tokens / (base.width * len(self.layers)))
        cut = partial(_suffix, rows=rows, start=start, size=len(base.hidden[0]))
        return self._call(base, number, hidden, _Prefix(base.cache[number], rows, start, leave=self._leaving), cut)

    def last_layer(self, base: Base, hidden: Tensor, rows: Tensor, start: int, read: Tensor) -> Tensor:
        """Return what the last layer gives at one column of each row; of the others it makes keys and values alone."""
        number, at = len(self.layers) - 1, (torch.arange(len(rows), device=rows.device), read - start)
        if not self.leaves_early:
            return self.layer(base, number, hidden, rows, start)[at]
        self._leaving = True
        try:
            self.layer(base, number, hidden, rows, start)
        except _Left as left:
            cut = partial(_column, rows=rows, read=read, size=len(base.hidden[0]))
            return self._call(base, number, hidden[at][:, None], _Whole(left.args), cut)[:, 0]
        finally:
            self._leaving = False
        raise UnsupportedError("its last layer asks for no keys and values")

    def _call(
        self, base: Base, number: int, hidden: Tensor, cache: DynamicCache, cut: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Call a layer as it was called in the base run, with other hidden states and the arguments cut to them."""
        args, kwargs = base.calls[number]
        new_args = [_adapted(value, cache, cut) for value in args]
        new_kwargs = {name: _adapted(value, cache, cut) for name, value in kwargs.items()}
        if new_args:
            new_args[0] = hidden
        else:
            new_kwargs["hidden_states"] = hidden
        with theirs("its layers cannot be called on a part of their tokens"):
            return first(self.layers[number](*new_args, **new_kwargs))

    def logits(self, hidden: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return the logits of final hidden states [n model]: all, or for each its own columns [n k]."""
        normed = self.norm(hidden)
        if columns is None:
            out = self.head(normed)
        else:
            out = torch.einsum("nd,nkd->nk", normed, self.head.weight[columns])
            out = out if self.head.bias is None else out + self.head.bias[columns]
        if self.scaling is not None:
            out = out / self.scaling
        return out if self.softcap is None else torch.tanh(out / self.softcap) * self.softcap

    def after_attention(self, number: int, middle: Tensor) -> Tensor:
        """Return what the MLP of a layer adds to the stream between attention and MLP, token by token."""
        value = middle[:, None]  # some MLPs want a position axis
        for module in self.chains[number]:
            with theirs("its MLP cannot be called token by token"):
                value = first(module(value))
        return value[:, 0]


def recorded(twin: Twin, batch: PromptSet, sites: Sequence[Site], memory: Memory | None = None) -> tuple[Base, int]:
    """Return the unedited run with activations, and how many forwards it took.

    Activations that the twin does not give are read off the bridge. With a memory, a run that is known is not recorded
    again.
    """
    model = twin.wrapped()
    plain = list(dict.fromkeys(site.activation if site.dictionary else site for site in sites))
    remembered = None if memory is None else memory.find(batch, plain)
    if remembered is not None:
        base, forwards = remembered, 0
    else:
        plain = list(dict.fromkeys([*plain, *(memory.sites if memory else ())]))
        shapes = {site: twin.able.shape_at(site) for site in plain if twin.reads(site)}
        base = twin.record(batch, shapes)
        others = [site for site in plain if site not in shapes]
        if others:
            base.values |= forward(model, batch, read=others).read
        forwards = 1 + bool(others)
        if memory is not None:
            memory.keep(batch, base)
    with torch.no_grad():
        for site in (site for site in sites if site.dictionary):
            base.values[site] = bound(model, str(site.dictionary)).read(site, base.values[site.activation])
    return base, forwards


class _Prefix(DynamicCache):
    """Keys and values of the unedited run left of the suffix; with `leave`, a layer gets no further than asking for them."""

    def __init__(self, cached: tuple[Tensor, Tensor], rows: Tensor, start: int, *, leave: bool = False) -> None:
        super().__init__()
        self.cached, self.rows, self.start, self.leave = cached, rows, start, leave

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if self.start:
            keys, values = (part[:, :, : self.start].index_select(0, self.rows) for part in self.cached)
            key_states, value_states = torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)
        if self.leave:
            raise _Left(key_states, value_states)
        return key_states, value_states

    def get_seq_length(self, *_: object, **__: object) -> int:
        return self.start


class _Whole(DynamicCache):
    """Keys and values of all columns, which the one column that is run finds there."""

    def __init__(self, cached: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.cached = cached

    def update(self, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        return self.cached


class _Left(Exception):
    """A layer was left on purpose, with the keys and values of all columns."""


def _adapted(value: Any, cache: DynamicCache, cut: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - any argument
    if isinstance(value, DynamicCache):
        return cache
    if isinstance(value, tuple):
        return tuple(_adapted(item, cache, cut) for item in value)
    return cut(value) if isinstance(value, Tensor) and value.ndim else value


def _suffix(value: Tensor, rows: Tensor, start: int, size: int) -> Tensor:
    """Return the columns from `start` on: of a mask [batch head query key], of positions, or of what belongs to them."""
    chosen = value if value.ndim == 1 or len(value) != size or size == 1 else value.index_select(0, rows)
    if value.ndim == 4:
        return chosen[:, :, start:]
    return chosen[start:] if value.ndim == 1 else chosen[:, start:]


def _column(value: Tensor, rows: Tensor, read: Tensor, size: int) -> Tensor:
    """Return one column of each row of the same."""
    if value.ndim == 1:
        return value[read[:1]]
    which = rows if len(value) == size else torch.zeros_like(rows)
    return value[which, :, read][:, :, None] if value.ndim == 4 else value[which, read][:, None]
